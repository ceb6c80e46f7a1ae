"""The tools of a bilevel search, on which the loop in the file of its strategy is written.

A loop takes the steps that are left, lets weights and architecture parameters descend, and ends each step:

    for step in search.steps():
        for turn in search.turns(step):
            path = partial(self.mixing, search.space, search.alphas, turn)
            if turn.step == "weights":
                search.descend(next(search.training), path)
            else:
                search.alphas.descend(search.losses(next(search.validation), path))
        yield search.end(step)

The tools take care of the rest: processes, precision, randomness, averages, the guard, rows of the history, and of what
a continuation needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.architecture import Architecture
from ramify.costs import Budget, Limits
from ramify.errors import ConfigurationError
from ramify.seeding import seeded, stream
from ramify.spaces import Space
from ramify.strategies.collapse import MEASURES
from ramify.strategies.hessian import largest_eigenvalue
from ramify.strategies.selection import Selection, most_probable
from ramify.strategies.undecided import UNMOVED, has_moved
from ramify.supernet import require
from ramify.tasks import Batch
from ramify.training import Averages, Metrics, Weights, Work, lost, single_path
from ramify.training.descent import Alphas, DrawPath
from ramify.training.measure import scored
from ramify.training.stateful import Feed, Stateful

if TYPE_CHECKING:
    from ramify.strategies.differentiable import Differentiable

Turn = Literal["weights", "architecture"]
Stop = Callable[[Space, Sequence[Mapping[str, Tensor]]], int | None]
"""Space and architecture parameters of each epoch so far → the epoch to return to and end with, None to go on."""


@dataclass(frozen=True)
class Moment:
    """The point in a search for which mixing weights are needed.

    Args:
        seed: Of the run.
        epoch: From 0.
        draw: Number of the forward pass, from 0, unique in the search.
        step: What the pass is for.
    """

    seed: int
    epoch: int
    draw: int
    step: Turn

    def generator(self, *key: str) -> torch.Generator:
        """Return the random generator of this point."""
        return stream(self.seed, "mixing", self.draw, *key)


@dataclass(frozen=True)
class Step:
    """A step of a search, with the batch that the weights train on.

    Args:
        number: From 0.
        steps_per_epoch: How many an epoch has.
    """

    number: int
    steps_per_epoch: int

    @property
    def epoch(self) -> int:
        """The epoch of the step, from 0."""
        return self.number // self.steps_per_epoch

    @property
    def within(self) -> int:
        """The number of the step within its epoch, from 0."""
        return self.number % self.steps_per_epoch

    @property
    def ends_epoch(self) -> bool:
        """Whether the step is the last of its epoch."""
        return self.within == self.steps_per_epoch - 1


class Bilevel(Stateful):
    """A bilevel search at work: weights, architecture parameters, batches of both halves, and records.

    Args:
        strategy: Its settings, and its loop (`search`).
        space: What is searched.
        work: Task, seed, device and layout.
        layout: Layout keywords that the supernet needs for this strategy.
        limits: Of the result's costs; what the strategy says by default.
        scored: Validation batches that candidates are scored on in the end (`select`), 0 for all; None without any.
    """

    kept: ClassVar[tuple[str, ...]] = (
        *("step", "limits", "weights", "alphas", "training", "validation"),
        *("averages", "record", "measures", "selection", "stopped"),
    )

    def __init__(
        self,
        strategy: Differentiable,
        space: Space,
        work: Work,
        *,
        layout: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        scored: int | None = None,
    ) -> None:
        self.strategy, self.space, self.work = strategy, space, work
        self.limits = limits or strategy.limits_of(space, work)
        self.weights = Weights(strategy, space, replace(work, layout={**(layout or {}), **work.layout}))
        require(self.weights.backbone, strategy.needs, "the search")
        if strategy.legacy_clip and self.weights.scale.factor != 1:
            raise ConfigurationError(
                "`legacy_clip` clips gradients of unlike scales in 16-bit floats; use another precision"
            )
        self.split = work.task.split("search_validation")
        self.weights.check(self.split)
        self.training = Feed(lambda start: self.weights.batches(self.weights.split, start))
        self.validation = Feed(lambda start: self.weights.batches(self.split, start))
        self.budget = strategy.regularization.budget(space, work)
        self.alphas = Alphas(
            self._start(),
            work.fabric,
            self.weights.scale,
            lr=strategy.arch_lr,
            betas=strategy.arch_betas,
            weight_decay=strategy.arch_weight_decay,
            clip=strategy.arch_clip,
            terms=lambda alphas: (term for _, term in self._terms(alphas)),
            separate=strategy.regularization.separate,
        )
        self.averages = Averages(work.task, work.fabric.device)
        self.record: list[dict[str, Tensor]] = []
        self.measures: list[dict[str, float]] = []
        self.selection = Selection(space, self.weights, scored or 0)
        if strategy.guard.wants("gap"):
            self.weights.check_measured(batches=strategy.guard.batches)
        if scored is not None:
            self.weights.check_measured(batches=scored)
        self._stop: Stop = lambda space, record: None
        self.stopped = False
        self.step = 0

    def _start(self) -> dict[str, Tensor]:
        """Return the architecture parameters that the search starts from."""
        alphas = self.strategy.initial(self.space, lambda name: stream(self.work.seed, "alphas", name))
        return {name: alpha.to(self.work.dtype) for name, alpha in alphas.items()}

    # What a loop is written on

    def run(self) -> Iterator[Metrics]:
        """Search; yield after every step, with a row of the history after every epoch."""
        self.limits.prepare()
        yield from self.strategy.search(self)

    def steps(self) -> Iterator[Step]:
        """Yield the remaining steps, until all are done or the search is stopped; each is ended by `end`."""
        while (number := self.step) < self.weights.steps and not self.stopped:
            yield Step(number, self.weights.steps_per_epoch)
            if self.step != number + 1:
                raise ConfigurationError(f"a loop must end step {number} once: `yield search.end(step)`")

    def turns(self, step: Step, learns: bool | None = None) -> list[Moment]:
        """Return the turns of a step, weights or architecture, in the order of `first`, each with its randomness.

        Args:
            step: Which.
            learns: Whether the architecture does; by default from the epoch `arch_start` on.
        """
        learns = step.epoch >= self.strategy.arch_start if learns is None else learns
        both: list[Turn] = ["weights", "architecture"]
        turns = sorted(both, key=lambda turn: turn != self.strategy.first) if learns else both[:1]
        return [Moment(self.work.seed, step.epoch, 2 * step.number + (turn == "architecture"), turn) for turn in turns]

    def descend(self, batch: Batch, *paths: DrawPath, **options: Any) -> None:
        """Take a gradient step of the weights on the losses of paths on a batch; α stay fixed."""
        beside = list(self.alphas.values()) if self.strategy.legacy_clip else []
        self.weights.descend(self.step, batch, *paths, beside=beside, **options)

    def losses(self, batch: Batch, path: DrawPath, **options: Any) -> Iterator[Tensor]:
        """Yield the parts of a path's loss on a batch of the architecture, at the current weights, and record them."""
        key = ("architecture", self.step)
        return self.weights.losses(batch, path, key=key, averages=self.averages, **options)

    def score(self, batch: Batch, mix: Mapping[str, Tensor], active: Mapping[str, Tensor] | None, number: int) -> float:
        """Return the score of a path on a batch, with the statistics of the batch, and count it.

        Args:
            batch: Of the architecture.
            mix, active: The path.
            number: Of the path in this step; its randomness follows from it.
        """
        supernet, outputs = self.weights.supernet.train(), []
        with torch.no_grad(), seeded(self.work.seed, "sample", self.step, number):
            for part, share in self.weights.parts(batch):
                output = supernet(part.inputs, mix, active=active)
                self.averages.add(output, part, lost(self.work.task, output, part, share))
                outputs.append((output, part))
        return scored(self.work.task, outputs)

    def until(self, stop: Stop) -> None:
        """End the search after an epoch if `stop` says so."""
        self._stop = stop

    def end(self, step: Step, extra: Callable[[], Mapping[str, float]] = dict, **values: float) -> Metrics:
        """End a step; at the end of an epoch record a row, and stop the search if that is due.

        Args:
            step: Which.
            extra: Returns what the strategy adds to a row of the history, as things are after the epoch.
            values: More of it.
        """
        self.step += 1
        row = self._row(step, lambda: {**values, **extra()}) if step.ends_epoch else {}
        return Metrics("search", self.step, self.weights.steps, row)

    def select(self, preferences: Mapping[str, Tensor], count: int) -> Iterator[Metrics]:
        """Score the members of largest `preferences` (E, O), within limits or budget; the best is the result."""
        bounds = self._bounds
        candidates = (
            most_probable(self.space, preferences, count)
            if bounds is None
            else bounds.best(preferences, count, self.space)
        )
        yield from self.selection.run(candidates)

    # What comes of it

    def scores(self) -> dict[str, Tensor]:
        """Return the scores (E, O) of the mixture, from which the result is derived."""
        return {name: score.detach() for name, score in self.strategy.scores(self.space, self.alphas).items()}

    def architecture(self) -> Architecture:
        """Return the best scored candidate, or, before there is one, the member that α prefer."""
        best = self.selection.best
        return self.derived(self.alphas) if best is None else best.architecture

    def derived(self, alphas: Mapping[str, Tensor]) -> Architecture:
        """Return the member derived from architecture parameters, within limits or budget."""
        scores = self.strategy.derived_from(self.space, alphas)
        return self.space.discretize(scores) if self._bounds is None else self._bounds.derive(scores, self.space)

    @property
    def _bounds(self) -> Limits | Budget | None:
        return self.limits if self.limits else self.budget

    def summary(self) -> dict[str, Any]:
        """Return whether the search is undecided, and the cost of the result, if there are limits or a budget."""
        summary: dict[str, Any] = {"undecided": UNMOVED} if self._is_undecided() else {}
        arch = self.architecture()
        if self.limits:
            summary = {"limits": self.limits.report(arch), **summary}
        if self.budget is None:
            return summary
        budget, cost = self.budget, self.budget.cost(arch)
        return {"budget": {"of": budget.of, "target": budget.target, "cost": cost, "met": budget.met(arch)}, **summary}

    def _is_undecided(self) -> bool:
        """Return whether the result follows from the random start alone (`strategies/undecided.py`)."""
        if self.selection.decided:
            return False
        start = self._start()
        same = not has_moved(self.space.choices, start, self.alphas)
        return same and self.derived(start) == self.derived(self.alphas)

    @property
    def supernet(self) -> nn.Module:
        """The supernet with its weights."""
        return self.weights.supernet

    # The end of an epoch

    def _row(self, step: Step, extra: Callable[[], Mapping[str, float]]) -> dict[str, Any]:
        """Record the parameters, stop where strategy or guard say so, and return a row of the history."""
        averages = self.weights.averages.take()  # the first to notice divergence
        if not self.averages.is_empty:  # validation data were seen
            averages |= self.averages.take("validation_")
        self.record.append(self.alphas.copies())
        self.measures.append(self._measured())
        chosen = self._stop(self.space, self.record)
        if chosen is None:
            chosen = self.strategy.guard.verdict(self.measures)
        if chosen is not None:
            self.stopped = True
            self.alphas.restore(self.record[chosen])
        arch = self.architecture()
        return {
            "epoch": step.epoch,
            **averages,
            "lr": self.weights.lr_at(step.number),
            **extra(),
            **{f"{name}_term": float(term.detach()) for name, term in self._terms(self.alphas)},
            **self.measures[-1],
            **({} if chosen is None else {"returned_to_epoch": chosen}),
            "mixing": {name: weights.tolist() for name, weights in self.scores().items()},
            "architecture": {"notation": self.space.format(arch), **arch.to_dict()},
        }

    def _terms(self, alphas: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield what the space, or a budget, adds to the loss of the architecture."""
        return self.strategy.regularization.terms(self.space, alphas, self.budget)

    def _measured(self) -> dict[str, float]:
        """Return what the guard wants to know, by its names in the history."""
        guard, scores, arch = self.strategy.guard, self.scores(), self.derived(self.alphas)
        measures = guard.measured(self.space, scores, arch)
        if guard.wants("gap"):
            mixture = self.weights.measure(scores, batches=guard.batches)
            member = self.weights.measure(*single_path(self.space, arch), batches=guard.batches)
            measures[MEASURES["gap"]] = mixture.score - member.score
        if guard.wants("eigenvalue"):
            with parallel.apart():
                measures[MEASURES["eigenvalue"]] = self._eigenvalue()
        return measures

    def _eigenvalue(self) -> float:
        """Return the largest eigenvalue of the Hessian of the validation loss, as a function of the parameters alone.

        On one batch without augmentation, always the same, at the mixture that the scores stand for; in full precision.
        """
        batch = next(self.split.batches(self.weights.batch_size, seed=0, device=self.work.fabric.device))
        weights = [w.detach() for w in self.weights.supernet.module.parameters()]
        alphas = list(self.alphas.values())
        output = self.weights.output_at(weights, batch.inputs, self.strategy.scores(self.space, self.alphas))
        loss = lost(self.work.task, output, batch, alone=True).mean
        if not loss.requires_grad:  # no candidate that has a value leads to the output
            return 0.0
        gradients = torch.autograd.grad(loss, alphas, create_graph=True, materialize_grads=True)
        start = stream(self.work.seed, "eigenvalue", self.step)
        return largest_eigenvalue(gradients, alphas, start, iterations=self.strategy.guard.iterations)
