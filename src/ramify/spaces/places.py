"""Where a network has choice points: which decisions it takes, when they are read, and how many networks there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from math import prod
from typing import cast

from torch import nn

from ramify.architecture import Value
from ramify.errors import ConfigurationError
from ramify.points import Inputs, OneOf, Point, Repeat
from ramify.wording import listing

Condition = tuple[str, frozenset[Value]]
"""(decision, the values with which it reads what lies below)."""


@dataclass(frozen=True)
class Place:
    """A choice point at a path of a network.

    Args:
        path: Of the module.
        decision: Its name.
        kind: `OneOf`, `Repeat` or `Inputs`.
        values: Of the decision.
        n: Of `Inputs`, how many tensors there are.
        choose: How many of them are taken.
        join: How these are joined.
        above: When it is read: the values of the decisions that it lies below.
        below: The points inside of it, each with the values that read it.
    """

    path: str
    decision: str
    kind: str
    values: tuple[Value, ...]
    n: int
    choose: int
    join: str
    above: tuple[Condition, ...]
    below: tuple[tuple[frozenset[Value], Place], ...]

    def inside(self) -> Iterator[tuple[str, Condition]]:
        """Yield the path of each module of the point that may be out, with the values that take it."""
        prefix = f"{self.path}.".removeprefix(".")
        if self.kind == "OneOf":
            yield from ((f"{prefix}{value}", (self.decision, frozenset([value]))) for value in self.values)
        if self.kind == "Repeat":
            depths = cast("tuple[int, ...]", self.values)
            for number in range(depths[0], depths[-1]):
                yield f"{prefix}{number}", (self.decision, frozenset(depth for depth in depths if depth > number))

    @property
    def all(self) -> Iterator[Place]:
        """This place and those inside of it, in order."""
        yield self
        for _, place in self.below:
            yield from place.all

    @property
    def offer(self) -> tuple[object, ...]:
        """What points of one name must agree in."""
        return self.kind, self.values, self.n, self.choose

    def is_read(self, values: Mapping[str, Value]) -> bool:
        """Return whether the network of a member reads the point, for the values of its decisions."""
        return all(values[decision] in reading for decision, reading in self.above)


def places_of(network: nn.Module) -> list[Place]:
    """Return the points of a network that lie in no other, with those inside of them, in order of registration.

    Raises:
        ConfigurationError: If points of one name do not offer the same.
    """
    names: dict[int, str] = {}  # a module that stands at several paths is one point

    def below(module: nn.Module, path: str, above: tuple[Condition, ...]) -> Iterator[Place]:
        if isinstance(module, Point):
            decision = names.setdefault(id(module), module.name or path or "network")
            values = values_of(module)
            inside = [
                (reading, place)
                for name, child in module._modules.items()
                if child is not None
                for reading in [_reading(module, name)]
                for condition in [() if reading == set(values) else ((decision, reading),)]
                for place in below(child, f"{path}.{name}".lstrip("."), (*above, *condition))
            ]
            settings = (module.n, module.choose, module.join) if isinstance(module, Inputs) else (1, 1, "sum")
            yield Place(path, decision, kind_of(module), values, *settings, above, tuple(inside))
        else:
            for name, child in module._modules.items():
                if child is not None:
                    yield from below(child, f"{path}.{name}".lstrip("."), above)

    places = list(below(network, "", ()))
    first: dict[str, Place] = {}
    for place in chain.from_iterable(place.all for place in places):
        other = first.setdefault(place.decision, place)
        if other.offer != place.offer:
            one, two = (listing(p.values, 60).replace("'", "") for p in (other, place))
            raise ConfigurationError(
                f"points {other.path} and {place.path} share the name {place.decision!r} but offer {one} and {two}"
            )
    return places


def values_of(point: Point) -> tuple[Value, ...]:
    """Return the values of a point's decision."""
    if isinstance(point, Repeat):
        return point.depths
    if isinstance(point, Inputs):
        return tuple(range(point.n)) if point.choose == 1 else tuple(point.subsets)
    return tuple(point)


def kind_of(point: Point) -> str:
    """Return the name of the class of a point that users know."""
    return next(kind.__name__ for kind in (OneOf, Repeat, Inputs) if isinstance(point, kind))


def _reading(point: Point, child: str) -> frozenset[Value]:
    """Return the values with which a point reads what is inside of one of its modules."""
    if isinstance(point, Repeat):
        return frozenset(depth for depth in point.depths if depth > int(child))
    return frozenset([child])


def count_networks(places: Sequence[Place], values: Mapping[str, Collection[Value]]) -> int:
    """Return the exact number of different networks: of assignments that differ in a decision that is read.

    Of one point that is the sum over its candidates of the product over the points inside, and points that share no
    decision multiply. Shared decisions that something lies below, or that are not always read, are gone through.

    Args:
        places: The points that lie in no other.
        values: Decision → the values that it may take.
    """
    every = list(chain.from_iterable(place.all for place in places))
    number = {place.decision: 0 for place in every}
    for place in every:
        number[place.decision] += 1
    always = {place.decision for place in every if not place.above}
    leaves = {place.decision for place in every} - {place.decision for place in every if place.below}
    free = {decision for decision in always & leaves if number[decision] > 1}
    shared = [decision for decision, count in number.items() if count > 1 and decision not in free]

    def count(place: Place, fixed: Mapping[str, Value], unread: Collection[str]) -> int:
        if place.decision in unread:
            return 0
        if place.decision in free:
            return 1
        options = [fixed[place.decision]] if place.decision in fixed else values[place.decision]
        return sum(
            prod(count(inner, fixed, unread) for reading, inner in place.below if value in reading) for value in options
        )

    total = 0
    for chosen in product(*(values[decision] for decision in shared)):
        fixed = dict(zip(shared, chosen, strict=True))
        # One that is not read counts once, with its first value: with any other it must be read, which is all
        # assignments without those that do not read it.
        doubtful = [d for d in shared if d not in always and fixed[d] != next(iter(values[d]))]
        for left_out in product((False, True), repeat=len(doubtful)):
            unread = {decision for decision, out in zip(doubtful, left_out, strict=True) if out}
            sign = -1 if len(unread) % 2 else 1
            total += sign * prod(count(place, fixed, unread) for place in places)
    return total * prod(len(values[decision]) for decision in free)


def conditions_of(places: Sequence[Place]) -> dict[Hashable, dict[str, frozenset[Value]]]:
    """Return (path, value) → when a member's network has it: decision → values. The joining of inputs costs nothing."""
    found: dict[Hashable, dict[str, frozenset[Value]]] = {}
    for place in places:
        for value in place.values if place.kind != "Inputs" else ():
            when: dict[str, frozenset[Value]] = {}
            for name, values in (*place.above, (place.decision, frozenset([value]))):
                when[name] = when.get(name, values) & values
            if all(when.values()):
                found[place.path, value] = when
    return found


def extreme_of(
    places: Sequence[Place],
    costs: Mapping[Hashable, float],
    values: Mapping[str, Collection[Value]],
    best: Callable[[Iterable[float]], float],
) -> float:
    """Return the smallest (`min`) or largest (`max`) sum of costs that are used together, without shared decisions.

    Args:
        places: The points that lie in no other.
        costs: (path, value) → cost.
        values: Decision → the values that it may take.
        best: `min` or `max`.
    """

    def at(place: Place, value: Value) -> float:
        inside = (inner for reading, inner in place.below if value in reading)
        return costs.get((place.path, value), 0.0) + sum(map(best_of, inside))

    def best_of(place: Place) -> float:
        return best(at(place, value) for value in values[place.decision])

    return sum(map(best_of, places))
