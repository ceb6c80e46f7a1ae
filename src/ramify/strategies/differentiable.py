"""The bilevel search that differentiable strategies share.

Weights descend on `search_train`, architecture parameters on `search_validation` (Liu et al., DARTS, ICLR 2019,
Algorithm 1). A strategy adds how it turns architecture parameters into mixing weights, and whatever else of the
steps below its paper changes.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.architecture import Architecture
from ramify.capabilities import Capability
from ramify.costs import Budget, Limits
from ramify.errors import ConfigurationError
from ramify.seeding import seeded, stream
from ramify.spaces import Space
from ramify.strategies.base import Compatibility, SearchSession, Strategy
from ramify.strategies.collapse import MEASURES, CollapseGuard
from ramify.strategies.hessian import largest_eigenvalue
from ramify.strategies.limited import Limited
from ramify.strategies.regularisation import Regularisation
from ramify.strategies.selection import Selection, most_probable
from ramify.strategies.undecided import UNMOVED, has_moved
from ramify.strategies.unrolled import LossAt
from ramify.supernet import require
from ramify.tasks import Batch
from ramify.tasks.batch import mapped
from ramify.training import Averages, Metrics, SupernetWeights, WeightSettings, Work, lost, single_path

Active = Mapping[str, Tensor] | None
Alphas = Mapping[str, Tensor]
"""Name of a choice → architecture parameters (E, O)."""


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
class Differentiable(Limited, WeightSettings, Strategy):
    """Settings of a bilevel search.

    Args:
        arch_lr: Learning rate of the architecture parameters, by Adam.
        arch_betas: Adam's averaging factors.
        arch_weight_decay: Adam's L2 penalty.
        arch_clip: Largest L2 norm of the gradient of all architecture parameters together; 0 leaves it.
        legacy_clip: Whether the norm that `clip` bounds is that of the architecture parameters, too: of their gradients
            of the loss of the weights, on top of what their own step has left behind. So it is in the scripts of
            NAS-Bench-201 of 2020.
        arch_start: Epochs in which only the weights learn; no validation images are seen meanwhile.
        first: Which step comes first, `architecture` or `weights`.
        derivation: What the result is derived from: `softmax`, the strategy's scores, or `raw`, the parameters
            themselves (the released H-DAS).
        gradient: Where the architecture's gradient is taken: `live`, or `stale`, at copies of weights and parameters
            that never learn, which the released H-DAS does by mistake; for comparison only.
        regularisation: Terms of the space that are added to the loss of the architecture.
        guard: Measures of collapse, and what to do about it.
    """

    arch_lr: float = 3e-4
    arch_betas: tuple[float, float] = (0.5, 0.999)
    arch_weight_decay: float = 1e-3
    arch_clip: float = 0.0
    legacy_clip: bool = False
    arch_start: int = 0
    first: str = "architecture"
    derivation: str = "softmax"
    gradient: str = "live"
    regularisation: Regularisation = field(default_factory=Regularisation)
    guard: CollapseGuard = field(default_factory=CollapseGuard)

    def __post_init__(self) -> None:
        WeightSettings.__post_init__(self)
        Limited.__post_init__(self)
        if self.limits and self.regularisation.target:
            raise ConfigurationError(
                "`limits` and `regularisation.target` are two rules for what is derived; give one of them"
            )
        if self.first not in ("architecture", "weights"):
            raise ConfigurationError(f"`first` must be 'architecture' or 'weights', got {self.first!r}")
        if self.derivation not in ("softmax", "raw"):
            raise ConfigurationError(f"`derivation` must be 'softmax' or 'raw', got {self.derivation!r}")
        if self.gradient not in ("live", "stale"):
            raise ConfigurationError(f"`gradient` must be 'live' or 'stale', got {self.gradient!r}")
        for name in ("arch_lr", "arch_weight_decay", "arch_clip", "arch_start"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.arch_betas):
            raise ConfigurationError(f"`arch_betas` must be in [0, 1), got {self.arch_betas}")
        if self.legacy_clip and not (self.clip and self.clip_by == "norm"):
            raise ConfigurationError("`legacy_clip` needs a norm to clip by: `clip` above 0 and `clip_by='norm'`")

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

    @property
    def needs(self) -> frozenset[Capability]:
        """What the regularisation needs."""
        return self.regularisation.needs

    def compatible(self, space: Space) -> Compatibility:
        """Return whether the space has what the settings speak of."""
        return super().compatible(space) and self.regularisation.compatible(space)

    def derived_from(self, space: Space, alphas: Alphas) -> dict[str, Tensor]:
        """Return the scores (E, O) that the result is derived from."""
        if self.derivation == "raw":
            return {name: alphas[name].detach() for name in space.choices}
        return {name: score.detach() for name, score in self.scores(space, alphas).items()}

    def penalty(self, space: Space, alphas: Alphas) -> Tensor | None:
        """Return what is added to the loss of the architecture; None for nothing."""
        return None

    def differentiate(self, session: "BilevelSession", valid: Batch, train: Batch) -> None:
        """Leave the gradients of the architecture step in the parameters: of the validation loss at these weights.

        None are computed for the weights.
        """
        session.backward(session.validation_losses(valid))
        extra = self.penalty(session.space, session.alphas)
        if extra is not None:
            extra.backward(inputs=list(session.alphas.values()))

    def learns(self, step: int, steps_per_epoch: int) -> bool:
        """Return whether a step of the architecture belongs to a step of the weights: from `arch_start` on, to each."""
        return step >= self.arch_start * steps_per_epoch

    def project(self, alphas: Alphas) -> None:
        """Bring the parameters back to where they may be, in place, after a step."""

    def stop(self, space: Space, record: Sequence[Alphas]) -> int | None:
        """Return the epoch to return to and end with, or None to go on; `record` holds the parameters of each."""
        return None

    @property
    def layout(self) -> dict[str, Any]:
        """Layout keywords that the strategy needs of a supernet."""
        return {}

    def options(self, space: Space, moment: Moment) -> dict[str, Any]:
        """Return further arguments of the supernet's forward pass."""
        return {}

    @property
    def selected(self) -> int:
        """Of how many members the result is the best by inherited weights; 0 where `scores` decide alone."""
        return 0

    def preferences(self, space: Space, alphas: Alphas) -> dict[str, Tensor]:
        """Return the scores (E, O) whose sums say which members are `selected`."""
        return self.scores(space, alphas)

    @property
    def selection_batches(self) -> int:
        """Validation batches that each of the `selected` is scored on; 0 for all."""
        return 0

    def recorded(self, epoch: int) -> dict[str, float]:
        """Return what the strategy adds to a row of the history."""
        return {}

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the bilevel search of a space."""
        return BilevelSession(self, space, work)


class Stale:
    """Copies of a supernet and of architecture parameters that never learn."""

    def __init__(self, supernet: nn.Module, alphas: Alphas) -> None:
        self.supernet = supernet
        self.alphas = {name: nn.Parameter(alpha.detach().clone()) for name, alpha in alphas.items()}


class BilevelSession:
    """A differentiable strategy at work; owns the architecture parameters and both optimisers."""

    def __init__(self, strategy: Differentiable, space: Space, work: Work, limits: Limits | None = None) -> None:
        self.strategy, self.space, self.work = strategy, space, work
        self.limits = limits or strategy.limits_of(space, work)
        self.weights = SupernetWeights(strategy, space, replace(work, layout={**strategy.layout, **work.layout}))
        require(self.weights.backbone, strategy.needs, "the search")
        if strategy.legacy_clip and self.weights.scale.factor != 1:
            raise ConfigurationError(
                "`legacy_clip` clips gradients of unlike scales in 16-bit floats; use another precision"
            )
        self.validation = work.task.split("search_validation")
        self.weights.check(self.validation)
        # They are small and stay on the host, so sampling never waits for a device.
        self.alphas = {name: nn.Parameter(value) for name, value in self._initial().items()}
        for alpha in self.alphas.values():
            alpha.grad = torch.zeros_like(alpha)
        self.optimizer = torch.optim.Adam(
            list(self.alphas.values()),
            lr=strategy.arch_lr,
            betas=strategy.arch_betas,
            weight_decay=strategy.arch_weight_decay,
        )
        self.stale = Stale(deepcopy(self.weights.supernet), self.alphas) if strategy.gradient == "stale" else None
        self.budget = strategy.regularisation.budget(space, work)
        self.averages = Averages(work.task, work.fabric.device)
        self.record: list[dict[str, Tensor]] = []
        self.measures: list[dict[str, float]] = []
        self.selection = Selection(space, self.weights, strategy.selection_batches)
        if strategy.guard.wants("gap"):
            self.weights.check_measured(batches=strategy.guard.batches)
        if strategy.selected:
            self.weights.check_measured(batches=strategy.selection_batches)
        self.stopped = False
        self.step = 0

    def _initial(self) -> dict[str, Tensor]:
        """Return the architecture parameters that the search starts from."""
        found = self.strategy.initial(self.space, lambda name: stream(self.work.seed, "alphas", name))
        return {name: alpha.to(self.work.dtype) for name, alpha in found.items()}

    def run(self) -> Iterator[Metrics]:
        """Search; one yield a step, one row of the history an epoch."""
        self.limits.prepare()
        weights = self.weights
        training = weights.batches(weights.split, self.step)
        validation = weights.batches(self.validation, sum(map(self._learns, range(self.step))))
        while self.step < weights.steps and not self.stopped:
            train, learns = next(training), self._learns(self.step)
            if learns and self.strategy.first == "architecture":
                self._architecture_step(next(validation), train)
            self._weight_step(train)
            if learns and self.strategy.first == "weights":
                self._architecture_step(next(validation), train)
            self.step += 1
            ends_epoch = self.step % weights.steps_per_epoch == 0
            yield Metrics("search", self.step, weights.steps, self._end_epoch() if ends_epoch else {})
        yield from self.selection.run(self._selected())

    def _selected(self) -> Sequence[Architecture]:
        """Return the members that the result is chosen from, all within limits or budget."""
        if not self.strategy.selected:
            return []
        preferences, count = self.strategy.preferences(self.space, self.alphas), self.strategy.selected
        bounds = self._bounds
        if bounds is None:
            return most_probable(self.space, preferences, count)
        return bounds.best(preferences, count, self.space)

    @property
    def _bounds(self) -> Limits | Budget | None:
        return self.limits if self.limits else self.budget

    def _learns(self, step: int) -> bool:
        return self.strategy.learns(step, self.weights.steps_per_epoch)

    def _moment(self, step: Literal["weights", "architecture"]) -> Moment:
        draw = 2 * self.step + (step == "architecture")
        return Moment(self.work.seed, self.step // self.weights.steps_per_epoch, draw, step)

    def _weight_step(self, train: Batch) -> None:
        moment = self._moment("weights")
        if self.strategy.legacy_clip:
            self.weights.step(self.step, self._losses(train, moment), beside=list(self.alphas.values()))
            return
        with torch.no_grad():
            mix, active = self.strategy.mixing(self.space, self.alphas, moment)
        self.weights.descend(self.step, train, mix, active, **self.strategy.options(self.space, moment))

    def _losses(self, train: Batch, moment: Moment) -> Iterator[Tensor]:
        """Yield the parts of the loss of the weights, with a gradient for the parameters as well."""
        for number, (part, share) in enumerate(self.weights.parts(train)):
            mix, active = self.strategy.mixing(self.space, self.alphas, moment)
            with seeded(self.work.seed, "weights", self.step, number):
                loss = self.weights.loss(part, mix, active, share, **self.strategy.options(self.space, moment))
            yield loss.part

    def _architecture_step(self, valid: Batch, train: Batch) -> None:
        # A draw of `none` on every edge that enters the output, or a network too short for a kind of cell, leaves no
        # path to some parameters: zeros then.
        self.optimizer.zero_grad(set_to_none=False)
        self.strategy.differentiate(self, valid, train)
        if not self.weights.scale.fits(self._gradients()):
            return
        if self.strategy.regularisation.separate:
            self._descend()
            self.optimizer.zero_grad(set_to_none=False)
        for _, term in self._terms():
            term.backward(inputs=list(self.alphas.values()))
        self._descend()
        with torch.no_grad():
            self.strategy.project(self.alphas)

    def _descend(self) -> None:
        if self.strategy.arch_clip:
            nn.utils.clip_grad_norm_(list(self.alphas.values()), self.strategy.arch_clip)
        self.optimizer.step()

    def _terms(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what the space adds to the loss of the architecture."""
        return self.strategy.regularisation.terms(self.space, self.alphas, self.budget)

    def backward(self, losses: Iterable[Tensor]) -> None:
        """Set the gradients of the parameters to those of a loss, whose parts come one by one; weights get none.

        They are the means over all processes. Half precision scales the loss meanwhile.
        """
        alphas = list(self.alphas.values())
        inputs = alphas if self.stale is None else list(self.stale.alphas.values())
        for loss in losses:
            self.work.fabric.backward(loss, inputs=inputs)
        for alpha, differentiated in zip(alphas, inputs, strict=True):
            if differentiated.grad is not None:
                differentiated.grad /= self.weights.scale.factor
                if self.stale is not None:
                    alpha.grad, differentiated.grad = differentiated.grad, None
        parallel.average(alpha.grad for alpha in alphas)

    def _gradients(self) -> list[Tensor]:
        return [alpha.grad for alpha in self.alphas.values() if alpha.grad is not None]

    def validation_losses(self, valid: Batch) -> Iterator[Tensor]:
        """Yield the parts of the loss of the architecture step at the current weights, and count them."""
        moment = self._moment("architecture")
        supernet, alphas = self.weights.supernet, self.alphas
        if self.stale is not None:
            supernet, alphas = self.stale.supernet, self.stale.alphas
        supernet.train()
        for number, (part, share) in enumerate(self.weights.parts(valid)):
            mix, active = self.strategy.mixing(self.space, alphas, moment)
            with seeded(self.work.seed, "architecture", self.step, number):
                output = supernet(part.inputs, mix, active=active, **self.strategy.options(self.space, moment))
            loss = lost(self.work.task, output, part, share)
            self.averages.add(output, part, loss)
            yield loss.part

    def losses_at(self, batch: Batch, *, count: bool) -> list[LossAt]:
        """Return the parts of the loss of the architecture step, as functions of weights and parameters.

        They take the weights in the order of the supernet's and the parameters in that of `alphas`, and disturb no
        running statistics. In full precision always: 16-bit floats do not survive second derivatives of norms.
        """
        moment = self._moment("architecture")

        def of_part(number: int, part: Batch, share: float) -> LossAt:
            held = parallel.held(len(part))

            def loss(weights: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
                named = dict(zip(self.alphas, alphas, strict=True))
                mix, active = self.strategy.mixing(self.space, named, moment)
                with parallel.holding(held), seeded(self.work.seed, "architecture", self.step, number):
                    output = self._call(
                        weights, part.inputs, mix, active=active, **self.strategy.options(self.space, moment)
                    )
                found = lost(self.work.task, output, part, share)
                if count:
                    self.averages.add(output, part, found)
                return found.part

            return loss

        return [of_part(number, *each) for number, each in enumerate(self.weights.parts(batch))]

    def _call(self, weights: Sequence[Tensor], inputs: Any, mix: Mapping[str, Tensor], **options: Any) -> Any:
        """Return the supernet's output at other weights; its buffers are cloned."""
        network = self.weights.supernet.module.train()
        state = {name: w for (name, _), w in zip(network.named_parameters(), weights, strict=True)}
        state |= {name: buffer.clone() for name, buffer in network.named_buffers()}
        dtype = weights[0].dtype
        inputs = mapped(lambda x: x.to(dtype) if x.is_floating_point() else x, inputs)
        arguments = (inputs, {name: m.to(dtype) for name, m in mix.items()})
        return torch.func.functional_call(network, state, arguments, options)

    def mixing_weights(self) -> dict[str, Tensor]:
        """Return the scores (E, O) that the architecture is derived from."""
        return {name: score.detach() for name, score in self.strategy.scores(self.space, self.alphas).items()}

    def architecture(self) -> Architecture:
        """Return the best of the candidates, or, before there is one, the member that the scores prefer."""
        best = self.selection.best
        return self._derived() if best is None else best.architecture

    def _derived(self) -> Architecture:
        """Return the member that the parameters stand for now."""
        return self._derived_from(self.alphas)

    def _derived_from(self, alphas: Alphas) -> Architecture:
        scores = self.strategy.derived_from(self.space, alphas)
        return self.space.discretize(scores) if self._bounds is None else self._bounds.derive(scores, self.space)

    def summary(self) -> dict[str, Any]:
        """Return whether nothing was decided, and what the result costs, where it has limits or a budget."""
        found: dict[str, Any] = {"undecided": UNMOVED} if self._is_undecided() else {}
        arch = self.architecture()
        if self.limits:
            found = {"limits": self.limits.report(arch), **found}
        if self.budget is None:
            return found
        budget, cost = self.budget, self.budget.cost(arch)
        return {"budget": {"of": budget.of, "target": budget.target, "cost": cost, "met": budget.met(arch)}, **found}

    def _is_undecided(self) -> bool:
        """Return whether the result follows from the random start alone (`strategies/undecided.py`)."""
        if self.selection.decided:
            return False
        start = self._initial()
        same = not has_moved(self.space.choices, start, self.alphas)
        return same and self._derived_from(start) == self._derived()

    def _end_epoch(self) -> dict[str, Any]:
        """Record the parameters, stop where strategy or guard say so, and return a row of the history."""
        averages = self.weights.averages.take()  # the first to notice divergence
        if not self.averages.is_empty:  # validation data were seen
            averages |= self.averages.take("validation_")
        self.record.append({name: alpha.detach().clone() for name, alpha in self.alphas.items()})
        self.measures.append(self._collapse())
        chosen = self.strategy.stop(self.space, self.record)
        if chosen is None:
            chosen = self.strategy.guard.verdict(self.measures)
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
            **averages,
            "lr": self.weights.lr_at(last),
            **self.strategy.recorded(epoch),
            **{f"{name}_term": float(term.detach()) for name, term in self._terms()},
            **self.measures[-1],
            **({} if chosen is None else {"returned_to_epoch": chosen}),
            "mixing": {name: weights.tolist() for name, weights in self.mixing_weights().items()},
            "architecture": {"notation": self.space.format(arch), **arch.to_dict()},
        }

    def _collapse(self) -> dict[str, float]:
        """Return what the guard wants to know, by its names in the history."""
        guard, space, scores = self.strategy.guard, self.space, self.mixing_weights()
        arch = self._derived()
        found = guard.measured(space, scores, arch)
        if guard.wants("gap"):
            mixture = self.weights.measure(scores, batches=guard.batches)
            member = self.weights.measure(*single_path(space, arch), batches=guard.batches)
            found[MEASURES["gap"]] = mixture.score - member.score
        if guard.wants("eigenvalue"):
            with parallel.apart():
                found[MEASURES["eigenvalue"]] = self._eigenvalue()
        return found

    def _eigenvalue(self) -> float:
        """Return the largest eigenvalue of the Hessian of the validation loss, as a function of the parameters alone.

        On one batch without augmentation, always the same, at the mixture that the scores stand for; in full precision.
        """
        batch = next(self.validation.batches(self.weights.batch_size, seed=0, device=self.work.fabric.device))
        weights = [w.detach() for w in self.weights.supernet.module.parameters()]
        alphas = list(self.alphas.values())
        output = self._call(weights, batch.inputs, self.strategy.scores(self.space, self.alphas))
        loss = lost(self.work.task, output, batch, alone=True).mean
        if not loss.requires_grad:  # no candidate that has a value leads to the output
            return 0.0
        gradients = torch.autograd.grad(loss, alphas, create_graph=True, materialize_grads=True)
        start = stream(self.work.seed, "eigenvalue", self.step)
        return largest_eigenvalue(gradients, alphas, start, iterations=self.strategy.guard.iterations)

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
            "measures": self.measures,
            "selection": self.selection.state_dict(),
            "stopped": self.stopped,
            **({"gradients": self._gradients()} if self.strategy.legacy_clip else {}),
            **({"limits": self.limits.state_dict()} if self.limits else {}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.step = state["step"]
        self.limits.load_state_dict(state.get("limits", {}))
        self.weights.load_state_dict(state["weights"])
        with torch.no_grad():
            for name, alpha in self.alphas.items():
                alpha.copy_(state["alphas"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averages.load(state["averages"])
        self.record = [{name: alpha.cpu() for name, alpha in alphas.items()} for alphas in state["record"]]
        self.measures = [dict(measures) for measures in state["measures"]]
        self.selection.load_state_dict(state["selection"])
        self.stopped = state["stopped"]
        if self.strategy.legacy_clip:
            for alpha, gradient in zip(self.alphas.values(), state["gradients"], strict=True):
                alpha.grad = gradient.to(alpha)
