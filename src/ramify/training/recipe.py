"""The one recipe by which built networks are trained, alone or inside a search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from ramify.data import Augmentation
from ramify.errors import ConfigurationError, nearest
from ramify.training.schedules import SCHEDULES, learning_rate


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained from scratch. The defaults are DARTS' for CIFAR (Liu et al., 2019, section 3).

    Args:
        epochs: Passes over the training images, warm-up included.
        batch_size: Images in a step.
        lr: Highest learning rate.
        min_lr: Lowest, where the schedule ends.
        schedule: `cosine`, `linear`, `exponential` or `constant`.
        decay: Factor of each epoch of the exponential schedule.
        warmup_epochs: Epochs in which the rate rises linearly.
        momentum: Of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Of SGD, on all parameters.
        clip: Largest L2 norm of the gradient; 0 leaves it.
        label_smoothing: Share of the label spread over all classes.
        drop_path: Probability at the last epoch; it grows linearly from 0.
        auxiliary: Whether to train with an auxiliary head, where the space has one.
        auxiliary_weight: Factor of that head's loss.
        crop: Padding of the random crop in pixels; None for the data set's own.
        flip: Whether images are mirrored at random; None for the data set's own.
        cutout: Side of the square that is cut out, in pixels; 0 for none. None for half the side of images up to
            64 pixels, which is 16 for CIFAR as published, and none for larger ones.
    """

    epochs: int = 600
    batch_size: int = 96
    lr: float = 0.025
    min_lr: float = 0.0
    schedule: str = "cosine"
    decay: float = 0.97
    warmup_epochs: int = 0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0
    label_smoothing: float = 0.0
    drop_path: float = 0.2
    auxiliary: bool = True
    auxiliary_weight: float = 0.4
    crop: int | None = None
    flip: bool | None = None
    cutout: int | None = None

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigurationError(f"unknown schedule {self.schedule!r}; {nearest(self.schedule, SCHEDULES)}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ConfigurationError(f"`warmup_epochs` must be in [0, {self.epochs}), got {self.warmup_epochs}")
        for name in ("drop_path", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be in [0, 1), got {getattr(self, name)}")
        for name in ("lr", "min_lr", "decay", "momentum", "weight_decay", "clip", "auxiliary_weight", "crop", "cutout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {value}")
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("`nesterov` needs a `momentum` above 0")

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step."""
        return learning_rate(
            step,
            steps_per_epoch,
            self.epochs,
            schedule=self.schedule,
            lr=self.lr,
            min_lr=self.min_lr,
            warmup_epochs=self.warmup_epochs,
            decay=self.decay,
        )

    def augmentation(self, default: Augmentation, side: int) -> Augmentation:
        """Return the augmentation of training images of `side` pixels, `default` where the recipe leaves it open.

        Raises:
            ConfigurationError: If the cutout would leave nothing of an image.
        """
        cutout = self.cutout if self.cutout is not None else side // 2 if side <= 64 else 0
        if cutout >= side:
            raise ConfigurationError(f"`cutout` must be below the side of the images, {side}, got {cutout}")
        return replace(
            default,
            crop=default.crop if self.crop is None else self.crop,
            flip=default.flip if self.flip is None else self.flip,
            cutout=cutout,
        )
