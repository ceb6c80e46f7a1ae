"""The inputs and the task of the networks of a search, as far as builders and costs need to know them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """The size of the inputs of networks, and the shape that the task asks for.

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
        """Return the plain form, which is equal for equal inputs."""
        return {"shape": dict(self.shape), "size": list(self.size)}
