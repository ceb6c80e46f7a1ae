"""Crop, mirror and cut out, for a whole batch at once.

Legend: B images of a batch, H height and W width of an image, C channels. The crop and the mirror image are one gather
of pixels: both only say which row and which column of the padded image each output pixel comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from ramify.data.distortion import Distortion
from ramify.errors import DataError

ALTERNATING = "alternating"


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of training images; the default does nothing. Vary one with `dataclasses.replace`.

    Args:
        crop: Pixels of padding on every side, black unless the distortion's `fill` says otherwise, of which a random
            window of the original size is kept.
        flip: Mirror left and right with probability one half; or `alternating`, an image that is mirrored in one pass
            is not in the next, so two passes see both of every image (Jordan, 2024, arXiv:2404.00498).
        cutout: Side in pixels of one square that is set to zero after normalization. Its center is uniform on
            the image, so a part of it may lie outside (DeVries and Taylor, 2017, arXiv:1708.04552).
        distortion: What else happens to images. Its resized crop replaces the crop.

    Raises:
        DataError: If `crop` or `cutout` is negative.
    """

    crop: int = 0
    flip: bool | Literal["alternating"] = False
    cutout: int = 0
    distortion: Distortion = field(default_factory=Distortion)

    def __post_init__(self) -> None:
        if self.crop < 0 or self.cutout < 0:
            raise DataError(
                f"`crop` and `cutout` are numbers of pixels, at least 0, got crop={self.crop}, cutout={self.cutout}"
            )
        if self.flip not in (True, False, ALTERNATING):
            raise DataError(f"`flip` must be true, false or {ALTERNATING!r}, got {self.flip!r:.40}")

    @property
    def changes(self) -> bool:
        """Whether any image is changed."""
        return bool(self.crop or self.flip or self.cutout or self.distortion.distorts)

    def check_rows(self, name: str) -> None:
        """Raise `DataError` if images would be changed, where the data `name` are rows of a table."""
        if self.changes:
            raise DataError(
                f"{name}: rows of a table are not augmented; crop, flip, cutout and distortion are for images"
            )

    def distorted(self, distortion: Distortion) -> Augmentation:
        """Return the same augmentation with another distortion, whose resized crop replaces the crop."""
        return replace(self, crop=0 if distortion.resized else self.crop, distortion=distortion)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw the random parameters for `count` images of `size` (H, W).

        Returns:
            (5, B) int64 on the CPU: window's top and left in 0..2*crop, mirrored 0/1, center row and column of
            the cutout. Each is drawn whether it is used or not, so dropping one effect leaves the others as
            they are.
        """
        # float64: in float32, (1 - 2**-24) * 9 rounds up to 9, one beyond the last window.
        uniform = torch.rand(5, count, dtype=torch.float64, generator=generator)
        options = torch.tensor([2 * self.crop + 1, 2 * self.crop + 1, 1 + bool(self.flip), *size])
        return (uniform * options[:, None]).long()


def windows(pixels: Tensor, rows: Tensor, draws: Tensor, *, size: tuple[int, int], crop: int, fill: int = 0) -> Tensor:
    """Cut one window out of each of the images `rows`, mirrored where asked.

    Args:
        pixels: (N, P, Q, C) uint8, contiguous: images with at least `crop` pixels of padding, equal on every side.
        rows: (B,) int64, on the device of `pixels`.
        draws: (5, B) int64 from `Augmentation.draw`, on the device of `pixels`.
        size: (H, W) of an image without its padding.
        crop: The `crop` of the augmentation that made `draws`.
        fill: Value of the pixels outside of an image, which are 0 in `pixels`.

    Returns:
        (B, H, W, C) uint8.
    """
    height, width = size
    _, high, wide, channels = pixels.shape
    edge = (high - height) // 2
    margin = edge - crop  # the images may be padded for a larger crop than this one
    top, left, mirrored = draws[0] + margin, draws[1] + margin, draws[2]
    down, along = torch.arange(height, device=pixels.device), torch.arange(width, device=pixels.device)
    y = rows[:, None] * high + top[:, None] + down  # (B, H), counted over all rows of all images
    x = left[:, None] + torch.where(mirrored[:, None] == 1, width - 1 - along, along)  # (B, W)
    flat = (y[:, :, None] * wide + x[:, None, :]).flatten()
    # One index per pixel: three to five times as fast as indexing the four-dimensional tensor.
    window = pixels.view(-1, channels).index_select(0, flat).view(len(rows), height, width, channels)
    if fill and crop:
        y = y - rows[:, None] * high
        outside = [(at < edge) | (at >= edge + side) for at, side in ((y, height), (x, width))]  # (B, H), (B, W)
        window.masked_fill_((outside[0][:, :, None] | outside[1][:, None, :])[..., None], fill)
    return window


def normalize(window: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalize (B, H, W, C) uint8 by `mean` (C,) and `std` (C,) of inputs in 0..1, whose dtype the result has."""
    count, height, width, channels = window.shape
    scale, shift = 1 / (255 * std), -mean / std
    # Image rows of W*C numbers: a broadcast over the C = 3 innermost ones would not be vectorized.
    x = window.view(count, height, width * channels).to(mean.dtype)
    return x.mul_(scale.repeat(width)).add_(shift.repeat(width)).view(window.shape)


def cut_out(x: Tensor, draws: Tensor, length: int) -> Tensor:
    """Zero a square of `length` pixels in each image of `x` (B, H, W, C), in place, around the drawn centers."""
    count, height, width, channels = x.shape
    first = draws[3:5, :, None] - length // 2  # (2, B, 1)
    rows, columns = (
        (along >= start) & (along < start + length)  # (B, H), (B, W)
        for start, along in zip(first, (torch.arange(side, device=x.device) for side in (height, width)), strict=True)
    )
    inside = rows[:, :, None] & columns.repeat_interleave(channels, dim=1)[:, None, :]  # (B, H, W*C)
    return x.view(count, height, width * channels).masked_fill_(inside, 0).view(x.shape)
