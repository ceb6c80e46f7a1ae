"""Widths and depths that TAS finds, against a uniform width and a random member of that cost, after equal training.

    python benchmarks/pruning.py [--data digits] [--seeds 20] [--first 0] [--depth 20] [--target 0.5]
        [--search 40] [--train 40] [--teacher] [--out runs/pruning] [--json FILE]

For each seed: a search of ResNet-20 by TAS; the member of one share of all widths, at full depth, whose multiply-adds
are nearest to those of what was found; a member of random widths and depths that costs as much as what was found, or
less by at most the tolerance of the target, where drawing finds one: what short trainings gain by shallow networks, it
gains as well. All are trained anew on the same images by the same recipe and seed, and tested. With `--teacher` the
whole network is trained as well, and teaches all. Everything is kept in run folders, and the same command continues.
Below the table stand the mean paired differences of the accuracy with their 95 % intervals.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import ramify
from machine import in_words, machine, paired, write
from ramify.architecture import Architecture
from ramify.costs import Inputs, draw_within, member_costs
from ramify.data import DataSpec
from ramify.errors import RunError
from ramify.seeding import rng
from ramify.spaces import PrunableResNet
from ramify.strategies import TAS
from ramify.training import Distillation, Recipe

STEP = 0.005


def uniform(depth: int, inputs: Inputs, wanted: float) -> tuple[PrunableResNet, Architecture]:
    """Return the network of one share of all widths whose multiply-adds are nearest to those that are wanted."""

    def narrow(share: float) -> tuple[float, PrunableResNet, Architecture]:
        space = PrunableResNet(depth=depth, shares=(share, 1))
        widths = {conv.name: own[0] for conv, own in zip(space.plan.convolutions, space.widths, strict=True)}
        arch = space.architecture(dict(space.full.choices) | widths)
        return member_costs(space, inputs, names=["macs"])(arch)["macs"], space, arch

    low, high = 1, round(1 / STEP) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if narrow(middle * STEP)[0] <= wanted else (low, middle)
    _, space, arch = min((narrow(number * STEP) for number in (low, high)), key=lambda found: abs(found[0] - wanted))
    return space, arch


def strategy(options: argparse.Namespace) -> TAS:
    """Return the search: the published one, shortened."""
    return TAS(
        epochs=options.search,
        batch_size=options.batch,
        target=options.target,
        arch_lr=options.arch_lr,
        drop_last=False,
    )


def recipe(options: argparse.Namespace, teacher: Path | None) -> Recipe:
    """Return how both networks are trained."""
    return Recipe(
        epochs=options.train,
        batch_size=options.batch,
        lr=0.1,
        nesterov=True,
        weight_decay=5e-4,
        warmup_epochs=2,
        auxiliary=False,
        drop_path=0.0,
        cutout=0,
        distillation=Distillation(teacher=None if teacher is None else str(teacher)),
    )


def run(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Search, train and test; return what came of it."""
    home = Path(options.out) / f"{seed}"
    common: dict[str, Any] = {"seed": seed, "device": "cpu", "threads": 1, "progress": False}
    data = DataSpec(source=options.data, subset=options.subset, test=options.test)
    space = PrunableResNet(depth=options.depth)
    found = ramify.search(space, strategy(options), data, out=home, **common)
    assert found.task is not None
    inputs = Inputs(found.task.shape, found.task.input_size)
    costs = member_costs(space, inputs, names=["macs"])
    own, whole = costs(found.architecture)["macs"], costs(space.full)["macs"]
    other_space, other = uniform(options.depth, inputs, own)
    cost = member_costs(other_space, inputs, names=["macs"])(other)["macs"]
    teacher = None
    if options.teacher:
        teacher = home / "whole"
        ramify.retrain(space.full, data, out=teacher, recipe=recipe(options, None), **common)
    within = (own - strategy(options).tolerance * whole, own)
    arms = {"found": found.architecture, "uniform": other}
    with suppress(RunError):  # of small targets none is found by drawing
        arms["random"] = draw_within(space, "macs", *within, inputs)(rng(seed, "random member"))
    tested = {}
    for name, arch in arms.items():
        trained = ramify.retrain(arch, data, out=home / name, recipe=recipe(options, teacher), **common)
        tested[name] = 100 * ramify.evaluate(trained, device="cpu", threads=1).top1
    met = json.loads((home / "result.json").read_text())["budget"]["met"]
    record = space.format(found.architecture)
    shares = {"macs": own / whole, "uniform_macs": cost / whole}
    if "random" in arms:
        shares["random_macs"] = costs(arms["random"])["macs"] / whole
    return {"seed": seed, **shares, "met": met, **tested, "network": record}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--subset", type=int)
    parser.add_argument("--test")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--target", type=float, default=0.5)
    parser.add_argument("--search", type=int, default=40)
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--arch_lr", type=float, default=0.01)
    parser.add_argument("--teacher", action="store_true")
    parser.add_argument("--out", default="runs/pruning")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(in_words(machine()))
    print(f"ResNet-{options.depth} on {options.data}, target {options.target:g}")
    print("seed   macs  uniform   random   met   found, %   uniform, %   random, %")
    results = []
    for seed in range(options.first, options.first + options.seeds):
        result = run(seed, options)
        results.append(result)
        drawn = (result.get("random_macs", np.nan), result.get("random", np.nan))
        numbers = f"{result['macs']:6.3f} {result['uniform_macs']:8.3f} {drawn[0]:8.3f}   {result['met']!s:5}"
        accuracies = f"{result['found']:10.2f} {result['uniform']:12.2f} {drawn[1]:11.2f}"
        print(f"{seed:4} {numbers} {accuracies}", flush=True)
    for other in ("uniform", "random"):
        both = [result for result in results if other in result]
        if not both:
            continue
        own, others = ([result[name] for result in both] for name in ("found", other))
        print(f"found and {other}: {np.mean(own):.2f} and {np.mean(others):.2f}, {paired(own, others)}")
    write(options.json, options=vars(options) | {"json": str(options.json)}, results=results)


if __name__ == "__main__":
    main()
