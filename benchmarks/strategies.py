"""What a step of every strategy costs, beside a step of first-order DARTS on the same supernet and batch.

    python benchmarks/strategies.py [--quick] [--json FILE]

A whole step is what one batch of training images costs: the step of the weights, and the share of the step of the
architecture or of the controller. The strategies take turns within one process, so a busy machine slows all of them;
the figure that counts is the median, over rounds, of the ratio to the DARTS step of the same round. What a strategy
spends once at the end, on scoring candidates with the shared weights, is given apart. Peak memory is that of the first
whole step in a fresh process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from machine import write
from ramify.data import Data, load
from ramify.run import make_fabric
from ramify.seeding import rng
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import DARTS, ENAS, GDAS, NASP, PCDARTS, RSPS, SETN, Strategy
from ramify.tasks import Classification
from ramify.training import Work, single_path
from supernet import THREADS, resident_mib

CIFAR = 25_000
"""Images that weights learn from in a search on CIFAR-10, and as many that architectures are scored on."""

FAMILIES = {  # space, layout of its supernet, batch size
    "DARTS space (16 channels, 8 cells, batch 16)": (DARTSCells(), {"channels": 16, "layers": 8}, 16),
    "NAS-Bench-201 (16 channels, N = 5, batch 32)": (NASBench201(), {"channels": 16, "cells": 5}, 32),
}

STRATEGIES: dict[str, Callable[[int], Strategy]] = {
    "DARTS": lambda batch: DARTS(batch_size=batch),
    "DARTS, second order": lambda batch: DARTS(batch_size=batch, order=2),
    "GDAS": lambda batch: GDAS(batch_size=batch),
    "SETN": lambda batch: SETN(batch_size=batch),
    "ENAS": lambda batch: ENAS(batch_size=batch),
    "RSPS": lambda batch: RSPS(batch_size=batch),
    "NASP": lambda batch: NASP(batch_size=batch),
    "PCDARTS": lambda batch: PCDARTS(batch_size=batch, arch_start=0),
}
CHEAP = ("GDAS", "SETN", "ENAS", "RSPS")
"""Those that must cost less than DARTS."""


@dataclass(frozen=True)
class Result:
    """Costs of one strategy on one supernet; ratios are to DARTS.

    Args:
        step: Seconds of a whole step.
        ratio: Of whole steps.
        weights: Of that, the part of the step of the weights; the rest is that of architecture or controller.
        selection: What scoring candidates at the end adds to a step, were it spread over all of them.
        memory: Peak of a whole step in MiB.
        memory_ratio: Of peaks.
    """

    family: str
    strategy: str
    step: float
    ratio: float
    weights: float
    selection: float
    memory: float
    memory_ratio: float


class Noise(Dataset):
    """Images of the size of CIFAR's."""

    def __init__(self, count: int, seed: int) -> None:
        self.images = torch.randint(256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed)).byte()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return self.images[number], number % 10


def make_data(batch: int, steps: int) -> Data:
    """Return noise for so many steps of training and as many of validation."""
    return load((Noise(2 * batch * steps, 0), Noise(10, 1)))


