"""Boxes around the objects of images: where each is, and of which class.

Legend: N images, T boxes of all of them, M the most boxes of one, H and W of an image. Positions are in pixels from the
upper left corner of the image, so that a box that covers all of it is (0, 0, W, H).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ramify.data.augmentation import Augmentation
from ramify.data.dataset import Data, Split
from ramify.data.encoded import Encoded, upright_size
from ramify.data.parts import Part, Parts
from ramify.data.pixels import Pixels
from ramify.errors import DataError

COLUMNS = ("left", "top", "right", "bottom", "class", "crowd", "area", "scale")
"""What a row of the targets says of a box: its class is -1 where there is none, `crowd` is 1 where it does not count,
`area` is that of the object in pixels of the image as it was, `scale` how many times larger the image is now."""
CLASS, CROWD, AREA, SCALE = range(4, 8)
MOST_BOXES = 2000
"""Of an image."""
MOST_ROWS = 2**27
"""Of all images together, filled up to the most of one."""
LEFT_OVER = 0.25
"""Share of a box that must be in a window of its image, for the box to be there."""


@dataclass(frozen=True)
class Boxes:
    """The boxes of a part, those of one image after those of another.

    Args:
        corners: Left, top, right and bottom, (T, 4) float64.
        classes: Numbers of their classes, (T,) int64.
        areas: Pixels of each object, as the source says, (T,) float64.
        crowds: Which do not count: crowds of COCO, difficult objects of Pascal VOC; (T,) bool.
        counts: How many each image has, (N,) int64.
        sizes: (H, W) of each image as the source says it; 0 where it does not, (N, 2) int64.
    """

    corners: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    counts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[Sequence[float]]], sizes: Sequence[Sequence[int]]) -> Boxes:
        """Return boxes from rows (left, top, right, bottom, class, area, crowd) for each image."""
        flat = np.array([row for each in rows for row in each], dtype=np.float64).reshape(-1, 7)
        counts = np.array([len(each) for each in rows], dtype=np.int64)
        whole = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        return cls(flat[:, :4], flat[:, 4].astype(np.int64), flat[:, 5], flat[:, 6] > 0, counts, whole)

    @property
    def images(self) -> np.ndarray:
        """The number of the image of each box, (T,) int64."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def chosen(self, rows: Sequence[int]) -> Boxes:
        """Return the boxes of some images."""
        ends = self.counts.cumsum()
        spans = [np.arange(ends[row] - self.counts[row], ends[row]) for row in rows]
        kept = self._kept(np.concatenate([np.arange(0), *spans]))
        return replace(kept, counts=self.counts[list(rows)], sizes=self.sizes[list(rows)])

    def _kept(self, index: np.ndarray) -> Boxes:
        return replace(
            self,
            corners=self.corners[index],
            classes=self.classes[index],
            areas=self.areas[index],
            crowds=self.crowds[index],
        )

    def within(self, sizes: np.ndarray) -> Boxes:
        """Return the boxes cut at the borders of their images of `sizes` (N, 2), without those of no extent there."""
        limits = sizes[self.images][:, [1, 0, 1, 0]]
        corners = np.clip(self.corners, 0, limits)
        extents = corners[:, 2:] - corners[:, :2]
        kept = np.flatnonzero((extents > 0).all(axis=1))
        counts = np.bincount(self.images[kept], minlength=len(self.counts)).astype(np.int64)
        return replace(replace(self, corners=corners)._kept(kept), counts=counts, sizes=sizes)


def checked(parts: Parts) -> Parts:
    """Return the parts with boxes inside their images, and a note on those of no extent, which are left out.

    Raises:
        DataError: If a part has no boxes, an image has another size than the source says, or there is nothing to learn.
    """
    lost = 0
    for name, part in parts.present().items():
        images = cast(Encoded, part.images)
        if part.boxes is None:
            raise DataError(
                f"{images.where(0)}: comes without boxes, which detection learns from; wanted are the COCO format, "
                "Pascal VOC, or `shapes`"
            )
        sizes = np.array([_size(images, row, part.boxes.sizes[row]) for row in range(len(images))], dtype=np.int64)
        boxes = part.boxes.within(sizes.reshape(-1, 2))
        lost += len(part.boxes.classes) - len(boxes.classes)
        if many := next((row for row, count in enumerate(boxes.counts) if count > MOST_BOXES), None):
            raise DataError(f"{images.where(many)}: has {boxes.counts[many]} boxes, and {MOST_BOXES} are the most")
        parts = parts.having(name, replace(part, boxes=boxes))
    if parts.train is not None:
        boxes = cast(Boxes, parts.train.boxes)
        if not bool((~boxes.crowds).any()):
            raise DataError(f"{parts.name}: none of its training images has a box that counts; nothing can be learned")
    return parts.noting(f"{parts.name}: {lost} boxes without extent in their images are left out") if lost else parts


