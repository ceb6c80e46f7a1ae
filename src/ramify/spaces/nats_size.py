"""The size space of NATS-Bench (Dong et al., TPAMI 2021, arXiv:2009.00437), "sss": the widths of five layers.

Every cell is the same cell of NAS-Bench-201. Network: stem and a cell of width c₀; a residual block of stride 2 to c₁;
a cell from c₁ to c₂; a residual block to c₃; a cell from c₃ to c₄; BN-ReLU, global average pool, linear. (NATS-Bench's
own page describes another assignment of the five numbers; its released counts confirm this one.) In a cell whose width
changes, what leaves the input maps to the new width, and the skip is a 1×1 convolution with a norm.

The supernet is the network with every layer as wide as its widest candidate. The features of a layer are multiplied by
a mixture of masks, each of which lets the first channels of a candidate through (Wan et al., FBNetV2, CVPR 2020). It is
applied behind every norm, so channels that no weight lets through are zero everywhere, and a one-hot mix is the built
network with the leading part of every weight. Nothing is computed beyond the widest active candidate.

The released searches of NATS-Bench have another supernet: the widest network, whose features are masked, or narrowed
and interpolated (Dong & Yang, TAS, NeurIPS 2019), behind the stem and behind every layer alone (`combine`). There the
norm behind the last mask undoes it where it takes statistics of the batch: the last width learns nothing from masks and
stays near where it began. The default mends that, by masking once more behind that norm.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import (
    Norm,
    Operation,
    Prelude,
    is_synchronized,
    make_operation,
    standard_norm,
    synchronized_norm,
)
from ramify.spaces.base import Candidate, Space, argmax_existing, check_scores
from ramify.spaces.bounds import LARGEST_WIDTH, check_most
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.layout import NormedLayout, keyword
from ramify.spaces.nasbench201 import Reduction
from ramify.spaces.notation import read
from ramify.supernet import (
    Built,
    Candidates,
    Choice,
    FixedGraph,
    Mix,
    Mixture,
    Skeleton,
    Supernet,
    WidthMask,
    mixtures,
    tapped,
)
from ramify.supernet.network import RunCell

WIDTHS = (8, 16, 24, 32, 40, 48, 56, 64)
LAYERS = 5
MOST_WIDTHS = 256
"""That a layer may have to choose from."""
CHANNELS = "channels"
STEM = "stem"
"""What a mix may hold beside the choice: the width of the stem (1, O), where it is not that of the first cell."""

_RESIDUAL = (1, 3)
"""The layers that are residual blocks of stride 2."""
_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_SKIP, _CONV = "skip_connect", "nor_conv_3x3"
_CELL = tuple((edge, _SKIP if edge == 3 else _CONV) for edge in range(len(_EDGES)))


class NATSBenchSize(Space):
    """Five widths, each with 8 choices: 8⁵ = 32,768 members by default.

    Args:
        widths: The numbers of channels that a layer may have, ascending.

    Example:
        >>> from ramify import spaces
        >>> space = spaces.NATSBenchSize()
        >>> space.size, space.parse("8:8:40:32:64")["c4"]
        (32768, 64)
    """

    @dataclass(frozen=True, kw_only=True)
    class Layout(NormedLayout):
        """How the networks are laid out; their widths are what is searched.

        Stem, residual blocks and the last norm are always affine with running statistics.

        Args:
            affine: Whether the norms inside the cells scale and shift. None: in built networks, but not in supernets.
            track_running_stats: Whether the norms inside the cells keep running statistics. None: as for `affine`.
            checkpoint_cells: Whether training computes cells twice instead of keeping what lies inside them: the same
                numbers in less memory and more time.
            drop_path: Probability of dropping an operation's output in training; of built networks.
            combine: How supernets mix widths. `mask`: masks behind every norm, so that a one-hot mix is a member. As in
                the released searches, where affine and track_running_stats hold for stem and last norm as well, and a
                one-hot mix is no member: `layers`, masks behind the stem and every layer, or `interpolate`, the
                leading channels of each candidate interpolated to the widest.
        """

        combine: Literal["mask", "layers", "interpolate"] = keyword("mask", only="supernet")
        drop_path: float = keyword(0.0, only="member")

    source = "Dong et al., NATS-Bench, TPAMI 2021, arXiv:2009.00437"
    additive = False
    same_widths = False

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        given = tuple(widths)
        if not given or list(given) != sorted(set(given)) or not all(type(w) is int and w >= 1 for w in given):
            raise ConfigurationError(f"`widths` must be ascending whole numbers from 1, got {list(given)}")
        check_most("widths", given[-1], LARGEST_WIDTH)
        check_most("the number of widths", len(given), MOST_WIDTHS)
        self.widths = given

    def _all_choices(self) -> dict[str, Choice]:
        layers = tuple((layer, layer + 1) for layer in range(LAYERS))
        return {CHANNELS: Choice(layers, tuple(map(str, self.widths)))}

    def _all_decisions(self) -> list[Decision]:
        return [Decision(f"c{layer}", self.widths, layer) for layer in range(LAYERS)]

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the one candidate for the width `value` of the layer `decision`."""
        return [(CHANNELS, self.place(decision), self.widths.index(value))]

    def parts(self, arch: Architecture) -> list[Hashable]:
        """Return the layers, each with the widths before and after it."""
        widths = [0, *(arch[name] for name in arch), 0]
        return [(layer, *pair) for layer, pair in enumerate(pairwise(widths))]

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Take the width with the highest score in every layer."""
        check_scores(scores, self.choices)
        return self.architecture([self.widths[i] for i in argmax_existing(scores[CHANNELS], self.choices[CHANNELS])])

    def drawn(self, rows: Mapping[str, Tensor]) -> Iterator[tuple[str, Choice, Tensor]]:
        """Yield what is drawn on its own: the layers, and the stem, which has its row in common with the first cell."""
        yield from super().drawn(rows)
        yield STEM, _of_stem(self.choices[CHANNELS]), rows[CHANNELS][:1]

    # Notation: 8:8:40:32:64

    def parse(self, notation: Any) -> Architecture:
        """Read five widths joined by colons, or a list of them.

        Raises:
            ArchitectureError: Saying which number is wrong.
        """
        notation = read(notation)
        if isinstance(notation, list | tuple):
            notation = ":".join(map(str, notation))
        if not isinstance(notation, str):
            raise ArchitectureError(
                f"a NATS-Bench size is a text such as '8:8:40:32:64', got {type(notation).__name__}"
            )
        numbers = [number.strip() for number in notation.split(":")]
        if len(numbers) != LAYERS:
            raise ArchitectureError(f"{notation!r:.80} has {len(numbers)} numbers, a NATS-Bench size has {LAYERS}")
        for layer, number in enumerate(numbers):
            if number not in map(str, self.widths):
                raise ArchitectureError(f"c{layer}: {number!r:.20} is not among the widths {list(self.widths)}")
        return self.architecture(map(int, numbers))

    def format(self, arch: Architecture) -> str:
        """Write the benchmark's text."""
        return ":".join(map(str, self._widths_of(arch)))

    def _widths_of(self, arch: Architecture) -> list[int]:
        self.checked(arch)
        return [int(arch[f"c{layer}"]) for layer in range(LAYERS)]  # type: ignore[arg-type]

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the picture of the layers with their widths."""
        what = ("stem, cell", "residual ↓", "cell", "residual ↓", "cell")
        edges = tuple((layer, layer + 1, f"{width} channels") for layer, width in enumerate(self._widths_of(arch)))
        return {"layers": CellGraph(("image", *what), edges, inputs=(0,), output=LAYERS)}

    # Networks

    def _build(self, arch: Architecture, layout: Layout, shape: Mapping[str, int]) -> _Network:
        widths, norm = self._widths_of(arch), layout.norm
        layers = [
            Reduction(c_in, c_out) if layer in _RESIDUAL else _Cell(c_in, c_out, norm, layout.drop_path)
            for layer, (c_in, c_out) in enumerate(pairwise([widths[0], *widths]))
        ]
        return _Network(_Stem(shape["in_channels"], widths[0]), layers, _Head(widths[-1], shape["num_classes"]))

    def _supernet(self, layout: Layout, shape: Mapping[str, int]) -> _Supernet:
        norm = layout.norm
        widest = [max(w for w, on in zip(self.widths, row, strict=True) if on) for row in self.choices[CHANNELS].mask]
        if layout.combine != "mask":
            return self._layered(layout, shape, widest)
        layers: list[nn.Module] = []
        for layer, (c_in, c_out) in enumerate(pairwise([widest[0], *widest])):
            masks = WidthMask(layer, self.widths)
            layers.append(
                _MaskedReduction(c_in, c_out, masks)
                if layer in _RESIDUAL
                else _MaskedCell(c_in, c_out, norm, masks, WidthMask(layer - 1, self.widths) if layer else None)
            )
        stem = _MaskedStem(shape["in_channels"], widest[0], WidthMask(0, self.widths))
        return _Supernet(stem, layers, _MaskedHead(widest[-1], shape["num_classes"], masks))

    def _layered(self, layout: Layout, shape: Mapping[str, int], widest: Sequence[int]) -> _Supernet:
        """Return the supernet of the released searches."""
        norm, bias = layout.norm, not layout.affine
        layers = [
            Reduction(c_in, c_out) if layer in _RESIDUAL else _Cell(c_in, c_out, norm, bias=bias)
            for layer, (c_in, c_out) in enumerate(pairwise([widest[0], *widest]))
        ]
        kind = _MaskedLayer if layout.combine == "layers" else _InterpolatedLayer
        stem = kind(_Stem(shape["in_channels"], widest[0], norm, bias), 0, self.widths, STEM)
        mixed = [kind(layer, number, self.widths, CHANNELS) for number, layer in enumerate(layers)]
        return _Supernet(stem, mixed, _Head(widest[-1], shape["num_classes"], norm))

    def _inherited(self, weight: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the leading part."""
        return weight[tuple(slice(size) for size in shape)]


