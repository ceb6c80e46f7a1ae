"""Baselines: well-known networks by name, as a space with the one decision which of them.

A network is a record of numbers in `NETWORKS`; its family says how they become modules. Any other network of a family
has a name, too, and is a member where `networks` lists it: `WRN-16-4`, `DenseNet-BC-40-24-0.75`, `ResNet-basic-14`.

There is no supernet, as the networks share no weights: strategies that evaluate one by one search this space, and what
needs a supernet is refused.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, NoReturn

from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.errors import ArchitectureError, ConfigurationError, nearest
from ramify.spaces.base import Candidate, Space, argmax_existing, check_scores
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
from ramify.spaces.cell_graph import CellGraph
from ramify.supernet import Choice
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
        return next(name for name, network in NETWORKS.items() if network == self)

    @property
    def stages(self) -> tuple[str, ...]:
        return (f"torchvision's {self.model}",)

    @property
    def record(self) -> dict[str, Any]:
        return {NETWORK: self.family, "model": self.model}

    def build(self, in_channels: int, num_classes: int) -> nn.Module:
        return TorchvisionNetwork(self.model, self.head, in_channels, num_classes)


NETWORKS: Mapping[str, Family] = {
    **{f"ResNet{depth}": ResNet("basic", depth) for depth in (8, 20, 32, 44, 56, 110)},
    **{f"ResNet{depth}": ResNet("bottleneck", depth) for depth in (164, 1001)},
    **{network.name: network for network in (Dense(100, 12), Dense(250, 24), Dense(190, 40))},
    **{network.name: network for network in (Wide(16, 8), Wide(28, 10), Wide(40, 4))},
    "Airbench94": Airbench((64, 256, 256)),
    **{
        f"ResNet{depth}-avg{'-deep' if deep else ''}": Pooled(block, layers, deep)
        for deep in (False, True)
        for depth, block, layers in (
            (18, "basic", (2, 2, 2, 2)),
            (34, "basic", (3, 4, 6, 3)),
            (50, "bottleneck", (3, 4, 6, 3)),
            (101, "bottleneck", (3, 4, 23, 3)),
            (152, "bottleneck", (3, 8, 36, 3)),
            (200, "bottleneck", (3, 24, 36, 3)),
        )
    },
    **{f"ResNet{depth}": Torchvision(f"resnet{depth}", "fc") for depth in (18, 34, 50, 101, 152)},
    "ResNeXt50-32x4d": Torchvision("resnext50_32x4d", "fc"),
    "ResNeXt101-32x8d": Torchvision("resnext101_32x8d", "fc"),
    "WideResNet50-2": Torchvision("wide_resnet50_2", "fc"),
    "ShuffleNetV2-x1.0": Torchvision("shufflenet_v2_x1_0", "fc"),
    "DenseNet121": Torchvision("densenet121"),
    "MobileNetV2": Torchvision("mobilenet_v2"),
    "MobileNetV3-Small": Torchvision("mobilenet_v3_small"),
    "MobileNetV3-Large": Torchvision("mobilenet_v3_large"),
    "MNASNet-1.0": Torchvision("mnasnet1_0"),
    "EfficientNet-B0": Torchvision("efficientnet_b0"),
}
"""The networks that are known by a name of their own."""

FAMILIES = {kind.family: kind for kind in (ResNet, Dense, Wide, Pooled, Airbench, Torchvision)}


def network_named(name: str) -> Family | None:
    """Return the network of a name; None where it is no baseline's.

    Raises:
        ArchitectureError: If the name is a family's, and its numbers are not.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    return next((network for kind in FAMILIES.values() if (network := kind.named(name)) is not None), None)


def name_of(network: Family) -> str:
    """Return the name of a network: its own, where it has one, else that of its numbers."""
    return next((name for name, known in NETWORKS.items() if known == network), network.name)


def is_baseline(notation: Any) -> bool:
    """Return whether a notation is the name or the record of a baseline, though its numbers may be wrong."""
    if isinstance(notation, Mapping):
        return isinstance(notation.get(NETWORK), str)
    try:
        return isinstance(notation, str) and network_named(notation.strip()) is not None
    except ArchitectureError:
        return True


