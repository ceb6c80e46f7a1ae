"""What run folders say, without what depends on the clock, so that two of them can be compared bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ramify.benchmarks import open_table

_WHOLE = (
    *("architecture.json", "network.json", "space.json", "model.safetensors", "supernet.safetensors"),
    *("tuned.json", "recipe.yaml", "weights.json"),
)
"""Files whose bytes are compared."""


def timeless(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of a history without what depends on the clock."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def outcome(folder: Path) -> dict[str, Any]:
    """Return what a finished run says: checkpoint, history, events, result, and the bytes of what it made."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    found: dict[str, Any] = {
        "checkpoint": {name: value for name, value in checkpoint.items() if name != "seconds"},
        "history": timeless(map(json.loads, (folder / "history.jsonl").read_text().splitlines())),
        "events": {t: [(e.step, e.value) for e in events.Scalars(t)] for t in events.Tags()["scalars"]},
        "result": timeless([json.loads((folder / "result.json").read_text())]),
    }
    return found | {name: (folder / name).read_bytes() for name in _WHOLE if (folder / name).exists()}


def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what every run in a folder says, by its path in there; of tables and comparisons, too."""
    found = {}
    for config in sorted(folder.rglob("config.yaml")):
        run = config.parent
        names = sorted(path.name for path in run.iterdir() if path.name not in ("checkpoint.before.pt", ".lock"))
        about: dict[str, Any] = {"names": names, "config": config.read_text()}
        if (run / "checkpoint.pt").exists():
            about |= outcome(run)
        elif (run / "comparison.json").exists():
            about["found"] = (run / "comparison.json").read_text()
        elif (run / "table.ramify").exists():
            about["table"] = _table(run / "table.ramify")
        found[str(run.relative_to(folder))] = about
    return found


def _table(path: Path) -> dict[str, Any]:
    table = open_table(path)
    measured = [name for name, column in table.columns.items() if column.metric != "seconds"]
    return {
        "notations": [str(notation) for notation in table.notations],
        "columns": {name: repr(column) for name, column in table.columns.items()},
        "values": {name: table._values[name].tobytes() for name in measured},
    }
