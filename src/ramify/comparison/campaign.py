"""The comparison itself: many searches of a table, kept one by one, and what follows from them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from annotated_types import Len
from typing_extensions import TypedDict

from ramify.benchmarks import Table, open_table
from ramify.comparison.drawing import draw
from ramify.comparison.statistics import CONFIDENCE, INTERVAL, Course, interval, verdict, versus
from ramify.data import DataSpec, spec_of
from ramify.data import load as load_data
from ramify.errors import ConfigurationError, RunError, TableError, nearest
from ramify.evaluators import TableLookup
from ramify.executors import run_jobs
from ramify.report.pictures import png, svg
from ramify.run import Interrupted, RunFolder, make_fabric, say
from ramify.run.configuration import described, fields_of
from ramify.run.folder import Row
from ramify.run.progress import Progress
from ramify.spaces import Space
from ramify.strategies import STRATEGIES, AskTell, RandomSearch
from ramify.strategies.ask_tell import AskTellSession
from ramify.strategies.budget import Budget
from ramify.strategies.pareto import front, normalised_hypervolume
from ramify.training import Metrics, Task
from ramify.wording import sentence


class _Row(Row):
    """A row of the history: a search, wherever what it found changed, and what it spent in all."""

    strategy: str
    column: str
    seed: int
    course: Annotated[list[tuple[float, float, float, float]], Len(1)]
    spent: tuple[float, float, float]
    found_nothing: NotRequired[bool]


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


class _Found(TypedDict):
    """What `comparison.json` says: what is told of it in words."""

    table: _Members
    measure: str
    unit: str
    budget: dict[str, float]
    seeds: int
    confidence: float
    columns: dict[str, _Column]


BASELINE = "RandomSearch"
_GRID = 200
"""Points of a curve."""
_ENOUGH = 10
"""Seeds below which a bootstrap interval is too narrow to be believed."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Args:
        found: The content of `comparison.json`.
        out: The folder with it, the table in words, and the picture.
    """

    found: dict[str, Any]
    out: Path

    @property
    def text(self) -> str:
        """The table in words."""
        return as_text(self.found)


def compare(
    table: str | Path,
    columns: Sequence[str],
    strategies: Sequence[AskTell] | Mapping[str, AskTell] | None = None,
    *,
    out: str | Path,
    seeds: int = 20,
    evaluations: int | None = None,
    epochs: int | None = None,
    seconds: float | None = None,
    objectives: Sequence[str] = ("error",),
    reference: Sequence[float] | None = None,
    data: str | Path | DataSpec | None = None,
    network: Mapping[str, Any] | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Let strategies search a table, all with the same budget and seeds, random search among them.

    What counts is the regret: by how much the best architecture so far misses the best of the table, in points of
    per cent; with several objectives, by how much the normalised hypervolume of the front misses that of the whole
    table. Every search that is finished is kept; the same call continues. `comparison.json`, `comparison.txt`,
    `comparison.svg` and `comparison.png` hold the outcome. A script that calls this needs the usual
    `if __name__ == "__main__":`, because every process imports it.

    Args:
        table: A table file, or the CSV file of NAS-Bench-201.
        columns: Names of columns of accuracies; one comparison each.
        strategies: Which, or label → strategy; all multi-trial strategies with their defaults when None. Budgets,
            objectives and evaluators are set here.
        out: A folder.
        seeds: How many searches of each, with seeds from 0.
        evaluations: Budget; 200 where no other is given.
        epochs: Budget in epochs.
        seconds: Budget in simulated seconds, where the table knows them.
        objectives: As `AskTell` takes them.
        reference: Of several objectives, the worst values that count.
        data: Whose images the networks see, where their cost is an objective and the table does not tell.
        network: Layout keywords of the networks, where their cost is an objective.
        processes: How many searches run at a time, one thread each; as many as there are processors when None. With
            0 this process does it alone.
        progress: Whether to show progress on standard error.

    Raises:
        RamifyError: If anything handed in cannot work; nothing has been searched or written then.
        Interrupted: After Ctrl-C; the searches that are finished are kept.
    """
    if seeds < 2:
        raise ConfigurationError(f"`seeds` must be at least 2, for there is no interval of one, got {seeds}")
    if not columns or len(set(columns)) < len(columns):
        raise ConfigurationError(f"`columns` must be different names, at least one, got {list(columns)}")
    if processes is not None and processes < 0:
        raise ConfigurationError(f"`processes` must not be negative, got {processes}")
    if len(objectives) > 1 and reference is None:
        raise ConfigurationError("several objectives are compared by hypervolume, which needs a `reference`")
    budget = Budget(
        evaluations=200 if (evaluations, epochs, seconds) == (None,) * 3 else evaluations,
        epochs=epochs,
        seconds=seconds,
    )
    spec = None if data is None else spec_of(data)
    labelled = _labelled(strategies, len(objectives) > 1)
    shared = {name: getattr(budget, name) for name in ("evaluations", "epochs", "seconds", "wall_seconds")}
    shared |= {"objectives": tuple(objectives), "reference": None if reference is None else tuple(reference)}
    ready = {label: replace(strategy, **shared, evaluator=None) for label, strategy in labelled.items()}
    plan = _Plan(str(Path(table).absolute()), ready, spec, dict(network or {}))
    worker = _Worker(plan, quiet=False)
    for column in columns:
        for label in ready:
            worker.session(_Job(label, column, 0))  # what cannot work ends here
    config = {
        "table": {"path": str(table), "sha256": worker.table.digest},
        "columns": list(columns),
        "strategies": {label: described(strategy) for label, strategy in ready.items()},
        "seeds": seeds,
        "data": None if spec is None else fields_of(spec),
        "network": described(dict(network or {})),
    }
    jobs = [_Job(label, column, seed) for seed in range(seeds) for column in columns for label in ready]
    with RunFolder(out) as folder:
        folder.open(config, 0, free=lambda name: spec is None and name == "data")
        rows = folder.history(_Row)
        folder.cut(len(rows))  # a kill may have left half a row
        done = {(row["strategy"], row["column"], row["seed"]) for row in rows}
        todo = [job for job in jobs if (job.strategy, job.column, job.seed) not in done]
        if todo:
            folder.started(len(rows))
            _search_all(plan, todo, folder, done=len(rows), processes=processes, progress=progress)
        if not folder.finished:
            _write(folder, _found(worker, budget, columns, folder.history(_Row)))
        else:
            say(f"{folder.path} is finished: this is its outcome, nothing is done again", enabled=progress)
        return Comparison(folder.read_json("comparison.json", _Found), folder.path)


