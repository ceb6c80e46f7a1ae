"""The settings of PyTorch that affect the bits of results, and the number of threads."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from ramify.errors import ConfigurationError

MOST_THREADS = 1024
"""Of a process. Systems refuse some thousands, and libraries crash then."""

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def check_threads(count: int | None, name: str = "threads") -> None:
    """Refuse an impossible number of threads; None leaves it to PyTorch.

    Raises:
        ConfigurationError: Naming the setting.
    """
    if count is not None and count < 1:
        raise ConfigurationError(f"`{name}` must be at least 1, got {count}")
    if count is not None and count > MOST_THREADS:
        raise ConfigurationError(f"`{name}` must be at most {MOST_THREADS:,}, got {count}")


@dataclass(frozen=True)
class Numerics:
    """The numerical settings of a process, for another one that has to give the same bits.

    Args:
        deterministic: Whether operations must be deterministic.
        warn_only: Whether those that cannot only warn.
        fill: Whether new tensors are filled.
        benchmark: Whether cuDNN tries several algorithms.
        tf32: Precision of float32 products.
        dtype: Of new floating tensors.
        workspace: Of cuBLAS, from the environment.
    """

    deterministic: bool
    warn_only: bool
    fill: bool
    benchmark: bool
    tf32: str
    dtype: torch.dtype
    workspace: str | None

    @classmethod
    def here(cls) -> Numerics:
        """Return the settings of this process."""
        return cls(
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
            torch.get_default_dtype(),
            os.environ.get(_WORKSPACE),
        )

    def apply(self) -> None:
        """Apply the settings to this process."""
        if self.workspace is not None:
            os.environ[_WORKSPACE] = self.workspace
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = self.fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = self.benchmark
        torch.set_float32_matmul_precision(self.tf32)
        torch.set_default_dtype(self.dtype)
