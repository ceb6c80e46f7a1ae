"""Tables of measured architectures, looked up instead of trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ramify import verbs

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run the sub-verb of `ramify bench` that was called."""
    return verbs.run_below(command)
