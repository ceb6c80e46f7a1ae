"""The chain of ShuffleNetV2 blocks that SPOS searches (Guo et al., ECCV 2020, arXiv:1904.00420).

Stem 3×3 of stride 2 to 16, four stages of 4, 4, 8 and 4 blocks, a 1×1 convolution to 1024, global average pool, a
linear layer without bias. A block is one of four, codes 0 to 3: kernel 3, 5 or 7, or the Xception-like one. None can be
left out. In the supernet all norms are as the others, that of the stem too.

The released code also lets every block's inner width be scaled, which `scales` does here; it is not searched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from ramify.errors import ConfigurationError
from ramify.ops import Norm, Operation
from ramify.ops.inverted_residual import conv_block
from ramify.ops.shuffle_block import KERNELS, shuffle_block
from ramify.spaces.chain import ChainSpace, Stage, Widths
from ramify.spaces.chain_network import Frame, Layer, draw_convolutions


class ShuffleChain(ChainSpace):
    """ShuffleNetV2 blocks in four stages: 4²⁰ members by default.

    Args:
        blocks: Number of blocks in each of the four stages.
        scales: Factor of every block's inner width, rounded down; None for 1.

    Example:
        >>> from ramify import spaces
        >>> space = spaces.ShuffleChain()
        >>> arch = space.parse([2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3])
        >>> space.size, arch["layer11"]
        (1099511627776, 'shuffle_xception')
    """

    source = "Guo et al., Single Path One-Shot Neural Architecture Search, ECCV 2020, arXiv:1904.00420"
    stages = (
        Stage(width=64, stride=2),
        Stage(width=160, stride=2),
        Stage(width=320, stride=2),
        Stage(width=640, stride=2),
    )
    channels = 16
    before = 16
    last_channels = 1024
    shortcut = False
    distilled = ("stage2", "stage3")

    def __init__(self, blocks: Sequence[int] = (4, 4, 8, 4), scales: Sequence[float] | None = None) -> None:
        self.blocks, self.operations = self._check_blocks(blocks), tuple(KERNELS)
        self.scales = None if scales is None else tuple(scales)
        count = len(self.places)
        if self.scales is not None and (len(self.scales) != count or not all(0 < s <= 16 for s in self.scales)):
            raise ConfigurationError(
                f"`scales` must be {count} numbers above 0, one for each block, got {scales!r:.80}"
            )

    def _candidate(self, op: str, layer: Layer, norm: Norm) -> Operation:
        scale = 1.0 if self.scales is None else self.scales[layer.index]
        middle = max(1, int(layer.c_out // 2 * scale))
        return shuffle_block(op, layer.c_in, layer.c_out, layer.stride, norm, changes=layer.first, middle=middle)

    def _frame(self, shape: Mapping[str, int], widths: Widths, norm: Norm) -> Frame:
        width, last = widths.scaled(self.channels), widths.scaled(widths.last_channels)
        return Frame(
            stem={"stem": conv_block(shape["in_channels"], width, 3, widths.strides[0], norm, nn.ReLU)},
            last=conv_block(widths.scaled(self.stages[-1].width), last, 1, 1, norm, nn.ReLU),
            neck=None,
            classifier=nn.Linear(last, shape["num_classes"], bias=False),
        )

    def _initialize(self, network: nn.Module) -> None:
        """Stem and classifier N(0, 0.01²), other convolutions N(0, 1/(C_in/groups)²), shifts of norms 1e-4."""
        draw_convolutions(network, lambda conv: 1 / conv.weight.shape[1])
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.bias is not None:
                nn.init.constant_(module.bias, 1e-4)
        stem = network.get_submodule("stem.0")
        for narrow in (stem, network.get_submodule("classifier")):
            nn.init.normal_(narrow.weight, 0.0, 0.01)  # type: ignore[arg-type]
