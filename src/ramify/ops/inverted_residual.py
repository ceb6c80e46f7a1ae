"""The inverted residual of mobile networks: expand, depthwise convolution, project back.

MobileNetV2 (Sandler et al., CVPR 2018), with squeeze-and-excitation where asked for (Hu et al., CVPR 2018; in the form
of MobileNetV3, Howard et al., ICCV 2019). The shortcut is not part of it: what is added belongs to the layer, which
knows all candidates that share it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ramify.errors import ArchitectureError
from ramify.ops.blocks import Norm
from ramify.ops.operations import Operation, Prelude

Activation = Callable[[], nn.Module]
"""Makes an activation, such as `nn.ReLU6`."""


INVERTED_RESIDUALS = {
    f"k{kernel}e{expansion}": (kernel, expansion) for kernel in (3, 5, 7) for expansion in range(1, 7)
}
"""Name → side of the depthwise convolution, and e."""


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from the spatial means of all: (B, C, H, W) → (B, C, H, W).

    Args:
        channels: C.
        hidden: Channels between the two 1×1 convolutions.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        # the hard sigmoid in parts: PyTorch's own (2.15) has no second derivative
        return x * (F.relu6(self.expand(F.relu(self.reduce(means))) + 3) / 6)


def squeezed_width(channels: int) -> int:
    """Return a quarter of `channels` rounded to a multiple of 8, at least 8 and 90 % of the quarter."""
    quarter = channels / 4
    width = max(8, int(quarter + 4) // 8 * 8)
    return width if width >= 0.9 * quarter else width + 8


def conv_block(c_in: int, c_out: int, kernel: int, stride: int, norm: Norm, activation: Activation) -> nn.Sequential:
    """Return convolution without bias, norm, activation: (B, C_in, H, W) → (B, C_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), norm(c_out), activation())


def inverted_residual(
    c_in: int,
    c_out: int,
    kernel: int,
    expansion: int,
    stride: int,
    norm: Norm,
    activation: Activation = nn.ReLU6,
    *,
    squeeze: bool = False,
) -> Operation:
    """Return an inverted residual without its shortcut: (B, C_in, H, W) → (B, C_out, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        c_in, c_out: Channels before and behind.
        kernel: Side of the depthwise convolution.
        expansion: e; inside there are e·C_in channels. With 1 the first convolution is left out.
        stride: Of the depthwise convolution.
        norm: Maker of batch norms.
        activation: Behind the first two norms.
        squeeze: Whether squeeze-and-excitation follows the depthwise convolution.
    """
    inner = expansion * c_in
    expand = [] if expansion == 1 else [*conv_block(c_in, inner, 1, 1, norm, activation)]
    body = nn.Sequential(
        *expand,
        nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
        norm(inner),
        activation(),
        *([SqueezeExcite(inner, squeezed_width(inner))] if squeeze else []),
        nn.Conv2d(inner, c_out, 1, bias=False),
    )
    return Operation(Prelude("identity"), body, norm(c_out))


def kernel_and_expansion(name: str) -> tuple[int, int]:
    """Return kernel size and expansion of an inverted residual: 5 and 3 for `k5e3`.

    Raises:
        ArchitectureError: If it is no such name.
    """
    if name not in INVERTED_RESIDUALS:
        raise ArchitectureError(
            f"{name!r} is no inverted residual; its name would be like 'k3e6': kernel 3, expansion 6"
        )
    return INVERTED_RESIDUALS[name]
