"""The report's section on how a search decided: mixing weights, cells and entropy, moved through with a slider."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ramify.report import curves, figures
from ramify.report.charts import UNITS
from ramify.report.drawn_cells import cell_svg
from ramify.report.elements import card, grid, ramp, slug, tinted, titled
from ramify.report.folder import RunFolder, number
from ramify.report.page import Page
from ramify.report.palette import operation_colors
from ramify.report.story import MixingHistory, last_change, notation

if TYPE_CHECKING:
    from ramify.spaces import CellGraph

Draw = Callable[[Mapping[str, Any]], Mapping[str, "CellGraph"]]
"""Returns the cells of an architecture that a history names."""

_LARGEST = 1e12
"""Of a mixing weight on the page."""
_MOVES = 24
"""The most positions at which a cell is drawn."""
_EDGES = 40
"""The most edges of a cell that moves."""

_SLIDER = """<div class="card scrub scripted"><button id="play" aria-label="Play or pause">\
<svg class="start" viewBox="0 0 16 16"><path d="M4 2v12l10-6z"/></svg>\
<svg class="pause" viewBox="0 0 16 16"><path d="M3 2h4v12H3zM9 2h4v12H9z"/></svg></button>
<input id="slider" type="range" min="0" max="{last}" value="{last}" aria-label="{axis}">\
<output id="position" for="slider"></output></div>"""


def decision(
    page: Page, run: RunFolder, mixing: MixingHistory, graphs: Mapping[str, CellGraph], draw: Draw | None
) -> str:
    """Return the section as HTML."""
    scale = ramp(*mixing.ends)
    maps = (
        page.plot(f"mixing-{at}", choice.name, figures.heatmap(choice, mixing.ends), scale)
        for at, choice in enumerate(mixing.choices)
    )
    options = "".join(
        f'<option value="{at}:{edge}">{escape(f"{choice.name}: {label}")}</option>'
        for at, choice in enumerate(mixing.choices)
        for edge, label in enumerate(choice.edges)
    )
    select = f'<select id="edge" class="scripted" aria-label="Edge">{options}</select>'
    lines = [page.plot("edge-lines", "One edge", figures.edge_lines(mixing), select)]
    if any(any(choice.entropy()) for choice in mixing.choices):
        lines.append(page.plot("entropy", "How undecided the edges are", figures.entropy(mixing)))
    lead = "The weight of every operation on every edge."
    how = "Drag the slider to go through the search, click a row to follow that edge below."
    if any(choice.chosen for choice in mixing.choices):
        lead += " Frames mark what the architecture found keeps."
    change = last_change(run.rows("search"))
    if change and number(change.get(mixing.axis)) is not None:
        lead += f" The derived architecture last changed at {mixing.axis} {change[mixing.axis]}."
    page.save("mixing", curves.draw_mixing(mixing))
    slider = f'<p class="lead scripted">{how}</p>' + _SLIDER.format(last=len(mixing.positions) - 1, axis=mixing.axis)
    cells = _moving_cells(mixing, graphs, draw)
    return titled("How the search decided", lead, slider + cells + grid(maps, wide=True) + grid(lines, wide=True))


def frames(mixing: MixingHistory, graphs: Mapping[str, CellGraph], draw: Draw | None) -> dict[str, Any]:
    """Return what the slider moves through, as plain data: weights in thousandths, and which drawing stands when."""
    return {
        "axis": mixing.axis,
        "positions": mixing.positions,
        "cells": {f"moving-{slug(name)}": shown for name, (_, shown) in _moves(mixing, graphs, draw).items()},
        "choices": [
            {
                "operations": list(choice.operations),
                "colors": list(map(tinted, operation_colors(choice.operations))),
                "chosen": sorted(choice.chosen),
                "frames": [[[_thousandths(value) for value in row] for row in frame] for frame in choice.frames],
            }
            for choice in mixing.choices
        ],
    }


def _thousandths(value: float | None) -> int | None:
    return None if value is None else round(UNITS * min(max(value, -_LARGEST), _LARGEST))


def _moving_cells(mixing: MixingHistory, graphs: Mapping[str, CellGraph], draw: Draw | None) -> str:
    """Return the cells that move with the slider; without a script they are not shown, as they are shown above."""
    cards = []
    for name, (drawn, _) in _moves(mixing, graphs, draw).items():
        place = f"moving-{slug(name)}"
        templates = "".join(
            f'<template id="{place}-{at}">{cell_svg(graph)}</template>' for at, graph in enumerate(drawn)
        )
        cards.append(card(f"{name}, as it would be derived", f'<div class="drawing" id="{place}"></div>{templates}'))
    return f'<div class="cells scripted">{"".join(cards)}</div>' if cards else ""


def _moves(
    mixing: MixingHistory, graphs: Mapping[str, CellGraph], draw: Draw | None
) -> dict[str, tuple[Sequence[CellGraph], Sequence[int]]]:
    """Return for every cell that changes its drawings, and which of them stands at each position of the slider.

    Where there are more positions than drawings, a cell is drawn at some of them, and stands until the next.
    """
    if draw is None or len(mixing.derived) < 2 or None in mixing.derived:
        return {}
    last = len(mixing.derived) - 1
    told = {notation(one): one for one in mixing.derived if one}
    if len(told) <= _MOVES:
        places = list(range(last + 1))
    else:
        places = sorted({round(at * last / (_MOVES - 1)) for at in range(_MOVES)})
    known: dict[str, Mapping[str, CellGraph]] = {}
    moves: dict[str, tuple[list[CellGraph], list[int]]] = {name: ([], []) for name in graphs}
    for at, one in enumerate(mixing.derived):
        assert one is not None
        if at in places:
            text = notation(one)
            known[text] = found = known.get(text) or draw(one)
        for name, (drawn, shown) in moves.items():
            if (graph := found.get(name)) is None:
                continue
            if graph not in drawn:
                drawn.append(graph)
            shown.append(drawn.index(graph))
    return {
        name: (drawn, shown)
        for name, (drawn, shown) in moves.items()
        if len(drawn) > 1 and len(shown) == last + 1 and max(len(graph.edges) for graph in drawn) <= _EDGES
    }
