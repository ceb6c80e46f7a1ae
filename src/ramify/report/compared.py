"""The page of a comparison: how far every strategy is from the best, over what it spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from ramify import reading
from ramify.errors import RunError
from ramify.report.axes import logarithmic
from ramify.report.charts import Chart, Line
from ramify.report.elements import as_yaml, card, copyable, folded, grid, table, titled
from ramify.report.figures import positions
from ramify.report.folder import Number, read_folder
from ramify.report.page import Page
from ramify.report.palette import MUTED, SERIES
from ramify.wording import sentence

OUTCOME = "comparison.json"
"""The statistics of a comparison."""
_LEAST = 0.003
"""The smallest regret that is told from none."""


class Curve(TypedDict):
    """The mean of the regrets of all seeds over the budget, and the ends of its interval."""

    mean: list[Number]
    low: list[Number]
    high: list[Number]


class Reached(TypedDict):
    """What a strategy reached on a column."""

    mean: float
    std: float
    interval: tuple[float, float]
    verdict: str
    curve: Curve


class Compared(TypedDict):
    """What all strategies reached on a column, random search first."""

    says: str
    optimum: float
    strategies: dict[str, Reached]


class Outcome(TypedDict):
    """The content of `comparison.json`, as far as the page shows it."""

    measure: str
    unit: str
    axis: str
    grid: list[float]
    seeds: int
    confidence: float
    budget: dict[str, Number]
    columns: dict[str, Compared]


def write_comparison(folder: Path) -> Path:
    """Write `report.html` into the folder of a comparison and return its path.

    Raises:
        RunError: If a file in it is malformed.
    """
    run = read_folder(folder)
    page = Page(folder)
    outcome: Outcome | None = None
    if (folder / OUTCOME).exists():
        outcome = reading.json_file(folder / OUTCOME, Outcome, error=RunError)
    columns = {} if outcome is None else outcome["columns"]
    sections = {name: _column(page, outcome, name, about) for name, about in columns.items() if outcome}
    body = folded("config.yaml of the comparison", copyable("config", as_yaml(run.config), yaml_keys=True))
    sections["Configuration"] = titled("Configuration", "", body)
    sections["Repeat it"] = titled(
        "Repeat it", "", card("This page, from this folder", copyable("page", "ramify report ."))
    )
    path = folder / "report.html"
    page.write(path, "A comparison of strategies", _opening(outcome, run.history), sections, None)
    return path


def _opening(outcome: Outcome | None, rows: tuple[Mapping[str, Any], ...]) -> str:
    """Return what stands on top: what is compared, and who is better than random search."""
    if outcome is None:
        steps = rows[-1].get("steps") if rows else None
        far = f"{len(rows):,} of {steps:,} searches" if isinstance(steps, int) else f"{len(rows):,} searches"
        told = f'<p class="doubt">This comparison is unfinished: {far} are done.</p>'
        return f'<dl class="verdict"><dt>State</dt><dd>{told}</dd></dl>'
    budget = ", ".join(f"{allowed:,g} {name}" for name, allowed in outcome["budget"].items() if allowed is not None)
    story = f"{sentence(outcome['measure'])} in {outcome['unit']} after {budget}, over {outcome['seeds']} seeds."
    rows_of = []
    for name, about in outcome["columns"].items():
        ranked = sorted(about["strategies"].items(), key=lambda item: item[1]["mean"])
        lines = "".join(
            f"<p{' class=doubt' * it['verdict'].startswith(('NOT', 'WORSE'))}>"
            f"<strong>{escape(label)}</strong>: {escape(it['verdict'])}.</p>"
            for label, it in ranked
        )
        rows_of.append(f"<dt>{escape(name)}</dt><dd>{lines}</dd>")
    return f'<p class="story">{escape(story)}</p><dl class="verdict">{"".join(rows_of)}</dl>'


def _column(page: Page, outcome: Outcome, name: str, about: Compared) -> str:
    """Return the section of a column."""
    ranked = sorted(about["strategies"].items(), key=lambda item: item[1]["mean"])
    percent = f"{100 * outcome['confidence']:.0f} % interval"
    rows = [
        (escape(label), f"{it['mean']:.3f} ± {it['std']:.3f}", f"{it['interval'][0]:.3f} to {it['interval'][1]:.3f}")
        for label, it in ranked
    ]
    listing = table(("strategy", "mean ± standard deviation", percent), rows, numbers=(1, 2))
    plot = page.plot(
        f"regret-{list(outcome['columns']).index(name)}", sentence(outcome["measure"]), regrets(outcome, about)
    )
    lead = f"{about['says']}; the best of the table: {about['optimum']:.3f}. Bands: {percent} of the mean."
    return titled(name, lead, grid([plot, card("At the end", listing)], wide=True))


def regrets(outcome: Outcome, about: Compared) -> Chart:
    """Draw the mean regrets of all strategies over the budget, with their intervals; small ones can be told apart."""
    lines = []
    for at, (label, it) in enumerate(about["strategies"].items()):
        color = SERIES[(at - 1) % len(SERIES)] if at else MUTED  # random search comes first
        curve = {key: list(map(_told_apart, values)) for key, values in _parts(it["curve"])}
        lines.append(
            Line(label, color, outcome["grid"], curve["mean"], dashed=not at, low=curve["low"], high=curve["high"])
        )
    values = [value for line in lines for value in line.y if value is not None] or [1.0]
    ends = [max(min(values) * 0.7, _LEAST), max(values) * 1.3]
    up = logarithmic(ends, f"{outcome['measure']}, {outcome['unit']}", fits=True)
    return Chart(positions(outcome["axis"], outcome["grid"]), up, tuple(lines), height=300, clipped=True)


def _parts(curve: Curve) -> Iterator[tuple[str, list[Number]]]:
    yield "mean", curve["mean"]
    yield "low", curve["low"]
    yield "high", curve["high"]


def _told_apart(value: Number) -> Number:
    return None if value is None else max(value, _LEAST)