class _Stem(nn.Module):
    """3×3 convolution and norm."""

    def __init__(self, c_in: int, c_out: int, norm: Norm | None = None, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=bias)
        self.norm = (norm or standard_norm())(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class _Cell(nn.Module):
    """The benchmark's fixed cell, (B, C_in, H, W) → (B, C_out, H, W)."""

    def __init__(self, c_in: int, c_out: int, norm: Norm, drop_path: float = 0.0, bias: bool = False) -> None:
        super().__init__()

        def candidate(source: int, op: str) -> Operation:
            c = c_out if source else c_in
            if op == _CONV:
                return Operation(Prelude("relu"), nn.Conv2d(c, c_out, 3, padding=1, bias=bias), norm(c_out))
            return _projection(c_in, c_out, norm, bias) if c_in != c_out else make_operation(_SKIP, c_out, 1, norm)

        self.graph = FixedGraph(_EDGES, _CELL, inputs=1, states=4, candidate=candidate, drop_path=drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return self.graph([x])[-1]


def _projection(c_in: int, c_out: int, norm: Norm, bias: bool = False) -> Operation:
    """The skip of a cell whose width changes: a 1×1 convolution and a norm, without an activation before them."""
    return Operation(Prelude("identity"), nn.Conv2d(c_in, c_out, 1, bias=bias), norm(c_out))


class _Head(nn.Module):
    """Norm, ReLU, global average pool, linear: (B, C, H, W) → (B, classes)."""

    def __init__(self, channels: int, num_classes: int, norm: Norm | None = None) -> None:
        super().__init__()
        self.norm = (norm or standard_norm())(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.norm(x)).mean(dim=(2, 3)))


# The same with masks. Every module sees the features of its input as wide as the widest active candidate.


class _MaskedStem(_Stem):
    kind = STEM

    def __init__(self, c_in: int, c_out: int, masks: WidthMask) -> None:
        super().__init__(c_in, c_out)
        self.masks = masks

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:  # type: ignore[override]
        _refuse_dropout(mixture)
        mask = self.masks.of(mixture)
        return _norm(self.norm, _conv(self.conv, x, mask.shape[1])) * mask


class _MaskedReduction(Reduction):
    kind = CHANNELS

    def __init__(self, c_in: int, c_out: int, masks: WidthMask) -> None:
        super().__init__(c_in, c_out)
        self.masks = masks

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:  # type: ignore[override]
        mask = self.masks.of(mixture)
        width = mask.shape[1]
        first = _norm(self.first.norm, _conv(self.first.conv, F.relu(x), width)) * mask
        second = _norm(self.second.norm, _conv(self.second.conv, F.relu(first), width))
        return self.masks.constants((second + _conv(self.shortcut, self.pool(x), width)) * mask, mixture)


class _MaskedCell(nn.Module):
    """The fixed cell; its skip is the identity for equal widths, the projection for others, weighed by how likely.

    Args:
        c_in, c_out: The widest candidates before and here.
        norm: Maker of batch norms.
        masks: Of this layer.
        before: Those of the layer before; None where it is the same decision.
    """

    kind = CHANNELS

    def __init__(self, c_in: int, c_out: int, norm: Norm, masks: WidthMask, before: WidthMask | None) -> None:
        super().__init__()
        self.masks, self.before = masks, before
        # The modules of a built cell; it is not called itself.
        self.graph = _Cell(c_in, c_out, norm).graph
        if before is not None:
            self.graph.edges["0-3"] = nn.ModuleDict({_SKIP: _projection(c_in, c_out, norm)})

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        mask = self.masks.of(mixture)
        start = F.relu(x)
        first = F.relu(self._masked("0-1", _CONV, start, mask))
        second = F.relu(self._masked("0-2", _CONV, start, mask) + self._masked("1-2", _CONV, first, mask))
        total = self._masked("1-3", _CONV, first, mask) + self._masked("2-3", _CONV, second, mask)
        return self.masks.constants(total + self._skip(x, mixture), mixture)

    def _masked(self, edge: str, op: str, state: Tensor, mask: Tensor) -> Tensor:
        operation: Any = self.graph.edges[edge][op]  # type: ignore[index]
        return _norm(operation.norm, _conv(operation.body, state, mask.shape[1])) * mask

    def _skip(self, x: Tensor, mixture: Mixture) -> Tensor:
        now = self.masks.weights(mixture)
        if self.before is None:
            mask = self.masks(now)
            return _resized(x, mask.shape[1]) * mask
        earlier = self.before.weights(mixture)
        zero = x.new_zeros(())
        equal = {index: earlier.get(index, zero) for index in now}
        same = self.masks({index: weight * equal[index] for index, weight in now.items()})
        kept = _resized(x, same.shape[1]) * same
        if list(earlier) == list(now) and len(now) == 1:
            return kept
        total = sum(earlier.values(), zero)
        unequal = self.masks({index: weight * (total - equal[index]) for index, weight in now.items()})
        return kept + self._masked("0-3", _SKIP, x, unequal)


class _MaskedHead(_Head):
    kind = CHANNELS

    def __init__(self, channels: int, num_classes: int, masks: WidthMask) -> None:
        super().__init__(channels, num_classes)
        self.masks = masks

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:  # type: ignore[override]
        # The mask once more, because the norm has undone it: it fixes the scale of every channel.
        pooled = (F.relu(_norm(self.norm, x)) * self.masks.of(mixture)).mean(dim=(2, 3))
        return F.linear(pooled, self.classifier.weight[:, : pooled.shape[1]], self.classifier.bias)


def _conv(conv: Any, x: Tensor, width: int) -> Tensor:
    """Convolve with the weights between the channels of `x` and the first `width` of the output."""
    return F.conv2d(x, conv.weight[:width, : x.shape[1]], None, conv.stride, conv.padding)


def _norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Normalize the channels of `x`, which are the first of the norm's."""
    width = x.shape[1]
    mean, var, weight, bias = (
        None if value is None else value[:width]
        for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    training = norm.training or mean is None
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    if is_synchronized(norm, x):
        return synchronized_norm(x, mean, var, weight, bias, norm.momentum or 0.0, norm.eps)
    return F.batch_norm(x, mean, var, weight, bias, training, norm.momentum or 0.0, norm.eps)


def _resized(x: Tensor, width: int) -> Tensor:
    """Return the first `width` channels of `x` (B, C, H, W), zeros where it has fewer."""
    return x[:, :width] if x.shape[1] >= width else F.pad(x, (0, 0, 0, 0, 0, width - x.shape[1]))


# The same network as wide as it gets, whose features are mixed behind the stem and every layer.


class _MaskedLayer(nn.Module):
    """Stem or layer, behind which the mixture of masks lets the first channels through.

    Args:
        inner: The stem or the layer.
        layer: Row of its width.
        widths: The candidates' numbers of channels, ascending.
        kind: Which mixture that is a row of.
    """

    def __init__(self, inner: nn.Module, layer: int, widths: Sequence[int], kind: str) -> None:
        super().__init__()
        self.inner, self.masks, self.kind = inner, WidthMask(layer, widths), kind

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        _refuse_dropout(mixture)
        x = self.inner(x)
        mask = self.masks.of(mixture)
        return self.masks.constants(x * F.pad(mask, (0, 0, 0, 0, 0, x.shape[1] - mask.shape[1])), mixture)


class _InterpolatedLayer(_MaskedLayer):
    """Stem or layer, behind which the leading channels of the candidates are interpolated to the widest and mixed."""

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        _refuse_dropout(mixture)
        x = self.inner(x)
        maps = {index: x[:, : self.masks.widths[index]] for index in self.masks.weights(mixture)}
        return _resized(Candidates.of(mixture, self.masks.layer).mixed(maps), x.shape[1])


def _refuse_dropout(mixture: Mixture) -> None:
    if any(mixture.dropout):
        raise ArchitectureError("dropout: numbers of channels cannot be dropped, only operations")


class _Skeleton(Skeleton):
    """Stem, cell, residual block, cell, residual block, cell, head."""

    stages = 3
    ends = ("head",)

    def __init__(self, stem: nn.Module, layers: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem, self.layers, self.head = stem, nn.ModuleList(layers), head

    def run(self, x: Tensor, run_cell: RunCell, taps: Collection[str]) -> Any:
        self.check_taps(taps)
        features: dict[str, Tensor] = {}
        x = run_cell(self.stem, x)
        for number, layer in enumerate(self.layers):
            x = run_cell(layer, x)
            if number in (*_RESIDUAL, LAYERS - 1):
                features[f"stage{len(features) + 1}"] = x
        return tapped(run_cell(self.head, x), features, taps)


class _Network(Built, _Skeleton):
    """The skeleton with built layers."""


class _Supernet(Supernet, _Skeleton):
    """The skeleton with mixed layers. A mix may say the width of the stem apart, as `stem` (1, O)."""

    def _mixed(self, mix: Mix, x: Tensor, **options: Any) -> dict[str, Mixture]:
        stem = {STEM: _of_stem(self.choices[CHANNELS])} if STEM in mix else {}
        mixed = mixtures({**self.choices, **stem}, mix, x, **options, counted=True)
        return {STEM: mixed[CHANNELS], **mixed}


def _of_stem(choice: Choice) -> Choice:
    """Return the choice of the stem's width, given that of the layers'."""
    return Choice(choice.edges[:1], choice.ops, choice.mask[:1])
