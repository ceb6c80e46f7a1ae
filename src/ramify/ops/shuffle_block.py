"""The blocks of one-shot ShuffleNetV2 (Guo et al., Single Path One-Shot, ECCV 2020, arXiv:1904.00420).

ShuffleNetV2's block (Ma et al., ECCV 2018) with a kernel of 3, 5 or 7, and one with three depthwise convolutions, like
Xception's. A block that keeps width and resolution takes every second channel past it, which is the shuffle; one that
changes them sends all channels through both of its branches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ramify.ops.blocks import DropPath, Norm
from ramify.ops.operations import Operation, Prelude

KERNELS = {"shuffle_3x3": 3, "shuffle_5x5": 5, "shuffle_7x7": 7, "shuffle_xception": 3}
"""Name → side of the depthwise convolutions."""


def shuffle_block(
    name: str, c_in: int, c_out: int, stride: int, norm: Norm, *, changes: bool, middle: int | None = None
) -> Operation:
    """Return a block: (B, C_in, H, W) → (B, C_out, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        name: A key of `KERNELS`.
        c_in, c_out: Channels before and behind, even; equal unless the block changes them.
        stride: Of the first depthwise convolution.
        norm: Maker of batch norms.
        changes: Whether all channels go through both branches.
        middle: Channels inside the main branch; None for half of C_out.
    """
    middle = c_out // 2 if middle is None else middle
    entering, leaving = (c_in, c_out - c_in) if changes else (c_in // 2, c_out // 2)
    kernel = KERNELS[name]
    if name == "shuffle_xception":
        main = [
            *_depthwise(entering, kernel, stride, norm),
            *_pointwise(entering, middle, norm),
            *_depthwise(middle, kernel, 1, norm),
            *_pointwise(middle, middle, norm),
            *_depthwise(middle, kernel, 1, norm),
            *_pointwise(middle, leaving, norm),
        ]
    else:
        main = [
            *_pointwise(entering, middle, norm),
            *_depthwise(middle, kernel, stride, norm),
            *_pointwise(middle, leaving, norm),
        ]
    beside = nn.Sequential(*_depthwise(c_in, kernel, stride, norm), *_pointwise(c_in, c_in, norm)) if changes else None
    return Operation(Prelude("identity"), _TwoBranches(nn.Sequential(*main), beside))


class _TwoBranches(nn.Module):
    """Join what goes past the main branch with what goes through it; only half of the channels pass where they can."""

    def __init__(self, main: nn.Module, beside: nn.Module | None) -> None:
        super().__init__()
        self.main, self.beside = main, beside
        self.drop_path = DropPath()

    def forward(self, x: Tensor) -> Tensor:
        if self.beside is None:
            return torch.cat([x[:, ::2], self.drop_path(self.main(x[:, 1::2]))], dim=1)
        return torch.cat([self.beside(x), self.main(x)], dim=1)


def _pointwise(c_in: int, c_out: int, norm: Norm) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, 1, bias=False), norm(c_out), nn.ReLU()]


def _depthwise(channels: int, kernel: int, stride: int, norm: Norm) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False), norm(channels)]
