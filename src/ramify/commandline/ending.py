"""The end of a verb: where the result lies, what it is worth, and the next command."""

from __future__ import annotations

import shlex
from pathlib import Path

from ramify.parallel import say


def say_end(out: str | Path | None, *following: str, enabled: bool = True) -> None:
    """Say on standard error what the run in a folder came to, and what may come next.

    Args:
        out: The folder.
        following: Commands, in which `{}` stands for it.
        enabled: Whether to say anything.
    """
    if out is None or not enabled:
        return
    from ramify.run.listing import summary_of
    from ramify.wording import duration

    one = summary_of(Path(out))
    told = [] if one.headline is None else [f"{one.headline[0].replace('_', ' ')} {one.headline[1]:.4f}"]
    told += [] if one.seconds is None else [f"{' '.join(duration(one.seconds))} of work"]
    say(f"{out}: {', '.join([one.state, *told])}")
    for command in following:
        say(f"next: {command.format(shlex.quote(str(out)))}")
