"""Training the weights of a supernet: what every one-shot strategy shares."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from ramify.architecture import Architecture
from ramify.data import Split
from ramify.errors import ConfigurationError
from ramify.seeding import seeded
from ramify.spaces import Space
from ramify.supernet import Mix
from ramify.training.loss_scale import LossScale
from ramify.training.measure import Measurement, measure
from ramify.training.schedules import learning_rate
from ramify.training.session import Averages, Task, cross_entropy, descend, endless, parts


@dataclass(frozen=True, kw_only=True)
class WeightSettings:
    """SGD for the weights of a supernet.

    Args:
        epochs: Passes over the images of `search_train`.
        batch_size: Images in a step.
        lr: Learning rate at the start; it falls as a cosine, constant inside an epoch.
        min_lr: Learning rate at the end.
        momentum: Of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Of SGD.
        clip: Largest L2 norm of the weights' gradient; 0 leaves it.
        accumulate: Parts that every batch is sent through the network in, to save memory; gradients are those of the
            whole batch, but norms see the statistics of a part.
    """

    epochs: int = 50
    batch_size: int = 64
    lr: float = 0.025
    min_lr: float = 0.001
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "min_lr", "momentum", "weight_decay", "clip"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("`nesterov` needs a `momentum` above 0")


def single_path(space: Space, arch: Architecture) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the one-hot mix of a member and what it computes: nothing but its own operations."""
    mix = space.mix(arch)
    return mix, {name: weights > 0 for name, weights in mix.items()}


class SupernetWeights:
    """A supernet with the optimiser of its weights.

    Args:
        settings: Of the optimiser.
        space: Gives the supernet.
        task: Data, seed, device and layout.
    """

    def __init__(self, settings: WeightSettings, space: Space, task: Task) -> None:
        self.settings, self.space, self.task = settings, space, task
        with seeded(task.seed, "supernet"):
            supernet = space.supernet(**task.shape, **space.checked_layout("supernet", task.network))
        supernet = supernet.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(
            supernet.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )
        self.split = task.data.split("search_train")
        self.batch_size = min(settings.batch_size, len(self.split))
        self.steps_per_epoch = self.split.num_batches(self.batch_size, drop_last=True)
        self.steps = settings.epochs * self.steps_per_epoch
        self.supernet, self.optimizer = task.fabric.setup(supernet, optimizer)
        self.scale = LossScale(task.fabric)
        self.averages = Averages(task.fabric.device)

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        settings = self.settings
        return learning_rate(step, self.steps_per_epoch, settings.epochs, lr=settings.lr, min_lr=settings.min_lr)

    def batches(self, split: Split, start: int, *, augmented: bool = True) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield shuffled batches of a split for ever, from batch number `start`."""
        return endless(
            split,
            self.batch_size,
            seed=self.task.seed,
            augmentation=self.task.data.augmentation if augmented else None,
            device=self.task.fabric.device,
            start=start,
        )

    def loss(self, x: Tensor, y: Tensor, mix: Mix, active: Mapping[str, Tensor] | None, **options: Any) -> Tensor:
        """Return the mean cross-entropy of a batch and count it in the averages."""
        logits = self.supernet(x, mix, active=active, **options)
        loss = cross_entropy(logits, y)
        self.averages.add(logits, y, loss)
        return loss

    def descend(
        self, step: int, x: Tensor, y: Tensor, mix: Mix, active: Mapping[str, Tensor] | None = None, **options: Any
    ) -> None:
        """Take one step on a batch. `mix` is a constant here: no gradient reaches the architecture."""
        settings = self.settings
        constant = {name: weights.detach() for name, weights in mix.items()}

        def losses() -> Iterator[Tensor]:
            for number, (xs, ys, share) in enumerate(parts(x, y, settings.accumulate)):
                with seeded(self.task.seed, "weights", step, number):
                    loss = self.loss(xs, ys, constant, active, **options)
                yield loss * share

        self.supernet.train()
        descend(self.task.fabric, self.supernet, self.optimizer, losses(), lr=self.lr_at(step), clip=settings.clip)

    def measure(self, mix: Mix, active: Mapping[str, Tensor] | None = None, *, batches: int = 0) -> Measurement:
        """Score a mixture, or a member by the weights it inherits, on `search_validation` or its first `batches`.

        Norms use the statistics of the batch, unless the layout of the supernet says otherwise.
        """
        return measure(
            self.supernet,
            self.task.data.split("search_validation"),
            device=self.task.fabric.device,
            batches=batches,
            forward=lambda x: self.supernet(x, mix, active=active),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return weights, momenta, the scale of the loss and averages."""
        return {
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scale": self.scale.state_dict(),
            "averages": self.averages.sums,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.supernet.load_state_dict(state["supernet"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scale.load_state_dict(state["scale"])
        self.averages.sums.copy_(state["averages"])
