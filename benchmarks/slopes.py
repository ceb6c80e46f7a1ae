"""How the cost of a weight step grows with channels, layers, batch and candidates, in every execution.

    python benchmarks/slopes.py [--rounds 5] [--quick] [--json FILE]

Mixture steps of the supernets of DARTS and NAS-Bench-201 on random images of 32×32; one quantity changes at a time.
Executions take turns within one process; figures are medians of CPU time, of one thread, so that other work on the
machine counts little. A slope is that of the logarithms between a point and the one before it: 1 is a cost that grows
with the quantity, 0 one that does not. Where it is far below 1 over the channels, time goes into calls and not into
arithmetic.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from machine import in_words, machine, write
from ramify.execution import fastest, prepare
from ramify.spaces import DARTSCells, NASBench201, Space


@dataclass(frozen=True)
class Family:
    """A space, with operations in the order in which they join, and what a step is when nothing else is said."""

    space: type[Space]
    operations: tuple[str, ...]
    depth: str
    usual: Mapping[str, int]
    points: Mapping[str, Sequence[int]]


CHANNELS = (4, 8, 16, 32)
FAMILIES = {
    "DARTS": Family(
        DARTSCells,
        (
            "none",
            "sep_conv_3x3",
            "skip_connect",
            "max_pool_3x3",
            "sep_conv_5x5",
            "dil_conv_3x3",
            "avg_pool_3x3",
            "dil_conv_5x5",
        ),
        "layers",
        {"channels": 16, "layers": 4, "batch": 16, "candidates": 8},
        {"channels": CHANNELS, "layers": (4, 8, 16), "batch": (4, 16, 64), "candidates": (2, 4, 8)},
    ),
    "NAS-Bench-201": Family(
        NASBench201,
        ("none", "nor_conv_3x3", "skip_connect", "nor_conv_1x1", "avg_pool_3x3"),
        "cells",
        {"channels": 16, "cells": 1, "batch": 32, "candidates": 5},
        {"channels": CHANNELS, "cells": (1, 2, 4), "batch": (8, 32, 128), "candidates": (2, 3, 5)},
    ),
}


@dataclass(frozen=True)
class Cost:
    """CPU milliseconds of a step by execution, where one quantity has a value and the others are as usual."""

    family: str
    quantity: str
    value: int
    milliseconds: dict[str, float]


def step_of(family: Family, size: Mapping[str, int], execution: str) -> Callable[[], None]:
    """Return a weight step of a mixture, with SGD and clipped gradients."""
    torch.manual_seed(0)
    space = family.space(operations=family.operations[: size["candidates"]])
    network = space.supernet(channels=size["channels"], **{family.depth: size[family.depth]})
    prepare(network, execution)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    images = torch.randn(size["batch"], 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(len(images)) % 10
    mix = {name: torch.randn(choice.shape).softmax(dim=-1) for name, choice in network.choices.items()}

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images, mix), labels).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    return step


def measure(name: str, size: Mapping[str, int], executions: Sequence[str], rounds: int) -> dict[str, float]:
    """Return CPU milliseconds of a step by execution."""
    steps = {execution: step_of(FAMILIES[name], size, execution) for execution in executions}
    taken: dict[str, list[float]] = {execution: [] for execution in executions}
    for number in range(rounds + 1):
        for execution, step in steps.items():
            start = time.process_time()
            step()
            if number:  # the first one warms up
                taken[execution].append(1000 * (time.process_time() - start))
    return {execution: statistics.median(times) for execution, times in taken.items()}


def slopes(costs: Sequence[Cost], execution: str) -> list[float]:
    """Return the slopes of logarithms between neighbors."""
    return [
        math.log(b.milliseconds[execution] / a.milliseconds[execution]) / math.log(b.value / a.value)
        for a, b in pairwise(costs)
    ]


def print_costs(costs: Sequence[Cost]) -> None:
    """Print a table of one quantity: its values across, executions down, slopes behind the costs."""
    name, quantity = costs[0].family, costs[0].quantity
    usual = ", ".join(f"{value} {key}" for key, value in FAMILIES[name].usual.items() if key != quantity)
    print(f"\n| {name}, {usual}; {quantity}: | {' | '.join(str(cost.value) for cost in costs)} |")
    print("|---" * (len(costs) + 1) + "|")
    for execution in costs[0].milliseconds:
        steep = ["", *(f" ({slope:.2f})" for slope in slopes(costs, execution))]
        cells = [f"{c.milliseconds[execution]:.0f} ms{text}" for c, text in zip(costs, steep, strict=True)]
        print(f"| {execution} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="channels alone, in two rounds: a look, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 2 if arguments.quick else arguments.rounds
    executions = ["plain", "shared", *(["compiled"] if fastest("cpu", "32-true") == "compiled" else [])]
    print(in_words(machine()))
    print(f"one thread, CPU time, medians of {rounds}; in brackets the slope of the logarithms")
    found: list[dict[str, Any]] = []
    for name, family in FAMILIES.items():
        for quantity, values in family.points.items():
            if arguments.quick and quantity != "channels":
                continue
            sizes = [dict(family.usual) | {quantity: value} for value in values]
            costs = [Cost(name, quantity, s[quantity], measure(name, s, executions, rounds)) for s in sizes]
            print_costs(costs)
            found += [asdict(cost) for cost in costs]
            found[-1]["slopes"] = {execution: slopes(costs, execution) for execution in executions}
    write(arguments.json, threads=1, rounds=rounds, costs=found)


if __name__ == "__main__":
    main()
