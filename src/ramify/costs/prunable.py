"""Costs of residual networks whose widths and depths are decided: exact for members, also in expectation.

Decisions are drawn independently, so the expected product of two widths is the product of their
expectations; a block counts with the probability that its stage is at least that deep, and the first block of a stage
reads the width of the last block kept before, a mixture over that stage's depths. A 1×1 convolution in a shortcut of
stride 1 counts where its widths differ. TAS itself estimates otherwise (`Estimate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.costs.networks import Networks
from ramify.costs.record import cost
from ramify.errors import ConfigurationError
from ramify.spaces.prunable import PrunableResNet
from ramify.spaces.prunable_network import DEPTH, WIDTH, PrunedResNet
from ramify.spaces.residual_plan import Block, Layer, ResidualPlan, Shortcut

PARAMS, MACS, ESTIMATE = "params", "macs", "tas_macs"
NAMES = (PARAMS, MACS, ESTIMATE)
"""The costs that are known here."""


class ExactCost(Protocol):
    """A cost of members in closed form."""

    def of(self, arch: Architecture) -> float:
        """Return the cost of a member."""


@dataclass(frozen=True)
class Unit:
    """What layers cost, by the sizes of what they are for.

    Args:
        name: `params` or `macs`.
        side: (H, W) of the images.
        in_channels: Of the images.
        num_classes: Of the logits.
    """

    name: str
    side: tuple[int, int]
    in_channels: int
    num_classes: int

    @classmethod
    def of(cls, name: str, networks: Networks) -> Unit:
        """Return the costs of layers of networks."""
        size, shape = networks.inputs.size, networks.inputs.shape
        return cls(name, (size[1], size[2]), shape.get("in_channels", size[0]), shape.get("num_classes", 10))

    def per_weight(self, shrunk: int | None) -> int:
        """Return what a weight of a layer costs, for its map, whose sides are so many times shorter."""
        if self.name == PARAMS or shrunk is None:
            return 1
        return ceil(self.side[0] / shrunk) * ceil(self.side[1] / shrunk)

    def per_norm(self, *, normed: bool = True) -> int:
        """Return what a channel of a norm costs."""
        return 2 if normed and self.name == PARAMS else 0

    def per_class(self) -> int:
        """Return what a class costs beside its weights."""
        return 1 if self.name == PARAMS and self.num_classes else 0

    def layer(self, layer: Layer) -> int:
        """Return what a layer of a member costs."""
        before, after = layer.before or self.in_channels, layer.after
        if after is None:
            return (before + self.per_class()) * self.num_classes
        weights = before * after * layer.kernel**2
        return weights * self.per_weight(layer.shrunk) + after * self.per_norm(normed=layer.normed)


@dataclass(frozen=True)
class Drawn:
    """A width that is drawn: numbers (K,) with their probabilities (K,), float64."""

    numbers: Tensor
    weights: Tensor

    @property
    def mean(self) -> Tensor:
        """Its expectation."""
        return (self.numbers * self.weights).sum()

    def product(self, other: Drawn) -> Tensor:
        """Return the expected product with another one, where both differ; 0 where they do not."""
        return self._where_unlike(other, self.numbers[:, None] * other.numbers)

    def unlike(self, other: Drawn) -> Tensor:
        """Return the expectation of the other one where both differ; 0 where they do not."""
        return self._where_unlike(other, other.numbers.expand(len(self.numbers), -1))

    def _where_unlike(self, other: Drawn, what: Tensor) -> Tensor:
        unlike = self.numbers[:, None] != other.numbers
        return (self.weights[:, None] * other.weights * unlike * what).sum()

    @classmethod
    def mixed(cls, parts: Iterable[tuple[Tensor, Drawn]]) -> Drawn:
        """Return one of several, each with its probability."""
        taken = list(parts)
        return cls(torch.cat([d.numbers for _, d in taken]), torch.cat([p * d.weights for p, d in taken]))


class PrunableCost:
    """A cost of members, and its expectation.

    Args:
        space: Whose members.
        unit: What layers cost.
    """

    def __init__(self, space: PrunableResNet, unit: Unit) -> None:
        self.space, self.unit, self.plan = space, unit, space.plan

    def of(self, arch: Architecture) -> float:
        """Return the cost of a member."""
        layers = self.plan.layers(self.space.widths_of(arch), self.space.depths_of(arch))
        return float(sum(self.unit.layer(layer) for layer in layers))

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Return the expected cost (scalar, float64) for probabilities (E, O) of the candidates of every choice."""
        widths, depths = drawn_widths(self.space, probabilities), deep_enough(self.space, probabilities)
        images = torch.tensor([float(self.unit.in_channels)], dtype=torch.float64)
        before, total = Drawn(images, torch.ones_like(images)), images.new_zeros(())
        for row in range(len(self.plan.stem)):
            total = total + self._convolution(row, before, widths[row])
            before = widths[row]
        for at_least, blocks in zip(depths, self.plan.stages, strict=True):
            entered, ends = before, list[tuple[Tensor, Drawn]]()
            for block in blocks:
                total = total + at_least[block.number] * self._block(block, entered, widths)
                entered = widths[block.last]
                ends.append((at_least[block.number] - at_least[block.number + 1], entered))
            before = Drawn.mixed(ends)
        return total + (before.mean + self.unit.per_class()) * self.unit.num_classes

    def _convolution(self, row: int, before: Drawn, after: Drawn) -> Tensor:
        per_weight = self.plan.convolutions[row].kernel ** 2 * self.unit.per_weight(self.plan.shrunk[row])
        return before.mean * after.mean * per_weight + after.mean * self.unit.per_norm()

    def _block(self, block: Block, before: Drawn, widths: Sequence[Drawn]) -> Tensor:
        total, entered = before.mean.new_zeros(()), before
        for row in block.rows:
            total = total + self._convolution(row, before, widths[row])
            before = widths[row]
        shortcut = self.plan.shortcut_of_member(block, 0, 1)  # of unlike widths
        assert shortcut is not None
        per_weight = self.unit.per_weight(self.plan.shrunk[block.last])
        per_norm = self.unit.per_norm(normed=shortcut.normed)
        if shortcut.pooled:
            return total + entered.mean * before.mean * per_weight + before.mean * per_norm
        return total + entered.product(before) * per_weight + entered.unlike(before) * per_norm

    @property
    def least(self) -> float:
        """The least cost of a member."""
        return self._extreme(min)

    @property
    def most(self) -> float:
        """The largest cost of a member."""
        return self._extreme(max)

    def _extreme(self, best: Callable[..., Any]) -> float:
        """Return the smallest or largest cost of a member, by what is best for every width that a block puts out.

        Within a block more channels cost more, so the inner ones are the fewest or the most.
        """
        allowed = allowed_widths(self.space)
        ends: dict[int, float] = {0: 0.0}  # width of what is put out → the best cost so far
        for row, conv in enumerate(self.plan.stem):
            layers = {
                (before, after): [Layer(str(row), before, after, conv.kernel, self.plan.shrunk[row], True)]
                for before in ends
                for after in allowed[row]
            }
            ends = self._continued(ends, layers, best)
        for blocks, depths in zip(self.plan.stages, allowed_depths(self.space), strict=True):
            stops: dict[int, float] = {}
            for block in blocks[: max(depths)]:
                inner = [best(allowed[row]) for row in block.rows[:-1]]
                layers = {
                    (before, after): list(self.plan.layers_of(block, before, [*inner, after]))
                    for before in ends
                    for after in allowed[block.last]
                }
                ends = self._continued(ends, layers, best)
                if block.number + 1 in depths:
                    stops |= {width: best(stops.get(width, c), c) for width, c in ends.items()}
            ends = stops
        return float(best(c + self.unit.layer(Layer("", b, None, 1, None, False)) for b, c in ends.items()))

    def _continued(
        self, ends: Mapping[int, float], layers: Mapping[tuple[int, int], Sequence[Layer]], best: Callable[..., Any]
    ) -> dict[int, float]:
        """Return the best costs behind layers, given those before: (width before, width after) → layers."""
        found: dict[int, float] = {}
        for (before, after), between in layers.items():
            total = ends[before] + sum(map(self.unit.layer, between))
            found[after] = best(found.get(after, total), total)
        return found


