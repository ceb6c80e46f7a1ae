"""SPOS: Single Path One-Shot NAS with Uniform Sampling (Guo et al., ECCV 2020, arXiv:1904.00420).

A supernet learns on one uniformly drawn path per batch (section 3.2), which may be drawn within bounds of its cost.
Then an evolution searches for the member that is best with the weights that it inherits (section 3.3). Before a member
is scored, the norms get the statistics of its own path: those that they have are averages over all paths.

The released program draws the paths of its training in bins of multiply-adds (`bins`), and recalibrates by a moving
average of the last batches; here it is the mean over all of them. AngleNAS has other settings, in its recipe.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal

from ramify.capabilities import Capability
from ramify.evaluators.inherited import Inherited, InheritedWeights
from ramify.spaces import Space
from ramify.strategies.base import SearchSession, Strategy
from ramify.strategies.evolution import Evolution
from ramify.training import Metrics, UniformPaths, WeightSettings, Work, single_path
from ramify.training.recipe import later


class SinglePath(InheritedWeights):
    """The weights of SPOS, trained on one path per step."""

    def learn(self, inherited: Inherited) -> Iterator[Metrics]:
        """Train one uniformly drawn member per batch, from a cost bin that is drawn before (section 3.2)."""
        if not isinstance(inherited.paths, UniformPaths):
            yield from super().learn(inherited)
            return
        while inherited.learns:
            member = inherited.paths.member(inherited.step)
            inherited.descend(single_path(inherited.space, member))
            yield inherited.end()


@dataclass(frozen=True, kw_only=True)
class SPOS(WeightSettings, Strategy):
    """SPOS with the settings of the released program for ImageNet.

    Args:
        bins: Ascending bounds of a cost: a path is drawn within two neighboring ones, which are drawn uniformly. Two
            bounds are a constraint; none by default.
        bins_of: What they bound, `macs` or `params`.
        paths: `uniform`, or a `sandwich` of the largest member, the smallest and random ones, which learn from the
            largest (Yu & Huang, US-Nets, ICCV 2019), where all decisions are about numbers, such as widths.
        samples: Random members in a sandwich.
        recalibrate: Training images on which the running statistics of norms are computed for each member.
        fine_tune: Steps that each member is trained, from the weights it inherits, before it is scored (as in
            NetAdapt, Yang et al., ECCV 2018); the shared weights stay as they are.
        evaluations: How many members are scored.
        population: Members of a generation.
        parents: How many of the best members of all generations before have children.
        crossovers: Children of a generation that take every decision from one of two parents; the others mutate.
        mutation_rate: Probability with which a mutation draws a decision anew.
        limits: `params`, `macs` or `latency_ms` → the most that a member may have.
        fill: Share of the tightest of the limits that members use at least; 0 for no such bound.
        objectives: What members are compared by: `error`, or one of `loss`, costs, and the metrics of the task.

    Example:
        >>> from ramify import strategies
        >>> strategies.SPOS(limits={"macs": 330e6}).evaluations
        1000
    """

    source = "Guo et al., Single Path One-Shot NAS with Uniform Sampling, ECCV 2020, arXiv:1904.00420"
    evaluates = True
    grows = ("evaluations",)

    epochs: int = 120
    batch_size: int = 1024
    lr: float = 0.5
    min_lr: float = 0.0
    schedule: str = "linear"
    stepwise: bool = True
    weight_decay: float = 4e-5
    decay_norms: bool = False
    clip: float = 0.0
    label_smoothing: float = 0.1
    bins: tuple[float, ...] = ()
    bins_of: str = "macs"
    paths: Literal["uniform", "sandwich"] = later("uniform")
    samples: int = later(2)
    recalibrate: int = 25_600
    fine_tune: int = later(0)
    evaluations: int = 1000
    population: int = 50
    parents: int = 10
    crossovers: int = 25
    mutation_rate: float = 0.1
    limits: dict[str, float] = field(default_factory=dict)
    fill: float = later(0.0)
    objectives: tuple[str, ...] = later(("error",))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.search()  # checks the other settings

    def search(self) -> Evolution:
        """Return the equivalent evolution by inherited weights."""
        weights = {item.name: getattr(self, item.name) for item in fields(WeightSettings)}
        scoring = ("bins", "bins_of", "paths", "samples", "recalibrate", "fine_tune")
        paths = {name: getattr(self, name) for name in scoring}
        names = ("evaluations", "population", "parents", "crossovers", "mutation_rate", "limits", "fill", "objectives")
        settings = {name: getattr(self, name) for name in names}
        return Evolution(**settings, evaluator=SinglePath(**weights, **paths))

    @property
    def needs(self) -> frozenset[Capability]:
        """The needs of the search by inherited weights."""
        return self.search().needs

    @property
    def uses(self) -> frozenset[Capability]:
        """The optional capabilities that the search by inherited weights uses."""
        return self.search().uses

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the supernet and the evolution at work."""
        return self.search().session(space, work)
