"""Choice points: places in a module of one's own where a search decides.

A network with points runs by itself: outside a search a point takes its first candidate, `Repeat` the largest depth.
`ramify.spaces.AnyNetwork` searches it. This file imports nothing but PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import combinations
from math import comb
from typing import Literal, TypeVar, cast, get_args

import torch
from torch import Tensor, nn

Join = Literal["sum", "mean", "cat"]
"""How several tensors become one; `cat` is along the channels, dimension 1."""

Number = TypeVar("Number", int, float, str)

MOST_SUBSETS = 1024
"""Values that the decision of an `Inputs` may have."""

RESERVED = ("board", "choice", "path", "zeros")
"""Names that candidates cannot have, because the points of supernets have such attributes."""


class OneOf(nn.ModuleDict):
    """One of several modules, which map the same input to outputs of one shape.

    Args:
        candidates: Name → module; None contributes nothing: zeros.
        name: Of the decision; by default the path of the module. Points of one name share one decision.

    Raises:
        ValueError: If there are none, or a name cannot be that of a module.

    Example:
        >>> import torch
        >>> OneOf({"larger": nn.Upsample(scale_factor=2), "none": None})(torch.zeros(1, 3, 4, 4)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, candidates: Mapping[str, nn.Module | None], name: str | None = None) -> None:
        super().__init__()
        self.name = name
        if not isinstance(candidates, Mapping) or not candidates:
            raise ValueError(f"OneOf takes a mapping of names to modules, got {candidates!r:.60}")
        for key, module in candidates.items():
            if not isinstance(key, str) or not key or "." in key:
                raise ValueError(f"OneOf: {key!r:.40} cannot be the name of a candidate: it names a module")
            if key in RESERVED or hasattr(self, key):
                raise ValueError(
                    f"OneOf: {key!r:.40} cannot be the name of a candidate: modules have such an attribute"
                )
            if key == "none" and module is not None:
                raise ValueError("OneOf: a candidate called 'none' contributes nothing, so it must be None")
            self.add_module(key, module)

    def forward(self, *inputs: object, **options: object) -> Tensor:
        """Map what all candidates take to the output of the first one."""
        first = next(iter(self.values()))
        module = next((module for module in self.values() if module is not None), None)
        if module is None:
            return torch.zeros_like(cast(Tensor, inputs[0]))
        found = module(*inputs, **options)
        return torch.zeros_like(found) if first is None else found


class Repeat(nn.Sequential):
    """Blocks one behind the other, of which the first ones are taken: as many as the depth says.

    Args:
        make: Returns a fresh block for its number from 0. Blocks beyond the least depth keep the shape of their input.
        depths: Ascending; the numbers of blocks to choose from.
        name: Of the decision; by default the path of the module.

    Raises:
        ValueError: If `depths` are no ascending whole numbers from 0.

    Example:
        >>> len(Repeat(lambda i: nn.Linear(4, 4), depths=(1, 3)))
        3
    """

    def __init__(
        self, make: Callable[[int], nn.Module], depths: Sequence[int] = (1, 2, 3), name: str | None = None
    ) -> None:
        given = tuple(depths)
        ascending = list(given) == sorted(set(given)) and all(type(depth) is int and depth >= 0 for depth in given)
        if not given or not ascending or given[-1] == 0:
            raise ValueError(f"Repeat: `depths` must be ascending whole numbers, got {list(given)!r:.60}")
        super().__init__(*(make(number) for number in range(given[-1])))
        self.depths, self.name = given, name


class Joined(nn.Module):
    """Some of the tensors of a list, joined.

    Args:
        chosen: Their indices.
        join: How.
    """

    def __init__(self, chosen: Sequence[int], join: Join = "sum") -> None:
        super().__init__()
        self.chosen, self.join = tuple(chosen), join

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Map tensors (B, C, …) to one, (B, C, …); by `cat` to (B, k·C, …)."""
        return joined([tensors[index] for index in self.chosen], self.join)


def joined(tensors: Sequence[Tensor], join: Join) -> Tensor:
    """Return tensors (B, C, …) joined to one."""
    if join == "cat":
        return torch.cat(tuple(tensors), dim=1)
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total / len(tensors) if join == "mean" and len(tensors) > 1 else total


class Inputs(nn.Module):
    """Some of the tensors of a list, joined: its forward pass takes the list.

    Args:
        n: How many tensors there are.
        choose: How many are taken.
        join: `sum`, `mean` or `cat`, which joins along the channels.
        name: Of the decision; by default the path of the module.

    Raises:
        ValueError: If not 1 ≤ `choose` ≤ `n`, or there are too many subsets.

    Example:
        >>> import torch
        >>> Inputs(3, choose=2, join="cat")([torch.zeros(1, 4)] * 3).shape
        torch.Size([1, 8])
    """

    def __init__(self, n: int, choose: int = 1, join: Join = "sum", name: str | None = None) -> None:
        super().__init__()
        if not (type(n) is int and type(choose) is int and 1 <= choose <= n and comb(n, choose) <= MOST_SUBSETS):
            raise ValueError(
                f"Inputs: `1 <= choose <= n` must hold, with at most {MOST_SUBSETS:,} subsets, got {n!r:.20} and "
                f"{choose!r:.20}"
            )
        if join not in get_args(Join):
            raise ValueError(f"Inputs: `join` must be one of {', '.join(get_args(Join))}, got {join!r:.40}")
        self.n, self.choose, self.join, self.name = n, choose, join, name

    @property
    def subsets(self) -> list[tuple[int, ...]]:
        """What can be chosen: ascending indices."""
        return list(combinations(range(self.n), self.choose))

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Map a list of n tensors (B, C, …) to the first ones, joined."""
        return joined(tensors[: self.choose], self.join)


Point = OneOf | Repeat | Inputs
"""A module in which something is decided."""

Decide = Callable[[str, tuple[int | float | str, ...]], int | float | str]
"""Returns what is decided of a number: (its name, its values) → one of them."""

_decide: ContextVar[Decide | None] = ContextVar("decide", default=None)


def number(name: str, *values: Number) -> Number:
    """Return what is decided of a number, text or size that a constructor needs; outside a search the first value.

    Args:
        name: Of the decision. Each run of the constructor must ask for the same numbers, with the same values.
        values: What it may be, all different.

    Raises:
        ValueError: If there are no values, or one of them twice.

    Example:
        >>> number("hidden", 64, 128)
        64
    """
    if not values or len(set(values)) < len(values):
        raise ValueError(f"number: {name!r:.40} must have different values, got {values!r:.60}")
    decide = _decide.get()
    return values[0] if decide is None else cast(Number, decide(name, values))


@contextmanager
def deciding(decide: Decide) -> Iterator[None]:
    """Let `decide` say, within a block, what `number` returns."""
    token = _decide.set(decide)
    try:
        yield
    finally:
        _decide.reset(token)
