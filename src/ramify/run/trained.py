"""The trained network in a run folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from ramify import files, reading
from ramify.architecture import Architecture
from ramify.errors import RamifyError, RunError
from ramify.parallel import say
from ramify.run.folder import RunFolder
from ramify.run.origin import NetworkFile, network_shape, task_told
from ramify.run.sources import Result
from ramify.spaces import Space, space_of


class TrainedNetwork(Result):
    """A result with a trained network and the content of its `network.json`."""

    network: nn.Module
    shape: dict[str, Any]


def load_network(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained network of a run folder, in evaluation mode, and its `network.json`.

    Args:
        path: The run folder of a retraining, or of its search.

    Raises:
        RunError: If the folder holds no finished retraining or its weights do not fit.
    """
    folder = RunFolder(folder_of(Path(path)))
    shape = folder.read_json("network.json", NetworkFile)
    folder.check_imports()
    weights = folder.path / "model.safetensors"
    advice = "delete result.json beside it, and the same `ramify retrain` writes it anew"
    try:
        content = reading.bytes_of(weights, error=RunError)
        if files.digest(content) != shape["sha256"]:
            raise ValueError("its checksum is wrong")
        state = load(content)
    except Exception as error:  # whatever a damaged file makes of the reader
        raise RunError(f"{weights} is damaged ({str(error).strip().splitlines()[0]:.100}); {advice}") from None
    try:
        arch = Architecture.from_json(shape["architecture"])
        space = space_of(arch)
        with torch.device("meta"):  # nothing is allocated before the weights are known to have these sizes
            _check_shapes(_built(space, arch, shape), state)
    except RamifyError as error:
        raise RunError(f"{folder.path / 'network.json'} does not fit its weights ({error!s:.120}); {advice}") from None
    network = _built(space, arch, shape)
    network.load_state_dict(state)
    return network.eval(), dict(shape)


def _built(space: Space, arch: Architecture, shape: NetworkFile) -> nn.Module:
    return task_told(shape).network(space.build(arch, shape["layout"], shape=network_shape(shape)))


def _check_shapes(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise `RunError` unless a network has exactly the weights of `state`."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    if wrong := next((name for name in (*wanted, *shapes) if wanted.get(name) != shapes.get(name)), None):
        raise RunError(f"{wrong} is {shapes.get(wrong)} there and {wanted.get(wrong)} in the network")


def network_of(source: TrainedNetwork | Result | str | Path) -> tuple[nn.Module, dict[str, Any], Path | None]:
    """Return the trained network of a source, its `network.json`, and its run folder."""
    if isinstance(source, TrainedNetwork):
        out = source.out
        if out is not None and not out.is_dir():
            say(f"the run folder {out} is gone, so nothing is recorded in it")
            out = None
        return copy.deepcopy(source.network), source.shape, out
    path = source.out if isinstance(source, Result) else Path(source)
    if path is None:
        raise RunError("the search was made without a run folder; hand over what `retrain` returned")
    folder = folder_of(path)
    if folder != path:
        files.inner(path, folder.name)
    return *load_network(folder), folder


def folder_of(path: Path) -> Path:
    """Return the folder of the trained network: the run folder itself, or `retrain` in that of a search.

    Raises:
        RunError: If there is none.
    """
    for candidate in (path, path / "retrain"):
        if (candidate / "network.json").exists():
            return candidate
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}")
    if "recipe" in RunFolder(path).config():
        raise RunError(f"the retraining in {path} is not finished; the same `ramify retrain` continues it")
    if (path / "architecture.json").exists():
        raise RunError(f"{path} is of a search and holds no retrained network; run `ramify retrain {path}` first")
    raise RunError(f"{path} holds no retrained network, and no finished search that could be retrained")
