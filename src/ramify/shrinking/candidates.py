"""What is left of a space while it shrinks: for every layer the list of its operators."""

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
    """What has one list of operators: an edge, or one edge of several kinds of cells.

    Args:
        choices: Names of the choices it belongs to.
        edge: Index of the edge in each of them.
        ops: Names of all operations.
    """

    choices: tuple[str, ...]
    edge: int
    ops: tuple[str, ...]


class Candidates:
    """The layers of a space.

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
        """Return the choice that a layer belongs to, the first of several."""
        return self.space.choices[self.layers[layer].choices[0]]

    def one_hot(self, children: Tensor) -> dict[str, Tensor]:
        """Return children (N, L), operators by layer with -1 for none at all, as choice → bool (N, E, O)."""
        chosen: dict[str, Tensor] = {}
        start = 0
        for group in self.groups:
            edges, count = self.space.choices[group[0]].shape
            own = children[:, start : start + edges, None] == torch.arange(count)
            chosen |= dict.fromkeys(group, own)
            start += edges
        return chosen

    def masks(self, lists: Lists) -> dict[str, Tensor]:
        """Return lists as masks, which `Space.restrict` takes."""
        masks = {name: torch.zeros(choice.shape, dtype=torch.bool) for name, choice in self.space.choices.items()}
        for layer, left in zip(self.layers, lists, strict=True):
            for name in layer.choices:
                masks[name][layer.edge, list(left)] = True
        return masks

    def restricted(self, lists: Lists) -> Space:
        """Return the space that the lists leave."""
        return self.space.restrict(self.masks(lists))

    def is_space(self, lists: Lists) -> bool:
        """Return whether the lists leave a choice to every decision."""
        try:
            self.restricted(lists)
        except ArchitectureError:
            return False
        return True

    def table(self, values: Mapping[tuple[int, int], float | int | None]) -> dict[str, list[list[float | int | None]]]:
        """Return what is known of (layer, operator) as choice → table (E, O), None where nothing is."""
        tables: dict[str, list[list[float | int | None]]] = {
            name: [[None] * len(choice.ops) for _ in choice.edges] for name, choice in self.space.choices.items()
        }
        for (at, op), value in values.items():
            for name in self.layers[at].choices:
                tables[name][self.layers[at].edge][op] = value
        return tables


def size_of(lists: Lists) -> int:
    """Return the product of the lists' lengths, which the threshold is about; empty ones do not count."""
    return math.prod(len(left) or 1 for left in lists)


def without(lists: Lists, dropped: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return lists without some (layer, operator)."""
    gone = set(dropped)
    return [[op for op in left if (layer, op) not in gone] for layer, left in enumerate(lists)]
