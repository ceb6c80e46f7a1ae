"""`shapes`: colored shapes on textured ground, with the class of every pixel; made here, nothing is downloaded.

Every image follows from its number alone: on ground of smooth noise lie one to four shapes of random color, size, place
and angle, later ones over earlier ones. Colors say nothing about classes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

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


@source("shapes")
def _shapes(given: str, spec: DataSpec) -> Parts:
    """Colored shapes on textured ground, made here, with the class of every pixel."""
    if spec.targets != "masks":
        raise DataError("shapes has classes of pixels: `--task segmentation`, from Python task=Segmentation()")
    size = spec.size or (SIDE, SIDE)
    if min(size) < 16 or max(size) > 1024:
        raise DataError(f"shapes are made with sides of 16 to 1024 pixels, got {size[0]}x{size[1]}")
    parts = {name: _part(name, count, size) for name, count in COUNTS.items()}
    return Parts("shapes", parts["train"], test=parts["test"], class_names=("background", *SHAPES))


def _part(name: str, count: int, size: tuple[int, int]) -> Part:
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


def drawn(part: str, number: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return an image (H, W, 3) uint8 and the class of each of its pixels (H, W) uint8.

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
    mask = torch.zeros(size, dtype=torch.uint8)
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    for _ in range(1 + int(uniform(1) * MOST_SHAPES)):
        kind = 1 + int(uniform(1) * len(SHAPES))
        radius = unit * float(0.1 + 0.15 * uniform(1))
        y, x, angle = (uniform(3) * torch.tensor([height, width, 2 * math.pi])).tolist()
        color, texture = uniform(3), uniform(height, width, 1)
        inside = _inside(SHAPES[kind - 1], (rows - y) / radius, (columns - x) / radius, angle)
        image = torch.where(inside[..., None], 0.85 * color + 0.15 * texture, image)
        mask[inside] = kind
    return (image.clamp(0, 1) * 255).round().to(torch.uint8), mask


def _inside(shape: str, y: Tensor, x: Tensor, angle: float) -> Tensor:
    """Return which places, in units of a shape's radius from its center, lie in the shape, bool (H, W)."""
    if shape == "circle":
        return y.square() + x.square() <= 1
    corners = 4 if shape == "square" else 3
    inner = math.cos(math.pi / corners)  # distance of a side from the center
    turns = [angle + 2 * math.pi * corner / corners for corner in range(corners)]
    sides = [math.cos(turn) * y + math.sin(turn) * x <= inner for turn in turns]
    return torch.stack(sides).all(dim=0)
