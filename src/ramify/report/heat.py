"""Heat maps as SVG: they stretch with the page, follow its colors, and are read without a script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ramify.report.charts import short
from ramify.report.elements import tinted
from ramify.report.palette import LEVELS

_NUMBERED = 10
"""The most columns whose cells have their values written in them."""
Matrix = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class HeatMap:
    """A heat map (R, C).

    Args:
        rows: Labels of the rows, from above; none are written where there are more than can be read.
        columns: Labels of columns, empty ones are not written.
        values: (R, C); None: there is nothing.
        low: The value of the palest shade.
        high: The value of the darkest.
        colors: Of the columns' labels, `#rrggbb`; the usual one where there are none.
        framed: (row, column) → color of the frames.
        written: What is written in the cells (R, C); their values where None and there is room.
        told: What is said of a cell instead of its value (R, C).
        names: What is said of the columns instead of their labels.
        tall: Height of a row in pixels.
        axis: Of the columns: values at the left, in the middle and at the right end, where they are positions.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Matrix
    low: float
    high: float
    colors: Sequence[str] = ()
    framed: Mapping[tuple[int, int], str] | None = None
    written: Sequence[Sequence[str]] | None = None
    told: Sequence[Sequence[str]] | None = None
    names: Sequence[str] = ()
    tall: float = 25
    axis: str = ""

    @property
    def numbered(self) -> bool:
        """Whether values are written in the cells."""
        return self.written is None and len(self.columns) <= _NUMBERED and len(self.rows) <= 60 and not self.axis

    @property
    def is_fine(self) -> bool:
        """Whether cells of one shade are drawn as one, because there are many."""
        return len(self.rows) * len(self.columns) > 2000 or bool(self.axis)

    def level(self, value: float | None) -> int:
        """Return the shade of a value: 0 to 15, −1 where there is none."""
        if value is None:
            return -1
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return int(min(max(share * LEVELS, 0), LEVELS - 1)) if math.isfinite(share) else 0

    def html(self, name: str, what: str) -> str:
        """Return the heat map as HTML with this identifier; `what` says what it shows to those who cannot see it."""
        labeled = self.tall >= 11
        left = 10 + round(6.2 * max((len(_cut(row)) for row in self.rows), default=0)) if labeled else 4
        above = 22 + round(3.8 * max((len(_cut(column)) for column in self.columns), default=0))
        right = 8 + (round(5.0 * len(_cut(self.columns[-1]))) if self.columns and not self.axis else 0)
        above, below = (4, 40) if self.axis else (above, 6)
        height = round(self.tall * len(self.rows))
        boxes = f"--left:{left}px;--height:{height}px;--above:{above}px;--right:{right}px;--below:{below}px"
        size = f'viewBox="0 0 {len(self.columns)} {len(self.rows)}" preserveAspectRatio="none"'
        cells = "".join(self._merged() if self.is_fine else self._cells())
        return (
            f'<div class="chart" id="{name}" tabindex="0" role="group" aria-label="{escape(what)}.">'
            f'<svg class="plot heat" aria-hidden="true" style="{boxes}">'
            f'<svg class="cells-of{" fine" * self.is_fine}" {size} width="100%" height="100%">{cells}</svg>'
            f"{''.join(self._labels() if labeled else ())}{''.join(self._heads())}{''.join(self._texts())}</svg></div>"
        )

    def data(self) -> Mapping[str, Any]:
        """Return what the script of the page needs to say values."""
        values: Any = self.told or [[None if it is None else short(it) for it in row] for row in self.values]
        return {
            "kind": "heat",
            "rows": list(self.rows),
            "columns": list(self.names or self.columns),
            "values": values,
            "low": self.low,
            "high": self.high,
            "numbered": self.numbered,
        }

    def _cells(self) -> Iterator[str]:
        """Yield every cell, then the frames of some."""
        for row, line in enumerate(self.values):
            for column, value in enumerate(line):
                yield f'<path class="h{self.level(value)}" d="M{column} {row}h1v1h-1z"/>'
        for (row, column), color in sorted((self.framed or {}).items()):
            shape = f"M{column + 0.04:g} {row + 0.06:g}h.92v.88h-.92z"
            yield f'<path class="frame" style="stroke:{tinted(color)}" d="{shape}"/>'

    def _merged(self) -> Iterator[str]:
        """Yield one path for each shade, with cells of the same shade beside each other as one box."""
        boxes: dict[int, list[str]] = {}
        for row, line in enumerate(self.values):
            begun, levels = 0, [*map(self.level, line), None]
            for column in range(1, len(levels)):
                if levels[column] != levels[begun]:
                    level, wide = levels[begun], column - begun
                    if level is not None and level >= 0:
                        boxes.setdefault(level, []).append(f"M{begun} {row}h{wide}v1h-{wide}z")
                    begun = column
        for level, found in sorted(boxes.items()):
            yield f'<path class="h{level}" d="{"".join(found)}"/>'

    def _labels(self) -> Iterator[str]:
        for at, row in enumerate(self.rows):
            yield f'<text class="to-left" y="{100 * (at + 0.5) / len(self.rows):.2f}%">{escape(_cut(row))}</text>'

    def _heads(self) -> Iterator[str]:
        """Yield the labels of columns, leaning above them; of positions the ends, below."""
        if self.axis:
            for text, end, side in ((self.columns[0], "0", "start"), (self.columns[-1], "100%", "end")):
                yield f'<text class="below" x="{end}" y="100%" style="text-anchor:{side}">{escape(text)}</text>'
            yield f'<text class="title" x="50%" y="100%">{escape(self.axis)}</text>'
            return
        for at, column in enumerate(self.columns):
            if column:
                color = f' style="fill:{tinted(self.colors[at])}"' if self.colors else ""
                x = f"{100 * (at + 0.5) / len(self.columns):.2f}%"
                yield f'<svg x="{x}" class="over"><text class="lean"{color}>{escape(_cut(column))}</text></svg>'

    def _texts(self) -> Iterator[str]:
        """Yield what is written in the cells."""
        if not (self.numbered or self.written):
            return
        for row, line in enumerate(self.values):
            for column, value in enumerate(line):
                text = self.written[row][column] if self.written else ("" if value is None else two_digits(value))
                light = " light" * (self.level(value) >= LEVELS // 2)
                x, y = 100 * (column + 0.5) / len(self.columns), 100 * (row + 0.5) / len(self.rows)
                yield f'<text class="in{light}" x="{x:.2f}%" y="{y:.2f}%">{text}</text>'


def two_digits(value: float) -> str:
    """Return a value between 0 and 1 as it is written in a cell: two decimals without the 0 before them."""
    return f"{value:.2f}".removeprefix("0") if 0 <= value < 0.995 else f"{value:.2g}"


def _cut(label: str) -> str:
    return label if len(label) <= 18 else f"{label[:17]}…"
