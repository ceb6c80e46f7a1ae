"""The trained network in a run folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load
from torch import Tensor, nn

from ramify import files, reading
from ramify.architecture import Architecture
from ramify.errors import ConfigurationError, RamifyError, RunError, nearest
from ramify.parallel import say
from ramify.run.folder import RunFolder
from ramify.run.origin import NetworkFile, network_shape, task_told
from ramify.run.sources import Result
from ramify.spaces import Space, space_of

LAST, BEST = "model.safetensors", "best.safetensors"
WEIGHTS = {"last": (LAST, "sha256"), "best": (BEST, "best_sha256")}
"""Which weights there are: their file, and what `network.json` calls its checksum."""


class TrainedNetwork(Result):
    """A result with a trained network and the content of its `network.json`."""

    network: nn.Module
    shape: dict[str, Any]


def load_network(path: str | Path, checkpoint: str = "last") -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained network of a run folder, in evaluation mode, and its `network.json`.

    Args:
        path: The run folder of a retraining, or of its search.
        checkpoint: Its `last` weights, or the `best` by the validation of its recipe.

    Raises:
        RunError: If the folder holds no finished retraining or its weights do not fit.
    """
    if checkpoint not in WEIGHTS:
        raise ConfigurationError(f"unknown checkpoint {checkpoint!r}; {nearest(checkpoint, WEIGHTS)}")
    folder = RunFolder(folder_of(Path(path)))
    shape = folder.read_json("network.json", NetworkFile)
    folder.check_imports()
    name, key = WEIGHTS[checkpoint]
    if key not in shape:
        raise RunError(f"{folder.path} has no best weights: its recipe had no `validation`; take the last")
    weights = folder.path / name
    advice = "delete result.json beside it, and the same `ramify retrain` writes it anew"
    try:
        content = reading.bytes_of(weights, error=RunError)
        if files.digest(content) != cast(Any, shape)[key]:
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


def network_of(
    source: TrainedNetwork | Result | str | Path, checkpoint: str = "last"
) -> tuple[nn.Module, dict[str, Any], Path | None]:
    """Return the trained network of a source, its `network.json`, and its run folder.

    Args:
        source: What a verb returned, or a run folder.
        checkpoint: As `load_network` takes it; of others than the last, the run folder is needed.
    """
    if isinstance(source, TrainedNetwork) and checkpoint == "last":
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
    return *load_network(folder, checkpoint), folder


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
    config = RunFolder(path).config()
    if "recipe" in config:
        verb, what = ("adapt", "adaptation") if "limits" in config else ("retrain", "retraining")
        raise RunError(f"the {what} in {path} is not finished; the same `ramify {verb}` continues it")
    if (path / "architecture.json").exists():
        raise RunError(f"{path} is of a search and holds no retrained network; run `ramify retrain {path}` first")
    raise RunError(f"{path} holds no retrained network, and no finished search that could be retrained")
