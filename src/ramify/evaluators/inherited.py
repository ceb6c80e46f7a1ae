"""Evaluate an architecture by the weights it inherits from a supernet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ramify.architecture import Architecture
from ramify.evaluators.base import Evaluation, Evaluator
from ramify.seeding import rng
from ramify.spaces import Space
from ramify.supernet import Mix
from ramify.training import Metrics, SupernetWeights, Task, WeightSettings, endless, measure


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
    def __init__(self, settings: WeightSettings, space: Space, task: Task) -> None:
        self.space, self.task = space, task
        self.weights = SupernetWeights(settings, space, task)
        self.step = 0

    def prepare(self) -> Iterator[Metrics]:
        weights, task = self.weights, self.task
        batches = endless(
            weights.split,
            weights.batch_size,
            seed=task.seed,
            augmentation=task.data.augmentation,
            device=task.fabric.device,
            start=self.step,
        )
        while self.step < weights.steps:
            mix, active = self._path(self.space.sample(rng(task.seed, "path", self.step)))
            weights.descend(self.step, *next(batches), mix, active)
            rate = weights.lr_at(self.step)
            self.step += 1
            epoch, inside = divmod(self.step, weights.steps_per_epoch)
            values = {} if inside else {"epoch": epoch - 1, **weights.averages.take(), "lr": rate}
            yield Metrics("prepare", self.step, weights.steps, values)

    def _path(self, arch: Architecture) -> tuple[Mix, Mapping[str, torch.Tensor]]:
        mix = self.space.mix(arch)
        return mix, {name: weights > 0 for name, weights in mix.items()}

    def __call__(self, arch: Architecture) -> dict[str, float]:
        mix, active = self._path(arch)
        found = measure(
            self.weights.supernet,
            self.task.data.split("search_validation"),
            device=self.task.fabric.device,
            forward=lambda x: self.weights.supernet(x, mix, active=active),
        )
        return {"score": found.top1, "loss": found.loss}

    @property
    def supernet(self) -> torch.nn.Module:
        return self.weights.supernet

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, **self.weights.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self.weights.load_state_dict(state)
