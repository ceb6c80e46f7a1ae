"""Evaluate an architecture by the weights it inherits from a supernet."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from ramify.architecture import Architecture
from ramify.capabilities import ACTIVE, EVEN_CANDIDATES, SUPERNET, Capability
from ramify.costs import check_counted, draw_within
from ramify.costs.drawing import Draw
from ramify.errors import ConfigurationError, nearest
from ramify.evaluators.base import Evaluator, names_of, values_of
from ramify.spaces import Space
from ramify.training import (
    FairPaths,
    Metrics,
    SandwichPaths,
    UniformPaths,
    Weights,
    WeightSettings,
    Work,
    single_path,
)
from ramify.training.descent import Path
from ramify.training.fine_tuning import fine_tuned
from ramify.training.recipe import later
from ramify.training.stateful import Feed, Stateful

PATHS = ("uniform", "fair", "sandwich")


@dataclass(frozen=True, kw_only=True)
class InheritedWeights(WeightSettings, Evaluator):
    """Train a supernet on sampled paths, then score members by accuracy on `search_validation`.

    One architecture is drawn per batch and only its operations run (Li & Talwalkar, UAI 2019; Guo et al., ECCV
    2020), or several that use every candidate once (Chu et al., FairNAS, 2019). Members are scored on the whole
    validation split. The defaults are those of the weight-sharing methods of NAS-Bench-201, whose search runs for 250
    epochs; here 50 are the default.

    Args:
        paths: What learns in a step: one `uniform` path; `fair` ones, that use every candidate exactly once; or a
            `sandwich` of the largest member, the smallest and random ones, which learn from the largest (Yu & Huang,
            US-Nets, ICCV 2019), where all decisions are about numbers, such as widths.
        samples: Random members in a sandwich.
        bins: Ascending bounds of a cost, for uniform paths: a path is drawn within two neighboring ones, which are
            drawn uniformly. Two bounds are a constraint. So are the random members of a sandwich, in which the smallest
            takes no part then.
        bins_of: What they bound, a cost that needs no device such as `macs`, of the network that the layout of the
            search builds.
        recalibrate: Training images on which the running statistics of norms are computed anew for each member that
            is scored; 0 leaves them. In the default layout of cells almost all norms use those of the batch.
        fine_tune: Steps that each member is trained, from the weights it inherits, before it is scored (as in
            NetAdapt, Yang et al., ECCV 2018); the shared weights stay as they are. 0 for none.
    """

    nesterov: bool = True
    weight_decay: float = 5e-4
    paths: str = "uniform"
    samples: int = later(2)
    bins: tuple[float, ...] = ()
    bins_of: str = "macs"
    recalibrate: int = 0
    fine_tune: int = later(0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bins", tuple(map(float, self.bins)))
        if self.paths not in PATHS:
            raise ConfigurationError(f"unknown paths {self.paths!r}; {nearest(self.paths, PATHS)}")
        if self.samples < 0:
            raise ConfigurationError(f"`samples` must be at least 0, got {self.samples}")
        check_counted(self.bins_of, "bins_of")
        if len(self.bins) == 1 or not all(0 <= a < b for a, b in pairwise(self.bins)):
            raise ConfigurationError(f"`bins` must be ascending bounds from 0, two or more, got {list(self.bins)}")
        if self.bins and self.paths == "fair":
            raise ConfigurationError(f"`bins` are for uniform paths: {self.paths} ones are drawn whatever they cost")
        if self.recalibrate < 0 or self.recalibrate == 1:
            raise ConfigurationError(f"`recalibrate` must be 0, or 2 images or more, got {self.recalibrate}")
        if self.fine_tune < 0:
            raise ConfigurationError(f"`fine_tune` must be at least 0, got {self.fine_tune}")

    @property
    def needs(self) -> frozenset[Capability]:
        """A supernet, and equally many candidates on every edge for fair paths."""
        return frozenset({SUPERNET, *([EVEN_CANDIDATES] if self.paths == "fair" else [])})

    @property
    def uses(self) -> frozenset[Capability]:
        """Single paths, so that nothing else is computed."""
        return frozenset({ACTIVE})

    def start(self, space: Space, work: Work) -> "Inherited":
        """Return the evaluator at work; preparation trains the supernet."""
        return Inherited(self, space, work)

    def learn(self, inherited: "Inherited") -> Iterator[Metrics]:
        """Take each training step on sampled paths, each with a batch of its own; strategies may replace it."""
        while inherited.learns:
            inherited.descend(*inherited.paths(inherited.step), taught=self.paths == "sandwich")
            yield inherited.end()

    def drawing(self, space: Space, work: Work) -> FairPaths | SandwichPaths | UniformPaths:
        """Return the sampler of a step's paths."""
        if self.paths == "sandwich":
            if "classes" not in work.task.offers:
                raise ConfigurationError(f"a sandwich compares logits of classes, and {work.task.name} has none")
            return SandwichPaths(space, work.seed, self.samples, self._draws(space, work))
        if self.paths == "fair":
            return FairPaths(space, work.seed)
        return UniformPaths(space, work.seed, self._draws(space, work))

    def _draws(self, space: Space, work: Work) -> list[Draw]:
        """Return what draws members within each two neighboring bounds."""
        layout = space.layout(work.layout) if self.bins else None
        bounds = pairwise(self.bins)
        return [draw_within(space, self.bins_of, low, high, work.inputs, layout) for low, high in bounds]


class Inherited(Stateful):
    """A supernet trained on paths, which then scores members by the weights they inherit."""

    kept = ("step", "weights", "training")
    fidelities: tuple[int, ...] = ()

    def __init__(self, settings: InheritedWeights, space: Space, work: Work) -> None:
        self.settings, self.space, self.work = settings, space, work
        self.paths = settings.drawing(space, work)
        self.weights = Weights(settings, space, work)
        self.weights.check_measured()
        self.training = Feed(lambda start: self.weights.batches(self.weights.split, start))
        self.metrics = names_of(work.task)
        self.inputs = work.inputs
        self.step = 0

    def prepare(self) -> Iterator[Metrics]:
        """Train the supernet."""
        yield from self.settings.learn(self)

    @property
    def learns(self) -> bool:
        """Whether training steps are left."""
        return self.step < self.weights.steps

    def descend(self, *paths: Path, taught: bool = False) -> None:
        """Take a gradient step on the sum of the paths' losses on the next batch; `taught` by the first if asked."""
        self.weights.descend(self.step, next(self.training), *paths, taught=taught)

    def end(self) -> Metrics:
        """End the step at a safe point."""
        self.step += 1
        return self.weights.end(self.step - 1)

    def __call__(self, arch: Architecture, epochs: int | None = None) -> dict[str, float]:
        """Return the metrics of a member with the weights it inherits, trained on as the settings say."""
        path = single_path(self.space, arch)
        with fine_tuned(self.weights, path, self.settings.fine_tune):
            measurement = self.weights.measure(*path, recalibrate=self.settings.recalibrate)
        return values_of(self.weights.task, measurement)

    @property
    def supernet(self) -> nn.Module:
        """The supernet with its weights."""
        return self.weights.supernet
