"""A target that costs are driven to from both sides (Dong & Yang, TAS, NeurIPS 2019, arXiv:1905.09717, Eq. 8).

With E the expected cost in millions, F the cost of the member that the scores prefer and T the target, the term of the
loss is log E where F is above T, −log E where it is below T by more than the tolerance, and 0 between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from ramify.architecture import Architecture, Value
from ramify.costs.budget import Budget, best_between
from ramify.costs.expected import Expectation, ExpectedCost, expected_cost
from ramify.costs.members import Costs
from ramify.costs.networks import Networks
from ramify.errors import ConfigurationError
from ramify.spaces import PrunableResNet, Space

MILLION = 1e6
_ROUNDS = 20
"""How often the costs of changes are computed anew for a result within the tolerance."""


class Target(Budget):
    """A target cost from below: what costs no more, and less by no more than a tolerance, meets it.

    Args:
        networks: Of the members.
        of: The cost, of those that need no device.
        target: What it should be: a share of the whole network's up to 1, else a number.
        tolerance: How much less it may be, as a share of the whole network's.
        weight: Of the term in the loss.

    Raises:
        ConfigurationError: If the expectation of the cost is not known, or no member can meet the target.
    """

    def __init__(self, networks: Networks, of: str, target: float, tolerance: float, weight: float) -> None:
        expected = expected_cost(networks, of)
        if expected is None:
            raise ConfigurationError(
                f"the expected {of} of {networks.space.name} is not known, so they cannot be driven to a target; "
                "target=0 leaves that out"
            )
        self.space, self.of, self.weight = networks.space, of, weight
        self.expected: Expectation = expected
        self._costs = Costs(networks, [of])
        self.whole = self.cost(self.space.full) if isinstance(self.space, PrunableResNet) else expected.most
        self.target = float(target * self.whole if target <= 1 else target)
        self.tolerance = tolerance * self.whole
        least, most = expected.least, expected.most
        low = max(0.0, self.target - self.tolerance)
        if not (least <= self.target and self.target - self.tolerance <= most):
            raise ConfigurationError(
                f"no member of {self.space.name} has {low:,.6g} to {self.target:,.6g} {of}: "
                f"they have {least:,.6g} to {most:,.6g}"
            )

    def penalty(self, alphas: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted term (scalar) for raw parameters (E, O)."""
        scores = {name: choice.softmax(alphas[name]) for name, choice in self.space.choices.items()}
        return self.weight * self.term(self.expected(scores), self.cost(self.space.discretize(scores)))

    def term(self, expected: Tensor, cost: float) -> Tensor:
        """Return the term (scalar) for the expected cost and that of the preferred member."""
        sign = float(cost > self.target) - float(cost < self.target - self.tolerance)
        return sign * (expected / MILLION).log()

    def cost(self, arch: Architecture) -> float:
        """Return the cost of a member's network."""
        return self._costs(arch)[self.of]

    def met(self, arch: Architecture) -> bool:
        """Return whether a member meets the target."""
        return self._misses(self.cost(arch)) == 0

    def _misses(self, cost: float) -> float:
        """Return by how much a cost is above the target, or, as a negative number, below the tolerance."""
        return max(0.0, cost - self.target) + min(0.0, cost - (self.target - self.tolerance))

    def derive(self, scores: Mapping[str, Tensor], space: Space) -> Architecture:
        """Return the member that scores (E, O) prefer if it meets the target, else the first of `best`."""
        preferred = space.discretize(scores)
        return preferred if self.met(preferred) else self.best(scores, 1, space)[0]

    def best(self, scores: Mapping[str, Tensor], count: int, space: Space) -> list[Architecture]:
        """Return members that meet the target with the largest sums of scores (E, O), or the one that is nearest.

        Where costs are no sums over decisions, it is one member: it comes of the preferred one by the changes that are
        cheapest in probability for what they save, or add, until it meets the target.
        """
        if isinstance(self.expected, ExpectedCost):
            return best_between(self.expected, self.target - self.tolerance, self.target, scores, count, space)
        arch = space.discretize(scores)
        nearest = arch
        for _ in range(_ROUNDS):
            missed, changed = self._misses(self.cost(arch)), set[str]()
            for decision, value in self._changes(arch, scores, space):
                other = space.architecture(dict(arch.choices) | {decision: value})
                now = self._misses(self.cost(other))
                if decision in changed or now * missed < 0 or abs(now) >= abs(missed):
                    continue
                arch, missed = other, now
                changed.add(decision)
                if now == 0:
                    return [arch]
            if not changed:
                break
            nearest = min(nearest, arch, key=lambda arch: abs(self._misses(self.cost(arch))))
        return [min(nearest, arch, key=lambda arch: abs(self._misses(self.cost(arch))))]

    def _changes(self, arch: Architecture, scores: Mapping[str, Tensor], space: Space) -> Iterator[tuple[str, Value]]:
        """Yield changes of a decision that lead towards the target, by what they lose in log probability for it."""
        tables = {name: table.detach().double().cpu().clamp_min(1e-30).log().tolist() for name, table in scores.items()}
        cost = self.cost(arch)

        def worth(decision: str, value: Value) -> float:
            return sum(tables[name][edge][op] for name, edge, op in space.candidates(decision, value))

        changes = []
        for decision in space.decisions:
            own = worth(decision.name, arch[decision.name])
            for value in decision.choices:
                gained = self.cost(space.architecture(dict(arch.choices) | {decision.name: value})) - cost
                if gained * self._misses(cost) < 0:
                    changes.append(((own - worth(decision.name, value)) / abs(gained), decision.name, value))
        yield from ((name, value) for _, name, value in sorted(changes, key=lambda change: change[0]))
