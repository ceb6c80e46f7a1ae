"""Residual networks whose widths and depths are decided (Dong & Yang, TAS, NeurIPS 2019, arXiv:1905.09717).

Every convolution keeps a share of its output channels, and every stage its first blocks. In the network of a member no
layer pads or cuts channels: where the widths before and after a block of stride 1 differ, its shortcut is a 1×1
convolution, with a norm but for bottlenecks on CIFAR; the first block of a stage reads the width of the last block kept
before. In the supernet a sum extends its narrower operand by zeros instead, and every candidate width has norms of its
own, also on shortcuts of stride 2, which have none in networks for CIFAR. So a member is trained anew, as published: it
has convolutions that the supernet lacks, and takes over no weights.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any, Literal, NoReturn, Self, cast

from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.capabilities import DEPTH as DEPTH_OF_LAYOUTS
from ramify.capabilities import EXPECTED_COST, INHERITANCE, STEMS, Capability
from ramify.errors import ArchitectureError, ConfigurationError, shown
from ramify.spaces.base import Candidate, Space, argmax_existing, check_scores
from ramify.spaces.bounds import MOST_LAYERS, check_most
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.notation import read
from ramify.spaces.prunable_network import DEPTH, WIDTH, PrunableSupernet, PrunedResNet
from ramify.spaces.residual_plan import CIFAR, CONVOLUTIONS, IMAGENET, NETWORKS, SHARES, ResidualPlan, Shortcut
from ramify.supernet import Choice
from ramify.wording import excerpt, listing

MOST_SHARES = 64
"""That a convolution may have to choose from."""
_KEYS = {CIFAR: ("network", "block", "depth"), IMAGENET: ("network", "block", "layers", "deep_stem")}
_IN_ROW = 6
"""Blocks in a row of the picture."""


def is_pruned(notation: Any) -> bool:
    """Return whether a notation is the record of a pruned residual network."""
    network = notation.get("network") if isinstance(notation, Mapping) else None
    return network == CIFAR or (network == IMAGENET and bool({"channels", "blocks"} & set(notation)))


class PrunableResNet(Space):
    """Widths and depths of a residual network: of ResNet-20 by default, 8¹⁹·3³ members.

    Args:
        network: `cifar`, of three stages from 16 channels on, or `imagenet`, of four from 64 channels on.
        block: `basic`, of two convolutions, or `bottleneck`, of three, the last one four times as wide.
        depth: Layers of the network for CIFAR: 6n + 2, or 9n + 2 with bottlenecks.
        layers: Blocks of each stage of the network for ImageNet.
        deep_stem: Whether its stem has two 3×3 convolutions instead of one of 7×7.
        searched: `shape`, widths and depths, or only the `width` or `depth`.
        shares: Of its width that a convolution may keep, ascending, the last 1.

    Example:
        >>> from ramify import spaces
        >>> space = spaces.PrunableResNet(depth=20, searched="depth")
        >>> space.size, spaces.PrunableResNet().decisions[1].choices
        (27, (4, 6, 8, 9, 11, 12, 14, 16))
    """

    source = "Dong & Yang, TAS, NeurIPS 2019, arXiv:1905.09717"
    additive = False
    nested = True
    same_widths = False

    def __init__(
        self,
        network: Literal["cifar", "imagenet"] = "cifar",
        block: Literal["basic", "bottleneck"] = "basic",
        depth: int = 20,
        layers: Sequence[int] = (2, 2, 2, 2),
        deep_stem: bool = False,
        searched: Literal["shape", "width", "depth"] = "shape",
        shares: Sequence[float] = SHARES,
    ) -> None:
        for name, value, known in (
            ("network", network, NETWORKS),
            ("block", block, tuple(CONVOLUTIONS)),
            ("searched", searched, ("shape", WIDTH, DEPTH)),
        ):
            if value not in known:
                raise ConfigurationError(f"`{name}` must be {listing(known)}, got {shown(value)}")
        self.network, self.block, self.searched = network, block, searched
        self.depth = depth  # type: ignore[misc, assignment]
        self.layers, self.deep_stem, self.shares = tuple(layers), deep_stem, tuple(shares)
        self.plan = self._planned()
        numbers = all(type(share) in (int, float) and 0 < share <= 1 for share in self.shares)
        if not (self.shares and numbers and list(self.shares) == sorted(set(self.shares)) and self.shares[-1] == 1):
            raise ConfigurationError(f"`shares` must be ascending numbers up to 1, the last 1, got {shown(shares)}")
        check_most("the number of shares", len(self.shares), MOST_SHARES)

    def _planned(self) -> ResidualPlan:
        """Return the whole network of the arguments."""
        if self.network == CIFAR:
            if self.layers != (2, 2, 2, 2) or self.deep_stem:
                raise ConfigurationError("`layers` and `deep_stem` are of the network for ImageNet; here it is `depth`")
            return ResidualPlan.of_depth(self.block, cast(int, self.depth))
        if self.depth != 20:
            raise ConfigurationError("`depth` is of the network for CIFAR; here it is `layers`")
        if len(self.layers) != 4 or not all(type(n) is int and n >= 1 for n in self.layers):
            raise ConfigurationError(f"`layers` must be the blocks of four stages, got {shown(self.layers)}")
        check_most("layers", sum(self.layers), MOST_LAYERS // 3)
        if type(self.deep_stem) is not bool:
            raise ConfigurationError(f"`deep_stem` must be true or false, got {shown(self.deep_stem)}")
        return ResidualPlan(IMAGENET, self.block, self.layers, self.deep_stem)

    @classmethod
    def covering(cls, notation: Mapping[str, Any]) -> PrunableResNet:
        """Return the space of a record, which says which network is pruned.

        Raises:
            ArchitectureError: If it is no such network.
        """
        keys = [key for key in _KEYS[str(notation["network"])] if key in notation]
        given = {key: notation[key] for key in keys}
        try:
            return cls(**{"layers": (2, 2, 2, 2), **given} if notation["network"] == IMAGENET else given)
        except (ConfigurationError, TypeError) as error:
            raise ArchitectureError(f"a pruned residual network: {error}") from None

    # What is decided

    @cached_property
    def widths(self) -> tuple[tuple[int, ...], ...]:
        """The widths that each convolution has to choose from, one for each share; doubles are masked out."""
        return self.plan.widths(self.shares)

    @property
    def full(self) -> Architecture:
        """The member that is the whole network."""
        return self.architecture({decision.name: decision.choices[-1] for decision in self._unrestricted.values()})

    def _all_choices(self) -> dict[str, Choice]:
        choices = {}
        if self.searched != DEPTH:
            edges = tuple((row, row + 1) for row in range(len(self.widths)))
            mask = [[width not in row[:index] for index, width in enumerate(row)] for row in self.widths]
            ops = tuple(f"{share:g}" for share in self.shares)
            choices[WIDTH] = Choice(edges, ops, role=WIDTH).restricted(mask, WIDTH)
        if self.searched != WIDTH:
            stages = tuple((stage, stage + 1) for stage in range(len(self.plan.blocks)))
            count = len(self.plan.depths[0])
            ops = tuple(map(str, self.plan.depths[0]))
            if self.network == IMAGENET:
                ops = tuple(f"{index + 1}/{count}" for index in range(count))
            choices[DEPTH] = Choice(stages, ops, role=DEPTH)
        return choices

    def _all_decisions(self) -> list[Decision]:
        decisions = []
        if self.searched != DEPTH:
            decisions += [
                Decision(conv.name, tuple(dict.fromkeys(row)), conv)
                for conv, row in zip(self.plan.convolutions, self.widths, strict=True)
            ]
        if self.searched != WIDTH:
            decisions += [Decision(f"stage{number}", row) for number, row in enumerate(self.plan.depths, start=1)]
        return decisions

    @cached_property
    def _rows(self) -> dict[str, tuple[str, int, tuple[int, ...]]]:
        """Decision → its choice, its row, and the values that the candidates stand for."""
        rows = {
            conv.name: (WIDTH, row, own)
            for row, (conv, own) in enumerate(zip(self.plan.convolutions, self.widths, strict=True))
        }
        return rows | {f"stage{number + 1}": (DEPTH, number, own) for number, own in enumerate(self.plan.depths)}

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the one candidate for a width of a convolution, or a depth of a stage."""
        choice, row, own = self._rows[decision]
        return [(choice, row, own.index(cast(int, value)))]

    def widths_of(self, arch: Architecture) -> tuple[int, ...]:
        """Return the width of every convolution, also of those that a member leaves out."""
        return tuple(int(cast(int, arch.choices.get(conv.name, conv.width))) for conv in self.plan.convolutions)

    def depths_of(self, arch: Architecture) -> tuple[int, ...]:
        """Return how many blocks a member keeps in each stage."""
        own = enumerate(self.plan.blocks, start=1)
        return tuple(int(cast(int, arch.choices.get(f"stage{number}", blocks))) for number, blocks in own)

    def reads(self, arch: Architecture) -> Collection[str]:
        """Return the depths, and the widths of the convolutions that are kept."""
        depths = self.depths_of(arch)
        out = {
            self.plan.convolutions[row].name
            for block in self.plan.residual
            if block.number >= depths[block.stage]
            for row in block.rows
        }
        return [name for name in arch if name not in out]

    def restrict(self, masks: Mapping[str, Any]) -> Self:
        """Return the sub-space whose candidates exist here and in `masks` (choice → bool (E, O)).

        A width that no member of it reads may be left without any candidate: it keeps all that it has.

        Raises:
            ArchitectureError: If a name or shape is wrong, or a decision that is read is left without any choice.
        """
        left = {n: self.choices[n].restricted(mask, n).mask for n, mask in masks.items() if n in self.choices}
        if WIDTH in left and DEPTH in self.choices:
            allowed = left.get(DEPTH, self.choices[DEPTH].mask).tolist()
            for block in self.plan.residual:
                depths = zip(self.plan.depths[block.stage], allowed[block.stage], strict=True)
                for row in block.rows if not any(on and depth > block.number for depth, on in depths) else ():
                    if not left[WIDTH][row].any():
                        left[WIDTH][row] = self.choices[WIDTH].mask[row]
        return super().restrict({**masks, **left})

    @property
    def networks(self) -> int:
        """Exact number of different networks: of members that differ in what is read."""
        allowed = {decision.name: decision.choices for decision in self.decisions}

        def widths(rows: Iterable[int]) -> int:
            return prod(len(allowed.get(self.plan.convolutions[row].name, (0,))) for row in rows)

        total = widths(range(len(self.plan.stem)))
        for number, blocks in enumerate(self.plan.stages, start=1):
            depths = cast("tuple[int, ...]", allowed.get(f"stage{number}", (len(blocks),)))
            total *= sum(prod(widths(block.rows) for block in blocks[:depth]) for depth in depths)
        return total

    def parts(self, arch: Architecture) -> list[Hashable]:
        """Return the layers that are kept, each with the widths before and after it."""
        layers = self.plan.layers(self.widths_of(arch), self.depths_of(arch))
        return [(layer.name, layer.before, layer.after) for layer in layers]

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Take the width and the depth with the highest score everywhere."""
        check_scores(scores, self.choices)
        best = {name: argmax_existing(scores[name], choice) for name, choice in self.choices.items()}
        return self.architecture(
            {name: own[best[choice][row]] for name, (choice, row, own) in self._rows.items() if choice in best}
        )

    # Notation: {"network": "cifar", "block": "basic", "depth": 20, "channels": [3, 16, …], "blocks": [3, 3, 3]}

    def parse(self, notation: Any) -> Architecture:
        """Read a record: the network, `channels`, of the images and of every convolution, and `blocks` of stages.

        Where `channels` or `blocks` are absent, nothing is pruned. How many channels images have, the data say.

        Raises:
            ArchitectureError: Saying what is wrong.
        """
        notation = read(notation)
        if not isinstance(notation, Mapping) or notation.get("network") not in NETWORKS:
            raise ArchitectureError(
                "a pruned residual network is an object such as {'network': 'cifar', 'block': 'basic', 'depth': 20, "
                f"'channels': [3, 16, …], 'blocks': [3, 3, 3]}}, got {excerpt(notation, 60)}"
            )
        known = {*_KEYS[str(notation["network"])], "channels", "blocks"}
        if unknown := [key for key in notation if key not in known]:
            raise ArchitectureError(f"a pruned residual network has no {excerpt(unknown[0], 40)}; {listing(known)}")
        own = self.covering(notation).plan
        if own != self.plan:
            raise ArchitectureError(f"this is a network of {excerpt(own, 90)}, and the space is of {self.plan}")
        widths = self._numbers(notation, "channels", (3, *(conv.width for conv in self.plan.convolutions)))[1:]
        depths = self._numbers(notation, "blocks", self.plan.blocks)
        values: dict[str, Value] = {}
        for name, (choice, row, allowed) in self._rows.items():
            value = (widths if choice == WIDTH else depths)[row]
            if name not in self._unrestricted:
                allowed = allowed[-1:]
            if value not in allowed:
                what = "blocks" if choice == DEPTH else "channels"
                raise ArchitectureError(f"{name} cannot have {value} {what}, only {listing(allowed)}")
            if name in self._unrestricted:
                values[name] = value
        return self.architecture(values)

    @staticmethod
    def _numbers(notation: Mapping[str, Any], key: str, whole: Sequence[int]) -> Sequence[int]:
        """Return the numbers under a key; those of the whole network where there are none."""
        numbers = notation.get(key, whole)
        listed = isinstance(numbers, list | tuple) and all(type(n) is int and n >= 1 for n in numbers)
        if not listed or len(numbers) != len(whole):
            raise ArchitectureError(f"`{key}` must be {len(whole)} whole numbers, got {excerpt(numbers, 60)}")
        return numbers

    def format(self, arch: Architecture) -> dict[str, Any]:
        """Write the record, with the widths of what is left out."""
        self.checked(arch)
        own: dict[str, Any] = {"network": self.network, "block": self.block, "depth": self.depth}
        if self.network == IMAGENET:
            own = {"network": IMAGENET, "block": self.block, "layers": list(self.layers), "deep_stem": self.deep_stem}
        return own | {"channels": [3, *self.widths_of(arch)], "blocks": list(self.depths_of(arch))}

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the chain of the blocks that are kept, with their widths."""
        self.checked(arch)
        widths, depths = self.widths_of(arch), self.depths_of(arch)
        states, edges = ["image"], []
        for row in range(len(self.plan.stem)):
            states.append(str(widths[row]))
            edges.append("stem ↓" if self.plan.stem[row].stride == 2 else "stem")
        for block in self.plan.residual:
            if block.number < depths[block.stage]:
                states.append("·".join(str(widths[row]) for row in block.rows))
                edges.append(f"{self.block} ↓" if block.stride == 2 else self.block)
        chain = tuple((number, number + 1, edge) for number, edge in enumerate(edges))
        rows = tuple(range(_IN_ROW, len(states) - 1, _IN_ROW))
        return {"network": CellGraph(tuple(states), chain, inputs=(0,), output=len(states) - 1, rows=rows)}

    # What it offers

    @property
    def offers(self) -> frozenset[Capability]:
        """The detected capabilities, without layouts of any depth."""
        return (super().offers - {DEPTH_OF_LAYOUTS}) | {EXPECTED_COST}

    @cached_property
    def _of_networks(self) -> frozenset[Capability]:
        return super()._of_networks - {INHERITANCE, STEMS}

    # Networks

    def _build(self, arch: Architecture, layout: Any, shape: Mapping[str, int]) -> PrunedResNet:
        widths, depths = self.widths_of(arch), self.depths_of(arch)
        return PrunedResNet(self.plan, widths, depths, shape["in_channels"], shape["num_classes"])

    def _supernet(self, layout: Any, shape: Mapping[str, int]) -> PrunableSupernet:
        fixed = len(self.shares) - 1
        widths = [{fixed: conv.width} for conv in self.plan.convolutions]
        if WIDTH in self.choices:
            masks = self.choices[WIDTH].mask.tolist()
            widths = [
                {index: width for index, width in enumerate(row) if mask[index]}
                for row, mask in zip(self.widths, masks, strict=True)
            ]
        depths = [{len(row) - 1: row[-1]} for row in self.plan.depths]
        if DEPTH in self.choices:
            masks = self.choices[DEPTH].mask.tolist()
            depths = [
                {index: depth for index, depth in enumerate(row) if mask[index]}
                for row, mask in zip(self.plan.depths, masks, strict=True)
            ]
        shortcuts = [self.plan.shortcut_of_whole(block) for block in self.plan.residual]
        if WIDTH in self.choices:
            shortcuts = [None if shortcut is None else Shortcut(shortcut.pooled, True) for shortcut in shortcuts]
        return PrunableSupernet(self.plan, widths, depths, shortcuts, shape["in_channels"], shape["num_classes"])

    def extract(self, sup: nn.Module, arch: Architecture) -> NoReturn:
        """Refuse: a member takes over no weights.

        Raises:
            ArchitectureError: Always.
        """
        raise ArchitectureError(
            f"members of {self.name} take over no weights: their shortcuts have convolutions that the supernet lacks; "
            "train them anew, with the whole network as a teacher"
        )
