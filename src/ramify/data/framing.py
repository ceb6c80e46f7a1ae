"""Turning images upright, and resizing them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

SIDEWAYS = frozenset({"TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"})
"""Names of the turns by which height and width change places."""


def turn_of(image: Image) -> Transpose | None:
    """Return the transposition that turns a photograph upright by its EXIF orientation; None if none is needed."""
    from PIL.Image import Transpose

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = image.getexif().get(0x0112)
    except Exception:  # damaged metadata; the pixels are whole
        return None
    turns: dict[Any, Transpose] = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(orientation)


def covered(image: Image, size: tuple[int, int]) -> Image:
    """Resize an image to cover `size` (H, W) with its aspect ratio kept, and crop the center."""
    from PIL import Image as factory

    height, width = size
    if image.size == (width, height):
        return image
    ratio = max(width / image.width, height / image.height)
    wide, high = max(width, round(image.width * ratio)), max(height, round(image.height * ratio))
    left, top = (wide - width) // 2, (high - height) // 2
    return image.resize((wide, high), factory.Resampling.BILINEAR).crop((left, top, left + width, top + height))


def contained(image: Image, size: tuple[int, int]) -> Image:
    """Resize an image to fit into `size` (H, W) with its aspect ratio kept; what is left right and below is black."""
    from PIL import Image as factory

    height, width = size
    if image.size == (width, height):
        return image
    ratio = min(width / image.width, height / image.height)
    wide, high = min(width, max(1, round(image.width * ratio))), min(height, max(1, round(image.height * ratio)))
    whole = factory.new(image.mode, (width, height))
    whole.paste(image.resize((wide, high), factory.Resampling.BILINEAR), (0, 0))
    return whole


def by_channel(
    image: np.ndarray, size: tuple[int, int], frame: Callable[[Image, tuple[int, int]], Image]
) -> np.ndarray:
    """Apply `covered` or `contained` to every channel of an image (H, W, C) uint8."""
    from PIL import Image as factory

    if image.shape[:2] == size:
        return image
    channels = (factory.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(image, 2, 0))
    return np.stack([np.asarray(frame(channel, size)) for channel in channels], axis=2)
