"""BOHB: Bayesian optimization and Hyperband (Falkner et al., ICML 2018, arXiv:1807.01774).

Hyperband says after how many epochs architectures are evaluated: in a bracket, many after a few epochs, and the best of
them again after more. Which architectures enter a bracket is up to a tree-structured Parzen estimator, fitted to the
trials of the highest fidelity that has enough of them. The estimator is Optuna's, in its multivariate form; brackets
are run one after the other as in the paper's program.
"""

# No postponed annotations: the command line reads the types of the fields.

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Proposal, Trial, Trials
from ramify.strategies.optuna_study import OptunaStudy

_ATTEMPTS = 10
"""How often the estimator is asked before a member is drawn. It learns nothing from members that fail, such as those
that a table lacks, and would propose the same one for ever."""


@dataclass(frozen=True, kw_only=True)
class BOHB(AskTell):
    """BOHB over the epochs of the evaluator; with a single fidelity, its density estimator alone.

    The result is the best of those that were evaluated at the highest fidelity.

    Args:
        eta: Every η-th architecture of a rung is evaluated again, after η times as many epochs.
        min_epochs: Of the lowest rung.
        startup: Trials of a fidelity before the estimator is fitted to them.
        candidates: How many members the estimator draws, of which it proposes the most promising one.
        random_fraction: Share of the architectures that are drawn uniformly.
    """

    source = "Falkner et al., BOHB: Robust and Efficient Hyperparameter Optimization at Scale, ICML 2018"

    eta: int = 3
    min_epochs: int = 1
    startup: int = 10
    candidates: int = 24
    random_fraction: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta < 2:
            raise ConfigurationError(f"`eta` must be at least 2, got {self.eta}")
        for name in ("min_epochs", "startup", "candidates"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.random_fraction <= 1:
            raise ConfigurationError(f"`random_fraction` must be in [0, 1], got {self.random_fraction}")

    def ask(self, space: Space, trials: Trials, rng: Random) -> Proposal:
        """Return the next architecture of the bracket and its number of epochs."""
        levels = rungs(trials.fidelities, self.min_epochs, self.eta)
        place = self._place(trials)
        epochs = levels[place.rung + len(levels) - len(place.sizes)]
        if place.rung:
            return Proposal(place.promoted(trials) or space.sample(rng), epochs)
        studies = trials.fold("studies", dict, lambda studies, trial: self._updated(space, studies, trial))
        fitted = [studies[level] for level in levels if level in studies and studies[level][1] >= self.startup]
        if not fitted or rng.random() < self.random_fraction:
            return Proposal(space.sample(rng), epochs)
        failed = trials.fold("failed", set[Architecture], _with_failed)
        for _ in range(_ATTEMPTS):
            architecture, _ = fitted[-1][0].ask(rng.getrandbits(32))
            if architecture not in failed:
                return Proposal(architecture, epochs)
        return Proposal(space.sample(rng), epochs)

    def ready(self, trials: Trials) -> bool:
        """Return whether the rung that the next promotion comes from is complete; in the lowest, as usual."""
        place = self._place(trials)
        return len(trials) >= place.begin if place.rung else super().ready(trials)

    def _place(self, trials: Trials) -> "_Place":
        levels = rungs(trials.fidelities, self.min_epochs, self.eta)
        return _Place.of(trials.asked, brackets(len(levels), self.eta))

    def _updated(self, space: Space, studies: dict[Any, tuple[OptunaStudy, int]], trial: Trial) -> dict[Any, Any]:
        if trial.failed:
            return studies
        study, count = studies.get(trial.epochs) or (OptunaStudy(space, self._make_sampler), 0)
        studies[trial.epochs] = (study.tell(trial, {}), count + 1)
        return studies

    def _make_sampler(self, seed: int) -> Any:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, multivariate=True, n_startup_trials=self.startup, n_ei_candidates=self.candidates)


def _with_failed(failed: set[Architecture], trial: Trial) -> set[Architecture]:
    return failed | {trial.architecture} if trial.failed else failed


def rungs(fidelities: Sequence[int], least: int, eta: int) -> Sequence[int | None]:
    """Return the epochs of the rungs, ascending: the highest fidelity, 1/η of it, … down to `least`.

    Each is the highest fidelity that is not above; [None] where there are no fidelities.

    Example:
        >>> rungs(range(1, 13), 1, 3)
        [1, 4, 12]
    """
    if not fidelities:
        return [None]
    wanted, chosen = float(fidelities[-1]), {fidelities[-1]}
    while (wanted := wanted / eta) >= max(least, fidelities[0]):
        chosen.add(max(fidelity for fidelity in fidelities if fidelity <= wanted + 1e-9))
    return sorted(chosen)


def brackets(levels: int, eta: int) -> list[list[int]]:
    """Return the number of architectures in every rung of every bracket of a cycle, as in the paper's program.

    Example:
        >>> brackets(3, 3)
        [[9, 3, 1], [3, 1], [3]]
    """
    return [[levels // (top + 1) * eta ** (top - rung) for rung in range(top + 1)] for top in range(levels - 1, -1, -1)]


@dataclass(frozen=True)
class _Place:
    """Where a trial stands: in which rung of which bracket.

    Args:
        sizes: How many architectures the rungs of the bracket evaluate.
        rung: From 0, the lowest of the bracket.
        index: In the rung.
        start: Number of the bracket's first trial.
    """

    sizes: list[int]
    rung: int
    index: int
    start: int

    @classmethod
    def of(cls, number: int, cycle: list[list[int]]) -> "_Place":
        length = sum(map(sum, cycle))
        start, left = number - number % length, number % length
        at = 0
        while left >= sum(cycle[at]):
            start, left, at = start + sum(cycle[at]), left - sum(cycle[at]), at + 1
        rung = 0
        while left >= cycle[at][rung]:
            left, rung = left - cycle[at][rung], rung + 1
        return cls(cycle[at], rung, left, start)

    @property
    def begin(self) -> int:
        """Number of the rung's first trial."""
        return self.start + sum(self.sizes[: self.rung])

    def promoted(self, trials: Trials) -> Architecture | None:
        """Return the architecture that is evaluated here: the best of the rung below, then the next best, …

        None where too few of them could be evaluated.
        """
        below = [trial for trial in trials[self.begin - self.sizes[self.rung - 1] : self.begin] if not trial.failed]
        ranked = sorted(below, key=lambda trial: (-trial.score, trial.number))
        return ranked[self.index].architecture if self.index < len(ranked) else None
