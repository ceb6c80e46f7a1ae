"""Tables of what the networks of a space take on a device, measured here and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ramify import verbs

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run the sub-verb of `ramify latency` that was called."""
    return verbs.run_below(command)
