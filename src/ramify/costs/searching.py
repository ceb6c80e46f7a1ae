"""The best members within limits where costs are not sums over decisions: a local search over members.

For each result at most 300 are. First the 64 with the largest sums of scores: the first of them to keep the limits is
the best of all. If none does, those that are best under a linear estimate of the costs, with limits that are lowered
until one keeps them. From the best that was found so far on, or a member that is known to keep the limits, decisions
are changed one after the other, what gains most first, as long as one gains.

Such a member is looked for before anything learns: from the best of 64 random ones and the cheapest by the estimate, by
changing decisions, what saves most first. With limits that 1,000 looks do not reach nothing begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from ramify.architecture import Architecture, Value
from ramify.costs.best import best_choices
from ramify.costs.expected import ExpectedCost
from ramify.costs.members import Costs
from ramify.costs.networks import Networks
from ramify.costs.predicting import PredictedLatency
from ramify.costs.sums import member_of, value_scores
from ramify.errors import ConfigurationError, RamifyError
from ramify.seeding import rng
from ramify.spaces import Space

LOOKS, LOOKS_BEFORE = 300, 1_000
"""Members that are looked at, at most: for a result, and for a first one within the limits."""

_Pick = tuple[str, Value]
"""(decision, value)."""

_SAMPLED, _FIRST, _LOWERED = 64, 64, 10


def out_of_reach(space: Space, name: str, limit: float, have: tuple[float, float], looks: int = 0) -> RamifyError:
    """Return the error for a limit that no member keeps, with the range of the costs of (some) members."""
    who = f"the {looks:,} that were looked at" if looks else "they"
    least, most = have
    return ConfigurationError(
        f"no member of {space.name} keeps the limit {limit:,.6g} of {name}: {who} have {least:,.6g} to {most:,.6g}"
    )


class Searching:
    """A search for the best members where costs are not sums over decisions.

    Args:
        networks: Of the members.
        most: Cost → the most that is allowed.
        sums: The costs that are sums.
        predicted: Those that are predicted instead of measured.

    Raises:
        ConfigurationError: If no member within the limits is found.
    """

    def __init__(
        self,
        networks: Networks,
        most: Mapping[str, float],
        sums: Mapping[str, ExpectedCost],
        predicted: Mapping[str, PredictedLatency] = {},
    ) -> None:
        self.space, self.most, self.sums = networks.space, most, sums
        self._costs = Costs(networks, [name for name in most if name not in sums], predicted)
        self._seen: dict[Architecture, dict[str, float]] = {}
        sampled = [self.space.sample(rng(0, "limits", number)) for number in range(_SAMPLED)]
        self._base, self._estimates = self._fitted(sampled)
        self._known = self._cheap(sampled)

    def costs(self, arch: Architecture) -> dict[str, float]:
        """Return the costs of a member, by name."""
        if arch not in self._seen:
            mix, looked = self.space.mix(arch), self._costs(arch)
            self._seen[arch] = {
                name: looked[name] if name in looked else float(self.sums[name](mix)) for name in self.most
            }
        return self._seen[arch]

    def best(self, scores: Mapping[str, Tensor] | None, count: int, space: Space) -> list[Architecture]:
        """Return the best members within the limits that the search finds, best first; of None all are equally good."""
        gains = value_scores(space, scores)
        worth = {
            (d.name, value): gain
            for d, row in zip(space.decisions, gains, strict=True)
            for value, gain in zip(d.choices, row, strict=True)
        }
        looked: dict[Architecture, bool] = {}  # what the search before has seen must not count: it would not be known

        def allowed(arch: Architecture) -> bool:
            looked[arch] = self._excess(arch) == 0
            return looked[arch]

        unlimited = [np.zeros((len(row), 0)) for row in gains]
        first = [member_of(space, picks) for picks in best_choices(gains, unlimited, [], max(_FIRST, count))]
        members: list[Architecture] = []
        for arch in first:
            if allowed(arch):
                members.append(arch)
            if len(members) == count:
                return members
        self._lower(gains, space, allowed)
        if self._known in space:
            allowed(self._known)
        best = max((a for a, fits in looked.items() if fits), key=lambda a: _sum(worth, a), default=None)
        while best is not None:
            better = (
                neighbor
                for gain, neighbor in _neighbors(space, best, worth)
                if gain > 0 and neighbor not in looked and len(looked) < LOOKS and allowed(neighbor)
            )
            best = next(better, None)
        kept = [arch for arch, fits in looked.items() if fits]
        return sorted(kept, key=lambda arch: -_sum(worth, arch))[:count]

    def _excess(self, arch: Architecture) -> float:
        """Return by how much a member exceeds the limits, as shares of them, added up."""
        return sum(max(0.0, cost / self.most[name] - 1) for name, cost in self.costs(arch).items())

    def _lower(self, gains: Sequence[Sequence[float]], space: Space, allowed: Callable[[Architecture], bool]) -> None:
        """Look at what is best under the estimate, with limits that fall towards the least estimate, until one fits."""
        table = [np.array([self._estimates[d.name, value] for value in d.choices]) for d in space.decisions]
        least = np.sum([row.min(axis=0) for row in table], axis=0)
        rooms = np.array(list(self.most.values())) - self._base
        for step in range(_LOWERED):
            lowered = least + (1 - step / _LOWERED) * np.maximum(rooms - least, 0.0)
            picks = best_choices(gains, table, lowered)
            if picks and allowed(member_of(space, picks[0])):
                return

    def _fitted(self, sampled: Sequence[Architecture]) -> tuple[np.ndarray, dict[_Pick, np.ndarray]]:
        """Return a linear estimate of the costs, from some members: what all have, and what values add."""
        columns: dict[_Pick, int] = {(d.name, value): 0 for d in self.space.decisions for value in d.choices}
        columns = {pick: at for at, pick in enumerate(columns, start=1)}
        uses = np.zeros((len(sampled), len(columns) + 1))
        uses[:, 0] = 1
        for row, arch in zip(uses, sampled, strict=True):
            row[[columns[name, arch[name]] for name in arch]] = 1
        costs = np.array([list(self.costs(arch).values()) for arch in sampled])
        fitted = np.linalg.lstsq(uses, costs, rcond=None)[0]
        return fitted[0], {pick: fitted[at] for pick, at in columns.items()}

    def _cheap(self, sampled: Sequence[Architecture]) -> Architecture:
        """Return a member within the limits.

        Raises:
            ConfigurationError: If none is found.
        """
        limits = np.array(list(self.most.values()))
        saved = {pick: -float((added / limits).sum()) for pick, added in self._estimates.items()}
        cheapest = self.space.architecture(
            max((saved[d.name, value], -at, value) for at, value in enumerate(d.choices))[2]
            for d in self.space.decisions
        )
        best: Architecture | None = min((*sampled, cheapest), key=self._excess)
        while best is not None:
            last, excess = best, self._excess(best)
            if not excess:
                return best
            better = (
                neighbor
                for _, neighbor in _neighbors(self.space, best, saved)
                if (neighbor in self._seen or len(self._seen) < LOOKS_BEFORE) and self._excess(neighbor) < excess
            )
            best = next(better, None)
        name = max(self.most, key=lambda name: self.costs(last)[name] / self.most[name])
        looked = [costs[name] for costs in self._seen.values()]
        raise out_of_reach(self.space, name, self.most[name], (min(looked), max(looked)), len(looked))


def _neighbors(space: Space, arch: Architecture, worth: Mapping[_Pick, float]) -> Iterator[tuple[float, Architecture]]:
    """Yield what differs from a member in one decision, and how much more it is worth, the most first."""
    changes = [
        (worth[d.name, value] - worth[d.name, arch[d.name]], d.name, value)
        for d in space.decisions
        for value in d.choices
        if value != arch[d.name]
    ]
    for gain, name, value in sorted(changes, key=lambda change: -change[0]):
        yield gain, space.architecture(dict(arch.choices) | {name: value})


def _sum(worth: Mapping[_Pick, float], arch: Architecture) -> float:
    return sum(worth[name, arch[name]] for name in arch)
