"""The session of all ask-and-tell strategies, which propose architectures and learn from their scores."""

# No postponed annotations: the command line reads the types of inherited fields in the modules of subclasses.

import json
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar

from torch import nn

from ramify import parallel
from ramify.architecture import Architecture
from ramify.capabilities import Capability
from ramify.costs import Costs
from ramify.costs.filling import Filling
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators import Evaluations, Evaluator, TrainFromScratch
from ramify.executors import Done
from ramify.seeding import rng
from ramify.spaces import Space
from ramify.strategies.base import SearchSession, Strategy
from ramify.strategies.budget import AMOUNTS, Budget, Spent
from ramify.strategies.limited import networks_of
from ramify.strategies.objectives import Objectives
from ramify.strategies.pareto import Front
from ramify.strategies.trials import Proposal, Trial, Trials, best, fault, plain
from ramify.strategies.undecided import all_equal
from ramify.training import Metrics, Work

__all__ = ["AskTell", "AskTellSession", "Proposal", "Trial", "Trials", "best"]

_ASKED, _DRAWN = 50, 10_000
"""How often a strategy is asked for a member within the limits, and how many are drawn uniformly after that."""

_HOPELESS = 5
"""Failures, the first of a search, after which it ends: then it is not the architectures. Not so where a table is
known to lack members."""
_FRUITLESS = 10_000
"""Failures in a row after which a search ends: a budget of simulated seconds would never be spent."""
_WORST = 1e9
"""Of a metric that is minimized, where nothing was measured yet."""


