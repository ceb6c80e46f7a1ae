"""Write the HTML report of a run, of several runs, of a comparison or of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify import files
from ramify.architecture import Architecture
from ramify.building import TABLE
from ramify.errors import ArchitectureError, ConfigurationError, RunError
from ramify.run import RunFolder
from ramify.run.records import levels_of
from ramify.run.sources import read
from ramify.spaces import CellGraph, create, space_of
from ramify.verbs.retrain import RetrainResult
from ramify.verbs.search import SearchResult
from ramify.verbs.shrink import ShrinkResult
from ramify.verbs.tune import TuneResult

if TYPE_CHECKING:
    from ramify.commandline import Command

Source = SearchResult | ShrinkResult | RetrainResult | TuneResult | str | Path

PAGE = "runs.html"
"""The page of several runs, where no other is named."""


def write_report(source: Source, *others: Source, out: str | Path | None = None) -> Path:
    """Write the page of a run into its folder, with pictures, and return the page's path.

    Args:
        source: A result; the folder of a run, finished or not, of a comparison, or of a table; or a table file, whose
            page lies beside it.
        others: More results or folders of runs, which one page then shows side by side.
        out: Where the page of several runs goes; `runs.html` when None. The page of one run lies in its folder.

    Raises:
        RamifyError: If there is nothing to report on, or a file is damaged.
    """
    from ramify import report

    paths = list(map(_place_of, (source, *others)))
    if others:
        if len(paths) > report.several.MOST:
            raise ConfigurationError(f"a page shows {report.several.MOST} runs at most, got {len(paths)}")
        for path in paths:
            RunFolder(path).config()  # which says what is wrong with another folder
        return report.write_several(paths, Path(PAGE if out is None else out))
    if out is not None:
        raise ConfigurationError("`out` is for a page of several runs; that of one lies in its folder")
    path = paths[0]
    if files.is_file(path):
        return report.write_table(path, path.with_name(f"{path.name}.html"))
    folder = RunFolder(path)
    folder.check_imports()
    config = folder.config()
    if "strategies" in config and "columns" in config:
        return report.write_comparison(path)
    if "architectures" in config and "seeds" in config:
        return _write_table(path)
    if "problem" in config:
        return report.write_report(path, graphs={}, choices=None)
    if "shrinking" in config:
        return report.write_report(path, graphs={}, choices=_whole_space(folder))
    return _write_run(path, config)


def _place_of(source: Source) -> Path:
    path = Path(source) if isinstance(source, str | Path) else source.out
    if path is None:
        raise ConfigurationError("a report needs a run folder; search with `out`")
    return path


def _write_run(path: Path, config: Mapping[str, Any]) -> Path:
    """Write the page of a search, a training or a pipeline: of what it found, or of what it has so far."""
    from ramify import report
    from ramify.report.standing import standing_of

    levels = {}
    for name in levels_of(config):
        if (path / name / "config.yaml").exists() and (result := _so_far(path / name)) is not None:
            levels[name] = space_of(result).graphs(result), space_of(result).choices
    arch = _so_far(path)
    if arch is None:
        return report.write_report(path, graphs={}, choices=None, levels=levels, draw=_graphs)
    return report.write_report(
        path,
        graphs=space_of(arch).graphs(arch),
        choices=space_of(arch).choices,
        levels=levels,
        draw=_graphs,
        standing=standing_of(path, config, RunFolder(path).provenance(), arch),
    )


def _so_far(path: Path) -> Architecture | None:
    """Return the architecture of a run, None where it has none yet.

    Of an unfinished run it is the last one that its history names, or that of the best trial.
    """
    folder = RunFolder(path)
    if folder.finished or (path / "architecture.json").exists():
        return read(path)[0]
    rows = [row for row in folder.history() if _is_told(row.get("architecture"))]
    if not rows:
        return None
    scored = [row for row in rows if row.get("score") is not None]
    row = max(scored, key=lambda row: row["score"]) if scored else rows[-1]
    return _noted(row["architecture"])


def _is_told(architecture: Any) -> bool:
    """Return whether a row holds an architecture, not just its notation."""
    return isinstance(architecture, Mapping) and "format" in architecture


def _graphs(told: Mapping[str, Any]) -> Mapping[str, CellGraph]:
    """Return the cells of an architecture that a history names, none where it only notes it."""
    if not _is_told(told):
        return {}
    arch = _noted(told)
    return space_of(arch).graphs(arch)


def _noted(told: Mapping[str, Any]) -> Architecture:
    """Return the architecture of a row of a history."""
    try:
        return Architecture.from_json(told)
    except ArchitectureError as error:
        raise RunError(f"history.jsonl: {error!s:.250}") from None


def _whole_space(folder: RunFolder) -> Mapping[str, Any] | None:
    """Return the choices of a space before it was shrunk; None where a shrinking has not said yet what is left."""
    if not (folder.path / "space.json").exists() and not folder.finished:
        return None
    description = folder.read_json("space.json")
    return create({name: value for name, value in description.items() if name != "restriction"}).choices


def _write_table(path: Path) -> Path:
    """Write the page of a table that was built here, or of its build."""
    from ramify import report

    if files.is_file(path / TABLE):
        return report.write_table(path / TABLE, path / "report.html")
    return report.write_report(path, graphs={}, choices=None)


# On the command line


def run(command: Command) -> int:
    """Run `ramify report`."""
    command.take_classes()
    text = "folder of a run, a comparison or a table, or a table file; several runs for one page side by side"
    command.add("source", list[str], text, several=True)
    command.add("--out", str | None, f"where the page of several runs goes; default: {PAGE}")
    options = command.parse()
    sources: Sequence[str] = options.source
    print(write_report(*sources, out=options.out))
    return 0
