"""Feature pyramids and the heads over them, of torchvision's parts: RetinaNet and SSDLite.

RetinaNet (Lin et al., CVPR and ICCV 2017) as in the detectors of CDARTS: five levels, P3 to P7, of 256 channels, of
which P6 comes from the coarsest map of the backbone and P7 from P6, without a ReLU between them, which torchvision's
own extra levels have. SSDLite (Sandler et al., CVPR 2018) predicts by depthwise convolutions, from two maps of the
backbone and two more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from ramify.tasks.anchors import RATIOS, SCALES, SSD_RATIOS

WIDTH = 256
"""Channels of every level of the published RetinaNet."""
PRIOR = 0.01
"""Probability of every class at every anchor in the beginning (RetinaNet, section 4.1)."""


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
    """Return four 3×3 convolutions for classes and four for boxes, for nine anchors at each place.

    They begin as published, with a deviation of 0.01, where they have the published width. Through narrower ones
    nothing would get that way: these begin as He et al. (ICCV 2015) say.
    """
    head = RetinaNetHead(width, len(RATIOS) * SCALES, classes)
    if width < WIDTH:
        for part in (head.classification_head, head.regression_head):
            for conv in part.conv.modules():
                if isinstance(conv, nn.Conv2d):
                    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return head


def _depthwise(c_in: int, c_out: int, norm: Any) -> nn.Sequential:
    """Return what halves a map: 1×1 to half the channels, depthwise 3×3 of stride 2, 1×1; each with norm and ReLU6."""
    inner = c_out // 2
    return nn.Sequential(
        *(nn.Conv2d(c_in, inner, 1, bias=False), norm(inner), nn.ReLU6()),
        *(nn.Conv2d(inner, inner, 3, stride=2, padding=1, groups=inner, bias=False), norm(inner), nn.ReLU6()),
        *(nn.Conv2d(inner, c_out, 1, bias=False), norm(c_out), nn.ReLU6()),
    )


class CoarserMaps(nn.Module):
    """The maps of strides 16 and 32, and two coarser ones: [(B, C, H, W), …] → four maps, the finest first.

    Args:
        channels: Of the coarsest map.
        width: Of those that are added.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
        self.first, self.second = _depthwise(channels, width, norm), _depthwise(width, width // 2, norm)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        coarser = self.first(maps[-1])
        return [*maps, coarser, self.second(coarser)]


def ssdlite_head(channels: Sequence[int], classes: int) -> SSDLiteHead:
    """Return a depthwise 3×3 and a 1×1 convolution for classes and for boxes of each map, with six anchors a place."""
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    head = SSDLiteHead(list(channels), [len(SSD_RATIOS) + 1] * len(channels), classes, norm)
    for block in head.classification_head.module_list:
        nn.init.constant_(block[-1].bias, -math.log((1 - PRIOR) / PRIOR))
    return head
