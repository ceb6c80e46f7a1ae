"""What the networks of many members cost, without a profile of every one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ramify.architecture import Architecture, Value
from ramify.errors import RunError
from ramify.profiling import profile
from ramify.spaces import Space

_CHECKS = 16
"""Sums that are compared with a profile before sums are trusted."""


class MemberCosts:
    """Parameters and multiply-adds of the members of a space, as `profile` counts them.

    In most spaces what a network costs is a sum over the candidates that it uses. Then the cost of a member follows
    exactly from those of members that were profiled before, as soon as its candidates are a linear combination of
    theirs: NAS-Bench-201 needs 25 profiles for all 15,625 cells. The first sums are compared with a profile; where
    one of them differs, the space is not additive and every member is profiled.

    Args:
        space: The members' space.
        num_classes: Width of the classifier.
        input_size: (C, H, W) of one image.
        layout: Layout keywords of `build`.
    """

    def __init__(
        self, space: Space, num_classes: int, input_size: Sequence[int], layout: Mapping[str, Any] | None = None
    ) -> None:
        self.space, self.num_classes = space, num_classes
        self.input_size = tuple(input_size)
        self.layout = space.checked_layout("build", layout or {})
        self.additive = True
        self.profiled = 0
        self._known: dict[Architecture, tuple[int, int]] = {}
        self._columns: dict[Any, int] = {}
        self._used: dict[tuple[str, Value], tuple[int, ...]] = {}
        self._directions = np.zeros((0, 0))  # orthonormal rows that span the profiled members
        self._members: list[np.ndarray] = []
        self._costs: list[tuple[int, int]] = []
        self._solution: np.ndarray | None = None
        self._checked = 0

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Return `params` and `macs` of a member; auxiliary heads do not count."""
        found = self._known.get(arch)
        if found is None:
            found = self._known[arch] = self._count(arch)
        return {"params": float(found[0]), "macs": float(found[1])}

    def _count(self, arch: Architecture) -> tuple[int, int]:
        if not self.additive:
            return self._profiled(arch)
        uses = self._uses(arch)
        if self._is_new(uses):
            found = self._profiled(arch)
            self._members.append(uses)
            self._costs.append(found)
            self._solution = None
            return found
        summed = self._sum(uses)
        if self._checked == _CHECKS:
            return summed
        self._checked += 1
        found = self._profiled(arch)
        self.additive = found == summed
        return found

    def verify(self, arch: Architecture, costs: Mapping[str, float]) -> None:
        """Compare what was said of a member with a profile of it.

        Raises:
            RunError: If they differ.
        """
        params, macs = self._profiled(arch)
        if costs.get("params", params) != params or costs.get("macs", macs) != macs:
            raise RunError(f"the costs of {self.space.name} are no sums, though {_CHECKS} comparisons said so")

    def _profiled(self, arch: Architecture) -> tuple[int, int]:
        """Count on the meta device: nothing is initialised and nothing is computed."""
        self.profiled += 1
        with torch.device("meta"):
            network = self.space.build(
                arch, num_classes=self.num_classes, in_channels=self.input_size[0], **self.layout
            )
        cost = profile(network, self.input_size)
        return cost.params - cost.auxiliary_params, cost.macs

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

    def _sum(self, uses: np.ndarray) -> tuple[int, int]:
        if self._solution is None:
            rows = np.zeros((len(self._members), len(uses)))
            for row, member in zip(rows, self._members, strict=True):
                row[: len(member)] = member
            self._solution = np.linalg.lstsq(rows, np.array(self._costs, dtype=float), rcond=None)[0]
        params, macs = uses @ self._solution
        return round(params), round(macs)


_SHARED: dict[str, MemberCosts] = {}


def member_costs(
    space: Space, num_classes: int, input_size: Sequence[int], layout: Mapping[str, Any] | None = None
) -> MemberCosts:
    """Return the `MemberCosts` of these networks; what one search of a process has learnt, the next ones know."""
    key = json.dumps([type(space).__module__, space.to_dict(), num_classes, *input_size, dict(layout or {})])
    if key not in _SHARED:
        _SHARED[key] = MemberCosts(space, num_classes, input_size, layout)
    return _SHARED[key]
