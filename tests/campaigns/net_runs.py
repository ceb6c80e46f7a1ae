"""The runs of the net (`net.py`): spaces, searches, trainings, shrinkings, tables, a pipeline, all of them tiny.

Only the surface of the library is used, and no file of a run folder is read. What no verb returns is seen where it
passes through that surface: networks that a space makes by `build` and `supernet` and that are then called in training
are what learned, and their `state_dict` is taken at the end; the `mix` of every call of a supernet, and the last scores
that `discretize` was asked about, are what architecture parameters and controllers come to.
"""

from __future__ import annotations

import contextlib
import functools
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import ramify
from ramify import spaces, strategies
from ramify.shrinking import Shrinking
from small_runs import DATA, SPACES, STRATEGIES

KINDS = ("space", "search", "retrain", "shrink", "bench", "pipeline")
PLAIN = ramify.Recipe(epochs=2, batch_size=16)
RECIPES = {
    "plain": PLAIN,
    "rich": replace(
        PLAIN, optimizer="rmsprop", warmup_epochs=1, accumulate=2, label_smoothing=0.1, mixup=0.2, ema=0.9, flip=True
    ),
}
SHRINKING = Shrinking(
    **{"first_epochs": 1, "next_epochs": 1, "batch_size": 16, "threshold": 100, "drop": 4, "samples": 60},
    **{"min_samples": 2, "iterations": 3, "reset_after": 6},
)
SHRINKINGS = {"global": SHRINKING, "layer": replace(SHRINKING, rule="layer", reset_after=0, warmup_epochs=1)}
SHRUNK = ("nasbench201", "darts", "frc", "nasp", "stage-cells", "cdarts-chain", "mobile-chain")


# What is seen where it passes through the surface


