"""Learning rates as functions of the step."""

from __future__ import annotations

import math

SCHEDULES = ("cosine", "linear", "exponential", "constant")


def cosine(progress: float, start: float, end: float) -> float:
    """Return the value at `progress` (0 to 1) of half a cosine from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def learning_rate(
    step: int,
    steps_per_epoch: int,
    epochs: int,
    *,
    schedule: str = "cosine",
    lr: float,
    min_lr: float = 0.0,
    warmup_epochs: int = 0,
    decay: float = 0.97,
) -> float:
    """Return the learning rate of a step.

    Warm-up rises linearly from 0, step by step; what follows is constant inside an epoch, as published. The
    schedule spans the epochs after the warm-up. (AutoDL-Projects lets the cosine end before the warm-up's worth
    of epochs, whose rate is then 0; that is not reproduced.)
    """
    epoch, warmup_steps = step // steps_per_epoch, warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return lr * (step + 1) / (warmup_steps + 1)
    after = epoch - warmup_epochs
    progress = after / max(1, epochs - warmup_epochs)
    if schedule == "cosine":
        return cosine(progress, lr, min_lr)
    if schedule == "linear":
        return lr + (min_lr - lr) * progress
    if schedule == "exponential":
        return max(min_lr, lr * decay**after)
    return lr
