"""Device, precision, threads: what is fixed so that results are repeatable."""

from __future__ import annotations

import atexit
import logging
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch

from ramify import parallel
from ramify.errors import ConfigurationError, RunError, nearest
from ramify.executors.numerics import check_threads

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")


_SHORT = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed", "16": "16-mixed"}

NO_BF16 = "this processor has neither AMX nor AVX-512-BF16, so `bf16-mixed` is slower here than `32-true`"


def check_precision(name: str) -> str:
    """Return the full name of a precision: `bf16` is short for `bf16-mixed`, and so on.

    Raises:
        ConfigurationError: If there is none of this name; the message suggests the nearest one.
    """
    full = _SHORT.get(str(name), name)
    if full not in PRECISIONS:
        raise ConfigurationError(f"unknown precision {name!r:.60}; {nearest(str(name), PRECISIONS)}")
    return full


def computes_bf16() -> bool:
    """Return whether the processor multiplies 16-bit floats itself, by AMX, AVX-512-BF16 or Arm's instructions."""
    told = getattr(torch.cpu, "get_capabilities", None)  # not every version of PyTorch knows
    able = {"bf16": True} if told is None else told()
    return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def has_precision(kind: str, precision: str) -> bool:
    """Return whether this kind of device supports a precision."""
    return (kind, precision) != ("cpu", "16-mixed")


def make_fabric(device: str = "auto", precision: str = "32-true", threads: int | None = None) -> Fabric:
    """Return a Lightning Fabric for one device, with PyTorch set to be deterministic.

    In one of several processes that work together, the device is that of the process, and they are connected.

    Args:
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, or `mps`.
        precision: One of `PRECISIONS`, or its beginning, as `bf16`; the mixed ones compute in 16 bits and keep weights
            in 32. A line says where a processor has no instructions for them.
        threads: Threads of the CPU operations; PyTorch's own choice when None.

    Raises:
        ConfigurationError: If the device or the precision is not to be had.
    """
    precision = check_precision(precision)
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
    if not has_precision(kind, precision):
        raise ConfigurationError("precision '16-mixed' needs a GPU; on the CPU take 'bf16-mixed'")
    if (kind, precision) == ("cpu", "bf16-mixed") and not computes_bf16():
        parallel.say_once(NO_BF16)
    check_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    torch.backends.cudnn.benchmark = False
    torch.set_deterministic_debug_mode("warn")  # `use_deterministic_algorithms` would import the compiler
    # Filling every new tensor with NaN, which comes with it, costs 10 %.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if parallel.started() > 1:
        fabric = _connected(kind, number, precision, available[kind])
    elif kind == "cpu":
        fabric = cast("Fabric", _OnDemand(precision))
    else:
        fabric = _alone(kind, [int(number or 0)], precision)
    if threads is not None:
        torch.set_num_threads(threads)
    return fabric


class _OnDemand:
    """Fabric on the processor, made when more than its device is asked for: importing it takes as long as PyTorch."""

    device = torch.device("cpu")

    def __init__(self, precision: str) -> None:
        self._precision = precision

    @cached_property
    def _fabric(self) -> Fabric:
        return _alone("cpu", 1, self._precision)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._fabric, name)


def _alone(kind: str, devices: int | list[int], precision: str) -> Fabric:
    """Return the Fabric of a process that works alone."""
    return _fabric(precision, accelerator=kind, devices=devices)


def _fabric(precision: str, **options: Any) -> Fabric:
    """Return a Fabric that prints nothing of its own accord."""
    from lightning_fabric import Fabric

    from ramify.training.precision import precise

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    return Fabric(**options, **precise(precision))


def _connected(kind: str, number: str, precision: str, available: int) -> Fabric:
    """Return the Fabric of a process that was started together with others, connected with them."""
    from ramify.run.fabric_strategy import DataParallel

    here = int(os.environ.get("LOCAL_WORLD_SIZE", parallel.started()))
    if number or kind == "mps":
        named = f"{kind}:{number}" if number else kind
        raise ConfigurationError(f"device {named!r} is a single one; with several, take 'cuda' or 'cpu'")
    if kind == "cuda" and here > available:
        raise ConfigurationError(f"{here} devices are asked for, and this machine has {available}")
    fabric = _fabric(
        precision,
        accelerator=kind,
        devices=here,
        num_nodes=parallel.started() // here,
        # What lies on the host, as architecture parameters do, travels from there on GPUs too.
        strategy=DataParallel("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"),
    )
    try:
        fabric.launch()
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:160]
        raise RunError(f"the {parallel.started()} processes cannot be connected: {reason}") from None
    atexit.register(_disconnect)
    return fabric


def _disconnect() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
