"""The report's section on tuning: where the hyper-parameters went, and what that cost beside its rivals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib.figure import Figure

from ramify.hypergradient.rivals import RIVALS
from ramify.hypergradient.session import OURS
from ramify.report.axes import linear, logarithmic
from ramify.report.charts import Chart
from ramify.report.charts import Line as DrawnLine
from ramify.report.curves import draw_panels, dress, new_figure
from ramify.report.elements import card, grid, spaced, table, titled
from ramify.report.figures import curve, positions
from ramify.report.folder import RunFolder, number
from ramify.report.page import Page
from ramify.report.palette import ACCENT, SERIES
from ramify.report.story import Panel
from ramify.wording import sentence

Row = Mapping[str, Any]
Line = tuple[tuple[float, ...], tuple[float, ...]]
"""Positions and values."""

PHASES = ("tune", *RIVALS, "measure")
"""The phases of a tuning, which this section shows."""

_LINES = 16  # the most hyper-parameters that are drawn one by one
_DRAWN = {
    "validation_loss": "validation loss",
    "precision": "precision of the lowest tenth",
    "tolerance": "tolerance ε",
    "inner_iterations": "gradients of the inner problem",
    "products": "Hessian-vector products",
    "gradient_norm": "norm of the hyper-gradient",
    "smoothness": "L, the inverse of the step size",
    "lowest_value": "lowest value",
    "mean_value": "mean value",
    "highest_value": "highest value",
}
"""Quantities of an iteration, in the order of their curves."""


@dataclass(frozen=True)
class Tuning:
    """The story of a tuning.

    Args:
        values: Name of a hyper-parameter → its values over the iterations.
        panels: Curves over the iterations.
        costs: Who → the best validation loss so far, over passes.
        reached: Who → loss, cost and the like, as `result.json` says.
    """

    values: Mapping[str, Line]
    panels: Sequence[Panel]
    costs: Mapping[str, Line]
    reached: Mapping[str, Mapping[str, Any]]


def story(run: RunFolder) -> Tuning | None:
    """Return the story of a tuning; None for another run."""
    rows = run.rows("tune")
    if not rows:
        return None
    positions = tuple(float(number(row.get("iteration")) or at) for at, row in enumerate(rows, start=1))
    series: dict[str, list[float | None]] = {}
    for at, row in enumerate(rows):
        for name, value in _numbers(row.get("values")):
            series.setdefault(name, [None] * len(rows))[at] = value
    values = {name: _gapless(positions, found) for name, found in series.items()} if len(series) <= _LINES else {}
    panels = []
    for key, title in _DRAWN.items():
        found = tuple(number(row.get(key)) for row in rows)
        if any(value is not None for value in found):
            panels.append(Panel(title, "iteration", positions, {"validation" if "loss" in key else "training": found}))
    reached = run.result.get("reached")
    costs = {OURS: _best_so_far([row for row in rows if row.get("accepted", True)])}
    costs |= {rival: _best_so_far(run.rows(rival)) for rival in RIVALS if run.rows(rival)}
    known = (
        {who: one for who, one in reached.items() if isinstance(one, Mapping)} if isinstance(reached, Mapping) else {}
    )
    return Tuning(values, panels, {who: line for who, line in costs.items() if line[0]}, known)


def _numbers(values: Any) -> Iterator[tuple[str, float]]:
    """Yield the names and values of the hyper-parameters of a row."""
    for name, held in values.items() if isinstance(values, Mapping) else ():
        items = held.items() if isinstance(held, Mapping) else enumerate(held) if isinstance(held, list) else ()
        several = not isinstance(held, Sequence) or len(held) > 1
        for label, value in items:
            if (found := number(value)) is not None:
                yield (f"{spaced(name)} {label}" if several else spaced(name)), found


def _gapless(positions: Sequence[float], values: Sequence[float | None]) -> Line:
    pairs = [(x, y) for x, y in zip(positions, values, strict=True) if y is not None]
    return tuple(x for x, _ in pairs), tuple(y for _, y in pairs)


def _best_so_far(rows: Sequence[Row]) -> Line:
    """Return the smallest validation loss so far, over what was computed until then."""
    costs: list[float] = []
    best: list[float] = []
    for row in rows:
        loss, cost = number(row.get("validation_loss")), number(row.get("cost"))
        if loss is not None and cost is not None:
            costs.append(cost)
            best.append(min([loss, *best[-1:]]))
    return tuple(costs), tuple(best)


def section(tuning: Tuning | None, page: Page) -> str:
    """Return the section as HTML, empty for no tuning; the page gets its charts and pictures."""
    if tuning is None or not tuning.costs:
        return ""
    title = "Best validation loss by cost"
    cards = [page.plot("tuning-cost", title, _lines(tuning.costs, "passes", stairs=True))]
    if tuning.values:
        figure = _lines(tuning.values, "iteration", log=_is_wide(tuning.values))
        cards.append(page.plot("tuning-values", "Where the hyper-parameters went", figure))
    small = [page.plot(f"tuning-{at}", sentence(panel.title), curve(panel)) for at, panel in enumerate(tuning.panels)]
    rows = [
        (
            escape(who),
            *(_shown(one.get(key)) for key in ("cost", "evaluations", "validation_loss", "at_equal_cost", "exact")),
        )
        for who, one in tuning.reached.items()
    ]
    heads = ("", "passes", "points tried", "validation loss", "at the cost of the tuning", "solved exactly")
    listing = card("What everybody reached", table(heads, rows, numbers=range(1, 6))) if rows else ""
    lead = (
        "A pass is a gradient of the training or validation loss over all data; a product with second derivatives "
        "counts as two. Rejected points are left out of the best."
    )
    page.save("tuning", _draw(tuning))
    page.save("tuning-curves", draw_panels(tuning.panels))
    body = grid(cards, wide=True) + grid(small) + listing
    return titled("How the hyper-parameters were tuned", lead, body)


def _shown(value: Any) -> str:
    found = number(value)
    return "" if found is None else f"{found:,.0f}" if float(found).is_integer() else f"{found:,.6g}"


def _is_wide(lines: Mapping[str, Line]) -> bool:
    """Return whether values are to be seen on a logarithmic scale."""
    values = [value for _, line in lines.values() for value in line]
    return min(values) > 0 and max(values) > 20 * min(values)


def _color(at: int, name: str) -> str:
    return ACCENT if name == OURS else SERIES[at % len(SERIES)]


def _lines(lines: Mapping[str, Line], axis: str, *, stairs: bool = False, log: bool = False) -> Chart:
    """Draw several lines."""
    drawn = tuple(
        DrawnLine(name, _color(at, name), x, y, stairs=stairs) for at, (name, (x, y)) in enumerate(lines.items())
    )
    values = _range(lines) if stairs else [value for _, line in lines.values() for value in line]
    across = positions(axis, [x for places, _ in lines.values() for x in places])
    return Chart(across, logarithmic(values) if log else linear(values, fits=stairs), drawn, height=260, clipped=stairs)


def _range(lines: Mapping[str, Line]) -> tuple[float, float]:
    """Return the ends of an axis on which what the tuning won can be seen; poor first points are above it."""
    values = [value for _, line in lines.values() for value in line]
    lowest, begun = min(values), lines[OURS][1][0] if OURS in lines else max(values)
    won = begun - lowest or abs(lowest) or 1.0
    return lowest - 0.1 * won, lowest + 1.6 * won


def _draw(tuning: Tuning) -> Figure:
    """Draw the same for paper."""
    parts = [(tuning.costs, "best validation loss", "passes"), (tuning.values, "hyper-parameters", "iteration")]
    parts = [part for part in parts if part[0]]
    figure = new_figure(5.2 * len(parts), 3.6)
    for place, (lines, title, axis) in enumerate(parts, start=1):
        axes = figure.add_subplot(1, len(parts), place)
        for at, (name, (x, y)) in enumerate(lines.items()):
            if axis == "passes":
                axes.step(x, y, where="post", color=_color(at, name), lw=1.6, label=name)
            else:
                axes.plot(x, y, color=_color(at, name), lw=1.6, marker="o", ms=3, label=name)
        if axis == "passes":
            axes.set_ylim(*_range(lines))
        elif _is_wide(lines):
            axes.set_yscale("log")
        dress(axes, title, axis)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=8)
    return figure
