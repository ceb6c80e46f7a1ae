"""From the courses of many searches to means, confidence intervals and verdicts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ramify.seeding import derive

CONFIDENCE = 0.95
INTERVAL = "BCa bootstrap"
_RESAMPLED = 9_999
_AT_ONCE = 200
"""Resamples that are held in memory at a time."""


@dataclass(frozen=True)
class Course:
    """How good a search's result was over the budget: an entry wherever it changed, at least one.

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


def interval(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the BCa bootstrap interval of the mean over the rows of values (S, …): two arrays (…).

    BCa, bias-corrected and accelerated, is the interval of Efron (1987): its ends are quantiles of the means of
    resamples, shifted for the bias and the skew of the sample. All columns are resampled alike. Equal values have the
    interval of that value, and a column with a NaN has none.
    """
    from scipy.stats import bootstrap

    count = len(values)
    columns = values.reshape(count, -1)
    low = np.where(np.isnan(columns).any(axis=0), np.nan, columns[0])  # as far as that is all there is to say
    high = low.copy()
    varied = (columns.min(axis=0) < columns.max(axis=0)).nonzero()[0]  # NaN is not below NaN
    if len(varied):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of columns without a correction, see below
            resampled = bootstrap(
                (columns[:, varied],),
                np.mean,
                axis=0,
                vectorized=True,
                n_resamples=_RESAMPLED,
                batch=_AT_ONCE,
                confidence_level=CONFIDENCE,
                method="BCa",
                rng=np.random.default_rng(derive(seed, "bootstrap")),
            )
        shares = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        plain = np.quantile(resampled.bootstrap_distribution, shares, axis=-1)
        for end, ends, corrected in zip((low, high), plain, resampled.confidence_interval, strict=True):
            # Values that differ by rounding alone tell nothing of bias and skew.
            end[varied] = np.where(np.isfinite(corrected), corrected, ends)
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])


def versus(baseline: np.ndarray, values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return how much lower regrets (S,) are than a baseline's (S,): the mean, and the ends of its interval.

    Searches of one seed draw the same first architectures, so they are compared in pairs.
    """
    difference = baseline - values
    low, high = interval(difference, seed)
    return float(difference.mean()), float(low), float(high)


def verdict(mean: float, low: float, high: float, *, of: str) -> str:
    """Return in words what a difference of regrets means."""
    difference = f"{abs(mean):.3f} [{low:+.3f}, {high:+.3f}]"
    if low > 0:
        return f"better than {of}: the regret is lower by {difference}"
    if high < 0:
        return f"WORSE than {of}: the regret is higher by {difference}"
    return f"NOT better than {of}: the regrets differ by {difference}, which may be chance"
