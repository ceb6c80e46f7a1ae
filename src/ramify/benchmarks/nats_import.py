"""Tables from the official NATS-Bench files (Dong et al., TPAMI 2021), which the package `nats_bench` reads.

Those files are pickles: reading one can run any program. So a file is read only when its checksum is the one that
the caller trusts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ramify import files
from ramify.benchmarks.columns import Column
from ramify.benchmarks.table import Table
from ramify.errors import MissingExtraError, TableError
from ramify.orders import ORDERS

SPACES = {"tss": "nasbench201", "sss": "nats-size"}
"""How the files' names call a space → the order of its members."""


@dataclass(frozen=True)
class _Source:
    """Where the values of our (data set, split) stand in the files."""

    data: str
    split: str
    training: str
    measured: str
    images: str


_SOURCES = (
    _Source("cifar10", "valid", "cifar10-valid", "x-valid", "25,000 training images, measured on the other 25,000"),
    _Source("cifar10", "test", "cifar10", "ori-test", "all 50,000 training images"),
    *(
        _Source(data, split, training, f"x-{split}", "the training set, measured on a half of the original test images")
        for data, training in (("cifar100", "cifar100"), ("imagenet16", "ImageNet16-120"))
        for split in ("valid", "test")
    ),
)


def checksum(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of the sorted lines `checksum  name` of a folder's files, as `sha256sum` writes.

    For a folder: `cd FOLDER && sha256sum * | sha256sum`.
    """
    path = Path(path)
    if path.is_file():
        return _file_checksum(path)
    if not path.is_dir():
        raise TableError(f"there is no file or folder {path}")
    lines = (f"{_file_checksum(item)}  {item.name}\n" for item in sorted(path.iterdir()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_checksum(path: Path) -> str:
    try:
        with files.opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from None


def import_nats(
    path: str | Path,
    *,
    sha256: str,
    every_epoch: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Table:
    """Read an official benchmark: a file `NATS-*.pickle.pbz2`, or the unpacked folder `NATS-*-simple`.

    The table has a column for each data set, split and schedule, named as `cifar10_valid@200`, with the accuracies
    of every seed, and beside it `cifar10_valid_loss@200` and, where times are known, `cifar10_valid_seconds@200`.

    Args:
        path: The file or folder; `tss` (topology) or `sss` (size) in its name says which space it is.
        sha256: What `checksum` must find.
        every_epoch: Whether to take over the values of every epoch that was measured, or those of the last alone.
        report: Called with the number of architectures read, and of all.

    Raises:
        TableError: If the checksum is another, or the file is no such benchmark.
        MissingExtraError: If the package is not installed.
    """
    path = Path(path)
    kind = next((kind for kind in SPACES if f"-{kind}-" in path.name), None)
    if kind is None:
        raise TableError(f"{path.name!r} does not name its space; official names begin with NATS-tss- or NATS-sss-")
    digest = checksum(path)
    if digest != sha256.lower():
        other = ", and has another checksum than was given" if sha256 else ""
        danger = f"{path} holds pickles, which can run any program when they are read{other}"
        raise TableError(f"{danger}; if this is what you trust: --sha256 {digest}")
    try:
        from nats_bench import create
    except ImportError:
        raise MissingExtraError("nats_bench", "nats", "reading official NATS-Bench files") from None
    try:
        api = create(str(path), kind, fast_mode=path.is_dir(), verbose=False)
        held = _indices(api, path)
        collected = _Collected(every_epoch)
        for place, index in enumerate(held):
            collected.add(place, api, index)
            api.arch2infos_dict.pop(index)  # or the folder's contents pile up in memory
            report(place + 1, len(held))
    except TableError:
        raise
    except (ValueError, KeyError, AttributeError, EOFError, OSError) as error:
        raise TableError(f"{path} is no NATS-Bench file as `nats_bench` knows them ({error})") from None
    order = ORDERS[SPACES[kind]]
    notations = [str(api.meta_archs[index]) for index in held]
    columns, values = collected.columns(len(held))
    members = SPACES[kind] if notations == order.notations() else notations
    return Table(order.described, members, columns, values, {"source": path.name, "sha256": digest})


def _indices(api: Any, path: Path) -> list[int]:
    """Return the indices of the architectures that the file or folder holds."""
    if path.is_dir():
        indices = sorted(int(item.name.split(".")[0]) for item in path.iterdir() if item.name[0].isdigit())
    else:
        indices = sorted(api.evaluated_indexes)
    if not indices:
        raise TableError(f"{path} holds no architecture")
    return indices


class _Collected:
    """What was read so far: (source, schedule) → kind of value → seed → [(place, values of the epochs)]."""

    def __init__(self, every_epoch: bool) -> None:
        self.every_epoch = every_epoch
        self.epochs: dict[tuple[_Source, int], list[int]] = {}
        self.collected: dict[tuple[_Source, int], dict[int, list[tuple[int, np.ndarray]]]] = {}

    def add(self, place: int, api: Any, index: int) -> None:
        """Read one architecture."""
        schedules = list(api.arch2infos_dict[index]) if index in api.arch2infos_dict else []
        if not schedules:
            api.get_cost_info(index, "cifar10")  # a folder's architecture is loaded by the first question about it
            schedules = list(api.arch2infos_dict[index])
        for name in schedules:
            results = api.query_meta_info_by_index(index, name)
            for source in _SOURCES:
                if source.training in results.get_dataset_names():
                    self._add(place, source, int(name), results)

    def _add(self, place: int, source: _Source, schedule: int, results: Any) -> None:
        for seed in results.get_dataset_seeds(source.training):
            trial = results.query(source.training, seed)
            key = source, schedule
            if key not in self.epochs:
                epochs = range(1, schedule + 1) if self.every_epoch else [schedule]
                self.epochs[key] = [epoch for epoch in epochs if _read(trial, source.measured, epoch)]
            rows = [_read(trial, source.measured, epoch) or (np.nan,) * 3 for epoch in self.epochs[key]]
            self.collected.setdefault(key, {}).setdefault(int(seed), []).append((place, np.array(rows)))

    def columns(self, count: int) -> tuple[list[Column], dict[str, np.ndarray]]:
        """Return the columns and their values for `count` architectures."""
        columns: list[Column] = []
        values: dict[str, np.ndarray] = {}
        for (source, schedule), by_seed in sorted(
            self.collected.items(), key=lambda item: (item[0][1], str(item[0][0]))
        ):
            epochs, seeds = self.epochs[source, schedule], sorted(by_seed)
            if not epochs:
                continue
            read = np.full((3, len(seeds), len(epochs), count), np.nan)
            for number, seed in enumerate(seeds):
                for place, rows in by_seed[seed]:
                    read[:, number, :, place] = rows.T
            read[np.isinf(read)] = np.nan  # a loss of a training that diverged
            for column, array in _described(source, schedule, tuple(epochs), tuple(seeds), read):
                columns.append(column)
                values[column.name] = array
        return columns, values


def _read(trial: Any, measured: str, epoch: int) -> tuple[float, float, float] | None:
    """Return accuracy, loss and seconds after an epoch; None where it was not measured."""
    try:
        evaluation, training = trial.get_eval(measured, epoch - 1), trial.get_train(epoch - 1)
    except (KeyError, ValueError):
        return None
    times = training["all_time"], evaluation["all_time"]
    # A query trains and then measures once; the package keeps the time of a pass after every epoch.
    seconds = np.nan if None in times else times[0] + times[1] / epoch
    return float(evaluation["accuracy"]), float(evaluation["loss"]), float(seconds)


def _described(
    source: _Source, schedule: int, epochs: tuple[int, ...], seeds: tuple[int, ...], read: np.ndarray
) -> Iterator[tuple[Column, np.ndarray]]:
    def column(metric: str, **further: Any) -> Column:
        middle = "" if metric == "accuracy" else f"_{metric}"
        return Column(
            name=f"{source.data}_{source.split}{middle}@{schedule}",
            metric=metric,
            data=source.data,
            split=source.split,
            schedule=schedule,
            epochs=epochs,
            seeds=seeds,
            source=f"NATS-Bench; trained on {source.images}",
            **further,
        )

    accuracy, loss, seconds = read
    timed = not np.isnan(seconds).all()
    cost = column("seconds") if timed else None
    further = {"per_seed": True, "cost": cost.name if cost else ""}
    yield column("accuracy", **further), accuracy
    yield column("loss", **further), loss
    if cost is not None:
        yield cost, _mean_over_seeds(seconds)[None]


def _mean_over_seeds(values: np.ndarray) -> np.ndarray:
    """Return the mean (T, N) of values (S, T, N) over the seeds that an architecture was trained with."""
    there = ~np.isnan(values)
    counts = there.sum(axis=0)
    return np.where(counts, np.where(there, values, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)
