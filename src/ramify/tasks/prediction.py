"""Predictions: what a network says of single inputs, for people and for files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ramify.tasks.batch import tensors


class Prediction(ABC):
    """What a network says of one input."""

    @abstractmethod
    def rows(self) -> list[dict[str, str | float]]:
        """Return it as the rows of a table, column → value; each input has one or more."""

    @abstractmethod
    def __str__(self) -> str:
        """Return it for people, in one line."""


@dataclass(frozen=True)
class Ranking(Prediction):
    """The most probable classes of an input.

    Args:
        classes: Their names, the most probable first.
        probabilities: Of each, in 0..1.
    """

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def best(self) -> str:
        """The most probable class."""
        return self.classes[0]

    def rows(self) -> list[dict[str, str | float]]:
        """Return a row for each class: rank, class, probability."""
        pairs = zip(self.classes, self.probabilities, strict=True)
        return [{"rank": rank, "class": name, "probability": share} for rank, (name, share) in enumerate(pairs, 1)]

    def __str__(self) -> str:
        pairs = zip(self.classes, self.probabilities, strict=True)
        return ", ".join(f"{name} {share:.1%}" for name, share in pairs)


@dataclass(frozen=True)
class Values(Prediction):
    """The values predicted for an input.

    Args:
        names: What they are.
        values: Of each, in its own unit.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]

    def rows(self) -> list[dict[str, str | float]]:
        """Return one row: name → value."""
        return [dict(zip(self.names, self.values, strict=True))]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.6g}" for name, value in zip(self.names, self.values, strict=True))


def rankings(logits: Tensor, classes: Sequence[str], top: int) -> list[Ranking]:
    """Return the `top` classes of logits (B, K), by the softmax in float32 at least."""
    shares = (logits if logits.dtype == torch.float64 else logits.float()).softmax(dim=1)
    best = shares.topk(min(top, shares.shape[1]), dim=1)
    names = [tuple(classes[number] for number in row) for row in best.indices.tolist()]
    return [Ranking(few, tuple(row)) for few, row in zip(names, best.values.tolist(), strict=True)]


def values(output: Any, names: Sequence[str]) -> list[Values] | None:
    """Return an output (B, K) as values; None if it is no such tensor. `names` may lack: then they are numbered."""
    found = tensors(output)
    if len(found) != 1 or found[0].ndim != 2:
        return None
    count = found[0].shape[1]
    named = tuple(names) if len(names) == count else tuple(f"output {number}" for number in range(1, count + 1))
    return [Values(named, tuple(row)) for row in found[0].double().tolist()]
