"""The families of baselines: the numbers that a network is built from, and the name that says them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import nn

from ramify.errors import ArchitectureError
from ramify.spaces.baseline_networks import (
    BLOCKS,
    STAGES,
    AirbenchNetwork,
    CIFARResNet,
    DenseNet,
    PooledResNet,
    TorchvisionNetwork,
    WideResNet,
)
from ramify.wording import excerpt

MOST_DEPTH = 2000
MOST_GROWTH = 256
MOST_WIDEN = 64
MOST_WIDTH = 4096

NETWORK = "network"
"""The decision, and the key of a record that names its family."""


@dataclass(frozen=True)
class Family(ABC):
    """The numbers of a network, which its family builds it from. Subclasses are the families."""

    family: ClassVar[str]

    @classmethod
    @abstractmethod
    def named(cls, name: str) -> Family | None:
        """Return the network of a name that says its numbers; None for another family's."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that says the numbers."""

    @property
    @abstractmethod
    def stages(self) -> tuple[str, ...]:
        """What follows one another between image and logits, in words."""

    @abstractmethod
    def build(self, in_channels: int, num_classes: int) -> nn.Module:
        """Return the network, untrained: images (B, in_channels, H, W) → logits (B, num_classes)."""

    @property
    def record(self) -> dict[str, Any]:
        """The network as plain JSON values: `{"network": family, name of a number: number}`."""
        numbers = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {NETWORK: self.family, **numbers}


def _require(fits: bool, name: str, what: str, got: Any) -> None:
    if not fits:
        raise ArchitectureError(f"{name}: {what}, got {excerpt(got, 40)}")


