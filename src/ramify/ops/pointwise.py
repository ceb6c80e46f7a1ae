"""1×1 convolutions with a stride, in a form that PyTorch differentiates correctly on the CPU.

oneDNN's gradient of their weights writes beyond its buffer: in `channels_last`, for 2 to 15 input channels, where the
stride divides a map of some 30·30 pixels or more (float32 and bfloat16, PyTorch 2.14.1 and 2.15). The process dies, or
its numbers are wrong.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PointwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` of kernel 1 without padding; where the CPU may differentiate it, the stride comes first.

    That is the same sum over channels at the same pixels: the gradient of the weights is rounded differently for some
    shapes. Without gradients, and on other devices, it is the plain convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        # Not `self.weight`, which has no device where torch.fx traces the network symbolically.
        weight: Any = self._parameters["weight"]
        if weight.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        # A pooling of single pixels picks them; unlike a slice, its backward pass stays in channels_last.
        return F.conv2d(F.avg_pool2d(x, 1, self.stride), self.weight, self.bias, groups=self.groups)


def channels_last(network: nn.Module) -> nn.Module:
    """Convert a network, in place, to the memory format that everything is trained in.

    Plain convolutions of a stranger's space that this layout makes harmful become a `PointwiseConv2d`.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_strided_pointwise(module):
            module.__class__ = PointwiseConv2d
    return network.to(memory_format=torch.channels_last)


def _is_strided_pointwise(conv: nn.Conv2d) -> bool:
    return set(conv.kernel_size) == {1} and set(conv.stride) != {1} and conv.padding in ((0, 0), "valid")
