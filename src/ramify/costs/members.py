"""The costs of many members' networks, without building every one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ramify.architecture import Architecture
from ramify.costs.chain import ChainCosts
from ramify.costs.elastic import PolynomialCost, polynomials
from ramify.costs.inputs import Inputs
from ramify.costs.networks import Networks
from ramify.costs.predicting import PredictedLatency, of_file
from ramify.costs.prunable import ExactCost, prunable_cost
from ramify.costs.record import FILE, Cost, find
from ramify.costs.table import OperatorTable
from ramify.errors import ConfigurationError, RunError
from ramify.spaces import Space
from ramify.spaces.chain import ChainSpace
from ramify.spaces.layout import LayoutLike

COUNTED = ("params", "macs")


class SummedCosts(ABC):
    """Costs of the members of a space, as sums over decisions where they are such sums.

    In most spaces what a network costs is a sum over its parts (`Space.parts`). Then the cost of a member follows from
    those of members that were looked at before, as soon as its parts are a linear combination of theirs: NAS-Bench-201
    needs 25 members for all 15,625 cells.

    Args:
        space: The members' space.
        additive: Whether to take sums at all.
    """

    checks: ClassVar[int]
    """How many sums are compared with what is found by a look, before sums are trusted."""

    def __init__(self, space: Space, *, additive: bool = True) -> None:
        self.space = space
        self.additive = additive
        self._known: dict[Architecture, tuple[float, ...]] = {}
        self._columns: dict[Any, int] = {}
        self._directions = np.zeros((0, 0))  # orthonormal rows that span the members that were looked at
        self._members: list[np.ndarray] = []
        self._costs: list[tuple[float, ...]] = []
        self._solution: np.ndarray | None = None
        self._checked = 0

    @abstractmethod
    def look(self, arch: Architecture) -> tuple[float, ...]:
        """Return the costs of a member from its network, without sums."""

    def of(self, arch: Architecture) -> tuple[float, ...]:
        """Return the costs of a member."""
        arch = self.space.canonical(arch)
        costs = self._known.get(arch)
        if costs is None:
            costs = self._known[arch] = self._count(arch)
        return costs

    def _count(self, arch: Architecture) -> tuple[float, ...]:
        if not self.additive:
            return self.look(arch)
        uses = self._uses(arch)
        if self._is_new(uses):
            looked = self.look(arch)
            self._members.append(uses)
            self._costs.append(looked)
            self._solution = None
            return looked
        summed = self._sum(uses)
        if self._checked == self.checks:
            return summed
        self._checked += 1
        looked = self.look(arch)
        self.additive = self.additive and looked == summed
        return looked

    def _uses(self, arch: Architecture) -> np.ndarray:
        """Return how often a member has every part seen so far, and a one for what all members have."""
        used = [0, *(self._columns.setdefault(part, len(self._columns) + 1) for part in self.space.parts(arch))]
        return np.bincount(used, minlength=len(self._columns) + 1).astype(float)

    def _is_new(self, uses: np.ndarray) -> bool:
        """Return whether no combination of the members looked at uses the same, and remember it if so."""
        basis = np.zeros((len(self._directions), len(uses)))
        basis[:, : self._directions.shape[1]] = self._directions
        self._directions = basis
        rest = uses - basis.T @ (basis @ uses)
        rest -= basis.T @ (basis @ rest)  # once more, for what rounding left
        length = float(np.linalg.norm(rest))
        if length < 1e-6:
            return False
        self._directions = np.vstack([basis, rest / length])
        return True

    def _sum(self, uses: np.ndarray) -> tuple[float, ...]:
        if self._solution is None:
            rows = np.zeros((len(self._members), len(uses)))
            for row, member in zip(rows, self._members, strict=True):
                row[: len(member)] = member
            self._solution = np.linalg.lstsq(rows, np.array(self._costs, dtype=float), rcond=None)[0]
        return tuple((uses @ self._solution).tolist())


class MemberCosts(SummedCosts):
    """Exact costs of members that need no device, such as parameters and multiply-adds.

    Whole numbers are summed, and the first sums compared with a look; where one of them differs, parts do not say what
    a network costs, and every member is looked at. So it is where a cost is no whole number, because what rounding
    leaves of a sum would depend on the members that happened to be looked at.

    Args:
        networks: Of the members.
        names: Of costs in `COSTS`.
    """

    checks = 16

    def __init__(self, networks: Networks, names: Sequence[str] = COUNTED) -> None:
        self.names = tuple(names)
        self.costs = tuple(_counted(name) for name in self.names)
        super().__init__(networks.space, additive=all(cost.additive for cost in self.costs))
        self.networks = networks
        self.looked = 0

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Return the costs of a member, by name."""
        return dict(zip(self.names, map(float, self.of(arch)), strict=True))

    def look(self, arch: Architecture) -> tuple[float, ...]:
        """Count the costs of a member on the meta device, where nothing is initialized or computed."""
        self.looked += 1
        counts = self.networks.measured(self.costs, arch)
        self.additive = self.additive and all(value.is_integer() for value in counts)
        return counts

    def _sum(self, uses: np.ndarray) -> tuple[float, ...]:
        return tuple(map(float, map(round, super()._sum(uses))))

    def verify(self, arch: Architecture, costs: Mapping[str, float]) -> None:
        """Compare the costs reported for a member with those of its network.

        Raises:
            RunError: If they differ.
        """
        looked = dict(zip(self.names, self.look(arch), strict=True))
        if any(costs.get(name, value) != value for name, value in looked.items()):
            raise RunError(f"the costs of {self.space.name} are no sums, though {self.checks} comparisons said so")