def _is_count(value: Any, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _blocks_of(depth: Any, per_block: int, beside: int, what: str) -> int:
    """Return how many blocks, or layers of a block, a depth comes to, in each of three stages."""
    fits = _is_count(depth, MOST_DEPTH) and depth > beside and (depth - beside) % (3 * per_block) == 0
    _require(fits, what, f"`depth` must be {3 * per_block}n + {beside}, at most {MOST_DEPTH}", depth)
    return (depth - beside) // (3 * per_block)


def _numbers(pattern: str, name: str) -> tuple[str, ...] | None:
    match = re.fullmatch(pattern, name)
    return None if match is None else match.groups()


@dataclass(frozen=True)
class ResNet(Family):
    """ResNet for CIFAR (He et al., CVPR 2016) as AutoDL-Projects has it, with averages on its shortcuts of stride 2.

    Args:
        block: `basic`, of two convolutions, or `bottleneck`, of three.
        depth: 6n + 2, or 9n + 2 with bottlenecks.
    """

    block: str
    depth: int
    family = "resnet"

    def __post_init__(self) -> None:
        _require(self.block in BLOCKS, "a ResNet", f"`block` must be {' or '.join(BLOCKS)}", self.block)
        _ = self._blocks

    @classmethod
    def named(cls, name: str) -> ResNet | None:
        found = _numbers(r"ResNet-(basic|bottleneck)-(\d{1,5})", name)
        return None if found is None else cls(found[0], int(found[1]))

    @property
    def name(self) -> str:
        return f"ResNet-{self.block}-{self.depth}"

    @property
    def _blocks(self) -> int:
        return _blocks_of(self.depth, 2 if self.block == "basic" else 3, 2, f"a ResNet of {self.block} blocks")

    @property
    def stages(self) -> tuple[str, ...]:
        widths = (width * BLOCKS[self.block].expansion for width in STAGES)
        return ("3×3, 16 channels", *(f"{self._blocks} × {self.block}, {width} channels" for width in widths))

    def build(self, in_channels: int, num_classes: int) -> nn.Module:
        return CIFARResNet(self.block, self._blocks, in_channels, num_classes)


@dataclass(frozen=True)
class Dense(Family):
    """DenseNet for CIFAR (Huang et al., CVPR 2017).

    Args:
        depth: 3n + 4, or 6n + 4 with bottlenecks.
        growth: Channels that a layer adds.
        reduction: Share of the channels that a transition keeps, in (0, 1].
        bottleneck: Whether a 1×1 convolution precedes each 3×3 one.
    """

    depth: int
    growth: int
    reduction: float = 0.5
    bottleneck: bool = True
    family = "densenet"

    def __post_init__(self) -> None:
        _require(_is_count(self.growth, MOST_GROWTH), "a DenseNet", f"`growth` must be 1 to {MOST_GROWTH}", self.growth)
        number = type(self.reduction) in (int, float) and 0 < self.reduction <= 1
        _require(number, "a DenseNet", "`reduction` must be in (0, 1]", self.reduction)
        _require(type(self.bottleneck) is bool, "a DenseNet", "`bottleneck` must be true or false", self.bottleneck)
        _require(int(self.reduction * 2 * self.growth) > 0, "a DenseNet", "`reduction` leaves nothing", self.reduction)
        _ = self._layers

    @classmethod
    def named(cls, name: str) -> Dense | None:
        found = _numbers(r"DenseNet-(BC-)?(\d{1,5})-(\d{1,5})(?:-([01](?:\.\d{1,6})?))?", name)
        if found is None:
            return None
        reduction = found[3] or ("0.5" if found[0] else "1")
        return cls(int(found[1]), int(found[2]), float(reduction), bool(found[0]))

    @property
    def name(self) -> str:
        usual = self.reduction == (0.5 if self.bottleneck else 1)
        kind, end = "BC-" if self.bottleneck else "", "" if usual else f"-{self.reduction:g}"
        return f"DenseNet-{kind}{self.depth}-{self.growth}{end}"

    @property
    def _layers(self) -> int:
        what = "a DenseNet with bottlenecks" if self.bottleneck else "a DenseNet without bottlenecks"
        return _blocks_of(self.depth, 2 if self.bottleneck else 1, 4, what)

    @property
    def stages(self) -> tuple[str, ...]:
        block = f"{self._layers} × dense, growth {self.growth}"
        kept = f"transition ↓, {self.reduction:g}"
        return (f"3×3, {2 * self.growth} channels", block, kept, block, kept, block)

    def build(self, in_channels: int, num_classes: int) -> nn.Module:
        return DenseNet(self._layers, self.growth, self.reduction, self.bottleneck, in_channels, num_classes)


@dataclass(frozen=True)
class Wide(Family):
    """Wide ResNet for CIFAR (Zagoruyko & Komodakis, BMVC 2016), without dropout.

    Args:
        depth: 6n + 4.
        widen: Factor of the widths.
    """

    depth: int
    widen: int
    family = "wide-resnet"

    def __post_init__(self) -> None:
        _require(_is_count(self.widen, MOST_WIDEN), "a Wide ResNet", f"`widen` must be 1 to {MOST_WIDEN}", self.widen)
        _ = self._blocks

    @classmethod
    def named(cls, name: str) -> Wide | None:
        found = _numbers(r"WRN-(\d{1,5})-(\d{1,5})", name)
        return None if found is None else cls(int(found[0]), int(found[1]))

    @property
    def name(self) -> str:
        return f"WRN-{self.depth}-{self.widen}"

    @property
    def _blocks(self) -> int:
        return _blocks_of(self.depth, 2, 4, "a Wide ResNet")

    @property
    def stages(self) -> tuple[str, ...]:
        widths = (width * self.widen for width in STAGES)
        return ("3×3, 16 channels", *(f"{self._blocks} × wide, {width} channels" for width in widths))

    def build(self, in_channels: int, num_classes: int) -> nn.Module:
        return WideResNet(self._blocks, self.widen, in_channels, num_classes)


@dataclass(frozen=True)
class Pooled(Family):
    """ResNet for ImageNet (He et al., CVPR 2016) as AutoDL-Projects has it, with averages on shortcuts of stride 2.

    Args:
        block: `basic`, of two convolutions, or `bottleneck`, of three.
        layers: Blocks of each of the four stages.
        deep_stem: Whether the stem has two 3×3 convolutions instead of one of 7×7.
    """

    block: str
    layers: tuple[int, ...]
    deep_stem: bool = False
    family = "imagenet"

    def __post_init__(self) -> None:
        _require(self.block in BLOCKS, "a ResNet", f"`block` must be {' or '.join(BLOCKS)}", self.block)
        four = isinstance(self.layers, list | tuple) and len(self.layers) == 4
        fits = four and all(_is_count(count, MOST_DEPTH // 12) for count in self.layers)
        _require(fits, "a ResNet", "`layers` must be the blocks of four stages", self.layers)
        _require(type(self.deep_stem) is bool, "a ResNet", "`deep_stem` must be true or false", self.deep_stem)
        object.__setattr__(self, "layers", tuple(self.layers))

    @classmethod
    def named(cls, name: str) -> Pooled | None:
        found = _numbers(r"ResNet-(basic|bottleneck)-(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})(-deep)?", name)
        return None if found is None else cls(found[0], tuple(map(int, found[1:5])), bool(found[5]))

    @property
    def name(self) -> str:
        return f"ResNet-{self.block}-{'-'.join(map(str, self.layers))}{'-deep' if self.deep_stem else ''}"

    @property
    def stages(self) -> tuple[str, ...]:
        expansion = BLOCKS[self.block].expansion
        blocks = (f"{n} × {self.block}, {64 * 2**i * expansion} channels" for i, n in enumerate(self.layers))
        return ("two 3×3 ↓" if self.deep_stem else "7×7 ↓", "max pool ↓", *blocks)

    def build(self, in_channels: int, num_classes: int) -> nn.Module:
        return PooledResNet(self.block, self.layers, self.deep_stem, in_channels, num_classes)


@dataclass(frozen=True)
class Airbench(Family):
    """Network that learns CIFAR-10 in few epochs (Jordan, 2024, arXiv:2404.00498).

    Args:
        widths: Of the pairs of convolutions, each of which halves the sides.
    """

    widths: tuple[int, ...]
    family = "airbench"

    def __post_init__(self) -> None:
        listed = isinstance(self.widths, list | tuple) and 1 <= len(self.widths) <= 8
        fits = listed and all(_is_count(width, MOST_WIDTH) for width in self.widths)
        _require(fits, "an Airbench", f"`widths` must be 1 to 8 numbers of channels up to {MOST_WIDTH}", self.widths)
        object.__setattr__(self, "widths", tuple(self.widths))

    @classmethod
    def named(cls, name: str) -> Airbench | None:
        found = _numbers(r"Airbench((?:-\d{1,5}){1,8})", name)
        return None if found is None else cls(tuple(map(int, found[0][1:].split("-"))))

    @property
    def name(self) -> str:
        return f"Airbench-{'-'.join(map(str, self.widths))}"

    @property
    def stages(self) -> tuple[str, ...]:
        return ("2×2 patches", *(f"pair ↓, {width} channels" for width in self.widths))

    def build(self, in_channels: int, num_classes: int) -> nn.Module:
        return AirbenchNetwork(self.widths, in_channels, num_classes)


@dataclass(frozen=True)
class Torchvision(Family):
    """A network of torchvision.

    Args:
        model: By what name torchvision makes it.
        head: Its attribute that maps features to logits.
    """

    model: str
    head: str = "classifier"
    family = "torchvision"

    @classmethod
    def named(cls, name: str) -> None:
        return None

    @property
    def name(self) -> str:
        return self.model

    @property
    def stages(self) -> tuple[str, ...]:
        return (f"torchvision's {self.model}",)

    @property
    def record(self) -> dict[str, Any]:
        return {NETWORK: self.family, "model": self.model}

    def build(self, in_channels: int, num_classes: int) -> nn.Module:
        return TorchvisionNetwork(self.model, self.head, in_channels, num_classes)
