"""The smallest work that shows everything: few digits, narrow networks, short searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache, cached_property
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from ramify.data import Data, DataSpec, load
from ramify.errors import ConfigurationError, RamifyError
from ramify.evaluators import TrainFromScratch
from ramify.run import make_fabric
from ramify.seeding import seeded, stream
from ramify.spaces import SPACES, DARTSCells, NASBench201, NATSBenchSize, Space, example
from ramify.tasks import Classification, Task
from ramify.training import Work

LAYOUT: Mapping[str, int] = {
    "channels": 4,
    "width": 4,
    "cells": 1,
    "layers": 5,
    "stem_multiplier": 2,
    "last_channels": 80,
    "resolution": 8,
}
"""Layout keywords that make networks small, where a space has them."""

SETTINGS: Mapping[str, Any] = {
    "epochs": 2,
    "batch_size": 16,
    "evaluations": 6,
    "warmup_epochs": 0,
    "arch_start": 0,
    "cycles": 1,
    "pretrain_epochs": 1,
    "startup": 2,
    "population": 4,
    "parents": 2,
    "crossovers": 1,
    "recalibrate": 0,
    "candidates": 4,
    "selected": 2,
    "samples": 2,
    "controller_updates": 2,
    "depth": 1,
    "added_depth": (0, 1),
    "skip_dropout": (0.1, 0.4),
    "kept": (5,),
    "evaluator": TrainFromScratch(epochs=1, batch_size=16),
}
"""Settings that make searches and evaluations short, where a class has them."""


def instance(given: Any, kind: type, noun: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Return an object of a class, or the object itself.

    Args:
        given: A class, of which one is made without arguments, or an object.
        kind: Of what class it must be.
        noun: What such an object is called, with its article.
        settings: What fields of the same name are set to, as far as the class takes that.

    Raises:
        ConfigurationError: If it is of another class.
    """
    if not isinstance(given, type):
        if not isinstance(given, kind):
            raise ConfigurationError(f"{noun} is a {kind.__name__}, got {given!r:.60}")
        return given
    if not issubclass(given, kind):
        raise ConfigurationError(f"{noun} is a subclass of {kind.__name__}, got {given!r:.60}")
    made = given()
    names = {item.name for item in fields(made) if item.init} if is_dataclass(made) else set()
    wanted = {name: value for name, value in (settings or {}).items() if name in names}
    return _set(made, wanted) if wanted else made


def _set(made: Any, wanted: Mapping[str, Any]) -> Any:
    """Return an object with all settings that are wanted, or as many of them as go together."""
    try:
        return replace(made, **wanted)
    except RamifyError:
        pass
    for name, value in wanted.items():
        with suppress(RamifyError):
            made = replace(made, **{name: value})
    return made


@cache
def digits() -> Data:
    """Return 32 digits to train on and 32 to validate on."""
    return load(DataSpec(source="digits", subset=64))


@cache
def values() -> Data:
    """Return digits with two numbers to be learned of each."""
    generator = stream(0, "values")
    images = torch.randint(256, (90, 1, 8, 8), generator=generator, dtype=torch.uint8)
    targets = torch.randn(90, 2, generator=generator) * torch.tensor([1.0, 50.0])
    return load(torch.utils.data.TensorDataset(images, targets), targets="values", quiet=True)


@cache
def shapes() -> Data:
    """Return 32 images of shapes to train on and 32 to validate on, with the class of every pixel."""
    return load(DataSpec(source="shapes", targets="masks", subset=64))


@cache
def boxed() -> Data:
    """Return 32 images of shapes to train on and 32 to validate on, with boxes around the shapes."""
    return load(DataSpec(source="shapes", targets="boxes", subset=64))


def bound(task: Task) -> Task:
    """Return a task with few digits, or shapes where it learns from masks or boxes, unless it has data."""
    if task.bound:
        return task
    return task.on({"classes": digits, "values": values, "masks": shapes, "boxes": boxed}[task.targets]())


