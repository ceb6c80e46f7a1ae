"""The orders in which published benchmarks number the members of a space, so that a table need not list them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from random import Random
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Order:
    """A numbering of all members of a space.

    Args:
        space: Name of the space, which has its default arguments.
        size: How many members there are.
        notations: Makes their canonical notations, in order.
    """

    space: str
    size: int
    notations: Callable[[], list[str]]

    @property
    def described(self) -> dict[str, Any]:
        """`Space.to_dict()` of the numbered space."""
        return {"space": self.space, "arguments": {}}


def _nasbench201() -> list[str]:
    """All cells in the benchmark's own order: the last edge fastest, then shuffled with seed 88."""
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    cells = [f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in product(operations, repeat=6)]
    Random(88).shuffle(cells)
    return cells


def _nats_size() -> list[str]:
    """All channel numbers in lexicographic order of their positions, the last one fastest."""
    widths = [str(width) for width in range(8, 65, 8)]
    return [":".join(chosen) for chosen in product(widths, repeat=5)]


ORDERS: Mapping[str, Order] = MappingProxyType(
    {
        "nasbench201": Order("NASBench201", 5**6, _nasbench201),
        "nats-size": Order("NATSBenchSize", 8**5, _nats_size),
    }
)
"""Published orders by name: NAS-Bench-201 (the same as NATS-Bench's topology) and NATS-Bench's sizes."""
