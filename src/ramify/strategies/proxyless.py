"""ProxylessNAS: Direct NAS on Target Task and Hardware (Cai et al., ICLR 2019, arXiv:1812.00332).

Every edge draws one of its candidates, by binary gates g from p = softmax(α). The weights learn on what is drawn. The
gradient of α takes the gates for p (section 3.2, Eq. 4): dα_i = Σ_j ∂L/∂g_j · p_j · (δ_ij − p_i). In the supernet the
gates are the mixing weights: one-hot forwards, p backwards. With `gates="two"` an architecture step computes two
candidates of an edge, drawn without replacement, and p is that of the pair; afterwards both α are shifted by the same
amount, so that the probabilities of the other candidates stay what they were. With `gates="full"`, as in the released
program, all candidates are computed.

What a network costs enters as an expectation (section 3.3). Or α learns by REINFORCE: from the accuracy of networks
that are drawn, times a power of what they cost (Eq. 7 to 9).

In the released program α learns nothing at all, or from the cost alone, where a drawn candidate has no value; here the
gradient of its gate is zero then, and that of the cost counts always. Its loss reads a cost in multiply-adds, or in
milliseconds that it looks up in tables of one telephone; here milliseconds are measured on the device of the search,
which therefore is not repeatable to the bit. The program counts the steps between those of the architecture anew in
every epoch (`arch_counted="epoch"`), and its norms have ε = 0.001 (the layout's `norm_eps`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.capabilities import ACTIVE, ADDITIVE_COST, Capability
from ramify.costs import Expectation, ExpectedCost, expected_cost
from ramify.costs.record import is_repeatable
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.base import Compatibility, SearchSession
from ramify.strategies.bilevel import Bilevel, Moment, Step
from ramify.strategies.cost_term import NOTHING, CostTerm
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.strategies.gdas import gumbel_like
from ramify.strategies.limited import networks_of
from ramify.supernet import Choice
from ramify.tasks import Batch
from ramify.training import Metrics, Work
from ramify.training.schedules import learning_rate


@dataclass(frozen=True)
class Gates:
    """The binary gates of one choice.

    Args:
        probabilities: p (E, O) over the live candidates, zero elsewhere.
        live: Bool (E, O), the candidates that are computed.
        drawn: Bool (E, O), the one of them whose gate is open.
    """

    probabilities: Tensor
    live: Tensor
    drawn: Tensor

    @property
    def mix(self) -> Tensor:
        """The mixing weights: the open gate in the forward pass, p in the backward pass."""
        return self.drawn.to(self.probabilities.dtype) - self.probabilities.detach() + self.probabilities


def drawn_from(choice: Choice, alpha: Tensor, moment: Moment, *key: str, count: int = 1) -> Tensor:
    """Return bool (E, O): `count` different existing candidates of each edge, drawn from softmax(α) one after the
    other; all of them where there are fewer."""
    perturbed = (alpha.detach() + gumbel_like(alpha, moment.generator(*key))).masked_fill(~choice.mask, -inf)
    chosen = perturbed.topk(min(count, perturbed.shape[1]), dim=1).indices
    return torch.zeros_like(choice.mask).scatter(1, chosen, True) & choice.mask


def gates(choice: Choice, alpha: Tensor, moment: Moment, *key: str, two: bool) -> Gates:
    """Sample the gates of a choice, among all of its candidates or among two per edge."""
    live = drawn_from(choice, alpha, moment, *key, "two", count=2) if two else choice.mask
    among = Choice(choice.edges, choice.ops, live)
    return Gates(among.softmax(alpha), live, drawn_from(among, alpha, moment, *key))


def rescaled(before: Tensor, after: Tensor, live: Tensor) -> Tensor:
    """Return updated α (E, O), rescaled so that candidates that were not live keep their α and their probabilities.

    Args:
        before: α before the step.
        after: α behind it.
        live: Bool (E, O), the candidates that the step was for.
    """
    offset = _mass(after, live) - _mass(before, live)
    return torch.where(live, after - offset, before)


def _mass(alpha: Tensor, live: Tensor) -> Tensor:
    """Return ln Σ exp α (E, 1) of the live candidates, 0 where there are none."""
    mass = alpha.masked_fill(~live, -inf).logsumexp(dim=1, keepdim=True)
    return mass.masked_fill(~live.any(dim=1, keepdim=True), 0.0)


@dataclass(frozen=True, kw_only=True)
class ProxylessNAS(Differentiable):
    """ProxylessNAS with the settings of its search on ImageNet.

    Args:
        epochs: Passes over the images of `search_train` behind the warm-up.
        warmup_epochs: Passes before, in which only the weights learn, with a schedule of their own.
        warmup_lr: Learning rate at the start of the warm-up; it falls to 0.
        arch_start: Epochs behind the warm-up in which only the weights learn.
        learning: How α learns, by `gradient` or by `reinforce`.
        gates: Candidates that an architecture step computes: `two` of an edge, or the `full` set; for `gradient`.
        arch_every: Steps of the weights for a step of the architecture; for `gradient`.
        arch_counted: What these steps are counted over: the `search`, or each `epoch` anew, as released.
        arch_updates: Steps of the architecture in an epoch, evenly spaced, at most one for each step of the weights;
            for `reinforce`.
        samples: Networks that are drawn for such a step, all on the same batch; for `reinforce`.
        baseline_step: How far the baseline moves towards the mean reward of each step; for `reinforce`.
        cost: What the cost of a network does.

    Example:
        >>> from ramify import strategies
        >>> strategies.ProxylessNAS(warmup_epochs=40, epochs=120).total_epochs
        160
    """

    source = "Cai et al., ProxylessNAS, ICLR 2019, arXiv:1812.00332"

    epochs: int = 120
    batch_size: int = 256
    min_lr: float = 0.0
    stepwise: bool = True
    nesterov: bool = True
    weight_decay: float = 4e-5
    clip: float = 0.0
    label_smoothing: float = 0.1
    arch_lr: float = 1e-3
    arch_betas: tuple[float, float] = (0.0, 0.999)
    arch_weight_decay: float = 0.0
    arch_start: int = 1
    first: str = "weights"
    warmup_epochs: int = 40
    warmup_lr: float = 0.05
    learning: str = "gradient"
    gates: str = "two"
    arch_every: int = 5
    arch_counted: str = "search"
    arch_updates: int = 300
    samples: int = 10
    baseline_step: float = 0.99
    cost: CostTerm = field(default_factory=CostTerm)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (
            ("learning", ("gradient", "reinforce")),
            ("gates", ("two", "full")),
            ("arch_counted", ("search", "epoch")),
        ):
            if getattr(self, name) not in known:
                raise ConfigurationError(f"`{name}` must be {known[0]!r} or {known[1]!r}, got {getattr(self, name)!r}")
        for name in ("arch_every", "arch_updates", "samples"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for name in ("warmup_epochs", "warmup_lr"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if not 0 < self.baseline_step <= 1:
            raise ConfigurationError(f"`baseline_step` must be above 0 and at most 1, got {self.baseline_step}")

    @property
    def total_epochs(self) -> int:
        """Epochs including those of the warm-up."""
        return self.warmup_epochs + self.epochs

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step: that of the warm-up, then that of the search after it."""
        behind = step - self.warmup_epochs * steps_per_epoch
        if behind >= 0:
            return super().lr_at(behind, steps_per_epoch)
        return learning_rate(step, steps_per_epoch, self.warmup_epochs, lr=self.warmup_lr, stepwise=self.stepwise)

    def learns(self, step: Step) -> bool:
        """Return whether a step of the architecture follows a step of the weights."""
        if step.epoch < self.warmup_epochs + self.arch_start:
            return False
        if self.learning == "gradient":
            return ((step.number if self.arch_counted == "search" else step.within) + 1) % self.arch_every == 0
        before, after = (n * self.arch_updates // step.steps_per_epoch for n in (step.within, step.within + 1))
        return after > before

    @property
    def needs(self) -> frozenset[Capability]:
        """An additive cost, whose expectation is a sum over candidates."""
        return super().needs | ({ADDITIVE_COST} if self.cost.of != NOTHING else set())

    @property
    def uses(self) -> frozenset[Capability]:
        """Single candidates per edge, or two, so that nothing else is computed."""
        return frozenset({ACTIVE})

    def compatible(self, space: Space) -> Compatibility:
        """Return whether the space offers the needs; an error about the cost names the setting that turns it off."""
        verdict = super().compatible(space)
        costly = space.size > 1 and self.needs - space.offers == {ADDITIVE_COST}
        return replace(verdict, reason=f"{verdict.reason}; cost.of={NOTHING!r} leaves it out") if costly else verdict

    def gates_of(self, space: Space, alphas: AlphaValues, moment: Moment) -> dict[str, Gates]:
        """Return the gates of an architecture step."""
        two = self.gates == "two"
        return {name: gates(choice, alphas[name], moment, name, two=two) for name, choice in space.choices.items()}

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Return one candidate per edge for the weights, and gates for the architecture."""
        if moment.step == "weights":
            return path(space, alphas, moment)
        drawn = self.gates_of(space, alphas, moment)
        return {name: g.mix for name, g in drawn.items()}, {name: g.live for name, g in drawn.items()}

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Train the weights on sampled paths, and α every few steps by gates or by REINFORCE (sections 3.2 and 3.3)."""
        assert isinstance(search, ProxylessSession)
        space, alphas = search.space, search.alphas
        search.know_costs()
        for step in search.steps():
            for turn in search.turns(step, self.learns(step)):
                path = partial(self.mixing, space, alphas, turn)
                if turn.step == "weights":
                    search.descend(next(search.training), path)
                elif self.learning == "reinforce":
                    search.reinforce(next(search.validation), turn)
                else:
                    drawn, before = self.gates_of(space, alphas, turn), alphas.copies()
                    losses = search.losses(next(search.validation), path)
                    alphas.descend(search.charged(losses, turn))
                    if self.gates == "two":
                        alphas.restore({n: rescaled(before[n], alpha, drawn[n].live) for n, alpha in alphas.items()})
            yield search.end(step, search.told)

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the search of a space."""
        return ProxylessSession(self, space, work)


def path(space: Space, alphas: AlphaValues, moment: Moment, *key: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a path sampled from softmax(α), as mixing weights and as active candidates."""
    drawn = {name: drawn_from(choice, alphas[name], moment, name, *key) for name, choice in space.choices.items()}
    return {name: d.to(alphas[name].dtype) for name, d in drawn.items()}, drawn


class ProxylessSession(Bilevel):
    """ProxylessNAS at work: a bilevel search with expected costs."""

    strategy: ProxylessNAS
    kept = (*Bilevel.kept, "baseline", "latencies")

    def __init__(self, strategy: ProxylessNAS, space: Space, work: Work) -> None:
        super().__init__(strategy, space, work)
        self.baseline: float | None = None
        self.latencies: tuple[float, list[list[float]]] | None = None  # latencies, of a search that is continued

    @cached_property
    def expected(self) -> Expectation:
        """The expected cost of a network.

        Raises:
            ConfigurationError: If it is no sum, or the form of the loss does not fit it.
        """
        term, space = self.strategy.cost, self.space
        expected: Expectation
        if self.latencies is not None:
            expected = ExpectedCost(space, *self.latencies)
        else:
            measured = expected_cost(networks_of(space, self.work, term.network or self.work.layout), term.of)
            if measured is None:
                raise ConfigurationError(f"{term.of} of a network of {space.name} are no sum over its candidates")
            expected = measured
            if isinstance(expected, ExpectedCost) and not is_repeatable(term.of):
                self.latencies = expected.base, expected.costs
        cheapest = expected.least
        if (
            self.strategy.learning == "gradient"
            and term.form == "mul#log"
            and min(cheapest, term.reference or inf) <= 1
        ):
            raise ConfigurationError(
                f"cost: 'mul#log' takes logarithms, but {term.of} are {cheapest:.3g} or more and the reference "
                f"{term.reference:g}: they must be above 1; take form='add#linear'"
            )
        return expected

    @cached_property
    def reference(self) -> float:
        """The cost that other costs are relative to, by default the expected cost at the start."""
        if self.strategy.cost.reference:
            return self.strategy.cost.reference
        return float(
            self.expected(
                {n: choice.softmax(torch.zeros(choice.shape, dtype=torch.float64)) for n, choice in self._choices}
            )
        )

    @property
    def _choices(self) -> Any:
        return self.space.choices.items()

    @property
    def _charges(self) -> bool:
        return self.strategy.cost.of != NOTHING

    def know_costs(self) -> None:
        """Compute the costs of networks before training starts."""
        if self._charges:
            _ = self.reference
            _ = self.expected

    def charged(self, losses: Iterator[Tensor], turn: Moment) -> Iterator[Tensor]:
        """Yield the parts of the loss with the cost term, given those of the cross-entropy."""
        term = self.strategy.cost
        for number, loss in enumerate(losses):
            if not self._charges or (number and term.form == "add#linear"):  # what is added is added once
                yield loss
                continue
            drawn = self.strategy.gates_of(self.space, self.alphas, turn)
            cost = self.expected({name: g.probabilities for name, g in drawn.items()})
            yield term.loss(loss, cost, self.reference)

    def reinforce(self, valid: Batch, turn: Moment) -> None:
        """Take a step of α on −Σ (reward − baseline) · ln p, averaged over sampled networks."""
        strategy = self.strategy
        rewards, log_probabilities = [], []
        for sample in range(strategy.samples):
            mix, active = path(self.space, self.alphas, turn, str(sample))
            score = self.score(valid, mix, active, sample)
            cost = float(self.expected(mix)) if self._charges else 0.0
            rewards.append(strategy.cost.reward(score, cost, self.reference) if self._charges else score)
            log_probabilities.append(
                torch.stack(
                    [
                        F.log_softmax(self.alphas[name].masked_fill(~choice.mask, -inf), dim=1)[active[name]].sum()
                        for name, choice in self._choices
                    ]
                ).sum()
            )
        self.baseline = moved(self.baseline, rewards, strategy.baseline_step)
        terms = [-(r - self.baseline) * p for r, p in zip(rewards, log_probabilities, strict=True)]
        self.alphas.forget()
        self.alphas.follow(torch.stack(terms).sum() / strategy.samples)

    def told(self) -> dict[str, float]:
        """Return further values for a row of the history: the expected cost, and the baseline."""
        cost = {f"expected_{self.strategy.cost.of}": float(self.expected(self.scores()))} if self._charges else {}
        return cost | ({} if self.baseline is None else {"baseline": self.baseline})


def moved(baseline: float | None, rewards: list[float], step: float) -> float:
    """Return the baseline updated by rewards; it starts at their mean."""
    mean = sum(rewards) / len(rewards)
    return mean if baseline is None else baseline + step * (mean - baseline)
