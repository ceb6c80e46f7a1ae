"""The expected cost where decisions lie below others, so that a member uses the candidates that it reads alone.

A candidate that lies below others is used with the product of their probabilities and its own; a block that some
depths leave out with the sum of the probabilities of the others. Decisions are drawn independently, so the expectation
of the cost is the sum over what can be chosen of its cost times that product. What each of it costs follows from the
exact costs of members that together use everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ramify.architecture import Architecture, Value
from ramify.seeding import rng
from ramify.spaces.any_network import AnyNetwork

When = Mapping[str, frozenset[Value]]
"""Decision → the values with which a part is used."""

_DIGITS = 4
"""Of a bound: what rounding leaves of a whole number is not there."""
_CHECKED = 4
"""Members drawn at random whose sums are compared with their costs."""


class NestedCost:
    """The expected cost in a space whose decisions may lie below others.

    Args:
        space: Whose members.
        base: What all members cost.
        costs: Part → what it costs more.
    """

    def __init__(self, space: AnyNetwork, base: float, costs: Mapping[Hashable, float]) -> None:
        self.space, self.base, self.costs = space, base, dict(costs)
        self._used = [
            (cost, [[space.candidates(name, value) for value in values] for name, values in when.items()])
            for part, when in space.conditions().items()
            for cost in [self.costs[part]]
        ]

    @classmethod
    def of(cls, space: AnyNetwork, cost: Callable[[Architecture], float]) -> NestedCost | None:
        """Return the expectation of a cost; None where that is no sum over what members use."""
        terms = space.conditions()
        looked = [_user(space, when) for when in terms.values()]
        looked += [space.sample(rng(0, "nested", number)) for number in range(2 * len(terms))]
        uses = np.array([_uses(arch, terms) for arch in looked])
        solution = np.linalg.lstsq(uses, np.array([cost(arch) for arch in looked]), rcond=None)[0]
        checked = [space.sample(rng(0, "checked", number)) for number in range(_CHECKED)]
        sums = ((float(np.array(_uses(arch, terms)) @ solution), cost(arch)) for arch in checked)
        if not all(math.isclose(summed, wanted, rel_tol=1e-6) for summed, wanted in sums):
            return None
        return cls(space, float(solution[0]), dict(zip(terms, solution[1:].tolist(), strict=True)))

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Return the expected cost (scalar, float64) for probabilities (E, O) of the candidates of every choice."""
        tables = {name: table.double() for name, table in probabilities.items()}
        total = next(iter(tables.values())).new_zeros(()) + self.base
        for cost, conditions in self._used:
            share: Tensor | float = cost
            for values in conditions:
                share = share * torch.stack([_product(tables, candidates) for candidates in values]).sum()
            total = total + share
        return total

    @property
    def least(self) -> float:
        """A cost that no member is below; where points share no decision, the least of a member."""
        return round(self.base + self.space.extreme(self.costs, min), _DIGITS)

    @property
    def most(self) -> float:
        """A cost that no member is above; where points share no decision, the largest of a member."""
        return round(self.base + self.space.extreme(self.costs, max), _DIGITS)


def _product(rows: Mapping[str, Tensor], candidates: Sequence[tuple[str, int, int]]) -> Tensor:
    return torch.stack([rows[name][edge, op] for name, edge, op in candidates]).prod()


def _uses(arch: Architecture, terms: Mapping[Hashable, When]) -> list[float]:
    """Return a one, and for every part whether a member uses it."""
    return [1.0, *(float(all(arch[name] in values for name, values in when.items())) for when in terms.values())]


def _user(space: AnyNetwork, when: When) -> Architecture:
    """Return a member that uses a part, with first values elsewhere."""
    first = {decision.name: decision.choices[0] for decision in space.decisions}
    used = {name: next((v for v in space.values(name) if v in values), first[name]) for name, values in when.items()}
    return space.architecture(first | used)
