"""Statistics, figure and table of the searches of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired

import numpy as np
from typing_extensions import TypedDict

from ramify.comparison.drawing import draw
from ramify.comparison.searches import AXES, Search, Worker
from ramify.comparison.statistics import CONFIDENCE, INTERVAL, Course, interval, verdict, versus
from ramify.errors import TableError
from ramify.report.pictures import png, svg
from ramify.run import RunFolder
from ramify.strategies.budget import Budget
from ramify.strategies.pareto import front, normalized_hypervolume
from ramify.wording import sentence

BASELINE = "RandomSearch"
_GRID = 200
"""Points of a curve."""
_ENOUGH = 10
"""Seeds below which a bootstrap interval is too narrow to be believed."""


class _Spread(TypedDict):
    """What a strategy reached on a column."""

    mean: float
    std: float
    interval: tuple[float, float]
    verdict: str
    found_nothing: NotRequired[int]


class _Column(TypedDict):
    """What all strategies reached on a column."""

    says: str
    optimum: float
    measured: NotRequired[int | None]
    strategies: dict[str, _Spread]


class _Members(TypedDict, total=False):
    """Of the table."""

    members: int | None


class Statistics(TypedDict):
    """The content of `comparison.json`."""

    table: _Members
    measure: str
    unit: str
    budget: dict[str, float]
    seeds: int
    confidence: float
    columns: dict[str, _Column]


def outcome_of(
    worker: Worker, budget: Budget, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the statistics of all searches, whatever the order they finished in."""
    strategies = worker.plan.strategies
    several = strategies[BASELINE].several
    axis = next(name for name in ("seconds", "epochs", "evaluations") if getattr(budget, name) is not None)
    end = float(getattr(budget, axis))
    grid = np.arange(1, end + 1) if axis == "evaluations" and end <= _GRID else np.linspace(0, end, _GRID + 1)[1:]
    tables: dict[str, Any] = {}
    for column in columns:
        optimum = _optimum(worker, column)
        regrets, spent, failures = {}, {}, {}
        for label in strategies:
            mine = sorted((row for row in rows if (row["strategy"], row["column"]) == (label, column)), key=_seed)
            which = AXES.index(axis)
            # The search that reaches a budget ends there, whatever its last evaluation took beyond it.
            courses = (
                Course([min(at[which], end) for at in row["course"]], [at[-1] for at in row["course"]]) for row in mine
            )
            regrets[label] = optimum - np.stack([course.at(grid) for course in courses])
            spent[label] = np.mean([row["spent"] for row in mine], axis=0)
            failures[label] = sum(row.get("found_nothing", False) for row in mine)
        tables[column] = {
            "says": worker.table.column(column).says(),
            "measured": worker.table.measured(column, worker.space),
            "optimum": optimum,
            "strategies": {
                label: _statistics(label, regrets, spent[label])
                | ({"found_nothing": failures[label]} if failures[label] else {})
                for label in strategies
            },
        }
    return {
        "table": {
            "sha256": worker.table.digest,
            "architectures": len(worker.table),
            "members": worker.space.size,
        },
        "measure": "regret of the normalized hypervolume" if several else "regret of the accuracy",
        "unit": "per cent of the box" if several else "points of per cent",
        "budget": {name: getattr(budget, name) for name in budget.budgets},
        "axis": axis,
        "grid": grid.tolist(),
        "seeds": len({row["seed"] for row in rows}),
        "confidence": CONFIDENCE,
        "interval": INTERVAL,
        "columns": tables,
    }


def _seed(row: Mapping[str, Any]) -> int:
    return row["seed"]


