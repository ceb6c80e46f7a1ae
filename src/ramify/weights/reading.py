"""Reading files of weights: safetensors, or what `torch.save` wrote of tensors and plain values.

Nothing in a file is executed: whatever `torch.load(weights_only=True)` does not read is refused. Programs keep their
state dict in a container, and its keys behind the prefix of a wrapper; both are taken off here.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ramify import files, reading
from ramify.errors import RamifyError, shown

MOST_BYTES = 8 * 2**30
"""Of a file of weights."""
MOST_TENSORS = 100_000
"""In a state dict."""
MOST_CHARACTERS = 1000
"""Of the name of a tensor."""

CONTAINERS = ("state_dict", "model_state_dict", "base-model", "net_state_dict", "model_main", "model", "network")
"""The keys under which programs keep the state dict, those that say most first."""
PREFIXES = ("module.", "_orig_mod.")
"""What wrappers put before every key: DataParallel, `torch.compile`."""


class WeightsError(RamifyError):
    """A file of weights that cannot be read, or that does not fit the network."""


@dataclass(frozen=True)
class Weights:
    """A state dict from somewhere.

    Args:
        state: Name → tensor, on the CPU.
        source: What messages call it.
        sha256: Of the file; empty where there is none.
    """

    state: Mapping[str, Tensor] = field(repr=False)
    source: str = "the state dict"
    sha256: str = ""


def read(path: str | Path) -> Weights:
    """Read the state dict in a file of safetensors or of `torch.save`, bare or in a container.

    Raises:
        WeightsError: If there is no such file, it is damaged or too large, or holds pickled objects or no weights.
    """
    path = files.expanded(path)
    if not files.is_file(path):
        raise WeightsError(f"there is no file of weights {shown(path)}")
    content = reading.bytes_of(path, error=WeightsError, limit=MOST_BYTES)
    try:
        held = _tensors(content) if content[8:9] == b"{" else _saved(content)
    except _PickledError as error:
        raise WeightsError(
            f"{shown(str(path))} holds a pickled {error}, and pickled objects are never read; where its program runs, "
            "write the weights alone: torch.save(network.state_dict(), 'weights.pt')"
        ) from None
    except Exception as error:  # whatever a damaged file makes of the readers
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{shown(path)} is damaged or no file of weights ({reason:.100})") from None
    source = shown(str(path))  # short, as much may be said of it
    return Weights(unwrapped(held, source), source, files.digest(content))


def unwrapped(held: Any, source: str = "the state dict") -> dict[str, Tensor]:
    """Return the state dict in what a file held, out of its container and without the prefix of a wrapper.

    Raises:
        WeightsError: If there is none in it, or more than one that may be meant, or it is too large.
    """
    state = _contained(held, source)
    if len(state) > MOST_TENSORS:
        raise WeightsError(f"{source} holds {len(state):,} tensors, and at most {MOST_TENSORS:,} are read")
    if long := next((name for name in state if len(name) > MOST_CHARACTERS), None):
        raise WeightsError(f"{source}: the name {shown(long)} is longer than {MOST_CHARACTERS:,} characters")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {name: value.detach() for name, value in state.items()}


class _PickledError(Exception):
    """What a file holds beside tensors and plain values."""


def _tensors(content: bytes) -> Any:
    return safetensors.torch.load(content)


def _saved(content: bytes) -> Any:
    """Return what `torch.save` wrote.

    Raises:
        _PickledError: Naming the first object that is not read.
    """
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise ValueError("it is a compressed archive, which torch.save never writes")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        named = re.search(r"Unsupported (?:global: GLOBAL|class) (\S+)", reason)
        if named is not None:
            raise _PickledError(named[1]) from None
        raise ValueError(reason or "it cannot be unpickled") from None


def _contained(held: Any, source: str) -> dict[str, Tensor]:
    if not isinstance(held, Mapping):
        raise WeightsError(f"{source} holds a {type(held).__name__}, where a state dict belongs: names with tensors")
    if is_state(held):
        return dict(held)
    inner = [name for name in CONTAINERS if is_state(held.get(name))]
    inner = inner or [name for name, value in held.items() if is_state(value)]
    if not inner:
        keys = ", ".join(map(str, list(held)[:8])) or "nothing"
        raise WeightsError(f"{source} holds no state dict; it has {keys:.100}, and weights are names with tensors")
    if len(inner) > 1 and inner[0] not in CONTAINERS:
        raise WeightsError(
            f"{source} holds {len(inner)} state dicts ({', '.join(map(str, inner)):.80}); write the one that is meant "
            "into a file of its own"
        )
    return dict(held[inner[0]])


def is_state(value: Any) -> bool:
    """Return whether a value is a state dict: names with tensors, at least one."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )
