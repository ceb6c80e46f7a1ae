"""What the loop of a final training costs, beside a bare loop over the same network and batches.

    python benchmarks/training.py [--pairs 30] [--threads N] [--quick] [--json FILE]

The bare loop is what one writes by hand: batches of `Split.batches`, forward and backward pass, clipping, SGD with
momentum. Both sides hold a network of their own with equal weights, in the same execution, and take an epoch each in
turns within one process; the program stops unless their weights agree afterwards. The figure is bare / ours: 1 is no
cost, 0.95 must be reached. Median of the pairs and its 95 % interval (bootstrap of the median).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from machine import in_words, machine, write
from ramify.data import Data, load
from ramify.execution import fastest, prepare
from ramify.run import make_fabric
from ramify.seeding import seeded
from ramify.spaces import NASBench201
from ramify.tasks import Classification
from ramify.training import Recipe, TrainingSession, Work
from versions import interval

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
MUST = 0.95
SIZES: dict[str, tuple[tuple[int, ...], int, dict[str, int]]] = {
    "CIFAR size": ((3, 32, 32), 4, {"channels": 16, "cells": 1}),
    "digits": ((1, 8, 8), 8, {"channels": 8, "cells": 1}),
}
"""Shape of an image, steps of an epoch, layout of the network."""
BATCH = 64


@dataclass(frozen=True)
class Row:
    """Seconds of an epoch, and how many times faster ours is than the bare loop."""

    name: str
    bare: float
    ours: float
    ratio: float
    low: float
    high: float


def made_up(shape: tuple[int, ...], count: int) -> Data:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *shape[1:], shape[0]), dtype=torch.uint8, generator=draw)
    labels = torch.arange(count) % 10
    return load(((images.numpy(), labels.numpy()), (images[:20].numpy(), labels[:20].numpy())), quiet=True)


def network_of(layout: dict[str, int], data: Data) -> nn.Module:
    space = NASBench201()
    with seeded(0, "network"):
        return space.build(space.parse(CELL), layout, shape=data.shape)


class Bare:
    """The loop that one writes by hand."""

    def __init__(self, network: nn.Module, recipe: Recipe, data: Data, steps: int) -> None:
        self.network, self.recipe, self.steps, self.epoch = network.train(), recipe, steps, 0
        self.split, self.augmentation = data.split("train"), recipe.augmentation(data.augmentation, data.input_size)
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )

    def run(self) -> None:
        """Train for an epoch."""
        batches = self.split.batches(
            BATCH, seed=0, epoch=self.epoch, shuffle=True, augmentation=self.augmentation, drop_last=True
        )
        for images, labels in batches:
            self.optimizer.zero_grad()
            F.cross_entropy(self.network(images), labels).backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
            self.optimizer.step()
        self.epoch += 1


class Ours:
    """A `TrainingSession`, an epoch at a time."""

    def __init__(self, session: TrainingSession) -> None:
        self.steps: Iterator[Any] = session.run()

    def run(self) -> None:
        """Train for an epoch."""
        for metrics in self.steps:
            if metrics.values:
                return


def measure(name: str, pairs: int, execution: str, threads: int) -> Row:
    shape, steps, layout = SIZES[name]
    data = made_up(shape, steps * BATCH)
    recipe = Recipe(
        epochs=pairs + 3, batch_size=BATCH, lr=0.01, schedule="constant", drop_path=0.0, auxiliary=False, cutout=4
    )
    bare_network = prepare(network_of(layout, data), execution)
    bare = Bare(bare_network, recipe, data, steps)
    work = Work(Classification().on(data), 0, make_fabric("cpu", threads=threads), layout, execution=execution)
    session = TrainingSession(network_of(layout, data), recipe, work)
    ours = Ours(session)
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for number in range(pairs + 2):
        sides = [("bare", bare), ("ours", ours)]
        for side, loop in sides if number % 2 else reversed(sides):
            start = time.perf_counter()
            loop.run()
            if number >= 2:  # the first two warm up
                times[side].append(time.perf_counter() - start)
    for a, b in zip(bare_network.parameters(), session.network.parameters(), strict=True):
        if not torch.allclose(a, b, rtol=1e-3, atol=1e-4):
            raise SystemExit(f"{name}: the two loops came to different weights, so the times would mean nothing")
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    return Row(name, *map(statistics.median, times.values()), statistics.median(ratios), *interval(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few pairs: a look, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    execution = fastest("cpu", "32-true")
    print(f"{in_words(machine())}; execution {execution}, {chosen.threads} threads")
    print(f"{'':12}{'bare':>9}{'ours':>9}  bare / ours")
    rows = []
    for name in SIZES:
        row = measure(name, 4 if chosen.quick else chosen.pairs, execution, chosen.threads)
        rows.append(row)
        verdict = "met" if row.ratio >= MUST else "MISSED"
        times = f"{row.bare:8.3f}s{row.ours:8.3f}s"
        print(f"{name:12}{times}  {row.ratio:.3f} ({row.low:.3f} to {row.high:.3f})  ≥{MUST} {verdict}", flush=True)
    write(chosen.json, execution=execution, threads=chosen.threads, rows=[asdict(row) for row in rows])


if __name__ == "__main__":
    main()
