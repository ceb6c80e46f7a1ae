"""Upper limits on the cost of a result: strategies derive the best member within the limits from their scores.

Scores (E, O) prefer the member that `Space.discretize` derives, by the rule of the space's paper. If it keeps the
limits, it is the result. Else the result is the member within them with the largest sum of the scores of the candidates
that it uses. Without limits this is what every `discretize` of the library maximizes: of a cell of DARTS the two
strongest edges of a node are the pair with the largest sum.

Where costs are sums over decisions, that member is found exactly (`costs/best.py`). This includes costs that are
measured on a device: they are estimated as sums, once, before anything learns, and the limit holds for the estimate;
what the network of the result takes in the end is measured once more and reported. Elsewhere members are looked at
(`costs/searching.py`); latencies are predicted there from the calls of some networks that are measured. Limits that no
member keeps are refused before anything learns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ramify.architecture import Architecture
from ramify.costs.best import best_choices
from ramify.costs.chain import LATENCY
from ramify.costs.expected import ExpectedCost, expected_cost
from ramify.costs.latency_table import LatencyTable
from ramify.costs.members import Costs
from ramify.costs.networks import Networks
from ramify.costs.predicting import PredictedLatency, measured_alike
from ramify.costs.record import COSTS, is_cost, is_repeatable
from ramify.costs.searching import Searching, out_of_reach
from ramify.costs.sums import member_of, value_scores
from ramify.errors import ConfigurationError, RunError, nearest, shown
from ramify.imports import HINT
from ramify.spaces import Space

_MARGIN = 1e-9
"""Share of a limit that is left free where costs are no whole numbers, for what rounding does to sums."""


def check_limits(limits: Mapping[str, float]) -> None:
    """Raise `ConfigurationError` unless every limit is positive and its cost is known before training."""
    for name, limit in limits.items():
        if not is_cost(name):
            advice = f"{nearest(name, COSTS)}; {HINT}"
            raise ConfigurationError(
                f"`limits` are for what is known before the training, not {shown(name)!r}; {advice}"
            )
        if not limit > 0:
            raise ConfigurationError(f"`limits`: {name} must be above 0, got {limit}")


class _Members(Protocol):
    """What is known of the costs of members."""

    def costs(self, arch: Architecture) -> dict[str, float]:
        """Return what a member costs, by name."""

    def best(self, scores: Mapping[str, Tensor] | None, count: int, space: Space) -> list[Architecture]:
        """Return the best members within the limits, best first; of None all are equally good."""


class Limits:
    """The limits of a search; costs of members are computed when first needed.

    Args:
        networks: Of the members, as they will be used.
        most: Cost → the most that is allowed.
    """

    def __init__(self, networks: Networks, most: Mapping[str, float]) -> None:
        self.networks, self.most = networks, dict(most)
        self.space = networks.space
        self._measured: dict[str, ExpectedCost] = {}
        self._predicted: dict[str, PredictedLatency] = {}
        self._members: _Members | None = None

    def __bool__(self) -> bool:
        return bool(self.most)

    def __str__(self) -> str:
        return ", ".join(f"{name} ≤ {limit:,.6g}" for name, limit in self.most.items())

    @property
    def members(self) -> _Members:
        """The costs of members.

        Raises:
            ConfigurationError: If no member keeps the limits, saying what members cost.
        """
        if self._members is None:
            expected = {
                name: self._measured.get(name) or expected_cost(self.networks, name, nearest=False)
                for name in self.most
            }
            sums = {name: cost for name, cost in expected.items() if isinstance(cost, ExpectedCost)}
            self._measured = {name: cost for name, cost in sums.items() if not is_repeatable(name)}
            for name, cost in ((name, cost) for name, cost in expected.items() if cost is not None):
                if not cost.least <= self.most[name]:
                    raise out_of_reach(self.space, name, self.most[name], (cost.least, cost.most))
            if len(sums) < len(self.most):
                if LATENCY in self.most and LATENCY not in (*sums, *self._predicted):
                    self._predicted[LATENCY] = measured_alike(self.networks)
                self._members = Searching(self.networks, self.most, sums, self._predicted)
            else:
                self._members = _Sums(self.most, sums)
                if not self._members.best(None, 1, self.space):
                    have = ", ".join(f"{name} from {cost.least:,.6g}" for name, cost in sums.items())
                    raise ConfigurationError(f"no member of {self.space.name} keeps all of {self}; they have {have}")
        return self._members

    def prepare(self) -> None:
        """Compute the costs of members before training starts.

        Raises:
            ConfigurationError: If no member keeps the limits, saying what members cost.
        """
        if self.most:
            _ = self.members

    def allows(self, arch: Architecture) -> bool:
        """Return whether a member is within the limits."""
        return not self.most or within(self.members.costs(arch), self.most)

    def reachable(self, space: Space) -> bool:
        """Return whether a restriction of the space has a member within the limits, or one can be found."""
        return not self.most or bool(self.members.best(None, 1, space))

    def derive(self, scores: Mapping[str, Tensor], space: Space | None = None) -> Architecture:
        """Return the best member within the limits under scores (E, O), by the rule of this module's docstring.

        Args:
            scores: Of every choice.
            space: The space, or a restriction of it.

        Raises:
            ConfigurationError: If the restriction has no member within the limits.
        """
        space = space or self.space
        preferred = space.discretize(scores)
        return preferred if self.allows(preferred) else self.best(scores, 1, space)[0]

    def best(self, scores: Mapping[str, Tensor] | None, count: int, space: Space | None = None) -> list[Architecture]:
        """Return up to `count` members within the limits with the largest sums of scores, best first.

        Raises:
            ConfigurationError: If a restriction of the space has none.
        """
        space = space or self.space
        members = self.members.best(scores, count, space)
        if not members:
            raise ConfigurationError(f"no member of what is left of {space.name} keeps the limits {self}")
        return members

    def report(self, arch: Architecture) -> dict[str, dict[str, Any]]:
        """Return limit and cost of a result, by cost; what depends on a device is measured again.

        Raises:
            RunError: If a look at the network finds another cost than the sums said.
        """
        known = Costs(self.networks, list(self.most), self._predicted)
        costs, looked, compared = self.members.costs(arch), known(arch), known.compared(arch)
        report: dict[str, dict[str, Any]] = {}
        for name, limit in self.most.items():
            report[name] = {"most": limit, "cost": looked[name], **compared.get(name, {})}
            if not is_repeatable(name) and name not in compared:
                measured, cost = looked[name], costs[name]
                report[name] |= {"cost": cost, "measured": measured, "off": measured / cost - 1 if cost else 0.0}
            elif is_repeatable(name) and looked[name] > limit:
                raise RunError(f"{name} of {self.space.name} is no sum over candidates, though members said so")
        return report

    def state_dict(self) -> dict[str, Any]:
        """Return the costs measured on a device, which would differ if measured again, and tables of calls as text."""
        tables = {name: predicted.table.to_json() for name, predicted in self._predicted.items()}
        return tables | {name: [cost.base, cost.costs] for name, cost in self._measured.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the measured costs."""
        sums = {name: value for name, value in state.items() if not isinstance(value, str)}
        self._measured = {name: ExpectedCost(self.space, base, costs) for name, (base, costs) in sums.items()}
        self._predicted = {
            name: PredictedLatency(self.networks, LatencyTable.of_text(state[name], f"limits.{name}"))
            for name in state.keys() - sums.keys()
        }
        self._members = None


