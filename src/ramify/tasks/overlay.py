"""Pictures of predictions beside the truth."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST = 192
"""Side of an image in a picture, in pixels; larger ones are shrunk."""
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
    shown = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    known = max([0, *(int(each[each != ignored].max()) for each in maps if bool((each != ignored).any()))])
    palette = torch.cat([colors(known + 1), torch.zeros(1, 3)])  # whatever is above is black
    columns = [shown]
    for each in maps:
        painted = palette[each.clamp(max=known + 1)].permute(0, 3, 1, 2)
        columns.append(0.35 * shown + 0.65 * painted)
    factor = min(1.0, LARGEST / max(images.shape[2:]))
    small = [F.interpolate(each, scale_factor=factor, mode="area") if factor < 1 else each for each in columns]
    padded = [F.pad(each, (0, GAP, 0, GAP), value=1.0) for each in small]
    rows = torch.cat(padded, dim=3)  # (B, 3, H', 3·W')
    return (rows.permute(0, 2, 3, 1).reshape(-1, rows.shape[3], 3) * 255).round().to(torch.uint8)
