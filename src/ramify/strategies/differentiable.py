"""The bilevel search that differentiable strategies share.

Weights descend on `search_train`, architecture parameters on `search_validation` (Liu et al., DARTS, ICLR 2019,
Algorithm 1). A strategy adds how it turns architecture parameters into mixing weights, and whatever else of the
steps below its paper changes.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.seeding import seeded, stream
from ramify.spaces import Space
from ramify.strategies.base import SearchSession, Strategy
from ramify.training import Averages, Metrics, SupernetWeights, Task, WeightSettings, endless
from ramify.training.session import cross_entropy

Active = Mapping[str, Tensor] | None
Alphas = Mapping[str, Tensor]
"""Name of a choice → architecture parameters (E, O)."""
Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) and labels (B,)."""


@dataclass(frozen=True)
class Moment:
    """When in a search a mixing is asked for.

    Args:
        seed: Of the run.
        epoch: From 0.
        draw: Number of the forward pass, from 0, unique in the search.
        step: What the pass is for.
    """

    seed: int
    epoch: int
    draw: int
    step: Literal["weights", "architecture"]

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
        arch_start: Epochs in which only the weights learn.
        first: Which step comes first, `architecture` or `weights`.
    """

    arch_lr: float = 3e-4
    arch_betas: tuple[float, float] = (0.5, 0.999)
    arch_weight_decay: float = 1e-3
    arch_start: int = 0
    first: str = "architecture"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first not in ("architecture", "weights"):
            raise ConfigurationError(f"`first` must be 'architecture' or 'weights', got {self.first!r}")
        for name in ("arch_lr", "arch_weight_decay", "arch_start"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.arch_betas):
            raise ConfigurationError(f"`arch_betas` must be in [0, 1), got {self.arch_betas}")

    @abstractmethod
    def mixing(self, space: Space, alphas: Alphas, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Return the mixing weights (E, O) of one forward pass, and which candidates to compute (None: all)."""

    def initial(self, space: Space, generator: Callable[[str], torch.Generator]) -> dict[str, Tensor]:
        """Return architecture parameters to start from: 1e-3·N(0, 1) of (E, O) for every choice, as in DARTS."""
        return {
            name: 1e-3 * torch.randn(choice.shape, generator=generator(name)) for name, choice in space.choices.items()
        }

    def scores(self, space: Space, alphas: Alphas) -> dict[str, Tensor]:
        """Return what the architecture is derived from: the softmax (E, O) over the existing candidates."""
        return {name: choice.softmax(alphas[name]) for name, choice in space.choices.items()}

    def penalty(self, space: Space, alphas: Alphas) -> Tensor | None:
        """Return what is added to the loss of the architecture; None for nothing."""
        return None

    def differentiate(self, session: "BilevelSession", valid: Batch, train: Batch) -> None:
        """Leave the gradients of the architecture step in the parameters: of the validation loss at these weights.

        None are computed for the weights. Through Fabric, because half precision scales the loss.
        """
        loss = session.validation_loss(valid)
        extra = self.penalty(session.space, session.alphas)
        loss = loss if extra is None else loss + extra.to(loss)
        session.task.fabric.backward(loss, inputs=list(session.alphas.values()))

    def project(self, alphas: Alphas) -> None:
        """Bring the parameters back to where they may be, in place, after a step."""

    def stop(self, space: Space, record: Sequence[Alphas]) -> int | None:
        """Return the epoch to return to and end with, or None to go on; `record` holds the parameters of each."""
        return None

    @property
    def layout(self) -> dict[str, Any]:
        """Layout keywords that the strategy needs of a supernet."""
        return {}

    @property
    def supernet_options(self) -> dict[str, Any]:
        """Further arguments of the supernet's forward pass."""
        return {}

    def recorded(self, epoch: int) -> dict[str, float]:
        """Return what the strategy adds to a row of the history."""
        return {}

    def session(self, space: Space, task: Task) -> SearchSession:
        """Return the bilevel search of a space."""
        return BilevelSession(self, space, task)


