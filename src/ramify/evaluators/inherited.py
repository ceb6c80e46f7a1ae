"""Evaluate an architecture by the weights it inherits from a supernet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from ramify.architecture import Architecture
from ramify.capabilities import ACTIVE, EVEN_CANDIDATES, Capability
from ramify.costs import check_counted, draw_within
from ramify.errors import ConfigurationError
from ramify.evaluators.base import Evaluation, Evaluator, names_of, values_of
from ramify.spaces import Space
from ramify.training import FairPaths, Metrics, SupernetWeights, UniformPaths, WeightSettings, Work, single_path


@dataclass(frozen=True, kw_only=True)
class InheritedWeights(WeightSettings, Evaluator):
    """Train a supernet on sampled paths, then score members by accuracy on `search_validation`.

    One architecture is drawn per batch and only its operations run (Li & Talwalkar, UAI 2019; Guo et al., ECCV
    2020), or several that use every candidate once (Chu et al., FairNAS, 2019). Members are scored on the whole
    validation split. The defaults are those of the weight-sharing methods of NAS-Bench-201, whose search runs for 250
    epochs; here 50 are the default.

    Args:
        paths: What learns in a step: one `uniform` path, or `fair` ones, that use every candidate exactly once.
        bins: Ascending bounds of a cost, for uniform paths: a path is drawn within two neighbouring ones, which are
            drawn uniformly. Two bounds are a constraint.
        bins_of: What they bound, a cost that needs no device such as `macs`, of the network that the layout of the
            search builds.
        recalibrate: Training images on which the running statistics of norms are computed anew for each member that
            is scored; 0 leaves them. In the default layout of cells almost all norms use those of the batch.
    """

    nesterov: bool = True
    weight_decay: float = 5e-4
    paths: str = "uniform"
    bins: tuple[float, ...] = ()
    bins_of: str = "macs"
    recalibrate: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bins", tuple(map(float, self.bins)))
        if self.paths not in ("uniform", "fair"):
            raise ConfigurationError(f"`paths` must be 'uniform' or 'fair', got {self.paths!r}")
        check_counted(self.bins_of, "bins_of")
        if len(self.bins) == 1 or not all(0 <= a < b for a, b in pairwise(self.bins)):
            raise ConfigurationError(f"`bins` must be ascending bounds from 0, two or more, got {list(self.bins)}")
        if self.bins and self.paths == "fair":
            raise ConfigurationError("`bins` are for uniform paths: fair ones use every candidate, whatever it costs")
        if self.recalibrate < 0 or self.recalibrate == 1:
            raise ConfigurationError(f"`recalibrate` must be 0, or 2 images or more, got {self.recalibrate}")

    @property
    def needs(self) -> frozenset[Capability]:
        """For fair paths as many candidates on every edge."""
        return frozenset({EVEN_CANDIDATES} if self.paths == "fair" else ())

    @property
    def uses(self) -> frozenset[Capability]:
        """A path alone is computed."""
        return frozenset({ACTIVE})

    def start(self, space: Space, work: Work) -> Evaluation:
        """Return the evaluator at work; preparation trains the supernet."""
        return _Inherited(self, space, work)

    def drawing(self, space: Space, work: Work) -> FairPaths | UniformPaths:
        """Return what draws the paths of a step."""
        if self.paths == "fair":
            return FairPaths(space, work.seed)
        layout = space.layout(work.layout) if self.bins else None
        bounds = pairwise(self.bins)
        draws = [draw_within(space, self.bins_of, low, high, work.inputs, layout) for low, high in bounds]
        return UniformPaths(space, work.seed, draws)


class _Inherited:
    fidelities: tuple[int, ...] = ()

    def __init__(self, settings: InheritedWeights, space: Space, work: Work) -> None:
        self.settings, self.space = settings, space
        self.paths = settings.drawing(space, work)
        self.weights = SupernetWeights(settings, space, work)
        self.weights.check_measured()
        self.metrics = names_of(work.task)
        self.inputs = work.inputs
        self.step = 0

    def prepare(self) -> Iterator[Metrics]:
        weights = self.weights
        batches = weights.batches(weights.split, self.step)
        while self.step < weights.steps:
            weights.descend_paths(self.step, next(batches), self.paths(self.step))
            rate = weights.lr_at(self.step)
            self.step += 1
            epoch, inside = divmod(self.step, weights.steps_per_epoch)
            values = {} if inside else {"epoch": epoch - 1, **weights.averages.take(), "lr": rate}
            yield Metrics("prepare", self.step, weights.steps, values)

    def __call__(self, arch: Architecture, epochs: int | None = None) -> dict[str, float]:
        found = self.weights.measure(*single_path(self.space, arch), recalibrate=self.settings.recalibrate)
        return values_of(self.weights.task, found)

    @property
    def supernet(self) -> torch.nn.Module:
        return self.weights.supernet

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, **self.weights.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self.weights.load_state_dict(state)
