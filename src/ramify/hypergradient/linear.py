"""Logistic and ridge regression: how much to penalize the weights (Pedregosa 2016, section 5)."""

# No postponed annotations: the command line reads the types of the fields.

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify import parallel
from ramify.errors import ConfigurationError
from ramify.hypergradient.hyperparameter import HyperParameter
from ramify.hypergradient.losses import Losses
from ramify.hypergradient.problems import Problem, half
from ramify.tasks import Regression, Task
from ramify.training import Work


@dataclass(frozen=True, kw_only=True)
class _Penalized(Problem):
    """A linear model whose weights are penalized in groups of features.

    Args:
        penalties: How many: each is for as many features as the others, in their order.
        start: Where all begin.
        lower: End of the box of each; the box of the paper's program, e^-6 to e^6, by default.
        upper: The other end.
    """

    convex = True

    penalties: int = 1
    start: float = 1.0
    lower: float = 0.0024787521766663585
    upper: float = 403.4287934927351

    def __post_init__(self) -> None:
        if self.penalties < 1:
            raise ConfigurationError(f"`penalties` must be at least 1, got {self.penalties}")
        self._penalty(1)

    def _penalty(self, count: int, device: torch.device | str = "cpu") -> HyperParameter:
        begin = torch.full((count,), float(self.start), dtype=torch.float64, device=device)
        return HyperParameter(begin, name="penalty", lower=self.lower, upper=self.upper, log=True)

    def losses(self, work: Work) -> Losses:
        """Return the two losses of the linear model on a data set."""
        x, y, _ = half(work, "search_train")
        x_valid, y_valid, _ = half(work, "search_validation")
        x, x_valid = x.flatten(1), x_valid.flatten(1)
        features = x.shape[1]
        if self.penalties > features:
            raise ConfigurationError(f"`penalties` must be at most the number of features, {features}")
        groups = (torch.arange(features, device=x.device) * self.penalties) // features
        penalty = self._penalty(self.penalties, x.device)
        weights = torch.zeros(features, self._width(work.task), dtype=x.dtype, device=x.device, requires_grad=True)

        def fit(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return parallel.world() * self._lost(x @ w, y, work.task)

        def inner(at: Sequence[Tensor]) -> Tensor:
            (w,) = at
            return fit(w, x, y) + (penalty.to(w)[groups][:, None] * w.square()).sum() / 2

        def outer(at: Sequence[Tensor]) -> Tensor:
            return fit(at[0], x_valid, y_valid)

        return Losses([weights], [penalty], inner, outer)

    @abstractmethod
    def _width(self, task: Task) -> int:
        """Return K, the number of outputs, for a task that it can learn."""

    @abstractmethod
    def _lost(self, output: Tensor, y: Tensor, task: Task) -> Tensor:
        """Return the sum of the losses of outputs (B, K)."""


@dataclass(frozen=True, kw_only=True)
class LogisticRegression(_Penalized):
    """ℓ2-penalized logistic regression: h = Σ loss + Σ λ_j w_j² / 2, g = Σ loss on validation data, no intercept.

    Two classes are -1 and +1, with the loss log(1 + exp(-y·xᵀw)); of more, the loss is the cross-entropy.
    """

    source = "Pedregosa, Hyperparameter Optimization with Approximate Gradient, ICML 2016, arXiv:1602.02355"

    def _width(self, task: Task) -> int:
        if task.targets != "classes":
            raise ConfigurationError(f"LogisticRegression learns classes, and {task.name} values")
        count = task.shape["num_classes"]
        return 1 if count == 2 else count

    def _lost(self, output: Tensor, y: Tensor, task: Task) -> Tensor:
        if output.shape[1] == 1:
            return F.softplus(output[:, 0] * (1 - 2 * y).to(output)).sum()
        return F.cross_entropy(output, y, reduction="sum")


@dataclass(frozen=True, kw_only=True)
class RidgeRegression(_Penalized):
    """Ridge regression: h = Σ (xᵀw - y)² / 2 + Σ λ_j w_j² / 2, g = Σ (xᵀw - y)² / 2 on validation data.

    Targets are standardized as the training data have them.
    """

    source = "Hoerl & Kennard, Ridge Regression, Technometrics 1970"

    def task(self) -> Task:
        """Return regression."""
        return Regression()

    def _width(self, task: Task) -> int:
        if task.targets != "values":
            raise ConfigurationError(f"RidgeRegression learns values, and {task.name} classes")
        return task.shape["num_classes"]

    def _lost(self, output: Tensor, y: Tensor, task: Task) -> Tensor:
        mean, std = (output.new_tensor(each) for each in (task.data.target_mean, task.data.target_std))
        return (output - (y.to(output) - mean) / std).square().sum() / 2
