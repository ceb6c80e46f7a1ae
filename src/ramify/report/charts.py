"""Charts of lines and points as SVG: they stretch with the page, follow its colors, and are read without a script.

The plot is an SVG as large as its box; places in it are per cent, so that the lettering keeps its size. Within lies
another one of 1000 × 1000 units that is stretched, whose strokes and points keep their width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ramify.report.axes import Axis
from ramify.report.elements import tinted

UNITS = 1000
"""Units of the stretched drawing in either direction."""
_LETTER = 6.6
"""Width of a letter of an axis in pixels, at most in the mean."""


@dataclass(frozen=True)
class Line:
    """A line through points; those without a value are passed over.

    Args:
        name: In the legend and in hover values.
        color: `#rrggbb`, of the light theme.
        x: Where its points stand.
        y: Their values.
        width: Pixels.
        stairs: Whether a value holds until the next one.
        dashed: Whether it is dashed.
        low: Lower ends of a band around it.
        high: Upper ends.
    """

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float | None]
    width: float = 2
    stairs: bool = False
    dashed: bool = False
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True)
class Points:
    """Points that are drawn alike.

    Args:
        name: In the legend.
        color: `#rrggbb`, of the light theme.
        x: Where they stand.
        y: Their values.
        texts: What is said of each.
        size: Diameter in pixels.
        opacity: From 0 to 1.
    """

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float]
    texts: Sequence[str]
    size: float = 7
    opacity: float = 1


@dataclass(frozen=True)
class Bars:
    """Bars from 0: how many there are in each interval.

    Args:
        color: `#rrggbb`, of the light theme.
        edges: Ends of the N intervals, (N + 1,) ascending.
        counts: How many, (N,).
    """

    color: str
    edges: Sequence[float]
    counts: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """A chart.

    Args:
        x: The horizontal axis.
        y: The vertical axis.
        lines: Drawn in this order.
        points: On top of the lines.
        bars: Below them.
        height: Of the plot, in pixels.
        clipped: Whether what lies outside the axes is cut off.
        legend: Whether there is one, of the lines and points with names.
    """

    x: Axis
    y: Axis
    lines: tuple[Line, ...] = ()
    points: tuple[Points, ...] = ()
    bars: Bars | None = None
    height: int = 190
    clipped: bool = False
    legend: bool = True

    def html(self, name: str, what: str) -> str:
        """Return the chart as HTML with this identifier; `what` says what it shows to those who cannot see it."""
        left = 12 + round(_LETTER * max(map(len, self.y.texts), default=0))
        inner = "".join(self._drawn())
        hidden = ' class="clipped"' if self.clipped else ""
        above = f'<div class="upward">{escape(self.y.label)}</div>' if self.y.label else ""
        told = escape(f"{what}. {self._told()}")
        size = f"--left:{left}px;--height:{self.height}px"
        return (
            f'<div class="chart" id="{name}" tabindex="0" role="group" aria-label="{told}">{self._legend()}'
            f'{above}<svg class="plot" aria-hidden="true" style="{size}">{self._frame()}'
            f'<svg{hidden} viewBox="0 0 {UNITS} {UNITS}" preserveAspectRatio="none" width="100%" height="100%">{inner}'
            "</svg></svg></div>"
        )

    def data(self) -> Mapping[str, Any]:
        """Return what the script of the page needs to say values."""
        axes = {"axis": self.x.label, "x": [self.x.low, self.x.high], "log": self.x.log}
        if self.points:
            shown = [(x, y, text) for it in self.points for x, y, text in zip(it.x, it.y, it.texts, strict=True)]
            places = [(round(UNITS * self.x.share(x)), round(UNITS * self.y.share(y)), text) for x, y, text in shown]
            return {"kind": "points", "places": places}
        if self.bars:
            pairs = zip(self.bars.edges, self.bars.edges[1:], self.bars.counts, strict=False)
            return {"kind": "bars", **axes, "bars": [(short(a), short(b), count) for a, b, count in pairs]}
        series = [
            {"name": line.name, "color": tinted(line.color), "stairs": line.stairs, "x": list(map(short, line.x)),
             "y": [None if value is None else short(value) for value in line.y]}
            for line in self.lines
        ]  # fmt: skip
        if all(one["x"] == series[0]["x"] for one in series):
            for one in series[1:]:
                del one["x"]
        upward = {"y": [self.y.low, self.y.high], "upward_log": self.y.log}
        return {"kind": "lines", **axes, **upward, "series": series}

    def _told(self) -> str:
        """Return the ends of all lines in words."""
        ends = []
        for line in self.lines:
            known = [value for value in line.y if value is not None]
            if known and line.name:
                ends.append(f"{line.name}: from {known[0]:.4g} to {known[-1]:.4g}")
        return "; ".join(ends[:12]) + ("." if ends else "")

    def _legend(self) -> str:
        every: list[Line | Points] = [*self.lines, *self.points]
        named = [it for it in every if it.name] if self.legend else []
        if not named:
            return ""
        kinds = ["dot" if isinstance(it, Points) else "dash" for it in named]
        items = "".join(
            f'<li class="{kind}" style="--c:{tinted(it.color)}">{escape(it.name)}</li>'
            for kind, it in zip(kinds, named, strict=True)
        )
        return f'<ul class="legend" aria-hidden="true">{items}</ul>'

    def _frame(self) -> str:
        """Return grid and ticks."""
        parts = []
        for tick, text in zip(self.y.ticks, self.y.texts, strict=True):
            at = f"{100 - 100 * self.y.share(tick):.2f}%"
            parts.append(
                f'<line class="rule" x2="100%" y1="{at}" y2="{at}"/><text class="to-left" y="{at}">{text}</text>'
            )
        for tick, text in zip(self.x.ticks, self.x.texts, strict=True):
            at = f"{100 * self.x.share(tick):.2f}%"
            parts.append(f'<text class="below" x="{at}" y="100%">{text}</text>')
        parts.append(f'<text class="title" x="50%" y="100%">{escape(self.x.label)}</text>')
        return "".join(parts)

    def _drawn(self) -> Iterator[str]:
        if self.bars:
            yield f'<path class="bars" style="fill:{tinted(self.bars.color)}" d="{self._bars(self.bars)}"/>'
        for line in self.lines:
            if line.low:
                yield f'<path class="band" style="fill:{tinted(line.color)}" d="{self._band(line)}"/>'
        for line in self.lines:
            style = f"stroke:{tinted(line.color)};stroke-width:{line.width:g}"
            marks = self.places(line) if sum(value is not None for value in line.y) < 40 and not line.stairs else []
            dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
            yield f'<path class="line" style="{style}"{dashes} d="{_path(self.places(line), line.stairs)}"/>'
            if marks:
                yield f'<path class="dots" style="stroke:{tinted(line.color)};stroke-width:5" d="{_dots(marks)}"/>'
        for points in self.points:
            at = [self.place(x, y) for x, y in zip(points.x, points.y, strict=True)]
            style = f"stroke:{tinted(points.color)};stroke-width:{points.size:g};opacity:{points.opacity:g}"
            if points.opacity == 1:
                yield f'<path class="dots halo" style="stroke-width:{points.size + 2:g}" d="{_dots(at)}"/>'
            yield f'<path class="dots" style="{style}" d="{_dots(at)}"/>'

    def place(self, x: float, y: float) -> tuple[int, int]:
        """Return the units to the right and down at which a point stands, at most a whole drawing outside."""
        right, up = (min(max(axis.share(value), -1), 2) for axis, value in ((self.x, x), (self.y, y)))
        return round(UNITS * right), round(UNITS * (1 - up))

    def places(self, line: Line) -> list[tuple[int, int]]:
        """Return where the points of a line stand."""
        return [self.place(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]

    def _band(self, line: Line) -> str:
        ends = [
            (x, low, high)
            for x, low, high in zip(line.x, line.low, line.high, strict=True)
            if low is not None and high is not None
        ]
        upper = [self.place(x, high) for x, _, high in ends]
        return _path([*upper, *(self.place(x, low) for x, low, _ in reversed(ends))]) + "z"

    def _bars(self, bars: Bars) -> str:
        boxes = []
        for left, right, count in zip(bars.edges, bars.edges[1:], bars.counts, strict=False):
            (x0, y0), (x1, y1) = self.place(left, 0), self.place(right, count)
            boxes.append(f"M{x0} {y0}V{y1}H{x1}V{y0}z")
        return "".join(boxes)


def short(value: float) -> float:
    """Return a value to five digits, whole numbers without a point."""
    rounded = float(f"{value:.5g}")
    if math.isinf(rounded):  # the largest numbers there are have no neighbor above
        return value
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _path(places: Sequence[tuple[int, int]], stairs: bool = False) -> str:
    """Return the path through places, by level and upright parts where these are `stairs`."""
    words = []
    for at, (x, y) in enumerate(places):
        words.append((f"H{x}V{y}" if stairs else f"L{x} {y}") if at else f"M{x} {y}")
    return "".join(words) or "M0 0"


def _dots(places: Sequence[tuple[int, int]]) -> str:
    """Return a path of nothing but round ends."""
    return "".join(f"M{x} {y}h0" for x, y in dict.fromkeys(places)) or "M0 0"
