"""The chains of inverted residuals that ProxylessNAS, SPOS with ABS, and FairNAS search.

`MobileChain`: the widths of ProxylessNAS-GPU (Cai et al., ICLR 2019, arXiv:1812.00332), as searched by ProxylessNAS and
SPOS in spaces that ABS has shrunk (Hu et al., ECCV 2020, arXiv:2004.13431). Stem 3×3 of stride 2 to 40, an inverted
residual of expansion 1 to 24, 21 layers, a 1×1 convolution to 1728, global average pool, linear; ReLU6 throughout.

`FairMobileChain`: that of FairNAS (Chu et al., ICCV 2021, arXiv:1907.01845). Stem to 32, then 16, 19 layers, 1280. No
layer can be left out.

A layer has kernel 3, 5 or 7 and expansion 3 or 6, codes 0 to 5: k3e3, k3e6, k5e3, k5e6, k7e3, k7e6. It has a shortcut
where it keeps width and resolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import nn

from ramify.ops import SKIP, Norm, Operation, standard_norm
from ramify.ops.inverted_residual import conv_block, inverted_residual, kernel_and_expansion
from ramify.spaces.chain import ChainSpace, Stage, Widths
from ramify.spaces.chain_network import Frame, Layer, draw_convolutions

OPERATIONS = ("k3e3", "k3e6", "k5e3", "k5e6", "k7e3", "k7e6")


class _InvertedResiduals(ChainSpace):
    """What both spaces share: the layers, and what is around them."""

    def _candidate(self, op: str, layer: Layer, norm: Norm) -> Operation:
        return inverted_residual(layer.c_in, layer.c_out, *kernel_and_expansion(op), layer.stride, norm)

    def _frame(self, shape: Mapping[str, int], widths: Widths, norm: Norm) -> Frame:
        affine = standard_norm()
        width, behind = widths.scaled(self.channels), widths.scaled(self.before)
        last = widths.scaled(widths.last_channels)
        return Frame(
            stem={
                "stem": conv_block(shape["in_channels"], width, 3, widths.strides[0], affine, nn.ReLU6),
                "first": inverted_residual(width, behind, 3, 1, 1, affine),
            },
            last=conv_block(widths.scaled(self.stages[-1].width), last, 1, 1, norm, nn.ReLU6),
            neck=None,
            classifier=nn.Linear(last, shape["num_classes"]),
        )


class MobileChain(_InvertedResiduals):
    """Inverted residuals at the widths of ProxylessNAS-GPU: 6⁶·7¹⁵ members by default.

    Args:
        blocks: Number of layers in each of the six stages. All but the first of a stage may be left out.

    Example:
        >>> from ramify import spaces
        >>> space = spaces.MobileChain()
        >>> arch = space.parse([2, 2, -1, 0, 0, -1, -1, 0, 5, -1, 4, 4, 0, 0, 4, 2, 3, 4, 4, 4, 3])
        >>> space.size, arch["layer1"], arch["layer2"]
        (221502229807900608, 'k5e3', 'skip_connect')
    """

    source = "Hu et al., Angle-based Search Space Shrinking, ECCV 2020, arXiv:2004.13431"
    stages = (
        Stage(width=32, stride=2),
        Stage(width=56, stride=2),
        Stage(width=112, stride=2),
        Stage(width=128, stride=1),
        Stage(width=256, stride=2),
        Stage(width=432, stride=1),
    )
    channels = 40
    before = 24
    last_channels = 1728
    distilled = ("stage2", "stage4")

    def __init__(self, blocks: Sequence[int] = (4, 4, 4, 4, 4, 1)) -> None:
        self.blocks, self.operations = self._check_blocks(blocks), (*OPERATIONS, SKIP)

    def _initialize(self, network: nn.Module) -> None:
        """Convolutions N(0, 2/(k²·C_out)), also where there are groups; linear layers as PyTorch does."""
        draw_convolutions(network, lambda c: math.sqrt(2 / (math.prod(c.kernel_size) * c.out_channels)))


class FairMobileChain(_InvertedResiduals):
    """Inverted residuals of which none can be left out: 6¹⁹ members by default.

    Args:
        blocks: Number of layers in each of the six stages.

    Example:
        >>> from ramify import spaces
        >>> space = spaces.FairMobileChain()
        >>> arch = space.parse([4, 2, 4, 2, 2, 2, 5, 2, 4, 4, 2, 2, 2, 4, 5, 4, 2, 2, 5])
        >>> space.size, arch["layer0"]
        (609359740010496, 'k7e3')
    """

    source = "Chu et al., FairNAS, ICCV 2021, arXiv:1907.01845"
    stages = (
        Stage(width=32, stride=2),
        Stage(width=40, stride=2),
        Stage(width=80, stride=2),
        Stage(width=96, stride=1),
        Stage(width=192, stride=2),
        Stage(width=320, stride=1),
    )
    channels = 32
    before = 16
    last_channels = 1280
    distilled = ("stage2", "stage4")

    def __init__(self, blocks: Sequence[int] = (2, 4, 4, 4, 4, 1)) -> None:
        self.blocks, self.operations = self._check_blocks(blocks), OPERATIONS

    def _initialize(self, network: nn.Module) -> None:
        """Leave the weights as PyTorch draws them, as the released code does."""
