"""From the courses of many searches to means, intervals, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_RESAMPLED = 10_000


@dataclass(frozen=True)
class Course:
    """How good a search was after how much of the budget: one entry wherever that changed, at least one.

    Args:
        spent: Ascending.
        values: What it had found by then.
    """

    spent: Sequence[float]
    values: Sequence[float]

    def at(self, grid: np.ndarray) -> np.ndarray:
        """Return the value after each amount of `grid` (G,); NaN before the first."""
        place = np.searchsorted(self.spent, grid, side="right") - 1
        return np.where(place < 0, np.nan, np.asarray(self.values, dtype=float)[np.maximum(place, 0)])


def bootstrap_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return means of resamples of the rows of values (S, …), each as many rows drawn with replacement: (B, …)."""
    count = len(values)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_RESAMPLED)
    return np.tensordot(draws / count, values, axes=1)


def interval(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval of the mean over the rows of values (S, …): two arrays (…)."""
    means = bootstrap_means(values, seed)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def versus(baseline: np.ndarray, values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return by how much regrets (S,) are lower than those of a baseline (S,): mean, and ends of its interval.

    Searches of one seed draw the same first architectures, so they are compared in pairs.
    """
    difference = baseline - values
    low, high = interval(difference, seed)
    return float(difference.mean()), float(low), float(high)


def verdict(mean: float, low: float, high: float, *, of: str) -> str:
    """Say in words what a difference of regrets means."""
    said = f"{abs(mean):.3f} [{low:+.3f}, {high:+.3f}]"
    if low > 0:
        return f"better than {of}: the regret is lower by {said}"
    if high < 0:
        return f"WORSE than {of}: the regret is higher by {said}"
    return f"NOT better than {of}: the regrets differ by {said}, which may be chance"
