"""What run folders are about and how far they are, read without loading a network or disturbing a run at work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ramify import files
from ramify.data.parts import is_hidden
from ramify.errors import RamifyError, RunError
from ramify.run.folder import RunFolder
from ramify.run.records import Provenance, levels_of
from ramify.run.sources import read
from ramify.spaces import space_of
from ramify.spaces.naming import INSTANCE

CONFIG = "config.yaml"
_DEPTH = 6
"""How far below a folder runs are looked for."""
_NO_RUNS = {"tensorboard", "export", "front", "__pycache__"}
"""Folders of a run that hold no others."""
_BEST = ("best", "validation_accuracy", "accuracy", "score", "supernet_accuracy")
"""Figures by which people know a run, the first that is there."""


@dataclass(frozen=True)
class RunSummary:
    """A run in a line.

    Args:
        path: The folder.
        kind: The verb that made it: `search`, `retrain`, …; `pipeline` for searches inside each other.
        what: Strategy and space, or the architecture.
        data: The name of the data set.
        started: When it was begun, ISO 8601.
        state: `finished`, `running`, `stopped`, or `damaged`.
        done: Share of the steps of its last phase that are done, None where nobody knows.
        figures: By name: score, metrics, parameters; those of an evaluation, if there was one.
        seconds: Of work.
        reason: Why it is damaged.
    """

    path: Path
    kind: str = ""
    what: str = ""
    data: str = ""
    started: str = ""
    state: str = "damaged"
    done: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "path": str(self.path), "figures": dict(self.figures)}

    @property
    def headline(self) -> tuple[str, float] | None:
        """The figure that says what it is worth, with its name; None before there is one."""
        return next(iter(self.figures.items()), None)


def runs_in(directory: str | Path) -> Iterator[Path]:
    """Yield the run folders in a directory and below, sorted; links are not followed.

    Raises:
        RunError: If there is no such directory.
    """
    top = files.expanded(directory)
    if not top.is_dir():
        raise RunError(f"there is no folder {directory}; `ramify runs FOLDER` lists the runs in it")
    for here, inner, names in os.walk(top):
        path = Path(here)
        depth = len(path.relative_to(top).parts)
        inner[:] = sorted(n for n in inner if not is_hidden(n) and n not in _NO_RUNS) if depth < _DEPTH else []
        if CONFIG in names:
            yield path


def summary_of(path: Path) -> RunSummary:
    """Return what is known of a run; one that cannot be read is `damaged`, with the reason."""
    try:
        return _summary(path)
    except RamifyError as error:
        return RunSummary(path, reason=str(error))


def _summary(path: Path) -> RunSummary:
    folder = RunFolder(path)
    config, provenance = folder.config(), folder.read_json("provenance.json", Provenance)
    last = folder.last_row()
    result = folder.read_json("result.json") if folder.finished else {}
    sessions = provenance.get("sessions") or [{}]
    names = ("original", *levels, "retrain") if (levels := levels_of(config)) else ()
    inner = [summary_of(path / name) for name in names if (path / name / CONFIG).exists()]
    seconds = [one.seconds for one in inner if one.seconds is not None]
    return RunSummary(
        path,
        kind_of(config),
        _what(path, config),
        str((provenance.get("data") or {}).get("name") or next((one.data for one in inner if one.data), "")),
        str(sessions[0].get("started") or min((one.started for one in inner if one.started), default="")),
        "finished" if folder.finished else "running" if is_at_work(path) else "stopped",
        1.0 if folder.finished else _share(last.get("step"), last.get("steps")),
        _figures(path, result, last) or next((one.figures for one in reversed(inner) if one.figures), {}),
        result.get("seconds", last.get("seconds", sum(seconds) if seconds else None)),
    )


def _share(step: Any, steps: Any) -> float | None:
    return step / steps if isinstance(step, int) and isinstance(steps, int) and steps > 0 else None


def kind_of(config: Mapping[str, Any]) -> str:
    """Return which verb made a run, from its configuration."""
    told = {
        "problem": "tune",
        "shrinking": "shrink",
        "limits": "adapt",
        "levels": "pipeline",
        "architectures": "bench build",
        "columns": "bench compare",
        "recipe": "retrain",
    }
    return next((kind for key, kind in told.items() if key in config), "search")


def _what(path: Path, config: Mapping[str, Any]) -> str:
    named = [_name(config[key]) for key in ("strategy", "space", "problem") if config.get(key)]
    if "limits" in config:
        return f"{_name(config.get('strategy'))} on {adapted_of(config)}"
    if levels := config.get("levels"):
        named = [", ".join(f"{name}: {_name((level or {}).get('strategy'))}" for name, level in levels.items())]
    if architecture := config.get("architecture"):
        named = [str(architecture.get("space", "")) if isinstance(architecture, Mapping) else str(architecture)]
        if (path / "architecture.json").exists() and _has_classes(path):
            arch = read(path)[0]
            named = [str(space_of(arch).format(arch))]
    return " on ".join(filter(None, named))


def _has_classes(path: Path) -> bool:
    """Return whether this process has what the run was made with; listing imports nothing."""
    try:
        RunFolder(path).check_imports()
    except RamifyError:
        return False
    return True


def adapted_of(config: Mapping[str, Any]) -> str:
    """Return the name of the network that an adaptation began with, as far as it has one."""
    network = config.get("network")
    return network if isinstance(network, str) and network != INSTANCE else "a network"


def _name(described: Any) -> str:
    path = described.get("class_path", "") if isinstance(described, Mapping) else described or ""
    return str(path).rpartition(":")[2].rpartition(".")[2]


def _figures(path: Path, result: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a run, the one that says what it is worth first."""
    found: dict[str, Any] = {}
    own = ("images", "params", "macs", "latency_ms")
    if (path / "evaluation.json").exists():
        measured = RunFolder(path).read_json("evaluation.json")
        split = measured.get("split", "test")
        found |= {f"{split} {name}": value for name, value in measured.items() if name not in own}
    if isinstance(adapted := result.get("adapted"), Mapping):
        found |= {name if name in own else f"test {name}": value for name, value in adapted.items()}
    told = {**last, **result}
    found |= {name: told[name] for name in _BEST if name in told}
    found |= {name: value for name, value in told.items() if name.startswith(("supernet_", "validation_"))}
    table = (result.get("table") or {}).get("values", {}) if isinstance(result.get("table"), Mapping) else {}
    found |= {f"table {name}": value for name, value in table.items()}
    found |= {name: told[name] for name in ("loss", "members", "params", "macs") if name in told}
    return {name: value for name, value in found.items() if type(value) in (int, float)}


def is_at_work(path: Path) -> bool:
    """Return whether a process works on a run: by the system's list of locks, so that no lock is touched.

    Where a system has no such list (`/proc/locks` of Linux), nobody is seen.
    """
    try:
        number = (path / ".lock").stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    return any(f":{number} " in line for line in lines)


def check_removable(path: Path) -> None:
    """Raise `RunError` unless a folder is that of a run that nobody works on."""
    if path.is_symlink():
        raise RunError(f"{path} is a link; name the folder itself")
    if not (path / CONFIG).is_file() or not (path / "provenance.json").is_file():
        raise RunError(f"{path} is no run folder: it has no {CONFIG} and provenance.json; nothing was removed")
    if busy := next((one for one in runs_in(path) if is_at_work(one)), None):
        raise RunError(f"a process works on {busy}; stop it first")
