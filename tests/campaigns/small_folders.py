"""The smallest finished run folders of every kind, and the verbs that take them, as words of the command line."""

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import small_tables
from ramify import imports
from ramify.cli import main

_SPACE = ("--space", "NASBench201", "--space.nodes", "3")
_NETWORK = ("--network.channels", "4", "--network.cells", "1")
_SMALL = ("--data", "digits", "--data.subset", "64", *_NETWORK, "--threads", "1", "--progress", "false")
_RETRAIN = ("--recipe.epochs", "1", "--recipe.batch_size", "32", *_NETWORK, "--threads", "1", "--progress", "false")
_TRIALS = ("--strategy", "RandomSearch", "--strategy.evaluations", "2", "--strategy.evaluator", "TrainFromScratch")
_TRIALS += ("--strategy.evaluator.epochs", "1", "--strategy.evaluator.batch_size", "32")
_FRONT = ("--strategy.objectives", "error,params", "--strategy.reference", "1,1e6")


@dataclass(frozen=True)
class Folder:
    """A kind of run folder.

    Args:
        path: Where a finished one is.
        command: The words that made it, without `--out`.
        verbs: Further verbs that take it: name → words, given the folder.
    """

    path: Path
    command: tuple[str, ...]
    verbs: Mapping[str, Callable[[Path], list[str]]] = field(default_factory=dict)

    def all_verbs(self, place: Path) -> dict[str, list[str]]:
        """Return the words of every verb for a copy of the folder; the command that made it is `again`."""
        found = {name: words(place) for name, words in self.verbs.items()}
        return {"again": [*self.command, "--out", str(place)], **found}


def words_of(verb: str, place: Path) -> list[str]:
    """Return the words of a verb for a run folder."""
    return {
        "report": ["report", str(place)],
        "describe": ["describe", str(place), "--pictures", str(place.parent / "pictures")],
        "retrain": ["retrain", str(place), *_RETRAIN],
        "evaluate": ["evaluate", str(place), "--threads", "1"],
        "export": ["export", str(place)],
    }[verb]


def _verbs(*names: str) -> dict[str, Callable[[Path], list[str]]]:
    return {name: lambda place, name=name: words_of(name, place) for name in names}


def said(words: list[str]) -> tuple[int, str, str]:
    """Run the command line in this process; return its exit code, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = main(words)
    finally:
        imports.forget()
    return code, out.getvalue(), err.getvalue()


LEVELS = """
levels:
  cells:
    space: {class_path: StageCells, init_args: {nodes: 1, operations: [max_pool_3x3, skip_connect, none]}}
    strategy: {class_path: DARTS, init_args: {epochs: 1, batch_size: 16}}
    network: {channels: 4, layers: 3}
  stages:
    space: {class_path: StageGraph, init_args: {cells: 2}}
    strategy: {class_path: DARTS, init_args: {epochs: 1, batch_size: 16}}
    network: {channels: 4}
    around: cells
retrain:
  recipe: {epochs: 1, batch_size: 16, auxiliary: false}
  network: {channels: 4}
data: {source: digits, subset: 64}
threads: 1
progress: false
"""
_SHRINKING = ("--shrinking.first_epochs", "1", "--shrinking.next_epochs", "1", "--shrinking.epochs", "1")
_SHRINKING += ("--shrinking.batch_size", "16", "--shrinking.threshold", "8", "--shrinking.samples", "8")
_SHRINKING += ("--shrinking.min_samples", "2")


def commands(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the words that make a folder of every kind, without `--out`; what they need is put into `folder`."""
    table, levels = folder / "small.table", folder / "levels.yaml"
    small_tables.small().save(table)
    levels.write_text(LEVELS)
    gdas = ("--strategy", "GDAS", "--strategy.epochs", "1", "--strategy.batch_size", "16")
    build = ("--architectures", "2", "--recipe.epochs", "1", "--recipe.batch_size", "32", "--processes", "0")
    compare = ("--table", str(table), "--columns", "valid", "--strategies", "LocalSearch", "--seeds", "2")
    compare += ("--evaluations", "3", "--processes", "0", "--progress", "false")
    return {
        "search": ("search", *_SPACE, *gdas, *_SMALL),
        "trials": ("search", *_SPACE, *_TRIALS, *_FRONT, *_SMALL),
        "shrink": ("shrink", *_SPACE, *_SHRINKING, *_SMALL),
        "pipeline": ("search", "--config", str(levels)),
        "build": ("bench", "build", *_SPACE, *build, *_SMALL),
        "compare": ("bench", "compare", *compare),
    }


def make(folder: Path) -> dict[str, Folder]:
    """Make a finished folder of every kind: searches, with a training, an export and a report in some, and tables."""
    found: dict[str, Folder] = {}
    words = commands(folder)

    def ran(words: list[str]) -> None:
        code, _, err = said(words)
        assert code == 0, err

    for name, command in words.items():
        ran([*command, "--out", str(folder / name)])
    looks = {
        "search": ("report", "describe", "retrain", "evaluate", "export"),
        "trials": ("report", "describe"),
        "shrink": ("report",),
        "pipeline": ("report", "describe", "evaluate"),
        "build": (),
        "compare": (),
    }
    for name in ("search", "pipeline"):
        for verb in looks[name]:
            ran(words_of(verb, folder / name))
    ran(words_of("report", folder / "shrink"))
    for name, verbs in looks.items():
        found[name] = Folder(folder / name, words[name], _verbs(*verbs))
    return found
