"""Cells that are computed twice, so that what lies inside them need not be kept for the backward pass.

Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016, arXiv:1604.06174.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ramify import parallel
from ramify.errors import ConfigurationError

if TYPE_CHECKING:
    from ramify.supernet.network import RunCell


def with_checkpoints(network: nn.Module, layout: Any) -> nn.Module:
    """Let a network compute its cells twice, in place, if its layout says so (`checkpoint_cells`).

    Raises:
        ConfigurationError: If the network is no `Skeleton`, which alone says what its cells are.
    """
    if getattr(layout, "checkpoint_cells", False):
        skeleton: Any = network
        if not hasattr(skeleton, "checkpoint_cells"):
            kind = type(network).__name__
            raise ConfigurationError(f"`checkpoint_cells` is for a `Skeleton`, which knows its cells; {kind} is none")
        skeleton.checkpoint_cells = True
    return network


def recomputed(run: RunCell) -> RunCell:
    """Return `run`, which calls a cell, such that training keeps only what enters and what leaves cells.

    The backward pass computes a cell again: the same numbers, with the same random draws and the very parameters that
    the cell had, and on copies of its buffers, so that running statistics count every image once.
    """

    def run_twice(cell: nn.Module, *states: Tensor) -> Tensor:
        if not (cell.training and torch.is_grad_enabled()):
            return run(cell, *states)
        called, held, first = _Called(run, cell), parallel.held(len(states[0])), True
        parameters, buffers = dict(called.named_parameters()), dict(called.named_buffers())

        def body(*states: Tensor) -> Tensor:
            nonlocal first
            if first:
                first = False
                return called(*states)
            state = parameters | {name: buffer.clone() for name, buffer in buffers.items()}
            with parallel.holding(held):
                return torch.func.functional_call(called, state, states)

        return checkpoint(body, *states, use_reentrant=False)

    return run_twice


class _Called(nn.Module):
    """A call of a cell, as a module, so that the cell can be called with the parameters that it had."""

    def __init__(self, run: RunCell, cell: nn.Module) -> None:
        super().__init__()
        self.run, self.cell = run, cell

    def forward(self, *states: Tensor) -> Tensor:
        return self.run(self.cell, *states)
