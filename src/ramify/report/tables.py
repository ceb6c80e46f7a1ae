"""The page of a table: what it holds, how its values are spread, and its best members."""

from __future__ import annotations

import json
import shlex
from html import escape
from pathlib import Path

import numpy as np

from ramify.benchmarks import Column, Table, open_table
from ramify.errors import TableError
from ramify.report.axes import linear
from ramify.report.charts import Bars, Chart
from ramify.report.elements import card, copyable, facts, folded, grid, spaced, table, titled
from ramify.report.page import Page
from ramify.report.palette import SERIES

_BINS = 30
_BEST = 10
_COLUMNS = 12
"""The most columns that are shown one by one."""


def write_table(file: Path, page_path: Path) -> Path:
    """Write the page of a table and return its path.

    Args:
        file: A table file, or the CSV file of a benchmark.
        page_path: Where the page goes.

    Raises:
        TableError: If there is no table, or it is damaged.
    """
    held = open_table(file)
    page = Page(page_path.parent)
    shown = list(held.columns.values())[:_COLUMNS]
    sections = {column.name: _column(page, held, column, at) for at, column in enumerate(shown)}
    origin = {spaced(key): value for key, value in held.origin.items() if value not in (None, {}, [])}
    body = folded("Where it comes from", facts(origin)) if origin else ""
    sections["Origin"] = titled("Origin", "", body)
    name = str(held.space_description.get("space"))
    page.write(page_path, f"A table of {name}", _opening(held, file, name), sections, None)
    return page_path


def _opening(held: Table, file: Path, name: str) -> str:
    """Return what stands on top: what the table holds, and the command that searches it."""
    scored = [column for column in held.columns.values() if column.has_score]
    rows = [("Holds", f"<p>{len(held):,} architectures of {escape(name)}, {len(held.columns)} columns.</p>")]
    for column in scored[:3]:
        rows.append((column.name, f"<p>{escape(spread(held, column))}</p>"))
    if scored:
        searched = next((column for column in scored if "valid" in column.split), scored[0])
        words = ["ramify", "search", "--space", name]
        for key, value in held.space_description["arguments"].items():
            words += [f"--space.{key}", value if isinstance(value, str) else json.dumps(value)]
        words += ["--strategy", "RegularizedEvolution", "--strategy.evaluator", "TableLookup"]
        words += ["--strategy.evaluator.table", file.name, "--strategy.evaluator.column", searched.name]
        command = copyable("next-0", shlex.join([*words, "--out", "searched"]))
        rows.append(("Next", f"<p>In the folder of the table: search it.</p>{command}"))
    shown = "".join(f"<dt>{escape(label)}</dt><dd>{text}</dd>" for label, text in rows)
    return f'<dl class="verdict">{shown}</dl>'


def known(held: Table, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions (M,) of the architectures that have a value in a column, and the values (M,)."""
    every = np.array([_value(held, column.name, at) for at in range(len(held))])
    places = np.flatnonzero(np.isfinite(every))
    return places, every[places]


def _value(held: Table, column: str, at: int) -> float:
    try:
        return held.value(column, at)
    except TableError:
        return float("nan")


def spread(held: Table, column: Column) -> str:
    """Say what the values of a column are: the best, the mean, which a random member has to expect, and the worst."""
    _, values = known(held, column)
    if not len(values):
        return "There is no value in it."
    best, worst = (values.max(), values.min()) if column.higher_is_better else (values.min(), values.max())
    return (
        f"{column.data} ({column.split}), {column.says()}: the best has {best:.5g}, a random one {values.mean():.5g} "
        f"in the mean, the worst {worst:.5g}."
    )


def _column(page: Page, held: Table, column: Column, at: int) -> str:
    """Return the section of a column."""
    places, values = known(held, column)
    if not len(values):
        return ""
    plot = page.plot(f"column-{at}", f"How many architectures have which {column.metric}", histogram(values, column))
    order = np.argsort(-values if column.higher_is_better else values, kind="stable")[:_BEST]
    rows = ((f"{values[one]:.5g}", f"<code>{escape(held.notations[places[one]])}</code>") for one in order)
    listing = card("The best", table((_measure(column), "architecture"), rows))
    return titled(column.name, f"{column.data} ({column.split}), {column.says()}", grid([plot, listing], wide=True))


def histogram(values: np.ndarray, column: Column) -> Chart:
    """Draw how many values (M,) there are in each of equally wide intervals."""
    counts, edges = np.histogram(values, bins=_BINS)
    bars = Bars(SERIES[0], edges.tolist(), counts.tolist())
    across = linear(edges.tolist(), _measure(column))
    return Chart(across, linear([0, *counts.tolist()], "architectures", fits=False, whole=True), bars=bars, height=240)


def _measure(column: Column) -> str:
    """Return what a column holds, with its unit."""
    return column.metric if column.unit in ("", column.metric) else f"{column.metric}, {column.unit}"
