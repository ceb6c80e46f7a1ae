"""Uniform sampling of members whose cost is within bounds, without rejection where costs can be counted."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Any

import numpy as np

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.spaces.chain import ChainSpace

_BINS = 1 << 17
"""Cost levels that members are counted at, at most."""


class ConstrainedSampler:
    """Samples members uniformly among those whose cost is in a window.

    The number of ways to complete a network is counted for every layer and every cost that is left (dynamic
    programming), so a member is drawn layer by layer and never thrown away. Where costs have a common divisor that is
    coarse enough, as multiply-adds of most chains have, this is exact. Else costs are rounded down to one of 131,072
    levels for counting; the few members that rounding lets in are drawn again, so draws are uniform all the same.

    Args:
        space: The members' space.
        costs: For every decision, in order, the cost of each of its choices; whole numbers from 0.
        at_least, at_most: The window of the sum.

    Attributes:
        count: Number of members in the window; of rounded costs, an upper bound.
        exact: Whether the costs are not rounded.
    """

    def __init__(self, space: ChainSpace, costs: Sequence[Sequence[int]], at_least: float, at_most: float) -> None:
        self.space, self.costs = space, costs
        self.at_least, self.at_most = at_least, at_most
        lowest, highest = (sum(map(of, costs)) for of in (min, max))
        low, high = max(at_least, lowest) - lowest, min(at_most, highest) - lowest
        over = [[value - min(row) for value in row] for row in costs]
        divisor = math.gcd(*(value for row in over for value in row)) or 1
        most = int(high) if high >= 0 else -1
        self.exact = most // divisor < _BINS
        unit = divisor if self.exact else -(-most // (_BINS - 1))
        self._over = [[value // unit for value in row] for row in over]
        kind: Any = np.int64 if space.size < 2**62 else object
        levels = most // unit + 1
        ways = [np.zeros(max(levels, 1), dtype=kind)]
        ways[0][0] = 1
        for row in reversed(self._over):
            total = np.zeros_like(ways[-1])
            for value in row:
                if value < levels:
                    total[value:] += ways[-1][: levels - value]
            ways.append(total)
        self._ways = ways[::-1]
        # rounding takes less than a level off each layer
        self._first = max(0, math.ceil(low / unit) - (0 if self.exact else len(costs)))
        self._sums = np.cumsum(self._ways[0][self._first : levels], dtype=kind) if levels else np.zeros(0, dtype=kind)
        self.count = int(self._sums[-1]) if len(self._sums) else 0
        if not self.count:
            raise ConfigurationError(f"no member of {space.name} costs {at_least:,.6g} to {at_most:,.6g}")

    def sample(self, rng: Random) -> Architecture:
        """Return a member in the window, every one with the same probability.

        Raises:
            ConfigurationError: If thousands of draws in a row only missed a window that is narrower than the levels.
        """
        for _ in range(10_000):
            chosen = self._draw(rng)
            cost = sum(row[index] for row, index in zip(self.costs, chosen, strict=True))
            if self.at_least <= cost <= self.at_most:
                values = [decision.choices[index] for decision, index in zip(self.space.decisions, chosen, strict=True)]
                return self.space.architecture(values)
        raise ConfigurationError(f"the window {self.at_least:,.6g} to {self.at_most:,.6g} is too narrow to draw from")

    def _draw(self, rng: Random) -> list[int]:
        """Return an index for every decision, of which the rounded costs are in the window."""
        ticket = rng.randrange(self.count)
        level = self._first + int(np.searchsorted(self._sums, ticket, side="right"))
        chosen = []
        for row, ways in zip(self._over, self._ways[1:], strict=True):
            counts = [int(ways[level - value]) if value <= level else 0 for value in row]
            bounds = list(accumulate(counts))
            index = bisect_right(bounds, rng.randrange(bounds[-1]))
            chosen.append(index)
            level -= row[index]
        return chosen
