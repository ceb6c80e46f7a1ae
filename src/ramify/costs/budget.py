"""A target cost for the resulting network: a term of the loss, and a rule of derivation.

Where costs are sums over decisions, the term is the relative deviation of the expected cost from the target, and what
is derived is the member with the largest sum of scores within a tolerance, or, where there is none, the nearest. In
`CellDistribution` the cost of a stage depends on which of its cells are read, so its lengths alone follow the budget.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ramify.architecture import Architecture
from ramify.costs.best import best_choices
from ramify.costs.expected import ExpectedCost, expected_cost
from ramify.costs.inputs import Inputs
from ramify.costs.members import member_costs
from ramify.costs.networks import Networks
from ramify.costs.sums import member_of, value_scores
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.spaces import CellDistribution, Space, StageGraph
from ramify.spaces.cell_distribution import LENGTHS
from ramify.spaces.layout import LayoutLike
from ramify.spaces.stage_graph import SKIP, STAGES

QUANTITIES = ("params", "macs")
"""What a budget of `CellDistribution` may count."""

TOLERANCE = 0.05
"""Largest deviation from a target that meets it, as a share of the target."""

_TRIED = 20
"""How many of the most probable members are looked at for each one that is wanted within a budget of stages."""


class Budget(ABC):
    """A target cost for the networks of a search.

    Attributes:
        of: The cost.
        target: What it should be.
    """

    of: str
    target: float

    @abstractmethod
    def penalty(self, alphas: Mapping[str, Tensor]) -> Tensor:
        """Return the relative deviation of the expected cost from the target (scalar), for raw parameters (E, O)."""

    @abstractmethod
    def cost(self, arch: Architecture) -> float:
        """Return the cost of a member's network."""

    @abstractmethod
    def best(self, scores: Mapping[str, Tensor], count: int, space: Space) -> list[Architecture]:
        """Return members that meet the target with the largest sums of scores (E, O), or the one that is nearest."""

    @abstractmethod
    def derive(self, scores: Mapping[str, Tensor], space: Space) -> Architecture:
        """Return the member that scores (E, O) prefer among those that meet the target, or the one that is nearest."""

    def met(self, arch: Architecture) -> bool:
        """Return whether a member meets the target."""
        return abs(self.cost(arch) / self.target - 1) <= TOLERANCE


class SumBudget(Budget):
    """A budget for costs that are sums over decisions.

    Args:
        space: The members' space.
        of: The cost.
        target: What it should be.
        expected: What members cost.
    """

    def __init__(self, space: Space, of: str, target: float, expected: ExpectedCost) -> None:
        self.space, self.of, self.target, self.expected = space, of, target, expected
        self._costs = expected.by_value()

    def penalty(self, alphas: Mapping[str, Tensor]) -> Tensor:
        """Return the relative deviation of the expected cost from the target (scalar), for raw parameters (E, O)."""
        probabilities = {name: choice.softmax(alphas[name]) for name, choice in self.space.choices.items()}
        return (self.expected(probabilities) / self.target - 1).abs()

    def cost(self, arch: Architecture) -> float:
        """Return the cost of a member's network."""
        return self.expected.base + sum(self._costs[name, arch[name]] for name in arch)

    def derive(self, scores: Mapping[str, Tensor], space: Space) -> Architecture:
        """Return the member that `space.discretize` derives if it meets the target, else the first of `best`."""
        preferred = space.discretize(scores)
        return preferred if self.met(preferred) else self.best(scores, 1, space)[0]

    def best(self, scores: Mapping[str, Tensor], count: int, space: Space) -> list[Architecture]:
        """Return members that meet the target with the largest sums of scores (E, O), or the one that is nearest."""
        margin = TOLERANCE * self.target
        return best_between(self.expected, self.target - margin, self.target + margin, scores, count, space)


