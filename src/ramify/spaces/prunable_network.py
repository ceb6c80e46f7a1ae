"""The networks of `PrunableResNet`: that of a member, and the supernet of all.

Shapes: images (B, in_channels, H, W) → logits (B, num_classes). Modules are called as the released program calls them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ramify.errors import ArchitectureError
from ramify.ops import standard_norm
from ramify.spaces.baseline_networks import ConvNorm, initialize
from ramify.spaces.residual_plan import CONVOLUTIONS, IMAGENET, Block, ResidualPlan, Shortcut
from ramify.supernet import Built, Candidates, Mix, MixedWidths, Skeleton, Supernet, tapped
from ramify.supernet.network import RunCell

WIDTH, DEPTH = "width", "depth"


def _start(plan: ResidualPlan, convolutions: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the layers before the first block, given the convolutions among them."""
    pool = [nn.MaxPool2d(3, stride=2, padding=1)] if plan.network == IMAGENET else []
    return [*convolutions, *pool]


# Of a member


class PrunedBlock(nn.Module):
    """Convolutions with norms, a shortcut where widths or resolution change, the sum, and a ReLU.

    Args:
        plan: Of the whole network.
        block: Which of its blocks.
        before: Channels that it reads.
        widths: Of its convolutions.
    """

    def __init__(self, plan: ResidualPlan, block: Block, before: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.names, entered = CONVOLUTIONS[plan.block], before
        for name, row, width in zip(self.names, block.rows, widths, strict=True):
            conv = plan.convolutions[row]
            setattr(self, name, ConvNorm(before, width, conv.kernel, conv.stride, relu=row != block.last))
            before = width
        shortcut, self.downsample = plan.shortcut_of_member(block, entered, before), None
        if shortcut is not None:
            options = {"pooled": shortcut.pooled, "normed": shortcut.normed, "relu": False}
            self.downsample = ConvNorm(entered, before, 1, **options)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, C, H, W) to (B, C', H', W')."""
        out = x
        for name in self.names:
            out = getattr(self, name)(out)
        return F.relu((x if self.downsample is None else self.downsample(x)) + out)


class PrunedResNet(Built, Skeleton):
    """The network of a member; no layer of it pads or cuts channels.

    Args:
        plan: Of the whole network.
        widths: Of every convolution, also of those that are left out.
        depths: Blocks that each stage keeps, its first ones.
        in_channels: Of the images.
        num_classes: Of the logits.
    """

    stems = ()

    def __init__(
        self, plan: ResidualPlan, widths: Sequence[int], depths: Sequence[int], in_channels: int, num_classes: int
    ) -> None:
        super().__init__()
        self.plan, self.widths, self.depths = plan, tuple(widths), tuple(depths)
        before, stem = in_channels, []
        for conv, width in zip(plan.stem, widths, strict=False):
            stem.append(ConvNorm(before, width, conv.kernel, conv.stride))
            before = width
        layers, ends = _start(plan, stem), []
        for kept, blocks in zip(depths, plan.stages, strict=True):
            for block in blocks[:kept]:
                layers.append(PrunedBlock(plan, block, before, [widths[row] for row in block.rows]))
                before = widths[block.last]
            ends.append(len(layers) - 1)
        self.stages = len(plan.blocks)
        self.layers, self.classifier = nn.ModuleList(layers), nn.Linear(before, num_classes)
        initialize(self)
        self._ends = {end: f"stage{number}" for number, end in enumerate(ends, start=1)}

    def run(self, x: Tensor, run_cell: RunCell, taps: Collection[str]) -> Any:
        """Map images to logits, with features at taps."""
        self.check_taps(taps)
        features: dict[str, Tensor] = {}
        for number, layer in enumerate(self.layers):
            x = run_cell(layer, x)
            if number in self._ends:
                features[self._ends[number]] = x
        return tapped(self.classifier(x.mean(dim=(2, 3))), features, taps)


# Of all members


class MixedConvNorm(MixedWidths):
    """A convolution with several widths, each of which has a norm of its own.

    It runs once. The leading channels of a candidate pass that candidate's norm; then all are interpolated to the
    widest of those that count, and summed.

    Args:
        before: Channels that it reads at most.
        widths: Index of a candidate → its width.
        kernel, stride: Of the convolution.
        pooled: Whether a 2×2 average precedes it, of stride 2.
        relu: Whether a ReLU follows.
        normed: Whether it has norms at all.
    """

    def __init__(
        self,
        before: int,
        widths: Mapping[int, int],
        kernel: int,
        stride: int = 1,
        *,
        pooled: bool = False,
        relu: bool = True,
        normed: bool = True,
    ) -> None:
        super().__init__()
        plain = ConvNorm(before, max(widths.values()), kernel, stride, pooled=pooled, normed=False)
        self.pool, self.conv, self.relu = plain.pool, plain.conv, relu
        self.widths = dict(widths)
        self.norms = nn.ModuleDict({str(width): standard_norm()(width) for width in widths.values()} if normed else {})

    def forward(self, x: Tensor, candidates: Candidates) -> Tensor:
        """Map features (B, C, H, W) to (B, C', H', W'), C' being the widest width that counts."""
        x = x if self.pool is None else self.pool(x)
        indices = list(candidates.weights)
        widest = max(self.widths[index] for index in indices)
        weight = self.conv.weight[:widest, : x.shape[1]]  # missing channels are zeros
        out = F.conv2d(x, weight, None, self.conv.stride, self.conv.padding)
        maps = {index: self._normed(out, self.widths[index]) for index in indices}
        out = candidates.mixed(maps)
        return F.relu(out) if self.relu else out

    def _normed(self, out: Tensor, width: int) -> Tensor:
        out = out[:, :width]
        return self.norms[str(width)](out) if self.norms else out


class MixedBlock(nn.Module):
    """A block of mixed convolutions; the narrower operand of its sum is extended by zeros.

    Args:
        plan: Of the whole network.
        block: Which of its blocks.
        before: Channels that it reads at most.
        widths: Of its convolutions, index of a candidate → width.
        shortcut: The convolution of its shortcut; it mixes as the last convolution does.
    """

    def __init__(
        self,
        plan: ResidualPlan,
        block: Block,
        before: int,
        widths: Sequence[Mapping[int, int]],
        shortcut: Shortcut | None,
    ) -> None:
        super().__init__()
        self.names, entered = CONVOLUTIONS[plan.block], before
        for name, row, own in zip(self.names, block.rows, widths, strict=True):
            conv = plan.convolutions[row]
            setattr(self, name, MixedConvNorm(before, own, conv.kernel, conv.stride, relu=row != block.last))
            before = max(own.values())
        self.downsample: nn.Module | None = None
        if shortcut is not None:
            pooled, normed = shortcut.pooled, shortcut.normed
            self.downsample = MixedConvNorm(entered, widths[-1], 1, pooled=pooled, relu=False, normed=normed)

    def forward(self, x: Tensor, candidates: Sequence[Candidates]) -> Tensor:
        """Map features (B, C, H, W) to (B, C', H', W')."""
        out = x
        for name, own in zip(self.names, candidates, strict=True):
            out = getattr(self, name)(out, own)
        straight = x if self.downsample is None else self.downsample(x, candidates[-1])
        width = max(out.shape[1], straight.shape[1])
        return F.relu(_extended(straight, width) + _extended(out, width))


def _extended(x: Tensor, width: int) -> Tensor:
    """Return features with zeros in the channels that they lack."""
    return x if x.shape[1] == width else F.pad(x, (0, 0, 0, 0, 0, width - x.shape[1]))


class PrunableSupernet(Supernet, nn.Module):
    """The network of all widths and depths, as TAS searches it.

    A stage puts out the sum of what its blocks put out behind which it may end, each brought to the widest of them.

    Args:
        plan: Of the whole network.
        widths: Of every convolution, index of a candidate → width; one candidate where they are not searched.
        depths: Of every stage, index of a candidate → blocks; one candidate where they are not searched.
        shortcuts: Those of the blocks, in order.
        in_channels: Of the images.
        num_classes: Of the logits.
    """

    distilled = Skeleton.distilled
    check_taps = Skeleton.check_taps

    def __init__(
        self,
        plan: ResidualPlan,
        widths: Sequence[Mapping[int, int]],
        depths: Sequence[Mapping[int, int]],
        shortcuts: Sequence[Shortcut | None],
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.plan, self._widths, self._depths = plan, widths, depths
        before, stem = in_channels, []
        for row, conv in enumerate(plan.stem):
            stem.append(MixedConvNorm(before, widths[row], conv.kernel, conv.stride))
            before = max(widths[row].values())
        layers = _start(plan, stem)
        self._first = len(layers)
        for block, shortcut in zip(plan.residual, shortcuts, strict=True):
            layers.append(MixedBlock(plan, block, before, [widths[row] for row in block.rows], shortcut))
            before = max(before if shortcut is None else 0, *widths[block.last].values())
        self._features = before
        self.stages = len(plan.blocks)
        self.layers, self.classifier = nn.ModuleList(layers), nn.Linear(before, num_classes)
        initialize(self)

    def forward(
        self,
        x: Tensor,
        mix: Mix,
        *,
        active: Mapping[str, Tensor] | None = None,
        dropout: Mapping[str, float] | None = None,
        taps: Collection[str] = (),
        constants: bool = False,
    ) -> Any:
        """Map images (B, C, H, W) to logits (B, classes): a pure function of `x` and `mix`.

        Of the candidates whose weight is not 0 the widest says how wide a mixture is; so a one-hot `mix` is one path.

        Args:
            x: Images.
            mix: `width` and `depth`, as far as they are searched → mixing weights (E, O), on any device.
            active: Choice → bool (E, O) on the host, the candidates to compute; None for all existing.
            dropout: Nothing here can be dropped.
            taps: Stages whose outputs are returned as well: `(logits, {tap: (B, C', H', W')})`.
            constants: Whether the weights of inactive candidates are added to the maps as constants.

        Raises:
            ArchitectureError: If a name or a shape does not fit `choices`.
        """
        mixed = self._mixed(mix, x, active=active, dropout=dropout, constants=constants, counted=True)
        if any(any(mixture.dropout) for mixture in mixed.values()):
            raise ArchitectureError("dropout: widths and depths cannot be dropped, only operations")

        def rows(kind: str, fixed: Sequence[Mapping[int, int]]) -> list[Candidates]:
            if kind in mixed:
                return [Candidates.of(mixed[kind], row) for row in range(len(fixed))]
            return [Candidates.alone(next(iter(only)), x) for only in fixed]

        return self._through(x, rows(WIDTH, self._widths), rows(DEPTH, self._depths), taps)

    def _through(
        self, x: Tensor, widths: Sequence[Candidates], depths: Sequence[Candidates], taps: Collection[str]
    ) -> Any:
        self.check_taps(taps)  # type: ignore[misc]
        features: dict[str, Tensor] = {}
        for row in range(len(self.plan.stem)):
            x = self._checked(self.layers[row], x, widths, [row])
        x = self.layers[self._first - 1](x) if self._first > len(self.plan.stem) else x
        at = self._first
        for stage, blocks in enumerate(self.plan.stages):
            ends = {self._depths[stage][index]: index for index in depths[stage].weights}
            if not ends:
                raise ArchitectureError(f"active: no depth of stage {stage + 1} is left")
            maps: dict[int, Tensor] = {}
            for number, block in enumerate(blocks[: max(ends)], start=1):
                x = self._checked(self.layers[at + number - 1], x, widths, block.rows)
                if number in ends:
                    maps[ends[number]] = x
            x = features[f"stage{stage + 1}"] = depths[stage].mixed(maps)
            at += len(blocks)
        pooled = x.mean(dim=(2, 3))
        if isinstance(self.classifier, nn.Linear):
            output = F.linear(pooled, self.classifier.weight[:, : pooled.shape[1]], self.classifier.bias)
        else:
            output = F.pad(pooled, (0, self._features - pooled.shape[1]))
        return tapped(output, features, taps)

    def _checked(self, layer: nn.Module, x: Tensor, widths: Sequence[Candidates], rows: Sequence[int]) -> Tensor:
        """Call a layer with the candidates of its rows, after a look at whether any are left."""
        for row in rows:
            if not widths[row].weights:
                raise ArchitectureError(f"active: no width of {self.plan.convolutions[row].name} is left")
        own = [widths[row] for row in rows]
        return layer(x, own if isinstance(layer, MixedBlock) else own[0])
