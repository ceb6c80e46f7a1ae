"""Training a built network by a `Recipe`, as a session that can be stopped and continued anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.errors import ConfigurationError, RamifyError, nearest
from ramify.execution import prepare
from ramify.ops import DropPath
from ramify.ops.shapes import ShapesOnly
from ramify.seeding import rng, seeded, stream
from ramify.supernet import auxiliary_parameters
from ramify.tasks import Batch, Portion, backbone_of
from ramify.tasks.batch import mapped, tensors
from ramify.training.descent import descend
from ramify.training.loss_scale import LossScale
from ramify.training.measure import measure
from ramify.training.optimizers import MovingAverage, Muon, RMSPropTF
from ramify.training.recalibration import CALIBRATION_BATCH, recalibrated
from ramify.training.recipe import Recipe
from ramify.training.schedules import WHOLE
from ramify.training.session import (
    Averages,
    Loss,
    Metrics,
    Work,
    check_smoothing,
    fitting,
    leaves_out,
    lost,
    parted,
    parts,
    uneven,
)
from ramify.training.single_images import check_parts, check_whole, inputs_for, normalizes_one
from ramify.training.whitening import whiten


class TrainingSession:
    """A network in training.

    Args:
        network: Freshly built, with what the task puts behind it.
        recipe: How to train it; the attribute is what it is for a network of this size.
        work: Task, seed and device.
        split: Which items to train on.
        teacher: The network that the recipe's distillation is from, with its weights: inputs → logits (B, K).
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        work: Work,
        *,
        split: str = "train",
        teacher: nn.Module | None = None,
    ) -> None:
        auxiliary = auxiliary_parameters(backbone_of(network))
        recipe = recipe.sized(sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in auxiliary))
        self.recipe, self.work, self.task = recipe, work, work.task
        self.validation: Portion | None = None
        if recipe.validation:
            if split != "train":
                raise ConfigurationError(
                    f"what trains on {split} is measured elsewhere; the recipe's `validation` is for a final training"
                )
            if recipe.validation != "search":
                self.task = self.task.holding_out(recipe.validation)
            split, self.validation = "search_train", self.task.split("search_validation")
        self.best: dict[str, Any] = {}  # epoch, score, and the weights as they were there
        check_whole(self.task, recipe.accumulate)
        check_smoothing(self.task, recipe.label_smoothing)
        if recipe.mixup and any(not one.is_floating_point() for one in tensors(self.task.example(1).inputs)):
            raise ConfigurationError(
                f"`mixup` mixes inputs, and inputs of {self.task.name} are whole numbers, which have no mixture: leave "
                "it out"
            )
        self.augmented = recipe.augmented(self.task)
        self.split = self.task.split(split)
        self.batch_size = fitting(recipe.batch_size, self.split)
        self.drops_last = leaves_out(self.split, self.batch_size, drop_last=recipe.drop_last)
        self.uneven = uneven(self.split, self.batch_size, drop_last=recipe.drop_last)
        self.steps_per_epoch = self.split.num_batches(self.batch_size, drop_last=self.drops_last)
        self.steps = recipe.epochs * self.steps_per_epoch
        if recipe.whiten:
            whiten(network, self.split.batches(recipe.whiten, seed=work.seed))
        network = prepare(network, work.execution)
        optimizer = _optimizer(network, recipe)
        self.network, self.optimizer = work.fabric.setup(network, optimizer)
        check_parts(self.split, self.batch_size, recipe.accumulate, self._normalizes_one)
        self.average = MovingAverage(self.network.module, recipe.ema) if recipe.ema else None
        if self.average is not None:  # takes images as the network itself does, whatever the precision
            self._averaged = work.fabric.setup_module(self.average.network)
        self.teacher = _taught_by(teacher, recipe, work)
        self.scale = LossScale(work.fabric)
        self.drop_paths = [module for module in network.modules() if isinstance(module, DropPath)]
        self.averages = Averages(self.task, work.fabric.device)
        self.step = 0

    @property
    def trained(self) -> nn.Module:
        """The resulting network: the trained one, or its moving average."""
        return self.network if self.average is None else self._averaged

    @property
    def fixed_length(self) -> str:
        """Why a longer training is another one from its beginning, or not the same at the end; empty if it is not."""
        if self.recipe.schedule in WHOLE:
            return f"the {self.recipe.schedule} schedule spans all epochs"
        if self.recipe.drop_path and self.drop_paths:
            return "drop path grows over all epochs"
        return "norms are recalibrated behind the last epoch" if self.recipe.recalibrate else ""

    def _normalizes_one(self) -> bool:
        """Return whether a norm would get a single value per channel from a single image."""
        network = self.network.module
        return normalizes_one(network, inputs_for(network, self.task))

    def rehearse(self) -> None:
        """Run a batch through the network as in training, on the meta device: shapes only.

        Raises:
            ConfigurationError: If images or batches are too small for the network.
        """
        network = self.network.module
        count = parallel.world()  # norms see the images of all processes
        size = count * max(1, self.batch_size // count // self.recipe.accumulate)
        inputs = inputs_for(network, self.task, size)
        output = _shapes(network.train(), inputs, "the network cannot be trained on")
        if self.teacher is not None:
            self._check_teacher(inputs, self._parted(output)[0])

    def _check_teacher(self, inputs: Any, output: Any) -> None:
        """Raise `ConfigurationError` unless the teacher's output has the shape of the network's; shapes only."""
        name = self.recipe.distillation.teacher
        taught = _shapes(self.teacher.module, inputs, f"the teacher {name} does not take")
        told = tuple(taught.shape) if isinstance(taught, Tensor) else type(taught).__name__
        if told != tuple(output.shape):
            raise ConfigurationError(
                f"the teacher {name} returns {told} where the network returns {tuple(output.shape)}: it has to know "
                "the same classes"
            )

    def run(self) -> Iterator[Metrics]:
        """Train; yield after every step, with a row of the history after every epoch."""
        recipe = self.recipe
        first_epoch, first_batch = divmod(self.step, self.steps_per_epoch)
        for epoch in range(first_epoch, recipe.epochs):
            if self._lost_patience(epoch):
                return
            drop_path = recipe.drop_path * epoch / recipe.epochs if self.drop_paths else 0.0
            for module in self.drop_paths:
                module.rate = drop_path
            self.network.train()
            for batch in self._batches(epoch, first_batch if epoch == first_epoch else 0):
                rate = recipe.lr_at(self.step, self.steps_per_epoch)
                self._step(batch, rate)
                self.step += 1
                if self.step == self.steps and recipe.recalibrate:
                    self._recalibrate()
                values: dict[str, Any] = {}
                if self.step % self.steps_per_epoch == 0:
                    averages = self.averages.take()
                    values = {"epoch": epoch, **averages, "lr": rate, "drop_path": drop_path}
                    own = (name for name in averages if name != "loss" and self.task.meters_score)
                    values |= self._validated(epoch, next(own, self.task.metrics[0].name))
                yield Metrics("train", self.step, self.steps, values)

    def _batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return this process' share of the batches of an epoch, from one on."""
        return self.split.batches(
            self.batch_size,
            seed=self.work.seed,
            epoch=epoch,
            augmented=self.augmented,
            shuffle=True,
            drop_last=self.drops_last,
            start=start,
            part=parallel.part(),
            device=self.work.fabric.device,
        )

    def _recalibrate(self) -> None:
        """Set the norms to the statistics of as many training inputs as the recipe says, the same in every process."""
        network = self.trained
        batches = self.split.batches(
            CALIBRATION_BATCH,
            seed=self.work.seed,
            epoch=self.recipe.epochs,
            augmented=self.augmented,
            shuffle=True,
            device=self.work.fabric.device,
        )
        with recalibrated(network, network, batches, images=self.recipe.recalibrate):
            found = {name: buffer.clone() for name, buffer in network.named_buffers()}
        for name, buffer in network.named_buffers():
            buffer.copy_(found[name])

    def _parts(self, batch: Batch) -> Iterator[tuple[Batch, float]]:
        """Return the parts that a batch is sent through the network in, with their shares of its loss."""
        return parts(self.task, batch, self.recipe.accumulate, size=self.batch_size, uneven=self.uneven)

    def _validated(self, epoch: int, name: str) -> dict[str, float]:
        """Measure the network on what was held out, and keep its weights if they are the best so far.

        Args:
            epoch: That has ended.
            name: What to call the first metric of the task: as the training does, where it measures that.
        """
        if self.validation is None:
            return {}
        found = measure(self.trained, self.validation, device=self.work.fabric.device)
        if isfinite(found.score) and isfinite(found.loss) and not found.score <= self.best.get("score", -inf):
            state = {name: value.detach().clone() for name, value in self.trained.state_dict().items()}
            self.best = {"epoch": epoch, "score": found.score, "state": state}
        score = found.metrics[self.task.metrics[0].name]
        return {"validation_loss": found.loss, f"validation_{name}": score}

    def _lost_patience(self, epoch: int) -> bool:
        """Return whether training ends before an epoch, because none of the latest was better."""
        return bool(self.recipe.patience) and epoch > self.best.get("epoch", -1) + self.recipe.patience

    def _step(self, batch: Batch, rate: float) -> None:
        clip = self.recipe.clip
        descend(self.work.fabric, self.network, self.optimizer, self._losses(batch), lr=rate, clip=clip)
        if self.average is not None:
            self.average.follow(self.network.module)

    def _losses(self, batch: Batch) -> Iterator[Tensor]:
        """Yield what the parts of a batch lose."""
        count = self.recipe.accumulate
        held = len(batch) if self.teacher is None else self._mean_held(len(batch))
        for number, (part, share) in enumerate(self._parts(batch)):
            key = (self.step,) if count == 1 else (self.step, number)
            inputs, mixed = self._mixed(part, key)
            with seeded(self.work.seed, "train", *key):
                output = self.network(inputs)
            output, further = self._parted(output)
            loss = self._loss(output, mixed, share)
            if self.teacher is not None:
                loss = self._distilled(loss, output, inputs, len(part) / held)
            self.averages.add(output, part, loss)
            beside = [self.recipe.auxiliary_weight * self._loss(one, mixed, share).mean for one in further]
            yield share * (loss.mean + sum(beside) if beside else loss.mean)

    def _mean_held(self, items: int) -> float:
        """Return how many items of a batch the processes hold on average, where this one holds `items`."""
        return sum(parallel.counted(items) if self.uneven else parallel.held(items)) / parallel.world()

    def _distilled(self, loss: Loss, output: Tensor, inputs: Any, share: float) -> Loss:
        """Return the loss with the teacher's term, which is the mean over images, whatever their classes weigh.

        Args:
            loss: Of the labels.
            output: Logits (B, K).
            inputs: What they are of.
            share: Of the images of the whole batch, times the number of processes.
        """
        settings = self.recipe.distillation
        with torch.no_grad():
            taught = parted(self.task, self.teacher(inputs))[0]
        factor = settings.alpha * share / loss.share if loss.share else 0.0
        return replace(loss, mean=(1 - settings.alpha) * loss.mean + factor * settings.term(output, taught))

    def _parted(self, output: Any) -> tuple[Any, tuple[Tensor, ...]]:
        """Return an output, and those of auxiliary heads beside it that learn, too."""
        learn = self.recipe.auxiliary and self.task.takes_auxiliary
        if learn and isinstance(output, tuple) and len(output) == 2:
            return output[0], (output[1],)
        output, further = parted(self.task, output)
        return output, further if learn else ()

    def _mixed(self, part: Batch, key: tuple[int, ...]) -> tuple[Any, list[tuple[Batch, float]]]:
        """Return inputs, and the batches whose targets each of them has with their shares (mixup)."""
        alpha = self.recipe.mixup
        if not alpha:
            return part.inputs, [(part, 1.0)]
        share = rng(self.work.seed, "mixup", self.step).betavariate(alpha, alpha)
        order = torch.randperm(len(part), generator=stream(self.work.seed, "mixup", *key))
        partners = part.taken(order.to(tensors(part.inputs)[0].device))
        mixed = [torch.lerp(b, a, share) for a, b in zip(tensors(part.inputs), tensors(partners.inputs), strict=True)]
        inputs = iter(mixed)
        return mapped(lambda _: next(inputs), part.inputs), [(part, share), (partners, 1 - share)]

    def _loss(self, output: Any, mixed: list[tuple[Batch, float]], share: float) -> Loss:
        """Return what an output loses on the targets of one batch, or of two that are mixed."""
        losses = [lost(self.task, output, part, share, smoothing=self.recipe.label_smoothing) for part, _ in mixed]
        if len(losses) == 1:
            return losses[0]
        means = [of * loss.mean for (_, of), loss in zip(mixed, losses, strict=True)]
        return Loss(torch.stack(means).sum(), losses[0].weight, share)

    def state_dict(self) -> dict[str, Any]:
        """Return network, moving average, optimizer, loss scale and position."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            **({} if self.average is None else {"average": self.average.network.state_dict()}),
            "optimizer": self.optimizer.state_dict(),
            "scale": self.scale.state_dict(),
            "averages": self.averages.state_dict(),
            **({} if self.validation is None else {"best": self.best}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.network.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scale.load_state_dict(state["scale"])
        self.averages.load_state_dict(state["averages"])
        self.best = dict(state.get("best", {}))


def _shapes(network: nn.Module, inputs: Any, refusal: str) -> Any:
    """Return what a network makes of inputs, all on the meta device: shapes only.

    Raises:
        ConfigurationError: If it does not take them; `refusal` is the beginning of the sentence.
    """
    state = {name: value.to("meta") for name, value in network.state_dict().items()}
    try:
        with torch.no_grad(), ShapesOnly():
            return torch.func.functional_call(network, state, (inputs,))
    except RamifyError:
        raise
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        sizes = " and ".join(str(tuple(each.shape)) for each in tensors(inputs))
        raise ConfigurationError(f"{refusal} batches of {sizes}: {reason:.120}") from error


def _taught_by(teacher: nn.Module | None, recipe: Recipe, work: Work) -> Any:
    """Return the teacher as it teaches: in evaluation mode, without gradients, on the device.

    Raises:
        ConfigurationError: If it is missing, or what is learned are no classes.
    """
    if recipe.distillation.teacher is None:
        return None
    if teacher is None:
        raise ConfigurationError("distillation needs the network of its teacher, which `retrain` loads and nobody else")
    if "classes" not in work.task.offers:
        raise ConfigurationError(f"distillation compares logits of classes, and {work.task.name} has none")
    set_up = work.fabric.setup_module(prepare(teacher, work.execution))  # takes images as the network itself does
    return set_up.eval().requires_grad_(False)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "muon":
        return _muon(network, recipe)
    apart = _decayed_apart(network, recipe)
    own = {id(p) for group in apart for p in group["params"]}
    decayed = [p for p in network.parameters() if (recipe.decay_norms or p.ndim > 1) and id(p) not in own]
    groups: list[dict[str, Any]] = [{"params": decayed}, *apart]
    if not recipe.decay_norms:
        groups.append({"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0})
    settings: dict[str, Any] = {"lr": recipe.lr, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "rmsprop":
        return RMSPropTF(groups, **settings)
    return torch.optim.SGD(groups, nesterov=recipe.nesterov, **settings)


def _decayed_apart(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the parts of a network with a weight decay of their own, the longest beginning of a name first.

    Raises:
        ConfigurationError: If the network has no such part.
    """
    left = {name: p for name, p in network.named_parameters() if recipe.decay_norms or p.ndim > 1}
    groups = []
    for part in sorted(recipe.part_decay, key=len, reverse=True):
        names = [name for name in left if f"{name}.".startswith(f"{part}.")]
        if not names:
            parts = {".".join(name.split(".")[:2]) for name, _ in network.named_parameters()}
            raise ConfigurationError(f"`part_decay`: the network has no part {part!r:.40}; {nearest(part, parts)}")
        groups.append({"params": [left.pop(name) for name in names], "weight_decay": recipe.part_decay[part]})
    return groups


def _muon(network: nn.Module, recipe: Recipe) -> Muon:
    learned = [p for p in network.parameters() if p.requires_grad]
    inner = [p for p in network.parameters() if p.ndim > 1][1:-1]
    chosen = {id(p) for p in inner}
    matrices, others = ([p for p in learned if (id(p) in chosen) is among] for among in (True, False))
    settings = {"lr": recipe.lr, "rest_lr": recipe.rest_lr, "momentum": recipe.momentum}
    return Muon(matrices, others, **settings, weight_decay=recipe.weight_decay)
