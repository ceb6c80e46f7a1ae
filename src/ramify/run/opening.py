"""Opening a run folder for a verb, and the settings that all configurations have in common."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ramify import parallel
from ramify.benchmarks import Table
from ramify.data import Data, DataSpec, spec_of
from ramify.data import load as load_data
from ramify.errors import ConfigurationError, RunError
from ramify.execution import DEFAULT, check_execution, fastest
from ramify.parallel import say
from ramify.run.configuration import described, fields_of
from ramify.run.environment import check_precision
from ramify.run.folder import More, RunFolder
from ramify.run.origin import PLACES, places_of, told_of
from ramify.run.processes import scratch
from ramify.spaces import AnyNetwork, Space
from ramify.tasks import Classification, Regression, Task
from ramify.training.session import DIVERGED

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.utils.data import Dataset

    from ramify.run.initial import Initial
    from ramify.run.teacher import Teacher

    AnyData = str | Path | DataSpec | Data | Dataset[Any] | Sequence[Any] | Mapping[str, Any]


def common_settings(
    data: Mapping[str, Any] | None,
    network: Mapping[str, Any] | None,
    seed: int,
    fabric: Fabric,
    precision: str,
    execution: str,
    threads: int | None,
    devices: int,
) -> dict[str, Any]:
    """Return the settings that the configurations of all verbs that work on data have in common."""
    return {
        "data": data,
        "network": described(dict(network or {})),
        "seed": seed,
        "device": str(fabric.device),
        "devices": devices,  # another number gives other bits
        "precision": check_precision(precision),
        "execution": check_execution(execution),
        "threads": torch.get_num_threads() if threads is None else threads,  # so does another number of these
    }


def execution_of(
    given: str | None, out: str | Path | None, task: Task | None, fabric: Fabric, precision: str, progress: bool
) -> str:
    """Return the execution of a run: the given one, that of the run in `out`, or the fastest of this machine.

    It is fixed before the first step; for the fastest one kernels may have to be built.

    Args:
        given: Its name; None where none was asked for.
        out: The run folder.
        task: What is learned; without one no network runs.
        fabric: Says on which device.
        precision: As `make_fabric` takes it.
        progress: Whether a line says why there are no kernels.

    Raises:
        ConfigurationError: If there is no such execution.
        RunError: If the folder's configuration is damaged.
    """
    if given is not None:
        return check_execution(given)
    if out is not None and (Path(out) / "config.yaml").exists():
        return check_execution(RunFolder(out).execution())
    if task is None:
        return DEFAULT
    return parallel.text_of_first(fastest(fabric.device.type, check_precision(precision), enabled=progress))


def _says_values(data: Any) -> bool:
    """Return whether the targets of data are said to be values."""
    return getattr(data, "targets", "classes") == "values"


def task_settings(task: Task | None) -> Any:
    """Return a task as a configuration records it; None for none, and for classification with its defaults."""
    return None if task is None or task == Classification() else described(task)


def data_settings(data: Any) -> dict[str, Any] | None:
    """Return the data as a configuration records it; None for a task that makes its own."""
    if isinstance(data, Task):
        return data_settings(data.data) if data.needs_data else None
    if data is None:
        return None
    if isinstance(data, str | Path | DataSpec):
        settings = fields_of(spec_of(data))
        if settings["targets"] == "classes":  # as in folders of runs that knew nothing else, and are taken up
            del settings["targets"]
        if settings["ignore_label"] == DataSpec().ignore_label:
            del settings["ignore_label"]
        return settings
    name = data.name if isinstance(data, Data) else type(data).__name__
    return {"source": f"python:{name}"}


def loaded(data: AnyData, fabric: Fabric, **options: Any) -> Data:
    """Load data in one process before the others; the options are those of `ramify.data.load`."""
    with parallel.first_before_others():  # there may be something to download
        return load_data(data, device=fabric.device, **options)


def bound(
    task: Task | None, data: AnyData | Task | None, fabric: Fabric, space: Space | None, *, quiet: bool = False
) -> Task:
    """Return the task bound to its data, for networks of a space, on the device.

    Args:
        task: The task; when None classification, or regression of data that says that it has values.
        data: What it learns from, or a task that is bound already; None for one that makes its own batches.
        fabric: Says where the data are kept.
        space: Has to offer what the task needs; None where no network of a space is meant.
        quiet: Whether nothing is said of what is not used.

    Raises:
        ConfigurationError: If task and data do not belong together.
    """
    if isinstance(data, Task):
        if task is not None:
            raise ConfigurationError(
                f"two tasks were handed over, {data.name} as `data` and {task.name}; leave out one"
            )
        task, data = data, None
    task = task or (Regression() if _says_values(data) else Classification())
    if _says_values(data) and task.targets != "values":
        raise ConfigurationError(f"{task.name} learns classes, and the targets of the data are said to be values")
    if space is not None and (lacking := space.lacks(task.needs)):
        raise ConfigurationError(f"{task.name} cannot be learned here: {lacking}")
    if data is not None and not task.needs_data:
        raise ConfigurationError(f"{task.name} makes its own batches, so it takes no data; leave them out")
    if data is None and not task.bound:
        raise ConfigurationError(f"{task.name} needs data, and none were named; name them with --data or `data=`")
    if data is not None:
        task = task.on(loaded(data, fabric, targets=task.targets, quiet=quiet))
    if isinstance(space, AnyNetwork):
        space.fits(task.shape, task.title)
    return task.to(fabric.device) if data is None else task


@contextmanager
def place_of(out: str | Path | None) -> Iterator[Path]:
    """Yield the path of a run folder, a temporary one if none is to be kept."""
    if out is not None:
        yield Path(out)
        return
    if scratch() is not None:
        yield cast(Path, scratch())
        return
    with tempfile.TemporaryDirectory(prefix="ramify-") as path:
        yield Path(parallel.text_of_first(path))


def opened(
    folder: RunFolder,
    config: Mapping[str, Any],
    seed: int,
    task: Task | None,
    progress: bool,
    table: Table | None = None,
    lookup: Mapping[str, Any] | None = None,
    directory: str | None = None,
    more: More | None = None,
    origins: Sequence[Initial | Teacher | None] = (),
) -> bool:
    """Open a run folder for this configuration, data and table; return whether work is left.

    Args:
        folder: Not open yet.
        config: Plain values.
        seed: Of the run.
        task: What is learned.
        progress: Whether a line says that nothing is left.
        table: Whose values go into the history.
        lookup: The table in which scores are looked up, as the provenance records it.
        directory: Where relative paths begin, if not here.
        more: What may have grown since the folder's run ended; then it goes on, if all else is as it was.
        origins: Weights that are recorded with it; a run that was begun with other ones is refused.

    Raises:
        RunError: If the folder is of another run.
    """
    idle = {
        name for name, plays_no_part in (("data", task is None), (_HESSIAN, _is_first_order(config))) if plays_no_part
    }
    moved, free = free_places(folder, task), idle | _named_again(folder, config)
    folder.open(config, seed, free=lambda name: _may_change(name) or name in free or moved(name), more=more)
    known = folder.provenance()
    provenance: dict[str, Any] = {**known}
    if config.get("executor") is not None and provenance.get("executors", [])[-1:] != [config["executor"]]:
        provenance["executors"] = [*provenance.get("executors", ()), config["executor"]]
    if lookup is not None and provenance.setdefault("lookup", dict(lookup)).get("sha256") != lookup["sha256"]:
        raise RunError(f"{folder.path} was made with another table than is there now; choose another --out")
    if task is None:  # before, digits were recorded that played no part
        provenance["data"] = {"name": lookup["data"], "of": "the table"} if lookup else {"name": None}
    elif "data" not in provenance:
        provenance["data"] = told_of(task) | ({} if directory is None else {"directory": directory})
    if task is not None and provenance["data"].get("fingerprint") != task.fingerprint:
        raise RunError(f"{folder.path} was made with other data than {task.title} holds now; choose another --out")
    if task is not None and (places := places_of(config.get("data"), folder.path, directory)):
        provenance["data"] = {**provenance["data"], "places": places}
    if table is not None and provenance.setdefault("table", table.digest) != table.digest:
        raise RunError(f"{folder.path} was made with another table than is there now; choose another --out")
    if provenance != known:
        folder.write_json("provenance.json", provenance)
    for origin in origins:
        if origin is not None:
            origin.record(folder)
    grown = more is not None and bool(more.values)
    if folder.finished and not grown:
        say(f"{folder.path} is finished: this is its result, nothing is done again", enabled=progress)
        return False
    if more is not None and grown:
        folder.extend(more)
    return True


def free_places(folder: RunFolder, task: Task | None) -> Callable[[str], bool]:
    """Return which options of data may differ from those of a run that is continued: where the same data lie.

    The fingerprint says whether they are the same.
    """
    if task is None or not (folder.path / "provenance.json").exists():
        return lambda name: False
    known: Mapping[str, Any] = folder.provenance().get("data") or {}
    same = known.get("fingerprint") == task.fingerprint
    return lambda name: same and is_place(name)


_HELD = {
    "table": "table",
    "strategy.init_args.evaluator.init_args.table": "lookup",
    "init": "init",
    "recipe.distillation.teacher": "teacher",
}
"""Value of a configuration that names a file → where the provenance holds the sum of what is in it."""


def _named_again(folder: RunFolder, config: Mapping[str, Any]) -> set[str]:
    """Return which files may have other names than a run that is continued knows: of those, sums are compared."""
    if not (folder.path / "provenance.json").exists():
        return set()
    known = folder.provenance()
    return {name for name, sum_in in _HELD.items() if sum_in in known and isinstance(_at(config, name), str)}


def _at(config: Any, name: str) -> Any:
    """Return the value of a configuration by its dotted name; None where there is none."""
    for part in name.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def is_place(name: str) -> bool:
    """Return whether a value of a configuration says where data lie."""
    return name in {f"data.{place}" for place in PLACES}


_HESSIAN = "strategy.init_args.hessian"


def _is_first_order(config: Mapping[str, Any]) -> bool:
    """Return whether a search has no Hessian product; folders from when `exact` was the default say that it is so."""
    strategy = config.get("strategy")
    return isinstance(strategy, Mapping) and strategy.get("init_args", {}).get("order") == 1


def _may_change(name: str) -> bool:
    """Return whether a value of the configuration may differ where a run is continued: how its jobs are done."""
    return name.startswith("executor.") and not name.endswith(".threads_per_evaluation")


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise `RunError` if the trained weights are not all finite, which no recorded loss may show."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise RunError(f"{what} ends with weights that are not finite ({name}): {DIVERGED}")
