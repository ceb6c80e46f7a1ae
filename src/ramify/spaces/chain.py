"""What the chain-structured spaces share: a sequence of layers, with a choice of operation for each.

Network: stem, layers in stages, a 1×1 convolution, global average pool, linear. The first layer of a stage changes the
width, and where the stage has a stride, the resolution; the others keep both, so they may have a shortcut and, where
the space says so, be left out. In the choice `layers` the edge (n, n+1) is layer n. Leaving a layer out is the
candidate `skip_connect`, written -1 in notations; in a mixture it adds its weight times the input.

`resolution` is the side of the images that a network is laid out for. The published networks halve it five times.
Smaller images keep as many of these strides as leave a last map of 4×4 or more: ⌊log₂(resolution/4)⌋ strides, at
most all. The earliest ones, from the stem on, become 1. So 112 pixels and below lose one, 32 pixels (CIFAR) keep three,
8 pixels (digits) keep one.

`channels` is the width of the stem. With any but the published one all widths are scaled by the same factor, to the
nearest even number.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.capabilities import LAYER_COSTS, Capability
from ramify.errors import ArchitectureError, ConfigurationError, nearest
from ramify.ops import SKIP, Norm, Operation, with_eps
from ramify.spaces.base import Candidate, Space, argmax_existing, check_scores
from ramify.spaces.bounds import MOST_LAYERS, check_most
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.chain_network import (
    LAYERS,
    BuiltLayer,
    ChainNetwork,
    ChainSupernet,
    Frame,
    Layer,
)
from ramify.spaces.layout import Kind, NormedLayout, keyword
from ramify.spaces.notation import read
from ramify.supernet import Choice, MixedLayer
from ramify.wording import excerpt

ABSENT = -1
"""How notations write a layer that is left out."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Consecutive layers of one width.

    Args:
        width: Channels of what they put out.
        stride: Of the first layer.
    """

    width: int
    stride: int


class ChainSpace(Space):
    """A chain of layers. Subclasses define the operations, the widths of the stages, and the layers around them.

    Attributes:
        blocks: Number of layers of every stage.
        operations: Names in the order of their codes, `skip_connect` last where layers may be left out.
    """

    @dataclass(frozen=True, kw_only=True)
    class Layout(NormedLayout):
        """How the networks are laid out: their width, and the size of their images.

        A part of the channels cannot go past a layer that changes their number, so there are no partial channels.

        Args:
            channels: Width of the stem; all others are scaled with it. None: the published one.
            last_channels: Width of the last convolution, before scaling. None: the published one.
            resolution: Side of the images in pixels; it decides how many strides are kept.
            affine: Whether the norms behind the stem scale and shift, and in `ShuffleChain` that of the stem; those of
                other stems always do. None: in built networks, but not in supernets.
            track_running_stats: Whether these norms keep running statistics. None: as for `affine`.
            checkpoint_cells: Whether training computes cells twice instead of keeping what lies inside them: the same
                numbers in less memory and more time.
            norm_eps: ε of all norms.
            drop_path: Probability of dropping what a layer adds to its shortcut, or puts beside it, in training; of
                built networks.
            dropout: Probability of dropping what enters the classifier in training; of built networks.
        """

        channels: int | None = None
        last_channels: int | None = None
        resolution: int = 224
        norm_eps: float = keyword(1e-5, positive=True)
        drop_path: float = keyword(0.0, only="member")
        dropout: float = keyword(0.0, only="member")

    stages: ClassVar[tuple[Stage, ...]]
    channels: ClassVar[int]
    """Published width of the stem."""
    last_channels: ClassVar[int]
    """Published width of the last convolution."""
    before: ClassVar[int]
    """Published width of what enters the first layer."""
    shortcut: ClassVar[bool] = True
    """Whether layers that keep width and resolution add what they take in."""
    distilled: ClassVar[tuple[str, ...]]
    """The stages that a distilling strategy compares: the last ones of maps of 28² and 14² at 224 pixels."""

    blocks: tuple[int, ...]
    operations: tuple[str, ...]

    @abstractmethod
    def _candidate(self, op: str, layer: Layer, norm: Norm) -> Operation:
        """Return the module of an operation other than `skip_connect`, without the layer's shortcut."""

    @abstractmethod
    def _frame(self, shape: Mapping[str, int], widths: Widths, norm: Norm) -> Frame:
        """Return what stands around the layers; `norm` makes the norms behind them."""

    @abstractmethod
    def _initialize(self, network: nn.Module) -> None:
        """Draw the weights of a fresh network as published."""

    def _check_blocks(self, blocks: Sequence[int]) -> tuple[int, ...]:
        """Return the number of layers of every stage.

        Raises:
            ConfigurationError: If there is not one number from 1 for each stage.
        """
        given = tuple(blocks)
        if len(given) != len(self.stages) or not all(type(count) is int and count >= 1 for count in given):
            raise ConfigurationError(
                f"`blocks` must be {len(self.stages)} whole numbers from 1, one for each stage, got {list(given)}"
            )
        check_most("the sum of blocks", sum(given), MOST_LAYERS)
        return given

    @property
    def drawing(self) -> str:
        """Depths are equally likely where layers can be left out, as in the released code of ABS; else operations."""
        return "depth-uniform" if SKIP in self.operations else "uniform"

    @property
    def places(self) -> list[tuple[int, int]]:
        """(stage from 1, block from 0) of every layer."""
        return [(stage, block) for stage, count in enumerate(self.blocks, start=1) for block in range(count)]

    @property
    def offers(self) -> frozenset[Capability]:
        """The detected capabilities, and costs per layer (`ramify.chain_costs`)."""
        return super().offers | {LAYER_COSTS}

    def _offers(self, layer: int, op: str) -> bool:
        """Return whether a layer has a candidate: only those that are not the first of a stage can be left out."""
        return op != SKIP or self.places[layer][1] > 0

    def _all_choices(self) -> dict[str, Choice]:
        count = len(self.places)
        unrestricted = Choice(tuple((layer, layer + 1) for layer in range(count)), self.operations)
        mask = [[self._offers(layer, op) for op in self.operations] for layer in range(count)]
        return {LAYERS: unrestricted.restricted(mask, LAYERS)}

    def _all_decisions(self) -> list[Decision]:
        return [
            Decision(f"layer{layer}", tuple(op for op in self.operations if self._offers(layer, op)), layer)
            for layer in range(len(self.places))
        ]

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the one candidate for the value `value` of the layer `decision`."""
        return [(LAYERS, self.place(decision), self.operations.index(str(value)))]

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Take the operation with the highest score in every layer."""
        check_scores(scores, self.choices)
        return self.architecture([self.operations[i] for i in argmax_existing(scores[LAYERS], self.choices[LAYERS])])

    # Notation: [2, 2, -1, 0, …]

    def parse(self, notation: Any) -> Architecture:
        """Read one code per layer, -1 for a layer left out, as a list or its text.

        Raises:
            ArchitectureError: Saying which layer is wrong.
        """
        codes = listed(notation, self.name)
        if len(codes) != len(self.places):
            raise ArchitectureError(f"{self.name} has {len(self.places)} layers, got {len(codes)} codes")
        return self.architecture([self._operation(layer, code) for layer, code in enumerate(codes)])

    def format(self, arch: Architecture) -> Any:
        """Write one code per layer."""
        return self.codes(arch)

    def codes(self, arch: Architecture) -> list[int]:
        """Return the code of every layer's operation, -1 for a layer left out."""
        self.checked(arch)
        ops = [str(arch[f"layer{layer}"]) for layer in range(len(self.places))]
        return [ABSENT if op == SKIP else self.operations.index(op) for op in ops]

    def _operation(self, layer: int, code: Any) -> str:
        """Return the operation that a code, or a name, stands for.

        Raises:
            ArchitectureError: If the layer has no such candidate.
        """
        count = len([op for op in self.operations if op != SKIP])
        offered = [op for op in self.operations if self._offers(layer, op)]
        if isinstance(code, str):
            op = SKIP if code == "identity" else code
            if op not in self.operations:
                likely = nearest(code[:40], self.operations)
                raise ArchitectureError(f"layer {layer}: unknown operation {excerpt(code)}; {likely}")
        elif type(code) is int and (0 <= code < count or code == ABSENT):
            op = SKIP if code == ABSENT else self.operations[code]
        else:
            also = ", and -1 for a layer left out" if SKIP in offered else ""
            raise ArchitectureError(f"layer {layer}: {excerpt(code)} is no code; there are 0 to {count - 1}{also}")
        if op not in offered:
            raise ArchitectureError(f"layer {layer} cannot be left out" + (self._why_not_absent(layer)))
        return op

    def _why_not_absent(self, layer: int) -> str:
        return ": it is the first of its stage" if SKIP in self.operations else f" in {self.name}"

    def present(self, arch: Architecture) -> dict[int, str]:
        """Return the layers that are not left out, with their operations."""
        self.checked(arch)
        operations = {layer: str(arch[f"layer{layer}"]) for layer in range(len(self.places))}
        return {layer: op for layer, op in operations.items() if op != SKIP}

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the picture of the chain, with a row for every stage.

        A state is called by stage and block, and by the published number of its channels; ↓ halves the resolution.
        """
        self.checked(arch)
        labels, rows = [f"{self.before}"], []
        for layer, (number, block) in enumerate(self.places):
            stage = self.stages[number - 1]
            labels.append(f"{number}.{block}: {stage.width}" + " ↓" * (block == 0 and stage.stride == 2))
            if block == 0 and layer:
                rows.append(layer)
        edges = tuple((layer, layer + 1, str(arch[f"layer{layer}"])) for layer in range(len(self.places)))
        return {LAYERS: CellGraph(tuple(labels), edges, inputs=(0,), output=len(edges), rows=tuple(rows))}

    # Layout

    def _defaults(self, layout: Layout, kind: Kind) -> Mapping[str, Any]:
        return {"channels": self.channels, "last_channels": self.last_channels}

    def widths(self, layout: Layout) -> Widths:
        """Return the widths and strides of a complete layout."""
        return Widths(
            channels=cast(int, layout.channels),
            published=self.channels,
            last_channels=cast(int, layout.last_channels),
            strides=kept_strides((2, *(stage.stride for stage in self.stages)), layout.resolution),
        )

    def plan(self, widths: Widths) -> list[Layer]:
        """Return the configuration of every layer in a network of these widths."""
        layers = []
        c_in, published_in = widths.scaled(self.before), self.before
        for index, (number, block) in enumerate(self.places):
            stage = self.stages[number - 1]
            c_out = widths.scaled(stage.width)
            layers.append(
                Layer(
                    index=index,
                    stage=number,
                    first=block == 0,
                    c_in=c_in,
                    c_out=c_out,
                    stride=widths.strides[number] if block == 0 else 1,
                    # by the published numbers: neither smaller images nor scaled widths make a shortcut
                    residual=self.shortcut and published_in == stage.width and (block > 0 or stage.stride == 1),
                )
            )
            c_in, published_in = c_out, stage.width
        return layers

    # Networks

    def _build(self, arch: Architecture, layout: Layout, shape: Mapping[str, int]) -> ChainNetwork:
        widths, norm = self.widths(layout), layout.norm
        plan = self.plan(widths)
        layers = {
            layer: BuiltLayer(op, self._candidate(op, plan[layer], norm), plan[layer].residual, layout.drop_path)
            for layer, op in self.present(arch).items()
        }
        network = ChainNetwork(self._frame(shape, widths, norm), layers, plan, self.distilled, layout.dropout)
        self._initialize(network)
        return with_eps(network, layout.norm_eps)

    def _supernet(self, layout: Layout, shape: Mapping[str, int]) -> ChainSupernet:
        widths, norm, choice = self.widths(layout), layout.norm, self.choices[LAYERS]
        plan = self.plan(widths)
        layers = {
            layer.index: MixedLayer(
                LAYERS,
                layer.index,
                choice.ops,
                {op: self._candidate(op, layer, norm) for op in _weighty(choice, layer.index)},
                residual=layer.residual,
                keeps=layer.stride == 1,
            )
            for layer in plan
        }
        supernet = ChainSupernet(self._frame(shape, widths, norm), layers, plan, self.distilled)
        self._initialize(supernet)
        return with_eps(supernet, layout.norm_eps)

    # Sampling by depth

    def sample_by_depth(self, rng: Random, forced: tuple[str, Value] | None = None) -> Architecture:
        """Return a member of uniformly drawn depth: the number of layers left out is drawn first.

        A uniform draw per layer makes the depth binomial, so shallow and deep networks are hardly ever seen. Here
        every layer draws uniformly among its operations other than `skip_connect`; then the number of layers to leave
        out is uniform on 0..m, m the number of those that can be; then which ones (released code of Hu et al., ABS,
        ECCV 2020). A layer with nothing but `skip_connect` is left out in any case.

        Args:
            rng: Source of randomness.
            forced: (decision, value) that the member must have; that layer takes no part in the drawing.
        """
        name, value = forced or ("", "")
        if forced is not None and value not in next((d for d in self.decisions if d.name == name), ()):
            raise ArchitectureError(f"{value!r} is not a choice of decision {name!r} of {self.name}")
        chosen: dict[str, Value] = {}
        free = []
        for decision in self.decisions:
            weighty = [op for op in decision.choices if op != SKIP]
            chosen[decision.name] = rng.choice(weighty) if weighty else SKIP
            if weighty and SKIP in decision and decision.name != name:
                free.append(decision.name)
        left_out = rng.sample(free, rng.randint(0, len(free)))
        chosen |= dict.fromkeys(left_out, SKIP)
        return self._member(list((chosen | ({name: value} if forced else {})).values()))


@dataclass(frozen=True, kw_only=True)
class Widths:
    """The widths and strides of a network.

    Args:
        channels: Width of the stem.
        published: That of the published network; the ratio scales all others.
        last_channels: Of the last convolution, before scaling.
        strides: Of the stem, and of the first layer of every stage.
    """

    channels: int
    published: int
    last_channels: int
    strides: tuple[int, ...]

    def scaled(self, width: int) -> int:
        """Return a published width scaled by the width multiplier: the nearest even number, at least 2."""
        if self.channels == self.published:
            return width
        return max(2, 2 * int(width * self.channels / (2 * self.published) + 0.5))


def kept_strides(strides: Sequence[int], resolution: int) -> tuple[int, ...]:
    """Return the strides for images of `resolution` pixels: the last ones that keep feature maps of 4×4 or more.

    Example:
        >>> kept_strides((2, 2, 2, 2, 1, 2), 32)
        (1, 1, 2, 2, 1, 2)
    """
    kept = max(0, (resolution // 4).bit_length() - 1)
    halvings = list(accumulate((stride == 2 for stride in reversed(strides)), initial=0))[:-1][::-1]
    return tuple(1 if behind >= kept else stride for stride, behind in zip(strides, halvings, strict=True))


def listed(notation: Any, name: str) -> list[Any]:
    """Return the list in a chain's notation, given as a list or as text.

    Raises:
        ArchitectureError: If it is neither.
    """
    notation = read(notation)
    if isinstance(notation, str):
        raise ArchitectureError(f"{name}: {excerpt(notation)} is no list of codes, such as [2, -1, 0]")
    if not isinstance(notation, list | tuple):
        raise ArchitectureError(f"an architecture of {name} is a list of codes, got {type(notation).__name__}")
    return list(notation)


def _weighty(choice: Choice, layer: int) -> list[str]:
    """Return the existing candidates of a layer that have a module."""
    return [op for op, on in zip(choice.ops, choice.mask[layer].tolist(), strict=True) if on and op != SKIP]
