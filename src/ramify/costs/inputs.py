"""What the networks of a search are for, as far as builders and costs need to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """What networks see, and what the task demands of them.

    Args:
        shape: What `Space.build` takes as `shape`: `num_classes` and `in_channels`, where images are classified.
        size: Of one input: (C, H, W) of an image.
    """

    shape: Mapping[str, int]
    size: tuple[int, ...]

    def example(self, *, device: str | torch.device = "meta", dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a batch of one, zeros (1, *size)."""
        return torch.zeros((1, *self.size), device=device, dtype=dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form, which compares as the inputs do."""
        return {"shape": dict(self.shape), "size": list(self.size)}
