"""The candidate lists of a shrinking space: for every layer its remaining operators."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.errors import ArchitectureError
from ramify.spaces import Space
from ramify.supernet import Choice

Lists = Sequence[Sequence[int]]
"""For every layer the indices of its operators that are left."""


@dataclass(frozen=True)
class Layer:
    """What shares one candidate list: an edge, or one edge in several kinds of cells.

    Args:
        choices: Names of the choices it belongs to.
        edge: Index of the edge in each of them.
        ops: Names of all operations.
    """

    choices: tuple[str, ...]
    edge: int
    ops: tuple[str, ...]


class Candidates:
    """The layers of a space with their operators.

    Args:
        space: What shrinks.
        together: Whether kinds of cells with the same edges and operations share their lists, as in the released code,
            where one cell choice serves all cells.
    """

    def __init__(self, space: Space, *, together: bool = True) -> None:
        self.space = space
        self.groups = space.alike if together else tuple((name,) for name in space.choices)
        self.layers: list[Layer] = []
        self.start: list[list[int]] = []
        for group in self.groups:
            choice = space.choices[group[0]]
            for edge, row in enumerate(choice.mask.tolist()):
                self.layers.append(Layer(tuple(group), edge, choice.ops))
                self.start.append([op for op, exists in enumerate(row) if exists])

    def choice(self, layer: int) -> Choice:
        """Return the choice of a layer, the first of several."""
        return self.space.choices[self.layers[layer].choices[0]]

    def one_hot(self, children: Tensor) -> dict[str, Tensor]:
        """Return children (N, L), an operator or -1 (none) per layer, as choice → bool (N, E, O)."""
        chosen: dict[str, Tensor] = {}
        start = 0
        for group in self.groups:
            edges, count = self.space.choices[group[0]].shape
            own = children[:, start : start + edges, None] == torch.arange(count)
            chosen |= dict.fromkeys(group, own)
            start += edges
        return chosen

    def masks(self, lists: Lists) -> dict[str, Tensor]:
        """Return candidate lists as masks for `Space.restrict`."""
        masks = {name: torch.zeros(choice.shape, dtype=torch.bool) for name, choice in self.space.choices.items()}
        for layer, left in zip(self.layers, lists, strict=True):
            for name in layer.choices:
                masks[name][layer.edge, list(left)] = True
        return masks

    def restricted(self, lists: Lists) -> Space:
        """Return the space restricted to the lists."""
        return self.space.restrict(self.masks(lists))

    def is_space(self, lists: Lists) -> bool:
        """Return whether the lists leave every decision a value."""
        try:
            self.restricted(lists)
        except ArchitectureError:
            return False
        return True

    def table(self, values: Mapping[tuple[int, int], float | int | None]) -> dict[str, list[list[float | int | None]]]:
        """Return values by (layer, operator) as choice → table (E, O), None where there is no value."""
        tables: dict[str, list[list[float | int | None]]] = {
            name: [[None] * len(choice.ops) for _ in choice.edges] for name, choice in self.space.choices.items()
        }
        for (at, op), value in values.items():
            for name in self.layers[at].choices:
                tables[name][self.layers[at].edge][op] = value
        return tables


def size_of(lists: Lists) -> int:
    """Return the product of the lists' lengths, to be compared with the threshold; empty lists do not count."""
    return math.prod(len(left) or 1 for left in lists)


def without(lists: Lists, dropped: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the lists without the given (layer, operator) pairs."""
    gone = set(dropped)
    return [[op for op in left if (layer, op) not in gone] for layer, left in enumerate(lists)]
