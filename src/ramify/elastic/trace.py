"""What a label pass finds, and the ties that follow from it when the pass is over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ramify.elastic.ties import NONE, Ties, changing, decides


@dataclass(frozen=True, eq=False)
class Entries:
    """A parameter or buffer, or what rearrangements made of it: which of its entries lies where.

    Args:
        name: Of the parameter.
        axes: For each axis of the parameter the index of every entry along it, narrowed.
    """

    name: str
    axes: tuple[Tensor, ...]

    def along(self, dim: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the axes whose index changes along one dimension alone, with these indices (n,)."""
        for axis, index in enumerate(self.axes):
            if changing(index) == [dim % index.dim()]:
                yield axis, index.flatten()


Value = Tensor | Entries
"""Labels of an activation, or entries of a parameter."""


@dataclass(frozen=True, eq=False)
class Product:
    """One call that multiplies and adds.

    Args:
        path: Of the module that makes it.
        labels: Of what it puts out, narrowed.
        shape: Of what it puts out.
        contracted: Labels (n,) along what is summed over.
        repeats: How often each of these is summed over: the area of a kernel.
        weight: Name of the parameter, where there is one.
    """

    path: str
    labels: Tensor
    shape: tuple[int, ...]
    contracted: Tensor
    repeats: int = 1
    weight: str | None = None


@dataclass(eq=False)
class Trace:
    """What one label pass has found.

    Attributes:
        ties: The union-find.
        made: (first label, path of the layer that put it out), ascending.
        tables: (parameter, axis) → the label of each index, `NONE` where it has none.
        inputs: The pairs of them that layers read along: what masks multiply.
        uses: Parameter entries that met labels along no certain axis.
        boxes: Labels that change along two or more dimensions.
        whole: (labels, reason).
        products: In order of execution.
        norms: Path of a module that measures a layer norm → the labels (n,) that it measures over.
        removable: Paths of removable modules.
        shapes: Path → the shape that the module returned first, where it is one tensor.
    """

    ties: Ties = field(default_factory=Ties)
    made: list[tuple[int, str]] = field(default_factory=list)
    tables: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    inputs: set[tuple[str, int]] = field(default_factory=set)
    uses: list[tuple[Entries, Tensor]] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)
    whole: list[tuple[Tensor, str]] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    norms: dict[str, Tensor] = field(default_factory=dict)
    removable: dict[str, None] = field(default_factory=dict)
    shapes: dict[str, torch.Size] = field(default_factory=dict)


def enter(trace: Trace, name: str, shape: Sequence[int], axis: int, index: Tensor, labels: Tensor) -> None:
    """Tie labels (n,) with those that the indices (n,) of a parameter's axis have already, or give them these."""
    table = trace.tables.setdefault((name, axis), torch.full((shape[axis],), NONE))
    new = table.clone()
    new[index] = labels
    trace.ties.tie(new[index], labels)  # several labels at one index
    trace.ties.tie(table, new)
    trace.tables[name, axis] = torch.where(table == NONE, new, table)


def settle(trace: Trace, shapes: Mapping[str, Sequence[int]]) -> None:
    """Tie until every tensor is a box: one dimension decides which unit an entry belongs to.

    Where none does, the leading one goes: the halves of a chunk, the groups of a shuffle, q, k and v.
    """
    waiting, before = list(trace.uses), -1
    while before != trace.ties.changes:
        before = trace.ties.changes
        for box in trace.boxes:
            labels = trace.ties.roots(box)
            dims = changing(labels)
            if len(dims) > 1 and not any(decides(labels, dim) for dim in dims):
                trace.ties.tie(labels, labels.narrow(dims[0], 0, 1))
        waiting = [use for use in waiting if not _placed(trace, shapes, *use)]
    for entries, labels in waiting:
        trace.whole.append((labels, f"entries of {entries.name} are no slice"))


def _placed(trace: Trace, shapes: Mapping[str, Sequence[int]], entries: Entries, labels: Tensor) -> bool:
    """Enter a use along the axis that decides its labels, if there is one."""
    labels = trace.ties.roots(labels)
    shape = shapes[entries.name]
    if not labels.any() or math.prod(shape) == 1 or not any(_beside(index, labels) for index in entries.axes):
        return True
    for axis, index in enumerate(entries.axes):
        if shape[axis] == 1:
            continue
        places, met = (x.flatten() for x in torch.broadcast_tensors(index, labels))
        table = torch.zeros(shape[axis], dtype=torch.long)
        table[places] = met
        if torch.equal(table[places], met):
            enter(trace, entries.name, shape, axis, places, met)
            return True
    return False


def _beside(index: Tensor, labels: Tensor) -> bool:
    """Return whether the indices change along a dimension along which labels do; else all labels meet the same."""
    aligned = index.shape[::-1] + (1,) * labels.dim()
    return any(aligned[labels.dim() - 1 - dim] > 1 for dim in changing(labels))