class Seen:
    """Networks that learned, the mixtures that supernets were called with, the last scores that were discretized."""

    def __init__(self) -> None:
        self.learned: list[nn.Module] = []
        self.mixtures: dict[str, list[Tensor]] = {}
        self.calls = 0
        self.scores: dict[str, Tensor] = {}
        self._watched: set[nn.Module] = set()

    def making(self, make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        """Return `build` or `supernet` of a space so that its networks are watched."""

        def called(network: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            mix = keywords.get("mix", args[1] if len(args) > 1 else {})
            if any(tensor.is_meta for tensor in (*mix.values(), *args[:1])):
                return  # somebody counts
            self.calls += bool(mix)
            for name, tensor in mix.items():
                self.mixtures.setdefault(name, []).append(tensor.detach().cpu().clone().flatten())
            learns = network.training and torch.is_grad_enabled()
            if learns and not any(network is other for other in self.learned):
                self.learned.append(network)

        @functools.wraps(make)
        def watched(*args: Any, **keywords: Any) -> nn.Module:
            network = make(*args, **keywords)
            if network not in self._watched:
                self._watched.add(network)
                network.register_forward_pre_hook(called, with_kwargs=True)
            return network

        return watched

    def discretizing(self, discretize: Callable[..., Any]) -> Callable[..., Any]:
        """Return `discretize` of a space so that its scores are kept."""

        @functools.wraps(discretize)
        def watched(space: spaces.Space, scores: Mapping[str, Tensor]) -> Any:
            self.scores = {name: tensor.detach().cpu().clone() for name, tensor in scores.items()}
            return discretize(space, scores)

        return watched

    def found(self) -> dict[str, Any]:
        """Return all of it, as it is now."""
        return {
            "learned": [dict(sorted(network.state_dict().items())) for network in self.learned],
            "mix": {name: torch.cat(tensors) for name, tensors in self.mixtures.items()},
            "mix_calls": self.calls,
            "scores": self.scores,
        }


@contextlib.contextmanager
def watching() -> Iterator[Seen]:
    """Watch every space of the tiny matrix; on the class, because strategies search restricted copies."""
    seen = Seen()
    with contextlib.ExitStack() as stack:
        for kind in {type(space) for space, _ in SPACES.values()}:
            for name, watch in (("build", seen.making), ("supernet", seen.making), ("discretize", seen.discretizing)):
                stack.enter_context(mock.patch.object(kind, name, watch(getattr(kind, name))))
        yield seen


# Runs


def of_space(name: str, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a space says of itself, and what its networks compute, forwards and backwards."""
    space, layout = SPACES[name]
    arch, other = space.sample(random.Random(0)), space.sample(random.Random(1))
    dtype = torch.float64 if machine["precision"] == "64-true" else torch.float32
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 16, 16, generator=draw, dtype=dtype)
    labels = torch.arange(4)
    one, two = space.mix(arch), space.mix(other)
    choices = space.choices
    scores = {n: torch.rand(c.shape, generator=draw, dtype=torch.float64) * c.mask for n, c in choices.items()}
    weights = {n: c.softmax(torch.randn(c.shape, generator=draw, dtype=dtype)) for n, c in choices.items()}
    members = space.restrict({n: (one[n] + two[n]) > 0 for n in choices})
    found: dict[str, Any] = {
        "size": str(space.size),
        "decisions": {decision.name: json.dumps(decision.choices) for decision in space.decisions},
        "choices": {n: {"edges": str(c.edges), "ops": str(c.ops), "mask": c.mask} for n, c in choices.items()},
        "samples": [dict(arch.choices), dict(other.choices)],
        "mutated": dict(space.mutate(arch, random.Random(2)).choices),
        "crossed": dict(space.crossover(arch, other, random.Random(3)).choices),
        "notation": space.format(arch),
        "parsed": space.parse(space.format(arch)) == arch,
        "json": ramify.Architecture.from_json(arch.to_json()) == arch,
        "mix": one,
        "discretized": dict(space.discretize(scores).choices),
        "restricted": {"size": str(members.size), "sample": dict(members.sample(random.Random(4)).choices)},
    }
    torch.manual_seed(0)
    network = space.build(arch, num_classes=10, in_channels=3, **layout).to(dtype)
    supernet = space.supernet(num_classes=10, in_channels=3, **layout).to(dtype)
    for weight in weights.values():
        weight.requires_grad_()
    for title, module, args in (("member", network, (x,)), ("supernet", supernet, (x, weights))):
        cost = ramify.profile(module, (3, 16, 16)) if title == "member" else None
        loss = nn.functional.cross_entropy(module(*args), labels)
        loss.backward()
        gradients = {path: p.grad for path, p in module.named_parameters() if p.grad is not None}
        found[title] = {"loss": loss, "gradients": gradients, "state": module.state_dict()}
        found[title] |= {"params": cost.params, "macs": cost.macs} if cost else {}
    extracted = space.extract(supernet, arch).eval()
    with torch.no_grad():
        outputs = {"extracted": extracted(x), "path": supernet.eval()(x, {n: m.to(dtype) for n, m in one.items()})}
    return found | {"mix_gradients": {n: w.grad for n, w in weights.items()}, "outputs": outputs}


def of_search(result: Any) -> dict[str, Any]:
    """Return what a search says."""
    return {
        "choices": dict(result.architecture.choices),
        "notation": result.notation,
        "history": timeless(result.history),
    }


def of_training(result: Any) -> dict[str, Any]:
    """Return what a training says, with its network and what that reaches."""
    reached = vars(ramify.evaluate(result, device="cpu", threads=1))
    return {
        "choices": dict(result.architecture.choices),
        "history": timeless(result.history),
        "network": dict(sorted(result.network.state_dict().items())),
        "reached": {name: value for name, value in reached.items() if name not in ("latency_ms", "device")},
    }


def timeless(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of a history without what the clock says."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def search(space: str, strategy: str, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Search a space of the tiny matrix."""
    searched, layout = SPACES[space]
    return of_search(ramify.search(searched, STRATEGIES[strategy], DATA, network=layout, **machine))


def retrain(space: str, recipe: str, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Train a member."""
    searched, layout = SPACES[space]
    arch = searched.sample(random.Random(0))
    return of_training(ramify.retrain(arch, DATA, recipe=RECIPES[recipe], network=layout, **machine))


def shrink(space: str, settings: str, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Shrink a space."""
    whole, layout = SPACES[space]
    result = ramify.shrink(whole, DATA, shrinking=SHRINKINGS[settings], network=layout, **machine)
    left = {name: choice.mask for name, choice in result.space.choices.items()}
    summary = timeless([result.summary])[0]
    return {"left": left, "size": str(result.space.size), "history": timeless(result.history), "summary": summary}


def bench(space: str, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Build a table of a few members."""
    searched, layout = SPACES[space]
    settings = {"architectures": 3, "seeds": (0, 3), "recipe": PLAIN, "network": layout, "test": True, "processes": 0}
    with tempfile.TemporaryDirectory() as out:
        table = ramify.build_table(searched, DATA, out=Path(out) / "table", **settings, **machine)
    columns = {
        f"{name} after {epochs} with {seed}": table.values(name, epochs=epochs, seed=seed).tolist()
        for name, column in table.columns.items()
        if column.metric != "seconds"
        for epochs in column.epochs
        for seed in column.seeds
    }
    return {"notations": [str(notation) for notation in table.notations], "columns": columns}


def pipeline(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Search cells, then stages and their distribution around them, and train the result."""
    strategy = strategies.DARTS(epochs=1, batch_size=16)
    small = {"channels": 4}
    levels = {
        "cells": {"space": spaces.StageCells(), "strategy": strategy, "network": {**small, "layers": 3}},
        "stages": {"space": spaces.StageGraph(cells=2), "strategy": strategy, "network": small, "around": "cells"},
        "distribution": {
            "space": spaces.CellDistribution(cells=3),
            **{"strategy": strategy, "network": small, "around": "cells"},
        },
    }
    recipe = replace(PLAIN, epochs=1, auxiliary=False)
    with tempfile.TemporaryDirectory() as out:
        result = ramify.search_levels(levels, DATA, out=Path(out) / "run", recipe=recipe, network=small, **machine)
        found = {name: of_search(level) for name, level in result.levels.items()}
        return {**found, "trained": of_training(result.trained)}


def runs() -> dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Return all runs by name."""
    found: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {}
    for space, (searched, _) in SPACES.items():
        found[f"space/{space}"] = functools.partial(of_space, space)
        for strategy, settings in STRATEGIES.items():
            if ramify.compatible(searched, settings):
                found[f"search/{space}/{strategy}"] = functools.partial(search, space, strategy)
        found |= {f"retrain/{space}/{recipe}": functools.partial(retrain, space, recipe) for recipe in RECIPES}
    for space in SHRUNK:
        found |= {f"shrink/{space}/{settings}": functools.partial(shrink, space, settings) for settings in SHRINKINGS}
    found |= {f"bench/{space}": functools.partial(bench, space) for space in ("nasbench201", "size")}
    return found | {"pipeline": pipeline}


def done(name: str, precision: str) -> dict[str, Any]:
    """Do a run; return what it comes to."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    machine = {"device": "cpu", "precision": precision, "threads": 1, "progress": False}
    with watching() as seen:
        found = runs()[name](machine)
    return found if name.startswith("space/") else found | seen.found()
