"""`Batch`: inputs with their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

Nested = Any
"""A tensor, or a dictionary, list or tuple of them, nested at will."""


def mapped(change: Callable[[Tensor], Any], nested: Nested) -> Nested:
    """Return the same nested structure with a function applied to every tensor."""
    if isinstance(nested, Tensor):
        return change(nested)
    if isinstance(nested, Mapping):
        return {name: mapped(change, value) for name, value in nested.items()}
    if isinstance(nested, list | tuple):
        values = [mapped(change, value) for value in nested]
        return type(nested)(*values) if hasattr(nested, "_fields") else type(nested)(values)
    return nested


def tensors(nested: Nested) -> list[Tensor]:
    """Return the tensors of a nested structure, in order."""
    leaves: list[Tensor] = []
    mapped(leaves.append, nested)
    return leaves


class Read:
    """How many inputs were read.

    Args:
        items: That many.
    """

    def __init__(self, items: int = 0) -> None:
        self.items = items


_reads: list[Read] = []


@contextmanager
def counting() -> Iterator[Read]:
    """Count the inputs of the batches of portions that are read within the block."""
    _reads.append(Read())
    try:
        yield _reads[-1]
    finally:
        _reads.pop()


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs with their targets; can be divided into parts and moved to a device.

    Its length is the number of inputs B; two values can be unpacked from it, inputs and targets.

    Args:
        inputs: What the network takes: a tensor (B, …), or a nesting of such tensors.
        targets: What it has to say of them, alike.
    """

    inputs: Nested
    targets: Nested

    def __len__(self) -> int:
        return len(tensors(self.inputs)[0])

    def __iter__(self) -> Iterator[Nested]:
        return iter((self.inputs, self.targets))

    def changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with a function applied to every tensor."""
        return Batch(mapped(change, self.inputs), mapped(change, self.targets))

    def taken(self, index: Tensor | slice) -> Batch:
        """Return the items at the indices (n,)."""
        return self.changed(lambda values: values[index])

    def parts(self, count: int) -> list[Batch]:
        """Divide the batch into `count` parts whose lengths differ by at most one."""
        size, left = divmod(len(self), count)
        ends = [number * size + min(number, left) for number in range(count + 1)]
        return [self.taken(slice(first, last)) for first, last in pairwise(ends)]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Batch:
        """Return the batch on a device, its floating-point tensors in a precision if one is given."""
        return self.changed(lambda values: values.to(device, dtype if values.is_floating_point() else None))


def counted(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield batches, and add their inputs to what is being counted."""
    for batch in batches:
        for read in _reads:
            read.items += len(batch)
        yield batch
