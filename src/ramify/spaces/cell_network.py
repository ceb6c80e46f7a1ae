"""Networks of cells with two inputs: the DARTS skeleton for CIFAR and for ImageNet.

Stem, a row of cells of which two reduce the resolution, global average pool, linear classifier, and an auxiliary
head on the output of the second reducing cell in training (Liu et al., DARTS, ICLR 2019; Zoph et al., CVPR 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.errors import ConfigurationError
from ramify.ops import DropPath, FactorizedReduce, Norm, PreActivation, standard_norm
from ramify.supernet import (
    Built,
    FixedGraph,
    MixedGraph,
    Mixture,
    Skeleton,
    Supernet,
    WeightVector,
    tapped,
    vector_of_cells,
)
from ramify.supernet.network import RunCell

IMAGENET = "imagenet"
"""The layout for large images; the other one is `cifar`."""


@dataclass(frozen=True)
class CellPlan:
    """The configuration of a cell at one position of the network.

    Args:
        index: Place, from 0.
        reduction: Whether it halves the resolution.
        c_older, c_newer: Channels of the two inputs, the older first.
        channels: C of the cell.
        older_is_larger: Whether the older input still has twice the resolution.
        stage: 1, 2 or 3; a reducing cell is the last of its stage.
        newer_twice: Whether it reads its newer input in place of the older one as well.
    """

    index: int
    reduction: bool
    c_older: int
    c_newer: int
    channels: int
    older_is_larger: bool
    stage: int
    newer_twice: bool = False


class Inputs(nn.Module):
    """Map both inputs of a cell to C channels and one resolution."""

    def __init__(self, plan: CellPlan, norm: Norm) -> None:
        super().__init__()
        c = plan.channels
        if plan.older_is_larger:
            older: nn.Module = FactorizedReduce(plan.c_older, c)
        else:
            older = nn.Conv2d(plan.c_older, c, 1, bias=False)
        self.older = PreActivation(older, c, norm)
        self.newer = PreActivation(nn.Conv2d(plan.c_newer, c, 1, bias=False), c, norm)

    def forward(self, older: Tensor, newer: Tensor) -> list[Tensor]:
        return [self.older(older), self.newer(newer)]


class Cell(nn.Module):
    """A built cell: two states (B, C', H, W) → (B, C·len(concat), H', W'). A single state is read twice."""

    def __init__(self, inputs: Inputs, graph: FixedGraph, concat: Sequence[int]) -> None:
        super().__init__()
        self.inputs, self.graph, self.concat = inputs, graph, tuple(concat)

    def forward(self, older: Tensor, newer: Tensor | None = None) -> Tensor:
        states = self.graph(self.inputs(older, older if newer is None else newer))
        return torch.cat([states[state] for state in self.concat], dim=1)


class MixedCell(nn.Module):
    """A cell with all candidates; `kind` names the choice that weighs them."""

    def __init__(self, kind: str, inputs: Inputs, graph: MixedGraph, concat: Sequence[int]) -> None:
        super().__init__()
        self.kind, self.inputs, self.graph, self.concat = kind, inputs, graph, tuple(concat)

    def forward(self, older: Tensor, newer: Tensor, mixture: Mixture) -> Tensor:
        states = self.graph(self.inputs(older, newer), mixture, self.concat)
        return torch.cat([states[state] for state in self.concat], dim=1)


class FixedReduction(nn.Module):
    """The fixed reduction cell of GDAS-FRC (Dong & Yang, CVPR 2019): (B, C', H, W) twice → (B, 4C, H/2, W/2).

    Each input passes a factorised 3×3 convolution with 8 groups and, beside it, a max pooling; all four results
    are joined.
    """

    def __init__(self, inputs: Inputs, channels: int, norm: Norm, drop_path: float = 0.0) -> None:
        super().__init__()
        if channels % 8:
            raise ConfigurationError(f"the fixed reduction cell needs channels divisible by 8, got {channels}")
        self.inputs = inputs
        self.convolutions = nn.ModuleList(self._convolution(channels, norm) for _ in range(2))
        self.pools = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), norm(channels)) for _ in range(2)
        )
        self.drop_path = DropPath(drop_path)

    @staticmethod
    def _convolution(c: int, norm: Norm) -> nn.Module:
        return nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(c, c, (1, 3), (1, 2), (0, 1), groups=8, bias=False),
            nn.Conv2d(c, c, (3, 1), (2, 1), (1, 0), groups=8, bias=False),
            norm(c),
            nn.ReLU(),
            nn.Conv2d(c, c, 1, bias=False),
            norm(c),
        )

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        states = self.inputs(older, newer)
        convolved = [self.drop_path(conv(x)) for conv, x in zip(self.convolutions, states, strict=True)]
        pooled = [pool(x) for pool, x in zip(self.pools, states, strict=True)]
        return torch.cat(convolved + pooled, dim=1)


