"""Gradient descent in a search: the weights of a supernet, and architecture parameters.

The one place that calls the supernet while something learns, and the one that takes steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.architecture import Architecture
from ramify.execution import prepare
from ramify.seeding import seeded
from ramify.spaces import Space
from ramify.supernet import Mix, existing
from ramify.tasks import Batch, Portion, backbone_of
from ramify.tasks.batch import mapped
from ramify.training.distillation import distillation
from ramify.training.loss_scale import LossScale
from ramify.training.measure import MEASURED_BATCH, Measurement, measure, single_image
from ramify.training.recalibration import CALIBRATION_BATCH, recalibrated
from ramify.training.session import (
    Averages,
    Loss,
    Metrics,
    Work,
    check_smoothing,
    endless,
    fitting,
    leaves_out,
    lost,
    parts,
    uneven,
    without_auxiliary,
)
from ramify.training.single_images import check_parts, check_whole, inputs_for, normalizes_one
from ramify.training.stateful import Stateful
from ramify.training.weight_settings import WeightSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Path = tuple[Mix, Mapping[str, Tensor] | None]
"""Mixing weights (E, O) of every choice, and which candidates to compute (None: all)."""
DrawPath = Callable[[], Path]
"""What says a path; it is asked for each part of a batch, and says the same within a step."""


def single_path(space: Space, arch: Architecture) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a member's one-hot mixing weights and its active candidates, which are its own operations."""
    mix = space.mix(arch)
    return mix, {name: weights > 0 for name, weights in mix.items()}


