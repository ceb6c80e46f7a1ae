"""Building blocks of the candidate operations and of the cells around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify import parallel
from ramify.errors import ConfigurationError
from ramify.ops.pointwise import PointwiseConv2d

_Network = TypeVar("_Network", bound=nn.Module)

Norm = Callable[[int], nn.BatchNorm2d]
"""How a block makes its batch norms: from a number of channels."""


def standard_norm(affine: bool = True, track_running_stats: bool = True) -> Norm:
    """Return the batch norm of evaluation networks (the defaults) or of supernets (both False).

    Without running statistics a norm uses those of the batch in evaluation mode too.
    """
    return partial(nn.BatchNorm2d, affine=affine, track_running_stats=track_running_stats)


def with_eps(network: _Network, eps: float) -> _Network:
    """Set the ε of all batch norms of a fresh network, in place.

    Raises:
        ConfigurationError: If it is not above 0.
    """
    if not 0 < eps < inf:
        raise ConfigurationError(f"layout keyword `norm_eps` must be a number above 0, got {eps}")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps
    return network


class FactorizedReduce(nn.Module):
    """Halve the resolution by two 1×1 convolutions, the second on the map shifted by one pixel.

    Maps (B, C_in, H, W), already activated, to (B, C_out, ⌈H/2⌉, ⌈W/2⌉). The shift is padded on the right and
    at the bottom, so odd sizes work; for even sizes this is the DARTS operation exactly.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.even = PointwiseConv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.odd = PointwiseConv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return torch.cat([self.even(x), self.odd(shifted)], dim=1)


class PreActivation(nn.Module):
    """ReLU, a convolution without bias, batch norm: (B, C_in, H, W) → (B, C_out, H', W')."""

    def __init__(self, conv: nn.Module, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.relu(x)))


def dropout(x: Tensor, probability: float) -> Tensor:
    """Drop elements of `x` (B, C, H, W) and scale up the rest; the images of every process have draws of their own."""
    if parallel.world() == 1:
        return F.dropout(x, probability)
    keep = 1.0 - probability
    drawn = x.new_empty((sum(parallel.held(len(x))), *x.shape[1:])).bernoulli_(keep)
    return x * parallel.share(drawn) / keep


class DropPath(nn.Module):
    """Drop whole samples of a path in training and scale up the rest (ScheduledDropPath of NASNet).

    `rate` is the probability; the training recipe raises it epoch by epoch. Several processes draw for all their
    samples together, and so what one process would draw.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        kept = parallel.share(x.new_empty((sum(parallel.held(len(x))), 1, 1, 1)).bernoulli_(keep))
        return x * kept / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
