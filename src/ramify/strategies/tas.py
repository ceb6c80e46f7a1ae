"""TAS: Network Pruning via Transformable Architecture Search (Dong & Yang, NeurIPS 2019, arXiv:1905.09717).

Every convolution draws two of its widths without replacement, by p = softmax((log softmax(α) + Gumbel) / τ). Both are
interpolated to the wider of the two and summed with the softmax of their two logits, through which the gradient of α
flows (Eq. 2 to 5). Every stage mixes all of its depths by the same Gumbel-softmax (Eq. 6). τ falls along a cosine. The
architecture descends on the loss on validation images and on a term of the cost, which pushes down what costs more than
the target and up what costs too little (Eq. 7 and 8). What is found is trained anew, with the whole network as a
teacher (section 3.3): `ramify retrain` with a `recipe.distillation`.

Where released code and paper differ: the code estimates a network's multiply-adds by widths that it does not have where
depth is pruned, and leaves shortcuts out while it searches; here E and F are exact for the network that is found, and
`target_of="tas_macs"` takes the estimate of the code. The code takes what α prefer in the end; here, where that misses
the target, it is what comes of it by the changes that lose the least probability.

On spaces other than `PrunableResNet` a row of α is mixed as if it were a width: two candidates of every edge. They are
interpolated where the layout says so, by `combine="interpolate"`, and summed as they are elsewhere. In `AnyNetwork`
widths that are added are one decision, and mixtures are formed before an activation, not behind a norm of each width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import cos, inf, pi
from typing import Literal

import torch
from torch import Tensor

from ramify.capabilities import ACTIVE, EXPECTED_COST, Capability
from ramify.costs import Target, check_counted
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.base import Compatibility, SearchSession
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.strategies.gdas import check_temperatures, gumbel_like, linear
from ramify.strategies.limited import lasting, networks_of
from ramify.strategies.proxyless import drawn_from
from ramify.supernet import Choice
from ramify.training import Metrics, Work

DEPTH = "depth"
"""The role of a choice all of whose candidates are mixed."""
_EPSILON = 1e-7
"""That the released code adds to the probabilities that candidates are drawn by."""


@dataclass(frozen=True, kw_only=True)
class TAS(Differentiable):
    """TAS with the settings of its searches on CIFAR.

    Args:
        tau_start: τ in the first epoch.
        tau_end: What τ falls to.
        tau_schedule: How: along a `cosine`, or `linear`, so that the last epoch has `tau_end`.
        target: Cost of the network that is found: a share of the whole network's up to 1, or a number; 0 for none.
        target_of: Which cost: `macs`, `params`, or another one that needs no device.
        tolerance: How much less than the target it may cost, as a share of the whole network's cost.
        target_weight: Of the term of the cost in the loss.

    Example:
        >>> from ramify import strategies
        >>> [round(strategies.TAS(epochs=600).temperature(epoch), 4) for epoch in (0, 150, 300)]
        [5.0, 4.2824, 2.55]
    """

    source = "Dong & Yang, TAS, NeurIPS 2019, arXiv:1905.09717"

    epochs: int = 600
    batch_size: int = 256
    lr: float = 0.1
    min_lr: float = 0.0
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip: float = 0.0
    arch_lr: float = 1e-3
    first: str = "weights"
    tau_start: float = 5.0
    tau_end: float = 0.1
    tau_schedule: Literal["cosine", "linear"] = "cosine"
    target: float = 0.5
    target_of: str = "macs"
    tolerance: float = 0.05
    target_weight: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperatures(self.tau_start, self.tau_end)
        if self.tau_schedule not in ("cosine", "linear"):
            raise ConfigurationError(f"`tau_schedule` must be 'cosine' or 'linear', got {self.tau_schedule!r}")
        check_counted(self.target_of, "target_of")
        for name in ("target", "target_weight"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if not 0 <= self.tolerance <= 1:
            raise ConfigurationError(f"`tolerance` must be in [0, 1], got {self.tolerance}")
        if self.target and (self.limits or self.regularization.target):
            other = "limits" if self.limits else "regularization.target"
            raise ConfigurationError(f"`target` and `{other}` are two rules for what is derived; give one of them")

    @property
    def needs(self) -> frozenset[Capability]:
        """A cost whose expectation is known, if there is a target."""
        return super().needs | ({EXPECTED_COST} if self.target else set())

    @property
    def aim(self) -> tuple[str, float, float, float]:
        """Which cost, its target, the tolerance and the weight."""
        return self.target_of, self.target, self.tolerance, self.target_weight

    @property
    def uses(self) -> frozenset[Capability]:
        """Single candidates, so that nothing but what is drawn is computed."""
        return frozenset({ACTIVE})

    def compatible(self, space: Space) -> Compatibility:
        """Return whether the space offers the needs; an error about the cost names the setting that turns it off."""
        verdict = super().compatible(space)
        costly = space.size > 1 and self.needs - space.offers == {EXPECTED_COST}
        return Compatibility(False, f"{verdict.reason}; target=0 leaves it out") if costly else verdict

    def temperature(self, epoch: int) -> float:
        """Return τ of an epoch."""
        if self.tau_schedule == "linear":
            return linear(self.tau_start, self.tau_end, epoch, self.epochs)
        return self.tau_end + (self.tau_start - self.tau_end) * (1 + cos(pi * epoch / self.epochs)) / 2

    def initial(self, space: Space, generator: Callable[[str], torch.Generator]) -> dict[str, Tensor]:
        """Return initial architecture parameters: 0.01·N(0, 1) of (E, O) for every choice."""
        return {name: 10 * start for name, start in super().initial(space, generator).items()}

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Two candidates of every row, and all depths of every stage (Eq. 2 to 6)."""
        tau, mix, active = self.temperature(moment.epoch), {}, {}
        for name, choice, alpha in space.drawn(alphas):
            logits = perturbed(choice, alpha, gumbel_like(alpha, moment.generator(name)), tau)
            live = choice.mask if choice.role == DEPTH else pair(choice, logits, moment, name)
            mix[name], active[name] = Choice(choice.edges, choice.ops, live).softmax(logits), live
        return mix, active

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Let weights and architecture descend in turn, the latter also on the cost (Algorithm 1)."""
        assert isinstance(search, TASSession)
        for step in search.steps():
            for turn in search.turns(step):
                path = partial(self.mixing, search.space, search.alphas, turn)
                if turn.step == "weights":
                    search.descend(next(search.training), path)
                else:
                    search.alphas.descend(search.losses(next(search.validation), path))
            yield search.end(step, search.costs, temperature=self.temperature(step.epoch))

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the search of a space."""
        return TASSession(self, space, work)


