"""Cells as pictures: states as boxes, operations as colored labels on the edges between them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, Patch, PathPatch, Polygon
from matplotlib.path import Path as Outline
from matplotlib.textpath import text_to_path

from ramify.report.layout import Layout, Point, Route, Size, Vertex, arrange, slopes_of
from ramify.report.palette import FAINT, INK, MUTED, PAPER, WASH, operation_color
from ramify.report.pictures import save_figure

if TYPE_CHECKING:
    from ramify.spaces import CellGraph

MARGIN, ARROW, ROW_GAP = 0.14, 0.09, 0.22  # inches
_TITLE = 0.4
_STATE_FONT, _LABEL_FONT = FontProperties(size=10), FontProperties(size=8.5)


def draw_cell(graph: CellGraph, *, title: str = "") -> Figure:
    """Return the picture of a cell, left to right: inputs, nodes, output, and the operations between them.

    Args:
        graph: The states and edges. An operation named `none` is drawn faint and dashed, an edge without
            operation (the concatenation into the output) thin and grey.
        title: A line above the cell.
    """
    rows = [(row, layout_of(row)) for row in rows_of(graph)]
    top = MARGIN + (_TITLE if title else 0)
    width = max(layout.width for _, layout in rows) + 2 * MARGIN
    height = sum(layout.height for _, layout in rows) + ROW_GAP * (len(rows) - 1) + top + MARGIN
    figure = Figure(figsize=(width, height), facecolor=PAPER)
    above = 0.0
    for number, (row, layout) in enumerate(rows):
        axes = figure.add_axes(
            (0, 0, 1, 1),
            xlim=(-MARGIN, width - MARGIN),
            ylim=(height - top - above, -top - above),
            label=str(number),
        )
        axes.set_axis_off()
        if title and number == 0:
            axes.text(0, -0.6 * _TITLE, title, size=12, weight="bold", color=INK, va="center", parse_math=False)
        _draw_row(axes, row, layout, ends=number == len(rows) - 1)
        above += layout.height + ROW_GAP
    return figure


def layout_of(graph: CellGraph) -> Layout:
    """Return the layout of a cell, or of a row of one, with room for its lettering."""
    return arrange(graph, _state_size, _label_size)


def rows_of(graph: CellGraph) -> list[CellGraph]:
    """Return the rows of a picture: a chain is cut where it says, any other cell is one row."""
    if not graph.rows:
        return [graph]
    return [
        replace(
            graph,
            states=graph.states[start : end + 1],
            edges=tuple((a - start, b - start, op) for a, b, op in graph.edges if start <= a and b <= end),
            inputs=(0,),
            output=end - start,
            rows=(),
        )
        for start, end in pairwise((0, *graph.rows, graph.output))
    ]


def _draw_row(axes: Axes, graph: CellGraph, layout: Layout, *, ends: bool) -> None:
    """Draw a cell, or a row of a chain, whose last state is the output where the chain `ends` with it."""
    _draw_edges(axes, layout)
    for route in layout.routes:
        if route.label:
            _draw_label(axes, route.label, route.operation)
    for state, (vertex, name) in enumerate(zip(layout.states, graph.states, strict=True)):
        if state == graph.output and ends:
            fill, line, ink = INK, INK, PAPER
        else:
            fill, line, ink = (WASH, FAINT, INK) if state in graph.inputs else (PAPER, MUTED, INK)
        axes.add_patch(_box(vertex, 0.09, facecolor=fill, edgecolor=line, linewidth=1.1))
        _write(axes, vertex, name, _STATE_FONT, ink)


def save_cell(graph: CellGraph, stem: Path, title: str = "") -> tuple[Path, Path]:
    """Draw a cell into `stem`.svg and `stem`.png, the same bytes for the same cell, and return the paths."""
    return save_figure(draw_cell(graph, title=title), stem)


def _draw_edges(axes: Axes, layout: Layout) -> None:
    strength = {"": 0, "none": 1}  # the strongest come last, on top where edges have to cross
    for route in sorted(layout.routes, key=lambda route: strength.get(route.operation, 2)):
        color = operation_color(route.operation) if route.operation else FAINT
        width, dashes = {"": (0.9, "-"), "none": (1.0, (0, (3, 3)))}.get(route.operation, (1.9, "-"))
        curve = _curve((*route.points[:-1], (route.points[-1][0] - 0.8 * ARROW, route.points[-1][1])))
        shape = {"facecolor": "none", "capstyle": "butt", "clip_on": False}
        if width > 1:  # where it crosses others, a strong edge passes over them
            axes.add_patch(PathPatch(curve, edgecolor=PAPER, linewidth=width + 1.8, **shape))
        axes.add_patch(PathPatch(curve, edgecolor=color, linewidth=width, linestyle=dashes, **shape))
        axes.add_patch(_arrow_head(route, color, 0.5 * ARROW if width > 1 else 0.36 * ARROW))


def _curve(points: tuple[Point, ...]) -> Outline:
    """Return the smooth line through the corners of a route: monotone between them, horizontal at the ends."""
    slopes = slopes_of(points)
    vertices, codes = [points[0]], [Outline.MOVETO]
    for ((x0, y0), (x1, y1)), (slope0, slope1) in zip(pairwise(points), pairwise(slopes), strict=True):
        reach = (x1 - x0) / (3 if slope0 or slope1 else 2)
        vertices += [(x0 + reach, y0 + reach * slope0), (x1 - reach, y1 - reach * slope1), (x1, y1)]
        codes += [Outline.CURVE4] * 3
    return Outline(vertices, codes)


def _arrow_head(route: Route, color: str, half: float) -> Patch:
    x, y = route.points[-1]
    corners = [(x, y), (x - ARROW, y - half), (x - ARROW, y + half)]
    return Polygon(corners, facecolor=color, edgecolor="none", clip_on=False)


def _draw_label(axes: Axes, label: Vertex, name: str) -> None:
    color = operation_color(name)
    faint = name == "none"
    axes.add_patch(_box(label, 0.09, facecolor=PAPER, edgecolor=PAPER, linewidth=3))  # the halo
    if not faint:
        axes.add_patch(_box(label, 0.09, facecolor=color, edgecolor="none", alpha=0.13))
    _write(axes, label, name, _LABEL_FONT, MUTED if faint else color)


def _box(vertex: Vertex, rounding: float, **style: Any) -> Patch:
    corner = (vertex.x - vertex.width / 2, vertex.y - vertex.height / 2)
    shape = f"round,pad=0,rounding_size={rounding}"
    return FancyBboxPatch(corner, vertex.width, vertex.height, boxstyle=shape, clip_on=False, **style)


def _write(axes: Axes, vertex: Vertex, text: str, font: FontProperties, color: str) -> None:
    axes.text(
        vertex.x, vertex.y, text, font=font, color=color,
        ha="center", va="center_baseline", parse_math=False,
    )  # fmt: skip


@cache
def _text_width(text: str, points: float) -> float:
    return text_to_path.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)[0] / 72


def _state_size(name: str) -> Size:
    return max(0.44, _text_width(name, 10) + 0.24), 0.4


def _label_size(name: str) -> Size:
    return _text_width(name, 8.5) + 0.2, 0.25
