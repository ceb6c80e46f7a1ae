"""The convolutions of residual networks in order, with the widths and depths that TAS has to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from operator import mul

from ramify.errors import ConfigurationError
from ramify.reading import shown
from ramify.spaces.baseline_networks import EXPANSION, STAGES
from ramify.spaces.bounds import MOST_LAYERS, check_most

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of a width that a convolution may keep, as published."""

CIFAR, IMAGENET = "cifar", "imagenet"
NETWORKS = (CIFAR, IMAGENET)
CONVOLUTIONS = {"basic": ("conv_a", "conv_b"), "bottleneck": ("conv_1x1", "conv_3x3", "conv_1x4")}
"""Kind of a block → the names of its convolutions."""

_IMAGENET_STAGES = (64, 128, 256, 512)


@dataclass(frozen=True)
class Convolution:
    """A convolution of the whole network.

    Args:
        name: Of its decision.
        width: Its number of output channels.
        kernel: Its side.
        stride: Its stride.
    """

    name: str
    width: int
    kernel: int
    stride: int = 1


@dataclass(frozen=True)
class Block:
    """A residual block of the whole network.

    Args:
        stage: Its stage, from 0.
        number: Its place in the stage, from 0.
        first: Row of its first convolution.
        count: How many convolutions it has.
        stride: Of the block, 1 or 2.
    """

    stage: int
    number: int
    first: int
    count: int
    stride: int

    @property
    def rows(self) -> range:
        """The rows of its convolutions."""
        return range(self.first, self.first + self.count)

    @property
    def last(self) -> int:
        """The row of the convolution whose width is the block's."""
        return self.first + self.count - 1


@dataclass(frozen=True)
class Shortcut:
    """The convolution of a shortcut.

    Args:
        pooled: Whether a 2×2 average precedes it, of stride 2.
        normed: Whether a norm follows.
    """

    pooled: bool
    normed: bool


