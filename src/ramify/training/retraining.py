"""Training a built network by a `Recipe`: a session, so that it can be stopped and continued anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.errors import ConfigurationError, RamifyError
from ramify.ops import DropPath, channels_last
from ramify.profiling import images_for
from ramify.seeding import rng, seeded, stream
from ramify.training.loss_scale import LossScale
from ramify.training.optimizers import MovingAverage, RMSPropTF
from ramify.training.recipe import Recipe
from ramify.training.session import Averages, Metrics, Task, cross_entropy, descend, fitting, leaves_out, parts, uneven
from ramify.training.single_images import check_parts, normalises_one


class TrainingSession:
    """A network in training.

    Args:
        network: Freshly built.
        recipe: How to train it; the attribute is what it is for a network of this size.
        task: Data, seed and device.
        split: Which images to train on.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, task: Task, *, split: str = "train") -> None:
        params = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("auxiliary."))
        recipe = recipe.sized(params)
        self.recipe, self.task = recipe, task
        self.augmentation = recipe.augmentation(task.data.augmentation, task.data.input_size)
        self.split = task.data.split(split)
        self.batch_size = fitting(recipe.batch_size, self.split)
        self.drops_last = leaves_out(self.split, self.batch_size, drop_last=recipe.drop_last)
        self.uneven = uneven(self.split, self.batch_size, drop_last=recipe.drop_last)
        self.steps_per_epoch = self.split.num_batches(self.batch_size, drop_last=self.drops_last)
        self.steps = recipe.epochs * self.steps_per_epoch
        network = channels_last(network)
        optimizer = _optimizer(network, recipe)
        self.network, self.optimizer = task.fabric.setup(network, optimizer)
        check_parts(self.split, self.batch_size, recipe.accumulate, self._normalises_one)
        self.average = MovingAverage(self.network.module, recipe.ema) if recipe.ema else None
        if self.average is not None:  # takes images as the network itself does, whatever the precision
            self._averaged = task.fabric.setup_module(self.average.network)
        self.scale = LossScale(task.fabric)
        self.drop_paths = [module for module in network.modules() if isinstance(module, DropPath)]
        self.averages = Averages(task.fabric.device)
        self.step = 0

    @property
    def trained(self) -> nn.Module:
        """The network that the training is for: what has been trained, or its moving average."""
        return self.network if self.average is None else self._averaged

    def _normalises_one(self) -> bool:
        """Return whether a norm would get a single value per channel from a single image."""
        network = self.network.module
        return normalises_one(network, images_for(network, self.task.data.input_size))

    def rehearse(self) -> None:
        """Send a batch through the network as training does, on the meta device: shapes only.

        Raises:
            ConfigurationError: If images or batches are too small for the network.
        """
        network = self.network.module
        state = {name: value.to("meta") for name, value in network.state_dict().items()}
        count = parallel.world()  # norms see the images of all processes
        size = count * max(1, self.batch_size // count // self.recipe.accumulate)
        images = images_for(network, self.task.data.input_size, size)
        try:
            with torch.no_grad():
                torch.func.functional_call(network.train(), state, (images,))
        except RamifyError:
            raise
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"the network cannot be trained on batches of {size} × {self.task.data.input_size}: {reason}"
            ) from error

    def run(self) -> Iterator[Metrics]:
        """Train; one yield a step, one row of the history an epoch."""
        recipe, task = self.recipe, self.task
        first_epoch, first_batch = divmod(self.step, self.steps_per_epoch)
        for epoch in range(first_epoch, recipe.epochs):
            drop_path = recipe.drop_path * epoch / recipe.epochs
            for module in self.drop_paths:
                module.rate = drop_path
            self.network.train()
            batches = self.split.batches(
                self.batch_size,
                seed=task.seed,
                epoch=epoch,
                augmentation=self.augmentation,
                shuffle=True,
                drop_last=self.drops_last,
                start=first_batch if epoch == first_epoch else 0,
                part=parallel.part(),
                device=task.fabric.device,
            )
            for x, y in batches:
                rate = recipe.lr_at(self.step, self.steps_per_epoch)
                self._step(x, y, rate)
                self.step += 1
                values: dict[str, Any] = {}
                if self.step % self.steps_per_epoch == 0:
                    values = {"epoch": epoch, **self.averages.take(), "lr": rate, "drop_path": drop_path}
                yield Metrics("train", self.step, self.steps, values)

    def _step(self, x: Tensor, y: Tensor, rate: float) -> None:
        clip = self.recipe.clip
        descend(self.task.fabric, self.network, self.optimizer, self._losses(x, y), lr=rate, clip=clip)
        if self.average is not None:
            self.average.follow(self.network.module)

    def _losses(self, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """Yield what the parts of a batch lose."""
        count = self.recipe.accumulate
        split = parts(x, y, count, size=self.batch_size, uneven=self.uneven)
        for number, (xs, ys, share) in enumerate(split):
            key = (self.step,) if count == 1 else (self.step, number)
            xs, targets = self._mixed(xs, ys, key)
            with seeded(self.task.seed, "train", *key):
                output = self.network(xs)
            logits, auxiliary = output if isinstance(output, tuple) else (output, None)
            loss = self._loss(logits, targets)
            self.averages.add(logits, ys, loss)
            yield share * (
                loss if auxiliary is None else loss + self.recipe.auxiliary_weight * self._loss(auxiliary, targets)
            )

    def _mixed(self, x: Tensor, y: Tensor, key: tuple[int, ...]) -> tuple[Tensor, list[tuple[Tensor, float]]]:
        """Return images, and the labels that each of them has with their shares (mixup)."""
        alpha = self.recipe.mixup
        if not alpha:
            return x, [(y, 1.0)]
        share = rng(self.task.seed, "mixup", self.step).betavariate(alpha, alpha)
        partners = torch.randperm(len(y), generator=stream(self.task.seed, "mixup", *key)).to(y.device)
        return torch.lerp(x[partners], x, share), [(y, share), (y[partners], 1 - share)]

    def _loss(self, logits: Tensor, targets: list[tuple[Tensor, float]]) -> Tensor:
        losses = [share * cross_entropy(logits, labels, self.recipe.label_smoothing) for labels, share in targets]
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def state_dict(self) -> dict[str, Any]:
        """Return network, its moving average, optimiser, the scale of the loss and position."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            **({} if self.average is None else {"average": self.average.network.state_dict()}),
            "optimizer": self.optimizer.state_dict(),
            "scale": self.scale.state_dict(),
            "averages": self.averages.sums,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.network.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scale.load_state_dict(state["scale"])
        self.averages.sums.copy_(state["averages"])


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if recipe.decay_norms or p.ndim > 1]
    groups: list[dict[str, Any]] = [{"params": decayed}]
    if not recipe.decay_norms:
        groups.append({"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0})
    settings: dict[str, Any] = {"lr": recipe.lr, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "rmsprop":
        return RMSPropTF(groups, **settings)
    return torch.optim.SGD(groups, nesterov=recipe.nesterov, **settings)
