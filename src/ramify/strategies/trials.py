"""The trials of a multi-trial search: `Trial`, and `Trials`, which caches what is computed from them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from random import Random
from typing import Any, TypeVar, overload

from ramify.architecture import Architecture
from ramify.training.session import DIVERGED

State = TypeVar("State")


@dataclass(frozen=True)
class Trial:
    """One evaluated architecture.

    Args:
        number: From 0, in the order in which they were asked for.
        architecture: What was evaluated.
        metrics: What the evaluator found, and costs that the search asked for.
        epochs: After how many epochs it was evaluated; None where the evaluator knows no epochs.
        values: The objectives, all to be minimized; empty outside of searches for objectives.
        memo: What the strategy noted when it asked, as plain JSON values.
        failed: Why it could not be evaluated, or what of its metrics is not finite; empty where it was evaluated. The
            metrics of such a trial are the worst so far: it is no parent and teaches no model.
    """

    number: int
    architecture: Architecture
    metrics: Mapping[str, float]
    epochs: int | None = None
    values: tuple[float, ...] = ()
    memo: Mapping[str, Any] = field(default_factory=dict)
    failed: str = ""

    @property
    def score(self) -> float:
        """The value that the search maximizes: `reward` if the objectives define one, else the evaluator's `score`."""
        return self.metrics["reward"] if "reward" in self.metrics else self.metrics["score"]


def plain(metrics: Any) -> Any:
    """Return metrics with NumPy and PyTorch numbers as Python numbers."""
    if not isinstance(metrics, Mapping):
        return metrics
    return {name: value.item() if getattr(value, "ndim", None) == 0 else value for name, value in metrics.items()}


def fault(metrics: Any, needed: Iterable[str] = ("score",)) -> str:
    """Return in one line why metrics count as a failed evaluation; empty if they are valid.

    Example:
        >>> fault({"score": 0.96, "loss": float("nan")})
        'loss is nan: training has diverged; lower the learning rate or clip gradients'

    Args:
        metrics: What an evaluator has returned, or costs.
        needed: Names that must be among them.
    """
    if not isinstance(metrics, Mapping):
        return f"the evaluator returned {type(metrics).__name__}, not metrics by name"
    for name in needed:
        if name not in metrics:
            return f"the evaluator returned no `{name}`, but {', '.join(map(str, metrics)) or 'nothing'}"
    if all(type(value) is float and math.isfinite(value) for value in metrics.values()):
        return ""
    for name, value in sorted(metrics.items(), key=lambda item: "loss" not in str(item[0])):
        if not isinstance(value, Real):
            return f"{name} is {value!r:.40}, which is no number"
        if not math.isfinite(value):
            return f"{name} is {float(value)}" + (f": {DIVERGED}" if "loss" in str(name) else "")
    return ""


def _rank(trial: Trial) -> tuple[bool, int, float, int]:
    return not trial.failed, trial.epochs or 0, trial.score, -trial.number


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the highest score among those with the most epochs, the first of equals."""
    return max(trials, key=_rank)


@dataclass(frozen=True)
class Proposal:
    """An architecture to evaluate, with its number of epochs or a note for the strategy.

    Args:
        architecture: The member.
        epochs: One of the evaluator's fidelities; the highest when None.
        memo: What the strategy wants to find in the trial again, as plain JSON values.
    """

    architecture: Architecture
    epochs: int | None = None
    memo: Mapping[str, Any] = field(default_factory=dict)


class Trials(Sequence[Trial]):
    """The trials of a search, oldest first.

    Args:
        trials: The first of them.
        objectives: Names of what is minimized.
        fidelities: Epochs after which the evaluator can evaluate, ascending; empty where it knows no epochs.
        allows: Whether a member keeps the limits of the search; all do by default.
        fitted: Returns a member that keeps them for another one, itself or one near it, with a generator of random
            numbers; None if there is none. By default a member itself, if it keeps them.

    Attributes:
        pending: What was asked for since, oldest first, and is not evaluated yet.
    """

    pending: tuple[Architecture, ...] = ()

    def __init__(
        self,
        trials: Iterable[Trial] = (),
        *,
        objectives: Sequence[str] = ("error",),
        fidelities: Sequence[int] = (),
        allows: Callable[[Architecture], bool] = lambda arch: True,
        fitted: Callable[[Architecture, Random], Architecture | None] | None = None,
    ) -> None:
        self.objectives, self.fidelities, self.allows = tuple(objectives), tuple(fidelities), allows
        self.fitted = fitted or (lambda arch, rng: arch if self.allows(arch) else None)
        self._trials: list[Trial] = []
        self._folded: dict[str, tuple[int, Any]] = {}
        self._best: Trial | None = None
        for trial in trials:
            self.append(trial)

    def append(self, trial: Trial) -> None:
        """Add the latest trial."""
        self._trials.append(trial)
        if self._best is None or _rank(trial) > _rank(self._best):
            self._best = trial

    @overload
    def __getitem__(self, at: int) -> Trial: ...
    @overload
    def __getitem__(self, at: slice) -> list[Trial]: ...
    def __getitem__(self, at: int | slice) -> Trial | list[Trial]:
        return self._trials[at]

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def asked(self) -> int:
        """The number of proposals so far, which is the number of the next trial."""
        return len(self._trials) + len(self.pending)

    @property
    def best(self) -> Trial:
        """The trial with the highest score among those with the most epochs, the first of equals."""
        if self._best is None:
            raise ValueError("there is no trial yet")
        return self._best

    def fold(self, key: str, start: Callable[[], State], step: Callable[[State, Trial], State]) -> State:
        """Return the left fold of `step` over the trials, continued from the previous call.

        This is how a strategy keeps what follows from the trials: a continued search computes it again.

        Args:
            key: Names the result.
            start: Makes the state before the first trial.
            step: Takes the state, which it may change, and a trial; returns the next state.
        """
        done, state = self._folded[key] if key in self._folded else (0, start())
        for trial in self._trials[done:]:
            state = step(state, trial)
        self._folded[key] = len(self._trials), state
        return state
