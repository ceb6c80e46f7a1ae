"""REINFORCE on independent decisions (Williams, Machine Learning 1992), as in NAS-Bench-201 and NATS-Bench.

The policy is one softmax for every decision of the space, without a network before it. After every evaluation it takes
a step up the gradient of log p(architecture) · (reward − baseline), where the reward is the score in percent and the
baseline its moving average (Dong & Yang, ICLR 2020, appendix; Dong et al., TPAMI 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.seeding import rng as generator
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Trial, Trials
from ramify.training.stateful import Stateful


@dataclass(frozen=True, kw_only=True)
class Reinforce(AskTell):
    """REINFORCE with the settings of NATS-Bench.

    Args:
        lr: Of Adam. On the table of NAS-Bench-201, 0.1 finds better cells within 200 evaluations.
        momentum: Of the baseline's moving average.
    """

    source = "Williams, Simple Statistical Gradient-Following Algorithms, Machine Learning 8, 1992; Dong & Yang, 2020"

    lr: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lr > 0:
            raise ConfigurationError(f"`lr` must be above 0, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise ConfigurationError(f"`momentum` must be in [0, 1), got {self.momentum}")

    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture:
        """Return a member sampled from the policy."""
        policy = trials.fold("policy", lambda: Policy(space, self.lr, self.momentum), _taught)
        return policy.sample(rng)


class Baseline(Stateful):
    """An exponential moving average, corrected for its start at zero.

    Args:
        momentum: Share of the average that a new reward leaves.

    Example:
        >>> baseline = Baseline(0.9)
        >>> [round(baseline.update(reward), 4) for reward in (60, 80, 70)]
        [60.0, 70.5263, 70.3321]
    """

    kept = ("sum", "weight")

    def __init__(self, momentum: float) -> None:
        self.momentum, self.sum, self.weight = momentum, 0.0, 0.0

    def update(self, reward: float) -> float:
        """Add a reward and return the average."""
        self.sum = self.momentum * self.sum + (1 - self.momentum) * reward
        self.weight = self.momentum * self.weight + (1 - self.momentum)
        return self.sum / self.weight


@dataclass
class Policy:
    """A softmax policy for every decision, trained by Adam with default settings (Kingma & Ba, ICLR 2015).

    Args:
        space: Whose decisions are made.
        lr: Of Adam.
        momentum: Of the baseline.
    """

    space: Space
    lr: float
    momentum: float
    logits: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        start = generator(0, "policy")  # nearly uniform: 1e-3 N(0, 1), the same for every search
        sizes = [len(decision.choices) for decision in self.space.decisions]
        self.logits = [np.array([1e-3 * start.gauss(0, 1) for _ in range(size)]) for size in sizes]
        self.baseline = Baseline(self.momentum)
        self._steps = 0
        self._means = [np.zeros_like(logits) for logits in self.logits]
        self._squares = [np.zeros_like(logits) for logits in self.logits]

    @property
    def probabilities(self) -> list[np.ndarray]:
        """The probabilities of every decision's choices."""
        powers = [np.exp(logits - logits.max()) for logits in self.logits]
        return [power / power.sum() for power in powers]

    def sample(self, rng: Random) -> Architecture:
        """Return a member sampled from the policy."""
        drawn = (
            rng.choices(decision.choices, weights=p.tolist())[0]
            for decision, p in zip(self.space.decisions, self.probabilities, strict=True)
        )
        return self.space.architecture(drawn)

    def teach(self, chosen: Sequence[int], reward: float) -> float:
        """Take a policy gradient step for choices (an index per decision) with a reward, and return their advantage."""
        advantage = reward - self.baseline.update(reward)
        self._steps += 1
        rate = self.lr * (1 - 0.999**self._steps) ** 0.5 / (1 - 0.9**self._steps)
        epsilon = 1e-8 * (1 - 0.999**self._steps) ** 0.5
        for at, p in enumerate(self.probabilities):
            slope = advantage * p  # of the loss: −advantage · ∇ log p(choice)
            slope[chosen[at]] -= advantage
            self._means[at] = 0.9 * self._means[at] + 0.1 * slope
            self._squares[at] = 0.999 * self._squares[at] + 0.001 * slope**2
            self.logits[at] -= rate * self._means[at] / (np.sqrt(self._squares[at]) + epsilon)
        return advantage


def _taught(policy: Policy, trial: Trial) -> Policy:
    if trial.failed:  # it has no reward
        return policy
    chosen = [decision.index[trial.architecture[decision.name]] for decision in policy.space.decisions]
    policy.teach(chosen, 100 * trial.score)
    return policy
