"""Units and groups: what lives and dies together, and what occupies the same axes of the same tensors."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.elastic.ties import NONE
from ramify.elastic.trace import Trace

CONSTANT = 0
"""The unit of an index that belongs to none."""

Place = tuple[str, int]
"""An axis of a parameter or buffer: (name, number)."""


@dataclass(frozen=True)
class Group:
    """Units that occupy the same axes of the same tensors; one decision says how many of them are kept.

    Args:
        name: Path of the layer that first puts out its units; `:2` and so on where that layer begins several groups.
        units: Their number.
        kept: The numbers of units that may be kept, ascending; the last is all of them.
        shares: The number that each share of `widths` stands for, in their order.
        layers: Paths of the layers that put its units out.
        tensors: How many parameters and buffers it has a part in.
        start: Its first unit in the numbering of all units, which begins with 1.
    """

    name: str
    units: int
    kept: tuple[int, ...]
    shares: tuple[int, ...]
    layers: tuple[str, ...]
    tensors: int
    start: int

    @property
    def span(self) -> slice:
        """Where its units lie among all."""
        return slice(self.start, self.start + self.units)


@dataclass(frozen=True, eq=False)
class Plan:
    """Which unit each index of each axis belongs to: all that cutting, masking, permuting and counting need.

    Args:
        groups: In order of execution.
        axes: Place → unit (n,) of each index, `CONSTANT` for those that always stay. Other axes always stay whole.
        inputs: The places along which layers read.
        units: Unit of each label.
    """

    groups: tuple[Group, ...]
    axes: Mapping[Place, Tensor]
    inputs: frozenset[Place]
    units: Tensor

    def units_of(self, trace: Trace) -> Tensor:
        """Return the unit of each label of another pass of the same network: the one that its tensors say."""
        root = trace.ties.root
        units = torch.zeros(len(root), dtype=torch.long)
        for place, table in trace.tables.items():
            if place in self.axes:
                units[root[table]] = torch.maximum(units[root[table]], self.axes[place])
        units[NONE] = CONSTANT
        return units[root]

    @property
    def count(self) -> int:
        """The number of units, and one for `CONSTANT`."""
        return 1 + sum(group.units for group in self.groups)


@dataclass(frozen=True, eq=False)
class Found:
    """Units that occupy the same axes, before anybody asks whether they can be searched.

    Args:
        name: As `Group.name`.
        labels: Root label (U,) of each unit, ascending.
        places: Place → how many indices of it each unit has.
        layers: Paths of the layers that put the units out.
        reason: Why they stay whole; empty where they need not.
    """

    name: str
    labels: Tensor
    places: Mapping[Place, int]
    layers: tuple[str, ...]
    reason: str = ""


def find_units(trace: Trace) -> list[Found]:
    """Return what one label pass found, in order of execution."""
    root = trace.ties.root
    occupied: dict[int, list[tuple[Place, int]]] = defaultdict(list)
    for place, labels in trace.tables.items():
        for label, count in zip(*_counted(root[labels]), strict=True):
            occupied[label].append((place, count))
    reasons: dict[int, str] = {}
    for labels, reason in trace.whole:
        for label in root[labels].unique().tolist():
            reasons.setdefault(label, reason)
    together: dict[frozenset[tuple[Place, int]], list[int]] = defaultdict(list)
    for label in sorted(occupied):
        if label:
            together[frozenset(occupied[label])].append(label)
    makers = _Makers(trace)
    names: dict[str, int] = {}
    found = []
    for places, members in sorted(together.items(), key=lambda item: item[1][0]):
        layers = makers.of(members)
        number = names[layers[0]] = names.get(layers[0], 0) + 1
        reason = next((reasons[label] for label in members if label in reasons), "")
        name = layers[0] if number == 1 else f"{layers[0]}:{number}"
        found.append(Found(name, torch.tensor(members), dict(sorted(places)), layers, reason))
    return found


def _counted(labels: Tensor) -> tuple[list[int], list[int]]:
    values, counts = labels.unique(return_counts=True)
    return values.tolist(), counts.tolist()


class _Makers:
    """Which layers put out the labels that are tied to a root."""

    def __init__(self, trace: Trace) -> None:
        self._paths = [path for _, path in trace.made]
        root = trace.ties.root
        starts = torch.tensor([first for first, _ in trace.made])
        order = torch.bucketize(torch.arange(len(root)), starts, right=True) - 1
        self._by_root: dict[int, list[int]] = defaultdict(list)
        for label, maker in torch.stack([root[1:], order[1:]]).unique(dim=1).T.tolist():
            self._by_root[label].append(maker)

    def of(self, labels: Sequence[int]) -> tuple[str, ...]:
        """Return their paths in order of execution."""
        makers = sorted({maker for label in labels for maker in self._by_root[label]})
        return tuple(dict.fromkeys(self._paths[maker] for maker in makers))


def plan_groups(trace: Trace, found: Sequence[Found], widths: Sequence[float], multiple: int) -> Plan:
    """Number the units of groups that can be searched.

    Args:
        trace: Of the pass.
        found: The groups.
        widths: Shares of the units that may be kept, ascending; the last is 1.
        multiple: Of which kept channels are.
    """
    root = trace.ties.root
    units = torch.zeros(len(root), dtype=torch.long)
    groups, start = [], 1
    for one in found:
        count = len(one.labels)
        units[one.labels] = torch.arange(start, start + count)
        plain = min(one.places.values()) == 1 and count >= 2 * multiple
        shares = tuple(kept_units(count, share, multiple if plain else 1) for share in widths)
        tensors = len({name for name, _ in one.places})
        groups.append(Group(one.name, count, tuple(sorted(set(shares))), shares, one.layers, tensors, start))
        start += count
    units = units[root]
    axes = {place: units[labels] for place, labels in trace.tables.items()}
    axes = {place: numbers for place, numbers in axes.items() if numbers.any()}
    return Plan(tuple(groups), axes, frozenset(place for place in trace.inputs if place in axes), units)


def kept_units(units: int, share: float, multiple: int) -> int:
    """Return how many units a share of them is: the nearest multiple, ties up, but one multiple at least."""
    nearest = math.floor(units * share / multiple + 0.5) * multiple
    return units if share == 1 else min(max(nearest, multiple), units)