class Weights(Stateful):
    """A supernet with the optimizer of its weights.

    Args:
        settings: Of the optimizer.
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
        if self.task.one_tensor:
            supernet.register_forward_hook(without_auxiliary)
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
        """The supernet as the space built it, without the task's head."""
        return backbone_of(self.supernet)

    def check(self, split: Portion, *, whole: bool = False) -> None:
        """Raise `ConfigurationError` if a norm of the supernet would get a single value from a part of a batch.

        Args:
            split: Whose batches.
            whole: Whether batches are not divided into parts.
        """
        accumulate = 1 if whole else self.settings.accumulate
        size = fitting(self.settings.batch_size, split)
        check_parts(split, size, accumulate, lambda: self._normalizes_one)

    @cached_property
    def _normalizes_one(self) -> bool:
        """Whether a norm of a candidate, or around them, gets a single value per channel from a single image."""
        return self.normalizes_one(self.supernet.module)

    def normalizes_one(self, supernet: nn.Module, *, training: bool = True) -> bool:
        """Return whether a norm of this space's supernet gets one value per channel from a single image."""
        item = inputs_for(supernet, self.task)
        return normalizes_one(supernet, item, existing(self.space.choices), training=training)

    def check_measured(self, *, batches: int = 0, supernet: nn.Module | None = None) -> None:
        """Raise `ConfigurationError` if members cannot be measured on `search_validation` or its first `batches`.

        Args:
            batches: How many; 0 for all.
            supernet: What holds the members; the one that is trained by default.
        """
        split = self.task.split("search_validation")
        full, left = divmod(len(split), MEASURED_BATCH)
        reached = not batches or batches > full
        if left == 1 and reached and self.normalizes_one(supernet or self.supernet.module, training=False):
            raise single_image(split)

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.settings.lr_at(step, self.steps_per_epoch)

    def batches(
        self, split: Portion, start: int, *, augmented: bool = True, drop_last: bool | None = None, whole: bool = False
    ) -> Iterator[Batch]:
        """Yield shuffled batches of a split endlessly, from batch number `start`; each process gets its share.

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
        *paths: Path | DrawPath,
        key: tuple[str | int, ...],
        averages: Averages,
        smoothing: float = 0.0,
        supernet: nn.Module | None = None,
        **options: Any,
    ) -> Iterator[Tensor]:
        """Yield the loss terms of the parts of a batch, path after path, computed on demand, and record them.

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
                output, loss = self._passed(called, path, part, share, (*key, next(numbers)), smoothing, options)
                averages.add(output, part, loss)
                yield loss.part

    def _passed(
        self,
        called: nn.Module,
        path: Path | DrawPath,
        part: Batch,
        share: float,
        key: tuple[str | int, ...],
        smoothing: float,
        options: Mapping[str, Any],
    ) -> tuple[Any, Loss]:
        """Return what a path says of a part of a batch, and what it loses there; `key` names its randomness."""
        mix, active = path() if callable(path) else path
        with seeded(self.work.seed, *key):
            output = called(part.inputs, mix, active=active, **options)
        return output, lost(self.task, output, part, share, smoothing=smoothing)

    def taught_losses(
        self,
        batch: Batch,
        *paths: Path | DrawPath,
        key: tuple[str | int, ...],
        averages: Averages,
        smoothing: float = 0.0,
        **options: Any,
    ) -> Iterator[Tensor]:
        """Yield the loss terms of the parts of a batch: of each that of the first path, then those of the others.

        These learn from the logits of the first, by KL divergence, and from nothing else (Yu & Huang, US-Nets, ICCV
        2019). The arguments are those of `losses`.
        """
        called, numbers = self.supernet.train(), count()
        for part, share in self.parts(batch):
            teacher: Tensor | None = None
            for path in paths:
                output, loss = self._passed(called, path, part, share, (*key, next(numbers)), smoothing, options)
                averages.add(output, part, loss)
                if teacher is not None:
                    loss = replace(loss, mean=distillation(output, teacher, distance="kl_batchmean", temperature=1.0))
                yield loss.part
                teacher = output.detach() if teacher is None else teacher

    def descend(
        self,
        step: int,
        batch: Batch,
        *paths: Path | DrawPath,
        beside: Sequence[Tensor] = (),
        taught: bool = False,
        **options: Any,
    ) -> None:
        """Take a gradient step on a batch, on the sum of the losses of several paths.

        Args:
            step: Its number; the learning rate and all randomness follow from it.
            batch: Of this process.
            paths: Their mixing weights are constants here: no gradient reaches the architecture.
            beside: Parameters whose gradients count in the norm that is clipped; then one does reach them.
            taught: Whether all paths but the first learn from what that says, instead of the targets.
            options: Further arguments of the forward pass.
        """
        losses = (self.taught_losses if taught else self.losses)(
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
        """End a step of a supernet that trains alone; return its metrics, with a row at the end of an epoch."""
        epoch, inside = divmod(step + 1, self.steps_per_epoch)
        row = {} if inside else {"epoch": epoch - 1, **self.averages.take(), "lr": self.lr_at(step)}
        return Metrics("prepare", step + 1, self.steps, row)

    def output_at(self, parameters: Sequence[Tensor], inputs: Any, mix: Mix, **options: Any) -> Any:
        """Return the supernet's output with other parameters, in the same order and type; buffers do not change."""
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
        """Measure a mixture, or a member with inherited weights, on `search_validation` or its first `batches`.

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


def _constant(path: Path | DrawPath) -> Path:
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


class Alphas(Mapping[str, nn.Parameter]):
    """Architecture parameters by choice, with their optimizer.

    They are small and stay on the host, so that sampling never waits for a device.

    Args:
        start: Name → where they begin, (E, O) for a choice.
        fabric: Takes the gradients; in half precision it scales the losses.
        scale: What the losses are multiplied by.
        lr: Adam's learning rate.
        betas: Adam's averaging factors.
        weight_decay: Adam's L2 penalty.
        clip: Largest L2 norm of the gradient of all of them together; 0 leaves it.
        terms: Returns what is added to the loss at every step, functions of the parameters alone.
        separate: Whether these get a step of their own, after that of the loss.
    """

    def __init__(
        self,
        start: Mapping[str, Tensor],
        fabric: Fabric,
        scale: LossScale,
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        clip: float = 0.0,
        terms: Callable[[Mapping[str, Tensor]], Iterable[Tensor]] = lambda alphas: (),
        separate: bool = False,
    ) -> None:
        self._parameters = {name: nn.Parameter(value) for name, value in start.items()}
        for alpha in self.values():
            alpha.grad = torch.zeros_like(alpha)
        self.optimizer = torch.optim.Adam(list(self.values()), lr=lr, betas=betas, weight_decay=weight_decay)
        self._fabric, self._scale, self._clip = fabric, scale, clip
        self._terms, self._separate = terms, separate

    def __getitem__(self, name: str) -> nn.Parameter:
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def descend(self, losses: Iterable[Tensor], penalty: Tensor | None = None) -> None:
        """Take a gradient step on the sum of `losses`, which are computed one by one, and of a penalty."""
        self.forget()
        self.backward(losses)
        self.follow(penalty)

    def forget(self) -> None:
        """Set all gradients to zero, also those of parameters that no path uses."""
        self.optimizer.zero_grad(set_to_none=False)

    def backward(self, losses: Iterable[Tensor], at: Sequence[Tensor] | None = None) -> None:
        """Add the gradients of losses, which are computed one by one; weights get none.

        They are the means over all processes.

        Args:
            losses: Parts of a loss.
            at: What the losses are functions of, in the order of the parameters; these themselves by default.
        """
        alphas = list(self.values())
        inputs = alphas if at is None else list(at)
        for loss in losses:
            self._fabric.backward(loss, inputs=inputs)
        for alpha, differentiated in zip(alphas, inputs, strict=True):
            if differentiated.grad is not None:
                differentiated.grad /= self._scale.factor
                if at is not None:
                    alpha.grad, differentiated.grad = differentiated.grad, None
        parallel.average(alpha.grad for alpha in alphas)

    def follow(self, penalty: Tensor | None = None) -> None:
        """Take a step along the stored gradients and that of a penalty; skip it if they have overflowed."""
        if penalty is not None:
            self._add(penalty)
        if not self._scale.fits(self.gradients):
            return
        if self._separate:
            self._step()
            self.forget()
        for term in self._terms(self):
            self._add(term)
        self._step()

    def _add(self, loss: Tensor) -> None:
        loss.backward(inputs=list(self.values()))

    def _step(self) -> None:
        if self._clip:
            nn.utils.clip_grad_norm_(list(self.values()), self._clip)
        self.optimizer.step()

    @property
    def gradients(self) -> list[Tensor]:
        """The stored gradients."""
        return [alpha.grad for alpha in self.values() if alpha.grad is not None]

    @gradients.setter
    def gradients(self, gradients: Iterable[Tensor]) -> None:
        for alpha, gradient in zip(self.values(), gradients, strict=True):
            alpha.grad = gradient

    def copies(self) -> dict[str, Tensor]:
        """Return copies of the values."""
        return {name: alpha.detach().clone() for name, alpha in self.items()}

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Set the values."""
        with torch.no_grad():
            for name, alpha in self.items():
                alpha.copy_(values[name])

    def state_dict(self) -> dict[str, Any]:
        """Return values, gradients, which may count in later steps, and the moments of Adam."""
        return {
            "values": {name: alpha.detach() for name, alpha in self.items()},
            "gradients": self.gradients,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.restore(state["values"])
        self.gradients = [gradient.to(alpha) for gradient, alpha in zip(state["gradients"], self.values(), strict=True)]
        self.optimizer.load_state_dict(state["optimizer"])


def descend(
    fabric: Fabric,
    network: nn.Module,
    optimizer: Any,
    losses: Iterable[Tensor],
    *,
    lr: float,
    clip: float,
    clip_by: str = "norm",
    everything: bool = False,
    inputs: Sequence[Tensor] | None = None,
) -> None:
    """Take a gradient step on the sum of `losses`, each computed after the backward pass of the one before.

    The gradient is the mean of those of all processes.

    Args:
        fabric: Scales the loss in half precision.
        network: Whose gradients are averaged and clipped.
        optimizer: Of its parameters.
        losses: Parts of a batch' mean loss; their gradients are accumulated.
        lr: Learning rate of this step.
        clip: Largest L2 norm of the gradient, or largest absolute value of its entries; 0 leaves it.
        clip_by: `norm` or `value`, what `clip` bounds.
        everything: Whether it bounds the norm of all gradients of `network`, and not only of what `optimizer` moves.
            Not for half precision, which scales these alone.
        inputs: What to differentiate with respect to; everything the losses depend on by default.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad()
    for loss in losses:
        fabric.backward(loss, inputs=inputs)
    parallel.average(p.grad for p in (network.parameters() if inputs is None else inputs))
    if clip and clip_by == "value":
        fabric.clip_gradients(network, optimizer, clip_val=clip)
    elif clip and everything:  # Fabric would look at the optimizer's parameters only
        nn.utils.clip_grad_norm_(network.parameters(), clip)
    elif clip:
        fabric.clip_gradients(network, optimizer, max_norm=clip, error_if_nonfinite=False)
    optimizer.step()
