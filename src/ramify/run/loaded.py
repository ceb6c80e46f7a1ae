"""`load`: a run folder as an object, which other verbs take."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from ramify import files
from ramify.architecture import Architecture
from ramify.errors import RunError
from ramify.run.folder import RunFolder
from ramify.run.listing import RunSummary, summary_of
from ramify.run.sources import Result, read
from ramify.run.trained import load_network
from ramify.spaces import Space, create, space_of


class LoadedRun(Result):
    """A run, read from its folder; what is not there yet raises `RunError` when it is asked for.

    Args:
        out: The folder.

    Example:
        >>> run = ramify.load("runs/first")  # doctest: +SKIP
        >>> run.history["validation_accuracy"].max()  # doctest: +SKIP
    """

    out: Path

    def __init__(self, out: Path) -> None:
        self.out = out
        self._folder = RunFolder(out)
        self.config: Mapping[str, Any] = self._folder.config()

    def __repr__(self) -> str:
        return f"<run {self.out}: {self.summary.kind}, {self.summary.state}>"

    @property
    def summary(self) -> RunSummary:
        """The run in a line, as it is now."""
        return summary_of(self.out)

    @property
    def result(self) -> dict[str, Any]:
        """What `result.json` says, which a finished run has."""
        return self._folder.read_json("result.json")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the history, as far as there are any."""
        return self._folder.history()

    @property
    def history(self) -> Any:
        """The history as a data frame where pandas is installed, else its rows; nested values stay in their cells."""
        if importlib.util.find_spec("pandas") is None:
            return self.rows
        return importlib.import_module("pandas").DataFrame(self.rows)

    @cached_property
    def architecture(self) -> Architecture:  # type: ignore[override]
        """The result of a search, or what was trained."""
        return read(self.out)[0]

    @cached_property
    def space(self) -> Space:
        """What was searched, restricted as it was; of a training, the space of its architecture.

        Raises:
            RunError: If the run has no space.
        """
        described = self.config.get("space")
        if isinstance(described, Mapping):
            self._folder.check_imports()
            name = str(described.get("class_path", "")).rpartition(":")[2].rpartition(".")[2]
            told = {"space": name, "arguments": dict(described.get("init_args") or {})}
            return create({**told, "restriction": self.config.get("restriction")})
        if (self.out / "architecture.json").exists():
            return space_of(self.architecture)
        raise RunError(f"{self.out} has no space, and no architecture yet")

    @cached_property
    def network(self) -> nn.Module:
        """The trained network, in evaluation mode, on the CPU: its own, or that of the retraining in it."""
        return load_network(self.out)[0]


def load(run: str | Path) -> LoadedRun:
    """Return a run as an object: its result, history, network and space; other verbs take it as they take its folder.

    Args:
        run: The folder.

    Raises:
        RunError: If it is no run folder, or damaged.
    """
    return LoadedRun(files.expanded(run))
