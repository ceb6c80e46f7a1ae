"""Write the HTML report of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.run import RunFolder
from ramify.run.sources import read
from ramify.spaces import CellGraph, create, space_of
from ramify.verbs.retrain import RetrainResult
from ramify.verbs.search import SearchResult
from ramify.verbs.shrink import ShrinkResult
from ramify.verbs.tune import TuneResult

if TYPE_CHECKING:
    from ramify.commandline import Command


def write_report(source: SearchResult | ShrinkResult | RetrainResult | TuneResult | str | Path) -> Path:
    """Write `report.html` and the pictures into a run folder and return the page's path."""
    from ramify import report
    from ramify.report.standing import standing_of

    path = Path(source) if isinstance(source, str | Path) else source.out
    if path is None:
        raise ConfigurationError("a report needs a run folder; search with `out`")
    folder = RunFolder(path)
    folder.check_imports()
    config = folder.config()
    if "problem" in config:
        return report.write_report(path, graphs={}, choices=None)
    levels = {}
    for name in config.get("levels") or ():
        result, _ = read(path / name)
        levels[name] = space_of(result).graphs(result), space_of(result).choices
    if "shrinking" in config:
        description = folder.read_json("space.json")
        whole = create({name: value for name, value in description.items() if name != "restriction"})
        return report.write_report(path, graphs={}, choices=whole.choices)
    arch, _ = read(path)
    space = space_of(arch)
    return report.write_report(
        path,
        graphs=space.graphs(arch),
        choices=space.choices,
        levels=levels,
        draw=_graphs,
        standing=standing_of(path, config, folder.provenance(), arch),
    )


def _graphs(told: Mapping[str, Any]) -> Mapping[str, CellGraph]:
    """Return the cells of an architecture that a history names, none where it only notes it."""
    if "format" not in told:
        return {}
    arch = Architecture.from_json(told)
    return space_of(arch).graphs(arch)


# On the command line


def run(command: Command) -> int:
    """Run `ramify report`."""
    command.take_classes()
    command.add("source", str, "run folder")
    print(write_report(command.parse().source))
    return 0
