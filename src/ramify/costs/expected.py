"""The expected cost of a member, as a function of the probabilities of its candidates (Cai et al., ProxylessNAS, ICLR
2019, section 3.3, Eq. 6).

Decisions are drawn independently. A decision takes a value with the product of the probabilities of the candidates that
the value uses, as a share of all values: where a value is one candidate, that is its probability. So the expectation is
a sum over decisions where the cost of a member is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ramify import parallel
from ramify.architecture import Architecture, Value
from ramify.costs.chain import LATENCY, ChainCosts
from ramify.costs.elastic import PolynomialCost, polynomials
from ramify.costs.members import EstimatedCosts, member_costs
from ramify.costs.nested import NestedCost
from ramify.costs.networks import Networks
from ramify.costs.predicting import PredictedLatency, of_file
from ramify.costs.prunable import PrunableCost, prunable_cost
from ramify.costs.record import FILE, find
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.spaces import AnyNetwork, Space
from ramify.spaces.chain import ChainSpace

_CHECKS = 4
"""Members drawn at random whose sums are compared with a look, where none have been before."""
_DRAWN = 200
"""Members to whose predictions a sum is fitted, at most."""


class ExpectedCost:
    """The expected cost in a space where costs are sums over decisions.

    Args:
        space: Whose members.
        base: Cost of one member.
        costs: For every decision, in order, what each of its values costs more than the value in that member.
    """

    def __init__(self, space: Space, base: float, costs: Sequence[Sequence[float]]) -> None:
        self.base, self.costs = float(base), [list(map(float, row)) for row in costs]
        self._decisions = space.decisions
        self._names = tuple(space.choices)
        self._flat = torch.tensor([cost for row in self.costs for cost in row], dtype=torch.float64)
        sizes = [len(row) for row in self.costs]
        self._decision = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        starts, at = dict[str, int](), 0
        for name, choice in space.choices.items():
            starts[name], at = at, at + choice.mask.numel()
        used = [
            [starts[name] + edge * len(space.choices[name].ops) + op for name, edge, op in space.candidates(d.name, v)]
            for d in space.decisions
            for v in d.choices
        ]
        most = max(map(len, used))
        self._used = torch.tensor([row + [at] * (most - len(row)) for row in used])  # `at` stands for a certainty

    @classmethod
    def of(cls, space: Space, cost: Callable[[Architecture], float]) -> ExpectedCost:
        """Return the expectation of a cost that is a sum over a member's decisions.

        The values of a decision are compared in members that differ in nothing else.
        """
        first: dict[str, Value] = {decision.name: decision.choices[0] for decision in space.decisions}
        base = cost(space.architecture(first))
        costs = [
            [cost(space.architecture(first | {decision.name: value})) - base for value in decision.choices]
            for decision in space.decisions
        ]
        return cls(space, base, costs)

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Return the expected cost (scalar, float64) for probabilities (E, O) of the candidates of every choice.

        A decision none of whose values has any probability counts as in the member that `base` is the cost of.
        """
        flat = torch.cat([probabilities[name].double().flatten() for name in self._names])
        products = torch.cat([flat, flat.new_ones(1)])[self._used].prod(dim=1)
        zeros = flat.new_zeros(len(self.costs))
        totals = zeros.index_add(0, self._decision, products)
        totals = torch.where(totals > 0, totals, torch.ones_like(totals))
        return self.base + (products / totals[self._decision] * self._flat).sum()

    def by_value(self) -> dict[tuple[str, Value], float]:
        """Return (decision, value) → the difference of cost to the base member's value there."""
        rows = zip(self._decisions, self.costs, strict=True)
        return {(d.name, value): cost for d, row in rows for value, cost in zip(d.choices, row, strict=True)}

    @property
    def least(self) -> float:
        """Return the least cost of a member."""
        return self.base + sum(map(min, self.costs))

    @property
    def most(self) -> float:
        """Return the largest cost of a member."""
        return self.base + sum(map(max, self.costs))


Expectation = ExpectedCost | NestedCost | PolynomialCost | PrunableCost
"""What a cost of members is where their decisions are drawn: probabilities (E, O) of every choice → scalar."""