def _counted(name: str) -> Cost:
    record = find(name)
    if record is None or record.on_device:
        raise ConfigurationError(f"{name!r} is no cost that can be counted without a device")
    return record


class ChainMemberCosts(MemberCosts):
    """Parameters and multiply-adds of the members of a chain, from a table of its operators."""

    def __init__(self, networks: Networks, names: Sequence[str] = COUNTED) -> None:
        super().__init__(networks, names)
        space: Any = networks.space
        self._table = ChainCosts(space, networks.inputs, networks.layout)

    def of(self, arch: Architecture) -> tuple[float, ...]:
        """Return the costs of a member."""
        costs = self._table(arch)
        return tuple(costs[name] for name in self.names)


class ExactMemberCosts(MemberCosts):
    """Costs of members that have a closed form, such as a polynomial of elastic widths.

    Args:
        networks: Of the members.
        names: Of costs.
        exact: The costs, in the same order.
    """

    def __init__(self, networks: Networks, names: Sequence[str], exact: Sequence[ExactCost]) -> None:
        super().__init__(networks, names)
        self._exact = exact

    def of(self, arch: Architecture) -> tuple[float, ...]:
        """Return the costs of a member."""
        return tuple(float(cost.of(arch)) for cost in self._exact)


class EstimatedCosts(SummedCosts):
    """A measured cost of members, estimated as a sum over candidates from the measurements of some members.

    Args:
        space: The members' space.
        measure: Returns the cost of a member.
    """

    checks = 0

    def __init__(self, space: Space, measure: Callable[[Architecture], float]) -> None:
        super().__init__(space)
        self._measure = measure

    def look(self, arch: Architecture) -> tuple[float, ...]:
        """Measure the cost of a member."""
        return (self._measure(arch),)


_SHARED: dict[tuple[str, tuple[Cost, ...]], MemberCosts] = {}


def member_costs(
    space: Space, inputs: Inputs, layout: LayoutLike = None, names: Sequence[str] = COUNTED
) -> MemberCosts:
    """Return the `MemberCosts` of these networks, shared by all searches of the process."""
    networks = Networks(space, inputs, layout)
    key = networks.key, tuple(_counted(name) for name in names)
    if key not in _SHARED:
        exact = _exact(networks, names)
        kind = ChainMemberCosts if isinstance(space, ChainSpace) and set(names) <= set(COUNTED) else MemberCosts
        _SHARED[key] = kind(networks, names) if exact is None else ExactMemberCosts(networks, names, exact)
    return _SHARED[key]


def _exact(networks: Networks, names: Sequence[str]) -> list[ExactCost] | None:
    """Return the closed forms of costs; None where one of them has none."""
    pruned = [prunable_cost(networks, name) for name in names]
    if all(cost is not None for cost in pruned):
        return [cost for cost in pruned if cost is not None]
    terms = polynomials(networks) if set(names) <= set(COUNTED) else None
    space: Any = networks.space
    return None if terms is None else [PolynomialCost(space, terms[name]) for name in names]


class Costs:
    """The costs of members' networks known before training, of every kind.

    Args:
        networks: Of the members; None where no cost is wanted.
        names: Of costs, or of tables in files.
        predicted: Name → what is predicted instead of measured.
    """

    def __init__(
        self, networks: Networks | None, names: Sequence[str], predicted: Mapping[str, PredictedLatency] = {}
    ) -> None:
        self.names = tuple(names)
        self._tables: dict[str, PredictedLatency | OperatorTable] = {}
        if networks is None:
            return
        self.networks = networks
        self._tables |= {name: of_file(name, networks) for name in names if name.startswith(FILE)}
        self._tables |= {name: predicted[name] for name in names if name in predicted}
        records = {name: record for name in names if name not in predicted and (record := find(name)) is not None}
        counted = [name for name, cost in records.items() if not cost.on_device]
        self._counts = member_costs(networks.space, networks.inputs, networks.layout, counted) if counted else None
        self._on_device = [cost for cost in records.values() if cost.on_device]
        self._measured: dict[Architecture, dict[str, float]] = {}

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Return the wanted costs of a member."""
        if not self.names:
            return {}
        arch = self.networks.space.canonical(arch)
        costs = self._counts(arch) if self._counts is not None else {}
        if self._on_device:
            if arch not in self._measured:
                values = self.networks.measured(self._on_device, arch)
                self._measured[arch] = dict(zip((cost.name for cost in self._on_device), values, strict=True))
            costs |= self._measured[arch]
        for name, table in self._tables.items():
            operators = isinstance(table, OperatorTable)
            costs[name] = table(self.networks.space, arch) if operators else table(arch)  # type: ignore[call-arg, arg-type]
        return {name: costs[name] for name in self.names}

    def compared(self, arch: Architecture) -> dict[str, dict[str, Any]]:
        """Return the latencies of a member that are predicted beside what its network takes, by name."""
        tables = {name: table for name, table in self._tables.items() if isinstance(table, PredictedLatency)}
        return {name: table.compared(arch) for name, table in tables.items()}

    def verify(self, arch: Architecture, metrics: Mapping[str, float]) -> None:
        """Compare the counted costs of a search's result with those of its network."""
        if self.names and self._counts is not None:
            self._counts.verify(arch, metrics)

    def remember(self, arch: Architecture, metrics: Mapping[str, float]) -> None:
        """Restore the measured costs of a member when a search is continued."""
        if self.names and self._on_device and all(cost.name in metrics for cost in self._on_device):
            arch = self.networks.space.canonical(arch)
            self._measured[arch] = {cost.name: metrics[cost.name] for cost in self._on_device}
