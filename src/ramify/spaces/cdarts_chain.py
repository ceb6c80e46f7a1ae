"""The chain-structured space of CDARTS (Yu et al., TPAMI 2022, arXiv:2006.10724), which is that of Cream.

Stem 3×3 of stride 2, a depthwise separable block, five stages of inverted residuals with squeeze-and-excitation, a 1×1
convolution, global average pool, a 1×1 convolution with bias to 1280, linear; swish throughout (Peng et al., Cream of
the Crop, NeurIPS 2020, arXiv:2010.15821). A block has kernel 3, 5 or 7 and expansion 4 or 6. There are up to four
blocks in a stage, five in the third.

The released code writes a network as seven lists of codes, `[[0], [3], [3, 3], [3, 1, 3], …, [0]]`: the fixed block,
the five stages, the last convolution. It reads them with two quirks that decide the published networks, and so does
`parse`:

* A stage of a single code ignores it and has the template's own block: k3e4, k5e4, k3e6, k3e6, k5e6 in stages 1 to 5.
* Four codes in the third stage make five blocks: the fourth is used twice.

A list with as many codes as the stage has places, -1 for those left out, is taken at its word, and so is one flat list
of the codes of all places. That is how `format` writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.errors import ArchitectureError
from ramify.ops import SKIP, Norm, Operation, standard_norm
from ramify.ops.inverted_residual import conv_block, inverted_residual, kernel_and_expansion
from ramify.spaces.chain import ABSENT, ChainSpace, Stage, Widths, listed
from ramify.spaces.chain_network import Frame, Layer, draw_convolutions

OPERATIONS = ("k3e4", "k3e6", "k5e4", "k5e6", "k7e4", "k7e6")
BLOCKS = (4, 4, 5, 4, 4)
HEAD = 1280
"""Channels between the pooling and the classifier."""

_ALONE = ("k3e4", "k5e4", "k3e6", "k3e6", "k5e6")
"""What the released code puts into a stage of a single block, whatever its code."""
_REPEATED = (3, 4, 5)
"""In this stage that many codes make that many blocks."""


class CDARTSChain(ChainSpace):
    """Inverted residuals with squeeze-and-excitation in five stages: 6⁵·7¹⁶ members by default.

    Args:
        blocks: Largest number of blocks in each of the five stages.
        absent: Whether blocks other than the first of a stage may be left out. Without, every member has all blocks,
            as the networks of a search by CDARTS.

    Example:
        >>> from ramify import spaces
        >>> space = spaces.CDARTSChain()
        >>> arch = space.parse([[0], [3], [3, 3], [3, 1, 3], [3, 3, 3, 3], [3, 3, 3], [0]])
        >>> arch["layer0"], arch["layer1"], arch["layer4"]
        ('k3e4', 'skip_connect', 'k5e6')
    """

    source = "Yu et al., Cyclic Differentiable Architecture Search, TPAMI 2022, arXiv:2006.10724"
    stages = (
        Stage(width=24, stride=2),
        Stage(width=40, stride=2),
        Stage(width=80, stride=2),
        Stage(width=96, stride=1),
        Stage(width=192, stride=2),
    )
    channels = 16
    before = 16
    last_channels = 960
    distilled = ("stage2", "stage4")

    def __init__(self, blocks: Sequence[int] = BLOCKS, absent: bool = True) -> None:
        self.blocks, self.absent = self._check_blocks(blocks), absent
        self.operations = (*OPERATIONS, SKIP) if absent else OPERATIONS

    # Notation: [[0], [3, 4, 2, 0], …, [0]]

    def parse(self, notation: Any) -> Architecture:
        """Read seven lists of codes as in the released code, or one flat list with a code for every layer.

        Raises:
            ArchitectureError: Saying which stage or layer is wrong.
        """
        codes = listed(notation, self.name)
        if not any(isinstance(stage, list | tuple) for stage in codes):
            return super().parse(codes)
        count = len(self.stages)
        if len(codes) != count + 2 or not all(isinstance(stage, list | tuple) for stage in codes):
            raise ArchitectureError(f"{self.name} is written as {count + 2} lists of codes, got {codes!r:.80}")
        if list(codes[0]) != [0] or list(codes[-1]) != [0]:
            raise ArchitectureError(f"the first and the last list of {self.name} must be [0]: nothing is chosen there")
        flat: list[Any] = []
        for number, (given, places) in enumerate(zip(codes[1:-1], self.blocks, strict=True), start=1):
            flat += self._stage_codes(number, list(given), places)
        return super().parse(flat)

    def _stage_codes(self, stage: int, codes: list[Any], places: int) -> list[Any]:
        """Return a code for every place of a stage, as the released code understands what is written."""
        repeated, given, meant = _REPEATED
        if len(codes) == 1:
            codes = [OPERATIONS.index(_ALONE[stage - 1])]
        elif (stage, len(codes), places) == (repeated, given, meant):
            codes = [*codes, codes[-1]]
        while len(codes) > places and codes[-1] == ABSENT:
            codes = codes[:-1]
        if not 1 <= len(codes) <= places:
            raise ArchitectureError(f"stage {stage} of {self.name} has 1 to {places} blocks, got {len(codes)} codes")
        return codes + [ABSENT] * (places - len(codes))

    def format(self, arch: Architecture) -> Any:
        """Write the seven lists of the released code, without implicit layers."""
        codes = iter(self.codes(arch))
        lists = [[next(codes) for _ in range(places)] for places in self.blocks]
        for alone, stage in zip(_ALONE, lists, strict=True):
            if len(stage) == 1 and stage != [OPERATIONS.index(alone)]:
                stage.append(ABSENT)  # a second code, so that the first one counts
        return [[0], *lists, [0]]

    # Networks

    def _candidate(self, op: str, layer: Layer, norm: Norm) -> Operation:
        kernel, expansion = kernel_and_expansion(op)
        return inverted_residual(layer.c_in, layer.c_out, kernel, expansion, layer.stride, norm, nn.SiLU, squeeze=True)

    def _frame(self, shape: Mapping[str, int], widths: Widths, norm: Norm) -> Frame:
        affine, width = standard_norm(), widths.scaled(self.channels)
        last, head = widths.scaled(widths.last_channels), widths.scaled(HEAD)
        return Frame(
            stem={
                "stem": conv_block(shape["in_channels"], width, 3, widths.strides[0], affine, nn.SiLU),
                "first": _Separable(width, affine),
            },
            last=conv_block(widths.scaled(self.stages[-1].width), last, 1, 1, norm, nn.SiLU),
            neck=nn.Sequential(nn.Conv2d(last, head, 1), nn.SiLU()),
            classifier=nn.Linear(head, shape["num_classes"]),
        )

    def _initialize(self, network: nn.Module) -> None:
        """Convolutions N(0, 2/(k²·C_out/groups)), linear layers U(±1/√classes)."""
        draw_convolutions(network, lambda c: math.sqrt(2 * c.groups / (math.prod(c.kernel_size) * c.out_channels)))
        for module in network.modules():
            if isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.out_features)
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)


class _Separable(nn.Module):
    """Depthwise separable block with squeeze-and-excitation and a shortcut: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.block = inverted_residual(channels, channels, 3, 1, 1, norm, nn.SiLU, squeeze=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)
