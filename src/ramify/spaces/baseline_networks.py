"""The networks of baselines: one class a family, built from numbers.

Shapes: images (B, in_channels, H, W) → logits (B, num_classes). All take images of any size that their strides leave
something of. Where a map has an odd side, the average pools of shortcuts keep its last row and column, as the
convolutions beside them do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.ops import standard_norm

EXPANSION = 4
"""Width of what a bottleneck puts out, as a multiple of its inner width."""

STAGES = (16, 32, 64)
"""Widths of the three stages on CIFAR."""


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)


def _half() -> nn.AvgPool2d:
    return nn.AvgPool2d(2, stride=2, ceil_mode=True, count_include_pad=False)


def initialize(network: nn.Module) -> None:
    """Draw the first weights of a fresh network, in place, as the released program of NATS-Bench does for baselines.

    He et al., ICCV 2015, by the number of outputs, for convolutions; N(0, 0.01²) for the classifier.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)


class ConvNorm(nn.Module):
    """Convolution, then as wanted an average pool before it, a norm and a ReLU after it."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        *,
        pooled: bool = False,
        normed: bool = True,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.pool = _half() if pooled else None
        self.conv = _conv(c_in, c_out, kernel, stride)
        self.norm = standard_norm()(c_out) if normed else None
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x if self.pool is None else self.pool(x))
        x = x if self.norm is None else self.norm(x)
        return F.relu(x) if self.relu else x


class _Residual(nn.Module):
    """What blocks of CIFAR ResNets share: a shortcut where shapes change, the sum, and a ReLU.

    Of stride 2 the shortcut is a 2×2 average and a convolution, for another width alone a convolution with a norm.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.downsample: nn.Module | None = None
        if stride == 2:
            self.downsample = ConvNorm(c_in, c_out, 1, pooled=True, normed=False, relu=False)
        elif c_in != c_out:
            self.downsample = ConvNorm(c_in, c_out, 1, relu=False)

    def joined(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return what the block puts out for its input and the output of its convolutions."""
        return F.relu((x if self.downsample is None else self.downsample(x)) + residual)


class BasicBlock(_Residual):
    """Two 3×3 convolutions."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__(c_in, width, stride)
        self.conv_a = ConvNorm(c_in, width, 3, stride)
        self.conv_b = ConvNorm(width, width, 3, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(x, self.conv_b(self.conv_a(x)))


class Bottleneck(_Residual):
    """1×1, 3×3 and 1×1 convolutions, the last one four times as wide."""

    expansion = EXPANSION

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__(c_in, width * EXPANSION, stride)
        self.conv_1x1 = ConvNorm(c_in, width, 1)
        self.conv_3x3 = ConvNorm(width, width, 3, stride)
        self.conv_1x4 = ConvNorm(width, width * EXPANSION, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(x, self.conv_1x4(self.conv_3x3(self.conv_1x1(x))))


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class CIFARResNet(nn.Module):
    """Stem of 16 channels, three stages of residual blocks, global average, linear.

    Args:
        block: `basic` or `bottleneck`.
        blocks: In every stage.
        in_channels: Of the images.
        num_classes: Of the logits.
    """

    def __init__(self, block: str, blocks: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        kind, width = BLOCKS[block], STAGES[0]
        layers: list[nn.Module] = [ConvNorm(in_channels, width, 3)]
        for stage, planes in enumerate(STAGES):
            for number in range(blocks):
                layers.append(kind(width, planes, 2 if stage and not number else 1))
                width = planes * kind.expansion
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.layers(x).mean(dim=(2, 3)))


class _PreActivated(nn.Module):
    """Norm, ReLU, convolution."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.norm = standard_norm()(c_in)
        self.conv = _conv(c_in, c_out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(x)))


class _PreActivatedNetwork(nn.Module):
    """Stem and blocks that are pre-activated, then norm, ReLU, global average, linear."""

    def __init__(self, body: Sequence[nn.Module], width: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.norm = standard_norm()(width)
        self.classifier = nn.Linear(width, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.norm(self.body(x))).mean(dim=(2, 3)))


class _DenseLayer(nn.Sequential):
    """Convolutions whose output joins their input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], dim=1)


class DenseNet(_PreActivatedNetwork):
    """Three blocks of densely connected layers, with a transition of half the resolution between them.

    Args:
        layers: In every block.
        growth: Channels that each of them adds.
        reduction: Share of the channels that a transition keeps.
        bottleneck: Whether a 1×1 convolution to four times the growth precedes each 3×3 one.
        in_channels: Of the images.
        num_classes: Of the logits.
    """

    def __init__(
        self, layers: int, growth: int, reduction: float, bottleneck: bool, in_channels: int, num_classes: int
    ) -> None:
        width = 2 * growth
        body: list[nn.Module] = [_conv(in_channels, width, 3)]
        for block in range(3):
            for _ in range(layers):
                inner = EXPANSION * growth
                convs = [(width, inner, 1), (inner, growth, 3)] if bottleneck else [(width, growth, 3)]
                body.append(_DenseLayer(*(_PreActivated(*sizes) for sizes in convs)))
                width += growth
            if block < 2:
                kept = int(reduction * width)
                body.append(nn.Sequential(_PreActivated(width, kept, 1), nn.AvgPool2d(2)))
                width = kept
        super().__init__(body, width, num_classes)


class _WideBlock(nn.Module):
    """Two pre-activated 3×3 convolutions; the shortcut reads the raw input."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv_a = _PreActivated(c_in, c_out, 3, stride)
        self.conv_b = _PreActivated(c_out, c_out, 3)
        self.downsample = None if c_in == c_out and stride == 1 else _conv(c_in, c_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.downsample is None else self.downsample(x)) + self.conv_b(self.conv_a(x))


class WideResNet(_PreActivatedNetwork):
    """Stem of 16 channels, three stages of wide pre-activated blocks, norm, ReLU, global average, linear.

    Args:
        blocks: In every stage.
        widen: Factor of the stages' widths.
        in_channels: Of the images.
        num_classes: Of the logits.
    """

    def __init__(self, blocks: int, widen: int, in_channels: int, num_classes: int) -> None:
        width = STAGES[0]
        body: list[nn.Module] = [_conv(in_channels, width, 3)]
        for stage, planes in enumerate(STAGES):
            for number in range(blocks):
                body.append(_WideBlock(width, planes * widen, 2 if stage and not number else 1))
                width = planes * widen
        super().__init__(body, width, num_classes)


class _ImageNetBlock(nn.Module):
    """Residual block, basic or bottleneck, with a norm on every shortcut; of stride 2 it is averaged first."""

    def __init__(self, block: str, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        c_out = width * BLOCKS[block].expansion
        sizes = [(c_in, width, 3, stride), (width, width, 3, 1)]
        if block == "bottleneck":
            sizes = [(c_in, width, 1, 1), (width, width, 3, stride), (width, c_out, 1, 1)]
        self.count = len(sizes)
        for number, size in enumerate(sizes, 1):
            setattr(self, f"conv{number}", _conv(*size))
            setattr(self, f"bn{number}", standard_norm()(size[1]))
        self.downsample: nn.Module | None = None
        if stride == 2 or c_in != c_out:
            pools = [_half()] if stride == 2 else []
            self.downsample = nn.Sequential(*pools, _conv(c_in, c_out, 1), standard_norm()(c_out))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for number in range(1, self.count + 1):
            out = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(out))
            out = F.relu(out) if number < self.count else out
        return F.relu((x if self.downsample is None else self.downsample(x)) + out)


class PooledResNet(nn.Module):
    """ResNet for ImageNet whose shortcuts of stride 2 average before they convolve.

    Args:
        block: `basic` or `bottleneck`.
        layers: Blocks of each of the four stages.
        deep_stem: Whether the stem has two 3×3 convolutions instead of one of 7×7.
        in_channels: Of the images.
        num_classes: Of the logits.
    """

    def __init__(self, block: str, layers: Sequence[int], deep_stem: bool, in_channels: int, num_classes: int) -> None:
        super().__init__()
        width = 64
        stem = [(in_channels, 32, 3, 2), (32, width, 3, 1)] if deep_stem else [(in_channels, width, 7, 2)]
        parts = [(_conv(*size), standard_norm()(size[1]), nn.ReLU()) for size in stem]
        self.conv = nn.Sequential(*(module for part in parts for module in part))
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for stage, count in enumerate(layers):
            planes, blocks = 64 * 2**stage, []
            for number in range(count):
                blocks.append(_ImageNetBlock(block, width, planes, 2 if stage and not number else 1))
                width = planes * BLOCKS[block].expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.classifier = nn.Linear(width, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv(x))
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.classifier(x.mean(dim=(2, 3)))


class _PooledPair(nn.Module):
    """3×3 convolution, 2×2 maximum, norm, GELU; then 3×3 convolution, norm, GELU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a, self.norm_a = _conv(c_in, c_out, 3), nn.BatchNorm2d(c_out, momentum=0.4)
        self.conv_b, self.norm_b = _conv(c_out, c_out, 3), nn.BatchNorm2d(c_out, momentum=0.4)
        for conv in (self.conv_a, self.conv_b):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm_a(F.max_pool2d(self.conv_a(x), 2)))
        return F.gelu(self.norm_b(self.conv_b(x)))


