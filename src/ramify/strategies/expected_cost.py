"""The expected cost of a member, as a function of the probabilities of its candidates (Cai et al., ProxylessNAS, ICLR
2019, section 3.3, Eq. 6).

Decisions are drawn independently. A decision takes a value with the product of the probabilities of the candidates that
the value uses, as a share of all values: where a value is one candidate, that is its probability. So the expectation is
a sum over decisions where the cost of a member is one.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ramify.architecture import Architecture, Value
from ramify.spaces import Space


class ExpectedCost:
    """The expected cost in a space where costs are sums over decisions.

    Args:
        space: Whose members.
        base: Cost of one member.
        costs: For every decision, in order, what each of its values costs more than the value in that member.
    """

    def __init__(self, space: Space, base: float, costs: Sequence[Sequence[float]]) -> None:
        self.base, self.costs = float(base), [list(map(float, row)) for row in costs]
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
    def of(cls, space: Space, cost: Callable[[Architecture], float]) -> "ExpectedCost":
        """Return the expectation of a cost of members that is a sum over their decisions.

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
        nothing = flat.new_zeros(len(self.costs))
        totals = nothing.index_add(0, self._decision, products)
        totals = torch.where(totals > 0, totals, torch.ones_like(totals))
        return self.base + (products / totals[self._decision] * self._flat).sum()
