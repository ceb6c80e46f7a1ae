"""The searches of a comparison: each of one strategy, one column of the table and one seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, NotRequired

from annotated_types import Len

from ramify.benchmarks import Table, open_table
from ramify.data import DataSpec
from ramify.data import load as load_data
from ramify.errors import RunError, TableError
from ramify.evaluators import TableLookup
from ramify.run import make_fabric
from ramify.run.records import Row
from ramify.spaces import Space
from ramify.strategies import AskTell
from ramify.strategies.ask_tell import AskTellSession
from ramify.tasks import Classification
from ramify.training import Work

AXES = ("evaluations", "epochs", "seconds")
"""What a search spends."""


class SearchRow(Row):
    """A row of the history: one search, its result whenever that changed, and its total spending."""

    strategy: str
    column: str
    seed: int
    course: Annotated[list[tuple[float, float, float, float]], Len(1)]
    spent: tuple[float, float, float]
    found_nothing: NotRequired[bool]


@dataclass(frozen=True)
class Plan:
    """The plan of a comparison, as every process receives it."""

    table: str
    strategies: Mapping[str, AskTell]
    data: DataSpec | None
    network: Mapping[str, Any]


@dataclass(frozen=True)
class Search:
    """One search."""

    strategy: str
    column: str
    seed: int


class Worker:
    """Runs searches one after the other, in any process."""

    def __init__(self, plan: Plan, quiet: bool = True) -> None:
        self.plan = plan
        self.table: Table = open_table(plan.table)
        self.space = _searched(self.table)
        self.fabric = make_fabric("cpu")
        self.task = None if plan.data is None else Classification().on(load_data(plan.data, quiet=quiet))

    def session(self, job: Search) -> AskTellSession:
        """Return the session of a search."""
        strategy = self.plan.strategies[job.strategy]
        lookup = TableLookup(table=self.plan.table, column=job.column)
        work = Work(self.task, job.seed, self.fabric, self.plan.network)
        session = replace(strategy, evaluator=lookup).session(self.space, work)
        assert isinstance(session, AskTellSession)
        return session

    def __call__(self, job: Search) -> dict[str, Any]:
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
        is_empty = not course
        if is_empty:
            course.append([*_spent(session), 0.0])
        return {"course": course, "spent": _spent(session)} | ({"found_nothing": True} if is_empty else {})


def _spent(session: AskTellSession) -> list[float]:
    return [getattr(session.spent, name) for name in AXES]


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