def perturbed(choice: Choice, alpha: Tensor, gumbel: Tensor, tau: float) -> Tensor:
    """Return the logits z (E, O) = (log softmax(α) + noise) / τ over existing candidates; α for τ ≤ 0."""
    if tau <= 0:
        return alpha
    logits = alpha.masked_fill(~choice.mask, -inf).log_softmax(dim=-1)
    return (torch.nan_to_num(logits, neginf=0.0) + gumbel) / tau


def pair(choice: Choice, logits: Tensor, moment: Moment, *key: str) -> Tensor:
    """Return bool (E, O): two different existing candidates of each row, drawn from softmax(z)."""
    probabilities = choice.softmax(logits.detach()) + _EPSILON
    return drawn_from(choice, probabilities.log(), moment, *key, "pair", count=2)


class TASSession(Bilevel):
    """TAS at work: a bilevel search with a target for the cost."""

    strategy: TAS

    def __init__(self, strategy: TAS, space: Space, work: Work) -> None:
        self.target: Target | None = None
        if strategy.target:
            networks = networks_of(space, work, lasting(space, work))
            self.target = Target(networks, *strategy.aim)
        super().__init__(strategy, space, work)
        self.budget = self.target or self.budget

    def costs(self) -> dict[str, float]:
        """Return for a row of the history what the mixture and the result cost, and the target."""
        if self.target is None:
            return {}
        of, expected = self.target.of, self.target.expected(self.scores())
        derived = self.target.cost(self.architecture())
        return {f"expected_{of}": float(expected), f"derived_{of}": derived, f"target_{of}": self.target.target}
