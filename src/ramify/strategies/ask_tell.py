"""The session of all strategies that ask for an architecture and are told its score."""

# No postponed annotations: the command line reads the types of inherited fields in the modules of subclasses.

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any

from torch import nn

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators import Evaluation, Evaluator, TrainFromScratch
from ramify.seeding import rng
from ramify.spaces import Space
from ramify.strategies.base import SearchSession, Strategy
from ramify.strategies.budget import Budget, Spent
from ramify.strategies.objectives import Costs, Objectives
from ramify.strategies.pareto import Front
from ramify.strategies.trials import Trial, Trials, best
from ramify.training import Metrics, Task

__all__ = ["AskTell", "AskTellSession", "Proposal", "Trial", "Trials", "best"]

_ASKED, _DRAWN = 50, 10_000
"""How often a strategy is asked for a member within the limits, and how many are drawn uniformly after that."""


@dataclass(frozen=True)
class Proposal:
    """What a strategy wants to be evaluated, where that is more than an architecture.

    Args:
        architecture: The member.
        epochs: One of the evaluator's fidelities; the highest when None.
        memo: What the strategy wants to find in the trial again, as plain JSON values.
    """

    architecture: Architecture
    epochs: int | None = None
    memo: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AskTell(Budget, Objectives, Strategy):
    """Settings of a multi-trial search.

    Args:
        evaluator: How architectures are evaluated; by training from scratch when None.
    """

    evaluator: Evaluator | None = field(default=None)

    def __post_init__(self) -> None:
        Budget.__post_init__(self)
        Objectives.__post_init__(self)

    @abstractmethod
    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture | Proposal:
        """Return what to evaluate next: a function of the arguments, so that a continued search is the same one.

        Args:
            space: What is searched.
            trials: What was found so far; `trials.fold` keeps what follows from it.
            rng: For this question alone.
        """

    def session(self, space: Space, task: Task) -> SearchSession:
        """Return the multi-trial search of a space."""
        return AskTellSession(self, space, task)


