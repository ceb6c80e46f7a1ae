"""Cells as small SVGs within the page, whose colors and lettering are the page's; `cells` draws them for paper."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from ramify.report.cells import ARROW, MARGIN, ROW_GAP, layout_of, rows_of
from ramify.report.elements import tinted
from ramify.report.layout import Layout, Point, Route, Vertex, slopes_of
from ramify.report.palette import FAINT, INK, MUTED, PAPER, WASH, operation_color

if TYPE_CHECKING:
    from ramify.spaces import CellGraph

_POINTS = 72
"""Units of an inch."""


def cell_svg(graph: CellGraph) -> str:
    """Return the drawing of a cell as an SVG element, 128 pixels for an inch of `draw_cell` and shrinking to 88."""
    rows = [(row, layout_of(row)) for row in rows_of(graph)]
    width = max(layout.width for _, layout in rows) + 2 * MARGIN
    height = sum(layout.height for _, layout in rows) + ROW_GAP * (len(rows) - 1) + 2 * MARGIN
    parts, above = [], MARGIN
    for number, (row, layout) in enumerate(rows):
        drawn = _row(row, layout, ends=number == len(rows) - 1)
        parts.append(f'<g transform="translate({_in(MARGIN)} {_in(above)})">{drawn}</g>')
        above += layout.height + ROW_GAP
    size = f"width:{128 * width:.0f}px;min-width:{88 * width:.0f}px"
    return f'<svg class="cell" viewBox="0 0 {_in(width)} {_in(height)}" style="{size}">{"".join(parts)}</svg>'


def _row(graph: CellGraph, layout: Layout, *, ends: bool) -> str:
    strength = {"": 0, "none": 1}  # the strongest come last, on top where edges have to cross
    parts = [_edge(route) for route in sorted(layout.routes, key=lambda route: strength.get(route.operation, 2))]
    parts += [_label(route.label, route.operation) for route in layout.routes if route.label]
    for state, (vertex, name) in enumerate(zip(layout.states, graph.states, strict=True)):
        if state == graph.output and ends:
            fill, line, ink = INK, INK, PAPER
        else:
            fill, line, ink = (WASH, FAINT, INK) if state in graph.inputs else (PAPER, MUTED, INK)
        style = f"fill:{tinted(fill)};stroke:{tinted(line)};stroke-width:1.1"
        parts.append(_box(vertex, style) + _text(vertex, name, ink, 10))
    return "".join(parts)


def _edge(route: Route) -> str:
    color = tinted(operation_color(route.operation) if route.operation else FAINT)
    width, dashes = {"": (0.9, ""), "none": (1.0, "stroke-dasharray:3 3")}.get(route.operation, (1.9, ""))
    x, y = route.points[-1]
    path = _curve((*route.points[:-1], (x - 0.8 * ARROW, y)))
    half = 0.5 * ARROW if width > 1 else 0.36 * ARROW
    head = f"M{_at((x, y))}L{_at((x - ARROW, y - half))}L{_at((x - ARROW, y + half))}z"
    under = f'<path class="under" d="{path}"/>' if width > 1 else ""
    return (
        f'{under}<path fill="none" style="stroke:{color};stroke-width:{width};{dashes}" d="{path}"/>'
        f'<path style="fill:{color}" d="{head}"/>'
    )


def _curve(points: tuple[Point, ...]) -> str:
    """Return the smooth line through the corners of a route."""
    slopes = slopes_of(points)
    words = [f"M{_at(points[0])}"]
    for ((x0, y0), (x1, y1)), (before, after) in zip(pairwise(points), pairwise(slopes), strict=True):
        reach = (x1 - x0) / (3 if before or after else 2)
        words.append(
            f"C{_at((x0 + reach, y0 + reach * before))} {_at((x1 - reach, y1 - reach * after))} {_at((x1, y1))}"
        )
    return "".join(words)


def _label(vertex: Vertex, name: str) -> str:
    faint = name == "none"
    color = MUTED if faint else operation_color(name)
    halo = f"fill:{tinted(PAPER)};stroke:{tinted(PAPER)};stroke-width:3"
    wash = "" if faint else _box(vertex, f"fill:{tinted(color)};opacity:.13")
    return _box(vertex, halo) + wash + _text(vertex, name, color, 8.5)


def _box(vertex: Vertex, style: str) -> str:
    left, top = vertex.x - vertex.width / 2, vertex.y - vertex.height / 2
    return (
        f'<rect x="{_in(left)}" y="{_in(top)}" width="{_in(vertex.width)}" height="{_in(vertex.height)}" '
        f'rx="6.5" style="{style}"/>'
    )


def _text(vertex: Vertex, text: str, color: str, points: float) -> str:
    place = f'x="{_in(vertex.x)}" y="{_in(vertex.y)}"'
    return f'<text {place} style="fill:{tinted(color)};font-size:{points}px">{escape(text)}</text>'


def _at(point: Point) -> str:
    return f"{_in(point[0])} {_in(point[1])}"


def _in(inches: float) -> str:
    """Return inches as units of the drawing."""
    return f"{_POINTS * inches:.1f}".removesuffix(".0")