def work_of(layout: Mapping[str, Any], *, seed: int = 0, task: Task | None = None, data: bool = True) -> Work:
    """Return work on digits, on the CPU.

    Args:
        layout: Of the networks.
        seed: Of the work.
        task: What is learned; the classes of digits when None.
        data: Whether there are any.
    """
    given = bound(task or Classification()) if data else None
    return Work(given=given, seed=seed, fabric=make_fabric("cpu", threads=None), layout=layout)


def small_layout(space: Space) -> dict[str, Any]:
    """Return layout keywords that make the networks of a space small, as far as it has such keywords."""
    known = set(space.Layout.keywords("member")) & set(space.Layout.keywords("supernet"))
    wanted = {name: value for name, value in LAYOUT.items() if name in known}
    try:
        space.layout(wanted, kind="supernet")
        space.layout(wanted)
    except RamifyError:  # a space may know the name and mean something else
        return {}
    return wanted


@dataclass(frozen=True, eq=False)
class Grown:
    """A space with what it grows: small networks of it, in float64, and inputs for them.

    Args:
        space: The space.
        layout: Layout keywords of its networks.
        inputs: Makes a batch of inputs from their number; None for digits, or rows of features.
        inheritance: Whether members take over the supernet's weights.
    """

    space: Space
    layout: Mapping[str, Any] = field(default_factory=dict)
    inputs: Callable[[int], Tensor] | None = None
    inheritance: bool = True

    def supernet(self, seed: int = 1, **keywords: Any) -> Any:
        """Return a fresh supernet."""
        with seeded(seed, "supernet"):
            return self.space.supernet(**{**self.layout, **keywords}).double()

    @cached_property
    def _kept(self) -> Any:
        return self.supernet()

    @property
    def shared(self) -> Any:
        """The supernet that is only read, in training mode."""
        return self._kept.train()

    def build(self, arch: Any, seed: int = 1, **keywords: Any) -> nn.Module:
        """Return a fresh network of a member."""
        with seeded(seed, "build"):
            return self.space.build(arch, **{**self.layout, **keywords}).double()

    def extract(self, sup: nn.Module, arch: Any) -> nn.Module:
        """Return a member with the weights of a supernet."""
        with seeded(2, "extract"):
            return self.space.extract(sup, arch)

    def member(self, seed: int = 0) -> Any:
        """Return a drawn member."""
        return self.space.sample(Random(seed))

    def members(self, count: int = 3) -> Iterator[Any]:
        """Yield drawn members."""
        yield from map(self.member, range(count))

    def x(self, count: int = 3, seed: int = 0) -> Tensor:
        """Return a batch of inputs, float64."""
        with seeded(seed, "inputs"):
            if self.inputs is not None:
                return self.inputs(count).double()
            size = (self.space.shape["features"],) if "features" in self.space.shape else (self._channels, 8, 8)
            return torch.randn(count, *size, dtype=torch.float64)

    @property
    def _channels(self) -> int:
        return self.space.shape.get("in_channels", 3)

    def mix(self, seed: int = 0) -> dict[str, Tensor]:
        """Return drawn mixing weights, float64, over the candidates that exist."""
        return {
            name: choice.softmax(torch.randn(choice.shape, dtype=torch.float64, generator=stream(seed, "mix", name)))
            for name, choice in self.space.choices.items()
        }


def only(space: Space, arch: Any) -> Space:
    """Return the space restricted to one member."""
    return space.restrict({name: weights > 0 for name, weights in space.mix(arch).items()})


def spaces_for(compatible: Callable[[Space], Any], most: int = 2) -> list[tuple[Space, dict[str, Any]]]:
    """Return small spaces of the library, with their layouts, that something is compatible with.

    Args:
        compatible: Says whether a space will do.
        most: How many are wanted.
    """
    small: tuple[Space, ...] = (NASBench201(), NATSBenchSize(widths=(2, 3, 5)), DARTSCells(nodes=2))
    found = [(space, small_layout(space)) for space in small if compatible(space)]
    for entry in SPACES.own.values():
        if found:
            break
        space = example(entry.make)
        found = [(space, small_layout(space))] if compatible(space) else []
    return found[:most]