class Estimate(PrunableCost):
    """Multiply-adds as the released program of TAS estimates them (`estimate`), for comparison.

    The expectation leaves out the shortcuts that a member has and the whole network has not.
    """

    def of(self, arch: Architecture) -> float:
        """Return the estimate for a member."""
        return float(estimate(self.plan, self.space.widths_of(arch), self.space.depths_of(arch), self.unit))

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Return the estimate (scalar, float64) for probabilities (E, O) of the candidates of every choice."""
        means = [drawn.mean for drawn in drawn_widths(self.space, probabilities)]
        at_least = deep_enough(self.space, probabilities)
        whole = self.plan.shortcut_of_whole
        return torch.as_tensor(_estimated(self.plan, means, at_least, self.unit, lambda block, a, b: whole(block)))

    def _extreme(self, best: Callable[..., Any]) -> float:
        allowed = [[best(row)] for row in allowed_widths(self.space)]
        depths = [best(row) for row in allowed_depths(self.space)]
        return float(estimate(self.plan, [row[0] for row in allowed], depths, self.unit))


def estimate(plan: ResidualPlan, widths: Sequence[int], depths: Sequence[int], unit: Unit) -> int:
    """Return the multiply-adds of a derived network as the released program of TAS estimates them.

    The first block of a stage is taken to read what the last block of the stage before would put out, also where that
    is left out. Where depth is not pruned, that is exact.

    Args:
        plan: Of the whole network.
        widths: Of every convolution, also of those that are left out.
        depths: Blocks kept in each stage.
        unit: What layers cost.
    """
    kept = [[int(number < depth) for number in range(n + 1)] for n, depth in zip(plan.blocks, depths, strict=True)]
    return int(_estimated(plan, widths, kept, unit, plan.shortcut_of_member))


def _estimated(
    plan: ResidualPlan,
    widths: Sequence[Any],
    at_least: Sequence[Sequence[Any]],
    unit: Unit,
    shortcut: Callable[[Block, Any, Any], Shortcut | None],
) -> Any:
    total, before = 0, unit.in_channels
    for row, conv in enumerate(plan.stem):
        total = total + before * widths[row] * conv.kernel**2 * unit.per_weight(plan.shrunk[row])
        before = widths[row]
    for block in plan.residual:
        own, entered = 0, before
        for row in block.rows:
            kernel = plan.convolutions[row].kernel
            own = own + before * widths[row] * kernel**2 * unit.per_weight(plan.shrunk[row])
            before = widths[row]
        if shortcut(block, entered, before) is not None:
            own = own + entered * before * unit.per_weight(plan.shrunk[block.last])
        total = total + at_least[block.stage][block.number] * own
    return total + before * unit.num_classes


def allowed_widths(space: PrunableResNet) -> list[list[int]]:
    """Return the widths that each convolution may have in a space, which may be restricted."""
    by_name = {decision.name: [int(v) for v in decision.choices] for decision in space.decisions}  # type: ignore[arg-type]
    return [by_name.get(conv.name, [conv.width]) for conv in space.plan.convolutions]


def allowed_depths(space: PrunableResNet) -> list[list[int]]:
    """Return the numbers of blocks that each stage may keep in a space, which may be restricted."""
    by_name = {decision.name: [int(v) for v in decision.choices] for decision in space.decisions}  # type: ignore[arg-type]
    return [by_name.get(f"stage{number}", [n]) for number, n in enumerate(space.plan.blocks, start=1)]


def drawn_widths(space: PrunableResNet, probabilities: Mapping[str, Tensor]) -> list[Drawn]:
    """Return the width of every convolution as it is drawn, for probabilities (E, O)."""
    table = probabilities.get(WIDTH)
    if table is None:
        ones = torch.ones(1, dtype=torch.float64)
        return [Drawn(conv.width * ones, ones) for conv in space.plan.convolutions]
    rows = zip(space.widths, table.double(), strict=True)
    return [Drawn(torch.tensor(own, dtype=torch.float64, device=table.device), row) for own, row in rows]


def deep_enough(space: PrunableResNet, probabilities: Mapping[str, Tensor]) -> list[list[Tensor]]:
    """Return for each stage the probabilities that it keeps more than 0, 1, … blocks."""
    table = probabilities.get(DEPTH)
    found = []
    for stage, blocks in enumerate(space.plan.blocks):
        own = space.plan.depths[stage] if table is not None else (blocks,)
        row = torch.ones(1, dtype=torch.float64) if table is None else table[stage].double()
        deeper = torch.tensor([[depth > number for depth in own] for number in range(blocks + 1)], device=row.device)
        found.append(list((deeper * row).sum(dim=1)))
    return found


def prunable_cost(networks: Networks, name: str) -> PrunableCost | None:
    """Return a cost of the members of a `PrunableResNet`; None for another space, or a cost that is not known here."""
    if not isinstance(networks.space, PrunableResNet) or name not in NAMES:
        return None
    kind = Estimate if name == ESTIMATE else PrunableCost
    return kind(networks.space, Unit.of(MACS if name == ESTIMATE else name, networks))


@cost(ESTIMATE, title="multiply-adds as TAS estimates them", paper="Dong & Yang, TAS, NeurIPS 2019, arXiv:1905.09717")
def _tas_macs(network: nn.Module, inputs: Tensor) -> float:
    """Multiply-adds of a member of `PrunableResNet` as the released program of TAS estimates them, for comparison."""
    if not isinstance(network, PrunedResNet):
        raise ConfigurationError(f"{ESTIMATE} is an estimate for members of PrunableResNet; elsewhere it is `{MACS}`")
    classifier = network.classifier
    classes = classifier.out_features if isinstance(classifier, nn.Linear) else 0
    unit = Unit(MACS, (inputs.shape[2], inputs.shape[3]), inputs.shape[1], classes)
    return float(estimate(network.plan, network.widths, network.depths, unit))