class AskTellSession:
    """An ask/tell strategy at work. Every evaluation is a safe point."""

    def __init__(self, strategy: AskTell, space: Space, task: Task) -> None:
        self.strategy, self.space, self.task = strategy, space, task
        self.evaluation = (strategy.evaluator or TrainFromScratch()).start(space, task)
        _check_budget(strategy, self.evaluation)
        strategy.check(self.evaluation)
        self.costs = Costs(strategy.costs, space, task, self.evaluation)
        self.trials = Trials(objectives=strategy.objectives, fidelities=self.evaluation.fidelities)
        self.front = Front(strategy.reference)
        self.spent = Spent()
        self._known: dict[tuple[Architecture, int | None], Mapping[str, float]] = {}

    def run(self) -> Iterator[Metrics]:
        """Prepare the evaluator, then ask, evaluate and record."""
        yield from self.evaluation.prepare()
        before = time.monotonic() - self.spent.wall_seconds
        while (share := self.strategy.share(self.spent)) < 1:
            proposal = self._ask()
            metrics = self._evaluate(proposal)
            epochs = self._epochs(proposal)
            self._add(Trial(len(self.trials), proposal.architecture, metrics, epochs, (), dict(proposal.memo)))
            self.spent = replace(self.spent, wall_seconds=time.monotonic() - before)
            share = self.strategy.share(self.spent)
            done = len(self.trials)
            yield Metrics("trial", done, max(done, round(done / share)) if share < 1 else done, self._row())

    def _epochs(self, proposal: Proposal) -> int | None:
        fidelities = self.evaluation.fidelities
        return proposal.epochs if proposal.epochs is not None else fidelities[-1] if fidelities else None

    def _ask(self) -> Proposal:
        """Ask the strategy for a member within the limits; if it knows none, draw one."""
        number, seed = len(self.trials), self.task.seed
        for attempt in range(_ASKED):
            asked = self.strategy.ask(self.space, self.trials, rng(seed, "ask", number, *[attempt] * (attempt > 0)))
            proposal = asked if isinstance(asked, Proposal) else Proposal(asked)
            if self._allowed(proposal.architecture):
                return proposal
        for attempt in range(_DRAWN):
            arch = self.space.sample(rng(seed, "within the limits", number, attempt))
            if self._allowed(arch):
                return Proposal(arch, proposal.epochs)
        limits = ", ".join(f"{name} ≤ {limit:,.6g}" for name, limit in self.strategy.limits.items())
        raise RunError(f"none of {_DRAWN:,} members of {self.space.name} keeps the limits {limits}; allow more")

    def _allowed(self, arch: Architecture) -> bool:
        return not self.strategy.limits or self.strategy.within(self.costs(arch))

    def _evaluate(self, proposal: Proposal) -> Mapping[str, float]:
        key = (proposal.architecture, self._epochs(proposal))
        if key not in self._known:  # evaluators are deterministic, so nothing is computed twice
            found = self.evaluation(proposal.architecture, epochs=key[1])
            self._known[key] = self.strategy.rewarded({**found, **self.costs(proposal.architecture)})
        return self._known[key]

    def _add(self, trial: Trial) -> None:
        """Take a trial into account, a new one or one of a search that is continued."""
        trial = replace(trial, values=self.strategy.values(trial.metrics))
        self.trials.append(trial)
        self._known.setdefault((trial.architecture, trial.epochs), trial.metrics)
        if self.strategy.several and trial.epochs == self._epochs(Proposal(trial.architecture)):
            self.front.add(trial.values, trial.number)
        self.spent = replace(
            self.spent,
            evaluations=len(self.trials),
            epochs=self.spent.epochs + (trial.epochs or 0),
            seconds=self.spent.seconds + trial.metrics.get("seconds", 0.0),
        )

    def _row(self) -> dict[str, Any]:
        trial, evaluation = self.trials[-1], self.evaluation
        row: dict[str, Any] = {"trial": trial.number, "score": trial.score, "best": self.trials.best.score}
        if trial.epochs is not None:
            row |= {"epochs": trial.epochs, "epochs_spent": self.spent.epochs}
        if "seconds" in evaluation.metrics:
            row["seconds_spent"] = round(self.spent.seconds, 6)
        if self.strategy.several:
            row["front"] = len(self.front)
            if self.front.hypervolume is not None:
                row["hypervolume"] = self.front.hypervolume
        architecture = {"notation": self.space.format(trial.architecture), **trial.architecture.to_dict()}
        return {**row, "metrics": dict(trial.metrics), "architecture": architecture}

    def architecture(self) -> Architecture:
        """Return the architecture with the best score so far; of a front, the one with the best first objective."""
        return self.trials.best.architecture

    def summary(self) -> dict[str, Any]:
        """Return what the whole search spent, and its front if it has several objectives, as plain JSON values."""
        spent = {name: value for name, value in asdict(self.spent).items() if name != "wall_seconds"}
        if not self.evaluation.fidelities:
            del spent["epochs"]
        if "seconds" not in self.evaluation.metrics:
            del spent["seconds"]
        found: dict[str, Any] = {"spent": spent}
        if self.strategy.several:
            names = self.strategy.objectives
            found["objectives"] = list(names)
            if self.front.hypervolume is not None:
                found |= {"reference": list(self.front.reference or ()), "hypervolume": self.front.hypervolume}
            found["front"] = [
                {
                    "trial": trial.number,
                    "notation": self.space.format(trial.architecture),
                    **dict(zip(names, trial.values, strict=True)),
                    "architecture": trial.architecture.to_dict(),
                }
                for trial in (self.trials[number] for number in self.front.members)
            ]
        for trial in [self.trials[number] for number in self.front.members] or [self.trials.best]:
            self.costs.verify(trial.architecture, trial.metrics)
        return found

    @property
    def supernet(self) -> nn.Module | None:
        """The supernet of the evaluator, where it has one."""
        return getattr(self.evaluation, "supernet", None)

    def state_dict(self) -> dict[str, Any]:
        """Return all trials and the state of the evaluator."""
        state = {
            "trials": [[t.architecture.to_json(), dict(t.metrics), t.epochs, dict(t.memo)] for t in self.trials],
            "evaluation": self.evaluation.state_dict(),
        }
        return state | ({"wall_seconds": self.spent.wall_seconds} if self.strategy.wall_seconds else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.evaluation.load_state_dict(state["evaluation"])
        for number, (text, metrics, epochs, memo) in enumerate(state["trials"]):
            arch = Architecture.from_json(text)
            self.costs.remember(arch, metrics)
            self._add(Trial(number, arch, metrics, epochs, (), memo))
        self.spent = replace(self.spent, wall_seconds=state.get("wall_seconds", 0.0))


def _check_budget(budget: Budget, evaluation: Evaluation) -> None:
    """Raise `ConfigurationError` if the evaluator does not say what a budget counts."""
    if budget.epochs is not None and not evaluation.fidelities:
        raise ConfigurationError("`epochs` is no budget here: the evaluator trains no architecture on its own")
    if budget.seconds is not None and "seconds" not in evaluation.metrics:
        raise ConfigurationError(
            "`seconds` are simulated time, and the evaluator does not know what an evaluation takes; "
            "`wall_seconds` counts real time"
        )