def expected_cost(networks: Networks, name: str, *, nearest: bool = True) -> Expectation | None:
    """Return the expectation of the named cost; None where that cost is no sum over decisions, or over what is read.

    A cost that is measured on a device is estimated as a sum: in chains latencies are those of the operators, each
    measured alone, elsewhere a few networks are measured that together have all candidates. All processes take what the
    first one measured.

    Args:
        networks: Of the members.
        name: Of a cost, or of a table in a file.
        nearest: Whether a latency that a table predicts, and that is no sum, is taken for the nearest sum.

    Raises:
        TableError: If the file is damaged, or does not fit the space.
    """
    space = networks.space
    if name.startswith(FILE):
        table = of_file(name, networks)
        if isinstance(table, PredictedLatency):
            found = _predicted(space, table)
            return _nearest(space, table) if found is None and nearest else found
        rows = table.rows(space)
        cheapest = table.fixed + math.fsum(map(min, rows))  # a first one that costs much would leave no digits
        return ExpectedCost(space, cheapest, [[value - min(row) for value in row] for row in rows])
    cost = find(name)
    if cost is None:
        raise ConfigurationError(f"there is no cost {name!r}")
    if (pruned := prunable_cost(networks, name)) is not None:
        return pruned
    if isinstance(space, AnyNetwork) and space.nested:
        if cost.on_device or not (space.additive and cost.additive):
            return None
        if space.knobs:
            terms = polynomials(networks) or {}
            return PolynomialCost(space, terms[name]) if name in terms else None
        exact = member_costs(space, networks.inputs, networks.layout, [name])
        return NestedCost.of(space, lambda arch: exact.of(arch)[0])
    if cost.on_device:
        if isinstance(space, ChainSpace) and name == LATENCY:
            chain = ChainCosts(space, networks.inputs, networks.layout)
            chain.measure_latency(networks.device)
            return _of_first(space, ExpectedCost.of(space, lambda arch: chain(arch)[LATENCY]))
        measured = EstimatedCosts(space, lambda arch: networks.measured([cost], arch)[0])
        return _of_first(space, ExpectedCost.of(space, lambda arch: measured.of(arch)[0]))
    if not (space.additive and cost.additive):
        return None
    counted = member_costs(space, networks.inputs, networks.layout, [name])
    drawn = [space.sample(rng(0, "sums", number)) for number in range(_CHECKS)]
    counted.of(drawn[0])  # tells at once whether the cost is a whole number, which can be summed without rounding
    if counted.additive:
        expected = ExpectedCost.of(space, lambda arch: counted.of(arch)[0])
        looked = [counted.of(arch)[0] for arch in drawn]
    if counted.additive:
        return _if_sum(space, expected, drawn, looked)
    return _estimated(space, lambda arch: networks.measured([cost], arch)[0])


def _predicted(space: Space, of: Callable[[Architecture], float]) -> ExpectedCost | NestedCost | None:
    """Return the expectation of what is predicted of members' networks; None where that is no sum."""
    if isinstance(space, AnyNetwork) and space.nested:
        return None if space.knobs else NestedCost.of(space, of)
    return _estimated(space, of) if space.additive else None


def _nearest(space: Space, of: Callable[[Architecture], float]) -> ExpectedCost:
    """Return the sum over decisions that is nearest to the costs of members that are drawn."""
    first = {d.name: d.choices[0] for d in space.decisions}
    columns = {(d.name, value): 0 for d in space.decisions for value in d.choices[1:]}
    columns = {key: at for at, key in enumerate(columns, start=1)}
    drawn = [space.sample(rng(0, "nearest", number)) for number in range(min(_DRAWN, 64 + 2 * len(columns)))]
    uses = np.zeros((len(drawn), len(columns) + 1))
    uses[:, 0] = 1.0
    for row, arch in zip(uses, drawn, strict=True):
        row[[columns[name, arch[name]] for name in space.reads(arch) if arch[name] != first[name]]] = 1.0
    fitted = np.linalg.lstsq(uses, np.array([of(arch) for arch in drawn]), rcond=None)[0].tolist()
    costs = [[fitted[columns[d.name, value]] if value != first[d.name] else 0.0 for value in d.choices]
             for d in space.decisions]  # fmt: skip
    return ExpectedCost(space, fitted[0], costs)


def _estimated(space: Space, of: Callable[[Architecture], float]) -> ExpectedCost | None:
    """Return the expectation of a cost that is no whole number, if it is a sum over decisions."""
    summed = EstimatedCosts(space, of)
    expected = ExpectedCost.of(space, lambda arch: summed.of(arch)[0])
    drawn = [space.sample(rng(0, "sums", number)) for number in range(_CHECKS)]
    return _if_sum(space, expected, drawn, [of(arch) for arch in drawn])


def _if_sum(
    space: Space, expected: ExpectedCost, drawn: Sequence[Architecture], looked: Sequence[float]
) -> ExpectedCost | None:
    """Return an expectation if it is what was found of members by a look."""
    sums = (float(expected(space.mix(arch))) for arch in drawn)
    return expected if all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(sums, looked, strict=True)) else None


def _of_first(space: Space, measured: ExpectedCost) -> ExpectedCost:
    """Return what the first process has measured."""
    base, *flat = parallel.of_first([measured.base, *(cost for row in measured.costs for cost in row)])
    costs = iter(flat)
    return ExpectedCost(space, base, [[next(costs) for _ in row] for row in measured.costs])
