"""Blocks that can be left out and kernels that can shrink."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from ramify.elastic.trace import Trace


@dataclass(frozen=True)
class Stage:
    """Consecutive removable blocks at the end of a container, with what precedes them there.

    Args:
        name: Path of the container.
        depths: How many of its blocks may be kept, the first ones; ascending, the last is all of them.
        blocks: Paths of all of its blocks, in order.
    """

    name: str
    depths: tuple[int, ...]
    blocks: tuple[str, ...]

    @property
    def removable(self) -> tuple[str, ...]:
        """Paths of the blocks that a member may lack."""
        return self.blocks[self.depths[0] :]

    def out(self, depth: int) -> tuple[str, ...]:
        """Return the paths of the blocks that a depth leaves out."""
        return self.blocks[depth:]


@dataclass(frozen=True)
class Kernel:
    """A convolution whose square kernel may shrink around its center.

    Args:
        name: Path of the convolution.
        sides: Odd, ascending; the last is its own.
    """

    name: str
    sides: tuple[int, ...]

    @property
    def weight(self) -> str:
        """Name of its weight."""
        return f"{self.name}.weight"


def find_stages(network: nn.Module, trace: Trace) -> Iterator[Stage]:
    """Yield the stages of a network; at least one block of each stays, and all that cannot be removed.

    A module is removable if an addition in it has the module's only input as an operand and it returns its shape.
    """
    for path, container in network.named_modules():
        blocks = tuple(f"{path}.{name}" if path else name for name, _ in container.named_children())
        fixed = len(blocks)
        while fixed and blocks[fixed - 1] in trace.removable:
            fixed -= 1
        depths = tuple(range(max(fixed, 1), len(blocks) + 1))
        if len(depths) > 1:
            yield Stage(path, depths, blocks)


def find_kernels(network: nn.Module, trace: Trace, sides: Sequence[int]) -> Iterator[Kernel]:
    """Yield the convolutions that ran and have a square odd kernel, padded so that a smaller one sees the same."""
    ran: Collection[str] = {product.path for product in trace.products}
    for path, module in network.named_modules():
        if type(module).forward is not nn.Conv2d.forward or path not in ran:
            continue
        own = module.kernel_size[0]
        padding = tuple(own // 2 * step for step in module.dilation)
        centered = module.kernel_size == (own, own) and own % 2 == 1 and module.padding == padding
        smaller = sorted(side for side in set(sides) if side < own)
        if centered and smaller and module.padding_mode == "zeros":
            yield Kernel(path, (*smaller, own))