class Steps:
    """A strategy at work, step by step, with its parts timed."""

    def __init__(self, family: str, name: str, data: Data) -> None:
        space, layout, batch = FAMILIES[family]
        self.name, self.space, self.batch = name, space, batch
        self.strategy: Any = STRATEGIES[name](batch)
        task = Work(Classification().on(data), 0, make_fabric("cpu", threads=THREADS), layout)
        self.session: Any = self.strategy.session(space, task)
        self.weights = getattr(self.session, "weights", None) or self.session.evaluation.weights
        self.seconds_of_weights = 0.0
        descend = self.weights.descend

        def timed(*args: Any, **options: Any) -> None:
            start = time.perf_counter()
            descend(*args, **options)
            self.seconds_of_weights += time.perf_counter() - start

        self.weights.descend = timed
        self.run = self.session.run()
        self.updates = self._controller_updates(family, data) if isinstance(self.strategy, ENAS) else None

    def _controller_updates(self, family: str, data: Data) -> Iterator[Any]:
        """Return a search that is about to update the controller, and will do so again and again."""
        space, layout, batch = FAMILIES[family]
        strategy = ENAS(batch_size=batch, controller_updates=10**6)
        session: Any = strategy.session(
            space, Work(Classification().on(data), 0, make_fabric("cpu", threads=THREADS), layout)
        )
        session.load_state_dict(session.state_dict() | {"step": session.weights.steps_per_epoch})
        return session.run()

    def __call__(self) -> tuple[float, float]:
        """Do a whole step; return its seconds, and those of its step of the weights."""
        self.seconds_of_weights = 0.0
        start = time.perf_counter()
        next(self.run)
        seconds = time.perf_counter() - start
        return seconds + self._controller(), self.seconds_of_weights

    def _controller(self) -> float:
        """Return the share of a step in the controller's updates of an epoch on CIFAR-10, by the paper's batches."""
        if self.updates is None:
            return 0.0
        start = time.perf_counter()
        next(self.updates)
        share = ENAS().controller_updates / (CIFAR // ENAS().batch_size)
        # An update looks at `samples` batches, so its time belongs to batches of the same size as the weights'.
        return (time.perf_counter() - start) * share

    def selection(self) -> float:
        """Return the seconds that scoring candidates on CIFAR-10 at the end adds to each of the published steps."""
        count = getattr(self.strategy, "selected", 0) or getattr(self.strategy, "candidates", 0)
        if not isinstance(count, int) or not count:
            return 0.0
        images = next(self.weights.batches(self.weights.split, 0)).inputs
        path, active = single_path(self.space, self.space.sample(rng(0, "selection")))
        self.weights.supernet.eval()
        start = time.perf_counter()
        with torch.no_grad():
            self.weights.supernet(images, path, active=active)
        seconds = time.perf_counter() - start
        return seconds * count / self.strategy.epochs  # batches to score on per candidate and steps per epoch are equal


def measure_times(family: str, names: list[str], rounds: int) -> dict[str, tuple[float, float, float, float]]:
    """Return for every strategy the medians of step, ratio, share of the weights, and ratio of the selection."""
    batch = FAMILIES[family][2]
    data = make_data(batch, 4 * rounds + 8)
    at_work = {name: Steps(family, name, data) for name in names}
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for number in range(rounds + 1):
        order = names[number % len(names) :] + names[: number % len(names)]
        for name in order:
            repeats = 3 if name in CHEAP else 1  # paths differ in cost
            done = [at_work[name]() for _ in range(repeats)]
            step, weights = (statistics.mean(column) for column in zip(*done, strict=True))
            if number > 0:  # the first round warms up
                rows[name].append((step, weights, at_work[name].selection()))
    found = {}
    for name in names:
        pairs = [(row, base) for row, base in zip(rows[name], rows["DARTS"], strict=True)]
        found[name] = (
            statistics.median(row[0] for row, _ in pairs),
            statistics.median(row[0] / base[0] for row, base in pairs),
            statistics.median(row[1] / base[0] for row, base in pairs),
            statistics.median(row[2] / base[0] for row, base in pairs),
        )
    return found


def print_step_memory(family: str, name: str) -> None:
    """Print the peak of resident memory during the first whole step, less what was resident before it."""
    torch.nn.Conv2d(3, 8, 3)(torch.randn(2, 3, 32, 32)).sum().backward()  # the convolution library loads itself
    steps = Steps(family, name, make_data(FAMILIES[family][2], 24))
    before = resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    steps()
    print(resident_mib("VmHWM") - before)


def measure_memory(family: str, names: list[str], repeats: int) -> dict[str, float]:
    peaks: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name, values in peaks.items():
            command = [sys.executable, __file__, "--memory-of", family, name]
            values.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return {name: statistics.median(values) for name, values in peaks.items()}


def measure(family: str, rounds: int, repeats: int) -> list[Result]:
    names = list(STRATEGIES)
    times, peaks = measure_times(family, names, rounds), measure_memory(family, names, repeats)
    return [Result(family, name, *times[name], peaks[name], peaks[name] / peaks["DARTS"]) for name in names]


def print_table(results: list[Result]) -> None:
    for family in dict.fromkeys(result.family for result in results):
        print(f"\n| {family} | step | to DARTS | weights | rest | selection | memory | to DARTS |")
        print("|---|---|---|---|---|---|---|---|")
        for r in (result for result in results if result.family == family):
            print(
                f"| {r.strategy} | {r.step:.2f} s | {r.ratio:.2f} | {r.weights:.2f} | {r.ratio - r.weights:.2f} "
                f"| {f'{r.selection:.2f}' if r.selection else ''} | {r.memory:.0f} MiB | {r.memory_ratio:.2f} |"
            )
    dear = [f"{r.strategy} ({r.family})" for r in results if r.strategy in CHEAP and r.ratio > 0.75]
    print("\nMISSED: " + ", ".join(dear) if dear else "\nmet: " + ", ".join(CHEAP) + " cost less than 0.75 of DARTS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--memory-of", nargs=2, metavar=("FAMILY", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    if arguments.memory_of:
        print_step_memory(*arguments.memory_of)
        return
    rounds, repeats = (2, 1) if arguments.quick else (9, 3)
    results = [result for family in FAMILIES for result in measure(family, rounds, repeats)]
    print_table(results)
    write(arguments.json, threads=THREADS, results=[asdict(result) for result in results])


if __name__ == "__main__":
    main()
