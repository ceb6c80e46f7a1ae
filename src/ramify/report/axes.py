"""Axes of charts: where they begin and end, and ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SIZES = ((1e15, "e15"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_LARGEST = 1e299
"""Of an axis: the distance of its ends is a number, too."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Args:
        label: What it counts or measures.
        low: Where it begins.
        high: Where it ends, above `low`.
        ticks: Round numbers on it, ascending.
        log: Whether equal distances are equal factors; `low` is positive then.
    """

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Return where a value stands: 0 at the beginning, 1 at the end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low * 1e-3))
        return (value - low) / (high - low)

    @property
    def texts(self) -> tuple[str, ...]:
        """The ticks as they are written."""
        return _powers(self.ticks) if self.log else _plain(self.ticks)


def linear(
    values: Iterable[float],
    label: str = "",
    *,
    within: tuple[float, float] = (-math.inf, math.inf),
    fits: bool = True,
    whole: bool = False,
    most: int = 5,
) -> Axis:
    """Return an axis on which these values fit.

    Positive values that come near 0, in proportion, have it on their axis.

    Args:
        values: What is drawn; an axis of nothing runs from 0 to 1.
        label: What they are.
        within: Ends which the axis does not pass.
        fits: Whether it ends with the values, not with the next tick.
        whole: Whether there is nothing between integers.
        most: Ticks, about.
    """
    ends = max(within[0], -_LARGEST), min(within[1], _LARGEST)
    known = [min(max(value, ends[0]), ends[1]) for value in values]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low <= max(1e-290, 1e-12 * max(abs(low), abs(high))):  # no ticks could tell these apart
        around = abs(low) / 10 if abs(low) > 1e-280 else 0.0
        low, high = max(low - around, within[0]), min(high + (around or 1.0), within[1])
        low, high = (low, high) if low < high else (low - around, high + around)
    if not fits and 0 < low < 0.4 * high:
        low = 0.0
    step = _step((high - low) / max(most - 1, 1), whole)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    ticks = [_rounded(number * step, step) for number in range(first, last + 1)]
    if fits:
        near = 1e-9 * min(step, high - low)
        ticks = [tick for tick in ticks if low - near <= tick <= high + near]
    else:
        low, high = max(ticks[0], within[0]), min(ticks[-1], within[1])
        ticks = [tick for tick in ticks if low <= tick <= high]
    return Axis(label, low, high, tuple(ticks))


def shares(label: str = "") -> Axis:
    """Return the axis of something that lies between 0 and 1."""
    return Axis(label, 0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))


def logarithmic(values: Iterable[float], label: str = "", *, fits: bool = False, most: int = 6) -> Axis:
    """Return a logarithmic axis on which the positive ones of these values fit, with round numbers as ticks.

    Args:
        values: What is drawn.
        label: What they are.
        fits: Whether it ends with the values, not with the next power of ten.
        most: Powers of ten that are written, about; where there are few, their doubles and halves are, too.
    """
    known = [min(max(value, 1 / _LARGEST), _LARGEST) for value in values if value > 0] or [1.0]
    first, last = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    last = max(last, first + 1)
    low, high = _power(first), _power(last)
    if fits and max(known) > 1.001 * min(known):
        low, high = min(known), max(known)
    stride = max(1, math.ceil((last - first) / max(most - 1, 1)))
    ticks = [_power(number) for number in range(first, last + 1, stride)]
    if math.log10(high / low) < 2:
        ticks = [factor * power for power in ticks for factor in (1, 2, 5)]
    return Axis(label, low, high, tuple(tick for tick in ticks if low <= tick <= high), log=True)


def _power(exponent: int) -> float:
    return 10.0 ** min(max(exponent, -300), 300)


def _step(least: float, whole: bool) -> float:
    """Return the smallest round number that is at least this: 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least)) if 1e-300 < least < 1e300 else 1.0
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9) or factor == 10)
    return max(1.0, float(math.ceil(step))) if whole else step


def _rounded(value: float, step: float) -> float:
    """Return a multiple of a step without the error of the multiplication."""
    digits = 3 - math.floor(math.log10(step)) if 1e-300 < step < 1e300 else 0
    return round(value, digits) if abs(digits) < 300 else value


def _plain(ticks: Sequence[float]) -> tuple[str, ...]:
    """Return ticks as they are written: with as many decimals as they need, in thousands, millions and so on."""
    largest = max(map(abs, ticks), default=0.0)
    if 0 < largest < 1e-3 or largest >= 1e18:
        return tuple(f"{tick:.3g}" for tick in ticks)
    size, unit = next(((size, unit) for size, unit in _SIZES if largest >= 10 * size), (1, ""))
    scaled = [tick / size for tick in ticks]
    decimals = next((n for n in range(7) if all(abs(round(it, n) - it) < 1e-9 * max(1, abs(it)) for it in scaled)), 7)
    return tuple(f"{it:.{decimals}f}{unit if it else ''}" for it in scaled)


def _powers(ticks: Sequence[float]) -> tuple[str, ...]:
    """Return the ticks of a logarithmic axis as they are written."""
    exponents = [round(math.log10(tick)) for tick in ticks]
    powers = all(math.isclose(tick, 10.0**exponent) for tick, exponent in zip(ticks, exponents, strict=True))
    if not powers or all(-3 <= exponent <= 4 for exponent in exponents):
        return tuple(f"{tick:,g}" for tick in ticks)
    return tuple(f"10{str(exponent).translate(_RAISED)}" for exponent in exponents)
