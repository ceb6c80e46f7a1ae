"""Counter-based randomness: every draw has its own generator, seeded by a hash of its purpose.

A resumed run needs no stored generator state, ranks agree by construction, and the order in which
evaluations complete does not matter.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *key: str | int) -> int:
    """Return a 63-bit integer that is a function of the arguments alone."""
    text = "\x1f".join([f"{type(part).__name__}:{part}" for part in (seed, *key)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *key: str | int, device: str = "cpu") -> torch.Generator:
    """Return the `torch.Generator` of a key, for instance `stream(seed, "path", step)`."""
    import torch

    return torch.Generator(device=device).manual_seed(derive(seed, *key))


def rng(seed: int, *key: str | int) -> random.Random:
    """Return the `random.Random` of a key."""
    return random.Random(derive(seed, *key))


@contextmanager
def seeded(seed: int, *key: str | int) -> Iterator[None]:
    """Seed PyTorch's global generators within a block, for code that takes none, and restore them after it."""
    import torch

    value = derive(seed, *key)
    if not _accelerated():
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(value)
        try:
            yield
        finally:
            torch.default_generator.set_state(before)
        return
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    if devices and torch.distributed.is_available() and torch.distributed.is_initialized():
        devices = [torch.cuda.current_device()]  # the others belong to other processes
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(value)
        yield


@cache
def _accelerated() -> bool:
    """Return whether there is another device than the CPU. Asking for it at every step takes about a millisecond."""
    import torch

    return torch.accelerator.is_available()
