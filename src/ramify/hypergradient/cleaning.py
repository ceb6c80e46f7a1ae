"""Data cleaning: a weight for every example, so that wrong labels lose theirs (Maclaurin 2015; Franceschi 2017)."""

# No postponed annotations: the command line reads the types of the fields.

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify import parallel
from ramify.errors import ConfigurationError
from ramify.hypergradient.hyperparameter import HyperParameter
from ramify.hypergradient.losses import Losses
from ramify.hypergradient.problems import Problem, half
from ramify.seeding import stream
from ramify.training import Work


@dataclass(frozen=True, kw_only=True)
class DataCleaning(Problem):
    """Weights in [0, 1] of all training examples of a linear classifier, some of whose labels were made wrong.

    h = (Σ w_i · loss_i + penalty · ‖W‖² / 2) / N and g is the mean loss of the validation data, whose labels are right.

    Args:
        wrong: Share of the training examples that get another label, drawn; 0 for data that has its own.
        penalty: On the weights of the classifier.
        start: Weight of an example at first.
    """

    source = (
        "Franceschi et al., Forward and Reverse Gradient-Based Hyperparameter Optimization, ICML 2017, arXiv:1703.01785"
    )
    convex = True

    wrong: float = 0.2
    penalty: float = 1.0
    start: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.wrong < 1:
            raise ConfigurationError(f"`wrong` must be a share in [0, 1), got {self.wrong}")
        if not 0 < self.penalty < inf:
            raise ConfigurationError(f"`penalty` must be a number above 0, got {self.penalty}")
        if not 0 <= self.start <= 1:
            raise ConfigurationError(f"`start` must be in [0, 1], got {self.start}")

    def losses(self, work: Work) -> Losses:
        """Return the two losses of the classifier, the first of them on labels some of which are wrong."""
        task = work.task
        if task.targets != "classes":
            raise ConfigurationError(f"DataCleaning is about labels, and {task.name} learns values")
        x, y, count = half(work, "search_train")
        x_valid, y_valid, count_valid = half(work, "search_validation")
        x, x_valid = x.flatten(1), x_valid.flatten(1)
        classes = task.shape["num_classes"]
        first, every = parallel.part()
        y = (y + self.shifts(work.seed, count, classes)[first::every].to(y)) % classes
        begin = torch.full((count,), float(self.start), dtype=torch.float64, device=x.device)
        weight = HyperParameter(begin, name="weight", lower=0.0, upper=1.0)
        weights = torch.zeros(x.shape[1], classes, dtype=x.dtype, device=x.device, requires_grad=True)

        def inner(at: Sequence[Tensor]) -> Tensor:
            (w,) = at
            lost = F.cross_entropy(x @ w, y, reduction="none")
            weighed = parallel.world() * (weight.to(w)[first::every] * lost).sum()
            return (weighed + self.penalty * w.square().sum() / 2) / count

        def outer(at: Sequence[Tensor]) -> Tensor:
            return parallel.world() * F.cross_entropy(x_valid @ at[0], y_valid, reduction="sum") / count_valid

        return Losses([weights], [weight], inner, outer)

    def shifts(self, seed: int, count: int, classes: int) -> Tensor:
        """Return by how much each label is shifted, (N,): 0 where it stays right."""
        draw = stream(seed, "wrong labels")
        changed = torch.randperm(count, generator=draw)[: round(self.wrong * count)]
        shifts = torch.zeros(count, dtype=torch.int64)
        shifts[changed] = torch.randint(1, max(2, classes), (len(changed),), generator=draw)
        return shifts % classes

    def measured(self, losses: Losses, work: Work) -> dict[str, float]:
        """Return which share of the tenth with the lowest weights has wrong labels, where labels were made wrong."""
        (weight,) = losses.hyperparameters
        if not self.wrong:
            return {}
        lowest = _ranked(weight)[: max(1, weight.numel() // 10)]
        wrong = self.shifts(work.seed, weight.numel(), work.task.shape["num_classes"])[lowest] != 0
        return {"precision": float(wrong.double().mean())}

    def files(self, losses: Losses, work: Work) -> dict[str, Any]:
        """Return the examples of `search_train` with their weights, the lowest first."""
        (weight,) = losses.hyperparameters
        wrong = self.shifts(work.seed, weight.numel(), work.task.shape["num_classes"]) != 0
        values = weight.detach().cpu()
        rows = [
            {
                "example": int(row),
                "weight": float(values[row]),
                **({"made_wrong": bool(wrong[row])} if self.wrong else {}),
            }
            for row in _ranked(weight)
        ]
        return {"weights.json": rows}


def _ranked(weight: Tensor) -> Tensor:
    """Return the numbers of the examples, (N,), the one with the lowest weight first."""
    return weight.detach().cpu().argsort(stable=True)
