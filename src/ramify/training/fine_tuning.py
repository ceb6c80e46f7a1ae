"""Short fine-tuning of a member of a supernet before it is measured (as in NetAdapt, Yang et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ramify.training.descent import Path, Weights, descend
from ramify.training.session import Averages


@contextmanager
def fine_tuned(weights: Weights, path: Path, steps: int) -> Iterator[None]:
    """Train one path of a supernet for some steps, and restore all weights after the block.

    Every member gets the same batches, those that the training of the supernet began with. The learning rate falls
    linearly from its highest to zero, which is the best of a short training (Li et al., Budgeted Training, ICLR 2020).

    Args:
        weights: The supernet with its settings; its own optimizer takes no part.
        path: What learns.
        steps: How many; 0 leaves everything as it is.
    """
    if not steps:
        yield
        return
    settings, fabric = weights.settings, weights.work.fabric
    tensors = [*weights.supernet.parameters(), *weights.supernet.buffers()]
    kept = [tensor.detach().clone() for tensor in tensors]
    groups = [dict(group) for group in weights.optimizer.param_groups]
    optimizer: Any = fabric.setup_optimizers(torch.optim.SGD(groups, lr=settings.lr))
    seen = Averages(weights.task, fabric.device)
    try:
        for step, batch in zip(range(steps), weights.batches(weights.split, 0), strict=False):
            descend(
                fabric,
                weights.supernet,
                optimizer,
                weights.losses(batch, path, key=("fine-tune", step), averages=seen, smoothing=settings.label_smoothing),
                lr=settings.lr * (1 - step / steps),
                clip=settings.clip,
                clip_by=settings.clip_by,
            )
        optimizer.zero_grad()
        yield
    finally:
        with torch.no_grad():
            for tensor, before in zip(tensors, kept, strict=True):
                tensor.copy_(before)
