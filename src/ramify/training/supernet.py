"""Training the weights of a supernet: what every one-shot strategy shares."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.data import Distortion
from ramify.errors import ConfigurationError
from ramify.execution import prepare
from ramify.seeding import seeded
from ramify.spaces import Space
from ramify.supernet import Mix, existing
from ramify.tasks import Batch, Portion, backbone_of
from ramify.tasks.batch import mapped
from ramify.training.loss_scale import LossScale
from ramify.training.measure import MEASURED_BATCH, Measurement, measure, single_image
from ramify.training.recalibration import CALIBRATION_BATCH, recalibrated
from ramify.training.schedules import learning_rate
from ramify.training.session import (
    Averages,
    Metrics,
    Work,
    check_smoothing,
    descend,
    endless,
    fitting,
    leaves_out,
    lost,
    parts,
    uneven,
)
from ramify.training.single_images import check_parts, check_whole, inputs_for, normalises_one
from ramify.training.stateful import Stateful


@dataclass(frozen=True, kw_only=True)
class WeightSettings:
    """SGD for the weights of a supernet.

    Args:
        epochs: Passes over the images of `search_train`.
        batch_size: Images in a step.
        lr: Learning rate at the start.
        min_lr: Learning rate at the end.
        schedule: How the rate falls: `cosine` or `linear`.
        stepwise: Whether it falls with every step, or is constant inside an epoch.
        momentum: Of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Of SGD.
        decay_norms: Whether the decay is also on norms and biases, which are tensors of rank 1.
        clip: Largest L2 norm of the weights' gradient; 0 leaves it.
        clip_by: `norm`, or `value`: then `clip` is the largest absolute value of an entry of the gradient.
        label_smoothing: Share of the label spread over all classes.
        accumulate: Parts that every batch is sent through the network in, to save memory; gradients are those of the
            whole batch, but norms see the statistics of a part.
        distortion: What happens to the images of both halves beyond the data set's own crop and mirror.
        drop_last: Whether an epoch ends before a last batch that is smaller than the others. Released programs keep it:
            of 25,000 images they make 391 batches of 64. What holds for the images to train on holds for those of
            `search_validation`, of which one batch follows the other, pass after pass, however long an epoch is.
    """

    epochs: int = 50
    batch_size: int = 64
    lr: float = 0.025
    min_lr: float = 0.001
    schedule: str = "cosine"
    stepwise: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    decay_norms: bool = True
    clip: float = 5.0
    clip_by: str = "norm"
    label_smoothing: float = 0.0
    accumulate: int = 1
    distortion: Distortion = field(default_factory=Distortion)
    drop_last: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "min_lr", "momentum", "weight_decay", "clip"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("`nesterov` needs a `momentum` above 0")
        for name, known in (("schedule", ("cosine", "linear")), ("clip_by", ("norm", "value"))):
            if getattr(self, name) not in known:
                raise ConfigurationError(f"`{name}` must be {known[0]!r} or {known[1]!r}, got {getattr(self, name)!r}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigurationError(f"`label_smoothing` must be in [0, 1), got {self.label_smoothing}")

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole search."""
        return self.epochs

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step."""
        return learning_rate(
            step,
            steps_per_epoch,
            self.epochs,
            schedule=self.schedule,
            lr=self.lr,
            min_lr=self.min_lr,
            stepwise=self.stepwise,
        )


Path = tuple[Mix, Mapping[str, Tensor] | None]
"""Mixing weights (E, O) of every choice, and which candidates to compute (None: all)."""
Draw = Callable[[], Path]
"""What says a path; it is asked for each part of a batch, and says the same within a step."""


def single_path(space: Space, arch: Architecture) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the one-hot mix of a member and what it computes: nothing but its own operations."""
    mix = space.mix(arch)
    return mix, {name: weights > 0 for name, weights in mix.items()}


