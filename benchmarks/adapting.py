"""Widths that `ramify adapt` finds against uniform width and magnitude pruning, at equal cost and equal fine-tuning.

    python benchmarks/adapting.py [--data digits] [--limits 0.25 0.1] [--seeds 20] [--first 0] [--network plain]
        [--depth] [--training N] [--epochs N] [--fine N] [--fine_tune STEPS] [--subset N] [--json FILE]

With every seed a small network is trained, and searched at each limit, a share of its multiply-adds, by the defaults of
`adapt`. It is made as small in other ways, too: all widths by one share, with the units of the largest weights
(*uniform*), the same cut out of the supernet of the search (*shared*), and by Torch-Pruning, the magnitudes of groups
compared inside each layer (*layerwise*) and over all of them (*global*). None of these costs less than what was found.
All are fine-tuned by the same recipe, from the same seed, with the trained network as teacher. What is compared is the
accuracy on the test split, by differences of pairs with the same seed; the intervals are of 95 %, BCa bootstrap.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from machine import in_words, machine, write
from ramify.comparison.statistics import interval
from ramify.costs import profile
from ramify.data import DataSpec
from ramify.data import load as load_data
from ramify.run import make_fabric
from ramify.run.initial import Initial
from ramify.run.origin import SUPERNET
from ramify.seeding import seeded
from ramify.spaces import AnyNetwork
from ramify.spaces.sorting import sorted_start
from ramify.strategies import SPOS
from ramify.tasks import Classification
from ramify.training import Recipe, TrainingSession, Work, measure
from ramify.verbs.adapt import RECIPE, STRATEGY, TRAINING
from ramify.verbs.adapt.fitted import fitted_to, limited
from ramify.verbs.search import search
from ramify.weights import read

FOUND, UNIFORM, SHARED, LAYERWISE, GLOBAL = "found", "uniform", "shared", "layerwise", "global"
OTHERS = (UNIFORM, SHARED, LAYERWISE, GLOBAL)


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.shortcut = nn.Sequential()
        if stride > 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        inner = self.norm1(self.conv1(x)).relu()
        return (self.norm2(self.conv2(inner)) + self.shortcut(x)).relu()


def residual(classes: int, channels: int) -> nn.Sequential:
    """Return a small residual network (He et al., 2016) of three stages, (B, C, H, W) → (B, K)."""
    ends = ((16, 16, 1), (16, 32, 2), (32, 64, 2))
    stages = [nn.Sequential(Block(a, b, stride), Block(b, b, 1)) for a, b, stride in ends]
    return nn.Sequential(*layer(channels, 16, 1), *stages, *_ended(64, classes))


def plain(classes: int, channels: int) -> nn.Sequential:
    """Return four convolutions, (B, C, H, W) → (B, K)."""
    ends = ((channels, 32, 1), (32, 32, 2), (32, 64, 1), (64, 64, 2))
    layers = [one for inside, outside, stride in ends for one in layer(inside, outside, stride)]
    return nn.Sequential(*layers, *_ended(64, classes))


def layer(inside: int, outside: int, stride: int) -> list[nn.Module]:
    """Return a convolution with what follows it."""
    return [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]


def _ended(channels: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


NETWORKS = {"plain": plain, "residual": residual}


class Bench:
    """Everything that happens with one seed."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        self.options, self.seed = options, seed
        self.fabric = make_fabric("cpu", "32-true", 1)
        self.data = load_data(DataSpec(source=options.data, subset=options.subset), quiet=True)
        self.task = Classification().on(self.data)
        self.size = self.data.input_size
        with seeded(seed, "original"):
            network = NETWORKS[options.network](len(self.data.classes), self.size[0])
        self.original = self.trained(network, replace(TRAINING, epochs=options.training)).eval()

    @property
    def strategy(self) -> SPOS:
        """How the network is searched."""
        return replace(STRATEGY, epochs=self.options.epochs, fine_tune=self.options.fine_tune)

    def trained(self, network: nn.Module, recipe: Recipe, teacher: nn.Module | None = None) -> nn.Module:
        """Train a network, in place, and return it."""
        if teacher is not None:
            recipe = replace(recipe, distillation=replace(recipe.distillation, teacher="the original"))
        work = Work(self.task, self.seed, self.fabric)
        session = TrainingSession(network.train(), recipe, work, teacher=copy.deepcopy(teacher))
        for _ in session.run():
            pass
        return network

    def accuracy(self, network: nn.Module) -> float:
        """Return the accuracy on the test split, in percent."""
        return 100 * measure(network, self.task.split("test", "benchmark"), device=self.fabric.device).score

    def tuned(self, network: nn.Module) -> float:
        """Return the accuracy of a network after fine-tuning."""
        recipe = replace(RECIPE, epochs=self.options.fine)
        return self.accuracy(self.trained(network, recipe, self.original))

    def macs(self, network: nn.Module) -> int:
        """Return the multiply-adds of one image."""
        return profile(network.eval(), self.size).macs

    def row(self, limit: float) -> dict[str, Any]:
        """Return accuracies and multiply-adds of what is made of the network at a share of its multiply-adds."""
        start = time.perf_counter()
        whole, elastic = copy.deepcopy(self.original), {"depth": self.options.depth}
        fitted = fitted_to(whole, elastic, {"macs": limit}, data=self.data, fabric=self.fabric)
        space, strategy = fitted.space, limited(self.strategy, fitted)
        with seeded(0, "original"):
            ordered = sorted_start(space, space.build(fitted.largest, shape=self.task.shape))
        with tempfile.TemporaryDirectory() as folder:
            begun, out = Path(folder) / "sorted.safetensors", Path(folder) / "search"
            begun.write_bytes(save(ordered))
            found = search(
                space, strategy, self.data, init=begun, out=out, seed=self.seed, device="cpu", threads=1, progress=False
            )
            supernet = read(out / SUPERNET).state
            with seeded(self.seed, "network"):
                member = space.build(found.architecture, shape=self.task.shape)
            Initial.of(out).into(member, space, found.architecture, None, False)
        seconds, cost = time.perf_counter() - start, self.macs(member)
        networks: dict[str, Callable[[], nn.Module]] = {
            FOUND: lambda: member,
            UNIFORM: lambda: uniform(space, self.original, ordered, cost, self.macs),
            SHARED: lambda: uniform(space, self.original, supernet, cost, self.macs),
            LAYERWISE: lambda: pruned(self.original, self.size, cost, self.macs, everywhere=False),
            GLOBAL: lambda: pruned(self.original, self.size, cost, self.macs, everywhere=True),
        }
        accuracies, costs = {}, {}
        for name in self.options.arms:
            network = networks[name]()
            costs[name] = self.macs(network)
            accuracies[name] = self.tuned(network)
        notation = found.notation
        return {
            "original": self.accuracy(self.original),
            "accuracy": accuracies,
            "macs": costs,
            "found": notation,
            "seconds": seconds,
        }


