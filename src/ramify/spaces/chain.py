"""What the chain-structured spaces share: one layer after the other, and a choice of operation for each.

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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.errors import ArchitectureError, ConfigurationError, nearest
from ramify.ops import DropPath, Norm, Operation, dropout, standard_norm, with_eps
from ramify.spaces.base import Candidate, CellGraph, Space, argmax_existing, check_scores
from ramify.spaces.notation import read
from ramify.supernet import Built, Choice, Mixture, Skeleton, Supernet, WeightVector, piece_of, tapped
from ramify.supernet.mixture import accumulate as add
from ramify.supernet.mixture import accumulate_scaled, weighted
from ramify.supernet.network import RunCell
from ramify.wording import excerpt

LAYERS = "layers"
"""Name of the one choice."""
SKIP = "skip_connect"
ABSENT = -1
"""How notations write a layer that is left out."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Layers of one width.

    Args:
        width: Channels of what they put out.
        stride: Of the first layer.
    """

    width: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a layer at one place of the chain is told.

    Args:
        index: Place, from 0.
        stage: Number of its stage, from 1.
        first: Whether it is the first of its stage.
        c_in, c_out: Channels before and behind.
        stride: 1 or 2.
        residual: Whether what it takes in is added to what it puts out.
    """

    index: int
    stage: int
    first: bool
    c_in: int
    c_out: int
    stride: int
    residual: bool


@dataclass(frozen=True, eq=False)
class Frame:
    """Everything of a network but its layers.

    Args:
        stem: Modules that images pass first, by name.
        last: The convolution behind the layers; its output is the last stage.
        neck: What follows the pooling: (B, C, 1, 1) → (B, C', 1, 1); None for nothing.
        classifier: The linear layer.
    """

    stem: Mapping[str, nn.Module]
    last: nn.Module
    neck: nn.Module | None
    classifier: nn.Linear


