"""What a search on the loss of a task finds, against a random member of like cost, after equal training.

    python benchmarks/at_work.py [--task segmentation] [--strategy GDAS] [--space chain] [--seeds 10] [--first 0]
        [--search 6] [--train 15] [--channels 8] [--lr 0.02] [--arch_lr 0.01] [--evaluations 60] [--fine_tune 0]
        [--data shapes] [--out runs/at-work] [--json FILE]

For each seed: a search of a small chain, or of cells, on the loss of pixels, or of boxes; a random member whose
multiply-adds are those of what was found, give or take 5 %. Both are trained anew on the same images by the same recipe
and seed, and tested by the score of the task. Everything is kept in run folders, and the same command continues. Below
the table stands the mean paired difference with its 95 % interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ramify
from machine import in_words, machine, paired, write
from ramify.costs import Inputs, draw_within, member_costs
from ramify.data import DataSpec
from ramify.evaluators import TrainFromScratch
from ramify.seeding import rng
from ramify.spaces import CDARTSChain, NASBench201, Space
from ramify.strategies import DARTS, GDAS, SPOS, RegularizedEvolution, Strategy
from ramify.tasks import Detection, Segmentation, Task
from ramify.training import Recipe

ALIKE = 0.05
SPACES: dict[str, Space] = {"chain": CDARTSChain(blocks=(1, 2, 2, 2, 1)), "cells": NASBench201()}
TASKS: dict[str, dict[str, Task]] = {
    "chain": {"segmentation": Segmentation(factor=2), "detection": Detection(width=32, base=2.0)},
    "cells": {"segmentation": Segmentation(head="lraspp")},  # maps of strides 1, 2 and 4
}


def strategy(options: argparse.Namespace) -> Strategy:
    """Return a search of so many epochs; an evolution trains every candidate for as many."""
    gradients = {"epochs": options.search, "batch_size": 16, "lr": options.lr, "arch_lr": options.arch_lr}
    if options.strategy == "SPOS":
        return SPOS(
            epochs=options.search, batch_size=16, lr=options.lr, label_smoothing=0.0, evaluations=options.evaluations,
            population=20, parents=5, crossovers=10, recalibrate=64, fine_tune=options.fine_tune,
        )  # fmt: skip
    if options.strategy == "evolution":
        trained = TrainFromScratch(training=recipe(options, options.search))
        return RegularizedEvolution(evaluations=options.evaluations, population=8, evaluator=trained)
    return {"GDAS": GDAS, "DARTS": DARTS}[options.strategy](**gradients)


def recipe(options: argparse.Namespace, epochs: int) -> Recipe:
    """Return how both networks are trained, and the candidates of an evolution, for so many epochs."""
    return Recipe(
        epochs=epochs,
        batch_size=16,
        optimizer="muon",
        lr=0.02 if options.task == "segmentation" else 0.01,
        rest_lr=0.003,
        weight_decay=0.01,
        warmup_epochs=1,
        drop_path=0.0,
        auxiliary=False,
    )


def run(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Search, train and test; return what came of it."""
    space, task = SPACES[options.space], TASKS[options.space][options.task]
    home = Path(options.out) / options.space / options.task / options.strategy / f"{seed}"
    common: dict[str, Any] = {"seed": seed, "device": "cpu", "threads": 1, "progress": False}
    data, network = DataSpec(source=options.data, targets=task.targets), {"channels": options.channels}
    network |= {"cells": 1} if options.space == "cells" else {}
    found = ramify.search(space, strategy(options), data, task=task, out=home, network=network, **common)
    assert found.task is not None
    inputs = Inputs(found.task.shape, found.task.input_size)
    costs = member_costs(space, inputs, network, names=["macs"])
    own = costs(found.architecture)["macs"]
    draw = draw_within(space, "macs", (1 - ALIKE) * own, (1 + ALIKE) * own, inputs, network)
    drawn = draw(rng(seed, "random member"))
    tested = {}
    for name, arch in (("found", found.architecture), ("random", drawn)):
        trained = ramify.retrain(
            arch,
            data,
            task=task,
            space=space,
            out=home / name,
            network=network,
            recipe=recipe(options, options.train),
            **common,
        )
        tested[name] = ramify.evaluate(trained, device="cpu", threads=1).metrics[task.metrics[0].name]
    return {
        "seed": seed, "macs": own, "random_macs": costs(drawn)["macs"], **tested,
        "network": space.format(found.architecture),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(TASKS["chain"]), default="segmentation")
    parser.add_argument("--strategy", choices=["DARTS", "GDAS", "SPOS", "evolution"], default="GDAS")
    parser.add_argument("--space", choices=sorted(SPACES), default="chain")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--search", type=int, default=6, metavar="EPOCHS", help="of the search, or of each candidate")
    parser.add_argument("--train", type=int, default=15)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--arch_lr", type=float, default=0.01)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--fine_tune", type=int, default=0)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--out", default="runs/at-work")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(in_words(machine()))
    if options.task not in TASKS[options.space]:
        parser.error(f"--space {options.space} is for --task {', '.join(TASKS[options.space])}")
    score = TASKS[options.space][options.task].metrics[0].name
    print(
        f"{options.task} of {options.data}, {options.space}, {options.strategy}, {score} after {options.train} epochs"
    )
    print("seed   macs, M   random   found   random")
    results = []
    for seed in range(options.first, options.first + options.seeds):
        result = run(seed, options)
        results.append(result)
        costs = f"{result['macs'] / 1e6:9.2f} {result['random_macs'] / 1e6:8.2f}"
        print(f"{seed:4} {costs} {result['found']:7.3f} {result['random']:8.3f}", flush=True)
    found, random = ([result[name] for result in results] for name in ("found", "random"))
    print(f"found minus random: {paired(found, random, 4)}")
    write(options.json, options=vars(options) | {"json": str(options.json)}, results=results)


if __name__ == "__main__":
    main()