def within(costs: Mapping[str, float], most: Mapping[str, float]) -> bool:
    """Return whether costs are within limits."""
    return all(costs[name] <= limit for name, limit in most.items())


class _Sums:
    """Members all of whose costs are sums over decisions."""

    def __init__(self, most: Mapping[str, float], sums: Mapping[str, ExpectedCost]) -> None:
        self.sums = sums
        self._rooms = [_room(most[name], cost) for name, cost in sums.items()]
        self._columns = [cost.by_value() for cost in sums.values()]

    def costs(self, arch: Architecture) -> dict[str, float]:
        return {
            name: cost.base + math.fsum(column[decision, arch[decision]] for decision in arch)
            for (name, cost), column in zip(self.sums.items(), self._columns, strict=True)
        }

    def best(self, scores: Mapping[str, Tensor] | None, count: int, space: Space) -> list[Architecture]:
        table = [
            np.array([[column[d.name, value] for column in self._columns] for value in d.choices], dtype=float)
            for d in space.decisions
        ]
        choices = best_choices(value_scores(space, scores), table, self._rooms, count)
        return [member_of(space, picks) for picks in choices]


def _room(limit: float, cost: ExpectedCost) -> float:
    """Return what decisions may add to the base."""
    numbers: Iterable[Sequence[float]] = (*cost.costs, [cost.base])
    whole = all(float(value).is_integer() for row in numbers for value in row)
    return limit * (1 if whole else 1 - _MARGIN) - cost.base
