"""Comparing strategies: many searches of a table, all with the same budget and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ramify.campaign import Campaign
from ramify.comparison.outcome import BASELINE, Statistics, as_text, outcome_of, write_outcome
from ramify.comparison.searches import Plan, Search, SearchRow, Worker
from ramify.data import DataSpec, spec_of
from ramify.errors import ConfigurationError, nearest
from ramify.imports import unknown
from ramify.run import RunFolder, say
from ramify.run.configuration import described
from ramify.run.opening import data_settings
from ramify.strategies import STRATEGIES, AskTell, RandomSearch
from ramify.strategies.budget import Budget


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Args:
        statistics: The content of `comparison.json`.
        out: The folder with it, the table in words, and the picture.
    """

    statistics: dict[str, Any]
    out: Path

    @property
    def text(self) -> str:
        """The table of results as text."""
        return as_text(self.statistics)


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
    per cent; with several objectives, by how much the normalized hypervolume of the front misses that of the whole
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
    campaign = Campaign("compare", "searches", _key, Worker, processes, progress=progress)
    if len(objectives) > 1 and reference is None:
        raise ConfigurationError("several objectives are compared by hypervolume, which needs a `reference`")
    budget = Budget(
        evaluations=200 if (evaluations, epochs, seconds) == (None,) * 3 else evaluations,
        epochs=epochs,
        seconds=seconds,
    )
    spec = None if data is None else spec_of(data)
    labeled = _labeled(strategies, len(objectives) > 1)
    shared = {name: getattr(budget, name) for name in ("evaluations", "epochs", "seconds", "wall_seconds")}
    shared |= {"objectives": tuple(objectives), "reference": None if reference is None else tuple(reference)}
    ready = {label: replace(strategy, **shared, evaluator=None) for label, strategy in labeled.items()}
    plan = Plan(str(Path(table).absolute()), ready, spec, dict(network or {}))
    worker = Worker(plan, quiet=False)
    for column in columns:
        for label in ready:
            worker.session(Search(label, column, 0))  # what cannot work ends here
    config = {
        "table": {"path": str(table), "sha256": worker.table.digest},
        "columns": list(columns),
        "strategies": {label: described(strategy) for label, strategy in ready.items()},
        "seeds": seeds,
        "data": None if spec is None else data_settings(spec),
        "network": described(dict(network or {})),
    }
    jobs = [Search(label, column, seed) for seed in range(seeds) for column in columns for label in ready]
    with RunFolder(out) as folder:
        folder.open(config, 0, free=lambda name: spec is None and name == "data")
        left = campaign.left(folder, jobs, SearchRow)
        campaign.carry_out(folder, left, (plan,), done=len(jobs) - len(left), show=_shown)
        if not folder.finished:
            write_outcome(folder, outcome_of(worker, budget, columns, folder.history(SearchRow)))
        else:
            say(f"{folder.path} is finished: this is its outcome, nothing is done again", enabled=progress)
        return Comparison(folder.read_json("comparison.json", Statistics), folder.path)


def _key(job: Search) -> dict[str, Any]:
    return {"strategy": job.strategy, "column": job.column, "seed": job.seed}


def _shown(job: Search, outcome: Mapping[str, Any], done: int, total: int) -> tuple[dict[str, float], str]:
    quiet = done % max(1, total // 50) and done < total
    return {}, "" if quiet else f"{job.strategy} on {job.column}"


def _labeled(strategies: Sequence[AskTell] | Mapping[str, AskTell] | None, several: bool) -> dict[str, AskTell]:
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
            names = ", ".join(name for name, kind in STRATEGIES.items() if issubclass(kind, AskTell))
            raise ConfigurationError(
                f"{type(strategy).__name__} evaluates no architectures one by one, so a table is of no use to it; "
                f"known: {names}"
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
    """Return the strategies that a list such as `RandomSearch,BOHB` names, with default settings.

    Raises:
        ConfigurationError: If there is none of that name among the multi-trial strategies.
    """
    names = [name for name, kind in STRATEGIES.items() if issubclass(kind, AskTell)]
    strategies = []
    for name in filter(None, map(str.strip, text.split(","))):
        entry = STRATEGIES.lookup(name)
        if entry is None:
            raise ConfigurationError(unknown("strategy", name, names))
        if not issubclass(entry.make, AskTell):
            raise ConfigurationError(f"{name!r} is no multi-trial strategy; {nearest(name, names)}")
        try:
            strategies.append(entry.make())
        except TypeError as error:  # of a user's, with a setting that has no default
            raise ConfigurationError(f"{name!r} cannot be compared with its defaults: {error}"[:290]) from None
    return strategies
