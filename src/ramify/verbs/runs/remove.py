"""Remove run folders, with all that is in them, after a question."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from ramify import files
from ramify.errors import ConfigurationError, RunError
from ramify.run.listing import check_removable, runs_in, summary_of
from ramify.verbs.runs import state, worth

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run `ramify runs remove`; nothing is removed unless all of the folders are runs that nobody works on."""
    command.add("runs", list[str], "run folders", several=True)
    command.add("--yes", bool, "whether to remove them without a question", flag=True)
    options = command.parse()
    paths = list(dict.fromkeys(files.expanded(path) for path in options.runs))
    for path in paths:
        check_removable(path)
    if not options.yes:
        for path in paths:
            one, inside = summary_of(path), len(list(runs_in(path))) - 1
            more = f", with {inside} more in it" if inside else ""
            print(f"{path}: {one.kind} {one.what}, {state(one)} {worth(one)}".rstrip() + more)
        if not sys.stdin.isatty():
            raise ConfigurationError("nobody can be asked here, so nothing was removed; --yes removes without asking")
        if input(f"remove {'it' if len(paths) == 1 else f'all {len(paths)}'}? [y/N] ").strip().lower() not in (
            "y",
            "yes",
        ):
            print("nothing was removed")
            return 1
    for path in paths:
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise RunError(f"{path} could not be removed whole: {error.strerror or error}") from None
        print(f"{path} is removed")
    return 0
