"""Reading a run folder for its report: what is missing is left out, what is damaged is named by file and line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from ramify import reading
from ramify.errors import RunError
from ramify.run.folder import HISTORY_BYTES
from ramify.run.records import Config, levels_of

Number = float | None
"""Null where there was nothing to measure."""


DETAILS = "evaluation-details.json"
"""What an evaluation says beside its metrics."""
WORST = "evaluation-worst.json"
"""The images on which a network is most wrong."""


class Row(TypedDict, total=False):
    """A row of a history, as far as the report uses its fields; other numbers are drawn as curves."""

    phase: str
    step: Number
    steps: Number
    epoch: Number
    trial: Number
    cycle: Number
    seconds: Number
    loss: Number
    accuracy: Number
    validation_loss: Number
    validation_accuracy: Number
    test_loss: Number
    test_accuracy: Number
    lr: Number
    temperature: Number
    drop_path: Number
    score: Number
    best: Number
    skip_share: Number
    mixing_entropy: Number
    discretization_gap: Number
    hessian_eigenvalue: Number
    skip_dropout: Number
    baseline: Number
    mixing: dict[str, list[list[Number]]] | None
    metrics: dict[str, Any] | None


class Member(TypedDict):
    """A member of a Pareto front."""

    trial: Number


class Result(TypedDict, total=False):
    """A result, as far as the report uses its fields."""

    objectives: list[str] | None
    front: list[Member] | None
    size_before: Number
    base_reset_after: Number


class Evaluation(TypedDict, total=False):
    """The metrics of a network."""

    split: str


WorstImage = TypedDict(
    "WorstImage", {"position": int, "class": str, "taken_for": str, "probability": float, "of_taken": float}
)
"""An image on which a network is wrong."""


class Worst(TypedDict, total=False):
    """The images on which a network is most wrong, as one picture of them below each other."""

    height: int
    width: int
    picture: str
    images: list[WorstImage]


@dataclass(frozen=True)
class RunFolder:
    """The files of one run as plain data, empty where a file is missing."""

    path: Path
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    result: Mapping[str, Any]
    architecture: Any
    evaluation: Mapping[str, Any]
    details: Mapping[str, Any]
    worst: Mapping[str, Any]
    reads: tuple[Mapping[str, Any], ...]
    manifest: Mapping[str, Any]
    original: RunFolder | None
    retrain: RunFolder | None
    baseline: RunFolder | None
    levels: Mapping[str, RunFolder]

    def rows(self, phase: str) -> list[Mapping[str, Any]]:
        """Return the rows of the history that belong to a phase."""
        return [row for row in self.history if row.get("phase", "search") == phase]

    @property
    def phases(self) -> list[str]:
        """The phases of the run, in the order in which they began."""
        return list(dict.fromkeys(str(row.get("phase", "search")) for row in self.history))


def read_folder(path: Path) -> RunFolder:
    """Read a run folder, what was trained in it, and the levels of a pipeline.

    Raises:
        RunError: If the folder has no config.yaml, or a file in it is malformed.
    """
    if not (path / "config.yaml").exists():
        raise RunError(f"{path} is no run folder: it has no config.yaml")
    within = {name: path / name for name in ("original", "retrain", "baseline")}
    config: dict[str, Any] = reading.yaml_file(path / "config.yaml", Config, error=RunError)
    levels = levels_of(config)
    return RunFolder(
        path=path,
        config=config,
        provenance=_read_mapping(path / "provenance.json"),
        history=_read_history(path / "history.jsonl"),
        result=_read_mapping(path / "result.json", Result),
        architecture=_read_mapping(path / "architecture.json"),
        evaluation=_read_mapping(path / "evaluation.json", Evaluation),
        details=_read_mapping(path / DETAILS),
        worst=_read_mapping(path / WORST, Worst),
        reads=tuple(row for _, row in _read_lines(path / "reads.jsonl")),
        manifest=_read_mapping(path / "export" / "manifest.json"),
        **{name: read_folder(one) if (one / "config.yaml").is_file() else None for name, one in within.items()},
        levels={name: read_folder(path / name) for name in levels if (path / name / "config.yaml").is_file()},
    )


def number(value: object) -> float | None:
    """Return a finite number as it is, one beyond the integers of NumPy as a float, and everything else as None."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return value if abs(value) < 2**63 else float(value)


def _read_mapping(path: Path, kind: Any = dict[str, Any]) -> Mapping[str, Any]:
    return reading.json_file(path, kind, error=RunError) if path.exists() else {}


def _read_lines(path: Path, kind: Any = dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line numbers and the objects there; a last line that was cut off while it was written is left out."""
    if not path.exists():
        return
    lines = reading.text_of(path, error=RunError, limit=HISTORY_BYTES).split("\n")
    for at, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield at, reading.json_value(line, kind, where=f"{path}, line {at}", error=RunError)
        except RunError:
            if at == len(lines):  # no newline follows: the process died while it wrote
                return
            raise


def _read_history(path: Path) -> tuple[Mapping[str, Any], ...]:
    rows = []
    shapes: dict[str, tuple[int, int]] = {}
    for at, row in _read_lines(path, Row):
        mixing = row.get("mixing") or {}
        for name, weights in mixing.items():
            shape = _shape(weights)
            if shape is None or shapes.setdefault(name, shape) != shape:
                wanted = "a matrix of numbers" if name not in shapes else "{} × {} as before".format(*shapes[name])
                raise RunError(f"{path}, line {at}: `mixing` of {name!r} must be {wanted}")
        rows.append(row)
    return tuple(rows)


def _shape(weights: list[list[Number]]) -> tuple[int, int] | None:
    """Return the shape of a matrix, None where its rows differ in length or are empty."""
    widths = {len(row) for row in weights}
    return (len(weights), widths.pop()) if len(widths) == 1 and 0 not in widths else None