@dataclass(frozen=True, kw_only=True)
class AskTell(Budget, Objectives, Strategy):
    """Settings of a multi-trial search.

    Args:
        evaluator: How architectures are evaluated; by training from scratch when None.
        parallel: How many evaluations may be under way when the next architecture is asked for, itself included: with
            more than one, a strategy that learns from results decides before it knows the last of them. What is found
            depends on this number, and not on what runs where or ends when. What follows from no result, such as the
            members of a first population, is evaluated in parallel anyway.
    """

    evaluates: ClassVar[bool] = True
    grows: ClassVar[tuple[str, ...]] = AMOUNTS

    evaluator: Evaluator | None = field(default=None)
    parallel: int = 1

    def __post_init__(self) -> None:
        Budget.__post_init__(self)
        Objectives.__post_init__(self)
        if self.parallel < 1:
            raise ConfigurationError(f"`parallel` must be at least 1, got {self.parallel}")

    @property
    def amounts(self) -> Mapping[str, float]:
        """The budgets."""
        return self.budgets

    @property
    def needs_data(self) -> bool:
        """Whether a search needs the images of a data set, which its evaluator decides."""
        return self.evaluator is None or self.evaluator.needs_data

    @property
    def needs(self) -> frozenset[Capability]:
        """The needs of the evaluator."""
        return frozenset() if self.evaluator is None else self.evaluator.needs

    @property
    def uses(self) -> frozenset[Capability]:
        """The optional capabilities that the evaluator uses."""
        return frozenset() if self.evaluator is None else self.evaluator.uses

    @abstractmethod
    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture | Proposal | None:
        """Return the next proposal, a function of the arguments alone, so that a continued search is the same.

        None ends the search: nothing is left to ask for.

        Args:
            space: What is searched.
            trials: What was found so far; `trials.fold` keeps what follows from it. What is beyond the limits is not
                evaluated, and another member is asked for; `trials.allows` says so beforehand.
            rng: For this question alone.
        """

    def ready(self, trials: Trials) -> bool:
        """Return whether the next proposal can be made while `trials.pending` are not evaluated yet.

        A strategy extends this where an answer follows from no result, or only from those that are known.
        """
        return len(trials.pending) < self.parallel

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the multi-trial search of a space."""
        return AskTellSession(self, space, work)


_Key = tuple[Architecture, int | None]
"""What is evaluated once: a member, and after how many epochs."""


class AskTellSession:
    """An ask/tell strategy at work. Every evaluation is a safe point."""

    def __init__(self, strategy: AskTell, space: Space, work: Work) -> None:
        self.strategy, self.space, self.work = strategy, space, work
        evaluator = strategy.evaluator or TrainFromScratch()
        self.evaluation = evaluator.start(space, work)
        self.evaluations = Evaluations(evaluator, self.evaluation, space, work)
        strategy.check_counted(self.evaluation)
        strategy.check(self.evaluation)
        networks = networks_of(space, work, work.layout, self.evaluation.inputs) if strategy.costs else None
        self.costs = Costs(networks, strategy.costs)
        self.filling = Filling(space, self.costs, strategy.limits, strategy.fill)
        self.filling.check()
        objectives, fidelities, allows = strategy.objectives, self.evaluation.fidelities, self.filling.fills
        self.trials = Trials(objectives=objectives, fidelities=fidelities, allows=allows, fitted=self.filling)
        self.front = Front(strategy.reference)
        self.spent = Spent()
        self._pending: deque[Proposal] = deque()
        self._again: deque[Proposal] = deque()  # of a search with a smaller budget, whose trials have their rows
        self._known: dict[_Key, tuple[Mapping[str, float], str]] = {}
        self._failed_in_a_row = 0
        self._problem: Done | None = None

    def run(self) -> Iterator[Metrics]:
        """Prepare the evaluator, then ask for proposals, have them evaluated, and record trials in order of asking."""
        yield from self.evaluation.prepare()
        before = time.monotonic() - self.spent.wall_seconds
        with self.evaluations as evaluations:
            under_way: dict[int, _Key] = {}
            for number, proposal in enumerate(self._pending, len(self.trials)):  # those of a search that was stopped
                self._hand_over(evaluations, under_way, number, proposal)
            rows, share = len(self._again), self.strategy.share(self.spent)
            while share < 1:
                while self._may_ask(evaluations):
                    asked, number = self._again.popleft() if self._again else self._ask(), self.trials.asked
                    if asked is None:  # for now; with nothing under way, for good
                        break
                    self._pending.append(asked)
                    self._note_pending()
                    self._hand_over(evaluations, under_way, number, asked)
                if not self._pending:
                    break
                key = self._key(self._pending[0])
                while key not in self._known:
                    done = evaluations.next()
                    self._learn(under_way.pop(done.number), done)
                proposal, (metrics, failed) = self._pending.popleft(), self._known[key]
                self._add(proposal.architecture, metrics, self._epochs(proposal), dict(proposal.memo), failed)
                if self.strategy.wall_seconds:
                    seconds = parallel.of_first([time.monotonic() - before])[0]
                    self.spent = self.spent._replace(wall_seconds=seconds)
                share = self.strategy.share(self.spent)
                if share >= 1:
                    self._pending.clear()  # what reached the budget is kept, and nothing after it
                self._note_pending()
                count = len(self.trials)
                if count <= rows:
                    continue
                yield Metrics("trial", count, max(count, round(count / share)) if 0 < share < 1 else count, self._row())
                if self._failed_in_a_row >= _FRUITLESS:
                    raise RunError(f"{_FRUITLESS:,} evaluations in a row failed; the last: {self.trials[-1].failed}")
                if share < 1 and count == _HOPELESS and not getattr(self.evaluation, "partial", False):
                    self._check_success(f"the first {_HOPELESS} evaluations all")
        self._check_success(f"all {len(self.trials)} evaluations")

    def _may_ask(self, evaluations: Evaluations) -> bool:
        """Return whether another architecture may be asked for now."""
        count = len(self._pending)
        if count and (count >= max(self.strategy.parallel, evaluations.ahead) or not self.strategy.ready(self.trials)):
            return False
        spent, epochs = self.spent, sum([self._epochs(proposal) or 0 for proposal in self._pending])
        planned = Spent(len(self.trials) + count, spent.epochs + epochs, spent.seconds, spent.wall_seconds)
        return self.strategy.share(planned) < 1

    def _note_pending(self) -> None:
        self.trials.pending = tuple(proposal.architecture for proposal in self._pending)

    def _hand_over(self, evaluations: Evaluations, under_way: dict[int, _Key], number: int, proposal: Proposal) -> None:
        """Have a proposal evaluated, unless that was done before or is under way: evaluators are deterministic."""
        key = self._key(proposal)
        if key not in self._known and key not in under_way.values():
            under_way[number] = key
            evaluations.submit(number, *key)

    def _key(self, proposal: Proposal) -> _Key:
        return self.space.canonical(proposal.architecture), self._epochs(proposal)

    def _learn(self, key: _Key, done: Done) -> None:
        """Keep what became of an evaluation: metrics, or why it failed. What is not finite is no result."""
        costs = self.costs(key[0])
        metrics = plain(done.value)
        failed = done.error or fault(metrics) or fault({**metrics, **costs}, self.strategy.wanted)
        if not failed:
            metrics = self.strategy.rewarded({**metrics, **costs})
            failed = fault(metrics)
        if failed:
            metrics = _finite(costs)
            self._problem = done
        self._known[key] = metrics, failed

    def _epochs(self, proposal: Proposal) -> int | None:
        fidelities = self.evaluation.fidelities
        return proposal.epochs if proposal.epochs is not None else fidelities[-1] if fidelities else None

    def _ask(self) -> Proposal | None:
        """Ask the strategy for a member within the limits; if it knows none, draw one. None ends the search."""
        number, seed = self.trials.asked, self.work.seed
        proposal: Proposal | None = None
        for attempt in range(_ASKED):
            asked = self.strategy.ask(self.space, self.trials, rng(seed, "ask", number, *[attempt] * (attempt > 0)))
            if asked is None:
                if self.trials.asked:
                    return None
                break
            proposal = asked if isinstance(asked, Proposal) else Proposal(asked)
            if self.filling.fills(proposal.architecture):
                return proposal
            fitted = self.filling(proposal.architecture, rng(seed, "fitted", number, attempt))
            if fitted is not None:
                return replace(proposal, architecture=fitted)
        for attempt in range(_DRAWN):
            generator = rng(seed, "within the limits", number, attempt)
            fitted = self.filling(self.space.sample(generator), generator)
            if fitted is not None:
                return Proposal(fitted, None if proposal is None else proposal.epochs)
        limits = ", ".join(f"{name} ≤ {limit:,.6g}" for name, limit in self.strategy.limits.items())
        raise RunError(f"none of {_DRAWN:,} members of {self.space.name} keeps the limits {limits}; allow more")

    def _add(
        self, arch: Architecture, found: Mapping[str, float], epochs: int | None, memo: Mapping[str, Any], failed: str
    ) -> None:
        """Take a trial into account, a new one or one of a search that is continued."""
        metrics = self._worst(found) if failed else found
        trial = Trial(len(self.trials), arch, metrics, epochs, self.strategy.values(metrics), memo, failed)
        self.trials.append(trial)
        self._failed_in_a_row = self._failed_in_a_row + 1 if trial.failed else 0
        if self.strategy.several and not failed and epochs == self._epochs(Proposal(arch)):
            self.front.add(trial.values, trial.number)
        spent, seconds = self.spent, 0.0 if failed else metrics.get("seconds", 0.0)
        self.spent = Spent(len(self.trials), spent.epochs + (epochs or 0), spent.seconds + seconds, spent.wall_seconds)

    def _worst(self, costs: Mapping[str, float]) -> Mapping[str, float]:
        """Return the metrics that a strategy sees of a member that could not be evaluated: the worst so far."""
        so_far = self.trials.fold("worst metrics", dict[str, float], _worse)
        worst = {name: so_far.get(name, _WORST) for name in (*self.evaluation.metrics, *self.costs.names)}
        worst["score"] = so_far.get("score", 0.0)
        return self.strategy.rewarded({**worst, **costs})

    def _check_success(self, which: str) -> None:
        """Raise `RunError` if not a single evaluation succeeded."""
        if not self.trials.best.failed:
            return
        error = RunError(f"{which} failed; the last: {self.trials[-1].failed}")
        if self._problem is not None and self._problem.details:
            error.add_note(self._problem.details)
        raise error

    def _row(self) -> dict[str, Any]:
        trial, evaluation = self.trials[-1], self.evaluation
        row: dict[str, Any] = {"trial": trial.number} | ({} if trial.failed else {"score": trial.score})
        if not self.trials.best.failed:
            row["best"] = self.trials.best.score
        if trial.epochs is not None:
            row |= {"epochs": trial.epochs, "epochs_spent": self.spent.epochs}
        if "seconds" in evaluation.metrics:
            row["seconds_spent"] = round(self.spent.seconds, 6)
        if self.strategy.several:
            row["front"] = len(self.front)
            if self.front.hypervolume is not None:
                row["hypervolume"] = self.front.hypervolume
        architecture = {"notation": self.space.notation(trial.architecture), **trial.architecture.to_dict()}
        row |= {"metrics": dict(self._measured(trial)), "architecture": architecture}
        return row | ({"failed": trial.failed} if trial.failed else {})

    def _measured(self, trial: Trial) -> Mapping[str, float]:
        """Return the metrics without what only stands for a failure."""
        return self._known[self.space.canonical(trial.architecture), trial.epochs][0] if trial.failed else trial.metrics

    def architecture(self) -> Architecture:
        """Return the architecture with the best score so far; of a front, the one with the best first objective."""
        return self.trials.best.architecture

    def summary(self) -> dict[str, Any]:
        """Return the spent budget, and the Pareto front of several objectives, as plain JSON values."""
        spent = {name: value for name, value in self.spent._asdict().items() if name != "wall_seconds"}
        if not self.evaluation.fidelities:
            del spent["epochs"]
        if "seconds" not in self.evaluation.metrics:
            del spent["seconds"]
        summary: dict[str, Any] = {"spent": spent}
        if failed := sum(bool(trial.failed) for trial in self.trials):
            summary["failed"] = failed
        if equal := all_equal(self.trials):
            summary["undecided"] = equal
        if self.strategy.several:
            names = self.strategy.objectives
            summary["objectives"] = list(names)
            if self.front.hypervolume is not None:
                summary |= {"reference": list(self.front.reference or ()), "hypervolume": self.front.hypervolume}
            summary["front"] = [
                {
                    "trial": trial.number,
                    "notation": self.space.notation(trial.architecture),
                    **dict(zip(names, trial.values, strict=True)),
                    "architecture": trial.architecture.to_dict(),
                }
                for trial in (self.trials[number] for number in self.front.members)
            ]
        for trial in [self.trials[number] for number in self.front.members] or [self.trials.best]:
            self.costs.verify(trial.architecture, trial.metrics)
        if predicted := self.costs.compared(self.architecture()):
            summary["predicted"] = predicted
        return summary

    @property
    def _budget(self) -> dict[str, float]:
        return {name: float(allowed) for name, allowed in self.strategy.budgets.items()}

    @property
    def supernet(self) -> nn.Module | None:
        """The supernet of the evaluator, if it has one."""
        return getattr(self.evaluation, "supernet", None)

    @property
    def lookup(self) -> dict[str, Any] | None:
        """The metadata of the table in which scores are looked up; None where they are not."""
        return getattr(self.evaluation, "metadata", None)

    def state_dict(self) -> dict[str, Any]:
        """Return all trials, the proposals without a result, and the state of the evaluator."""
        state = {
            "trials": json.dumps(
                [  # one text: what writes a checkpoint is slow with many small objects
                    [t.architecture.to_dict(), dict(self._measured(t)), t.epochs, dict(t.memo), t.failed]
                    for t in self.trials
                ]
            ),
            "asked": [[p.architecture.to_json(), p.epochs, dict(p.memo)] for p in self._pending],
            "evaluation": self.evaluation.state_dict(),
            "budget": self._budget,
        }
        return state | ({"wall_seconds": self.spent.wall_seconds} if self.strategy.wall_seconds else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`.

        Where it had a smaller budget, which ended the asking, what was asked is asked again, with its results at hand:
        so the search goes on with as many evaluations under way as if it had had its budget from the beginning.
        """
        self.evaluation.load_state_dict(state["evaluation"])
        grown = state.get("budget", self._budget) != self._budget
        trials = state["trials"]
        for written, metrics, epochs, memo, failed in json.loads(trials) if isinstance(trials, str) else trials:
            arch = Architecture.from_json(written)
            if not failed and (failed := fault(metrics)):  # what an earlier version took for a result
                metrics = _finite({name: metrics[name] for name in self.costs.names})
            self.costs.remember(arch, metrics)
            self._known.setdefault((self.space.canonical(arch), epochs), (metrics, failed))
            if grown:
                self._again.append(Proposal(arch, epochs, memo))
            else:
                self._add(arch, metrics, epochs, memo, failed)
        if not grown:
            self._pending.extend(Proposal(Architecture.from_json(text), *rest) for text, *rest in state["asked"])
        self._note_pending()
        self.spent = self.spent._replace(wall_seconds=state.get("wall_seconds", 0.0))


def _worse(worst: dict[str, float], trial: Trial) -> dict[str, float]:
    """Return the worst of every metric, that of a trial which did not fail included; no score counts above 0."""
    for name, value in ({} if trial.failed else trial.metrics).items():
        worst[name] = min(worst.get(name, 0.0), value) if name == "score" else max(worst.get(name, value), value)
    return worst


def _finite(costs: Mapping[str, float]) -> dict[str, float]:
    return {name: cost for name, cost in costs.items() if not fault({name: cost}, ())}