def _size(images: Encoded, row: int, told: Sequence[int]) -> tuple[int, int]:
    """Return the (height, width) of an image, which must be what the source says."""
    found = upright_size(images, row)
    if all(told) and tuple(told) != found:
        raise DataError(
            f"{images.where(row)}: has {found[0]}x{found[1]} pixels (height x width), and its boxes are of an image of "
            f"{told[0]}x{told[1]}"
        )
    return found


def laid_out(present: Mapping[str, Part], size: tuple[int, int]) -> Tensor:
    """Return the boxes of all parts as targets (N, M, 8) float32, in images shrunk or enlarged to fit into `size`.

    Raises:
        DataError: If they would not fit into memory.
    """
    parts = [cast(Boxes, part.boxes) for part in present.values()]
    counts, sizes = (np.concatenate([getattr(each, name) for each in parts]) for name in ("counts", "sizes"))
    most = max(1, int(counts.max()))
    if len(counts) * most > MOST_ROWS:
        raise DataError(f"{len(counts)} images of up to {most} boxes are too many for memory; leave crowded ones out")
    scales = np.minimum(size[0] / sizes[:, 0], size[1] / sizes[:, 1])
    targets = np.zeros((len(counts), most, len(COLUMNS)), dtype=np.float32)
    targets[..., CLASS] = -1
    targets[..., SCALE] = scales[:, None]
    image = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(image)) - np.repeat(counts.cumsum() - counts, counts)
    for name, column in (("classes", CLASS), ("crowds", CROWD), ("areas", AREA)):
        targets[image, place, column] = np.concatenate([getattr(each, name) for each in parts])
    targets[image, place, :4] = np.concatenate([each.corners for each in parts]) * scales[image][:, None]
    return torch.from_numpy(targets)


class BoxedSplit(Split):
    """A split whose targets are boxes, (B, M, 8) float32 with the `COLUMNS`."""

    def _targets(self, chunks: Sequence[Tensor], augmentation: Augmentation) -> Iterator[Callable[[Tensor], Tensor]]:
        """Yield for every batch what returns its boxes, once it is known how its images are cut and mirrored."""
        here, size = self._labels.device, cast(Pixels, self._inputs).size

        def of(rows: Tensor) -> Callable[[Tensor], Tensor]:
            boxes = self._labels[rows.to(here, non_blocking=True)]
            return lambda draws: _moved(boxes, draws.to(here), augmentation, size)

        return map(of, chunks)


def _moved(targets: Tensor, draws: Tensor, augmentation: Augmentation, size: tuple[int, int]) -> Tensor:
    """Return boxes (B, M, 8) as they are in windows of their images, cut at the borders.

    Args:
        targets: Before.
        draws: (5, B) int64 from `Augmentation.draw`.
        augmentation: How images are cut and mirrored.
        size: (H, W).
    """
    if not (augmentation.crop or augmentation.flip):
        return targets
    height, width = size
    left, top, right, bottom = targets[..., :4].unbind(dim=-1)
    down, along = ((augmentation.crop - each)[:, None] for each in draws[:2])
    before = (right - left) * (bottom - top)
    top, bottom = ((each + down).clamp(0, height) for each in (top, bottom))
    left, right = ((each + along).clamp(0, width) for each in (left, right))
    mirrored = draws[2, :, None] == 1
    left, right = torch.where(mirrored, width - right, left), torch.where(mirrored, width - left, right)
    gone = (right - left) * (bottom - top) < LEFT_OVER * before
    moved = torch.cat([torch.stack([left, top, right, bottom], dim=-1), targets[..., 4:]], dim=-1)
    moved[..., CLASS].masked_fill_(gone, -1)
    return moved.masked_fill(moved[..., CLASS, None] < 0, 0.0) + _nowhere(moved)


def _nowhere(targets: Tensor) -> Tensor:
    """Return what rows without a box say beside zeros: the class -1, and the scale of their image."""
    rest = torch.zeros_like(targets)
    empty = targets[..., CLASS] < 0
    rest[..., CLASS] = -empty.to(targets.dtype)
    rest[..., SCALE] = empty * targets[..., SCALE]
    return rest


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxedData(Data):
    """A data set with boxes around the objects of every image."""

    @property
    def targets(self) -> str:
        """The kind of targets: `boxes`."""
        return "boxes"

    @property
    def boxes_shape(self) -> tuple[int, int]:
        """The shape (M, 8) of the targets of an image."""
        rows, columns = self._stores["pool"][1].shape[1:]
        return rows, columns

    def _split(self, name: str, inputs: Any, labels: Any, rows: Tensor) -> Split:
        return BoxedSplit(name, inputs, labels, rows, self.mean, self.std)

    def numbered(self, classes: Sequence[str]) -> BoxedData:
        """Return the same boxes with classes numbered as for a network, which was trained on all of them."""
        table = torch.tensor([*(list(classes).index(name) for name in self.classes), -1.0])  # -1 is the last one
        stores: dict[str, Any] = {}
        for name, (images, boxes) in self._stores.items():
            known = boxes.clone()
            known[..., CLASS] = table.to(boxes.device)[boxes[..., CLASS].long()]
            stores[name] = (images, known)
        return replace(self, classes=tuple(classes), _stores=stores)