def _labelled(strategies: Sequence[AskTell] | Mapping[str, AskTell] | None, several: bool) -> dict[str, AskTell]:
    """Return the strategies by label, random search first."""
    if strategies is None:
        strategies = [
            kind() for kind in STRATEGIES.values() if issubclass(kind, AskTell) and (kind.takes_several or not several)
        ]
    if not isinstance(strategies, Mapping):
        labels = [_label(strategy) for strategy in strategies]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigurationError(f"{label} is compared with itself; its settings are the same twice")
        strategies = dict(zip(labels, strategies, strict=True))
    for strategy in strategies.values():
        if not isinstance(strategy, AskTell):
            known = ", ".join(name for name, kind in STRATEGIES.items() if issubclass(kind, AskTell))
            raise ConfigurationError(
                f"{type(strategy).__name__} evaluates no architectures one by one, so a table is of no use to it; "
                f"known: {known}"
            )
    others = {label: strategy for label, strategy in strategies.items() if not _is_baseline(strategy)}
    baseline = next((strategy for strategy in strategies.values() if _is_baseline(strategy)), RandomSearch())
    return {BASELINE: baseline, **others}


def _is_baseline(strategy: AskTell) -> bool:
    return type(strategy) is RandomSearch


_SET_HERE = {"evaluator", *(field.name for field in fields(Budget)), "objectives", "reference"}


def _label(strategy: AskTell) -> str:
    """Return the name of a strategy with what differs from its defaults."""
    usual = type(strategy)()
    changed = [
        f"{field.name}={getattr(strategy, field.name)}"
        for field in fields(strategy)
        if field.name not in _SET_HERE and getattr(strategy, field.name) != getattr(usual, field.name)
    ]
    name = type(strategy).__name__
    return f"{name}({', '.join(changed)})" if changed else name


def named(text: str) -> list[AskTell]:
    """Return the strategies of a list such as `RandomSearch,BOHB`, with their defaults.

    Raises:
        ConfigurationError: If there is none of that name among the multi-trial strategies.
    """
    known = {name: kind for name, kind in STRATEGIES.items() if issubclass(kind, AskTell)}
    found = []
    for name in filter(None, map(str.strip, text.split(","))):
        if name not in known:
            raise ConfigurationError(f"unknown multi-trial strategy {name!r}; {nearest(name, known)}")
        found.append(known[name]())
    return found


# Searching


@dataclass(frozen=True)
class _Plan:
    """What every process is told."""

    table: str
    strategies: Mapping[str, AskTell]
    data: DataSpec | None
    network: Mapping[str, Any]


