"""The recipe by which built networks are trained, alone or inside a search."""

# No postponed annotations: the command line reads the types of these fields.

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Literal, Self

from ramify.data import Augmentation, Distortion
from ramify.errors import ConfigurationError, nearest
from ramify.spaces import Space
from ramify.tasks import Task
from ramify.training.distillation import Distillation
from ramify.training.optimizers import OPTIMIZERS
from ramify.training.schedules import ENDINGS, SCHEDULES, SPANS, WARMUPS, WHOLE, learning_rate


def later(default: Any) -> Any:
    """Return a field that configurations leave out where it has its default, so that older ones mean the same."""
    return field(default=default, metadata={"later": True})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained from scratch. The defaults are DARTS' for CIFAR (Liu et al., 2019, section 3).

    Args:
        epochs: Passes over the training images, warm-up included.
        validation: Share of the training inputs, drawn by class, that is held out and measured after every epoch, so
            that the best weights are kept beside the last and nobody has to look at the test split; or `search`, the
            part that a search learns architectures from. 0 for none.
        patience: Epochs without a better validation score after which training ends; 0 for all epochs.
        batch_size: Images in a step.
        lr: Highest learning rate.
        min_lr: Lowest, where the schedule ends.
        schedule: `cosine`, `linear`, `polynomial`, `exponential`, `steps` or `constant`.
        stepwise: Whether the rate falls with every step, or is constant inside an epoch.
        decay: Factor of each epoch of the exponential schedule, and of each milestone of that of steps.
        milestones: Epochs at whose beginnings the schedule of steps falls, ascending.
        power: Of what is left of the polynomial one.
        warmup_epochs: Epochs in which the rate rises linearly.
        warmup_steps: The same in steps, where it is no number of epochs.
        warmup: `step`, the rate rises with every step and the schedule begins afterwards; `exponential`, so by equal
            factors; or `epoch`, the schedule begins at once, and of its rate epoch e of W takes (e + 1) / W.
        warmup_lr: Where the warm-up begins; 0 for one that is above 0 in its first step, or epoch, already.
        span: `rest`, the schedule ends with the training; or `all`, a schedule that begins after the warm-up is as long
            as the whole training nevertheless, so that its end is not reached (H-DAS on several devices, as released).
        last_epochs: Epochs at the end with a rule of their own, which is `ending`.
        ending: `falling`, the schedule ends before the last epochs, in which its last rate falls linearly (P-DARTS); or
            `lowest`, they have `min_lr` (AutoDL-Projects).
        optimizer: `sgd`; `rmsprop` as in TensorFlow, whose mean of squares has a decay of 0.9 and ε = 0.001; or `muon`,
            whose momentum is orthogonalized for all weights of two and more dimensions but the first and the last.
        rest_lr: Highest learning rate of what `muon` leaves to Adam; needed with it.
        momentum: Of the optimizer.
        nesterov: Whether the momentum of SGD is Nesterov's; that of Muon always is.
        weight_decay: Of the optimizer. Of Muon it is decoupled, and on what is orthogonalized alone.
        part_decay: Weight decay of parts of the network that have one of their own, by the beginning of the names of
            their parameters, such as `stem` or `cells.0`; `weight_decay` is that of the others.
        decay_norms: Whether the decay is also on norms and biases, which are tensors of rank 1.
        clip: Largest L2 norm of the gradient; 0 leaves it.
        accumulate: Parts that every batch is sent through the network in, to save memory; gradients are those of the
            whole batch, but norms see the statistics of a part.
        drop_last: Whether an epoch ends before a last batch that is smaller than the others. Released programs keep it:
            of 50,000 images they make 521 batches of 96.
        label_smoothing: Share of the label spread over all classes.
        mixup: α of the Beta(α, α) that the share of an image in its mixture with another one is drawn from, once a
            step (Zhang et al., ICLR 2018); 0 for none. Both are images of the same part of the batch.
        ema: Decay of the moving average of weights and statistics that is kept in the end; 0 for the weights
            themselves.
        whiten: Training images whose patches the first convolution decorrelates, one half of its filters with the
            negative sign, and stays so (Jordan, 2024, arXiv:2404.00498, section 3.2); 0 for a convolution that learns.
        recalibrate: Training inputs on which the statistics of norms are computed anew after the last step, as the mean
            over all (SPOS); 0 leaves the moving averages.
        drop_path: Probability at the last epoch; it grows linearly from 0.
        size_rule: Whether weight decay and drop path follow from the number of parameters, by CDARTS' rule for CIFAR.
        auxiliary: Whether to train with an auxiliary head, where the space has one.
        auxiliary_weight: Factor of that head's loss.
        crop: Padding of the random crop in pixels; None for the data set's own.
        flip: Whether images are mirrored at random, or `alternating`: an image that is mirrored in one epoch is not in
            the next. None for the data set's own.
        cutout: Side of the square that is cut out, in pixels; 0 for none. None for half the shorter side of images up
            to 64 pixels, which is 16 for CIFAR as published, and none for larger ones.
        distortion: What else happens to training images.
        distillation: Who teaches beside the labels, and how.
    """

    epochs: int = 600
    validation: float | Literal["search"] = later(0.0)
    patience: int = later(0)
    batch_size: int = 96
    lr: float = 0.025
    min_lr: float = 0.0
    schedule: str = "cosine"
    stepwise: bool = later(False)
    decay: float = 0.97
    milestones: tuple[int, ...] = later(())
    power: float = later(0.9)
    warmup_epochs: int = 0
    warmup_steps: int = later(0)
    warmup: str = "step"
    warmup_lr: float = later(0.0)
    span: str = later("rest")
    last_epochs: int = later(0)
    ending: str = later("falling")
    optimizer: str = "sgd"
    rest_lr: float = later(0.0)
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    part_decay: dict[str, float] = field(default_factory=dict, metadata={"later": True})
    decay_norms: bool = True
    clip: float = 5.0
    accumulate: int = 1
    drop_last: bool = True
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float = 0.0
    whiten: int = later(0)
    recalibrate: int = later(0)
    drop_path: float = 0.2
    size_rule: bool = False
    auxiliary: bool = True
    auxiliary_weight: float = 0.4
    crop: int | None = None
    flip: bool | Literal["alternating"] | None = None
    cutout: int | None = None
    distortion: Distortion = field(default_factory=Distortion)
    distillation: Distillation = field(default_factory=Distillation, metadata={"later": True})

    def __post_init__(self) -> None:
        words = {"schedule": SCHEDULES, "warmup": WARMUPS, "span": SPANS, "ending": ENDINGS, "optimizer": OPTIMIZERS}
        for name, known in words.items():
            value = getattr(self, name)
            if value not in known:
                raise ConfigurationError(f"unknown {name} {value!r}; {nearest(value, known)}")
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ConfigurationError(f"`warmup_epochs` must be in [0, {self.epochs}), got {self.warmup_epochs}")
        if self.warmup_steps and (self.warmup_epochs or self.warmup == "epoch"):
            raise ConfigurationError("`warmup_steps` and `warmup_epochs` say the same in two ways: leave out one")
        if self.warmup == "exponential" and not self.warmup_lr:
            raise ConfigurationError("the warm-up 'exponential' needs a `warmup_lr` above 0, from which the rate rises")
        if not 0 <= self.last_epochs < self.epochs - self.warmup_epochs:
            most = self.epochs - self.warmup_epochs
            raise ConfigurationError(
                f"`last_epochs` must be in [0, {most}), what the warm-up leaves, got {self.last_epochs}"
            )
        if self.last_epochs and self.schedule not in WHOLE:
            raise ConfigurationError(f"`last_epochs` needs a schedule with an end: {' or '.join(map(repr, WHOLE))}")
        if self.validation != "search" and not (_is_number(self.validation) and 0 <= self.validation < 1):
            raise ConfigurationError(f"`validation` must be a share in [0, 1) or 'search', got {self.validation!r}")
        if self.patience < 0 or (self.patience and not self.validation):
            raise ConfigurationError(f"`patience` must be at least 0, and needs `validation`, got {self.patience}")
        if self.patience and self.recalibrate:
            raise ConfigurationError("`recalibrate` follows the last step, which `patience` may never reach: take one")
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if (self.schedule == "steps") != bool(self.milestones):
            raise ConfigurationError("the schedule 'steps' and `milestones`, where it falls, need each other")
        if list(self.milestones) != sorted({one for one in self.milestones if 0 < one < self.epochs}):
            raise ConfigurationError(
                f"`milestones` must ascend within (0, {self.epochs}), the epochs, got {list(self.milestones)}"
            )
        for name in ("drop_path", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be in [0, 1), got {getattr(self, name)}")
        numbers = ("lr", "min_lr", "decay", "momentum", "weight_decay", "clip", "mixup", "auxiliary_weight")
        for name in (
            *numbers,
            "power",
            "warmup_steps",
            "warmup_lr",
            "rest_lr",
            "whiten",
            "recalibrate",
            "crop",
            "cutout",
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {value}")
        for name, decay in self.part_decay.items():
            if not (_is_number(decay) and 0 <= decay < inf):
                raise ConfigurationError(f"`part_decay`: {name!r:.40} must be a number from 0, got {decay!r:.40}")
        if self.part_decay and self.optimizer == "muon":
            raise ConfigurationError("`part_decay` is for the optimizers 'sgd' and 'rmsprop'")
        if self.warmup_lr > self.lr:
            raise ConfigurationError(f"`warmup_lr` must be at most `lr`, {self.lr}, got {self.warmup_lr}")
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("`nesterov` needs a `momentum` above 0")
        if (self.rest_lr > 0) != (self.optimizer == "muon"):
            raise ConfigurationError(f"`rest_lr` above 0 and the optimizer 'muon' need each other, got {self.rest_lr}")
        if self.optimizer == "muon" and not (self.lr > 0 and self.decay_norms):
            raise ConfigurationError("the optimizer 'muon' needs an `lr` above 0, and decays no norms: leave that out")
        if self.nesterov and self.optimizer != "sgd":
            raise ConfigurationError("`nesterov` is for the optimizer 'sgd'")

    def sized(self, params: int) -> Self:
        """Return the recipe for a network of `params` parameters; only `size_rule` makes it differ.

        Below 3 M parameters, weight decay 3e-4 and drop path 0.2; below 3.5 M, 3e-4 and 0.3; from there on, 5e-4 and
        0.3. (In CDARTS' program exactly 3 M fall to the last case.)
        """
        if not self.size_rule:
            return self
        weight_decay, drop_path = (3e-4, 0.2) if params < 3e6 else (3e-4, 0.3) if params < 3.5e6 else (5e-4, 0.3)
        return replace(self, weight_decay=weight_decay, drop_path=drop_path)

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
            warmup=self.warmup,
            stepwise=self.stepwise,
            warmup_lr=self.warmup_lr,
            span=self.span,
            last_epochs=self.last_epochs,
            ending=self.ending,
            power=self.power,
            first_steps=self.warmup_steps,
            milestones=self.milestones,
        )

    def augmented(self, task: Task) -> bool | Augmentation:
        """Return the augmentation of a task's training inputs.

        Raises:
            RamifyError: If that is about images, and the inputs are none.
        """
        if task.augmentation is not None:
            task.distorted(self.distortion)  # refuses what does not fit the targets
        return self.augmentation(task.augmentation, task.input_size, cuts_out=task.cuts_out) or True

    def augmentation(
        self, default: Augmentation | None, input_size: Sequence[int], *, cuts_out: bool = True
    ) -> Augmentation | None:
        """Return the augmentation of training images, `default` where the recipe sets none.

        Args:
            default: Of the data set; None for rows of a table, which are not augmented.
            input_size: (C, H, W) of an image.
            cuts_out: Whether a square is cut out of small images where the recipe says nothing.

        Raises:
            ConfigurationError: If the cutout would leave nothing of an image, or the distortion is for other channels.
            DataError: If rows shall be augmented.
        """
        if default is None:
            Augmentation(self.crop or 0, self.flip or False, self.cutout or 0, self.distortion).check_rows("the recipe")
            return None
        channels, *sides = input_size
        side = min(sides)
        cutout = self.cutout if self.cutout is not None else side // 2 if cuts_out and side <= 64 else 0
        if cutout >= side:
            raise ConfigurationError(f"`cutout` must be below the side of the images, {side}, got {cutout}")
        self.distortion.check(channels)
        own = replace(
            default,
            crop=default.crop if self.crop is None else self.crop,
            flip=default.flip if self.flip is None else self.flip,
            cutout=cutout,
        )
        return own.distorted(self.distortion)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def recipe_keywords(space: Space, recipe: Recipe, task: Task) -> dict[str, Any]:
    """Return the layout keywords that a recipe sets, as far as they apply to the space's networks and the task."""
    keywords = space.Layout.keywords("member")
    auxiliary = recipe.auxiliary and recipe.auxiliary_weight > 0 and task.takes_auxiliary
    wanted = {"auxiliary": auxiliary, "drop_path": recipe.drop_path}
    return {name: value for name, value in wanted.items() if name in keywords}
