"""Compiles the kernels once for a machine, keeps them in the user's cache, and loads them.

`RAMIFY_KERNELS=off` switches them off; `RAMIFY_CACHE` is where they are kept (default: ~/.cache/ramify).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch

from ramify.errors import ConfigurationError, shown
from ramify.files import CACHE, expanded
from ramify.parallel import say

SWITCH = "RAMIFY_KERNELS"
"""The environment variable that switches the kernels off."""

_SECONDS = 120  # for the compiler, which takes one or two
_REALS = {torch.float32: ("float", 4), torch.float64: ("double", 8)}
# What PyTorch finds in the processor (ATEN_CPU_CAPABILITY masks it): (flags, bytes of the longest vectors).
_PROCESSORS = {
    "AVX512": (("-march=x86-64-v4", "-mprefer-vector-width=512"), 64),
    "AVX2": (("-march=x86-64-v3",), 32),
    "DEFAULT": ((), 16),
}
_FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-shared")


@dataclass(frozen=True)
class Kernels:
    """Whether this machine has kernels, and what they were made for.

    Args:
        reason: Why there are none, in a line; empty where there are.
        folder: Where the compiled ones are.
        processor: What they were compiled for, in PyTorch's words: `AVX512`, `AVX2` or `DEFAULT`.
    """

    reason: str
    folder: Path | None = None
    processor: str = ""

    def __bool__(self) -> bool:
        return not self.reason

    def library(self, dtype: torch.dtype, channels: int) -> ctypes.CDLL:
        """Return the compiled functions for maps of a type and a number of channels: vectors no longer than needed.

        Raises:
            ConfigurationError: If they are not compiled yet, and cannot be.
        """
        assert self.folder is not None
        size = _REALS[dtype][1]
        longest = _PROCESSORS[self.processor][1]
        fitting = [length for length in (16, 32) if channels * size <= length < longest]
        try:
            return _loaded(self.folder / f"{_REALS[dtype][0]}-{fitting[0] if fitting else longest}.so", self.processor)
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigurationError(
                f"kernels for {dtype} cannot be made ({_why(error)}); a run with --execution shared needs none"
            ) from None


def kernels() -> Kernels:
    """Return the kernels of this machine if they are built already, or can be; see `build`."""
    if (switch := os.environ.get(SWITCH, "")).lower() in ("off", "0", "false", "no"):
        return Kernels(f"{SWITCH}={switch}")
    return _found(os.environ.get("RAMIFY_CACHE", ""), torch.backends.cpu.get_cpu_capability())


def build() -> Kernels:
    """Compile the kernels for float32 if that was not done before, with a line of progress.

    Others are compiled when they are used first.

    Returns:
        The kernels, or why there are none.
    """
    found = kernels()
    if not found or all(path.exists() for path in _paths(found, torch.float32)):
        return found
    say(f"kernels are compiled for this processor ({found.processor}), once, into {found.folder}")
    try:
        for path in _paths(found, torch.float32):
            _loaded(path, found.processor)
    except (OSError, subprocess.SubprocessError) as error:
        return _failed(found, _why(error))
    return found


def _why(error: Exception) -> str:
    return " ".join(str(getattr(error, "stderr", "") or error).split())[:120]


_failures: dict[Kernels, Kernels] = {}


def _failed(found: Kernels, why: str) -> Kernels:
    return _failures.setdefault(found, Kernels(f"the compiler could not make them: {why}"))


def _found(cache: str, processor: str) -> Kernels:
    made = _described(cache, processor)
    return _failures.get(made, made)


@functools.cache
def _described(cache: str, processor: str) -> Kernels:
    if processor not in _PROCESSORS:
        return Kernels(f"they are not written for {shown(processor)}")
    if (compiler := _compiler()) is None:
        return Kernels("there is no GCC to compile them (install gcc, or set CC)")
    key = hashlib.sha256("\0".join((*_sources().values(), compiler, *_FLAGS, *_PROCESSORS[processor][0])).encode())
    root = expanded(cache or CACHE)
    return Kernels("", root / f"kernels-{processor.lower()}-{key.hexdigest()[:16]}", processor)


@functools.cache
def _sources() -> dict[str, str]:
    """Return the text of each file by its name."""
    folder = resources.files("ramify.kernels")
    return {name: (folder / name).read_text("utf-8") for name in ("separable.c", "depthwise.c", "maps.h")}


@functools.cache
def _compiler() -> str | None:
    """Return the path of a GCC: its OpenMP is the one that PyTorch brings, and two would fight for the processor."""
    for name in (os.environ.get("CC", ""), "gcc", "cc"):
        path = shutil.which(name) if name else None
        if path is None:
            continue
        try:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            continue
        if "Free Software Foundation" in said:
            return path
    return None


def _paths(found: Kernels, dtype: torch.dtype) -> list[Path]:
    assert found.folder is not None
    lengths = [length for length in (16, 32, 64) if length <= _PROCESSORS[found.processor][1]]
    return [found.folder / f"{_REALS[dtype][0]}-{length}.so" for length in lengths]


def _compile(path: Path, processor: str) -> None:
    """Compile one library; processes that do so at the same time do not see half a file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    real, _, length = path.stem.partition("-")
    compiler = _compiler()
    assert compiler is not None
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for name, text in _sources().items():
            Path(folder, name).write_text(text, "utf-8")
        made, sources = Path(folder, path.name), [str(each) for each in sorted(Path(folder).glob("*.c"))]
        words = [compiler, *_FLAGS, *_PROCESSORS[processor][0], f"-DREAL={real}", f"-DBYTES={length}"]
        subprocess.run(
            [*words, *sources, "-o", str(made), "-lm"], check=True, capture_output=True, text=True, timeout=_SECONDS
        )
        made.replace(path)


@functools.cache
def _loaded(path: Path, processor: str) -> ctypes.CDLL:
    if not path.exists():
        _compile(path, processor)
    return ctypes.CDLL(str(path))
