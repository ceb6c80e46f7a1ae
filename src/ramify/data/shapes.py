"""`shapes`: colored shapes on textured ground, with the class of every pixel or with boxes; nothing is downloaded.

Every image follows from its number alone: on ground of smooth noise lie one to four shapes of random color, size, place
and angle, later ones over earlier ones. Colors say nothing about classes. A box is around what can be seen of a shape.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.data.boxes import Boxes
from ramify.data.encoded import RESIZED_BY_SPEC
from ramify.data.masks import Masks
from ramify.data.parts import Part, Parts
from ramify.data.source import source
from ramify.data.spec import DataSpec
from ramify.errors import DataError
from ramify.seeding import stream

SHAPES = ("circle", "square", "triangle")
"""The classes beside `background`, which is the first."""
SIDE = 64
"""Of the images in pixels, unless `image_size` says otherwise."""
COUNTS = {"train": 480, "test": 160}
"""Images of each part."""
MOST_SHAPES = 4
LEAST_SEEN = 16
"""Pixels of a shape that has a box."""


@source("shapes")
def _shapes(given: str, spec: DataSpec) -> Parts:
    """Colored shapes on textured ground, made here, with the class of every pixel or with boxes."""
    if spec.targets not in ("masks", "boxes"):
        raise DataError("shapes has classes of pixels, and boxes: `--task segmentation` or `--task detection`")
    size = spec.size or (SIDE, SIDE)
    if min(size) < 16 or max(size) > 1024:
        raise DataError(f"shapes are made with sides of 16 to 1024 pixels, got {size[0]}x{size[1]}")
    if spec.targets == "boxes":
        parts = {name: _boxed(name, count, size) for name, count in COUNTS.items()}
        return Parts("shapes", parts["train"], test=parts["test"], class_names=SHAPES)
    parts = {name: _masked(name, count, size) for name, count in COUNTS.items()}
    return Parts("shapes", parts["train"], test=parts["test"], class_names=("background", *SHAPES))


def _boxed(name: str, count: int, size: tuple[int, int]) -> Part:
    rows = [_boxes(*drawn(name, number, size)[1:]) for number in range(count)]
    return Part(_Drawn(name, count, size, False), [], boxes=Boxes.of(rows, [size] * count))


def _boxes(mask: Tensor, owners: Tensor) -> list[tuple[float, ...]]:
    """Return for each shape that can be seen: left, top, right, bottom, class, area, and that it counts."""
    rows: list[tuple[float, ...]] = []
    for owner in range(1, int(owners.max()) + 1):
        y, x = (owners == owner).nonzero(as_tuple=True)
        if len(y) >= LEAST_SEEN:
            corners = float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)
            rows.append((*corners, float(mask[y[0], x[0]]) - 1, float(len(y)), 0.0))
    return rows


def _masked(name: str, count: int, size: tuple[int, int]) -> Part:
    codes = {number: number for number in range(len(SHAPES) + 1)}
    images, masks = (_Drawn(name, count, size, of_classes) for of_classes in (False, True))
    return Part(images, [], masks=Masks(masks, codes))


class _Drawn:
    """Images, or masks, that are drawn when they are opened."""

    advice = RESIZED_BY_SPEC

    def __init__(self, part: str, count: int, size: tuple[int, int], of_classes: bool) -> None:
        self.part, self.count, self.size, self.of_classes = part, count, size, of_classes

    def __len__(self) -> int:
        return self.count

    def open(self, row: int) -> np.ndarray:
        """Return image, or mask, `row`."""
        return drawn(self.part, row, self.size)[self.of_classes].numpy()

    def where(self, row: int) -> str:
        """Return a description of where image `row` is, for messages."""
        return f"shapes, {self.part} image {row}"


def drawn(part: str, number: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return an image (H, W, 3) uint8, and of each pixel its class and the number of its shape, both (H, W) uint8.

    Args:
        part: `train` or `test`.
        number: Of the image.
        size: H and W.
    """
    generator = stream(0, "shapes", part, number)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    height, width = size
    unit = min(size)
    coarse = F.interpolate(uniform(1, 3, 5, 5), size=size, mode="bilinear", align_corners=True)[0]
    image = 0.25 + 0.5 * coarse.permute(1, 2, 0) + 0.15 * (uniform(height, width, 1) - 0.5)
    mask, owners = torch.zeros(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    for owner in range(1, 2 + int(uniform(1) * MOST_SHAPES)):
        kind = 1 + int(uniform(1) * len(SHAPES))
        radius = unit * float(0.1 + 0.15 * uniform(1))
        y, x, angle = (uniform(3) * torch.tensor([height, width, 2 * math.pi])).tolist()
        color, texture = uniform(3), uniform(height, width, 1)
        inside = _inside(SHAPES[kind - 1], (rows - y) / radius, (columns - x) / radius, angle)
        image = torch.where(inside[..., None], 0.85 * color + 0.15 * texture, image)
        mask[inside], owners[inside] = kind, owner
    return (image.clamp(0, 1) * 255).round().to(torch.uint8), mask, owners


def _inside(shape: str, y: Tensor, x: Tensor, angle: float) -> Tensor:
    """Return which places, in units of a shape's radius from its center, lie in the shape, bool (H, W)."""
    if shape == "circle":
        return y.square() + x.square() <= 1
    corners = 4 if shape == "square" else 3
    inner = math.cos(math.pi / corners)  # distance of a side from the center
    turns = [angle + 2 * math.pi * corner / corners for corner in range(corners)]
    sides = [math.cos(turn) * y + math.sin(turn) * x <= inner for turn in turns]
    return torch.stack(sides).all(dim=0)