@dataclass(frozen=True)
class _Job:
    """One search."""

    strategy: str
    column: str
    seed: int


class _Worker:
    """Does one search after the other, in whatever process."""

    def __init__(self, plan: _Plan, quiet: bool = True) -> None:
        self.plan = plan
        self.table: Table = open_table(plan.table)
        self.space = _searched(self.table)
        self.fabric = make_fabric("cpu")
        self.data = None if plan.data is None else load_data(plan.data, quiet=quiet)

    def session(self, job: _Job) -> AskTellSession:
        """Return the search."""
        strategy = self.plan.strategies[job.strategy]
        lookup = TableLookup(table=self.plan.table, column=job.column)
        task = Task(self.data, job.seed, self.fabric, self.plan.network)
        session = replace(strategy, evaluator=lookup).session(self.space, task)
        assert isinstance(session, AskTellSession)
        return session

    def __call__(self, job: _Job) -> dict[str, Any]:
        """Return the course of a search: wherever what it found changed, what it had spent, and how good that was.

        A search that met no member that was measured counts as if it had found an accuracy of 0, and says so.
        """
        session = self.session(job)
        course: list[list[float]] = []
        try:
            for _ in session.run():
                value = _quality(session)
                if value is not None and (not course or value != course[-1][-1]):
                    course.append([*_spent(session), value])
        except RunError:
            if not session.trials or not session.trials.best.failed:
                raise
        nothing = not course
        if nothing:
            course.append([*_spent(session), 0.0])
        return {"course": course, "spent": _spent(session)} | ({"found_nothing": True} if nothing else {})


def _spent(session: AskTellSession) -> list[float]:
    return [getattr(session.spent, name) for name in _AXES]


def _searched(table: Table) -> Space:
    """Return the space of the table, or the part of it that the candidates of the table's members make."""
    if table.covers(table.space):
        return table.space
    masks = {name: choice.mask & False for name, choice in table.space.choices.items()}
    for index in range(len(table)):
        for name, weights in table.space.mix(table.architecture(index)).items():
            masks[name] |= weights > 0
    return table.space.restrict(masks)


def _quality(session: AskTellSession) -> float | None:
    """Return how good what a search found is in per cent: its hypervolume, or the accuracy of what it stands for.

    That is the accuracy at the highest fidelity, even where the search itself has not evaluated it there yet. None
    where it has found nothing, or the table lacks that accuracy.
    """
    if session.strategy.several:
        return 100 * (session.front.hypervolume or 0.0)
    best, fidelities = session.trials.best, session.evaluation.fidelities
    if best.failed:
        return None
    if not fidelities or best.epochs == fidelities[-1]:
        return 100 * best.metrics["score"]
    try:
        return 100 * session.evaluation(best.architecture)["score"]
    except TableError:
        return None


