"""Fabric's strategy for several processes, without a wrapper around networks."""

from __future__ import annotations

from datetime import timedelta

from lightning_fabric.strategies import DDPStrategy
from torch import nn

from ramify.ops import synchronize

PATIENCE = timedelta(hours=1)
"""How long a process waits for the others before it gives up."""


class DataParallel(DDPStrategy):
    """Every process holds the same network and its share of a batch.

    Sessions average gradients themselves, because a step of a search leaves most weights alone, and some steps send
    images through two networks before they differentiate: PyTorch's wrapper knows neither. What is left to do to a
    network is to let its norms see the images of all processes.

    Args:
        backend: Of `torch.distributed`.
    """

    def __init__(self, backend: str) -> None:
        super().__init__(process_group_backend=backend, timeout=PATIENCE)

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """Return the same network with synchronized norms."""
        return synchronize(module)
