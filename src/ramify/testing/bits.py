"""Bit for bit: states as checkpoints hold them, where two of them differ, and draws from global generators."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def packed(state: Any) -> bytes:
    """Return a state as a checkpoint holds it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def saved(session: Any) -> bytes:
    """Return the state of a session as a checkpoint holds it."""
    return packed(session.state_dict())


def restored(content: bytes) -> Any:
    """Return a state from `packed` or `saved`, which is read as a checkpoint is: tensors and plain values alone."""
    return torch.load(io.BytesIO(content), weights_only=True)


def finish(session: Any) -> list[dict[str, Any]]:
    """Run a session to its end; return the rows of its history."""
    return [dict(metrics.values) for metrics in session.run() if metrics.values]


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Return where two nested states differ; tensors count as equal only bit by bit.

    Example:
        >>> differences({"loss": 0.5, "rows": [1, 2]}, {"loss": 0.25, "rows": [1, 2]})
        ['.loss: 0.5 and 0.25']
    """
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        same = isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        return [] if same else [path]
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            return [f"{path}: {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [place for name in a for place in differences(a[name], b[name], f"{path}.{name}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return [f"{path}: {len(a)} and {len(b)} items"]
        return [place for n, (x, y) in enumerate(zip(a, b, strict=True)) for place in differences(x, y, f"{path}[{n}]")]
    return [] if type(a) is type(b) and a == b else [f"{path}: {a!r} and {b!r}"]


# Global generators


def seed_globally(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)


def _drawn() -> dict[str, Any]:
    """Return the states of the global generators, by name."""
    name, keys, *rest = np.random.get_state()
    numpy_state = [name, np.asarray(keys).tolist(), *rest]
    return {"random": random.getstate(), "numpy.random": numpy_state, "torch": torch.random.get_rng_state()}


def drawn_from(before: Mapping[str, Any]) -> list[str]:
    """Return the global generators whose states are no more what `watched` yielded."""
    return [name for name, state in _drawn().items() if differences(before[name], state)]


@contextmanager
def watched(seed: int = 0) -> Iterator[Mapping[str, Any]]:
    """Seed the global generators in the block, yield their states for `drawn_from`, and bring back the old ones."""
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        seed_globally(seed)
        yield _drawn()
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.random.set_rng_state(torch_state)
