"""Run folders of the verbs: what all of their configurations say, and how a folder is opened for one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ramify import parallel
from ramify.benchmarks import Table
from ramify.data import Data, DataSpec, spec_of
from ramify.data import load as load_data
from ramify.errors import RunError
from ramify.parallel import say
from ramify.run.configuration import described, fields_of
from ramify.run.folder import RunFolder
from ramify.run.origin import images_of
from ramify.run.processes import scratch
from ramify.training.session import DIVERGED

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.utils.data import Dataset

    AnyData = str | Path | DataSpec | Data | Dataset[Any] | Sequence[Any] | Mapping[str, Any]


def common_settings(
    data: Mapping[str, Any] | None,
    network: Mapping[str, Any] | None,
    seed: int,
    fabric: Fabric,
    precision: str,
    threads: int | None,
    devices: int,
) -> dict[str, Any]:
    """Return what the configurations of all verbs that work on data have in common."""
    return {
        "data": data,
        "network": described(dict(network or {})),
        "seed": seed,
        "device": str(fabric.device),
        "devices": devices,  # another number gives other bits
        "precision": precision,
        "threads": torch.get_num_threads() if threads is None else threads,  # so does another number of these
    }


def data_settings(data: Any) -> dict[str, Any]:
    """Return how a configuration names this data."""
    if isinstance(data, str | Path | DataSpec):
        settings = fields_of(spec_of(data))
        if settings["targets"] == "classes":  # as in folders of runs that knew nothing else, and are taken up
            del settings["targets"]
        return settings
    name = data.name if isinstance(data, Data) else type(data).__name__
    return {"source": f"python:{name}"}


def loaded(data: AnyData, fabric: Fabric) -> Data:
    """Return data, read by one process before the others."""
    with parallel.first_before_others():  # there may be something to download
        return load_data(data, device=fabric.device)


@contextmanager
def place_of(out: str | Path | None) -> Iterator[Path]:
    """Give the path of a run folder, which is one for the moment where nothing is to be kept."""
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
    data: Data | None,
    progress: bool,
    table: Table | None = None,
    lookup: Mapping[str, Any] | None = None,
    directory: str | None = None,
) -> bool:
    """Open a run folder for this configuration, these very images and this very table; return whether work is left."""
    folder.open(config, seed, free=lambda name: _may_change(name) or (data is None and name == "data"))
    found: dict[str, Any] = {**folder.provenance()}
    if config.get("executor") is not None and found.get("executors", [])[-1:] != [config["executor"]]:
        found["executors"] = [*found.get("executors", ()), config["executor"]]
        folder.write_json("provenance.json", found)
    if lookup is not None:
        if "lookup" not in found:
            found["lookup"] = dict(lookup)
            folder.write_json("provenance.json", found)
        if found["lookup"].get("sha256") != lookup["sha256"]:
            raise RunError(f"{folder.path} was made with another table than is there now; choose another --out")
    if data is None:
        about = {"name": lookup["data"], "of": "the table"} if lookup else {"name": None}
        if found.get("data") != about:  # before, digits were recorded that played no part
            folder.write_json("provenance.json", {**found, "data": about})
    elif "data" not in found:
        found["data"] = images_of(data) | ({} if directory is None else {"directory": directory})
        folder.write_json("provenance.json", found)
    if data is not None and found["data"].get("fingerprint") != data.fingerprint:
        raise RunError(f"{folder.path} was made with other images than {data.name} holds now; choose another --out")
    if table is not None:
        if "table" not in found:
            found["table"] = table.digest
            folder.write_json("provenance.json", found)
        if found["table"] != table.digest:
            raise RunError(f"{folder.path} was made with another table than is there now; choose another --out")
    if folder.finished:
        say(f"{folder.path} is finished: this is its result, nothing is done again", enabled=progress)
    return not folder.finished


def _may_change(name: str) -> bool:
    """Return whether a value of the configuration may differ where a run is continued: how its jobs are done."""
    return name.startswith("executor.") and not name.endswith(".threads_per_evaluation")


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise `RunError` if the last steps of a training have left something that is not finite, which no loss shows."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise RunError(f"{what} ends with weights that are not finite ({name}): {DIVERGED}")
