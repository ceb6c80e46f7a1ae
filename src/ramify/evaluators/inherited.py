"""Evaluate an architecture by the weights it inherits from a supernet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ramify.architecture import Architecture
from ramify.evaluators.base import Evaluation, Evaluator, Images
from ramify.seeding import rng
from ramify.spaces import Space
from ramify.training import Metrics, SupernetWeights, Task, WeightSettings, single_path


@dataclass(frozen=True, kw_only=True)
class InheritedWeights(WeightSettings, Evaluator):
    """Train a supernet on uniformly sampled paths, then score members by accuracy on `search_validation`.

    One architecture is drawn per batch and only its operations run (Li & Talwalkar, UAI 2019; Guo et al., ECCV
    2020). Members are scored on the whole validation split, with norms that use the statistics of the batch.
    The defaults are those of the weight-sharing methods of NAS-Bench-201, whose search runs for 250 epochs;
    here 50 are the default.
    """

    nesterov: bool = True
    weight_decay: float = 5e-4

    def start(self, space: Space, task: Task) -> Evaluation:
        """Return the evaluator at work; preparation trains the supernet."""
        return _Inherited(self, space, task)


class _Inherited:
    fidelities: tuple[int, ...] = ()
    metrics: tuple[str, ...] = ("score", "loss")

    def __init__(self, settings: WeightSettings, space: Space, task: Task) -> None:
        self.space, self.seed = space, task.seed
        self.weights = SupernetWeights(settings, space, task)
        self.images = Images.of(task)
        self.step = 0

    def prepare(self) -> Iterator[Metrics]:
        weights = self.weights
        batches = weights.batches(weights.split, self.step)
        while self.step < weights.steps:
            mix, active = single_path(self.space, self.space.sample(rng(self.seed, "path", self.step)))
            weights.descend(self.step, *next(batches), mix, active)
            rate = weights.lr_at(self.step)
            self.step += 1
            epoch, inside = divmod(self.step, weights.steps_per_epoch)
            values = {} if inside else {"epoch": epoch - 1, **weights.averages.take(), "lr": rate}
            yield Metrics("prepare", self.step, weights.steps, values)

    def __call__(self, arch: Architecture, epochs: int | None = None) -> dict[str, float]:
        found = self.weights.measure(*single_path(self.space, arch))
        return {"score": found.top1, "loss": found.loss}

    @property
    def supernet(self) -> torch.nn.Module:
        return self.weights.supernet

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, **self.weights.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self.weights.load_state_dict(state)
