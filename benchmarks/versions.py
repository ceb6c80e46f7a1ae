"""What a step of every strategy costs, beside the same step of another version of the sources.

    python benchmarks/versions.py ../before/src [--pairs 30] [--only GDAS,DARTS] [--json FILE]

Two processes, one for each version, hold the same search and take a few steps in turns, so a busy machine slows both.
The figures are the median of the ratio after / before over the pairs, and its 95 % interval (bootstrap of the median).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "DARTS": ("DARTS", {}),
    "DARTS, second order": ("DARTS", {"order": 2}),
    "PC-DARTS": ("PCDARTS", {"arch_start": 0, "lr": 0.01}),
    "P-DARTS": ("PDARTS", {"arch_start": 0}),
    "GDAS": ("GDAS", {}),
    "SETN": ("SETN", {}),
    "NASP": ("NASP", {}),
    "ENAS": ("ENAS", {}),
    "ProxylessNAS": ("ProxylessNAS", {"warmup_epochs": 0, "arch_start": 0, "arch_every": 1}),
    "CDARTS": ("CDARTS", {"cycles": 50, "pretrain_epochs": 0, "warmup_epochs": 0}),
    "RSPS": ("RSPS", {}),
    "SPOS": ("SPOS", {"lr": 0.05, "recalibrate": 0}),
    "FairNAS": ("FairNAS", {"lr": 0.05, "recalibrate": 0}),
}
"""Name of a row → strategy and the settings that make every step a whole one."""

STEPS = 8
LAYOUT = {"channels": 8, "cells": 1}


def serve() -> None:
    """Take steps of the searches that are asked for, each line of input a row's name; answer with seconds."""
    import torch

    from ramify import strategies
    from ramify.data import DataSpec, load
    from ramify.run import make_fabric
    from ramify.spaces import NASBench201
    from ramify.tasks import Classification
    from ramify.training import Work

    torch.set_num_threads(1)
    data = load(DataSpec(source="digits"))
    runs: dict[str, Any] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in runs:
            kind, settings = SETTINGS[name]
            strategy = getattr(strategies, kind)(
                batch_size=32, **({} if kind == "CDARTS" else {"epochs": 1000}), **settings
            )
            work = Work(Classification().on(data), 0, make_fabric("cpu", threads=1), LAYOUT)
            runs[name] = strategy.session(NASBench201(), work).run()
        start = time.perf_counter()
        for _ in range(STEPS):
            next(runs[name])
        print(time.perf_counter() - start, flush=True)


class Version:
    """A version of the sources at work."""

    def __init__(self, source: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(source.resolve()), "OMP_NUM_THREADS": "1"},
        )

    def seconds(self, name: str) -> float:
        """Return what some steps of a search take."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def interval(ratios: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, nargs="?", help="the other version's `src`")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--only", default=",".join(SETTINGS).replace("DARTS, second", "DARTS; second"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve()
        return
    from machine import write  # not in `serve`, whose sources may be older than what this needs

    before, after = Version(chosen.before), Version(Path(__file__).resolve().parents[1] / "src")
    rows = {}
    print(f"{'strategy':22} {'ratio':>6}  95 % interval")
    for name in (word.replace(";", ",") for word in chosen.only.split(",")):
        ratios = []
        for number in range(chosen.pairs + 2):
            order = (before, after) if number % 2 else (after, before)
            seconds = {version: version.seconds(name) for version in order}
            if number >= 2:  # the first two warm up
                ratios.append(seconds[after] / seconds[before])
        low, high = interval(ratios)
        rows[name] = {"ratio": statistics.median(ratios), "low": low, "high": high, "pairs": len(ratios)}
        print(f"{name:22} {rows[name]['ratio']:6.3f}  {low:.3f} to {high:.3f}", flush=True)
    write(chosen.json, before=str(chosen.before), threads=1, rows=rows)


if __name__ == "__main__":
    main()