@dataclass(frozen=True)
class ResidualPlan:
    """A residual network as a list of convolutions.

    Args:
        network: `cifar`, of three stages, or `imagenet`, of four.
        block: `basic` or `bottleneck`.
        blocks: Of each stage.
        deep_stem: Whether the stem has two 3×3 convolutions instead of one of 7×7; for ImageNet.
    """

    network: str
    block: str
    blocks: tuple[int, ...]
    deep_stem: bool = False

    @classmethod
    def of_depth(cls, block: str, depth: int) -> ResidualPlan:
        """Return the network for CIFAR with so many layers.

        Raises:
            ConfigurationError: If there is none.
        """
        per_block = 3 * len(CONVOLUTIONS[block])
        if type(depth) is not int or depth <= 2 or (depth - 2) % per_block:
            raise ConfigurationError(
                f"`depth` of a ResNet of {block} blocks must be {per_block}n + 2, got {shown(depth)}"
            )
        check_most("depth", depth, MOST_LAYERS)
        return cls(CIFAR, block, ((depth - 2) // per_block,) * len(STAGES))

    @property
    def stem(self) -> tuple[Convolution, ...]:
        """The convolutions before the first block."""
        if self.network == CIFAR:
            return (Convolution("stem", STAGES[0], 3),)
        if self.deep_stem:
            return (Convolution("stem.0", 32, 3, 2), Convolution("stem.1", 64, 3))
        return (Convolution("stem", 64, 7, 2),)

    @cached_property
    def convolutions(self) -> tuple[Convolution, ...]:
        """All convolutions but those of shortcuts, in order."""
        found = list(self.stem)
        for block in self.residual:
            where = f"stage{block.stage + 1}.{block.number}"
            planes = (STAGES if self.network == CIFAR else _IMAGENET_STAGES)[block.stage]
            sizes = [(planes, 3, block.stride), (planes, 3, 1)]
            if self.block == "bottleneck":
                sizes = [(planes, 1, 1), (planes, 3, block.stride), (planes * EXPANSION, 1, 1)]
            names = CONVOLUTIONS[self.block]
            found += [Convolution(f"{where}.{name}", *size) for name, size in zip(names, sizes, strict=True)]
        return tuple(found)

    @cached_property
    def residual(self) -> tuple[Block, ...]:
        """All blocks, in order."""
        per_block, found = len(CONVOLUTIONS[self.block]), list[Block]()
        for stage, blocks in enumerate(self.blocks):
            for number in range(blocks):
                first = len(self.stem) + per_block * len(found)
                found.append(Block(stage, number, first, per_block, 2 if stage and not number else 1))
        return tuple(found)

    @property
    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The blocks of each stage."""
        ends = list(accumulate(self.blocks, initial=0))
        return tuple(self.residual[a:b] for a, b in pairwise(ends))

    def widths(self, shares: Sequence[float] = SHARES) -> tuple[tuple[int, ...], ...]:
        """Return the widths of each convolution that the shares come to, one for each share, at least 1."""
        return tuple(tuple(max(1, int(share * c.width + 1e-9)) for share in shares) for c in self.convolutions)

    @cached_property
    def depths(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of blocks that each stage may keep.

        On CIFAR all up to three, beyond that the odd ones and all blocks; on ImageNet ⌊n·j/m⌋ for j = 1 … m, m being
        the number of blocks of the shortest stage.
        """
        if self.network == IMAGENET:
            least = min(self.blocks)
            return tuple(tuple(n * j // least for j in range(1, least + 1)) for n in self.blocks)
        return tuple(tuple(d for d in range(1, n + 1) if n <= 3 or d % 2 or d == n) for n in self.blocks)

    def shortcut_of_member(self, block: Block, before: int, after: int) -> Shortcut | None:
        """Return the shortcut of a derived network's block, for the widths before and after it; None for none."""
        if block.stride == 2:
            return Shortcut(True, self.network == IMAGENET)
        if before == after:
            return None
        return Shortcut(False, self.network == IMAGENET or self.block == "basic")

    def shortcut_of_whole(self, block: Block) -> Shortcut | None:
        """Return the shortcut that a block of the whole network has; None for none."""
        if block.stride == 2:
            return Shortcut(True, self.network == IMAGENET)
        widens = not block.number and self.convolutions[len(self.stem) - 1].width != self.convolutions[block.last].width
        return Shortcut(False, True) if widens else None

    @cached_property
    def shrunk(self) -> tuple[int, ...]:
        """By how much the sides of each convolution's map are shorter than those of the images."""
        strides = [conv.stride for conv in self.convolutions]
        if self.network == IMAGENET:
            strides[len(self.stem)] *= 2  # the pool before it
        return tuple(accumulate(strides, mul))

    def layers_of(self, block: Block, before: int, widths: Sequence[int]) -> Iterator[Layer]:
        """Yield the layers of a block of a derived network, for the widths before it and of its convolutions."""
        entered = before
        for row, width in zip(block.rows, widths, strict=True):
            yield Layer(str(row), before, width, self.convolutions[row].kernel, self.shrunk[row], True)
            before = width
        shortcut = self.shortcut_of_member(block, entered, before)
        if shortcut is not None:
            yield Layer(f"{block.first} shortcut", entered, before, 1, self.shrunk[block.last], shortcut.normed)

    def layers(self, widths: Sequence[int], depths: Sequence[int]) -> Iterator[Layer]:
        """Yield the layers of a derived network, the classifier last.

        Args:
            widths: Of every convolution, also of those that are left out.
            depths: Blocks kept in each stage.
        """
        before = 0
        for row, conv in enumerate(self.stem):
            yield Layer(str(row), before, widths[row], conv.kernel, self.shrunk[row], True)
            before = widths[row]
        for block in self.residual:
            if block.number < depths[block.stage]:
                yield from self.layers_of(block, before, [widths[row] for row in block.rows])
                before = widths[block.last]
        yield Layer("classifier", before, None, 1, None, False)


@dataclass(frozen=True)
class Layer:
    """A layer of a derived network.

    Args:
        name: Row of the convolution, or what else it is.
        before: Channels that it reads; 0 for those of the images.
        after: Channels that it puts out; None for the classes.
        kernel: Its side.
        shrunk: By how much the sides of its map are shorter than those of the images; None for a classifier.
        normed: Whether a norm follows.
    """

    name: str
    before: int
    after: int | None
    kernel: int
    shrunk: int | None
    normed: bool
