"""The cost of every operator of a chain, and exactly uniform sampling of members below a limit.

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
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.costs.inputs import Inputs
from ramify.costs.profiling import latency_ms, profile
from ramify.costs.sampling import ConstrainedSampler
from ramify.errors import ConfigurationError, nearest
from ramify.ops import SKIP
from ramify.spaces import FairMobileChain
from ramify.spaces.chain import ChainSpace
from ramify.spaces.chain_network import Layer
from ramify.spaces.layout import LayoutLike

COUNTED = ("params", "macs", "thop", "table_flops")
LATENCY = "latency_ms"

IMAGENET = Inputs({"num_classes": 1000, "in_channels": 3}, (3, 224, 224))

_NANOSECONDS = 1_000_000
"""In a millisecond: measured costs are counted in them."""


class ChainCosts:
    """The cost of every operator in every layer of a chain.

    Args:
        space: The chain, restricted or not.
        inputs: What the networks are for; the size is (C, H, W) of an image.
        layout: Of the networks, or its keywords.
        released: Whether `table_flops` repeats the mistake of FairNAS' released table.

    Attributes:
        tables: Name of a cost → its table (L, O): what the operator adds in that layer; 0 for `skip_connect`.
        fixed: Name of a cost → what stem and head add.

    Example:
        >>> from ramify import spaces
        >>> from ramify.costs import ChainCosts
        >>> space = spaces.MobileChain()
        >>> costs = ChainCosts(space)
        >>> costs(space.parse([2, 2, -1, 0, 0, -1, -1, 0, 5, -1, 4, 4, 0, 0, 4, 2, 3, 4, 4, 4, 3]))["macs"]
        470792064
    """

    def __init__(
        self,
        space: ChainSpace,
        inputs: Inputs = IMAGENET,
        layout: LayoutLike = None,
        *,
        released: bool = False,
    ) -> None:
        if not isinstance(space, ChainSpace):
            raise ConfigurationError(f"{space.name} is no chain: what an operator costs there depends on the others")
        if len(inputs.size) != 3 or min(inputs.size) < 1:
            raise ConfigurationError(f"a chain takes images (C, H, W), all from 1, got {inputs.size}")
        self.space, self.inputs = space, inputs
        self.layout: Any = space.layout(layout)
        self.released = released
        self.tables: dict[str, Tensor] = {}
        self.fixed: dict[str, float] = dict.fromkeys(COUNTED, 0)
        shape = (len(space.places), len(space.operations))
        for name in COUNTED:
            self.tables[name] = torch.zeros(shape, dtype=torch.int64, device="cpu")
        with torch.device("meta"):
            by_module: dict[Any, tuple[int, ...]] = {}
            for place, module, size in self._modules():
                alike = (str(module), size)  # a module's text holds all of its sizes
                counts = by_module[alike] = by_module.get(alike) or _counted(module, size)
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
        """Measure the latency of every operator on a device, and keep the table as `latency_ms`.

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
        network: Any = space.build(first, self.layout, shape=dict(self.inputs.shape))
        plan, norm = space.plan(space.widths(self.layout)), self.layout.norm
        channels, height, width = cast(tuple[int, int, int], self.inputs.size)
        before = nn.Sequential(*(network.get_submodule(name) for name in network.stems))
        yield None, before, (channels, height, width)
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
        pixels = math.prod(-(-side // widths.strides[0]) for side in self.inputs.size[1:])
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
