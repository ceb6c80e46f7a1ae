"""Windows of scaled images together with the class of every pixel.

Legend: B images, C channels, H and W of an image, H' and W' of a window.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.data import IGNORED


def rescaled(
    images: Tensor, labels: Tensor, draws: Tensor, scales: tuple[float, float], size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Scale every image by a factor of its own and cut a window out of it; what lies outside is 0 and does not count.

    Images are sampled bilinearly, labels at the nearest pixel.

    Args:
        images: (B, C, H, W), normalized.
        labels: (B, H, W) int64.
        draws: (3, B) in [0, 1): the factor, on a logarithmic scale, and the place of the window.
        scales: Smallest and largest factor.
        size: H', W'.

    Returns:
        (B, C, H', W') and (B, H', W').
    """
    low, high = (torch.tensor(each, dtype=torch.float64).log() for each in scales)
    factor = (low + draws[0] * (high - low)).exp()
    places = []
    for whole, window, draw in zip(images.shape[2:], size, draws[1:], strict=True):
        spare = whole * factor - window  # of the scaled image, beyond the window; below 0 where that is larger
        first = (draw * spare).round()
        at = (torch.arange(window, dtype=torch.float64) + first[:, None] + 0.5) / factor[:, None] - 0.5
        places.append(at.to(images.device))  # (B, H') and (B, W'), in pixels of the image
    y, x = places
    grid = torch.stack(
        torch.broadcast_tensors(
            (2 * x + 1)[:, None, :] / images.shape[3] - 1, (2 * y + 1)[:, :, None] / images.shape[2] - 1
        ),
        dim=-1,
    )
    windows = F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
    rows, columns = y.round().long(), x.round().long()
    height, width = images.shape[2:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    image = torch.arange(len(labels), device=labels.device)[:, None, None]
    found = labels[image, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    return windows.contiguous(memory_format=torch.channels_last), found.masked_fill(~inside, IGNORED)
