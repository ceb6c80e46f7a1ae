"""Building a table: training architectures of a space on one's own data, to be looked up from then on.

Architectures are trained in processes of their own. What is finished is kept, so a build can be
killed at any moment and continued by the same call. A value depends on the architecture, the seed and the settings
alone, not on when and where it was computed; only the measured seconds differ from build to build.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

import numpy as np
import torch

from ramify import __version__, reading
from ramify.architecture import Architecture
from ramify.benchmarks import ORDERS, Column, Table
from ramify.benchmarks.table import notation_of
from ramify.campaign import Campaign
from ramify.data import DataSpec, spec_of
from ramify.errors import ConfigurationError, RamifyError, RunError, TableError
from ramify.evaluators import TrainFromScratch
from ramify.run import RunFolder, make_fabric, planning, probing, say
from ramify.run.configuration import described, fields_of
from ramify.run.environment import check_precision
from ramify.run.opening import bound, data_settings, execution_of, free_places, task_settings
from ramify.run.origin import places_of, told_of
from ramify.run.provenance import now
from ramify.run.records import Row
from ramify.seeding import derive, rng, seeded
from ramify.spaces import Space
from ramify.tasks import Classification, Task
from ramify.training import Recipe, TrainingSession, Work, measure
from ramify.training.recipe import recipe_keywords

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class _Row(Row):
    """A row of the history: the values of an architecture, name of a column → one for every epoch, or its error."""

    architecture: str
    seed: int
    values: NotRequired[dict[str, list[float | None]]]
    error: NotRequired[str]


TABLE = "benchmark.table"
"""Name of the table inside the folder of its build."""

_MOST = 100_000
"""The largest space that is trained whole."""


@dataclass(frozen=True)
class _Plan:
    """What every process is told.

    Args:
        space: What the architectures are members of.
        data: What to train on; None where the task makes its own batches.
        task: What is learned.
        recipe: How.
        layout: Layout keywords of `build`.
        device: Where.
        precision: As `make_fabric` takes it.
        test: Whether the test split is measured at the end.
        threads: Of CPU operations.
        execution: How networks are executed.
    """

    space: Space
    data: DataSpec | None
    task: Task
    recipe: Recipe
    layout: Mapping[str, Any]
    device: str
    precision: str
    test: bool
    threads: int = 1
    execution: str = "shared"


def build_table(
    space: Space,
    data: str | Path | DataSpec | None = None,
    *,
    task: Task | None = None,
    out: str | Path,
    architectures: int | Sequence[str | Architecture] | str | Path | None = None,
    seeds: Sequence[int] = (0,),
    recipe: Recipe | None = None,
    network: Mapping[str, Any] | None = None,
    test: bool = False,
    seed: int = 0,
    processes: int | None = None,
    retry: bool = False,
    device: str = "cpu",
    precision: str = "32-true",
    execution: str | None = None,
    threads: int = 1,
    progress: bool = True,
) -> Table:
    """Train architectures of a space and return the table of their metrics after every epoch.

    They learn from `search_train` and are measured on `search_validation`, as `TrainFromScratch` does; its score for an
    architecture, a seed and a number of epochs is the table's accuracy. The table's file is `benchmark.table` in `out`.
    An architecture that cannot be trained is left out of the table, which says why. A script that calls this needs the
    usual `if __name__ == "__main__":`, because every process imports it.

    Args:
        space: Whose members to train.
        data: A name, a path, or a `DataSpec`; digits when None.
        task: What is learned; classification when None. The values of another task are scores.
        out: A folder. The same call continues the build that it holds.
        architectures: How many to draw, or which ones: architectures, notations, or a file with a notation in every
            line. None for all members.
        seeds: Every architecture is trained once with each.
        recipe: How they are trained; that of `TrainFromScratch`, 12 epochs, when None.
        network: Layout keywords of `build`, such as `channels`.
        test: Whether to measure the test split, too, after the last epoch; that is recorded in `reads.jsonl`.
        seed: Decides which architectures are drawn.
        processes: How many train at the same time; as many as the processors have room for when None. With 0 this
            process does it alone.
        retry: Whether to train those once more that failed before.
        device: `cpu`, `cuda`, …
        precision: `32-true`, `64-true`, `bf16-mixed` (`bf16` for short) or `16-mixed`.
        execution: How networks are executed (`ramify.execution`): `compiled`, `shared`, or `plain`, every candidate on
            its own. None: as the run in `out` is, or the fastest of this machine.
        threads: Threads of the CPU operations of each process; another number gives other bits.
        progress: Whether to show progress on standard error.

    Raises:
        RamifyError: If anything handed in cannot work; nothing has been trained or written then.
        Interrupted: After Ctrl-C; the architectures that are finished are kept.
    """
    task = task or Classification()
    spec = None if data is None and not task.needs_data else spec_of("digits" if data is None else data)
    recipe = recipe or TrainFromScratch().recipe()
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigurationError(f"`seeds` must be different numbers, at least one, got {list(seeds)}")
    campaign = Campaign("build", "architectures", _key, _Worker, processes, threads, progress)
    layout = {**recipe_keywords(space, recipe, task), **(network or {})}
    space.layout(layout)  # what cannot be is refused before data are loaded
    fabric = make_fabric(device, precision)
    learned = bound(task, spec, fabric, space)
    members, named = _members(space, architectures, seed)
    execution = execution_of(execution, out, learned, fabric, precision, progress)
    plan = _Plan(space, spec, task, recipe, layout, str(fabric.device), precision, test, threads, execution)
    trainer = _Trainer(plan, fabric, learned)
    trainer.session(members[0], 0).rehearse()
    planning.foresee(lambda seconds: _planned(trainer, members, seeds, campaign, out, seconds))
    config = {
        "space": described(space),
        "restriction": space.restriction or None,
        "architectures": named,
        "seeds": list(seeds),
        "recipe": fields_of(recipe),
        "task": task_settings(learned),
        "data": data_settings(spec),
        "network": described(dict(network or {})),
        "test": test,
        "seed": seed,
        "device": plan.device,
        "precision": check_precision(precision),
        "execution": execution,
        "threads": threads,
    }
    with RunFolder(out) as folder:
        folder.open(config, seed, free=free_places(folder, learned))
        _keep_to(folder, learned)
        if folder.finished:
            say(f"{folder.path} is finished: this is its table, nothing is done again", enabled=progress)
            return Table.open(folder.path / TABLE)
        names = {notation_of(space, arch): arch for arch in members}
        jobs = [(name, arch, s) for name, arch in names.items() for s in seeds]
        first = test and not folder.history(_Row)
        left = campaign.left(folder, jobs, _Row, again=lambda row: retry and "error" in row)
        if first:
            images = len(learned.split("test", "bench build"))
            folder.record_reads([{"split": "test", "purpose": "bench build", "images": images, "time": now()}])
        arguments = (plan, learned) if processes == 0 else (plan,)
        campaign.carry_out(folder, left, arguments, done=len(jobs) - len(left), show=_shown)
        table = _table(plan, list(names), list(seeds), folder.history(_Row), learned)
        table.save(folder.path / TABLE)
        failed = table.origin["failed"]
        folder.finish({"architectures": len(table), "failed": failed, "sha256": table.digest})
        for name, reason in failed.items():
            say(f"{name} is not in the table: {reason}", enabled=progress)
        return table


_LOOKED_AT = 3
"""Members whose training is measured for a plan."""


def _planned(
    trainer: _Trainer,
    members: Sequence[Architecture],
    seeds: Sequence[int],
    campaign: Campaign,
    out: str | Path,
    seconds: float,
) -> planning.Plan:
    """Return what a build will take, by some of its trainings."""
    jobs, workers = len(members) * len(seeds), min(campaign.workers, len(members) * len(seeds))
    some = members[:: -(-len(members) // _LOOKED_AT)]
    sessions = {name: lambda arch=arch: trainer.session(arch, 0) for name, arch in zip("abc", some, strict=False)}
    found = planning.measured("the table", sessions, None, trainer.fabric.device, seconds)
    with torch.no_grad():
        probe = probing.Probe(seconds, trainer.fabric.device)
        validation = trainer.task.split("search_validation")
        per_epoch, read = probing.measuring(probe, trainer.session(some[0], 0).trained, validation)
    epochs = trainer.plan.recipe.epochs
    each = found.seconds / len(some) + epochs * per_epoch
    images = round(jobs * (found.images / len(some) + epochs * read))
    part = probing.Stretch("build", jobs, jobs * each / workers, images)
    return replace(found, parts=(part,), processes=workers, disk=jobs * epochs * _VALUE_BYTES)


_VALUE_BYTES = 120
"""That the values of an epoch take in the history and in the table, about."""


def _keep_to(folder: RunFolder, task: Task) -> None:
    """Raise `RunError` if the folder was made with other data."""
    provenance = folder.provenance()
    if "data" not in provenance:
        provenance["data"] = told_of(task)
        if places := places_of(folder.config().get("data"), folder.path, None):
            provenance["data"]["places"] = places
        folder.write_json("provenance.json", provenance)
    if provenance["data"].get("fingerprint") != task.fingerprint:
        raise RunError(f"{folder.path} was made with other data than {task.title} holds now; choose another --out")


# Which architectures


def _members(
    space: Space, wanted: int | Sequence[str | Architecture] | str | Path | None, seed: int
) -> tuple[list[Architecture], int | list[str] | None]:
    """Return the architectures to train, all different, and how the configuration names them."""
    if wanted is None:
        return _all(space), None
    if isinstance(wanted, int):
        if not 1 <= wanted <= space.size:
            raise ConfigurationError(
                f"`architectures` must be 1 to {space.size:,}, the size of the space, got {wanted}"
            )
        return _drawn(space, wanted, seed), wanted
    if isinstance(wanted, str | Path):
        wanted = _lines(Path(wanted))
    members = [space.checked(item) if isinstance(item, Architecture) else space.parse(item) for item in wanted]
    members = list(dict.fromkeys(members))
    if not members:
        raise ConfigurationError("`architectures` names none")
    return members, [notation_of(space, arch) for arch in members]


def _all(space: Space) -> list[Architecture]:
    if space.size > _MOST:
        raise ConfigurationError(
            f"{space.name} has {space.size:,} members here, too many to train them all; say how many to draw with "
            "--architectures N, or restrict the space"
        )
    for order in ORDERS.values():
        if space.to_dict() == order.described:
            return [space.parse(notation) for notation in order.notations()]
    return [space.architecture(values) for values in product(*(decision.choices for decision in space.decisions))]


def _drawn(space: Space, count: int, seed: int) -> list[Architecture]:
    """Return `count` different members, each equally likely."""
    if 2 * count > space.size:
        return rng(seed, "bench build").sample(_all(space), count)
    members: dict[Architecture, None] = {}
    draw = 0
    while len(members) < count:
        members[space.sample(rng(seed, "bench build", draw))] = None
        draw += 1
    return list(members)


def _lines(path: Path) -> list[str]:
    text = reading.text_of(path, error=ConfigurationError)
    return [line.strip() for line in text.splitlines() if line.strip()]


# Training


class _Trainer:
    """Trains one architecture after the other, in whatever process."""

    def __init__(self, plan: _Plan, fabric: Fabric, task: Task) -> None:
        self.plan, self.fabric, self.task = plan, fabric, task

    def session(self, arch: Architecture, seed: int) -> TrainingSession:
        """Return the training of an architecture, as `TrainFromScratch` sets it up."""
        plan = self.plan
        work = Work(self.task, derive(seed, "evaluation"), self.fabric, plan.layout, execution=plan.execution)
        with seeded(seed, "network"):
            network = self.task.network(self.plan.space.build(arch, self.plan.layout, shape=work.shape))
        return TrainingSession(network, self.plan.recipe, work, split="search_train")

    def __call__(self, arch: Architecture, seed: int) -> dict[str, Any]:
        """Return what every epoch reached: name of a column → values."""
        session, validation = self.session(arch, seed), self.task.split("search_validation")
        curves: dict[str, list[float]] = {}
        trained, start = 0.0, time.perf_counter()
        for metrics in session.run():
            if not metrics.values:
                continue
            measured = time.perf_counter()
            trained += measured - start
            measurement = measure(session.trained, validation, device=self.fabric.device).checked(validation)
            start = time.perf_counter()
            row = metrics.values
            seconds = round(trained + start - measured, 6)
            epoch = {"train": row["accuracy"]} if "accuracy" in row else {}
            epoch |= {"train_loss": row["loss"], "valid": measurement.score, "valid_loss": measurement.loss}
            for name, value in {**epoch, "valid_seconds": seconds}.items():
                curves.setdefault(name, []).append(float(value))
        if self.plan.test:
            test = self.task.split("test", "bench build")
            measurement = measure(session.trained, test, device=self.fabric.device).checked(test)
            curves |= {"test": [measurement.score], "test_loss": [measurement.loss]}
        return curves


Job = tuple[str, Architecture, int]
"""Notation, architecture, seed."""


def _outcome(trainer: _Trainer, arch: Architecture, seed: int) -> dict[str, Any]:
    """Return the values of an architecture, or its error: the others are trained all the same."""
    try:
        return {"values": trainer(arch, seed)}
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        return {"error": message if isinstance(error, RamifyError) else f"{type(error).__name__}: {message}"}


class _Worker:
    """Trains one architecture after the other, in whatever process."""

    def __init__(self, plan: _Plan, task: Task | None = None) -> None:
        fabric = make_fabric(plan.device, plan.precision, plan.threads)
        self.trainer = _Trainer(plan, fabric, task or bound(plan.task, plan.data, fabric, plan.space, quiet=True))

    def __call__(self, job: Job) -> dict[str, Any]:
        return _outcome(self.trainer, *job[1:])


def _key(job: Job) -> dict[str, Any]:
    name, _, seed = job
    return {"architecture": name, "seed": seed}


def _shown(job: Job, outcome: Mapping[str, Any], done: int, total: int) -> tuple[dict[str, float], str]:
    name, _, seed = job
    values = {"score": outcome["values"]["valid"][-1]} if "values" in outcome else {}
    return values, f"{name:.120} seed {seed} {outcome.get('error', '')}".strip()


# The table


def _table(
    plan: _Plan, names: Sequence[str], seeds: Sequence[int], rows: Sequence[Mapping[str, Any]], task: Task
) -> Table:
    """Return the table of all rows, in whatever order they came."""
    by_job = {(row["architecture"], row["seed"]): row for row in rows}
    failed = {
        name: next(by_job[name, seed]["error"] for seed in seeds if "error" in by_job[name, seed])
        for name in names
        if any("error" in by_job[name, seed] for seed in seeds)
    }
    members = [name for name in names if name not in failed]
    if not members:
        name, reason = next(iter(failed.items()))
        raise TableError(f"none of {len(names)} architectures could be trained; the first, {name:.120}: {reason}")
    columns = list(_columns(plan, tuple(seeds), task))
    values = {
        column.name: np.array(
            [[_curve(by_job[name, seed], column) for name in members] for seed in seeds], dtype=float
        ).transpose(0, 2, 1)
        for column in columns
    }
    for array in values.values():
        array[np.isinf(array)] = np.nan  # no number that could be compared: it is missing
    own = plan.space.to_dict()
    description = {"space": own["space"], "arguments": own["arguments"]}
    order = next((n for n, o in ORDERS.items() if description == o.described and o.notations() == members), "")
    origin = {
        "source": "trained by Ramify",
        "recipe": fields_of(plan.recipe),
        "network": described(dict(plan.layout)),
        "data": told_of(task),
        "device": plan.device,
        "precision": plan.precision,
        "execution": plan.execution,
        "threads": plan.threads,
        "versions": {"ramify": __version__, "torch": str(torch.__version__)},
        "failed": failed,
    }
    return Table(description, order or members, columns, values, origin)


def _curve(row: Mapping[str, Any], column: Column) -> list[float | None]:
    """Return the values of a row in a column."""
    curve = row.get("values", {}).get(column.name, [])
    if len(curve) != len(column.epochs):
        raise RunError(
            f"history.jsonl: row {row['step']} has {len(curve)} values of {column.name} where there are "
            f"{len(column.epochs)} epochs; delete that row, and the same command trains its architecture again"
        )
    return curve


def _columns(plan: _Plan, seeds: tuple[int, ...], task: Task) -> Iterator[Column]:
    epochs = plan.recipe.epochs
    splits = {"train": "running mean while training", "valid": "search_validation"}
    splits |= {"test": "test"} if plan.test else {}
    is_share = "classes" in task.offers
    for split, images in splits.items():
        kinds = [("accuracy", "fraction", split) if is_share else ("score", "score", split)]
        kinds = [] if split == "train" and not is_share else kinds
        kinds += [("loss", "nats", f"{split}_loss")]
        kinds += [("seconds", "seconds", "valid_seconds")] if split == "valid" else []
        for metric, unit, name in kinds:
            yield Column(
                name=name,
                metric=metric,
                unit=unit,
                data=task.title,
                split=split,
                schedule=epochs,
                epochs=(epochs,) if split == "test" else tuple(range(1, epochs + 1)),
                seeds=seeds,
                per_seed=True,
                cost="valid_seconds" if name in ("valid", "valid_loss") else "",
                source=f"trained on search_train, measured on: {images}",
            )
