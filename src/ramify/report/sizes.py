"""Widths and depths over a search that chooses them, as means over what is probable at the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ramify.report.story import Panel, Row, positions_of, thin

if TYPE_CHECKING:
    from ramify.supernet import Choice

WIDTH, DEPTH = "width", "depth"
_FRAMES = 200


@dataclass(frozen=True)
class SizeHistory:
    """The widths and depths of a search at the same positions, epochs or steps."""

    axis: str
    positions: tuple[float, ...]
    rows: tuple[str, ...]  # what has a width, in order
    shares: tuple[tuple[float, ...], ...]  # of every row, at every position
    depths: Panel | None


def size_history(rows: Sequence[Row], choices: Mapping[str, Choice] | None) -> SizeHistory | None:
    """Return widths and depths of a search; None of one that chooses none, or recorded nothing."""
    chosen = {name: _numbers(choices[name].ops) for name in (WIDTH, DEPTH) if name in (choices or {})}  # type: ignore[index]
    chosen = {name: numbers for name, numbers in chosen.items() if numbers}
    rows = [row for row in rows if chosen and all(name in (row.get("mixing") or {}) for name in chosen)]
    rows = thin(rows, _FRAMES)
    if not rows:
        return None
    axis, positions = positions_of(rows)
    means = {
        name: [
            tuple(round(sum(w * n for w, n in zip(row["mixing"][name][at], numbers, strict=True)), 4) for row in rows)
            for at in range(len(rows[0]["mixing"][name]))
        ]
        for name, numbers in chosen.items()
    }
    widths, depths = means.get(WIDTH, []), means.get(DEPTH)
    stages = {f"stage {number}": values for number, values in enumerate(depths or (), start=1)}
    share = any("/" in op for op in choices[DEPTH].ops) if depths and choices else False
    title = "share of its blocks that a stage keeps" if share else "blocks that a stage keeps"
    return SizeHistory(
        axis,
        positions,
        tuple(f"width {number}" for number in range(1, len(widths) + 1)),
        tuple(widths),
        Panel(title, axis, positions, stages) if depths else None,
    )


def _numbers(names: Sequence[str]) -> list[float]:
    """Return the numbers that candidates are called by; nothing where one of them is no number."""
    try:
        return [float(Fraction(name)) for name in names]
    except (ValueError, ZeroDivisionError):
        return []
