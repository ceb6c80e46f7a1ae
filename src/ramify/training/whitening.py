"""Whitening: a first convolution whose filters decorrelate the pixels of a patch, fixed before training."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.errors import ConfigurationError
from ramify.tasks import Batch

EPS = 5e-4
"""What is added to the variances of patches, so that directions without any stay small."""


def whiten(network: nn.Module, batches: Iterator[Batch]) -> None:
    """Set the first convolution of a network, in place, to the whitening of the images of a batch, and fix it there.

    Its filters are the principal directions of patches of its size, each divided by its standard deviation, then the
    same with the opposite sign; further filters stay as they were drawn (Jordan, 2024, arXiv:2404.00498, section 3.2).

    Args:
        network: Freshly built; its first convolution has weights (C_out, C, k, k), C_out at least 2·C·k².
        batches: The first one is used: images (B, C, H, W).

    Raises:
        ConfigurationError: If there is no such convolution.
    """
    named = ((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    name, first = next(named, ("", None))
    if first is None:
        raise ConfigurationError("`whiten` sets the first convolution, and the network has none")
    inner = first.weight[0].numel()
    if first.groups > 1 or first.out_channels < 2 * inner:
        raise ConfigurationError(
            f"`whiten` needs a first convolution without groups of at least 2·{inner} filters; {name} has "
            f"{first.out_channels}, of {tuple(first.weight.shape[1:])}"
        )
    filters = whitening(next(batches).inputs, (first.kernel_size[0], first.kernel_size[1])).to(first.weight)
    with torch.no_grad():
        first.weight[: 2 * inner] = torch.cat([filters, -filters]).view(2 * inner, *first.weight.shape[1:])
    first.weight.requires_grad_(False)


def whitening(images: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Return the whitening of the patches of images (B, C, H, W): (D, D) float64, D = C·k·k, a filter a row."""
    size = images.shape[1] * kernel[0] * kernel[1]
    second, count = images.new_zeros(size, size, dtype=torch.float64), 0
    for part in images.split(256):
        patches = F.unfold(part.double(), kernel).transpose(1, 2).flatten(0, 1)
        second, count = second + patches.T @ patches, count + len(patches)
    variances, directions = torch.linalg.eigh(second / count)
    return (directions / (variances + EPS).sqrt()).T
