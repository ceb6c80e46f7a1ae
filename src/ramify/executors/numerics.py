"""What decides, beside the number of threads, which bits an operation of PyTorch gives in a process."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@dataclass(frozen=True)
class Numerics:
    """Settings of PyTorch in a process, for another one that has to give the same bits.

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
        """Make them the settings of this process."""
        if self.workspace is not None:
            os.environ[_WORKSPACE] = self.workspace
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = self.fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = self.benchmark
        torch.set_float32_matmul_precision(self.tf32)
        torch.set_default_dtype(self.dtype)