def uniform(
    space: AnyNetwork, network: nn.Module, state: Mapping[str, Tensor], cost: int, macs: Callable[[nn.Module], int]
) -> nn.Module:
    """Return the network with one share of all widths, the least that costs as much, and the weights of a supernet."""
    elastic, whole = space._elastic, copy.deepcopy(network)
    assert elastic is not None
    whole.load_state_dict({name.removeprefix("network.network."): value for name, value in state.items()})
    units = {group.name: group.units for group in elastic.groups}

    def narrowed(share: float) -> nn.Module:
        cut = elastic.cut({name: max(1, round(share * count)) for name, count in units.items()})
        return elastic.cut_out(whole, cut)

    shares = [number / 200 for number in range(1, 201)]
    return narrowed(next(share for share in shares if macs(narrowed(share)) >= cost))


def pruned(
    network: nn.Module, size: tuple[int, ...], cost: int, macs: Callable[[nn.Module], int], *, everywhere: bool
) -> nn.Module:
    """Return what Torch-Pruning makes of a network with the largest ratio that leaves it as many multiply-adds."""
    import torch_pruning as tp

    def at(ratio: float) -> nn.Module:
        smaller = copy.deepcopy(network).eval()
        pruner = tp.pruner.BasePruner(
            smaller,
            torch.zeros(1, *size),
            importance=tp.importance.GroupMagnitudeImportance(p=1),
            pruning_ratio=ratio,
            global_pruning=everywhere,
            ignored_layers=[module for module in smaller.modules() if isinstance(module, nn.Linear)],
        )
        pruner.step()
        return smaller

    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        try:
            enough = macs(at(middle)) >= cost
        except (RuntimeError, ValueError, ZeroDivisionError):  # nothing is left of a layer
            enough = False
        low, high = (middle, high) if enough else (low, middle)
    return at(low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--subset", type=int)
    parser.add_argument("--limits", nargs="+", type=float, default=[0.25, 0.1], metavar="SHARE")
    parser.add_argument("--seeds", type=int, default=20, metavar="N")
    parser.add_argument("--network", choices=list(NETWORKS), default="plain")
    parser.add_argument("--arms", nargs="+", choices=[FOUND, *OTHERS], default=[FOUND, *OTHERS])
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--depth", action="store_true", help="let stages end early, too")
    parser.add_argument("--training", type=int, default=TRAINING.epochs, metavar="EPOCHS")
    parser.add_argument("--epochs", type=int, default=STRATEGY.epochs, metavar="EPOCHS", help="of the search")
    parser.add_argument("--fine", type=int, default=RECIPE.epochs, metavar="EPOCHS", help="of the fine-tuning")
    text = "of every member before it is scored"
    parser.add_argument("--fine_tune", type=int, default=STRATEGY.fine_tune, metavar="STEPS", help=text)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(in_words(machine()), flush=True)
    rows: dict[float, list[dict[str, Any]]] = {limit: [] for limit in options.limits}
    for seed in range(options.first, options.first + options.seeds):
        bench = Bench(options, seed)
        for limit in options.limits:
            row = bench.row(limit)
            rows[limit].append(row)
            shown = ", ".join(f"{name} {value:.2f}" for name, value in row["accuracy"].items())
            print(
                f"seed {seed}, {limit:g}: original {row['original']:.2f}, {shown}; {row['seconds']:.0f} s", flush=True
            )
            print(f"    {row['found']}", flush=True)
    others = [name for name in options.arms if name != FOUND]
    head = ["limit", "original", FOUND, *(f"− {name}" for name in others)]
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for limit, measured in rows.items():
        cells = [f"{np.mean([row['original'] for row in measured]):.2f} %"]
        found = np.array([row["accuracy"][FOUND] for row in measured])
        cells.append(f"{found.mean():.2f} %")
        for name in others:
            gained = found - np.array([row["accuracy"][name] for row in measured])
            low, high = interval(gained[:, None])
            cells.append(f"{gained.mean():+.2f} ({low[0]:+.2f} to {high[0]:+.2f})")
        print(f"| {limit:g} | {' | '.join(cells)} |")
    write(options.json, rows={f"{limit:g}": measured for limit, measured in rows.items()})


if __name__ == "__main__":
    main()
