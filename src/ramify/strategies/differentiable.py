"""The bilevel search that differentiable strategies share.

Weights descend on `search_train`, architecture parameters on `search_validation` (Liu et al., DARTS, ICLR 2019,
Algorithm 1). A strategy adds how it turns architecture parameters into mixing weights.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.seeding import seeded, stream
from ramify.spaces import Space
from ramify.strategies.base import SearchSession, Strategy
from ramify.supernet import Choice
from ramify.training import Averages, Metrics, SupernetWeights, Task, WeightSettings, endless
from ramify.training.session import cross_entropy

Active = Mapping[str, Tensor] | None


@dataclass(frozen=True)
class Moment:
    """When in a search a mixing is asked for.

    Args:
        seed: Of the run.
        epoch: From 0.
        draw: Number of the forward pass, from 0, unique in the search.
    """

    seed: int
    epoch: int
    draw: int

    def generator(self, *key: str) -> torch.Generator:
        """Return the generator of this draw."""
        return stream(self.seed, "mixing", self.draw, *key)


@dataclass(frozen=True, kw_only=True)
class Differentiable(WeightSettings, Strategy):
    """Settings of a bilevel search.

    Args:
        arch_lr: Learning rate of the architecture parameters, by Adam.
        arch_betas: Adam's averaging factors.
        arch_weight_decay: Adam's L2 penalty.
        first: Which step comes first, `architecture` or `weights`.
    """

    arch_lr: float = 3e-4
    arch_betas: tuple[float, float] = (0.5, 0.999)
    arch_weight_decay: float = 1e-3
    first: str = "architecture"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first not in ("architecture", "weights"):
            raise ConfigurationError(f"`first` must be 'architecture' or 'weights', got {self.first!r}")
        for name in ("arch_lr", "arch_weight_decay"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.arch_betas):
            raise ConfigurationError(f"`arch_betas` must be in [0, 1), got {self.arch_betas}")

    @abstractmethod
    def mixing(
        self, choices: Mapping[str, Choice], alphas: Mapping[str, Tensor], moment: Moment
    ) -> tuple[dict[str, Tensor], Active]:
        """Return the mixing weights (E, O) of one forward pass, and which candidates to compute (None: all)."""

    @property
    def supernet_options(self) -> dict[str, Any]:
        """Further arguments of the supernet's forward pass."""
        return {}

    def recorded(self, moment: Moment) -> dict[str, float]:
        """Return what the strategy adds to a row of the history."""
        return {}

    def session(self, space: Space, task: Task) -> SearchSession:
        """Return the bilevel search of a space."""
        return BilevelSession(self, space, task)


class BilevelSession:
    """A differentiable strategy at work; owns the architecture parameters and both optimisers."""

    def __init__(self, strategy: Differentiable, space: Space, task: Task) -> None:
        self.strategy, self.space, self.task = strategy, space, task
        self.weights = SupernetWeights(strategy, space, task)
        self.validation = task.data.split("search_validation")
        # 1e-3·N(0, 1) as in DARTS. They are small and stay on the host, so sampling never waits for a device.
        self.alphas = {
            name: nn.Parameter(1e-3 * torch.randn(choice.shape, generator=stream(task.seed, "alphas", name)))
            for name, choice in space.choices.items()
        }
        for alpha in self.alphas.values():
            alpha.grad = torch.zeros_like(alpha)
        adam = torch.optim.Adam(
            list(self.alphas.values()),
            lr=strategy.arch_lr,
            betas=strategy.arch_betas,
            weight_decay=strategy.arch_weight_decay,
        )
        self.optimizer: Any = task.fabric.setup_optimizers(adam)
        self.averages = Averages(task.fabric.device)
        self.step = 0

    def run(self) -> Iterator[Metrics]:
        """Search; one yield a step, one row of the history an epoch."""
        weights = self.weights
        training = self._batches(weights.split)
        validation = self._batches(self.validation)
        while self.step < weights.steps:
            train, valid = next(training), next(validation)
            if self.strategy.first == "architecture":
                self._architecture_step(*valid)
                self._weight_step(*train)
            else:
                self._weight_step(*train)
                self._architecture_step(*valid)
            self.step += 1
            ends_epoch = self.step % weights.steps_per_epoch == 0
            yield Metrics("search", self.step, weights.steps, self._row() if ends_epoch else {})

    def _batches(self, split: Any) -> Iterator[tuple[Tensor, Tensor]]:
        return endless(
            split,
            self.weights.batch_size,
            seed=self.task.seed,
            augmentation=self.task.data.augmentation,
            device=self.task.fabric.device,
            start=self.step,
        )

    def _moment(self, position: int) -> Moment:
        return Moment(self.task.seed, self.step // self.weights.steps_per_epoch, 2 * self.step + position)

    def _weight_step(self, x: Tensor, y: Tensor) -> None:
        with torch.no_grad():
            mix, active = self.strategy.mixing(self.space.choices, self.alphas, self._moment(0))
        self.weights.descend(self.step, x, y, mix, active)

    def _architecture_step(self, x: Tensor, y: Tensor) -> None:
        mix, active = self.strategy.mixing(self.space.choices, self.alphas, self._moment(1))
        self.weights.supernet.train()
        with seeded(self.task.seed, "architecture", self.step):
            logits = self.weights.supernet(x, mix, active=active, **self.strategy.supernet_options)
        loss = cross_entropy(logits, y)
        # A draw of `none` on every edge that enters the output, or a network too short for a kind of cell, leaves no
        # path to some: zeros then. Through Fabric, because half precision scales the loss.
        self.optimizer.zero_grad(set_to_none=False)
        self.task.fabric.backward(loss, inputs=list(self.alphas.values()))  # none are computed for the weights
        self.optimizer.step()
        self.averages.add(logits, y, loss)

    def mixing_weights(self) -> dict[str, Tensor]:
        """Return the softmax (E, O) of the architecture parameters over the existing candidates."""
        return {name: choice.softmax(self.alphas[name].detach()) for name, choice in self.space.choices.items()}

    def architecture(self) -> Architecture:
        """Return the member that the softmax of the architecture parameters prefers."""
        return self.space.discretize(self.mixing_weights())

    def _row(self) -> dict[str, Any]:
        last = self.step - 1
        moment = Moment(self.task.seed, last // self.weights.steps_per_epoch, 2 * last)
        arch = self.architecture()
        return {
            "epoch": moment.epoch,
            **self.weights.averages.take(),
            **self.averages.take("validation_"),
            "lr": self.weights.lr_at(last),
            **self.strategy.recorded(moment),
            "mixing": {name: weights.tolist() for name, weights in self.mixing_weights().items()},
            "architecture": {"notation": self.space.format(arch), **arch.to_dict()},
        }

    @property
    def supernet(self) -> nn.Module:
        """The supernet with its weights."""
        return self.weights.supernet

    def state_dict(self) -> dict[str, Any]:
        """Return weights, architecture parameters, optimisers and position."""
        return {
            "step": self.step,
            "weights": self.weights.state_dict(),
            "alphas": {name: alpha.detach() for name, alpha in self.alphas.items()},
            "optimizer": self.optimizer.state_dict(),
            "averages": self.averages.sums,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.step = state["step"]
        self.weights.load_state_dict(state["weights"])
        with torch.no_grad():
            for name, alpha in self.alphas.items():
                alpha.copy_(state["alphas"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averages.sums.copy_(state["averages"])
