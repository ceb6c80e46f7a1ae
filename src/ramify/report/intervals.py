"""Intervals of shares that were counted: of one, and of the difference of two."""

from __future__ import annotations

import math

Z = 1.959963984540054
"""Of a confidence of 95 %."""


def wilson(right: float, count: float) -> tuple[float, float]:
    """Return the 95 % interval of a share of which `right` of `count` were counted (Wilson, 1927).

    Example:
        >>> [round(end, 4) for end in wilson(90, 100)]
        [0.8256, 0.9448]
    """
    share, spread = right / count, Z * Z / count
    center = share + spread / 2
    half = Z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, (center - half) / (1 + spread)), min(1.0, (center + half) / (1 + spread))


def newcombe(right: float, count: float, other_right: float, other_count: float) -> tuple[float, float]:
    """Return the 95 % interval of the first share minus the second, counted apart (Newcombe, 1998, method 10).

    Example:
        >>> [round(end, 4) for end in newcombe(56, 70, 48, 80)]
        [0.0524, 0.3339]
    """
    one, other = right / count, other_right / other_count
    low, high = wilson(right, count)
    other_low, other_high = wilson(other_right, other_count)
    return (
        one - other - math.hypot(one - low, other_high - other),
        one - other + math.hypot(high - one, other - other_low),
    )
