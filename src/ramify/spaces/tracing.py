"""A look at a user's network before it is searched: its points, its numbers, and a pass of all candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ramify.architecture import Value
from ramify.errors import ConfigurationError, RamifyError
from ramify.points import Inputs, OneOf, Repeat, deciding
from ramify.seeding import seeded
from ramify.spaces.naming import Source
from ramify.spaces.places import Place, places_of
from ramify.supernet import Choice, existing
from ramify.supernet.points import MixedInputs, MixedOneOf, MixedRepeat, PointSupernet, Zeros, replaced

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Blueprint:
    """How a user's network is made, and what is known of it.

    Args:
        source: Where it comes from.
        keywords: Further ones of what makes it.
        shape: What its task demands, by name, with what holds where nothing is said.
        numbers: Name → values of what `number` asks for.
        places: The points that lie in no other.
        shapes: Path of a `OneOf` → the shapes of its input and its output.
        outputs: How many numbers the network puts out for an input.
        on_meta: Whether the constructor runs on the meta device.
        size: Of one input.
    """

    source: Source
    keywords: Mapping[str, Any]
    shape: dict[str, int]
    numbers: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    places: Sequence[Place] = ()
    shapes: Mapping[str, tuple[Shape, Shape]] = field(default_factory=dict)
    outputs: int = 0
    on_meta: bool = True
    size: Shape = ()

    @property
    def every(self) -> list[Place]:
        """All points, in order."""
        return list(chain.from_iterable(place.all for place in self.places))

    def make(self, shape: Mapping[str, int], values: Mapping[str, Value]) -> nn.Module:
        """Return the network with its points, on the device that holds by default.

        Args:
            shape: What the task demands.
            values: Of its numbers.

        Raises:
            ConfigurationError: If its constructor cannot run, or asks for other numbers than these.
        """
        device = torch.get_default_device()
        if self.source.instance is not None:
            network = deepcopy(self.source.instance).train()
            return network.to(device) if device.type == "meta" else network
        asked: dict[str, Any] = {}

        def decide(name: str, offered: tuple[Any, ...]) -> Any:
            if self.numbers.get(name) != offered:
                raise ConfigurationError(
                    f"number {name!r} is asked for by some members only, or with other values; every run of the "
                    "constructor must ask for the same numbers"
                )
            return asked.setdefault(name, values[name])

        with deciding(decide), torch.device(device if self.on_meta or device.type != "meta" else "cpu"):
            network = self.source.called(shape, self.keywords)
        if missing := next((name for name in self.numbers if name not in asked), None):
            raise ConfigurationError(
                f"number {missing!r} is asked for by some members only; every run of the constructor must ask for the "
                "same numbers"
            )
        return network if self.on_meta or device.type != "meta" else network.to(device)

    def check(self, shape: Mapping[str, int], data: str, title: str) -> None:
        """Raise `ConfigurationError` unless the network takes such inputs and puts out as many classes.

        Args:
            shape: What the task demands.
            data: Their name, for the message.
            title: That of the network.
        """
        taken, own, classes = self.source.taken, self.size[0], shape.get("num_classes")
        if "num_classes" not in taken and classes and classes != self.outputs:
            raise ConfigurationError(
                f"the network has {self.outputs:,} outputs, {data} has {classes:,} classes: replace its last layer "
                "first, or hand in the constructor"
            )
        for name, what in (("in_channels", "images of {:,} channels"), ("features", "rows of {:,} features")):
            free = not {name, "in_chans" if name == "in_channels" else name}.isdisjoint(taken)
            if name in self.shape and not free and shape.get(name, own) != own:
                raise ConfigurationError(f"{title} takes {what.format(own)}, {data} has {shape[name]:,}")

    def zeros(self, path: str) -> Zeros | None:
        """Return what a candidate that is None puts out; None where no pass has shown its shape."""
        return Zeros(*self.shapes[path]) if path in self.shapes else None

    def mixed(self, network: nn.Module) -> PointSupernet:
        """Return the supernet of a fresh network with points."""
        decided = {place.path: place.decision for place in self.every}

        def weighing(module: nn.Module, path: str) -> nn.Module:
            if isinstance(module, OneOf):
                return MixedOneOf(module, path, decided[path], self.zeros(path))
            if isinstance(module, Repeat):
                return MixedRepeat(module, path, decided[path])
            return MixedInputs(module, path, decided[path]) if isinstance(module, Inputs) else module

        return PointSupernet(replaced(network, weighing))


def choice_of(place: Place) -> Choice:
    """Return the choice of a point: one row, or a row of `off` and `on` for each of several inputs."""
    if place.choose > 1:
        return Choice(tuple((row, place.n) for row in range(place.n)), MixedInputs.ROWS)
    return Choice(((0, 1),), tuple(map(str, place.values)))


def choices_of(places: Sequence[Place]) -> dict[str, Choice]:
    """Return the choices of points, by decision."""
    return {place.decision: choice_of(place) for place in reversed(places)}


def looked_at(source: Source, keywords: Mapping[str, Any], input_size: Sequence[int]) -> Blueprint:
    """Return what a look at a network shows: it is made, and run once with all of its candidates.

    Nothing is computed, unless its code does not run on the meta device.

    Args:
        source: Where it comes from.
        keywords: Further ones of what makes it.
        input_size: Of one input.

    Raises:
        ConfigurationError: If it cannot be made or run, or its points do not fit together.
    """
    rows = "features" in source.taken or len(input_size) == 1
    size = tuple(input_size[:1] if rows else input_size)
    shape = {"num_classes": 10, "features" if rows else "in_channels": size[0]}
    try:
        return _looked_at(Blueprint(source, keywords, shape, size=size), "meta")
    except RamifyError as error:
        if error.__cause__ is None:  # a refusal of ours; what else goes wrong may do so on the meta device alone
            raise
        return _looked_at(Blueprint(source, keywords, shape, size=size, on_meta=False), "cpu")


def _looked_at(blank: Blueprint, device: str) -> Blueprint:
    with torch.device(device), seeded(0, "look"), torch.no_grad():
        numbers: dict[str, tuple[Any, ...]] = {}
        with deciding(lambda name, values: numbers.setdefault(name, values)[0]):
            instance = blank.source.instance
            network = blank.source.called(blank.shape, blank.keywords) if instance is None else deepcopy(instance)
        blueprint = replace(blank, numbers=numbers, places=places_of(network.to(device)))
        if twice := next((place.decision for place in blueprint.every if place.decision in numbers), None):
            raise ConfigurationError(f"{twice!r} is the name of a number and of a point; rename one of them")
        shapes, outputs = _run(blueprint, network)
        classes = {} if "num_classes" in blank.source.taken else {"num_classes": outputs}
        blueprint = replace(blueprint, shapes=shapes, outputs=outputs, shape=blank.shape | classes)
        first = {name: values[0] for name, values in numbers.items()}
        for name, values in numbers.items():
            for value in values[1:]:
                other = blueprint.make(blank.shape, {**first, name: value})
                if places_of(other) != blueprint.places:
                    raise ConfigurationError(f"with number {name!r} = {value!r} the network has other points")
                _run(blueprint, other)
    return blueprint


def _run(blueprint: Blueprint, network: nn.Module) -> tuple[dict[str, tuple[Shape, Shape]], int]:
    """Run a network with all of its candidates; return the shapes at its points, and the number of its outputs."""
    size, supernet = blueprint.size, blueprint.mixed(network).eval()
    supernet.choices = choices_of(blueprint.every)
    shapes: dict[str, tuple[Shape, Shape]] = {}

    def note(module: MixedOneOf, inputs: tuple[Any, ...], output: Tensor) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            shapes[module.path] = tuple(inputs[0].shape), tuple(output.shape)

    for module in supernet.modules():
        if isinstance(module, MixedOneOf):
            module.register_forward_hook(note)
    joined = {  # of what is joined along the channels, as many as are chosen
        place.decision: torch.tensor([[False, row < place.choose] for row in range(place.n)], device="cpu")
        for place in blueprint.every
        if place.join == "cat" and place.choose > 1
    }
    dtype = next((p.dtype for p in supernet.parameters() if p.is_floating_point()), torch.get_default_dtype())
    what = f"an image of {size}" if len(size) == 3 else f"inputs of {size}"
    with _told_where(supernet.network, what):
        output = supernet(torch.zeros((1, *size), dtype=dtype), existing(supernet.choices), active=joined)
    first = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(first, Tensor) or first.dim() < 2:
        kind = f"tensor of shape {tuple(first.shape)}" if isinstance(first, Tensor) else type(output).__name__
        raise ConfigurationError(
            f"the network returns a {kind}; AnyNetwork searches networks that return logits (B, classes), or (logits, "
            "auxiliary)"
        )
    return shapes, first.shape[1]


@contextmanager
def _told_where(network: nn.Module, what: str) -> Iterator[None]:
    """Say of an error within a block in which module it occurred."""
    running: list[tuple[str, str]] = []
    handles = []
    for path, module in network.named_modules():
        place = path, type(module).__name__.removeprefix("Mixed")
        handles.append(module.register_forward_pre_hook(lambda *_, place=place: running.append(place)))
        handles.append(module.register_forward_hook(lambda *_: running.pop() and None))
    try:
        yield
    except RamifyError:
        raise
    except Exception as error:  # whatever the code of others does
        path, kind = running[-1] if running else ("", type(network).__name__)
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"the network cannot run on {what}: {f'{path} ({kind})' if path else kind}: {reason:.120}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def with_norms(network: nn.Module, norms: str) -> nn.Module:
    """Let the batch norms of a network, in place, use statistics of the batch, if that is wanted."""
    for module in network.modules() if norms == "batch" else ():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return network
