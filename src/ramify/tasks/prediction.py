"""Predictions: what a network says of single inputs, for people and for files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ramify.data import IGNORED
from ramify.tasks.batch import tensors
from ramify.tasks.overlay import mask_picture, with_boxes, with_mask

if TYPE_CHECKING:
    from PIL.Image import Image


class Prediction(ABC):
    """What a network says of one input."""

    @abstractmethod
    def rows(self) -> list[dict[str, str | float]]:
        """Return it as the rows of a table, column → value; each input has one or more."""

    @abstractmethod
    def __str__(self) -> str:
        """Return it for people, in one line."""

    def placed(self, seen: tuple[int, int], whole: tuple[int, int]) -> Prediction:
        """Return it in the pixels of an image as it was, (H, W) `whole`, of which the network saw (H, W) `seen`."""
        return self

    def pictures(self, image: Image) -> Mapping[str, Image]:
        """Return pictures of it by name, of the image as it was; none where there is nothing to draw."""
        return {}


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

    def placed(self, seen: tuple[int, int], whole: tuple[int, int]) -> Objects:
        """Return the objects in the image as it was, which the network saw resized to fit into its size."""
        scale = min(seen[0] / whole[0], seen[1] / whole[1])
        limits = (seen[1], seen[0], seen[1], seen[0])
        boxes = [
            [min(max(side, 0.0), end) / scale for side, end in zip(box, limits, strict=True)] for box in self.boxes
        ]
        return replace(self, boxes=tuple((left, top, right, bottom) for left, top, right, bottom in boxes))

    def pictures(self, image: Image) -> Mapping[str, Image]:
        """Return the image with a frame around each object, and its class."""
        captions = [f"{name} {share:.0%}" for name, share in zip(self.classes, self.probabilities, strict=True)]
        return {"objects": with_boxes(image, self.boxes, self.classes, captions)}


@dataclass(frozen=True, eq=False)
class Regions(Prediction):
    """The class of every pixel of an image.

    Args:
        classes: Names of all K classes.
        numbers: Of the class of each pixel, (H, W) uint8; 255 where the network has seen nothing.
    """

    classes: tuple[str, ...]
    numbers: np.ndarray

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Regions):
            return NotImplemented
        return self.classes == other.classes and np.array_equal(self.numbers, other.numbers)

    __hash__ = None  # type: ignore[assignment]

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels that each class has of those that were seen, the largest first."""
        counts = np.bincount(self.numbers.ravel(), minlength=IGNORED + 1)[: len(self.classes)]
        order = np.argsort(-counts, kind="stable")
        return {self.classes[at]: counts[at] / max(counts.sum(), 1) for at in order.tolist() if counts[at]}

    def rows(self) -> list[dict[str, str | float]]:
        """Return a row for each class that occurs: class, share of the pixels, the largest first."""
        return [{"class": name, "share": float(share)} for name, share in self.shares.items()]

    def __str__(self) -> str:
        return ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items())

    def placed(self, seen: tuple[int, int], whole: tuple[int, int]) -> Regions:
        """Return the classes of the image as it was, of which the network saw the center, resized to its size."""
        ratio = max(seen[0] / whole[0], seen[1] / whole[1])
        places = []
        for side, own in zip(seen, whole, strict=True):
            scaled = max(side, round(own * ratio))
            places.append(np.floor((np.arange(own) + 0.5) * scaled / own - (scaled - side) // 2).astype(np.int64))
        inside = [(at >= 0) & (at < side) for at, side in zip(places, seen, strict=True)]
        rows, columns = (at.clip(0, side - 1) for at, side in zip(places, seen, strict=True))
        numbers = self.numbers[rows[:, None], columns[None, :]]
        return replace(self, numbers=np.where(inside[0][:, None] & inside[1][None, :], numbers, IGNORED))

    def pictures(self, image: Image) -> Mapping[str, Image]:
        """Return the mask, whose values are numbers of classes, and the image with the colors of classes over it."""
        return {"mask": mask_picture(self.numbers), "classes": with_mask(image, self.numbers, IGNORED)}


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
