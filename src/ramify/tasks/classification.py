"""Classification into K classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.data import Data
from ramify.errors import ConfigurationError, nearest
from ramify.tasks.base import Metric, Task
from ramify.tasks.batch import Batch
from ramify.tasks.meter import SumMeter
from ramify.tasks.prediction import Prediction, rankings


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """Classification into K classes, learned by cross-entropy of logits (B, K).

    Args:
        class_weights: Name of a class → what an image of it weighs in the loss; 1 where nothing is said. Or `balanced`:
            as many times the mean as the class has fewer training images than the mean.
    """

    class_weights: dict[str, float] | str | None = None

    metrics = (Metric("top1", "fraction"), Metric("top5", "fraction"), Metric("balanced_accuracy", "fraction"))
    short = "classification"
    smooths = True
    one_tensor = True
    offers = frozenset({"classes"})

    def __post_init__(self) -> None:
        given = self.class_weights
        if isinstance(given, str) and given != "balanced":
            raise ConfigurationError(f"`class_weights` are numbers by class, or 'balanced', got {given!r:.40}")
        for name, value in (given or {}).items() if isinstance(given, dict) else ():
            if not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise ConfigurationError(f"`class_weights`: {name!r:.40} must be a number from 0, got {value!r:.40}")

    def on(self, data: Data) -> Classification:
        """Return the task bound to a data set, whose classes the weights name."""
        bound = super().on(data)
        object.__setattr__(bound, "_weights", self._weights_of(bound))
        return bound

    def _weights_of(self, bound: Task) -> Tensor | None:
        """Return the weights of classes, float32 (K,), None where all are 1."""
        if not self.class_weights:
            return None
        classes = bound.data.classes
        if isinstance(self.class_weights, dict):
            for name in self.class_weights:
                if str(name) not in classes:
                    raise ConfigurationError(f"`class_weights`: no class {name!r:.40}; {nearest(str(name), classes)}")
            given = {str(name): weight for name, weight in self.class_weights.items()}
            weights = torch.tensor([float(given.get(name, 1.0)) for name in classes])
            if not bool(weights.any()):
                raise ConfigurationError("`class_weights` are all 0, so nothing would be learned")
            return weights
        labels = bound.data.split("train").labels.cpu()
        counts = labels.bincount(minlength=len(classes)).double()
        return (len(labels) / (len(classes) * counts.clamp(min=1))).float()

    def loss(self, output: Any, batch: Batch, *, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy in nats of logits (B, K), as a sum weighted by class, and the sum of weights.

        In float32 at least, whatever the network's precision. With `smoothing` ε the target is (1 − ε) times the label
        plus ε/K of every class, each times its own weight.
        """
        logits = output if output.dtype == torch.float64 else output.float()
        weights = None if self._class_weights is None else self._class_weights.to(logits)
        total = F.cross_entropy(logits, batch.targets, weight=weights, label_smoothing=smoothing, reduction="sum")
        return total, self.weight(batch).to(logits)

    def weight(self, batch: Batch) -> Tensor:
        """Return the sum of the weights of the images' classes."""
        if self._class_weights is None:
            return torch.tensor(float(len(batch)))
        return self._class_weights.to(batch.targets.device)[batch.targets].sum()

    @property
    def is_even(self) -> bool:
        """Whether all classes weigh the same."""
        return self._class_weights is None

    @property
    def _class_weights(self) -> Tensor | None:
        return self.__dict__.get("_weights")

    def predictions(self, output: Any, names: Sequence[str], top: int = 5) -> list[Prediction]:
        """Return the `top` classes of each of logits (B, K), with their probabilities."""
        numbered = tuple(f"class {number}" for number in range(output.shape[1]))
        return list(rankings(output, tuple(names) or numbered, top))

    def meter(self) -> SumMeter:
        """Return a meter of the accuracy."""
        return Accuracy()

    def evaluation_meter(self) -> SumMeter:
        """Return a meter of the confusion matrix and the top-5 accuracy."""
        return Confusion(self.data.classes)


class Accuracy(SumMeter):
    """The top-1 accuracy."""

    def count(self, output: Any, batch: Batch) -> Tensor:
        """Return the numbers of correct and of all predictions, (2,)."""
        correct = (output.detach().argmax(dim=1) == batch.targets).sum()
        return torch.stack([correct.double(), correct.new_full((), len(batch)).double()])

    def computed(self, sums: list[float]) -> dict[str, float]:
        """Return the accuracy."""
        correct, count = sums
        return {"accuracy": correct / max(count, 1)}


MOST_CONFUSED = 4096
"""The most classes of which confusions are counted: of more, the table would be larger than the network."""


class Confusion(SumMeter):
    """The confusion matrix and the top-5 accuracy.

    An input whose logits are not all finite is never correct, and taken for nothing.

    Args:
        classes: Names of the K classes.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classes = classes

    def count(self, output: Any, batch: Batch) -> Tensor:
        """Return the numbers of all, correct and top-5 correct inputs, and the confusion matrix, as one row."""
        logits, labels = output, batch.targets
        finite = logits.isfinite().all(dim=1, keepdim=True)
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
        right = (ranked == labels[:, None]) & finite
        sums = torch.stack([right.new_full((), len(batch), dtype=torch.float64), right[:, 0].sum(), right.any(1).sum()])
        K = self._counted
        predicted = torch.where(finite[:, 0], ranked[:, 0], K)
        table = torch.zeros(K * (K + 1), dtype=torch.float64, device=labels.device)
        if K:
            table.index_add_(0, labels * (K + 1) + predicted, torch.ones_like(labels, dtype=torch.float64))
        return torch.cat([sums, table])

    @property
    def _counted(self) -> int:
        return len(self.classes) if len(self.classes) <= MOST_CONFUSED else 0

    def computed(self, sums: list[float]) -> dict[str, float]:
        """Return `top1`, `top5`, and `balanced_accuracy`, the mean accuracy of the classes that occur."""
        count, top1, top5 = (value for value in sums[:3])
        accuracies = {"top1": top1 / max(count, 1), "top5": top5 / max(count, 1)}
        shares = [right / whole for right, whole in self._by_class(sums) if whole]
        return accuracies | ({"balanced_accuracy": sum(shares) / len(shares)} if shares else {})

    def _by_class(self, sums: list[float]) -> list[tuple[float, float]]:
        """Return for each class how many of it are correct, and how many there are."""
        return [(row[number], sum(row)) for number, row in enumerate(self._table(sums))]

    def _table(self, sums: list[float]) -> list[list[float]]:
        K = self._counted
        return [sums[3 + row * (K + 1) : 3 + (row + 1) * (K + 1)] for row in range(K)]

    def details(self) -> dict[str, Any]:
        """Return the classes, the accuracy of each (None where it does not occur), and the confusion matrix."""
        if self.sums is None or not self._counted:
            return {}
        sums = self.sums.tolist()
        return {
            "classes": list(self.classes),
            "accuracy": [right / whole if whole else None for right, whole in self._by_class(sums)],
            "items": [int(whole) for _, whole in self._by_class(sums)],
            "confusion": [[int(count) for count in row[:-1]] for row in self._table(sums)],
        }
