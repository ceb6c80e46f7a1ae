"""The budget of a multi-trial search."""

# No postponed annotations: the command line reads the types of inherited fields in the modules of subclasses.

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ramify.errors import ConfigurationError
from ramify.evaluators import Evaluation

DEFAULT_EVALUATIONS = 20
AMOUNTS = ("evaluations", "epochs", "seconds", "wall_seconds")
"""What a budget may limit."""


class Spent(NamedTuple):
    """The amounts that a search has spent.

    Args:
        evaluations: Repetitions included.
        epochs: Of all evaluations; each begins from scratch.
        seconds: Simulated time of all evaluations.
        wall_seconds: Real time.
    """

    evaluations: int = 0
    epochs: int = 0
    seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The budget of a multi-trial search, which ends as soon as one of these amounts is spent.

    The evaluation that reaches a budget is kept, as in NATS-Bench (Dong et al., TPAMI 2021). An architecture that is
    asked for again counts and costs again, as there, though nothing is computed again.

    Args:
        evaluations: How many architectures are evaluated; 20 where no budget is given at all.
        epochs: How many epochs are trained in all.
        seconds: Simulated time, where the evaluator knows it.
        wall_seconds: Real time of the evaluations, without what prepares the evaluator. What is found then depends
            on how fast the machine is, so such a search is not repeatable to the bit.
    """

    evaluations: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    wall_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, allowed in self._limits.items():
            if not allowed > 0:
                least = "at least 1" if type(allowed) is int else "above 0"
                raise ConfigurationError(f"`{name}` must be {least}, got {allowed}")

    @property
    def _limits(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in AMOUNTS}
        return {name: allowed for name, allowed in named.items() if allowed is not None}

    @cached_property
    def budgets(self) -> dict[str, Any]:
        """The limited amounts, by name."""
        return self._limits or {"evaluations": DEFAULT_EVALUATIONS}

    def share(self, spent: Spent) -> float:
        """Return the spent share of the budget: 1 or more ends the search."""
        return max(getattr(spent, name) / allowed for name, allowed in self.budgets.items())

    def check_counted(self, evaluation: Evaluation) -> None:
        """Raise `ConfigurationError` if the evaluator does not say what the budget counts."""
        if self.epochs is not None and not evaluation.fidelities:
            raise ConfigurationError("`epochs` is no budget here: the evaluator trains no architecture on its own")
        if self.seconds is not None and "seconds" not in evaluation.metrics:
            raise ConfigurationError(
                "`seconds` are simulated time, and the evaluator does not know what an evaluation takes; "
                "`wall_seconds` counts real time"
            )
