"""Training the weights of a supernet: what every one-shot strategy shares."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from ramify.errors import ConfigurationError
from ramify.seeding import seeded
from ramify.spaces import Space
from ramify.supernet import Mix
from ramify.training.schedules import learning_rate
from ramify.training.session import Averages, Task, cross_entropy


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
    """

    epochs: int = 50
    batch_size: int = 64
    lr: float = 0.025
    min_lr: float = 0.001
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "min_lr", "momentum", "weight_decay", "clip"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("`nesterov` needs a `momentum` above 0")


class SupernetWeights:
    """A supernet with the optimiser of its weights.

    Args:
        settings: Of the optimiser.
        space: Gives the supernet.
        task: Data, seed, device and layout.
    """

    def __init__(self, settings: WeightSettings, space: Space, task: Task) -> None:
        self.settings, self.task = settings, task
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
        self.averages = Averages(task.fabric.device)

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        settings = self.settings
        return learning_rate(step, self.steps_per_epoch, settings.epochs, lr=settings.lr, min_lr=settings.min_lr)

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
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr_at(step)
        self.supernet.train()
        constant = {name: weights.detach() for name, weights in mix.items()}
        with seeded(self.task.seed, "weights", step):
            loss = self.loss(x, y, constant, active, **options)
        self.optimizer.zero_grad()
        self.task.fabric.backward(loss)
        if self.settings.clip:
            self.task.fabric.clip_gradients(
                self.supernet, self.optimizer, max_norm=self.settings.clip, error_if_nonfinite=False
            )
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return weights, momenta and averages."""
        return {
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averages": self.averages.sums,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.supernet.load_state_dict(state["supernet"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averages.sums.copy_(state["averages"])
