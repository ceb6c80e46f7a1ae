"""`--plan`: what a command will take, instead of doing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.commandline.command import Command


def add_plan(command: Command) -> None:
    """Declare `--plan`."""
    text = "say what this will take, measured on a few steps: time, memory, disk, images; nothing is written"
    command.add("--plan", bool, text, flag=True)


def say_plan(work: Callable[[], Any]) -> int:
    """Print the plan of a call of a verb; return the exit code, 1 where something does not fit."""
    from ramify.run.planning import plan

    found = plan(work)
    print("\n".join(found.lines()))
    return 1 if found.problems else 0
