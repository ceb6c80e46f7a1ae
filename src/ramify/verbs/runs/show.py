"""Show what a run is about, how far it is, and what it came to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ramify import files
from ramify.commandline.options import add_json
from ramify.errors import RunError
from ramify.run.listing import summary_of
from ramify.verbs.runs import begun, state, taken

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run `ramify runs show`."""
    command.add("run", str, "run folder")
    add_json(command)
    options = command.parse()
    one = summary_of(files.expanded(options.run))
    if one.reason:
        raise RunError(one.reason)
    if options.json:
        print(files.to_json(one.as_dict(), indent=2, ascii_only=False))
        return 0
    told = {"run": str(one.path), "verb": one.kind, "what": one.what, "data": one.data, "begun": begun(one)}
    told |= {"state": state(one), "time": taken(one)}
    told |= {name.replace("_", " "): f"{value:,.6g}" for name, value in one.figures.items()}
    told["files"] = ", ".join(sorted(item.name for item in Path(one.path).iterdir() if not item.name.startswith(".")))
    width = max(map(len, told))
    for name, value in told.items():
        if value:
            print(f"{name:<{width}}  {value}")
    return 0
