"""Training a built network by a `Recipe`: a session, so that it can be stopped and continued anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ramify.errors import ConfigurationError, RamifyError
from ramify.ops import DropPath
from ramify.seeding import seeded
from ramify.training.loss_scale import LossScale
from ramify.training.recipe import Recipe
from ramify.training.session import Averages, Metrics, Task, cross_entropy, descend


class TrainingSession:
    """A network in training.

    Args:
        network: Freshly built.
        recipe: How to train it.
        task: Data, seed and device.
        split: Which images to train on.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, task: Task, *, split: str = "train") -> None:
        self.recipe, self.task = recipe, task
        self.augmentation = recipe.augmentation(task.data.augmentation, task.data.input_size[-1])
        self.split = task.data.split(split)
        self.batch_size = min(recipe.batch_size, len(self.split))
        self.steps_per_epoch = self.split.num_batches(self.batch_size, drop_last=True)
        self.steps = recipe.epochs * self.steps_per_epoch
        network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        self.network, self.optimizer = task.fabric.setup(network, optimizer)
        self.scale = LossScale(task.fabric)
        self.drop_paths = [module for module in network.modules() if isinstance(module, DropPath)]
        self.averages = Averages(task.fabric.device)
        self.step = 0

    def rehearse(self) -> None:
        """Send a batch through the network as training does, on the meta device: shapes only.

        Raises:
            ConfigurationError: If images or batches are too small for the network.
        """
        network = self.network.module
        state = {name: value.to("meta") for name, value in network.state_dict().items()}
        images = torch.empty((self.batch_size, *self.task.data.input_size), device="meta")
        try:
            with torch.no_grad():
                torch.func.functional_call(network.train(), state, (images,))
        except RamifyError:
            raise
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"the network cannot be trained on batches of {self.batch_size} × {self.task.data.input_size}: {reason}"
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
                drop_last=True,
                start=first_batch if epoch == first_epoch else 0,
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
        with seeded(self.task.seed, "train", self.step):
            output = self.network(x)
        logits, auxiliary = output if isinstance(output, tuple) else (output, None)
        loss = cross_entropy(logits, y, self.recipe.label_smoothing)
        total = loss
        if auxiliary is not None:
            extra = cross_entropy(auxiliary, y, self.recipe.label_smoothing)
            total = loss + self.recipe.auxiliary_weight * extra
        descend(self.task.fabric, self.network, self.optimizer, [total], lr=rate, clip=self.recipe.clip)
        self.averages.add(logits, y, loss)

    def state_dict(self) -> dict[str, Any]:
        """Return network, optimiser, the scale of the loss and position."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scale": self.scale.state_dict(),
            "averages": self.averages.sums,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scale.load_state_dict(state["scale"])
        self.averages.sums.copy_(state["averages"])