class Weights(Stateful):
    """A supernet with the optimiser of its weights.

    Args:
        settings: Of the optimiser.
        space: Gives the supernet.
        work: Task, seed, device and layout.
    """

    kept = ("supernet", "optimizer", "scale", "averages")

    def __init__(self, settings: WeightSettings, space: Space, work: Work) -> None:
        self.settings, self.space, self.work, self.task = settings, space, work, work.task
        check_whole(self.task, settings.accumulate)
        check_smoothing(self.task, settings.label_smoothing)
        self._augmented = self.task.distorted(settings.distortion)
        with seeded(work.seed, "supernet"):
            supernet = self.task.network(space.supernet(work.layout, shape=work.shape))
        supernet = prepare(supernet, work.execution)
        optimizer = torch.optim.SGD(
            _groups(supernet, settings),
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )
        self.split = self.task.split("search_train")
        self.batch_size = fitting(settings.batch_size, self.split)
        drops = leaves_out(self.split, self.batch_size, drop_last=settings.drop_last)
        self.steps_per_epoch = self.split.num_batches(self.batch_size, drop_last=drops)
        self.steps = settings.total_epochs * self.steps_per_epoch
        splits = (self.split, self.task.split("search_validation"))
        self.uneven = any(uneven(split, self.batch_size, drop_last=settings.drop_last) for split in splits)
        self.supernet, self.optimizer = work.fabric.setup(supernet, optimizer)
        self.scale = LossScale(work.fabric)
        self.averages = Averages(self.task, work.fabric.device)
        self.check(self.split)

    @property
    def backbone(self) -> Any:
        """The supernet as the space has made it, without what the task puts behind it."""
        return backbone_of(self.supernet)

    def check(self, split: Portion, *, whole: bool = False) -> None:
        """Raise `ConfigurationError` if a norm of the supernet would get a single value from a part of a batch.

        Args:
            split: Whose batches.
            whole: Whether batches are not divided into parts.
        """
        accumulate = 1 if whole else self.settings.accumulate
        size = fitting(self.settings.batch_size, split)
        check_parts(split, size, accumulate, lambda: self._normalises_one)

    @cached_property
    def _normalises_one(self) -> bool:
        """Whether a norm of a candidate, or around them, gets a single value per channel from a single image."""
        return self.normalises_one(self.supernet.module)

    def normalises_one(self, supernet: nn.Module, *, training: bool = True) -> bool:
        """Return whether a norm of a supernet of this space gets a single value per channel from a single image."""
        item = inputs_for(supernet, self.task)
        return normalises_one(supernet, item, existing(self.space.choices), training=training)

    def check_measured(self, *, batches: int = 0, supernet: nn.Module | None = None) -> None:
        """Raise `ConfigurationError` if members cannot be measured on `search_validation`, or its first `batches`.

        Args:
            batches: How many; 0 for all.
            supernet: What holds the members; the one that is trained by default.
        """
        split = self.task.split("search_validation")
        full, left = divmod(len(split), MEASURED_BATCH)
        reached = not batches or batches > full
        if left == 1 and reached and self.normalises_one(supernet or self.supernet.module, training=False):
            raise single_image(split)

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.settings.lr_at(step, self.steps_per_epoch)

    def batches(
        self, split: Portion, start: int, *, augmented: bool = True, drop_last: bool | None = None, whole: bool = False
    ) -> Iterator[Batch]:
        """Yield shuffled batches of a split for ever, from batch number `start`; of several processes, each its share.

        All get the `whole` of them where asked. Smaller last batches are left out as the settings say, unless told.
        """
        self.check(split, whole=whole)
        return endless(
            split,
            self.batch_size,
            seed=self.work.seed,
            augmented=augmented and self._augmented,
            device=self.work.fabric.device,
            start=start,
            drop_last=self.settings.drop_last if drop_last is None else drop_last,
            whole=whole,
        )

    def parts(self, batch: Batch) -> Iterator[tuple[Batch, float]]:
        """Split a batch as `accumulate` says; yield each part with its share of the loss."""
        return parts(self.task, batch, self.settings.accumulate, size=self.batch_size, uneven=self.uneven)

    def losses(
        self,
        batch: Batch,
        *paths: Path | Draw,
        key: tuple[str | int, ...],
        averages: Averages,
        smoothing: float = 0.0,
        supernet: nn.Module | None = None,
        **options: Any,
    ) -> Iterator[Tensor]:
        """Yield what the parts of a batch add to its loss, path after path, each when it is asked for; count them.

        Args:
            batch: Of this process.
            paths: What the batch goes through. A gradient reaches whatever their mixing weights come of.
            key: Names the randomness of the forward passes, which are numbered.
            averages: Where they count.
            smoothing: Of class labels.
            supernet: What is called; the one that is trained by default.
            options: Further arguments of the forward pass.
        """
        called, numbers = (self.supernet if supernet is None else supernet).train(), count()
        for path in paths:
            for part, share in self.parts(batch):
                mix, active = path() if callable(path) else path
                with seeded(self.work.seed, *key, next(numbers)):
                    output = called(part.inputs, mix, active=active, **options)
                loss = lost(self.task, output, part, share, smoothing=smoothing)
                averages.add(output, part, loss)
                yield loss.part

    def descend(
        self, step: int, batch: Batch, *paths: Path | Draw, beside: Sequence[Tensor] = (), **options: Any
    ) -> None:
        """Take one step on a batch, on the sum of what several paths lose.

        Args:
            step: Its number; the learning rate and all randomness follow from it.
            batch: Of this process.
            paths: Their mixing weights are constants here: no gradient reaches the architecture.
            beside: Parameters whose gradients count in the norm that is clipped; then one does reach them.
            options: Further arguments of the forward pass.
        """
        losses = self.losses(
            batch,
            *(paths if beside else [partial(_constant, path) for path in paths]),
            key=("weights", step),
            averages=self.averages,
            smoothing=self.settings.label_smoothing,
            **options,
        )
        descend(
            self.work.fabric,
            nn.ParameterList([*self.supernet.parameters(), *beside]) if beside else self.supernet,
            self.optimizer,
            losses,
            lr=self.lr_at(step),
            clip=self.settings.clip,
            clip_by=self.settings.clip_by,
            everything=bool(beside),
        )

    def end(self, step: int) -> Metrics:
        """Return what there is to say after a step of a supernet that learns alone, a row where it ends an epoch."""
        epoch, inside = divmod(step + 1, self.steps_per_epoch)
        row = {} if inside else {"epoch": epoch - 1, **self.averages.take(), "lr": self.lr_at(step)}
        return Metrics("prepare", step + 1, self.steps, row)

    def output_at(self, parameters: Sequence[Tensor], inputs: Any, mix: Mix, **options: Any) -> Any:
        """Return what the supernet says with other parameters, in their order and type; its buffers are left alone."""
        network = self.supernet.module.train()
        state = {name: w for (name, _), w in zip(network.named_parameters(), parameters, strict=True)}
        state |= {name: buffer.clone() for name, buffer in network.named_buffers()}
        dtype = parameters[0].dtype
        inputs = mapped(lambda x: x.to(dtype) if x.is_floating_point() else x, inputs)
        arguments = (inputs, {name: m.to(dtype) for name, m in mix.items()})
        return torch.func.functional_call(network, state, arguments, options)

    def measure(
        self, mix: Mix, active: Mapping[str, Tensor] | None = None, *, batches: int = 0, recalibrate: int = 0
    ) -> Measurement:
        """Score a mixture, or a member by the weights it inherits, on `search_validation` or its first `batches`.

        Norms without running statistics, the default layout of cells, use those of the batch. The statistics of the
        others are averages over all paths, unless they are computed anew on `recalibrate` images of `search_train`.
        """
        device = self.work.fabric.device

        def forward(x: Any) -> Any:
            return self.supernet(x, mix, active=active)

        fixed = self.split.batches(CALIBRATION_BATCH, seed=0, shuffle=True, device=device) if recalibrate else ()
        with recalibrated(self.supernet, forward, fixed, images=recalibrate):
            split = self.task.split("search_validation")
            return measure(self.supernet, split, device=device, batches=batches, forward=forward)


def _constant(path: Path | Draw) -> Path:
    """Return a path whose mixing weights have no gradient."""
    with torch.no_grad():
        mix, active = path() if callable(path) else path
    return {name: weights.detach() for name, weights in mix.items()}, active


def _groups(supernet: nn.Module, settings: WeightSettings) -> list[dict[str, Any]]:
    """Return the parameters in groups of the same weight decay."""
    parameters = list(supernet.parameters())
    if settings.decay_norms:
        return [{"params": parameters}]
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
