"""A feature pyramid and the head of RetinaNet over it, of torchvision's parts (Lin et al., CVPR and ICCV 2017).

As in the detectors of CDARTS: five levels, P3 to P7, of 256 channels, of which P6 comes from the coarsest map of the
backbone and P7 from P6, without a ReLU between them, which torchvision's own extra levels have.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

WIDTH = 256
"""Channels of every level."""
RATIOS = (0.5, 1.0, 2.0)
"""Height to width of anchors."""
SCALES = 3
"""Sizes of anchors within an octave."""


class CoarserLevels(ExtraFPNBlock):
    """Two more levels, each by a 3×3 convolution of stride 2: the first of the backbone's coarsest map.

    Args:
        c_in: Channels of that map.
        width: Of the levels.
    """

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(c_in, width, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width, width, 3, stride=2, padding=1)
        for conv in (self.first, self.second):
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Return the levels with two more, and their names."""
        coarser = self.first(x[-1])
        return [*results, coarser, self.second(coarser)], [*names, "P6", "P7"]


class Pyramid(nn.Module):
    """Levels P3 to P7 of the maps of strides 8, 16 and 32: finer ones get the coarser ones, doubled, added.

    Args:
        channels: Of the three maps, the finest first.
        width: Of every level.
    """

    def __init__(self, channels: Sequence[int], width: int = WIDTH) -> None:
        super().__init__()
        self.levels = FeaturePyramidNetwork(list(channels), width, CoarserLevels(channels[-1], width))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map three maps (B, C, H, W) to five (B, width, H', W'), the finest first."""
        return list(self.levels({f"P{number}": each for number, each in enumerate(maps, start=3)}).values())


def retina_head(classes: int, width: int = WIDTH) -> RetinaNetHead:
    """Return four 3×3 convolutions for classes and four for boxes, for nine anchors at each place."""
    return RetinaNetHead(width, len(RATIOS) * SCALES, classes)
