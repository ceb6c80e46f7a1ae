"""What each part of the recipe `fast-cifar10` brings in the same time, on one thread.

    python benchmarks/fast_cifar10.py --data cifar10-train.parquet
        [--epochs 5] [--arms all "random flip" …] [--seed 0] [--json FILE]

An arm is the recipe with something left out or added. It trains for as many whole epochs as take as long as `--epochs`
of the whole recipe, by a schedule that ends with them; how long a step takes is measured in turns with steps of the
whole recipe, so that other work on the machine counts little. What is compared is the accuracy on 5,000 training images
that are held out; the test split is not looked at.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, dataclass, replace
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
TURNS = 7
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
    """An arm: what an epoch takes, of the whole recipe's; epochs; percentage of held-out images that it gets right."""

    arm: str
    ratio: float
    epochs: int
    seconds: float
    accuracy: float


def session_of(arm: str, epochs: int, data: Any, options: argparse.Namespace) -> TrainingSession:
    """Return the training of an arm."""
    changes = dict(ARMS[arm])
    fabric = make_fabric("cpu", changes.pop("precision", "bf16-mixed"), 1)
    fixed = {"crop": 2, "validation": HELD_OUT, "epochs": epochs}
    recipe: Recipe = replace(recipes.load("fast-cifar10")["recipe"], **{**fixed, **changes})
    task = Classification().on(data)
    work = Work(task, options.seed, fabric, {})
    space, arch = zoo.get(NETWORK).space, zoo.get(NETWORK).architecture
    with seeded(options.seed, "network"):
        network = task.network(space.build(arch, shape=work.shape))
    return TrainingSession(network, recipe, work)


def epoch_ratio(arm: str, data: Any, options: argparse.Namespace) -> float:
    """Return how much longer an epoch of an arm takes than one of the whole recipe: the median of turns."""
    sessions = [session_of(name, 1, data, options) for name in (arm, "all")]
    runs = [session.run() for session in sessions]
    for steps in runs:
        next(steps)  # which prepares much
    ratios = []
    for _ in range(TURNS):
        taken = []
        for steps in runs:
            start = time.process_time()
            next(steps)
            taken.append(time.process_time() - start)
        ratios.append(taken[0] / taken[1])
    own, whole = (session.steps_per_epoch for session in sessions)
    return statistics.median(ratios) * own / whole


def trained(arm: str, data: Any, options: argparse.Namespace) -> Row:
    """Train an arm for its time."""
    ratio = 1.0 if arm == "all" else epoch_ratio(arm, data, options)
    session = session_of(arm, max(2, round(options.epochs / ratio)), data, options)
    start = time.process_time()
    for _ in session.run():
        pass
    seconds = time.process_time() - start
    assert session.validation is not None
    accuracy = measure(session.trained, session.validation, device=session.work.fabric.device).score
    return Row(arm, ratio, session.recipe.epochs, seconds, 100 * accuracy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="CIFAR-10, to train on")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="of the whole recipe")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(in_words(machine()), flush=True)
    data = load(options.data)
    print("\n| arm | an epoch takes | epochs | seconds | held-out accuracy |\n|---|---|---|---|---|", flush=True)
    rows = []
    for arm in options.arms:
        row = trained(arm, data, options)
        rows.append(row)
        print(f"| {arm} | {row.ratio:.2f} | {row.epochs} | {row.seconds:.0f} | {row.accuracy:.2f} % |", flush=True)
    write(options.json, rows=[asdict(row) for row in rows])


if __name__ == "__main__":
    main()