class BilevelSession:
    """A differentiable strategy at work; owns the architecture parameters and both optimisers."""

    def __init__(self, strategy: Differentiable, space: Space, task: Task) -> None:
        self.strategy, self.space, self.task = strategy, space, task
        self.weights = SupernetWeights(strategy, space, replace(task, network={**strategy.layout, **task.network}))
        self.validation = task.data.split("search_validation")
        # They are small and stay on the host, so sampling never waits for a device.
        self.alphas = {
            name: nn.Parameter(value)
            for name, value in strategy.initial(space, lambda name: stream(task.seed, "alphas", name)).items()
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
        self.record: list[dict[str, Tensor]] = []
        self.stopped = False
        self.step = 0

    def run(self) -> Iterator[Metrics]:
        """Search; one yield a step, one row of the history an epoch."""
        weights = self.weights
        training = self._batches(weights.split)
        validation = self._batches(self.validation)
        while self.step < weights.steps and not self.stopped:
            train, valid = next(training), next(validation)
            if self.strategy.first == "architecture":
                self._architecture_step(valid, train)
                self._weight_step(train)
            else:
                self._weight_step(train)
                self._architecture_step(valid, train)
            self.step += 1
            ends_epoch = self.step % weights.steps_per_epoch == 0
            yield Metrics("search", self.step, weights.steps, self._end_epoch() if ends_epoch else {})

    def _batches(self, split: Any) -> Iterator[tuple[Tensor, Tensor]]:
        return endless(
            split,
            self.weights.batch_size,
            seed=self.task.seed,
            augmentation=self.task.data.augmentation,
            device=self.task.fabric.device,
            start=self.step,
        )

    def _mixing(self, step: Literal["weights", "architecture"], alphas: Alphas) -> tuple[dict[str, Tensor], Active]:
        draw = 2 * self.step + (step == "architecture")
        moment = Moment(self.task.seed, self.step // self.weights.steps_per_epoch, draw, step)
        return self.strategy.mixing(self.space, alphas, moment)

    def _weight_step(self, train: Batch) -> None:
        with torch.no_grad():
            mix, active = self._mixing("weights", self.alphas)
        self.weights.descend(self.step, *train, mix, active)

    def _architecture_step(self, valid: Batch, train: Batch) -> None:
        # A draw of `none` on every edge that enters the output, or a network too short for a kind of cell, leaves no
        # path to some parameters: zeros then.
        if self.step < self.strategy.arch_start * self.weights.steps_per_epoch:
            with torch.no_grad():
                self.validation_loss(valid)
            return
        self.optimizer.zero_grad(set_to_none=False)
        self.strategy.differentiate(self, valid, train)
        self.optimizer.step()
        with torch.no_grad():
            self.strategy.project(self.alphas)

    def validation_loss(self, valid: Batch) -> Tensor:
        """Return the loss of the architecture step at the current weights, and count it."""
        mix, active = self._mixing("architecture", self.alphas)
        self.weights.supernet.train()
        with seeded(self.task.seed, "architecture", self.step):
            logits = self.weights.supernet(valid[0], mix, active=active, **self.strategy.supernet_options)
        loss = cross_entropy(logits, valid[1])
        self.averages.add(logits, valid[1], loss)
        return loss

    def loss_at(self, batch: Batch, weights: Sequence[Tensor], alphas: Sequence[Tensor], *, count: bool) -> Tensor:
        """Return the loss of the architecture step at other weights and parameters, in the order of those here.

        Buffers are cloned, so running statistics are not disturbed.
        """
        x, y = batch
        network = self.weights.supernet.module
        state = {name: w for (name, _), w in zip(network.named_parameters(), weights, strict=True)}
        state |= {name: buffer.clone() for name, buffer in network.named_buffers()}
        mix, active = self._mixing("architecture", dict(zip(self.alphas, alphas, strict=True)))
        network.train()
        with seeded(self.task.seed, "architecture", self.step), self.task.fabric.autocast():
            arguments = (x.to(weights[0].dtype), {name: m.to(weights[0].dtype) for name, m in mix.items()})
            logits = torch.func.functional_call(network, state, arguments, {"active": active})
        loss = cross_entropy(logits, y)
        if count:
            self.averages.add(logits, y, loss)
        return loss

    def mixing_weights(self) -> dict[str, Tensor]:
        """Return the scores (E, O) that the architecture is derived from."""
        return {name: score.detach() for name, score in self.strategy.scores(self.space, self.alphas).items()}

    def architecture(self) -> Architecture:
        """Return the member that the scores prefer."""
        return self.space.discretize(self.mixing_weights())

    def _end_epoch(self) -> dict[str, Any]:
        """Record the parameters, stop where the strategy says so, and return a row of the history."""
        self.record.append({name: alpha.detach().clone() for name, alpha in self.alphas.items()})
        chosen = self.strategy.stop(self.space, self.record)
        if chosen is not None:
            self.stopped = True
            with torch.no_grad():
                for name, alpha in self.alphas.items():
                    alpha.copy_(self.record[chosen][name])
        last = self.step - 1
        epoch = last // self.weights.steps_per_epoch
        arch = self.architecture()
        return {
            "epoch": epoch,
            **self.weights.averages.take(),
            **self.averages.take("validation_"),
            "lr": self.weights.lr_at(last),
            **self.strategy.recorded(epoch),
            **({} if chosen is None else {"returned_to_epoch": chosen}),
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
            "record": self.record,
            "stopped": self.stopped,
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
        self.record = [dict(alphas) for alphas in state["record"]]
        self.stopped = state["stopped"]
