"""Device, precision, threads: what has to be fixed for a result to be repeatable."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from ramify.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")


def make_fabric(device: str = "auto", precision: str = "32-true", threads: int | None = None) -> Fabric:
    """Return Lightning Fabric for one device, and make PyTorch deterministic.

    Args:
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, or `mps`.
        precision: One of `PRECISIONS`; the mixed ones compute in 16 bits and keep weights in 32.
        threads: Threads of the CPU operations; PyTorch's own choice when None.

    Raises:
        ConfigurationError: If the device or the precision is not to be had.
    """
    from lightning_fabric import Fabric

    if precision not in PRECISIONS:
        raise ConfigurationError(f"unknown precision {precision!r}; {nearest(precision, PRECISIONS)}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if kind not in available or (number and not number.isdecimal()):
        raise ConfigurationError(f"unknown device {device!r}; {nearest(kind, available)}")
    if int(number or 0) >= available[kind]:
        raise ConfigurationError(f"there is no device {device!r} here; this machine has {available}")
    if kind == "cpu" and precision == "16-mixed":
        raise ConfigurationError("precision '16-mixed' needs a GPU; on the CPU take 'bf16-mixed'")
    if threads is not None:
        if threads < 1:
            raise ConfigurationError(f"`threads` must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling every new tensor with NaN, which comes with it, costs 10 %.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return Fabric(accelerator=kind, devices=1 if kind == "cpu" else [int(number or 0)], precision=precision)  # type: ignore[arg-type]
