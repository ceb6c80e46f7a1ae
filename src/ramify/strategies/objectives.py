"""Objectives of a multi-trial search, hard limits, and soft targets."""

# No postponed annotations: the command line reads the types of inherited fields in the modules of subclasses.

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ramify.costs import COSTS, check_counted, check_limits, is_cost
from ramify.costs.limits import within
from ramify.errors import ConfigurationError, nearest
from ramify.evaluators import Evaluation
from ramify.training.recipe import later


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """Objectives to minimize, with limits and targets.

    Args:
        objectives: `error` (1 − score), a cost such as `params`, `macs` or `latency_ms`, or another metric of the
            evaluator; all are minimized. Latencies are measured on the device of the search, so such a search is not
            repeatable to the bit.
        reference: With several objectives: their worst values that count for the hypervolume.
        limits: Cost → the most that is allowed. A member beyond it is not evaluated:
            another one is asked for.
        targets: Objective or cost → the most that is wanted.
        penalty: Score that is lost where a target is exceeded by its whole; in proportion where it is by a part.
        fill: Share of the tightest of the limits that members use at least; what is proposed is moved there, one
            decision after the other. For limits of what is counted, such as `macs`; 0 for no such bound.
    """

    takes_several: ClassVar[bool] = False
    """Whether the strategy searches for a front of several objectives."""

    objectives: tuple[str, ...] = ("error",)
    reference: tuple[float, ...] | None = None
    limits: dict[str, float] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    penalty: float = 0.5
    fill: float = later(0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", tuple(self.objectives))
        if "score" in self.objectives or "score" in self.targets:
            raise ConfigurationError(
                "`score` is maximized; as an objective or a target it is called `error`, 1 − score"
            )
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise ConfigurationError(f"`objectives` must be different names, at least one, got {list(self.objectives)}")
        if self.several and not self.takes_several:
            raise ConfigurationError(
                f"{type(self).__name__} searches for one objective, got {', '.join(self.objectives)}; several are for "
                "BayesianOptimization, OptunaSampler and RandomSearch, or make the others `targets`"
            )
        if self.several and self.targets:
            raise ConfigurationError("`targets` are for a search with one objective; make them objectives or `limits`")
        if self.reference is not None:
            object.__setattr__(self, "reference", tuple(map(float, self.reference)))
            if len(self.reference) != len(self.objectives) or not self.several:
                raise ConfigurationError(
                    f"`reference` has a value for each of several objectives, {', '.join(self.objectives)}; "
                    f"got {list(self.reference)}"
                )
        check_limits(self.limits)
        for name, value in self.targets.items():
            if not value > 0:
                raise ConfigurationError(f"`targets`: {name} must be above 0, got {value}")
        if not 0 <= self.fill <= 1:
            raise ConfigurationError(f"`fill` must be a share from 0 to 1, got {self.fill}")
        if self.fill and not self.limits:
            raise ConfigurationError("`fill` is a share of `limits`, and none are named")
        for name in self.limits if self.fill else ():
            check_counted(name, "fill")
        if min(self.reference or (1,)) <= 0 or not self.penalty >= 0:
            wrong = f"`penalty` must be 0 or more, got {self.penalty}"
            raise ConfigurationError(
                wrong if not self.penalty >= 0 else f"`reference` must be above 0, got {list(self.reference or ())}"
            )

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    @property
    def wanted(self) -> tuple[str, ...]:
        """The metrics and costs that objectives and targets use."""
        return tuple("score" if name == "error" else name for name in (*self.objectives, *self.targets))

    @property
    def costs(self) -> tuple[str, ...]:
        """The costs that are computed."""
        looked_at = dict.fromkeys((*self.limits, *self.objectives, *self.targets))
        own = [name for name in COSTS.own if name in looked_at]
        return (*own, *(name for name in looked_at if name not in own and is_cost(name)))

    def check(self, evaluation: Evaluation) -> None:
        """Raise `ConfigurationError` unless every objective and target is a cost or a metric of the evaluator."""
        known = {"error", *COSTS, *evaluation.metrics} - {"score"}
        for name in (*self.objectives, *self.targets):
            if name not in known and not is_cost(name):
                raise ConfigurationError(f"unknown objective {name!r}; {nearest(name, known)}")

    def values(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return the objectives of a member, to be minimized; a single one with penalties for missed targets."""
        if "reward" in metrics and not self.several:
            return (-metrics["reward"],)
        return tuple(_value(name, metrics) for name in self.objectives)

    def rewarded(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the metrics with the `reward` to maximize, if that is not the score itself."""
        if self.objectives[0] == "error" and not self.targets:
            return metrics
        reward = metrics["score"] if self.objectives[0] == "error" else -_value(self.objectives[0], metrics)
        excess = sum(max(0.0, _value(name, metrics) / target - 1) for name, target in self.targets.items())
        return {**metrics, "reward": reward - self.penalty * excess}

    def within(self, costs: Mapping[str, float]) -> bool:
        """Return whether costs are within the limits."""
        return within(costs, self.limits)


def _value(name: str, metrics: Mapping[str, float]) -> float:
    return 1 - metrics["score"] if name == "error" and "error" not in metrics else metrics[name]
