"""Synthetic run folders: what a DARTS search with its retraining leaves, and what a search by trials leaves."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DARTS_OPS = (
    "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect",
    "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip
NB201_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
GENOTYPE = {
    "normal": [
        ["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ["sep_conv_3x3", 0], ["sep_conv_5x5", 1],
        ["sep_conv_3x3", 1], ["skip_connect", 0], ["skip_connect", 0], ["dil_conv_3x3", 2],
    ],
    "normal_concat": [2, 3, 4, 5],
    "reduce": [
        ["max_pool_3x3", 0], ["max_pool_3x3", 1], ["skip_connect", 2], ["max_pool_3x3", 1],
        ["avg_pool_3x3", 0], ["dil_conv_5x5", 2], ["skip_connect", 2], ["max_pool_3x3", 1],
    ],
    "reduce_concat": [2, 3, 4, 5],
}  # fmt: skip


@dataclass(frozen=True)
class Graph:
    """Stands for `ramify.spaces.CellGraph`."""

    states: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]
    inputs: tuple[int, ...]
    output: int
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Options:
    """Stands for `ramify.supernet.Choice`."""

    edges: tuple[tuple[int, int], ...]
    ops: tuple[str, ...]
    mask: list[list[bool]]


@dataclass(frozen=True)
class Example:
    """A run folder and what `write_report` needs to know of its space."""

    folder: Path
    graphs: Mapping[str, Graph]
    choices: Mapping[str, Options]

    @property
    def page(self) -> Path:
        return self.folder / "report.html"


def darts_graph(reads: list[list[Any]], concat: list[int]) -> Graph:
    nodes = len(reads) // 2
    edges = [(source, at // 2 + 2, op) for at, (op, source) in enumerate(reads)]
    edges += [(state, nodes + 2, "") for state in concat]
    states = ("input k−2", "input k−1", *map(str, range(nodes)), "output")
    return Graph(states, tuple(edges), (0, 1), nodes + 2)


def nb201_graph(ops: Iterable[str]) -> Graph:
    pairs = [(source, target) for target in range(1, 4) for source in range(target)]
    edges = tuple((*pair, op) for pair, op in zip(pairs, ops, strict=True))
    return Graph(("0 (input)", "1", "2", "3 (output)"), edges, (0,), 3)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_lines(path: Path, rows: Iterable[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def write_config(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def provenance(verb: str) -> dict[str, Any]:
    return {
        "command": ["ramify", verb, "--space", "DARTSCells", "--strategy", "GDAS", "--out", "runs/my first"],
        "versions": {"ramify": "0.1.0", "torch": "2.10.0", "python": "3.12.4"},
        "git": "3f2a91c",
        "machine": {"name": "birch", "cpu": "AMD EPYC 9454", "device": "NVIDIA H200", "threads": 16},
        "seed": 3,
        "data": {"name": "cifar10", "fingerprint": "9d3fa1c07be2", "images": 50000},
        "sessions": [
            {"started": "2026-03-02T09:14:07+00:00", "from_step": 0},
            {"started": "2026-03-02T11:40:51+00:00", "from_step": 18760},
        ],
    }


def softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


HOSTILE = "</script><script>alert('x')</script><img src=x>&amp;"


def make_one_shot(folder: Path, epochs: int = 50, images: int = 10000) -> Example:
    rng = random.Random(0)
    graphs = {
        kind: darts_graph(GENOTYPE[kind], GENOTYPE[f"{kind}_concat"])  # type: ignore[arg-type]
        for kind in ("normal", "reduce")
    }
    edges = tuple((source, target) for target in range(2, 6) for source in range(target))
    mask = [[True] * len(DARTS_OPS) for _ in edges]
    mask[3] = [op != "dil_conv_5x5" for op in DARTS_OPS]
    choices = {kind: Options(edges, DARTS_OPS, mask) for kind in graphs}
    taste = {
        (kind, edge, op): rng.gauss(0, 0.45) + (2.2 if (*edge, op) in graphs[kind].edges else 0)
        for kind in graphs
        for edge in edges
        for op in DARTS_OPS
    }

    def row(epoch: int) -> dict[str, Any]:
        done = epoch / epochs
        rush = 1 / (1 + math.exp(-8 * (done - 0.45)))
        mixing = {
            kind: [softmax([taste[kind, edge, op] * rush + rng.gauss(0, 0.01) for op in DARTS_OPS]) for edge in edges]
            for kind in graphs
        }
        return {
            "phase": "search", "step": epoch * 390, "steps": epochs * 390, "seconds": 288.4 * epoch, "epoch": epoch,
            "loss": 2.1 * math.exp(-2.6 * done) + 0.12 + rng.gauss(0, 0.012),
            "accuracy": 0.97 - 0.62 * math.exp(-4 * done) + rng.gauss(0, 0.003),
            "validation_loss": 2 * math.exp(-2.2 * done) + 0.3 + rng.gauss(0, 0.02),
            "validation_accuracy": 0.9 - 0.56 * math.exp(-4 * done) + rng.gauss(0, 0.006),
            "lr": 0.0125 * (1 + math.cos(math.pi * done)) + 0.001, "temperature": 10 - 9.9 * done,
            "skip_share": 0.125 + 0.25 * rush, "mixing": mixing,
            "architecture": {"notation": GENOTYPE if done > 0.7 else {**GENOTYPE, "normal_concat": [5]}},
        }  # fmt: skip

    write_config(
        folder / "config.yaml",
        "space:\n  class_path: ramify.spaces.DARTSCells\n  init_args:\n    nodes: 4\n"
        f"strategy:\n  class_path: ramify.strategies.GDAS\n  epochs: {epochs}\n  tau_max: 10.0\n  tau_min: 0.1\n"
        "data:\n  source: cifar10\n  batch_size: 64\nnetwork:\n  channels: 16\n  layers: 8\n"
        "seed: 3\ndevice: cuda\nprecision: bf16-mixed\nthreads: 16\n",
    )
    write_json(folder / "provenance.json", provenance("search"))
    write_lines(folder / "history.jsonl", map(row, range(1, epochs + 1)))
    write_json(folder / "architecture.json", {"space": "DARTSCells", "arguments": {}, "values": {}})
    write_json(folder / "result.json", {"notation": GENOTYPE, "score": 0.8987, "seconds": 14420.7})
    retrain = folder / "retrain"
    write_config(
        retrain / "config.yaml",
        "space:\n  class_path: ramify.spaces.DARTSCells\ndata:\n  source: cifar10\n  batch_size: 96\n"
        "network:\n  channels: 36\n  layers: 20\nseed: 3\ndevice: cuda\n",
    )
    write_json(retrain / "provenance.json", provenance("retrain"))
    write_lines(
        retrain / "history.jsonl",
        (
            {
                "phase": "train", "step": 520 * epoch, "steps": 520 * 600, "seconds": 71.3 * epoch, "epoch": epoch,
                "loss": 1.8 * math.exp(-epoch / 110) + 0.08 + rng.gauss(0, 0.01),
                "accuracy": 0.985 - 0.5 * math.exp(-epoch / 70) + rng.gauss(0, 0.002),
                "test_accuracy": 0.971 - 0.45 * math.exp(-epoch / 80) + rng.gauss(0, 0.003) if epoch % 5 == 0 else None,
                "lr": 0.0125 * (1 + math.cos(math.pi * epoch / 600)), "drop_path": 0.2 * epoch / 600,
            }
            for epoch in range(1, 601, 3)
        ),
    )  # fmt: skip
    write_json(
        retrain / "evaluation.json",
        {"split": "test", "images": images, "top1": 0.9734, "top5": 0.9991, "loss": 0.1135, "params": 3349342,
         "macs": 528123456, "latency_ms": {"batch of 1": 7.184, "batch of 64": 21.7}},
    )  # fmt: skip
    write_lines(
        retrain / "reads.jsonl",
        [
            {
                "time": "2026-03-03T04:21:08+00:00",
                "split": "test",
                "images": images,
                "command": "ramify evaluate runs/first",
            }
        ],
    )
    write_json(
        folder / "export" / "manifest.json",
        {"files": {"model.py": "8.1 kB", "model.safetensors": "13.4 MB", "model.onnx": "13.6 MB"},
         "differences": {"model.py": 0.0, "onnxruntime": 1.9e-6}},
    )  # fmt: skip
    return Example(folder, graphs, choices)


def make_trials(folder: Path, count: int = 200, hostile: str = "") -> Example:
    rng = random.Random(1)
    best = (0.0, "")
    rows = []
    for trial in range(1, count + 1):
        ops = [rng.choice(NB201_OPS) for _ in range(6)]
        taste = sum({"nor_conv_3x3": 1.6, "nor_conv_1x1": 1.1, "skip_connect": 0.7}.get(op, 0) for op in ops)
        score = 94.6 - 9 * math.exp(-0.45 * taste * (1 + trial / count)) + rng.gauss(0, 0.25)
        names = [f"{op}~{source}" for op, source in zip(ops, (0, 0, 1, 0, 1, 2), strict=True)]
        notation = f"|{names[0]}|+|{names[1]}|{names[2]}|+|{names[3]}|{names[4]}|{names[5]}|{hostile}"
        best = max(best, (score, notation))
        metrics = {"accuracy": score, "params": int(8e4 + 2.2e5 * taste), "macs": int(1e7 + 2.9e7 * taste)}
        rows.append(
            {"phase": "trial", "step": trial, "steps": count, "seconds": 0.02 * trial, "trial": trial, "score": score,
             "best": best[0], "metrics": metrics, "architecture": {"notation": notation}}
        )  # fmt: skip
    write_config(
        folder / "config.yaml",
        "space:\n  class_path: ramify.spaces.NASBench201\nstrategy:\n"
        "  class_path: ramify.strategies.RegularizedEvolution\n  population: 50\n"
        "data:\n  source: table\nseed: 0\ndevice: cpu\n",
    )
    write_json(folder / "provenance.json", {**provenance("search"), "git": hostile or None})
    write_lines(folder / "history.jsonl", rows)
    write_json(folder / "result.json", {"notation": best[1], "score": best[0], "seconds": 4.05})
    ops = [part.split("~")[0] for part in best[1].split("|") if "~" in part]
    pairs = tuple((source, target) for target in range(1, 4) for source in range(target))
    choices = {"cell": Options(pairs, NB201_OPS, [[True] * 5 for _ in pairs])}
    return Example(folder, {f"cell{hostile}": nb201_graph(ops)}, choices)