class AirbenchNetwork(nn.Module):
    """2×2 convolution for patches, pairs of 3×3 convolutions behind 2×2 maxima, global maximum, linear.

    The first channels of every 3×3 convolution begin as the identity.

    Args:
        widths: Of the pairs.
        in_channels: Of the images.
        num_classes: Of the logits.
    """

    def __init__(self, widths: Sequence[int], in_channels: int, num_classes: int) -> None:
        super().__init__()
        width = 2 * 4 * in_channels
        self.stem = nn.Conv2d(in_channels, width, 2)
        pairs = [_PooledPair(*sizes) for sizes in pairwise([width, *widths])]
        self.layers = nn.Sequential(*pairs)
        self.classifier = nn.Linear(widths[-1], num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.layers(F.gelu(self.stem(x))).amax(dim=(2, 3)) / 9)


class TorchvisionNetwork(nn.Module):
    """A network of torchvision, with its last part apart, as `classifier`.

    Args:
        name: By which torchvision makes it.
        head: Its attribute that maps features to logits.
        in_channels: Of the images; for any but 3 the first convolution is made anew.
        num_classes: Of the logits.
    """

    def __init__(self, name: str, head: str, in_channels: int, num_classes: int) -> None:
        from torchvision.models import get_model

        super().__init__()
        self.features: nn.Module = get_model(name, weights=None, num_classes=num_classes)
        self.classifier: nn.Module = getattr(self.features, head)
        setattr(self.features, head, nn.Identity())
        if in_channels != 3:
            _receive(self.features, in_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def _receive(network: nn.Module, in_channels: int) -> None:
    """Replace the first convolution of a network, in place, by one for images of so many channels."""
    path, first = next((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    parent, _, name = path.rpartition(".")
    conv = nn.Conv2d(
        in_channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    initialize(conv)
    setattr(network.get_submodule(parent), name, conv)
