"""Predictions: what a network says of single inputs, for people and for files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Objects(Prediction):
    """The objects found in an image, the surest first.

    Args:
        classes: Of each.
        probabilities: Of each.
        boxes: Left, top, right and bottom of each, in pixels.
    """

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    boxes: tuple[tuple[float, float, float, float], ...]

    def rows(self) -> list[dict[str, str | float]]:
        """Return a row for each object: class, probability, left, top, right, bottom; without any, an empty class."""
        found = zip(self.classes, self.probabilities, self.boxes, strict=True)
        sides = ("left", "top", "right", "bottom")
        return [
            {"class": name, "probability": share, **dict(zip(sides, box, strict=True))} for name, share, box in found
        ] or [{"class": ""}]

    def __str__(self) -> str:
        found = zip(self.classes, self.probabilities, self.boxes, strict=True)
        each = (f"{name} {share:.1%} at {', '.join(f'{side:.0f}' for side in box)}" for name, share, box in found)
        return "; ".join(each) or "nothing"

    def placed(self, scale: float, size: Sequence[int]) -> Objects:
        """Return the objects in an image that was `scale` times larger or smaller, and is cut at its `size` (H, W)."""
        limits = (size[1], size[0], size[1], size[0])
        boxes = [
            [min(max(side, 0.0), end) / scale for side, end in zip(box, limits, strict=True)] for box in self.boxes
        ]
        return replace(self, boxes=tuple((left, top, right, bottom) for left, top, right, bottom in boxes))


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
