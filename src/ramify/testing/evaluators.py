"""What an evaluator promises: the same metrics for the same architecture, whatever came between."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from ramify.costs import Inputs
from ramify.errors import ConfigurationError
from ramify.evaluators import Evaluator
from ramify.spaces import Space
from ramify.testing.bits import differences, drawn_from, restored, saved, seed_globally, watched
from ramify.testing.contract import Contract, called, unfrozen
from ramify.testing.small import SETTINGS, digits, instance, small_layout, spaces_for, work_of
from ramify.training import Metrics
from ramify.wording import excerpt

CONTRACT: Contract[Evaluations] = Contract("an evaluator")


@dataclass(frozen=True, eq=False)
class Evaluations:
    """An evaluator on one space.

    Args:
        evaluator: The evaluator.
        space: Whose members it evaluates.
        layout: Of the networks.
    """

    evaluator: Evaluator
    space: Space
    layout: Mapping[str, Any]

    def start(self, seed: int = 3) -> Any:
        """Return the evaluator at work, not prepared."""
        work = work_of(self.layout, seed=seed, data=self.evaluator.needs_data)
        return self.evaluator.start(self.space, work)

    def prepared(self) -> Any:
        """Return the evaluator at work, prepared."""
        evaluation = self.start()
        for _ in evaluation.prepare():
            pass
        return evaluation

    def members(self, count: int = 2) -> list[Any]:
        """Return drawn members, all different where the space has so many."""
        drawn = (self.space.sample(Random(seed)) for seed in range(20 * count))
        return list(dict.fromkeys(drawn))[:count]


def check_evaluator(
    evaluator: Evaluator | type[Evaluator],
    space: Space | type[Space] | None = None,
    layout: Mapping[str, Any] | None = None,
) -> None:
    """Check that an evaluator keeps what searches, executors and a continuation build on.

    Args:
        evaluator: An evaluator with settings that make short work, or a class; then `epochs` and `batch_size` are set
            to few.
        space: Whose members it evaluates; a small space of the library when None.
        layout: Layout keywords of small networks, as in `check_space`.

    Raises:
        ContractError: If it breaks a promise.
        ConfigurationError: If it needs what this space, or all of the library's, does not offer.
    """
    __tracebackhide__ = True
    made: Evaluator = instance(evaluator, Evaluator, "an evaluator", SETTINGS)
    if space is None:
        found = spaces_for(lambda each: not each.lacks(made.needs), most=1)
        if not found:
            raise ConfigurationError(f"{called(type(made))} can work on no space of the library; name one: `space=`")
        searched, laid_out = found[0]
    else:
        searched = instance(space, Space, "a space")
        if lacking := searched.lacks(made.needs):
            raise ConfigurationError(f"{called(type(made))}: {lacking}")
        laid_out = small_layout(searched) if layout is None else dict(layout)
    CONTRACT.check(Evaluations(made, searched, laid_out), f"{called(type(made))} on {type(searched).__name__}")


@CONTRACT.promise("holds its settings in a frozen dataclass", mend="@dataclass(frozen=True, kw_only=True)")
def _frozen(at: Evaluations) -> Iterator[str]:
    if unfrozen(at.evaluator):
        yield "its settings can be changed while a search works"


@CONTRACT.promise("travels to other processes", mend="settings of plain values, and a class that a module defines")
def _travels(at: Evaluations) -> Iterator[str]:
    kind = type(at.evaluator)
    if getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is not kind:
        return  # a class of a function or a notebook never does, and may be checked all the same
    twin = pickle.loads(pickle.dumps(at.evaluator))  # noqa: S301 -- what was just written
    if repr(vars(twin)) != repr(vars(at.evaluator)):
        yield f"{excerpt(at.evaluator)} arrives as {excerpt(twin)}"


@CONTRACT.promise(
    "says at work what it can do: `fidelities`, `metrics` with a `score`, and `inputs`", mend="what `start` returns"
)
def _says(at: Evaluations) -> Iterator[str]:
    evaluation = at.start()
    fidelities, metrics = evaluation.fidelities, evaluation.metrics
    if not all(isinstance(epochs, int) and epochs > 0 for epochs in fidelities) or list(fidelities) != sorted(
        set(fidelities)
    ):
        yield f"`fidelities` are {excerpt(fidelities)} instead of ascending numbers of epochs"
    if isinstance(metrics, str) or "score" not in metrics:
        yield f"`metrics` are {excerpt(metrics)}"
    if not isinstance(evaluation.inputs, Inputs):
        yield f"`inputs` are {excerpt(evaluation.inputs)}, and no Inputs"


@CONTRACT.promise("yields Metrics while it prepares", mend="`prepare()`, a generator: `yield from ()` for none")
def _prepares(at: Evaluations) -> Iterator[str]:
    for metrics in at.start().prepare():
        if not isinstance(metrics, Metrics):
            yield f"it yields {excerpt(metrics)}"


@CONTRACT.promise("returns the metrics that it names, as finite numbers", mend="`__call__(arch, epochs)`, `metrics`")
def _measures(at: Evaluations) -> Iterator[str]:
    evaluation = at.prepared()
    for arch in at.members():
        found = evaluation(arch)
        if not isinstance(found, dict) or set(found) != set(evaluation.metrics):
            names = sorted(found) if isinstance(found, dict) else excerpt(found)
            yield f"it returns {names} and names {sorted(evaluation.metrics)}"
            return
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                yield f"{name!r} is {excerpt(value)}, a {type(value).__name__}"


@CONTRACT.promise(
    "gives an architecture the same metrics always, by the seed of its work alone",
    mend="`__call__`: draw from `ramify.seeding.stream(work.seed, …)`, keep nothing from one call to the next",
)
def _deterministic(at: Evaluations) -> Iterator[str]:
    with watched(1) as before:
        evaluation = at.prepared()
        first, *others = at.members()
        found = evaluation(first)
        if moved := drawn_from(before):
            yield f"it draws from the global generator of {moved[0]}"
        for other in others:
            evaluation(other)
        seed_globally(2)
        again = evaluation(first)
    if wrong := differences(found, again):
        yield f"the second time, after other members, there is a difference in {excerpt(wrong[0])}"
    with watched(3):
        if wrong := differences(found, at.prepared()(first)):
            yield f"started anew with the same seed there is a difference in {excerpt(wrong[0])}"


@CONTRACT.promise(
    "evaluates after every one of its fidelities, the highest where nothing is said", mend="`epochs` of `__call__`"
)
def _fidelities(at: Evaluations) -> Iterator[str]:
    evaluation = at.prepared()
    if not evaluation.fidelities:
        return
    arch = at.members()[0]
    lowest, highest = evaluation.fidelities[0], evaluation.fidelities[-1]
    if set(evaluation(arch, lowest)) != set(evaluation.metrics):
        yield f"after {lowest} epochs it returns other metrics"
    if wrong := differences(evaluation(arch), evaluation(arch, highest)):
        yield f"without `epochs` and with {highest} there is a difference in {excerpt(wrong[0])}"


@CONTRACT.promise(
    "goes on from its state: prepared as far as it was, with the same metrics",
    mend="`state_dict()` and `load_state_dict(state)`: tensors and plain values, all that `prepare` changes",
)
def _continued(at: Evaluations) -> Iterator[str]:
    whole, stopped = at.prepared(), at.start()
    for _ in islice(stopped.prepare(), 2):
        pass
    members = at.members()
    for evaluation, what in ((stopped, "while it prepared"), (whole, "after its preparation")):
        fresh = at.start()
        fresh.load_state_dict(restored(saved(evaluation)))
        for _ in fresh.prepare():
            pass
        if wrong := differences([whole(arch) for arch in members], [fresh(arch) for arch in members]):
            yield f"stopped {what}, there is a difference in {excerpt(wrong[0])}"


@CONTRACT.promise("leaves the test split alone, of which nothing may be learned", mend="score on `search_validation`")
def _test_split(at: Evaluations) -> Iterator[str]:
    before = len(digits().reads)
    at.prepared()(at.members()[0])
    if digits().reads[before:]:
        yield "it reads the split 'test'"
