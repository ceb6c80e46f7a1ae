"""What each part of the recipe `fast-cifar10` brings: every arm has the same CPU time, on one thread.

    python benchmarks/fast_cifar10.py --data cifar10-train.parquet
        [--minutes 10] [--arms all "random flip" …] [--seed 0] [--json FILE]

An arm is the recipe with something left out or added. CPU time is measured, so that other work on the machine counts
little. Its steps are timed first, and it trains for as many whole epochs as its minutes hold, by a schedule that ends
with them. What is compared is the accuracy on 5,000 training images that are held out; the test split is not looked at.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from machine import in_words, machine, write
from ramify import recipes, zoo
from ramify.data import load
from ramify.run import make_fabric
from ramify.seeding import seeded
from ramify.tasks import Classification
from ramify.training import Recipe, TrainingSession, Work, measure

NETWORK = "Airbench94"
HELD_OUT = 0.1
ARMS: dict[str, dict[str, Any]] = {
    "all": {},
    "random flip": {"flip": True},
    "no whitening": {"whiten": 0},
    "no label smoothing": {"label_smoothing": 0.0},
    "SGD": {
        "optimizer": "sgd",
        "lr": 0.4,
        "rest_lr": 0.0,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
    },
    "moving average": {"ema": 0.98},
    "batches of 500": {"batch_size": 500},
    "float32": {"precision": "32-true"},
}


@dataclass(frozen=True)
class Row:
    """An arm: epochs that its time held, seconds of CPU, and the percentage of held-out images that it gets right."""

    arm: str
    epochs: int
    seconds: float
    accuracy: float


def trained(arm: str, data: Any, options: argparse.Namespace) -> Row:
    """Train an arm for its time."""
    changes = dict(ARMS[arm])
    fabric = make_fabric("cpu", changes.pop("precision", "bf16-mixed"), 1)
    recipe: Recipe = replace(
        recipes.load("fast-cifar10")["recipe"], crop=2, validation=HELD_OUT, **{"epochs": 1, **changes}
    )
    task = Classification().on(data)

    def session(epochs: int) -> TrainingSession:
        work = Work(task, options.seed, fabric, {})
        space, arch = zoo.get(NETWORK).space, zoo.get(NETWORK).architecture
        with seeded(options.seed, "network"):
            network = task.network(space.build(arch, shape=work.shape))
        return TrainingSession(network, replace(recipe, epochs=epochs), work)

    timed = session(1)
    steps = timed.run()
    next(steps)  # which prepares much
    start = time.process_time()
    count = len(list(islice(steps, 3)))
    per_epoch = (time.process_time() - start) / count * timed.steps_per_epoch
    whole = session(max(1, math.floor(60 * options.minutes / per_epoch)))
    start = time.process_time()
    for _ in whole.run():
        pass
    seconds = time.process_time() - start
    assert whole.validation is not None
    accuracy = measure(whole.trained, whole.validation, device=fabric.device).score
    return Row(arm, whole.recipe.epochs, seconds, 100 * accuracy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="CIFAR-10, to train on")
    parser.add_argument("--minutes", type=float, default=10, metavar="N")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(in_words(machine()), flush=True)
    data = load(options.data)
    print("\n| arm | epochs | seconds | held-out accuracy |\n|---|---|---|---|", flush=True)
    rows = []
    for arm in options.arms:
        rows.append(trained(arm, data, options))
        print(f"| {arm} | {rows[-1].epochs} | {rows[-1].seconds:.0f} | {rows[-1].accuracy:.2f} % |", flush=True)
    write(options.json, rows=[asdict(row) for row in rows])


if __name__ == "__main__":
    main()