def _read(notation: Any) -> Family:
    """Return the network of a name or a record."""
    if isinstance(notation, str):
        network = network_named(notation.strip())
        if network is None:
            raise ArchitectureError(f"{excerpt(notation, 60)} is no baseline; {nearest(notation.strip(), NETWORKS)}")
        return network
    if not isinstance(notation, Mapping):
        raise ArchitectureError(f"a baseline is a name such as 'ResNet20', or a record, got {excerpt(notation, 40)}")
    kind = FAMILIES.get(str(notation.get(NETWORK)))
    if kind is None:
        family = excerpt(notation.get(NETWORK), 40)
        raise ArchitectureError(f"{family} is no family of baselines; {nearest(family, FAMILIES)}")
    numbers = {key: value for key, value in notation.items() if key != NETWORK}
    if kind is Torchvision:
        known = {network.model: network for network in NETWORKS.values() if isinstance(network, Torchvision)}
        model = str(numbers.get("model"))
        if set(numbers) != {"model"} or model not in known:
            raise ArchitectureError(f"torchvision's {excerpt(model, 40)} is no baseline; {nearest(model, known)}")
        return known[model]
    try:
        return kind(**numbers)
    except TypeError:
        takes = ", ".join(f"`{item.name}`" for item in fields(kind))
        got = excerpt(numbers, 80)
        raise ArchitectureError(f"a network of the family {kind.family!r} takes {takes}, got {got}") from None


class Baselines(Space):
    """Well-known networks for CIFAR and ImageNet, with the one decision which: 42 members by default.

    Args:
        networks: Names of the members: those of `NETWORKS`, or names that say the numbers, such as `WRN-16-4`.

    Example:
        >>> from ramify import spaces
        >>> space = spaces.Baselines()
        >>> sum(p.numel() for p in space.build(space.parse("ResNet20")).parameters())
        272282
    """

    source = "He et al., arXiv:1512.03385; Huang et al., arXiv:1608.06993; Zagoruyko & Komodakis, arXiv:1605.07146"
    one_shot = False
    same_widths = False

    def __init__(self, networks: Sequence[str] = tuple(NETWORKS)) -> None:
        if isinstance(networks, str) or not networks or not all(isinstance(name, str) for name in networks):
            raise ConfigurationError(f"`networks` must be names of baselines, got {excerpt(networks, 60)}")
        for name in networks:
            try:
                canonical = name_of(_read(name))
            except ArchitectureError as error:
                raise ConfigurationError(f"`networks`: {error}") from None
            if canonical != name:
                raise ConfigurationError(f"`networks`: {name} goes by the name {canonical}")
        if len(set(networks)) < len(networks):
            raise ConfigurationError("`networks` names a network twice")
        self.networks = tuple(networks)

    @classmethod
    def covering(cls, notation: Any) -> Baselines:
        """Return the smallest instance that has a network: the default one, or one of this network alone."""
        name = name_of(_read(notation))
        return cls() if name in NETWORKS else cls([name])

    def _all_choices(self) -> dict[str, Choice]:
        return {NETWORK: Choice(((0, 1),), self.networks)}

    def _all_decisions(self) -> list[Decision]:
        return [Decision(NETWORK, self.networks)]

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the one candidate that is the network `value`."""
        return [(NETWORK, 0, self.networks.index(str(value)))]

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Take the network with the highest score."""
        check_scores(scores, self.choices)
        (best,) = argmax_existing(scores[NETWORK], self.choices[NETWORK])
        return self.architecture([self.networks[best]])

    def parse(self, notation: Any) -> Architecture:
        """Read a name, or a record such as `{"network": "wide-resnet", "depth": 28, "widen": 10}`.

        Raises:
            ArchitectureError: If it is no baseline's, or that is no member here.
        """
        name = name_of(_read(notation))
        if name not in self.networks:
            raise ArchitectureError(f"{name} is not among the networks of this {self.name}; `networks` names them")
        return self.architecture([name])

    def format(self, arch: Architecture) -> str:
        """Write the name."""
        return str(self.checked(arch)[NETWORK])

    def record(self, arch: Architecture) -> dict[str, Any]:
        """Return the numbers of a member as plain JSON values; `parse` reads them."""
        return _read(self.format(arch)).record

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the picture of the stages."""
        stages = _read(self.format(arch)).stages
        edges = tuple((number, number + 1, stage) for number, stage in enumerate(stages))
        states = ("image", *(str(number + 1) for number in range(len(stages) - 1)), "features")
        return {NETWORK: CellGraph(states, edges, inputs=(0,), output=len(stages))}

    def _build(self, arch: Architecture, layout: Any, shape: Mapping[str, int]) -> nn.Module:
        return _read(self.format(arch)).build(shape["in_channels"], shape["num_classes"])

    def _supernet(self, layout: Any, shape: Mapping[str, int]) -> NoReturn:
        raise ArchitectureError(f"{self.name} has no supernet: its networks share no weights; search it one by one")
