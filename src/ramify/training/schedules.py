"""Learning rates as functions of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence

SCHEDULES = ("cosine", "linear", "polynomial", "exponential", "steps", "constant")
WHOLE = ("cosine", "linear", "polynomial")
"""Those that span all epochs."""
WARMUPS = ("step", "epoch", "exponential")
SPANS = ("rest", "all")
ENDINGS = ("falling", "lowest")


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
    warmup_lr: float = 0.0,
    span: str = "rest",
    last_epochs: int = 0,
    ending: str = "falling",
    power: float = 0.9,
    first_steps: int = 0,
    milestones: Sequence[int] = (),
) -> float:
    """Return the learning rate of a step.

    Warm-up rises linearly from 0, step by step; what follows is constant inside an epoch, as most publish it, or falls
    with every step (`stepwise`). The schedule spans the epochs after the warm-up, or as many as there are in all
    (`span="all"`, H-DAS on several devices): then it is not at its end when the training is.

    With `warmup="epoch"` (CDARTS) the schedule spans all epochs, and epoch e of W to warm up takes (e + 1) / W of it.
    A `warmup_lr` above 0 is the rate of the first step, or epoch, of a warm-up that rises to `lr` from there.

    With `warmup="exponential"` (CDARTS, segmentation) the rate of a warm-up is multiplied by the same factor in every
    step, from `warmup_lr` up to `lr`. `first_steps` is its length where that is no number of epochs.

    With `schedule="steps"` the rate is multiplied by `decay` at the beginning of each of the epochs `milestones`,
    counted from the first of all.

    The `last_epochs` have a rule of their own. With `ending="falling"` (P-DARTS) the schedule ends before them, and its
    last rate falls to `min_lr` in equal parts. With `"lowest"` they have `min_lr`, whatever the schedule says: in
    AutoDL-Projects as many epochs as its warm-up has.
    """
    epoch, warmup_steps = step // steps_per_epoch, first_steps or warmup_epochs * steps_per_epoch
    before = first_steps / steps_per_epoch if first_steps else warmup_epochs
    ends, left = epochs - last_epochs, 1.0
    if last_epochs and epoch >= ends:
        if ending == "lowest":
            return min_lr
        left = (epochs - (step / steps_per_epoch if stepwise else epoch)) / last_epochs
        step, epoch = ends * steps_per_epoch - 1, ends - 1
    epochs = ends if ending == "falling" else epochs
    if warmup == "epoch":
        if warmup_lr and epoch < warmup_epochs:
            return warmup_lr + (lr - warmup_lr) * epoch / warmup_epochs
        lr, min_lr = (rate * min(1.0, (epoch + 1) / max(1, warmup_epochs)) for rate in (lr, min_lr))
        before = warmup_steps = 0
    if step < warmup_steps:
        if warmup == "exponential":
            return warmup_lr * (lr / warmup_lr) ** (step / warmup_steps)
        if warmup_lr:
            return warmup_lr + (lr - warmup_lr) * step / warmup_steps
        return lr * (step + 1) / (warmup_steps + 1)
    after = (step - warmup_steps) / steps_per_epoch if stepwise else max(0, epoch - before)
    progress = after / max(1, epochs if span == "all" else epochs - before)
    if schedule == "cosine":
        lr = cosine(progress, lr, min_lr)
    elif schedule == "linear":
        lr += (min_lr - lr) * progress
    elif schedule == "polynomial":
        lr = min_lr + (lr - min_lr) * (1 - progress) ** power
    elif schedule == "exponential":
        lr = max(min_lr, lr * decay**after)
    elif schedule == "steps":
        lr = max(min_lr, lr * decay ** sum(epoch >= milestone for milestone in milestones))
    return lr if left == 1 else min_lr + left * (lr - min_lr)