def _statistics(label: str, regrets: Mapping[str, np.ndarray], spent: np.ndarray) -> dict[str, Any]:
    values = regrets[label]
    low, high = interval(values)
    about = {
        "mean": float(values[:, -1].mean()),
        "std": float(values[:, -1].std(ddof=1)),
        "median": float(np.median(values[:, -1])),
        "interval": [float(low[-1]), float(high[-1])],
        "spent": dict(zip(AXES, map(float, spent), strict=True)),
        "final": values[:, -1].tolist(),
        "curve": {
            "mean": _plain(values.mean(axis=0)),
            "std": _plain(values.std(axis=0, ddof=1)),
            "low": _plain(low),
            "high": _plain(high),
        },
    }
    if label == BASELINE:
        return {**about, "verdict": "the baseline"}
    mean, lower, upper = versus(regrets[BASELINE][:, -1], values[:, -1])
    return {
        **about,
        "versus_random": {"lower_by": mean, "interval": [lower, upper]},
        "verdict": verdict(mean, lower, upper, of="random search"),
    }


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]  # before the first evaluation


def _optimum(worker: Worker, column: str) -> float:
    """Return what a search that knew the table would find."""
    table, strategy = worker.table, worker.plan.strategies[BASELINE]
    if not strategy.several:
        return table.column(column).percent(table.value(column, table.best(column)))
    session = worker.session(Search(BASELINE, column, 0))
    points = []
    for index in range(len(table)):
        arch = table.architecture(index)
        try:
            points.append(strategy.values({**session.evaluation(arch), **session.costs(arch)}))
        except TableError:  # a value that is missing
            continue
    best = [points[at] for at in front(points)]
    return 100 * normalized_hypervolume(best, strategy.reference or ())


def write_outcome(folder: RunFolder, statistics: dict[str, Any]) -> None:
    """Write the statistics as JSON, text and figure, and finish the run."""
    figure = draw(statistics)
    folder.write("comparison.svg", svg(figure))
    folder.write("comparison.png", png(figure))
    folder.write("comparison.txt", as_text(statistics))
    folder.write_json("comparison.json", statistics)
    verdicts = {
        column: {label: it["verdict"] for label, it in about["strategies"].items()}
        for column, about in statistics["columns"].items()
    }
    folder.finish({"verdicts": verdicts})


def _share(measured: int | None, members: int | None) -> list[str]:
    """Say how much of the searched space was measured; nothing where an older comparison does not know."""
    if measured is None or members is None:
        return []
    if measured == members:
        return [f"The table holds all {members:,} members of the searched space."]
    share = f"{measured:,} of the {members:,} members of the searched space ({100 * measured / members:.3g} %)"
    return [f"The table holds {share}; evaluations of the others fail."]


def as_text(statistics: Mapping[str, Any]) -> str:
    """Return the statistics as a table of text."""
    budget = ", ".join(f"{allowed:,g} {name}" for name, allowed in statistics["budget"].items())
    interval_of = (
        f"{100 * statistics['confidence']:.0f} % {statistics.get('interval', 'percentile bootstrap')} interval"
    )
    lines = [
        f"{sentence(statistics['measure'])} after {budget}, {statistics['unit']}: mean ± standard deviation over "
        f"{statistics['seeds']} seeds, [{interval_of} of the mean]."
    ]
    if statistics["seeds"] < _ENOUGH:
        lines.append(f"Intervals from fewer than {_ENOUGH} seeds are too narrow: take more before you believe them.")
    for column, about in statistics["columns"].items():
        lines += ["", f"{column} ({about['says']}), the best of the table: {about['optimum']:.3f}"]
        lines += _share(about.get("measured"), statistics["table"].get("members"))
        ranked = sorted(about["strategies"].items(), key=lambda item: item[1]["mean"])
        width = max(len(label) for label, _ in ranked)
        for label, it in ranked:
            low, high = it["interval"]
            numbers = f"{it['mean']:7.3f} ± {it['std']:.3f}  [{low:.3f}, {high:.3f}]"
            lines.append(f"  {label:<{width}}  {numbers}  {it['verdict']}")
            if failures := it.get("found_nothing"):
                lines.append(f"  {'':<{width}}  {failures} of these met no measured member and count as accuracy 0")
    return "\n".join(lines) + "\n"
