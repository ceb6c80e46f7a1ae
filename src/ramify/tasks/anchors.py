"""Anchors: boxes at every place of every level, from which a detector says how far the objects are.

Legend: B images, A anchors of all levels, M boxes of an image. Levels follow each other, the finest first; of a level
the rows, of a row its places, of a place its anchors. Boxes are left, top, right, bottom, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

MOST_GROWN = math.log(1000 / 16)
"""The largest logarithm by which a side of a box exceeds that of its anchor."""
BACKGROUND, NEITHER = -1, -2
"""What an anchor is matched to beside the number of a box: nothing, or no one says."""

RATIOS = (0.5, 1.0, 2.0)
"""Height to width of RetinaNet's anchors."""
SCALES = 3
"""Sizes of its anchors within an octave."""
SSD_RATIOS = (1.0, 2.0, 0.5, 3.0, 1 / 3)
"""Height to width of SSDLite's anchors, to which one comes that is as large as between two levels."""


@dataclass(frozen=True)
class Level:
    """A level of maps.

    Args:
        stride: Pixels of the image from one place to the next.
        sides: Width and height of the anchors at a place, in pixels.
    """

    stride: int
    sides: tuple[tuple[float, float], ...]

    def places(self, height: int, width: int) -> tuple[int, int]:
        """Return how many rows and columns of places an image of H × W pixels has."""
        return -(-height // self.stride), -(-width // self.stride)


def retina_levels(base: float) -> tuple[Level, ...]:
    """Return P3 to P7 with nine anchors at a place: three shapes, each of three sizes in an octave.

    Args:
        base: Side of the smallest square anchor of a level, in strides.
    """
    sizes = [base * 2 ** (number / SCALES) for number in range(SCALES)]
    around = [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for ratio in RATIOS for size in sizes]
    return tuple(
        Level(stride, tuple((stride * wide, stride * high) for wide, high in around)) for stride in (8, 16, 32, 64, 128)
    )


def ssdlite_levels(base: float) -> tuple[Level, ...]:
    """Return four levels with six anchors at a place: five shapes of one size, and a larger square.

    Args:
        base: Side of the square anchor of a level, in strides.
    """
    around = [(base / math.sqrt(ratio), base * math.sqrt(ratio)) for ratio in SSD_RATIOS]
    around.append((base * math.sqrt(2), base * math.sqrt(2)))
    return tuple(
        Level(stride, tuple((stride * wide, stride * high) for wide, high in around)) for stride in (16, 32, 64, 128)
    )


class Anchors(nn.Module):
    """The anchors of maps, around the centers of their places; nothing is learned.

    Args:
        levels: Of the maps.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        self.strides = tuple(level.stride for level in levels)
        for number, level in enumerate(levels):
            halves = torch.tensor([(-wide / 2, -high / 2, wide / 2, high / 2) for wide, high in level.sides])
            self.register_buffer(f"around{number}", halves, persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the anchors (B, A, 4) of maps (B, C, H', W'), in the precision of this module."""
        every = []
        for number, (stride, each) in enumerate(zip(self.strides, maps, strict=True)):
            around = getattr(self, f"around{number}")
            ones = torch.ones_like(each[:, 0]).to(around)  # counted up, so that maps of any size can be exported
            y, x = ((ones.cumsum(dim) - 0.5) * stride for dim in (1, 2))
            every.append((torch.stack([x, y, x, y], dim=-1)[..., None, :] + around).flatten(1, 3))
        return torch.cat(every, dim=1)


@lru_cache(maxsize=8)
def anchors_of(levels: tuple[Level, ...], height: int, width: int) -> Tensor:
    """Return the anchors (A, 4) float32 of images of H × W pixels."""
    with torch.device("cpu"):  # whatever the default is where they are asked for first
        maps = [torch.zeros(1, 1, *level.places(height, width)) for level in levels]
        return Anchors(levels)(maps)[0]


def counts_of(levels: Sequence[Level], height: int, width: int) -> list[int]:
    """Return how many anchors each level of an image of H × W pixels has."""
    return [math.prod(level.places(height, width)) * len(level.sides) for level in levels]


def encoded(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return how boxes (n, 4) differ from anchors (n, 4): centers in sides of the anchor, logarithms of sides."""
    sides, wanted = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    centers = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    return torch.cat([centers / sides, (wanted / sides).log()], dim=1)


def decoded(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Return the boxes (…, 4) that differ by `deltas` (…, 4) from anchors (…, 4)."""
    first, last = anchors[..., :2], anchors[..., 2:]
    sides = last - first
    centers = (first + last) / 2 + deltas[..., :2] * sides
    halves = deltas[..., 2:].clamp(max=MOST_GROWN).exp() * sides / 2
    return torch.cat([centers - halves, centers + halves], dim=-1)


def matched(anchors: Tensor, boxes: Tensor, positive: float, negative: float) -> Tensor:
    """Return for each of A anchors the number of its box, `BACKGROUND` or `NEITHER`, (A,) int64.

    An anchor has the box that it overlaps most if that is by `positive` or more (intersection over union), none below
    `negative`. A box also has all anchors that overlap it more than any other does, later boxes before earlier ones.

    Args:
        anchors: (A, 4).
        boxes: (M, 4).
        positive, negative: Overlaps.
    """
    if not len(boxes):
        return torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    from torchvision.ops import box_iou  # slow to import

    overlaps = box_iou(boxes, anchors)  # (M, A)
    most, box = overlaps.max(dim=0)
    box = box.masked_fill(most < positive, NEITHER).masked_fill(most < negative, BACKGROUND)
    best = overlaps.amax(dim=1, keepdim=True)
    own = (overlaps == best) & (best > 0)
    numbers = torch.arange(len(boxes), device=boxes.device)[:, None]
    last = torch.where(own, numbers, -1).amax(dim=0)
    return torch.where(last >= 0, last, box)
