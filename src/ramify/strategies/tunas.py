"""TuNAS: Can Weight Sharing Outperform Random Architecture Search? (Bender et al., CVPR 2020, arXiv:2008.06120)

A policy, one softmax for every decision, learns by REINFORCE from the accuracy that sampled members reach on validation
batches with the shared weights; these learn on members that the same policy samples (section 3). At first there is no
policy: members are drawn uniformly, or, less and less often, a decision is set to its last candidate, so that all
weights are trained (section 4.1).

The settings are those of the searches of NATS-Bench in its size space ("mask_rl"), whose supernet is
`combine="layers"` of `NATSBenchSize`: a member is a mask over the channels of every layer. Its reward is the accuracy
alone, in percent; the cost of a network, of which the paper takes the absolute deviation from a target, has no part in
it. Where several draws share a row, as stem and first cell do, each of them counts in the probability of a member.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.capabilities import ACTIVE, SUPERNET, Capability
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.base import SearchSession
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.strategies.proxyless import drawn_from
from ramify.strategies.reinforce import Baseline
from ramify.supernet import Choice
from ramify.training import Metrics, Work


@dataclass(frozen=True, kw_only=True)
class TuNAS(Differentiable):
    """TuNAS with the settings of NATS-Bench in its size space.

    Args:
        warmup_share: Of the epochs, at the start, in which only the weights learn.
        baseline_momentum: Share of the baseline, a moving average of rewards, that a new reward leaves.

    Example:
        >>> from ramify import strategies
        >>> strategies.TuNAS(epochs=100).full_share(5)
        0.8
    """

    source = "Bender et al., TuNAS, CVPR 2020, arXiv:2008.06120; Dong et al., NATS-Bench, TPAMI 2021, arXiv:2009.00437"

    epochs: int = 100
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip: float = 0.0
    arch_weight_decay: float = 0.0
    first: str = "weights"
    warmup_share: float = 0.25
    baseline_momentum: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("warmup_share", "baseline_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be in [0, 1), got {getattr(self, name)}")

    @property
    def needs(self) -> frozenset[Capability]:
        """A supernet, whose weights the members share, and the needs of the regularization."""
        return self.regularization.needs | {SUPERNET}

    @property
    def uses(self) -> frozenset[Capability]:
        """Single paths, so that nothing else is computed."""
        return frozenset({ACTIVE})

    def full_share(self, epoch: int) -> float:
        """Return how often a decision is set to its last candidate; 0 once the policy is at work."""
        return max(0.0, 1 - epoch / (self.warmup_share * self.epochs)) if self.warmup_share else 0.0

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Return a path: sampled from the policy, or before there is one, from the last candidates and all of them."""
        share, active = self.full_share(moment.epoch), {}
        for name, choice, alpha in space.drawn(alphas):
            logits = alpha if share == 0 else torch.zeros_like(alpha)
            active[name] = drawn_from(choice, logits, moment, name)
            if share:
                full = torch.rand(len(alpha), generator=moment.generator(name, "full")) < share
                active[name] = torch.where(full[:, None], last_of(choice), active[name])
        return {name: path.to(torch.get_default_dtype()) for name, path in active.items()}, active

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Train weights on sampled paths, and the policy by their scores (section 3)."""
        assert isinstance(search, TuNASSession)
        for step in search.steps():
            for turn in search.turns(step, self.full_share(step.epoch) == 0):
                if turn.step == "weights":
                    search.descend(next(search.training), partial(self.mixing, search.space, search.alphas, turn))
                else:
                    with torch.no_grad():
                        mix, active = self.mixing(search.space, search.alphas, turn)
                    assert active is not None
                    reward = 100 * search.score(next(search.validation), mix, active, 0)
                    search.reinforce(active, reward)
            yield search.end(step, search.told)

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the search of a space."""
        return TuNASSession(self, space, work)


def last_of(choice: Choice) -> Tensor:
    """Return bool (E, O): the last existing candidate of every row."""
    behind = choice.mask.flip(1).cumsum(1).flip(1)
    return choice.mask & (behind == 1)


def log_probability(choice: Choice, alpha: Tensor, path: Tensor) -> Tensor:
    """Return the log probability (scalar) of a path, bool (E, O), under softmax(α)."""
    return F.log_softmax(alpha.masked_fill(~choice.mask, -inf), dim=1)[path].sum()


class TuNASSession(Bilevel):
    """TuNAS at work: a bilevel search whose architecture parameters are a policy."""

    strategy: TuNAS
    kept = (*Bilevel.kept, "baseline")

    def __init__(self, strategy: TuNAS, space: Space, work: Work) -> None:
        super().__init__(strategy, space, work)
        self.baseline = Baseline(strategy.baseline_momentum)

    def reinforce(self, path: Mapping[str, Tensor], reward: float) -> None:
        """Take a step of the policy on −(reward − baseline) · ln p; the baseline counts the reward already."""
        advantage = reward - self.baseline.update(reward)
        drawn = self.space.drawn(self.alphas)
        terms = [log_probability(choice, alpha, path[name]) for name, choice, alpha in drawn]
        self.alphas.forget()
        self.alphas.follow(-advantage * torch.stack(terms).sum())

    def told(self) -> dict[str, float]:
        """Return the baseline for a row of the history."""
        return {"baseline": self.baseline.sum / self.baseline.weight} if self.baseline.weight else {}