class ChainSpace(Space):
    """A chain of layers. Subclasses say which operations there are, how wide the stages are, and what is around them.

    Attributes:
        blocks: Number of layers of every stage.
        operations: Names in the order of their codes, `skip_connect` last where layers may be left out.
    """

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
    def _frame(self, num_classes: int, in_channels: int, layout: Widths, norm: Norm) -> Frame:
        """Return what stands around the layers; `norm` makes the norms behind them."""

    @abstractmethod
    def _initialise(self, network: nn.Module) -> None:
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
        return given

    @property
    def drawing(self) -> str:
        """Depths alike where layers may be left out, as in the released code of ABS; else all operations alike."""
        return "depth-uniform" if SKIP in self.operations else "uniform"

    @property
    def places(self) -> list[tuple[int, int]]:
        """(stage from 1, block from 0) of every layer."""
        return [(stage, block) for stage, count in enumerate(self.blocks, start=1) for block in range(count)]

    def _offers(self, layer: int, op: str) -> bool:
        """Return whether a layer has a candidate: only those that are not the first of a stage can be left out."""
        return op != SKIP or self.places[layer][1] > 0

    def _all_choices(self) -> dict[str, Choice]:
        count = len(self.places)
        everything = Choice(tuple((layer, layer + 1) for layer in range(count)), self.operations)
        mask = [[self._offers(layer, op) for op in self.operations] for layer in range(count)]
        return {LAYERS: everything.restricted(mask, LAYERS)}

    def _all_decisions(self) -> list[Decision]:
        return [
            Decision(f"layer{layer}", tuple(op for op in self.operations if self._offers(layer, op)))
            for layer in range(len(self.places))
        ]

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the one candidate that puts operation `value` into the layer `decision`."""
        return [(LAYERS, int(decision.removeprefix("layer")), self.operations.index(str(value)))]

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Take the best candidate of every layer."""
        check_scores(scores, self.choices)
        return self.architecture([self.operations[i] for i in argmax_existing(scores[LAYERS], self.choices[LAYERS])])

    # Notation: [2, 2, -1, 0, …]

    def parse(self, notation: Any) -> Architecture:
        """Read one code for every layer, -1 where it is left out; a list, or its text.

        Raises:
            ArchitectureError: Saying which layer is wrong.
        """
        codes = listed(notation, self.name)
        if len(codes) != len(self.places):
            raise ArchitectureError(f"{self.name} has {len(self.places)} layers, got {len(codes)} codes")
        return self.architecture([self._operation(layer, code) for layer, code in enumerate(codes)])

    def format(self, arch: Architecture) -> Any:
        """Write one code for every layer."""
        return self.codes(arch)

    def codes(self, arch: Architecture) -> list[int]:
        """Return the code of every layer's operation, -1 where it is left out."""
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
        """Return the layers that are there, with their operations."""
        self.checked(arch)
        found = {layer: str(arch[f"layer{layer}"]) for layer in range(len(self.places))}
        return {layer: op for layer, op in found.items() if op != SKIP}

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the picture of the chain, a row for every stage.

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

    def plan(self, layout: Widths) -> list[Layer]:
        """Return what every layer is told in a network of this layout."""
        layers = []
        strides = layout.strides
        c_in, published_in = layout.scaled(self.before), self.before
        for index, (number, block) in enumerate(self.places):
            stage = self.stages[number - 1]
            c_out = layout.scaled(stage.width)
            layers.append(
                Layer(
                    index=index,
                    stage=number,
                    first=block == 0,
                    c_in=c_in,
                    c_out=c_out,
                    stride=strides[number] if block == 0 else 1,
                    # by the published numbers: neither smaller images nor scaled widths make a shortcut
                    residual=self.shortcut and published_in == stage.width and (block > 0 or stage.stride == 1),
                )
            )
            c_in, published_in = c_out, stage.width
        return layers

    def layout_of(self, channels: int | None = None, last_channels: int | None = None, resolution: int = 224) -> Widths:
        """Return the widths and strides that these layout keywords give."""
        return Widths(
            channels=self.channels if channels is None else channels,
            published=self.channels,
            last_channels=self.last_channels if last_channels is None else last_channels,
            strides=kept_strides((2, *(stage.stride for stage in self.stages)), resolution),
        )

    # Networks

    def build(
        self,
        arch: Architecture,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        channels: int | None = None,
        last_channels: int | None = None,
        resolution: int = 224,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        affine: bool = True,
        track_running_stats: bool = True,
        norm_eps: float = 1e-5,
    ) -> nn.Module:
        """Return the network of a member: images (B, in_channels, H, W) → logits (B, num_classes).

        Args:
            arch: A member.
            num_classes: Width of the classifier.
            in_channels: Of the images.
            channels: Width of the stem; None for the published one. All others are scaled with it.
            last_channels: Width of the last convolution, before scaling; None for the published one.
            resolution: Side of the images in pixels; it decides how many strides are kept.
            drop_path: Probability of dropping what a layer adds to its shortcut, or puts beside it, in training.
            dropout: Probability of dropping what enters the classifier in training.
            affine: Whether the norms behind the stem scale and shift.
            track_running_stats: Whether they keep running statistics.
            norm_eps: ε of all norms.
        """
        layout = self.layout_of(channels, last_channels, resolution)
        norm, plan = standard_norm(affine, track_running_stats), self.plan(layout)
        layers = {
            layer: _BuiltLayer(op, self._candidate(op, plan[layer], norm), plan[layer].residual, drop_path)
            for layer, op in self.present(arch).items()
        }
        frame = self._frame(num_classes, in_channels, layout, norm)
        network = _Network(frame, layers, plan, self.distilled, dropout)
        self._initialise(network)
        return with_eps(network, norm_eps)

    def supernet(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        channels: int | None = None,
        last_channels: int | None = None,
        resolution: int = 224,
        affine: bool = False,
        track_running_stats: bool = False,
        norm_eps: float = 1e-5,
    ) -> nn.Module:
        """Return the network of all members: `sup(x, mix)` with `mix["layers"]` of shape (layers, operations).

        The norms of stems are always affine with running statistics, except in `ShuffleChain`; those behind them are as
        the keywords say, and `norm_eps` is the ε of all. A part of the channels cannot go past a layer that changes
        their number, so there are no partial channels.
        """
        layout = self.layout_of(channels, last_channels, resolution)
        norm, plan = standard_norm(affine, track_running_stats), self.plan(layout)
        choice = self.choices[LAYERS]
        layers = {
            layer.index: _MixedLayer(
                layer, choice.ops, {op: self._candidate(op, layer, norm) for op in _weighty(choice, layer.index)}
            )
            for layer in plan
        }
        frame = self._frame(num_classes, in_channels, layout, norm)
        supernet = _Supernet(frame, layers, plan, self.distilled)
        self._initialise(supernet)
        supernet.choices = self.choices
        supernet.layout = {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "channels": channels,
            "last_channels": last_channels,
            "resolution": resolution,
            "affine": affine,
            "track_running_stats": track_running_stats,
            "norm_eps": norm_eps,
            "partial_channels": 1,
        }
        return with_eps(supernet, norm_eps)

    # Sampling by depth

    def sample_by_depth(self, rng: Random, forced: tuple[str, Value] | None = None) -> Architecture:
        """Return a member whose depth is uniform: how many layers are left out is drawn first.

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
    """The layout of a network: how wide it is, and which strides it has.

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
        """Return a published width at this scale: the nearest even number, at least 2."""
        if self.channels == self.published:
            return width
        return max(2, 2 * int(width * self.channels / (2 * self.published) + 0.5))


