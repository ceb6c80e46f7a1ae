"""Pictures of predictions beside the truth."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST, LEAST = 192, 128
"""Sides of an image in a picture, in pixels; larger ones are shrunk, those of small images doubled, tripled, …"""
GAP = 4
"""Pixels between two images."""


def colors(count: int) -> Tensor:
    """Return distinct colors (count, 3) in 0..1; the first is that of what is behind, grey."""
    turns = [colorsys.hsv_to_rgb(0.618034 * number % 1, 0.75, 0.95) for number in range(max(count - 1, 0))]
    return torch.tensor([(0.6, 0.6, 0.6), *turns])[:count]


def side_by_side(images: Tensor, maps: Sequence[Tensor], ignored: int) -> Tensor:
    """Return a row for every image: as it is, then with each of its class maps over it.

    Args:
        images: (B, C, H, W) in 0..1; of other channels than three, the first is shown.
        maps: Numbers of classes, (B, H, W) int64 each.
        ignored: Number that stands for no class; such pixels are black.

    Returns:
        (H', W', 3) uint8.
    """
    shown = _colored(images)
    known = max([0, *(int(each[each != ignored].max()) for each in maps if bool((each != ignored).any()))])
    palette = torch.cat([colors(known + 1), torch.zeros(1, 3)])  # whatever is above is black
    columns = [shown]
    for each in maps:
        painted = palette[each.clamp(max=known + 1)].permute(0, 3, 1, 2)
        columns.append(0.35 * shown + 0.65 * painted)
    return _beside([_sized(each) for each in columns])


def outlined(images: Tensor, sets: Sequence[Sequence[tuple[Tensor, Tensor]]], classes: int) -> Tensor:
    """Return a row for every image: as it is, then with each of its sets of boxes, in the colors of their classes.

    Args:
        images: (B, C, H, W) in 0..1; of other channels than three, the first is shown.
        sets: For every image its boxes (n, 4) in pixels, and the numbers of their classes (n,).
        classes: How many there are.

    Returns:
        (H', W', 3) uint8.
    """
    shown = _sized(_colored(images))
    palette, factor = colors(classes + 1)[1:], shown.shape[3] / images.shape[3]
    columns = [shown]
    for boxes_of in sets:
        column = shown.clone()
        for image, (boxes, numbers) in zip(column, boxes_of, strict=True):
            for box, number in zip((boxes * factor).round().long().tolist(), numbers.tolist(), strict=True):
                _outline(image, box, palette[number])
        columns.append(column)
    return _beside(columns)


def _outline(image: Tensor, box: Sequence[int], color: Tensor) -> None:
    """Draw a box (left, top, right, bottom) into an image (3, H, W)."""
    height, width = image.shape[1:]
    left, top = (min(max(at, 0), side - 1) for at, side in zip(box[:2], (width, height), strict=True))
    right, bottom = (min(max(at, 1), side) for at, side in zip(box[2:], (width, height), strict=True))
    for row in (top, bottom - 1):
        image[:, row, left:right] = color[:, None]
    for column in (left, right - 1):
        image[:, top:bottom, column] = color[:, None]


def _colored(images: Tensor) -> Tensor:
    return images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)


def _sized(images: Tensor) -> Tensor:
    """Bring images to a size that can be seen, and is not larger than needed."""
    side = max(images.shape[2:])
    if side > LARGEST:
        return F.interpolate(images, scale_factor=LARGEST / side, mode="area")
    return F.interpolate(images, scale_factor=float(-(-LEAST // side)), mode="nearest") if side < LEAST else images


def _beside(columns: Sequence[Tensor]) -> Tensor:
    """Return images (B, 3, H, W) of several columns as one picture (H', W', 3) uint8."""
    rows = torch.cat([F.pad(each, (0, GAP, 0, GAP), value=1.0) for each in columns], dim=3)
    return (rows.permute(0, 2, 3, 1).reshape(-1, rows.shape[3], 3) * 255).round().to(torch.uint8)


# Of single images, as they were


def with_boxes(
    image: Image, boxes: Sequence[tuple[float, float, float, float]], classes: Sequence[str], captions: Sequence[str]
) -> Image:
    """Return an image with a frame around each box (left, top, right, bottom), colored by class, and a caption in it.

    Args:
        image: In colors.
        boxes: In pixels, the one that is drawn on top first.
        classes: Of each.
        captions: Of each.
    """
    from PIL import ImageDraw

    drawn = image.copy()
    pen, width = ImageDraw.Draw(drawn), max(1, round(max(image.size) / 400))
    kinds = sorted(set(classes))
    palette = dict(zip(kinds, map(tuple, _bytes(len(kinds) + 1)[1:].tolist()), strict=True))
    height = max(10, round(max(image.size) / 50))
    for (left, top, right, bottom), name, caption in reversed(list(zip(boxes, classes, captions, strict=True))):
        color = palette[name]
        corners = (left, top, max(left, right - 1), max(top, bottom - 1))
        pen.rectangle(corners, outline=color, width=width)
        words: dict[str, Any] = {
            "xy": (left + 2 * width, top + width),
            "text": caption,
            "font_size": height,
            "anchor": "lt",
        }
        pen.rectangle(pen.textbbox(**words), fill=color)
        pen.text(**words, fill="black")
    return drawn


def mask_picture(numbers: np.ndarray) -> Image:
    """Return numbers of classes (H, W) uint8 as an image with a palette, whose values they are."""
    from PIL import Image as factory

    picture = factory.fromarray(numbers, mode="P")
    picture.putpalette(_painting().tobytes())
    return picture


def with_mask(image: Image, numbers: np.ndarray, ignored: int) -> Image:
    """Return an image with the colors of classes (H, W) over it; as it is where the number is `ignored`."""
    from PIL import Image as factory

    own = np.asarray(image, dtype=np.float32)
    painted = 0.35 * own + 0.65 * _painting()[numbers]
    return factory.fromarray(np.where((numbers == ignored)[..., None], own, painted).round().astype(np.uint8))


def _painting() -> np.ndarray:
    """Return the colors of all numbers of classes (256, 3) uint8; the last is black."""
    return np.concatenate([_bytes(255), np.zeros((1, 3), np.uint8)])


def _bytes(count: int) -> np.ndarray:
    return (colors(count) * 255).round().to(torch.uint8).numpy()
