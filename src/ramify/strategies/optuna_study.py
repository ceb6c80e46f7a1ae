"""Optuna as ask and tell: a study in which every proposal is a function of the trials and a seed."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ramify.architecture import Architecture
from ramify.spaces import Space
from ramify.strategies.trials import Trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


_JOINT = ("GPSampler", "NSGAIIISampler", "NSGAIISampler", "TPESampler")
"""Samplers that propose all parameters at once."""


class OptunaStudy:
    """An in-memory study: one categorical parameter for every decision, all objectives minimized.

    A fresh sampler makes each proposal. So nothing matters but the trials, and what the sampler noted with them: a
    continued search hands in both and gets the same proposals.

    Args:
        space: What is searched.
        make_sampler: Seed → a sampler.
        objectives: How many.
    """

    def __init__(self, space: Space, make_sampler: Callable[[int], BaseSampler], objectives: int = 1) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self._make_sampler = space, make_sampler
        self._study = optuna.create_study(directions=["minimize"] * objectives)
        self._parameters = {decision.name: _indices()(range(len(decision.choices))) for decision in space.decisions}
        self._asked: Any = None

    def ask(self, seed: int) -> tuple[Architecture, dict[str, Any]]:
        """Return a proposal with the sampler's notes on it."""
        from optuna.trial import TrialState

        if self._asked is not None:  # the last proposal was not evaluated
            self._study.tell(self._asked, state=TrialState.FAIL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Optuna calls experimental is tested here
            self._study.sampler = self._prepared(self._make_sampler(seed))
            self._asked = self._study.ask(dict(self._parameters))
        frozen = self._study.get_trials(deepcopy=False)[self._asked.number]
        chosen = (decision.choices[frozen.params[decision.name]] for decision in self.space.decisions)
        return self.space.architecture(chosen), dict(frozen.system_attrs)

    def _prepared(self, sampler: Any) -> Any:
        """Return the sampler, quicker, and without what depends on whether a search was interrupted."""
        if type(sampler).__name__ in _JOINT:
            # What they would find out by comparing the parameters of all trials: every trial has the same.
            shared = {name: kind for name, kind in self._parameters.items() if not kind.single()}
            sampler.infer_relative_search_space = lambda study, trial: shared
        if hasattr(sampler, "get_parent_population"):
            # The parents of a generation are kept, not computed again. So they must not depend on who asks for them
            # first, neither by a random choice among equals nor by their order.
            parents = sampler.get_parent_population
            sampler.get_parent_population = lambda *which: sorted(parents(*which), key=lambda trial: trial.number)
            sampler.select_parent = self._select_parent
        return sampler

    def _select_parent(self, study: Any, generation: int) -> Any:
        chooser = self._prepared(self._make_sampler(generation))
        return type(chooser).select_parent(chooser, study, generation)

    def tell(self, trial: Trial, memo: Mapping[str, Any]) -> OptunaStudy:
        """Add a trial; a failed one has no values, so that the sampler learns nothing from it."""
        from optuna.trial import TrialState, create_trial

        indices = {d.name: d.index[trial.architecture[d.name]] for d in self.space.decisions}
        values, state = (None, TrialState.FAIL) if trial.failed else (list(trial.values), TrialState.COMPLETE)
        asked, self._asked = self._asked, None
        if asked is not None and asked.params == indices:
            self._study.tell(asked, values, state=state)
            return self
        if asked is not None:
            self._study.tell(asked, state=TrialState.FAIL)
        kinds: dict[str, Any] = dict(self._parameters)
        self._study.add_trial(
            create_trial(state=state, params=indices, distributions=kinds, values=values, system_attrs=dict(memo))
        )
        return self


@functools.cache
def _indices() -> Any:
    """Return Optuna's distribution of categories for those that are their own numbers: 0, 1, …

    For every parameter of every trial Optuna would look for the category among the others, compare distributions
    category by category, and copy them.
    """
    from optuna.distributions import CategoricalDistribution

    class Indices(CategoricalDistribution):
        __hash__ = CategoricalDistribution.__hash__

        def to_internal_repr(self, param_value: Any) -> Any:
            return param_value

        def __eq__(self, other: object) -> bool:
            return self is other or super().__eq__(other)

        def __deepcopy__(self, memo: object) -> Any:
            return self

    return Indices
