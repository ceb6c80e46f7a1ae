"""ENAS: Efficient Neural Architecture Search via Parameter Sharing (Pham et al., ICML 2018, arXiv:1802.03268).

A controller writes architectures, and all of them share the weights of one supernet. In every epoch the shared weights
learn first, on one sampled architecture per batch (section 2.2); then the controller learns by REINFORCE that what
scores well on validation images is written more often. At the end it writes 100 architectures, and the one that scores
best with the shared weights wins.

Where released code and paper differ: the code for NAS-Bench-201 freezes the moving baseline inside an epoch and lets
gradients flow through it and through the entropy bonus; here the baseline follows every sample, from the first reward
on, and the reward is a number. Its cosine has a period of ten epochs and goes on oscillating; here it falls once, over
the whole search. It scores the final candidates on one batch each; here it is the whole validation split
(`selection_batches=1` gives the other). It keeps the smaller last batch of an epoch (`drop_last=False`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.architecture import Architecture
from ramify.capabilities import ACTIVE, SUPERNET, Capability
from ramify.errors import ConfigurationError
from ramify.seeding import seeded, stream
from ramify.spaces import Space
from ramify.strategies.base import SearchSession, Strategy
from ramify.strategies.collapse import CollapseGuard
from ramify.strategies.controller import Controller, Written
from ramify.strategies.limited import Limited
from ramify.strategies.selection import Selection
from ramify.strategies.undecided import UNMOVED
from ramify.tasks import Batch
from ramify.training import Averages, Metrics, Weights, WeightSettings, Work, lost, single_path
from ramify.training.measure import scored
from ramify.training.stateful import Feed, Stateful

WRITTEN = 200
"""How often the controller writes until a member is within limits."""
PREFERRED = 10
"""Members within limits of which the most probable one stands for the controller, where what it prefers is beyond."""


@dataclass(frozen=True, kw_only=True)
class ENAS(Limited, WeightSettings, Strategy):
    """ENAS with the settings of the released searches on NAS-Bench-201.

    Args:
        controller_lr: Learning rate of the controller, by Adam.
        controller_betas: Adam's averaging factors.
        controller_eps: Adam's ε.
        controller_clip: Largest L2 norm of the controller's gradient; 0 leaves it.
        controller_updates: Of the controller, in every epoch.
        samples: Architectures that one update averages, each on a validation batch of its own.
        baseline_decay: Of the moving average of rewards.
        entropy_weight: Reward for each nat of the sample's entropy.
        selected: How many architectures are written and scored at the end.
        selection_batches: Validation batches of 256 images that each is scored on; 0 for all.
        guard: Measures of collapse, of those that need no architecture parameters: `skip_share` and `entropy`.

    Example:
        >>> from ramify import strategies
        >>> strategies.ENAS(epochs=2).samples
        20
    """

    source = "Pham et al., ENAS, ICML 2018, arXiv:1802.03268"

    epochs: int = 250
    batch_size: int = 128
    lr: float = 0.05
    min_lr: float = 5e-4
    nesterov: bool = True
    weight_decay: float = 2.5e-4
    controller_lr: float = 1e-3
    controller_betas: tuple[float, float] = (0.0, 0.999)
    controller_eps: float = 1e-3
    controller_clip: float = 5.0
    controller_updates: int = 50
    samples: int = 20
    baseline_decay: float = 0.99
    entropy_weight: float = 1e-4
    selected: int = 100
    selection_batches: int = 0
    guard: CollapseGuard = field(default_factory=CollapseGuard)

    def __post_init__(self) -> None:
        WeightSettings.__post_init__(self)
        Limited.__post_init__(self)
        for name in ("controller_updates", "samples", "selected"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for name in ("controller_lr", "controller_eps", "controller_clip", "entropy_weight", "selection_batches"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if not all(0 <= value < 1 for value in (*self.controller_betas, self.baseline_decay)):
            raise ConfigurationError("`controller_betas` and `baseline_decay` must be in [0, 1)")
        if self.guard.wants("gap") or self.guard.wants("eigenvalue"):
            raise ConfigurationError(
                "guard: a controller has no mixture, so `gap` and `eigenvalue` are unknown; "
                "use `skip_share` and `entropy`"
            )

    @property
    def needs(self) -> frozenset[Capability]:
        """A supernet, whose weights the members share."""
        return frozenset({SUPERNET})

    @property
    def uses(self) -> frozenset[Capability]:
        """Single paths, so that nothing else is computed."""
        return frozenset({ACTIVE})

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the controller and the shared weights at work."""
        return ENASSession(self, space, work)