def best_between(
    expected: ExpectedCost, low: float, high: float, scores: Mapping[str, Tensor], count: int, space: Space
) -> list[Architecture]:
    """Return the members that cost from `low` to `high` with the largest sums of scores (E, O), best first.

    Where there is none, it is the one that costs most up to the middle or least from it on, whichever is nearer.
    """
    costs, middle = expected.by_value(), (low + high) / 2
    rows = [np.array([[costs[d.name, value]] for value in d.choices]) for d in space.decisions]
    both = [np.hstack([row, -row]) for row in rows]
    window = [high - expected.base, expected.base - low]
    choices = best_choices(value_scores(space, scores), both, window, count)
    if not choices:
        room = middle - expected.base
        below = best_choices([row[:, 0].tolist() for row in rows], rows, [room])
        above = best_choices([(-row[:, 0]).tolist() for row in rows], [-row for row in rows], [-room])
        nearest = [member_of(space, picks) for picks in (*below, *above)]
        return [min(nearest, key=lambda a: abs(expected.base + sum(costs[name, a[name]] for name in a) - middle))]
    return [member_of(space, picks) for picks in choices]


@dataclass(frozen=True)
class StageBudget(Budget):
    """A budget for `CellDistribution`, with measured costs of the parts of its networks.

    Args:
        space: Whose networks.
        of: `params` or `macs`.
        target: The cost to reach.
        fixed: Cost of everything but the graphs of the stages.
        cells: Cost of a cell of each stage.
        poolings: Cost of a pooling between cells of each stage: the parameters of its norm.
    """

    space: CellDistribution
    of: str
    target: float
    fixed: int
    cells: tuple[int, ...]
    poolings: tuple[int, ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """The possible numbers of cells in a stage."""
        return tuple(map(int, self.space.choices[LENGTHS].ops))

    @cached_property
    def stages(self) -> Tensor:
        """Cost of the cells of each stage (rows) at each length (columns), when all of them are read."""
        return torch.tensor([[cell * length for length in self.lengths] for cell in self.cells], dtype=torch.float64)

    def expected(self, weights: Tensor) -> Tensor:
        """Return the expected cost (scalar) when `weights` (3, L) are the probabilities of the lengths."""
        return self.fixed + (weights * self.stages.to(weights)).sum()

    def penalty(self, alphas: Mapping[str, Tensor]) -> Tensor:
        """Return the relative deviation from the target (scalar), whose slope does not fade near the target."""
        return (self.expected(self.space.probabilities(alphas)) / self.target - 1).abs()

    def cost(self, arch: Architecture) -> int:
        """Return the cost of a member's network, summed over its parts."""
        lengths = self.space.lengths_of(arch)
        return self.fixed + sum(self._stage(arch, at, length) for at, length in enumerate(lengths))

    def _stage(self, arch: Architecture, stage: int, length: int) -> int:
        cells, poolings = self.space.read_parts(arch, STAGES[stage], (length, length + 1))
        return cells * self.cells[stage] + poolings * self.poolings[stage]

    def derive(
        self, scores: Mapping[str, Tensor], space: Space | None = None, tolerance: float | None = TOLERANCE
    ) -> Architecture:
        """Return the member with the most probable lengths among those within the budget.

        What the lengths cost is reckoned for the derived graphs, so it is what their networks do cost.

        Args:
            scores: Raw architecture parameters (E, O) of every choice.
            space: The space, or a restriction of it.
            tolerance: Largest deviation from the target, as a share of it; where no lengths keep to that, the nearest
                are taken. None: the cost may be anything up to the target.

        Raises:
            ArchitectureError: If even the shortest stages cost more than the target, and there is no tolerance.
        """
        space = space or self.space
        assert isinstance(space, CellDistribution)
        return self._within(space.discretize(scores), scores, space, tolerance)

    def _within(
        self, arch: Architecture, scores: Mapping[str, Tensor], space: CellDistribution, tolerance: float | None
    ) -> Architecture:
        """Return the member with the graphs of another one and the most probable lengths that keep to the budget."""
        choice = space.choices[LENGTHS]
        likely = choice.softmax(scores[LENGTHS].detach().cpu().double()).log().tolist()
        costs = [
            {at: self._stage(arch, stage, self.lengths[at]) for at, on in enumerate(row) if on}
            for stage, row in enumerate(choice.mask.tolist())
        ]

        def deviation(picks: Sequence[int]) -> float:
            return (self.fixed + sum(costs[stage][at] for stage, at in enumerate(picks))) / self.target - 1

        allowed = list(product(*costs))
        if tolerance is None:
            allowed = [picks for picks in allowed if deviation(picks) <= 0]
            if not allowed:
                raise ArchitectureError(f"even the shortest stages cost more than {self.target:,.0f} {self.of}")
        else:
            least = min(abs(deviation(picks)) for picks in allowed)
            allowed = [picks for picks in allowed if abs(deviation(picks)) <= max(least, tolerance)]
        best = max(allowed, key=lambda picks: sum(likely[stage][at] for stage, at in enumerate(picks)))
        return space.with_lengths(arch, [self.lengths[at] for at in best])

    def best(self, scores: Mapping[str, Tensor], count: int, space: Space) -> list[Architecture]:
        """Return members that meet the target among those with the largest sums of scores (E, O); where they are too
        few, others have the graphs of such and other lengths. None of them may be but what `derive` gives."""
        assert isinstance(space, CellDistribution)
        gains = value_scores(space, scores)
        no_costs = [np.zeros((len(row), 0)) for row in gains]
        likely = [member_of(space, picks) for picks in best_choices(gains, no_costs, [], _TRIED * count)]
        members = [arch for arch in likely if self.met(arch)][:count]
        if len(members) == count:
            return members
        others = (self._within(arch, scores, space, TOLERANCE) for arch in likely)
        members = list(dict.fromkeys([*members, *(arch for arch in others if self.met(arch))]))[:count]
        return members or [self.derive(scores, space)]


def budget(
    space: Space, target: float, of: str = "params", *, inputs: Inputs, layout: LayoutLike = None
) -> SumBudget | StageBudget:
    """Return the budget for the networks of a space.

    Args:
        space: Whose networks.
        target: What a network should cost.
        of: Which cost; `params` or `macs` in `CellDistribution`.
        inputs: What the networks are for.
        layout: Of the networks, or its keywords.

    Raises:
        ConfigurationError: If costs are no sums here, or no network of this space can meet the target.
    """
    if isinstance(space, CellDistribution):
        return _stage_budget(space, target, of, inputs, layout)
    expected = expected_cost(Networks(space, inputs, layout), of)
    if not isinstance(expected, ExpectedCost):
        raise ConfigurationError(f"{of} of networks of {space.name} are no sums, so the expected cost is not known")
    if not expected.least <= target <= expected.most:
        raise ConfigurationError(
            f"networks of {space.name} have {expected.least:,.6g} to {expected.most:,.6g} {of}, so the target cannot "
            f"be {target:,.6g}"
        )
    return SumBudget(space, of, float(target), expected)


def _stage_budget(space: CellDistribution, target: float, of: str, inputs: Inputs, layout: LayoutLike) -> StageBudget:
    """Return a budget of stages, with the costs of the parts measured on networks that are built for it."""
    if of not in QUANTITIES:
        raise ConfigurationError(f"`of` must be one of {list(QUANTITIES)}, got {of!r}")
    layout = space.layout(layout)
    if not getattr(layout, "prune_dead", False):
        raise ConfigurationError("a budget needs `prune_dead`: without it all stages are built to the full length")

    def cost(*lengths: int, pooled: int | None = None) -> int:
        graph = StageGraph(space.cell, lengths)
        wiring = dict(graph.chain().choices)
        if pooled is not None:
            wiring[f"{STAGES[pooled]}.2"] = (("max_pool_3x3", 0), (SKIP, 1))
        return round(member_costs(graph, inputs, layout, [of]).look(graph.architecture(wiring))[0])

    start = cost(2, 2, 2)
    cells = tuple(cost(*(2 + (at == stage) for at in range(3))) - start for stage in range(3))
    poolings = tuple(cost(2, 2, 2, pooled=stage) - start for stage in range(3))
    budget = StageBudget(space, of, float(target), start - 2 * sum(cells), cells, poolings)
    least, most = (budget.fixed + sum(cells) * budget.lengths[at] for at in (0, -1))
    if not least <= target <= most:
        raise ConfigurationError(
            f"networks of these stages have {least:,} to {most:,} {of}, so the target cannot be {target:,.0f}"
        )
    return budget