def _search_all(
    plan: _Plan, jobs: Sequence[_Job], folder: RunFolder, *, done: int, processes: int | None, progress: bool
) -> None:
    total, begun = done + len(jobs), time.monotonic()
    count = (os.cpu_count() or 1) if processes is None else processes
    results = run_jobs(jobs, _Worker, (plan,), processes=count)
    with Progress("bench compare", enabled=progress) as bar, closing(results):
        try:
            for job, found in results:
                done += 1
                row = {"phase": "compare", "step": done, "steps": total, "seconds": round(time.monotonic() - begun, 3)}
                folder.append(row | {"strategy": job.strategy, "column": job.column, "seed": job.seed, **found})
                quiet = done % max(1, total // 50) and done < total
                bar.update(Metrics("compare", done, total), "" if quiet else f"{job.strategy} on {job.column}")
        except KeyboardInterrupt:
            raise Interrupted(f"stopped after {done} of {total} searches; the same command continues") from None


# What follows


_AXES = ("evaluations", "epochs", "seconds")


def _found(
    worker: _Worker, budget: Budget, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the statistics of all searches, in whatever order they were finished."""
    strategies = worker.plan.strategies
    several = strategies[BASELINE].several
    axis = next(name for name in ("seconds", "epochs", "evaluations") if getattr(budget, name) is not None)
    end = float(getattr(budget, axis))
    grid = np.arange(1, end + 1) if axis == "evaluations" and end <= _GRID else np.linspace(0, end, _GRID + 1)[1:]
    tables: dict[str, Any] = {}
    for column in columns:
        optimum = _optimum(worker, column)
        regrets, spent, nothing = {}, {}, {}
        for label in strategies:
            mine = sorted((row for row in rows if (row["strategy"], row["column"]) == (label, column)), key=_seed)
            which = _AXES.index(axis)
            # The search that reaches a budget ends there, whatever its last evaluation took beyond it.
            courses = (
                Course([min(at[which], end) for at in row["course"]], [at[-1] for at in row["course"]]) for row in mine
            )
            regrets[label] = optimum - np.stack([course.at(grid) for course in courses])
            spent[label] = np.mean([row["spent"] for row in mine], axis=0)
            nothing[label] = sum(row.get("found_nothing", False) for row in mine)
        tables[column] = {
            "says": worker.table.column(column).says(),
            "measured": worker.table.measured(column, worker.space),
            "optimum": optimum,
            "strategies": {
                label: _statistics(label, regrets, spent[label])
                | ({"found_nothing": nothing[label]} if nothing[label] else {})
                for label in strategies
            },
        }
    return {
        "table": {
            "sha256": worker.table.digest,
            "architectures": len(worker.table),
            "members": worker.space.size,
        },
        "measure": "regret of the normalised hypervolume" if several else "regret of the accuracy",
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
    found = {
        "mean": float(values[:, -1].mean()),
        "std": float(values[:, -1].std(ddof=1)),
        "median": float(np.median(values[:, -1])),
        "interval": [float(low[-1]), float(high[-1])],
        "spent": dict(zip(_AXES, map(float, spent), strict=True)),
        "final": values[:, -1].tolist(),
        "curve": {
            "mean": _plain(values.mean(axis=0)),
            "std": _plain(values.std(axis=0, ddof=1)),
            "low": _plain(low),
            "high": _plain(high),
        },
    }
    if label == BASELINE:
        return {**found, "verdict": "the baseline"}
    mean, lower, upper = versus(regrets[BASELINE][:, -1], values[:, -1])
    return {
        **found,
        "versus_random": {"lower_by": mean, "interval": [lower, upper]},
        "verdict": verdict(mean, lower, upper, of="random search"),
    }


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]  # before the first evaluation


def _optimum(worker: _Worker, column: str) -> float:
    """Return what a search that knew the table would find."""
    table, strategy = worker.table, worker.plan.strategies[BASELINE]
    if not strategy.several:
        return table.column(column).percent(table.value(column, table.best(column)))
    session = worker.session(_Job(BASELINE, column, 0))
    points = []
    for index in range(len(table)):
        arch = table.architecture(index)
        try:
            points.append(strategy.values({**session.evaluation(arch), **session.costs(arch)}))
        except TableError:  # a value that is missing
            continue
    best = [points[at] for at in front(points)]
    return 100 * normalised_hypervolume(best, strategy.reference or ())


def _write(folder: RunFolder, found: dict[str, Any]) -> None:
    figure = draw(found)
    folder.write("comparison.svg", svg(figure))
    folder.write("comparison.png", png(figure))
    folder.write("comparison.txt", as_text(found))
    folder.write_json("comparison.json", found)
    verdicts = {
        column: {label: it["verdict"] for label, it in about["strategies"].items()}
        for column, about in found["columns"].items()
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


def as_text(found: Mapping[str, Any]) -> str:
    """Return the outcome as a table in words."""
    budget = ", ".join(f"{allowed:,g} {name}" for name, allowed in found["budget"].items())
    interval_of = f"{100 * found['confidence']:.0f} % {found.get('interval', 'percentile bootstrap')} interval"
    lines = [
        f"{sentence(found['measure'])} after {budget}, {found['unit']}: mean ± standard deviation over "
        f"{found['seeds']} seeds, [{interval_of} of the mean]."
    ]
    if found["seeds"] < _ENOUGH:
        lines.append(f"Intervals from fewer than {_ENOUGH} seeds are too narrow: take more before you believe them.")
    for column, about in found["columns"].items():
        lines += ["", f"{column} ({about['says']}), the best of the table: {about['optimum']:.3f}"]
        lines += _share(about.get("measured"), found["table"].get("members"))
        ranked = sorted(about["strategies"].items(), key=lambda item: item[1]["mean"])
        width = max(len(label) for label, _ in ranked)
        for label, it in ranked:
            low, high = it["interval"]
            numbers = f"{it['mean']:7.3f} ± {it['std']:.3f}  [{low:.3f}, {high:.3f}]"
            lines.append(f"  {label:<{width}}  {numbers}  {it['verdict']}")
            if nothing := it.get("found_nothing"):
                lines.append(f"  {'':<{width}}  {nothing} of these met no measured member and count as accuracy 0")
    return "\n".join(lines) + "\n"