class ENASSession(Stateful):
    """ENAS at work; every step of the weights and every update of the controller is a safe point."""

    kept = ("step", "limits", "weights", "controller", "optimizer", "training", "validation", "baseline", "averages",
            "written", "entropy", "measures", "controllers", "selection", "stopped")  # fmt: skip

    def __init__(self, strategy: ENAS, space: Space, work: Work) -> None:
        self.strategy, self.space, self.work = strategy, space, work
        self.limits = strategy.limits_of(space, work)
        self.weights = Weights(strategy, space, work)
        split = work.task.split("search_validation")
        self.weights.check(split, whole=True)
        self.training = Feed(lambda start: self.weights.batches(self.weights.split, start))
        self.validation = Feed(lambda start: self.weights.batches(split, start, augmented=False, whole=True))
        self.weights.check_measured(batches=strategy.selection_batches)
        self.controller = self._initial()  # small, and stays on the host
        self.optimizer = torch.optim.Adam(
            self.controller.parameters(),
            lr=strategy.controller_lr,
            betas=strategy.controller_betas,
            eps=strategy.controller_eps,
        )
        self.baseline: float | None = None
        self.averages = Averages(work.task, work.fabric.device)
        self.written = self._nothing()  # Σ of the one-hot mixes of an epoch's samples
        self.entropy = 0.0  # Σ of their entropies
        self.measures: list[dict[str, float]] = []
        self.controllers: list[dict[str, Tensor]] = []  # of each epoch, where the guard may go back to one
        self.stopped = False
        self.selection = Selection(space, self.weights, strategy.selection_batches)
        self.step = 0

    def _initial(self) -> Controller:
        """Return the controller that the search starts with."""
        with seeded(self.work.seed, "controller"):
            return Controller(self.space)

    def _nothing(self) -> dict[str, Tensor]:
        return {name: torch.zeros(choice.shape) for name, choice in self.space.choices.items()}

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the weights plus updates of the controller."""
        return self.weights.steps_per_epoch + self.strategy.controller_updates

    def run(self) -> Iterator[Metrics]:
        """Train the shared weights for an epoch, then the controller; in the end take the best of its samples."""
        self.limits.prepare()
        steps = self.strategy.epochs * self.steps_per_epoch
        while self.step < steps and not self.stopped:
            trained, updated = self._done()
            if self.step % self.steps_per_epoch < self.weights.steps_per_epoch:
                with torch.no_grad():
                    written = self.controller.write(stream(self.work.seed, "path", trained))
                self.weights.descend(trained, next(self.training), single_path(self.space, written.architecture))
            else:
                self._update(updated)
            self.step += 1
            ends_epoch = self.step % self.steps_per_epoch == 0
            yield Metrics("search", self.step, steps, self._end_epoch() if ends_epoch else {})
        yield from self.selection.run([self._written_within(number) for number in range(self.strategy.selected)])

    def _update(self, number: int) -> None:
        """Let the controller write more often what does better than the baseline (REINFORCE; section 2.2)."""
        strategy = self.strategy
        samples = [
            self.controller.write(stream(self.work.seed, "sample", number, sample))
            for sample in range(strategy.samples)
        ]
        losses = []
        for written, score in zip(samples, self._scores(samples), strict=True):
            reward = score + strategy.entropy_weight * float(written.entropy.detach())
            losses.append(-written.log_prob * self._advantage(reward))
        self.optimizer.zero_grad()
        (torch.stack(losses).sum() / strategy.samples).backward()
        if strategy.controller_clip:
            nn.utils.clip_grad_norm_(self.controller.parameters(), strategy.controller_clip)
        self.optimizer.step()

    def _done(self) -> tuple[int, int]:
        """Return how many steps of the weights and updates of the controller are done."""
        epoch, inside = divmod(self.step, self.steps_per_epoch)
        first = self.weights.steps_per_epoch
        return epoch * first + min(inside, first), epoch * self.strategy.controller_updates + max(0, inside - first)

    def _advantage(self, reward: float) -> float:
        """Move the baseline towards the reward and return what the reward is above it."""
        decay = self.strategy.baseline_decay
        self.baseline = reward if self.baseline is None else decay * self.baseline + (1 - decay) * reward
        return reward - self.baseline

    def _scores(self, samples: Sequence[Written]) -> list[float]:
        """Return the score of each sample on a batch of its own; several processes divide the samples."""
        scores = torch.zeros(len(samples), dtype=torch.float64)
        first, step = parallel.part()
        with self.averages.divided(), parallel.apart():
            for number, written in enumerate(samples):
                batch = next(self.validation)
                if number % step == first:
                    scores[number] = self._score(written, batch)
                for name, weights in self.space.mix(written.architecture).items():
                    self.written[name] += weights
                self.entropy += float(written.entropy.detach())
        return parallel.total(scores).tolist()

    def _score(self, written: Written, batch: Batch) -> float:
        """Return the score of a sample on a batch, and count it."""
        mix, active = single_path(self.space, written.architecture)
        with torch.no_grad():
            output = self.weights.supernet.eval()(batch.inputs, mix, active=active)
            self.averages.add(output, batch, lost(self.work.task, output, batch))
        return scored(self.work.task, [(output, batch)])

    def _written_within(self, number: int) -> Architecture:
        """Return a member that the controller writes, within the limits if there are any: it writes again until one is.

        If it writes none, one of the candidates is what the limits leave of the space.
        """
        with torch.no_grad():
            for attempt in range(WRITTEN):
                key = (number, attempt) if attempt else (number,)
                arch = self.controller.write(stream(self.work.seed, "selected", *key)).architecture
                if self.limits.allows(arch):
                    return arch
        return self.limits.best(None, 1)[0]

    def architecture(self) -> Architecture:
        """Return the best of the candidates, or, before there is one, what the most probable tokens spell; if that is
        beyond the limits, the most probable of some members that the controller writes within them."""
        if self.selection.best is not None:
            return self.selection.best.architecture
        with torch.no_grad():
            preferred = self.controller.write().architecture
            if self.limits.allows(preferred):
                return preferred
            drawn = dict.fromkeys(self._written_within(number) for number in range(PREFERRED))
            return max(drawn, key=lambda arch: float(self.controller.read(arch).log_prob))

    def _end_epoch(self) -> dict[str, Any]:
        """Stop where the guard says so, and return a row of the history."""
        strategy, guard = self.strategy, self.strategy.guard
        epoch = self.step // self.steps_per_epoch - 1
        samples = strategy.controller_updates * strategy.samples
        mixing = {name: total / samples for name, total in self.written.items()}
        self.measures.append(guard.measured(self.space, mixing, self.architecture()))
        chosen = guard.verdict(self.measures)
        if guard.action == "rollback":
            self.controllers.append({name: value.clone() for name, value in self.controller.state_dict().items()})
            if chosen is not None:
                self.controller.load_state_dict(self.controllers[chosen])
        self.stopped = chosen is not None
        arch = self.architecture()
        row = {
            "epoch": epoch,
            **self.weights.averages.take(),
            **self.averages.take("validation_"),
            "lr": self.weights.lr_at(self._done()[0] - 1),
            "baseline": self.baseline,
            "controller_entropy": self.entropy / samples,
            **self.measures[-1],
            **({} if chosen is None else {"returned_to_epoch": chosen}),
            "mixing": {name: weights.tolist() for name, weights in mixing.items()},
            "architecture": {"notation": self.space.format(arch), **arch.to_dict()},
        }
        self.written, self.entropy = self._nothing(), 0.0
        return row

    def summary(self) -> dict[str, Any]:
        """Return whether the search is undecided: candidates score alike, and the controller has not learned."""
        with torch.no_grad():
            same = self._initial().write().architecture == self.controller.write().architecture
        summary: dict[str, Any] = {"limits": self.limits.report(self.architecture())} if self.limits else {}
        return summary | ({"undecided": UNMOVED} if same and not self.selection.decided else {})

    @property
    def supernet(self) -> nn.Module:
        """The supernet with its weights."""
        return self.weights.supernet
