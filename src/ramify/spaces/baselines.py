"""Baselines: well-known networks by name, as a space with the one decision which of them.

A network is a record of numbers in `NETWORKS`; its family says how they become modules. Any other network of a family
has a name, too, and is a member where `networks` lists it: `WRN-16-4`, `DenseNet-BC-40-24-0.75`, `ResNet-basic-14`.

There is no supernet, as the networks share no weights: strategies that evaluate one by one search this space, and what
needs a supernet is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.errors import ArchitectureError, ConfigurationError, nearest
from ramify.spaces.base import Candidate, Space, argmax_existing, check_scores
from ramify.spaces.baseline_families import NETWORK, Airbench, Dense, Family, Pooled, ResNet, Torchvision, Wide
from ramify.spaces.cell_graph import CellGraph
from ramify.supernet import Choice
from ramify.wording import excerpt

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