def kept_strides(strides: Sequence[int], resolution: int) -> tuple[int, ...]:
    """Return the strides for images of `resolution` pixels: the last ones that leave a map of 4×4 or more.

    Example:
        >>> kept_strides((2, 2, 2, 2, 1, 2), 32)
        (1, 1, 2, 2, 1, 2)
    """
    kept = max(0, (resolution // 4).bit_length() - 1)
    halvings = list(accumulate((stride == 2 for stride in reversed(strides)), initial=0))[:-1][::-1]
    return tuple(1 if behind >= kept else stride for stride, behind in zip(strides, halvings, strict=True))


def listed(notation: Any, name: str) -> list[Any]:
    """Return the list that a chain's notation is, or that its text holds.

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


class _BuiltLayer(nn.Module):
    """One chosen operation: (B, C_in, H, W) → (B, C_out, H', W')."""

    def __init__(self, op: str, operation: Operation, residual: bool, drop_path: float) -> None:
        super().__init__()
        self.op, self.residual = op, residual
        self.ops = nn.ModuleDict({op: operation})
        self.drop_path = DropPath(drop_path if residual else 0.0)
        for module in operation.modules():
            if isinstance(module, DropPath):
                module.rate = drop_path

    def forward(self, x: Tensor) -> Tensor:
        y = self.ops[self.op](x)
        return x + self.drop_path(y) if self.residual else y


class _MixedLayer(nn.Module):
    """All candidates of a layer; the shortcut that they share is added once, with the sum of their weights."""

    kind = LAYERS

    def __init__(self, layer: Layer, names: Sequence[str], operations: Mapping[str, Operation]) -> None:
        super().__init__()
        self.index, self.residual, self.keeps = layer.index, layer.residual, layer.stride == 1
        self.names = tuple(names)
        self.ops = nn.ModuleDict(operations)

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        active = mixture.active[self.index]
        if not active:
            raise ArchitectureError(f"active: no candidate of layer {self.index} is left")
        total: Tensor | None = None
        straight: Tensor | None = None  # weight of the input itself
        for index in active:
            weight, name = mixture.weights[self.index][index], self.names[index]
            probability = mixture.dropout[index] if self.training and self.keeps else 0.0
            operation: Any = None if name == SKIP else self.ops[name]
            if probability:
                y = x if operation is None else operation(x) + x if self.residual else operation(x)
                total = accumulate_scaled(total, dropout(y, probability), weight)
                continue
            if operation is not None:
                total = add(total, weighted(operation, operation.body(operation.prelude(x)), weight))
            if operation is None or self.residual:
                straight = weight if straight is None else straight + weight
        if straight is not None:
            total = accumulate_scaled(total, x, straight)
        assert total is not None
        for index in mixture.dropped[self.index]:
            total = total + mixture.weights[self.index][index]
        return total


class ChainSkeleton(Skeleton):
    """Stem, layers, last convolution, global average pool, classifier.

    The stages are those of the layers, and the last convolution.
    """

    def __init__(
        self,
        frame: Frame,
        layers: Mapping[int, nn.Module],
        plan: Sequence[Layer],
        distilled: tuple[str, ...],
        dropped: float = 0.0,
    ) -> None:
        super().__init__()
        self.stems = tuple(frame.stem)
        for name, module in frame.stem.items():
            self.add_module(name, module)
        self.layers = nn.ModuleDict({str(index): layer for index, layer in layers.items()})
        self.last, self.neck = frame.last, frame.neck
        self.dropout = dropped
        self.classifier = frame.classifier
        self.stages = plan[-1].stage + 1
        self._distilled = distilled
        ends = {layer.stage: layer.index for layer in plan}
        self._ends = {index: f"stage{stage}" for stage, index in ends.items()}

    @property
    def distilled(self) -> tuple[str, ...]:
        """The stages whose features a distilling strategy compares beside the logits."""
        return self._distilled

    def run(self, x: Tensor, run_cell: RunCell, taps: Collection[str]) -> Any:
        self.check_taps(taps)
        features: dict[str, Tensor] = {}
        for name in self.stems:
            x = getattr(self, name)(x)
        for index in range(max(self._ends) + 1):
            if str(index) in self.layers:  # the others are left out
                x = run_cell(self.layers[str(index)], x)
            if index in self._ends:
                features[self._ends[index]] = x
        x = features[f"stage{self.stages}"] = self.last(x)
        x = x.mean(dim=(2, 3), keepdim=True)
        if self.neck is not None:
            x = self.neck(x)
        x = x.flatten(1)
        if self.training and self.dropout:
            x = dropout(x, self.dropout)
        return tapped(self.classifier(x), features, taps)


class _Network(Built, ChainSkeleton):
    """The skeleton with built layers."""


class _Supernet(Supernet, ChainSkeleton):
    """The skeleton with mixed layers."""

    def weight_vector(self) -> WeightVector:
        """Count the weights of all convolutions and of the classifier, but no norm and no bias, each once.

        So in the released code (Hu et al., ABS, ECCV 2020). A layer that is left out adds nothing.
        """
        pieces = {
            (int(index), self.choices[LAYERS].ops.index(name)): piece_of(operation, f"layers.{index}.ops.{name}.")
            for index, layer in self.layers.items()
            for name, operation in cast(Any, layer).ops.items()
        }
        fixed = [name for name, p in self.named_parameters() if p.dim() > 1 and not name.startswith("layers.")]
        return WeightVector(tuple(fixed), {LAYERS: (pieces,)}, {})


def draw_convolutions(network: nn.Module, spread: Callable[[nn.Conv2d], float]) -> None:
    """Draw the weights of convolutions from N(0, spread²), and set their biases to 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, spread(module))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
