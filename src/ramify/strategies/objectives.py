"""What a multi-trial search looks for: objectives, limits that are kept, and targets that cost when they are missed."""

# No postponed annotations: the command line reads the types of inherited fields in the modules of subclasses.

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ramify.architecture import Architecture
from ramify.costs import MemberCosts, member_costs
from ramify.errors import ConfigurationError, nearest
from ramify.evaluators import Evaluation, Images
from ramify.profiling import latency_ms
from ramify.seeding import seeded
from ramify.spaces import Space
from ramify.spaces.layout import Layout
from ramify.training import Work

COUNTED = ("params", "macs")
COSTS = (*COUNTED, "latency_ms")
"""What is known of a network before it is trained: parameters, multiply-adds, milliseconds for one image."""


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What is minimised, and within which bounds.

    Args:
        objectives: `error` (1 − score), `params`, `macs`, `latency_ms`, or another metric of the evaluator; all are
            minimised. Latencies are measured on the device of the search, so such a search is not repeatable to the
            bit.
        reference: With several objectives: their worst values that count for the hypervolume.
        limits: `params`, `macs` or `latency_ms` → the most that is allowed. A member beyond it is not evaluated:
            another one is asked for.
        targets: Objective or cost → the most that is wanted.
        penalty: Score that is lost where a target is exceeded by its whole; in proportion where it is by a part.
    """

    takes_several: ClassVar[bool] = False
    """Whether the strategy searches for a front of several objectives."""

    objectives: tuple[str, ...] = ("error",)
    reference: tuple[float, ...] | None = None
    limits: dict[str, float] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    penalty: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", tuple(self.objectives))
        if "score" in self.objectives or "score" in self.targets:
            raise ConfigurationError(
                "`score` is maximised; as an objective or a target it is called `error`, 1 − score"
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
        for name in self.limits:
            if name not in COSTS:
                known = nearest(name, COSTS)
                raise ConfigurationError(f"`limits` are for what is known before the training, not {name!r}; {known}")
        for kind in ("limits", "targets"):
            for name, value in getattr(self, kind).items():
                if not value > 0:
                    raise ConfigurationError(f"`{kind}`: {name} must be above 0, got {value}")
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
        """The metrics and costs that objectives and targets are made of."""
        return tuple("score" if name == "error" else name for name in (*self.objectives, *self.targets))

    @property
    def costs(self) -> tuple[str, ...]:
        """The costs that are looked at."""
        looked_at = {*self.objectives, *self.limits, *self.targets}
        return tuple(name for name in COSTS if name in looked_at)

    def check(self, evaluation: Evaluation) -> None:
        """Raise `ConfigurationError` unless every objective and target is a cost or a metric of the evaluator."""
        known = {"error", *COSTS, *evaluation.metrics} - {"score"}
        for name in (*self.objectives, *self.targets):
            if name not in known:
                raise ConfigurationError(f"unknown objective {name!r}; {nearest(name, known)}")

    def values(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return the objectives of a member, all to be minimised; a single one with what missed targets cost."""
        if "reward" in metrics and not self.several:
            return (-metrics["reward"],)
        return tuple(_value(name, metrics) for name in self.objectives)

    def rewarded(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the metrics with `reward`, what the search maximises, where that is not the score itself."""
        if self.objectives[0] == "error" and not self.targets:
            return metrics
        reward = metrics["score"] if self.objectives[0] == "error" else -_value(self.objectives[0], metrics)
        excess = sum(max(0.0, _value(name, metrics) / target - 1) for name, target in self.targets.items())
        return {**metrics, "reward": reward - self.penalty * excess}

    def within(self, costs: Mapping[str, float]) -> bool:
        """Return whether costs keep the limits."""
        return all(costs[name] <= limit for name, limit in self.limits.items())


def _value(name: str, metrics: Mapping[str, float]) -> float:
    return 1 - metrics["score"] if name == "error" and "error" not in metrics else metrics[name]


def member_latency(space: Space, arch: Architecture, work: Work, images: Images, layout: Layout) -> float:
    """Return the milliseconds that a member's network takes for one image on the device of a task."""
    shape = {"num_classes": images.num_classes, "in_channels": images.input_size[0]}
    with seeded(work.seed, "network"):
        network = space.build(arch, layout, shape=shape)
    return latency_ms(network.to(work.fabric.device), images.input_size)


class Costs:
    """What is known of a member's network before it is trained.

    Args:
        names: Of `COSTS`, which are wanted.
        space: What is searched.
        task: The search's layout of networks and device.
        evaluation: Knows what the networks see.
    """

    def __init__(self, names: tuple[str, ...], space: Space, work: Work, evaluation: Evaluation) -> None:
        self.names, self.space, self.work = names, space, work
        self._counts: MemberCosts | None = None
        if names:
            self.images, self.layout = evaluation.images, space.layout(work.layout)
        if set(names) & set(COUNTED):
            self._counts = member_costs(space, self.images.num_classes, self.images.input_size, self.layout)
        self._latencies: dict[Architecture, float] = {}

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Return the wanted costs of a member."""
        found = self._counts(arch) if self._counts is not None else {}
        if "latency_ms" in self.names:
            if arch not in self._latencies:
                self._latencies[arch] = member_latency(self.space, arch, self.work, self.images, self.layout)
            found["latency_ms"] = self._latencies[arch]
        return {name: found[name] for name in self.names}

    def verify(self, arch: Architecture, metrics: Mapping[str, float]) -> None:
        """Compare what was counted of a member that the search found with a profile of its network."""
        if self._counts is not None:
            self._counts.verify(arch, metrics)

    def remember(self, arch: Architecture, metrics: Mapping[str, float]) -> None:
        """Take over what was measured of a member before the search was continued."""
        if "latency_ms" in metrics:
            self._latencies[arch] = metrics["latency_ms"]
