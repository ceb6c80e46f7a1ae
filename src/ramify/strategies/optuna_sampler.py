"""Any categorical sampler of Optuna (Akiba et al., Optuna, KDD 2019): TPE, NSGA-II, NSGA-III, …"""

# No postponed annotations: the command line reads the types of the fields.

import functools
import inspect
import warnings
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError, nearest
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Proposal, Trial, Trials
from ramify.strategies.base import SearchSession
from ramify.strategies.optuna_study import OptunaStudy
from ramify.training import Work

SAMPLERS = ("BruteForce", "GP", "NSGAII", "NSGAIII", "Random", "TPE")
NUMERIC = ("CmaEs", "QMC")
"""Samplers whose model is of numbers only: categories would be drawn uniformly."""

_DEFAULTS = {"NSGAII": {"population_size": 20}, "NSGAIII": {"population_size": 20}}
"""Where Optuna's own defaults ask for more evaluations than a search of architectures has."""


@dataclass(frozen=True, kw_only=True)
class OptunaSampler(AskTell):
    """Let a sampler of Optuna propose the architectures.

    For several objectives, NSGA-II (Deb et al., IEEE TEC 2002) is `--strategy.sampler NSGAII`.

    Args:
        sampler: `TPE`, `NSGAII`, `NSGAIII`, `GP`, `BruteForce` or `Random`: Optuna's class without `Sampler`.
        settings: Arguments of its constructor that are numbers or words, as `--strategy.settings.population_size 50`.
            Optuna's defaults hold, but for the populations of NSGA-II and NSGA-III: 20 members instead of 50, because
            evaluations are dear.
        attempts: How often the sampler is asked again where it proposes what was evaluated before.
    """

    source = "Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, KDD 2019, arXiv:1907.10902"
    takes_several = True

    sampler: str = "TPE"
    settings: dict[str, int | float | bool | str | None] = field(default_factory=dict)
    attempts: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler in NUMERIC:
            raise ConfigurationError(
                f"Optuna's {self.sampler} models numbers, decisions are categories; known: {', '.join(SAMPLERS)}"
            )
        if self.sampler not in SAMPLERS:
            raise ConfigurationError(f"unknown sampler {self.sampler!r}; {nearest(self.sampler, SAMPLERS)}")

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the search, having checked the sampler's settings."""
        self.make(0)
        return super().session(space, work)

    def make(self, seed: int) -> Any:
        """Return the sampler.

        Raises:
            ConfigurationError: If its constructor does not take the settings.
        """
        import optuna

        kind = getattr(optuna.samplers, f"{self.sampler}Sampler")
        parameters = _parameters(kind)
        for name in self.settings:
            if name not in parameters:
                raise ConfigurationError(f"unknown setting {name!r} of {kind.__name__}; {nearest(name, parameters)}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Optuna calls experimental is tested here
                return kind(seed=seed % 2**32, **{**_DEFAULTS.get(self.sampler, {}), **self.settings})
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{kind.__name__}: {' '.join(str(error).split())}") from None

    def ask(self, space: Space, trials: Trials, rng: Random) -> Proposal:
        """Return the sampler's proposal."""

        def start() -> OptunaStudy:
            return OptunaStudy(space, self.make, len(trials.objectives))

        study, evaluated = trials.fold("study", lambda: (start(), set()), _updated)
        for _ in range(self.attempts):
            architecture, memo = study.ask(rng.getrandbits(32))
            if architecture not in evaluated and architecture not in trials.pending:
                break
        return Proposal(architecture, memo=memo)


@functools.cache
def _parameters(kind: type) -> frozenset[str]:
    return frozenset(inspect.signature(kind).parameters) - {"seed"}


def _updated(state: tuple[OptunaStudy, set[Architecture]], trial: Trial) -> tuple[OptunaStudy, set[Architecture]]:
    study, evaluated = state
    evaluated.add(trial.architecture)
    return study.tell(trial, trial.memo), evaluated
