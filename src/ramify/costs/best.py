"""The best choices under limits: one value per decision, maximal sum of scores, sums of costs within limits.

A multiple-choice knapsack, solved exactly by dynamic programming over decisions: of the partial choices only those stay
that no other one dominates, being at least as good and nowhere more expensive. Lagrange multipliers bound what can come
of a partial choice, so that few stay at all. A first pass over a narrow beam finds what has to be beaten.

The bound: should more than 100,000 partial choices stay after a decision, or 5,000 where there are several limits,
those with the best bounds go on, and the result is within the limits but perhaps not the best. With one limit, no space
of the library comes near.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STATES, STATES_OF_SEVERAL = 100_000, 5_000
"""Partial choices that are kept after a decision, at most: with one limit, with several."""

_BEAM = 500
_SLACK = 1e-9
"""Relative to the scores: what rounding may take off a bound."""


@dataclass(frozen=True)
class _States:
    """Partial choices: their costs (N, L), losses (N,), and which one, with which value, each extends."""

    costs: np.ndarray
    losses: np.ndarray
    parents: np.ndarray
    values: np.ndarray

    def at(self, rows: np.ndarray) -> _States:
        return _States(self.costs[rows], self.losses[rows], self.parents[rows], self.values[rows])


def best_choices(
    scores: Sequence[Sequence[float]],
    costs: Sequence[np.ndarray],
    limits: Sequence[float],
    count: int = 1,
) -> list[tuple[int, ...]]:
    """Return the best choices within limits, best first: an index of a value for every decision.

    Args:
        scores: For every decision the scores of its V values.
        costs: For every decision what its values cost, (V, L).
        limits: The L largest sums that are allowed.
        count: How many are wanted; fewer where there are no more.
    """
    problem = _Problem(_losses(scores), list(costs), np.asarray(limits, dtype=float), count)
    most = STATES if len(limits) < 2 else STATES_OF_SEVERAL
    first = problem.solve(min(_BEAM * count, most), np.inf)
    return [picks for _, picks in problem.solve(most, first[-1][0] if len(first) == count else np.inf)]


def _losses(scores: Sequence[Sequence[float]]) -> list[np.ndarray]:
    """Return what the values of every decision score less than its best; of −∞, more than all others together."""
    table = [np.asarray(row, dtype=float) for row in scores]
    finite = [row[np.isfinite(row)] if np.isfinite(row).any() else np.zeros(1) for row in table]
    far = 1 + 2 * sum(float(np.ptp(row)) for row in finite)
    return [np.where(np.isfinite(row), existing.max() - row, far) for row, existing in zip(table, finite, strict=True)]


class _Problem:
    """Losses (V,) and costs (V, L) of the values of every decision, and what is left for the decisions to come."""

    def __init__(self, losses: list[np.ndarray], costs: list[np.ndarray], limits: np.ndarray, count: int) -> None:
        self.losses, self.costs, self.limits, self.count = losses, costs, limits, count
        self.multipliers = self._multipliers()
        dual = [(loss + cost @ self.multipliers).min() for loss, cost in zip(losses, costs, strict=True)]
        self.rest = _suffix_sums([cost.min(axis=0) for cost in costs])
        self.bounds = _suffix_sums([np.asarray(least) for least in dual])
        self.slack = _SLACK * max(1.0, sum(float(loss.max()) for loss in losses))

    def _multipliers(self) -> np.ndarray:
        """Return λ (L,), from 0, for which the bounds are tight: each in turn by bisection, where the sum crosses its
        limit. Whatever λ is, bounds are right."""
        multipliers = np.zeros(len(self.limits))
        scale = max(float(loss.max()) for loss in self.losses) or 1.0
        for _ in range(3 if len(multipliers) > 1 else 1):
            for at in range(len(multipliers)):
                spread = max(float(np.ptp(cost[:, at])) for cost in self.costs)
                low, high = 0.0, 1e6 * scale / spread if spread else 0.0
                for _ in range(80):
                    multipliers[at] = (low + high) / 2
                    over = sum(
                        cost[int((loss + cost @ multipliers).argmin()), at]
                        for loss, cost in zip(self.losses, self.costs, strict=True)
                    )
                    low, high = (multipliers[at], high) if over > self.limits[at] else (low, multipliers[at])
                multipliers[at] = high
        return multipliers

    def solve(self, most: int, beat: float) -> list[tuple[float, tuple[int, ...]]]:
        """Return losses and choices, best first, keeping `most` partial choices; what is worse than `beat` goes."""
        no_choice = np.zeros(1, dtype=np.int64)
        states = [_States(np.zeros((1, len(self.limits))), np.zeros(1), no_choice, no_choice)]
        for at, (loss, cost) in enumerate(zip(self.losses, self.costs, strict=True)):
            before = states[-1]
            parents = np.repeat(np.arange(len(before.losses)), len(loss))
            values = np.tile(np.arange(len(loss)), len(before.losses))
            extended = _States(
                before.costs[parents] + cost[values], before.losses[parents] + loss[values], parents, values
            )
            bound = self._bound(extended, at + 1)
            fits = (extended.costs + self.rest[at + 1] <= self.limits).all(axis=1) & (bound <= beat + self.slack)
            extended, bound = extended.at(np.flatnonzero(fits)), bound[fits]
            if len(bound) > most:
                rows = np.sort(np.argsort(bound, kind="stable")[: 8 * most])
                extended, bound = extended.at(rows), bound[rows]
            rows = _undominated(extended.costs, extended.losses, self.count)
            if len(rows) > most:
                rows = rows[np.sort(np.argsort(bound[rows], kind="stable")[:most])]
            states.append(extended.at(rows))
        last = states[-1].losses
        solutions = []
        for row in np.argsort(last, kind="stable")[: self.count]:
            picks, here = [], int(row)
            for state in reversed(states[1:]):
                picks.append(int(state.values[here]))
                here = int(state.parents[here])
            solutions.append((float(last[row]), tuple(reversed(picks))))
        return solutions

    def _bound(self, states: _States, behind: int) -> np.ndarray:
        """Return what the loss is at least, however the decisions from `behind` on are taken."""
        relaxed = states.losses + self.bounds[behind] + (states.costs - self.limits) @ self.multipliers
        return np.maximum(states.losses, relaxed)


def _suffix_sums(rows: list[np.ndarray]) -> list[np.ndarray]:
    """Return the sums of what comes from each row on, and zeros at the end."""
    sums = [np.zeros_like(rows[0])]
    for row in reversed(rows):
        sums.append(sums[-1] + row)
    return sums[::-1]


def _undominated(costs: np.ndarray, losses: np.ndarray, count: int) -> np.ndarray:
    """Return the rows that fewer than `count` others dominate: cost (N, L) and loss (N,) no larger, the first of
    equals."""
    if costs.shape[1] == 0:
        return np.argsort(losses, kind="stable")[:count]
    order = np.lexsort((losses, *costs.T[::-1]))
    if costs.shape[1] == 1:
        return order[_are_records(losses[order], count)]
    kept: list[int] = []
    held_costs, held_losses = np.empty_like(costs), np.empty_like(losses)
    for row in order:  # whatever dominates a row comes before it
        n = len(kept)
        dominating = (held_losses[:n] <= losses[row]) & (held_costs[:n] <= costs[row]).all(axis=1)
        if int(dominating.sum()) < count:
            held_costs[n], held_losses[n] = costs[row], losses[row]
            kept.append(int(row))
    return np.asarray(kept, dtype=np.int64)


def _are_records(losses: np.ndarray, count: int) -> np.ndarray:
    """Return where a loss is smaller than the `count`-th smallest before it."""
    if count == 1:
        least = np.minimum.accumulate(losses)
        return losses < np.concatenate([[np.inf], least[:-1]])
    held: list[float] = []  # negative: the largest of the smallest comes first
    records = np.zeros(len(losses), dtype=bool)
    for at, loss in enumerate(losses.tolist()):
        if len(held) < count:
            heapq.heappush(held, -loss)
            records[at] = True
        elif loss < -held[0]:
            heapq.heapreplace(held, -loss)
            records[at] = True
    return records
