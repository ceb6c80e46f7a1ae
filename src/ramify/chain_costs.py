"""What every operator of a chain costs, and exactly uniform members below a limit.

In a chain the cost of a network is that of its stem and head plus that of every layer's operator, so a table of
operators gives the exact parameters and multiply-adds of all members. The released programs of SPOS and ABS keep such a
table of FLOPs, and draw members below a limit by drawing until one fits (Guo et al., Single Path One-Shot, ECCV 2020;
Hu et al., ABS, ECCV 2020). Of FairNAS' space 1 draw in 150 fits below the published limit, so some operators never
collect their samples. `ConstrainedSampler` counts the members of every cost instead and draws from the counts.

Costs by name: `params`; `macs` and `thop` as in `ramify.profile`; `table_flops` as the released tables have it, where a
linear layer of n inputs takes 2n - 1 for each output; `latency_ms` once `measure_latency` has been called. The released
table of FairNAS takes its fixed block for one of expansion 1 with the first convolution that such a block does not
have, 12,845,056 at 224 pixels; `released=True` adds that, since the published limits are in these units.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError, nearest
from ramify.profiling import latency_ms, profile
from ramify.spaces import FairMobileChain
from ramify.spaces.chain import ChainSpace
from ramify.spaces.chain_network import SKIP, Layer
from ramify.spaces.layout import LayoutLike

COUNTED = ("params", "macs", "thop", "table_flops")
LATENCY = "latency_ms"

_BINS = 1 << 17
"""Cost levels that members are counted at, at most."""
_NANOSECONDS = 1_000_000
"""In a millisecond: measured costs are counted in them."""


class ChainCosts:
    """Cost of every operator in every layer of a chain.

    Args:
        space: The chain, restricted or not.
        input_size: (C, H, W) of one image.
        num_classes: Width of the classifier.
        layout: Of the networks, or its keywords.
        released: Whether `table_flops` repeats the mistake of FairNAS' released table.

    Attributes:
        tables: Name of a cost → its table (L, O): what the operator adds in that layer; 0 for `skip_connect`.
        fixed: Name of a cost → what stem and head add.

    Example:
        >>> from ramify import spaces
        >>> from ramify.chain_costs import ChainCosts
        >>> space = spaces.MobileChain()
        >>> costs = ChainCosts(space)
        >>> costs(space.parse([2, 2, -1, 0, 0, -1, -1, 0, 5, -1, 4, 4, 0, 0, 4, 2, 3, 4, 4, 4, 3]))["macs"]
        470792064
    """

    def __init__(
        self,
        space: ChainSpace,
        input_size: Sequence[int] = (3, 224, 224),
        num_classes: int = 1000,
        layout: LayoutLike = None,
        *,
        released: bool = False,
    ) -> None:
        if not isinstance(space, ChainSpace):
            raise ConfigurationError(f"{space.name} is no chain: what an operator costs there depends on the others")
        if len(input_size) != 3 or min(*input_size, num_classes) < 1:
            raise ConfigurationError(
                f"`input_size` is (C, H, W), all from 1, and `num_classes` is from 1, got {input_size}, {num_classes}"
            )
        self.space, self.input_size, self.num_classes = space, tuple(input_size), num_classes
        self.layout: Any = space.layout(layout)
        self.released = released
        self.tables: dict[str, Tensor] = {}
        self.fixed: dict[str, float] = dict.fromkeys(COUNTED, 0)
        shape = (len(space.places), len(space.operations))
        for name in COUNTED:
            self.tables[name] = torch.zeros(shape, dtype=torch.int64, device="cpu")
        with torch.device("meta"):
            known: dict[Any, tuple[int, ...]] = {}
            for place, module, size in self._modules():
                alike = (str(module), size)  # a module's text holds all of its sizes
                counts = known[alike] = known.get(alike) or _counted(module, size)
                for name, value in zip(COUNTED, counts, strict=True):
                    if place is None:
                        self.fixed[name] += value
                    else:
                        self.tables[name][place] = value
        if released and isinstance(space, FairMobileChain):
            self.fixed["table_flops"] += self._absent_convolution()

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Return the costs of a member, by name; whole numbers, except a latency."""
        used = [self.space.operations.index(str(arch[name])) for name in self.space.checked(arch)]
        rows = torch.arange(len(used))
        return {name: self.fixed[name] + table[rows, used].sum().item() for name, table in self.tables.items()}

    def measure_latency(self, device: str | torch.device = "cpu", *, batch_size: int = 1, repeats: int = 20) -> None:
        """Time every operator on a device, and keep the table as `latency_ms`.

        The sum over operators leaves out what a network saves or loses by running them one after the other.

        Args:
            device: Where to measure.
            batch_size: Images in a pass.
            repeats: Timed passes of each operator; the median counts.
        """
        table = torch.zeros(self.tables["macs"].shape, dtype=torch.float64, device="cpu")
        fixed = 0.0
        for place, module, size in self._modules():
            module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            spent = latency_ms(module, size, batch_size=batch_size, repeats=repeats)
            if place is None:
                fixed += spent
            else:
                table[place] = spent
        self.tables[LATENCY], self.fixed[LATENCY] = table, fixed

    def sampler(self, cost: str = "macs", *, at_most: float = math.inf, at_least: float = 0.0) -> ConstrainedSampler:
        """Return a uniform sampler of the members whose `cost` is in a window, both ends included.

        Raises:
            ConfigurationError: If there is no such cost, or no member in the window.
        """
        if cost not in self.tables:
            hint = "; call `measure_latency` first" if cost == LATENCY else f"; {nearest(cost, self.tables)}"
            raise ConfigurationError(f"there is no table of {cost!r}{hint}")
        scale = _NANOSECONDS if cost == LATENCY else 1
        values = [
            [round(self.tables[cost][layer, self.space.operations.index(str(op))].item() * scale) for op in d.choices]
            for layer, d in enumerate(self.space.decisions)
        ]
        fixed = round(self.fixed[cost] * scale)
        window = (at_least * scale - fixed, at_most * scale - fixed)
        try:
            return ConstrainedSampler(self.space, values, *window)
        except ConfigurationError:
            least, most = (fixed + sum(map(of, values)) for of in (min, max))
            raise ConfigurationError(
                f"no member of {self.space.name} has {cost} from {at_least:,.6g} to {at_most:,.6g}; "
                f"they have {least / scale:,.6g} to {most / scale:,.6g}"
            ) from None

    def _modules(self) -> Iterator[tuple[tuple[int, int] | None, nn.Module, tuple[int, int, int]]]:
        """Yield (layer, operator), or None for stem and head, the module, and (C, H, W) of what enters it."""
        space = self.space
        first = space.architecture([decision.choices[0] for decision in space.decisions])
        shape = {"num_classes": self.num_classes, "in_channels": self.input_size[0]}
        network: Any = space.build(first, self.layout, shape=shape)
        plan, norm = space.plan(space.widths(self.layout)), self.layout.norm
        height, width = self.input_size[1:]
        before = nn.Sequential(*(network.get_submodule(name) for name in network.stems))
        yield None, before, (self.input_size[0], height, width)
        for module in before.modules():
            if isinstance(module, nn.Conv2d):
                height, width = (-(-side // module.stride[0]) for side in (height, width))
        for layer in plan:
            for index, op in enumerate(space.operations):
                if op != SKIP:
                    operator = _Layer(space._candidate(op, layer, norm), layer)
                    yield (layer.index, index), operator, (layer.c_in, height, width)
            height, width = (-(-side // layer.stride) for side in (height, width))
        yield None, _Head(network), (plan[-1].c_out, height, width)

    def _absent_convolution(self) -> int:
        """Return the multiply-adds of a 1×1 convolution that keeps the stem's width, on the stem's maps."""
        widths = self.space.widths(self.layout)
        pixels = math.prod(-(-side // widths.strides[0]) for side in self.input_size[1:])
        return widths.scaled(self.space.channels) ** 2 * pixels


def _counted(module: nn.Module, size: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the costs of a part of a network in the order of `COUNTED`."""
    cost = profile(module, size)
    linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
    table_flops = cost.macs + sum((m.in_features - 1) * m.out_features for m in linear)
    return cost.params, cost.macs, cost.thop, table_flops


class _Layer(nn.Module):
    """An operator with the shortcut of its layer."""

    def __init__(self, operation: nn.Module, layer: Layer) -> None:
        super().__init__()
        self.operation, self.residual = operation, layer.residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.operation(x)
        return x + y if self.residual else y


class _Head(nn.Module):
    """What follows the layers: (B, C, H, W) → (B, classes)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.last, self.neck, self.classifier = network.last, network.neck, network.classifier

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(x).mean(dim=(2, 3), keepdim=True)
        return self.classifier((x if self.neck is None else self.neck(x)).flatten(1))


class ConstrainedSampler:
    """Draws members uniformly among those whose cost is in a window.

    The number of ways to complete a network is counted for every layer and every cost that is left (dynamic
    programming), so a member is drawn layer by layer and never thrown away. Where costs have a common divisor that is
    coarse enough, as multiply-adds of most chains have, this is exact. Else costs are rounded down to one of 131,072
    levels for counting; the few members that rounding lets in are drawn again, so draws are uniform all the same.

    Args:
        space: The members' space.
        costs: For every decision, in order, the cost of each of its choices; whole numbers from 0.
        at_least, at_most: The window of the sum.

    Attributes:
        count: Number of members in the window; of rounded costs, an upper bound.
        exact: Whether the costs are not rounded.
    """

    def __init__(self, space: ChainSpace, costs: Sequence[Sequence[int]], at_least: float, at_most: float) -> None:
        self.space, self.costs = space, costs
        self.at_least, self.at_most = at_least, at_most
        lowest, highest = (sum(map(of, costs)) for of in (min, max))
        low, high = max(at_least, lowest) - lowest, min(at_most, highest) - lowest
        over = [[value - min(row) for value in row] for row in costs]
        divisor = math.gcd(*(value for row in over for value in row)) or 1
        most = int(high) if high >= 0 else -1
        self.exact = most // divisor < _BINS
        unit = divisor if self.exact else -(-most // (_BINS - 1))
        self._over = [[value // unit for value in row] for row in over]
        kind: Any = np.int64 if space.size < 2**62 else object
        levels = most // unit + 1
        ways = [np.zeros(max(levels, 1), dtype=kind)]
        ways[0][0] = 1
        for row in reversed(self._over):
            total = np.zeros_like(ways[-1])
            for value in row:
                if value < levels:
                    total[value:] += ways[-1][: levels - value]
            ways.append(total)
        self._ways = ways[::-1]
        # rounding takes less than a level off each layer
        self._first = max(0, math.ceil(low / unit) - (0 if self.exact else len(costs)))
        self._sums = np.cumsum(self._ways[0][self._first : levels], dtype=kind) if levels else np.zeros(0, dtype=kind)
        self.count = int(self._sums[-1]) if len(self._sums) else 0
        if not self.count:
            raise ConfigurationError(f"no member of {space.name} costs {at_least:,.6g} to {at_most:,.6g}")

    def sample(self, rng: Random) -> Architecture:
        """Return a member in the window, every one with the same probability.

        Raises:
            ConfigurationError: If thousands of draws in a row only missed a window that is narrower than the levels.
        """
        for _ in range(10_000):
            chosen = self._draw(rng)
            cost = sum(row[index] for row, index in zip(self.costs, chosen, strict=True))
            if self.at_least <= cost <= self.at_most:
                values = [decision.choices[index] for decision, index in zip(self.space.decisions, chosen, strict=True)]
                return self.space.architecture(values)
        raise ConfigurationError(f"the window {self.at_least:,.6g} to {self.at_most:,.6g} is too narrow to draw from")

    def _draw(self, rng: Random) -> list[int]:
        """Return an index for every decision, of which the rounded costs are in the window."""
        ticket = rng.randrange(self.count)
        level = self._first + int(np.searchsorted(self._sums, ticket, side="right"))
        chosen = []
        for row, ways in zip(self._over, self._ways[1:], strict=True):
            counts = [int(ways[level - value]) if value <= level else 0 for value in row]
            bounds = list(accumulate(counts))
            index = bisect_right(bounds, rng.randrange(bounds[-1]))
            chosen.append(index)
            level -= row[index]
        return chosen
