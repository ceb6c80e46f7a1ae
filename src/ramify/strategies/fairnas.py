"""FairNAS: Rethinking Evaluation Fairness of Weight Sharing NAS (Chu et al., ICCV 2021, arXiv:1907.01845).

Strict fairness (section 3.3, algorithm 1): with m candidates a layer, a step sends the batch through m paths that
together use every candidate of every layer exactly once. Their gradients are summed, not averaged, and one step of the
optimizer follows, so that at any time all candidates have learnt equally often. Then members are searched by the
weights they inherit: by the evolution of SPOS, as in AngleNAS, or for several objectives by NSGA-II (Deb et al., 2002),
as in the paper, where they are accuracy, multiply-adds and parameters.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from ramify.capabilities import Capability
from ramify.errors import ConfigurationError
from ramify.evaluators.inherited import Inherited, InheritedWeights
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell
from ramify.strategies.base import SearchSession, Strategy
from ramify.strategies.evolution import Evolution
from ramify.strategies.optuna_sampler import OptunaSampler
from ramify.training import Metrics, WeightSettings, Work

_OF_EVOLUTION = ("parents", "crossovers", "mutation_rate")


class FairlyTrained(InheritedWeights):
    """The weights of FairNAS, trained on as many paths a step as an edge has candidates."""

    def learn(self, inherited: Inherited) -> Iterator[Metrics]:
        """Sum the gradients of paths that together use every candidate once, then take a step (algorithm 1)."""
        while inherited.learns:
            paths = inherited.paths(inherited.step)
            inherited.descend(*paths)
            yield inherited.end()


@dataclass(frozen=True, kw_only=True)
class FairNAS(WeightSettings, Strategy):
    """FairNAS with the settings of AngleNAS for a space of two candidates a layer.

    An epoch takes as long as m epochs of other strategies.

    Args:
        recalibrate: Training images on which the running statistics of norms are computed for each member.
        evaluations: How many members are scored.
        population: Members of a generation.
        parents: How many of the best members of all generations before have children; of the evolution.
        crossovers: Children of a generation that take every decision from one of two parents; the others mutate. Of the
            evolution.
        mutation_rate: Probability with which a mutation draws a decision anew; of the evolution.
        objectives: `error` alone for the evolution; with others, such as `macs`, `params` and `latency_ms`, NSGA-II.
        reference: With several objectives: their worst values that count for the hypervolume.
        limits: `params`, `macs` or `latency_ms` → the most that a member may have.

    Example:
        >>> from ramify import strategies
        >>> type(strategies.FairNAS(objectives=("error", "macs", "params")).search()).__name__
        'OptunaSampler'
    """

    source = "Chu et al., FairNAS, ICCV 2021, arXiv:1907.01845"
    evaluates = True
    grows = ("evaluations",)

    epochs: int = 50
    batch_size: int = 1024
    lr: float = 0.5
    min_lr: float = 0.0
    schedule: str = "linear"
    stepwise: bool = True
    weight_decay: float = 4e-5
    decay_norms: bool = False
    clip: float = 5.0
    clip_by: str = "value"
    label_smoothing: float = 0.1
    recalibrate: int = 20_000
    evaluations: int = 1000
    population: int = 50
    parents: int = 10
    crossovers: int = 25
    mutation_rate: float = 0.5
    objectives: tuple[str, ...] = ("error",)
    reference: tuple[float, ...] | None = None
    limits: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.search()  # checks the other settings

    def search(self) -> AskTell:
        """Return the equivalent search by inherited weights."""
        weights = {item.name: getattr(self, item.name) for item in fields(WeightSettings)}
        evaluator = FairlyTrained(**weights, paths="fair", recalibrate=self.recalibrate)
        settings = {name: getattr(self, name) for name in ("evaluations", "objectives", "reference", "limits")}
        if len(self.objectives) == 1:
            evolution = {name: getattr(self, name) for name in ("population", *_OF_EVOLUTION)}
            return Evolution(**settings, **evolution, evaluator=evaluator)
        for item in fields(self):
            if item.name in _OF_EVOLUTION and getattr(self, item.name) != item.default:
                raise ConfigurationError(f"`{item.name}` is for the evolution; several objectives are NSGA-II's")
        return OptunaSampler(
            sampler="NSGAII", settings={"population_size": self.population}, **settings, evaluator=evaluator
        )

    @property
    def needs(self) -> frozenset[Capability]:
        """The needs of the search by inherited weights."""
        return self.search().needs

    @property
    def uses(self) -> frozenset[Capability]:
        """The optional capabilities that the search by inherited weights uses."""
        return self.search().uses

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the supernet and the search at work."""
        return self.search().session(space, work)
