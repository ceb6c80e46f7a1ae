"""What the networks of many members cost, without a profile of every one of them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch

from ramify.architecture import Architecture, Value
from ramify.chain_costs import ChainCosts
from ramify.errors import RunError
from ramify.profiling import profile
from ramify.spaces import Space
from ramify.spaces.chain import ChainSpace
from ramify.spaces.layout import LayoutLike


class SummedCosts(ABC):
    """Costs of the members of a space, most of them as sums.

    In most spaces what a network costs is a sum over the candidates that it uses. Then the cost of a member follows
    from those of members that were looked at before, as soon as its candidates are a linear combination of theirs:
    NAS-Bench-201 needs 25 members for all 15,625 cells.

    Args:
        space: The members' space.
    """

    checks: ClassVar[int]
    """How many sums are compared with what is found by a look, before sums are trusted."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.additive = True
        self._known: dict[Architecture, tuple[float, ...]] = {}
        self._columns: dict[Any, int] = {}
        self._used: dict[tuple[str, Value], tuple[int, ...]] = {}
        self._directions = np.zeros((0, 0))  # orthonormal rows that span the profiled members
        self._members: list[np.ndarray] = []
        self._costs: list[tuple[float, ...]] = []
        self._solution: np.ndarray | None = None
        self._checked = 0

    @abstractmethod
    def look(self, arch: Architecture) -> tuple[float, ...]:
        """Return the costs of a member without any sum."""

    def of(self, arch: Architecture) -> tuple[float, ...]:
        """Return the costs of a member."""
        found = self._known.get(arch)
        if found is None:
            found = self._known[arch] = self._count(arch)
        return found

    def _count(self, arch: Architecture) -> tuple[float, ...]:
        if not self.additive:
            return self.look(arch)
        uses = self._uses(arch)
        if self._is_new(uses):
            found = self.look(arch)
            self._members.append(uses)
            self._costs.append(found)
            self._solution = None
            return found
        summed = self._sum(uses)
        if self._checked == self.checks:
            return summed
        self._checked += 1
        found = self.look(arch)
        self.additive = found == summed
        return found

    def _uses(self, arch: Architecture) -> np.ndarray:
        """Return how often a member uses every candidate seen so far, and a one for what all members have."""
        used = [0]
        for name in arch:
            key = (name, arch[name])
            if key not in self._used:
                candidates = self.space.candidates(*key)
                self._used[key] = tuple(self._columns.setdefault(c, len(self._columns) + 1) for c in candidates)
            used += self._used[key]
        return np.bincount(used, minlength=len(self._columns) + 1).astype(float)

    def _is_new(self, uses: np.ndarray) -> bool:
        """Return whether no combination of the profiled members uses the same, and remember it if so."""
        known = np.zeros((len(self._directions), len(uses)))
        known[:, : self._directions.shape[1]] = self._directions
        self._directions = known
        rest = uses - known.T @ (known @ uses)
        rest -= known.T @ (known @ rest)  # once more, for what rounding left
        length = float(np.linalg.norm(rest))
        if length < 1e-6:
            return False
        self._directions = np.vstack([known, rest / length])
        return True

    def _sum(self, uses: np.ndarray) -> tuple[float, ...]:
        if self._solution is None:
            rows = np.zeros((len(self._members), len(uses)))
            for row, member in zip(rows, self._members, strict=True):
                row[: len(member)] = member
            self._solution = np.linalg.lstsq(rows, np.array(self._costs, dtype=float), rcond=None)[0]
        return tuple((uses @ self._solution).tolist())


class MemberCosts(SummedCosts):
    """Parameters and multiply-adds of the members of a space, as `profile` counts them: exact.

    The first sums are compared with a profile; where one of them differs, the space is not additive and every member is
    profiled.

    Args:
        space: The members' space.
        num_classes: Width of the classifier.
        input_size: (C, H, W) of one image.
        layout: Of the networks, or its keywords.
    """

    checks = 16

    def __init__(self, space: Space, num_classes: int, input_size: Sequence[int], layout: LayoutLike = None) -> None:
        super().__init__(space)
        self.num_classes = num_classes
        self.input_size = tuple(input_size)
        self.layout = space.layout(layout)
        self.profiled = 0

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Return `params` and `macs` of a member; auxiliary heads do not count."""
        params, macs = self.of(arch)
        return {"params": float(params), "macs": float(macs)}

    def look(self, arch: Architecture) -> tuple[float, ...]:
        """Count on the meta device: nothing is initialised and nothing is computed."""
        self.profiled += 1
        shape = {"num_classes": self.num_classes, "in_channels": self.input_size[0]}
        with torch.device("meta"):
            network = self.space.build(arch, self.layout, shape=shape)
        cost = profile(network, self.input_size)
        return cost.params - cost.auxiliary_params, cost.macs

    def _sum(self, uses: np.ndarray) -> tuple[float, ...]:
        return tuple(map(round, super()._sum(uses)))

    def verify(self, arch: Architecture, costs: Mapping[str, float]) -> None:
        """Compare what was said of a member with a profile of it.

        Raises:
            RunError: If they differ.
        """
        params, macs = self.look(arch)
        if costs.get("params", params) != params or costs.get("macs", macs) != macs:
            raise RunError(f"the costs of {self.space.name} are no sums, though {self.checks} comparisons said so")


class ChainMemberCosts(MemberCosts):
    """The same of the members of a chain, from a table of its operators."""

    def __init__(
        self, space: ChainSpace, num_classes: int, input_size: Sequence[int], layout: LayoutLike = None
    ) -> None:
        super().__init__(space, num_classes, input_size, layout)
        self._table = ChainCosts(space, input_size, num_classes, self.layout)

    def of(self, arch: Architecture) -> tuple[float, ...]:
        """Return the costs of a member."""
        found = self._table(arch)
        return found["params"], found["macs"]


class EstimatedCosts(SummedCosts):
    """A measured cost of members, as if it were a sum over their candidates: measured for some, estimated for others.

    Args:
        space: The members' space.
        measure: Returns the cost of a member.
    """

    checks = 0

    def __init__(self, space: Space, measure: Callable[[Architecture], float]) -> None:
        super().__init__(space)
        self._measure = measure

    def look(self, arch: Architecture) -> tuple[float, ...]:
        """Measure."""
        return (self._measure(arch),)


_SHARED: dict[str, MemberCosts] = {}


def member_costs(space: Space, num_classes: int, input_size: Sequence[int], layout: LayoutLike = None) -> MemberCosts:
    """Return the `MemberCosts` of these networks; what one search of a process has learnt, the next ones know."""
    layout = space.layout(layout)
    key = json.dumps([type(space).__module__, space.to_dict(), num_classes, *input_size, asdict(layout)])
    if key not in _SHARED:
        kind = ChainMemberCosts if isinstance(space, ChainSpace) else MemberCosts
        _SHARED[key] = kind(space, num_classes, input_size, layout)  # type: ignore[arg-type]
    return _SHARED[key]
