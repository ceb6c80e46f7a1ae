"""A run folder, read for its report: what is missing is left out, what is damaged is named by file and line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ramify.errors import RunError

# Keys of history.jsonl that hold a number, or null where there was nothing to measure.
_NUMBERS = (
    "step", "steps", "epoch", "trial", "seconds", "loss", "accuracy", "validation_loss", "validation_accuracy",
    "test_loss", "test_accuracy", "lr", "temperature", "drop_path", "score", "best",
    "skip_share", "mixing_entropy", "discretisation_gap", "hessian_eigenvalue", "skip_dropout", "baseline",
)  # fmt: skip


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
    reads: tuple[Mapping[str, Any], ...]
    manifest: Mapping[str, Any]
    retrain: RunFolder | None
    levels: Mapping[str, RunFolder]

    def rows(self, phase: str) -> list[Mapping[str, Any]]:
        """Return the rows of the history that belong to a phase."""
        return [row for row in self.history if row.get("phase", "search") == phase]

    @property
    def phases(self) -> list[str]:
        """The phases of the run, in the order they began."""
        return list(dict.fromkeys(str(row.get("phase", "search")) for row in self.history))


def read_folder(path: Path) -> RunFolder:
    """Read a run folder, the retraining in it, and the levels of a pipeline.

    Raises:
        RunError: If the folder has no config.yaml, or a file in it is malformed.
    """
    if not (path / "config.yaml").is_file():
        raise RunError(f"{path} is no run folder: it has no config.yaml")
    retrain = path / "retrain"
    config = _mapping(path / "config.yaml", _read_yaml(path / "config.yaml"))
    levels = [str(name) for name in config.get("levels") or () if (path / str(name) / "config.yaml").is_file()]
    return RunFolder(
        path=path,
        config=config,
        provenance=_read_mapping(path / "provenance.json"),
        history=_read_history(path / "history.jsonl"),
        result=_read_mapping(path / "result.json"),
        architecture=_read_json(path / "architecture.json"),
        evaluation=_read_mapping(path / "evaluation.json"),
        reads=tuple(row for _, row in _read_lines(path / "reads.jsonl")),
        manifest=_read_mapping(path / "export" / "manifest.json"),
        retrain=read_folder(retrain) if (retrain / "config.yaml").is_file() else None,
        levels={name: read_folder(path / name) for name in levels},
    )


def number(value: object) -> float | None:
    """Return a finite number as it is, everything else as None."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None  # type: ignore[return-value]


def _read_text(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise RunError(f"{path}, line {line}: not UTF-8 text") from error


def _read_json(path: Path) -> Any:
    text = _read_text(path)
    if text is None:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RunError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(_read_text(path) or "")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise RunError(f"{path}, line {line}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}") from error


def _mapping(path: Path, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict | None):
        raise RunError(f"{path}, line 1: expected a mapping, got {type(value).__name__}")
    return value or {}


def _read_mapping(path: Path) -> Mapping[str, Any]:
    return _mapping(path, _read_json(path))


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line numbers and the objects there; a last line that was cut off while it was written is left out."""
    lines = (_read_text(path) or "").split("\n")
    for at, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if at == len(lines):  # no newline follows: the process died while it wrote
                return
            raise RunError(f"{path}, line {at}: not JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise RunError(f"{path}, line {at}: expected an object, got {type(row).__name__}")
        yield at, row


def _read_history(path: Path) -> tuple[Mapping[str, Any], ...]:
    rows = []
    shapes: dict[str, tuple[int, int]] = {}
    for at, row in _read_lines(path):
        for key in _NUMBERS:
            if not isinstance(row.get(key), int | float | None):
                raise RunError(f"{path}, line {at}: `{key}` must be a number, got {str(row[key])[:40]!r}")
        mixing = row.get("mixing") or {}
        if not isinstance(mixing, dict):
            raise RunError(f"{path}, line {at}: `mixing` must map choices to matrices, got {type(mixing).__name__}")
        for name, weights in mixing.items():
            shape = _shape(weights)
            if shape is None or shapes.setdefault(name, shape) != shape:
                wanted = "a matrix of numbers" if name not in shapes else "{} × {} as before".format(*shapes[name])
                raise RunError(f"{path}, line {at}: `mixing` of {name!r} must be {wanted}")
        rows.append(row)
    return tuple(rows)


def _shape(weights: object) -> tuple[int, int] | None:
    """Return the shape of a matrix of numbers, None for anything else."""
    if not isinstance(weights, list) or not all(isinstance(row, list) and row for row in weights):
        return None
    widths = {len(row) for row in weights}
    plain = all(isinstance(value, int | float | None) for row in weights for value in row)
    return (len(weights), widths.pop()) if len(widths) == 1 and plain else None