class AuxiliaryHead(nn.Module):
    """Auxiliary classifier on an inner feature map, (B, C, H, W) → (B, classes), used in training only.

    The published heads average 8×8 maps (CIFAR) and 7×7 maps (ImageNet) to 2×2. Here the window follows the map:
    side 5 with the stride that leaves 2×2, which is theirs on their sizes; smaller maps take the side that fits.
    """

    def __init__(self, channels: int, num_classes: int, *, second_norm: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 128, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(128)
        self.second = nn.Conv2d(128, 768, 2, bias=False)
        self.second_norm = nn.BatchNorm2d(768) if second_norm else nn.Identity()
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if min(height, width) < 2:
            raise ConfigurationError(
                f"the auxiliary head needs a map of at least 2×2, but receives {height}×{width}; "
                "use larger images or auxiliary=False"
            )
        windows = [min(5, side - 1) for side in (height, width)]
        strides = [max(1, side - 5) for side in (height, width)]
        x = F.avg_pool2d(F.relu(x), windows, stride=strides)
        x = F.relu(self.first_norm(self.first(x)))
        x = F.relu(self.second_norm(self.second(x)))
        return self.classifier(x.flatten(1))


def plan_cells(
    layers: int,
    channels: int,
    stem: tuple[int, int],
    width_of: Callable[[CellPlan], int],
    *,
    older_is_larger: bool,
    newer_twice: bool = False,
) -> tuple[list[CellPlan], list[int]]:
    """Return the configurations of all cells, and the widths of their outputs.

    The cells at ⌊L/3⌋ and ⌊2L/3⌋ reduce the resolution and double C. With `newer_twice`, those whose two inputs have
    different widths read the newer one twice.
    """
    reductions = {layers // 3, 2 * layers // 3}
    c_older, c_newer = stem
    plans, widths, stage = [], [], 1
    for index in range(layers):
        reduction = index in reductions
        channels *= 2 if reduction else 1
        twice = newer_twice and reduction and c_older != c_newer
        first = (c_newer, False) if twice else (c_older, older_is_larger)
        plan = CellPlan(index, reduction, first[0], c_newer, channels, first[1], stage, twice)
        stage += reduction
        older_is_larger = reduction
        c_older, c_newer = c_newer, width_of(plan)
        plans.append(plan)
        widths.append(c_newer)
    return plans, widths


class CellSkeleton(Skeleton):
    """The DARTS skeleton.

    Args:
        make_cell: Makes the cell of a plan.
        width_of: The number of channels that the cell of a plan puts out.
        num_classes: Width of the classifier.
        in_channels: Of the images.
        layout: `cifar` (one 3×3 convolution) or `imagenet` (three of stride 2).
        channels: C of the first cells.
        layers: Number of cells.
        stem_multipliers: Width of the stem in units of C, and, for ImageNet, of its last convolution.
        auxiliary: Whether training also returns the logits of an auxiliary head.
        chained: Whether a cell also reads the output before the last one, as in DARTS; else it reads the last twice.
        newer_twice: Whether reducing cells whose inputs have different widths read the last output twice, as in ABS.
        final_norm: Whether a batch norm and a ReLU precede the pooling.
    """

    ends = ("auxiliary", "last_norm", "classifier")
    classifier: nn.Linear

    def __init__(
        self,
        make_cell: Callable[[CellPlan], nn.Module],
        width_of: Callable[[CellPlan], int],
        num_classes: int,
        in_channels: int,
        *,
        layout: str,
        channels: int,
        layers: int,
        stem_multipliers: tuple[int, int],
        auxiliary: bool = False,
        chained: bool = True,
        newer_twice: bool = False,
        final_norm: bool = False,
    ) -> None:
        super().__init__()
        first, last = (channels * multiplier for multiplier in stem_multipliers)
        if layout != IMAGENET:
            last = first
            self.stem, self.second_stem = _cifar_stem(in_channels, first), None
        else:
            self.stem, self.second_stem = _imagenet_stem(in_channels, first), _second_imagenet_stem(first, last)
            self.stems = ("stem", "second_stem")
        older_is_larger = layout == IMAGENET
        plans, widths = plan_cells(
            layers, channels, (first, last), width_of, older_is_larger=older_is_larger, newer_twice=newer_twice
        )
        self.twice = frozenset(plan.index for plan in plans if plan.newer_twice or not chained)
        self.cells = nn.ModuleList(make_cell(plan) for plan in plans)
        self.reductions = tuple(plan.index for plan in plans if plan.reduction)
        self.stages = len(self.reductions) + 1
        self.auxiliary = (
            AuxiliaryHead(widths[self.reductions[-1]], num_classes, second_norm=layout != IMAGENET)
            if auxiliary
            else None
        )
        self.last_norm = standard_norm()(widths[-1]) if final_norm else None
        self.classifier = nn.Linear(widths[-1], num_classes)

    def run(self, x: Tensor, run_cell: RunCell, taps: Collection[str]) -> Any:
        self.check_taps(taps)
        older = self.stem(x)
        newer = older if self.second_stem is None else self.second_stem(older)
        features: dict[str, Tensor] = {}
        for index, cell in enumerate(self.cells):
            older, newer = newer, run_cell(cell, newer if index in self.twice else older, newer)
            if index in self.reductions:
                features[f"stage{len(features) + 1}"] = newer
        last = newer if self.last_norm is None else F.relu(self.last_norm(newer))
        logits = self.classifier(last.mean(dim=(2, 3)))
        output: Any = logits
        if self.auxiliary is not None and self.training:
            output = (logits, self.auxiliary(features[f"stage{len(features)}"]))
        features[f"stage{self.stages}"] = newer
        return tapped(output, features, taps)


class CellNetwork(Built, CellSkeleton):
    """`CellSkeleton` with built cells."""


class CellSupernet(Supernet, CellSkeleton):
    """`CellSkeleton` with mixed cells."""

    def weight_vector(self) -> WeightVector:
        """Return the weight vector: all convolutions and the classifier, without norms and biases.

        So in the released code (Hu et al., ABS, ECCV 2020). Paths end at the last of the joined states.
        """
        cells = [
            (f"cells.{index}.graph", cell.kind, cell.graph, cell.concat)
            for index, cell in enumerate(self.cells)
            if isinstance(cell, MixedCell)
        ]
        return vector_of_cells(self, cells, lambda parameter: parameter.dim() > 1)


def _cifar_stem(in_channels: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), standard_norm()(width))


def _imagenet_stem(in_channels: int, width: int) -> nn.Module:
    norm = standard_norm()
    return nn.Sequential(
        nn.Conv2d(in_channels, width // 2, 3, stride=2, padding=1, bias=False),
        norm(width // 2),
        nn.ReLU(),
        nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False),
        norm(width),
    )


def _second_imagenet_stem(c_in: int, c_out: int) -> nn.Module:
    conv = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False)
    return PreActivation(conv, c_out, standard_norm())
