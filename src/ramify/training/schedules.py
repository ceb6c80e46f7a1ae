"""Learning rates as functions of the step."""

from __future__ import annotations

import math

SCHEDULES = ("cosine", "linear", "exponential", "constant")
WHOLE = ("cosine", "linear")
"""Those that span all epochs."""
WARMUPS = ("step", "epoch")


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
    stepwise: bool = False,
    warmup: str = "step",
) -> float:
    """Return the learning rate of a step.

    Warm-up rises linearly from 0, step by step; what follows is constant inside an epoch, as most publish it, or falls
    with every step (`stepwise`). The schedule spans the epochs after the warm-up. (AutoDL-Projects lets the cosine end
    before the warm-up's worth of epochs, whose rate is then 0; that is not reproduced.)

    With `warmup="epoch"` (CDARTS) the schedule spans all epochs, and epoch e of W to warm up takes (e + 1) / W of it.
    """
    epoch, warmup_steps = step // steps_per_epoch, warmup_epochs * steps_per_epoch
    if warmup == "epoch":
        lr, min_lr = (rate * min(1.0, (epoch + 1) / max(1, warmup_epochs)) for rate in (lr, min_lr))
        warmup_epochs = warmup_steps = 0
    if step < warmup_steps:
        return lr * (step + 1) / (warmup_steps + 1)
    after = (step - warmup_steps) / steps_per_epoch if stepwise else epoch - warmup_epochs
    progress = after / max(1, epochs - warmup_epochs)
    if schedule == "cosine":
        return cosine(progress, lr, min_lr)
    if schedule == "linear":
        return lr + (min_lr - lr) * progress
    if schedule == "exponential":
        return max(min_lr, lr * decay**after)
    return lr
