"""List the runs in a folder; show, compare or remove some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ramify import files, verbs
from ramify.commandline.options import add_json
from ramify.commandline.tables import print_table
from ramify.run.listing import RunSummary, runs_in, summary_of
from ramify.wording import duration

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run the sub-verb of `ramify runs` that was called; without one, list runs."""
    below = verbs.listed(command.name)
    if command.words and command.words[0] in below:
        return verbs.run_below(command)
    text = (
        f"where to look for runs, at any depth; default: runs. Or {', '.join(below)}, which have a --help of their own"
    )
    command.add("directory", str | None, text)
    add_json(command)
    options = command.parse()
    directory = options.directory or "runs"
    found = [summary_of(path) for path in runs_in(directory)]
    if options.json:
        print(files.to_json([one.as_dict() for one in found], indent=2, ascii_only=False))
        return 0
    if not found:
        print(f"no runs in {directory}")
        return 0
    columns = ("run", "verb", "what", "data", "begun", "state", "worth", "time")
    print_table(f"{len(found)} runs in {directory}", columns, [_cells(one) for one in found])
    for one in found:
        if one.reason:
            print(one.reason)
    return 0


_LONGEST = 44  # characters of what a run is about


def _cells(one: RunSummary) -> Sequence[str]:
    what = one.what if len(one.what) <= _LONGEST else f"{one.what[: _LONGEST - 1]}…"
    return (str(one.path), one.kind, what, one.data, begun(one), state(one), worth(one), taken(one))


def begun(one: RunSummary) -> str:
    """Return when a run was begun, to the minute."""
    return one.started[:16].replace("T", " ")


def state(one: RunSummary) -> str:
    """Return the state of a run, with how far it is."""
    return one.state if one.done in (None, 1.0) else f"{one.state}, {one.done:.0%} done"


def worth(one: RunSummary) -> str:
    """Return what a run came to so far."""
    return "" if one.headline is None else f"{one.headline[0].replace('_', ' ')} {one.headline[1]:.4g}"


def taken(one: RunSummary) -> str:
    """Return how long the work took."""
    return "" if one.seconds is None else " ".join(duration(one.seconds))
