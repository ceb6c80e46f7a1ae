"""The session of all strategies that ask for an architecture and are told its score."""

# No postponed annotations: the command line reads the types of inherited fields in the modules of subclasses.

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from torch import nn

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.evaluators import Evaluator, TrainFromScratch
from ramify.seeding import rng
from ramify.spaces import Space
from ramify.strategies.base import SearchSession, Strategy
from ramify.training import Metrics, Task


@dataclass(frozen=True)
class Trial:
    """One evaluated architecture.

    Args:
        number: From 0, in the order in which they were asked for.
        architecture: What was evaluated.
        metrics: What the evaluator found; `score` is maximised.
    """

    number: int
    architecture: Architecture
    metrics: Mapping[str, float]

    @property
    def score(self) -> float:
        """What the search maximises."""
        return self.metrics["score"]


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the highest score, the first of equals."""
    return max(trials, key=lambda trial: (trial.score, -trial.number))


@dataclass(frozen=True, kw_only=True)
class AskTell(Strategy):
    """Settings of a multi-trial search.

    Args:
        evaluations: How many architectures are evaluated.
        evaluator: How; by training from scratch when None.
    """

    evaluations: int = 20
    evaluator: Evaluator | None = field(default=None)

    def __post_init__(self) -> None:
        if self.evaluations < 1:
            raise ConfigurationError(f"`evaluations` must be at least 1, got {self.evaluations}")

    @abstractmethod
    def ask(self, space: Space, trials: Sequence[Trial], rng: Random) -> Architecture:
        """Return the next architecture; `trials` is oldest first. What follows from the trials is not kept."""

    def session(self, space: Space, task: Task) -> SearchSession:
        """Return the multi-trial search of a space."""
        return AskTellSession(self, space, task)


class AskTellSession:
    """An ask/tell strategy at work. Every evaluation is a safe point."""

    def __init__(self, strategy: AskTell, space: Space, task: Task) -> None:
        self.strategy, self.space, self.task = strategy, space, task
        self.evaluation = (strategy.evaluator or TrainFromScratch()).start(space, task)
        self.trials: list[Trial] = []

    def run(self) -> Iterator[Metrics]:
        """Prepare the evaluator, then ask, evaluate and record."""
        yield from self.evaluation.prepare()
        known = {trial.architecture: trial.metrics for trial in self.trials}
        while len(self.trials) < self.strategy.evaluations:
            number = len(self.trials)
            arch = self.strategy.ask(self.space, self.trials, rng(self.task.seed, "ask", number))
            if arch not in known:  # evaluators are deterministic, so a repetition costs nothing
                known[arch] = self.evaluation(arch)
            self.trials.append(Trial(number, arch, known[arch]))
            yield Metrics("trial", number + 1, self.strategy.evaluations, self._row())

    def _row(self) -> dict[str, Any]:
        trial, leader = self.trials[-1], best(self.trials)
        return {
            "trial": trial.number,
            "score": trial.score,
            "best": leader.score,
            "metrics": dict(trial.metrics),
            "architecture": {"notation": self.space.format(trial.architecture), **trial.architecture.to_dict()},
        }

    def architecture(self) -> Architecture:
        """Return the best architecture so far."""
        return best(self.trials).architecture

    @property
    def supernet(self) -> nn.Module | None:
        """The supernet of the evaluator, where it has one."""
        return getattr(self.evaluation, "supernet", None)

    def state_dict(self) -> dict[str, Any]:
        """Return all trials and the state of the evaluator."""
        return {
            "trials": [[trial.architecture.to_json(), dict(trial.metrics)] for trial in self.trials],
            "evaluation": self.evaluation.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.trials = [
            Trial(number, Architecture.from_json(text), metrics)
            for number, (text, metrics) in enumerate(state["trials"])
        ]
        self.evaluation.load_state_dict(state["evaluation"])
