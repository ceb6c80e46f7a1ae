"""The supernet of an existing network: the network called with other weights.

The input axis of every weight is multiplied by the mixture of masks of its groups. What is wider than the widest active
candidate is not computed: the call then goes to a shell of that shape, on leading slices of the tensors.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ramify.elastic.blocks import Kernel, Stage
from ramify.elastic.cutting import Cut, Slices, centered, cut_network, cut_of
from ramify.elastic.graphs import Graphs
from ramify.elastic.groups import Plan
from ramify.elastic.interpolating import interpolated, matrices
from ramify.elastic.measured import GATE, MASK, with_gate, with_measured_norm
from ramify.elastic.width_sets import BESIDE, WidthSets

_SHELLS = 64  # that are kept


@dataclass(frozen=True)
class Active:
    """The candidates to compute, on the host: for each group, stage and convolution the indices of its candidates."""

    widths: Sequence[Sequence[int]]
    depths: Sequence[Sequence[int]] = ()
    kernels: Sequence[Sequence[int]] = ()

    @property
    def single(self) -> bool:
        """Whether there is one candidate each."""
        return all(len(row) == 1 for rows in (self.widths, self.depths, self.kernels) for row in rows)


class ElasticNetwork(nn.Module):
    """A network with elastic widths, depth and kernels.

    Args:
        network: It is changed in place: its parameters are the supernet's.
        plan: Its groups.
        places: The order of units, `cutting.ranks`.
        stages: Its blocks that may be out.
        kernels: Its convolutions that may shrink.
        norms: Path of a norm → unit (n,) of each channel that it measures over.
        graphs: What is run on slices where the network's own code writes sizes down.
        sets: Whether batch norms have a set of weights and statistics for every width.
        combine: How widths are mixed: `mask` multiplies what layers read by the mixture of masks, `interpolate`
            brings all of them to the widest one (`interpolating.py`).
    """

    def __init__(
        self,
        network: nn.Module,
        plan: Plan,
        places: Tensor,
        stages: Sequence[Stage],
        kernels: Sequence[Kernel],
        norms: Mapping[str, Tensor],
        graphs: Graphs | None = None,
        *,
        sets: bool = False,
        combine: Literal["mask", "interpolate"] = "mask",
    ) -> None:
        super().__init__()
        self._within: Tensor
        self._owner: Tensor
        self.network = network
        self.plan, self.places, self.stages, self.kernels = plan, places, tuple(stages), tuple(kernels)
        self._graphs, self.combine = graphs, combine
        self.sets = WidthSets(network, plan) if sets and plan.groups else None
        if self.sets is not None:
            self.sets.give(network)
        self._norms = {path: units for path, units in norms.items() if units.any()}
        for path, units in self._norms.items():
            with_measured_norm(network.get_submodule(path), len(units))
        for module in network.modules():
            if isinstance(module, nn.TransformerEncoderLayer):
                module.activation_relu_or_gelu = 0  # no kernel for all of it, in which no norm can be measured
        for stage in self.stages:
            for path in stage.removable:
                with_gate(network.get_submodule(path))
        shares = [torch.tensor(group.shares) for group in plan.groups]
        within = [places[group.span, None] < numbers for group, numbers in zip(plan.groups, shares, strict=True)]
        owner = [torch.full((group.units,), number) for number, group in enumerate(plan.groups)]
        self.register_buffer("_within", torch.cat(within) if within else torch.zeros(0, 1), persistent=False)
        self.register_buffer(
            "_owner", torch.cat(owner) if owner else torch.zeros(0, dtype=torch.long), persistent=False
        )
        for number, place in enumerate(self._read):
            self.register_buffer(f"_units_{number}", plan.axes[place], persistent=False)
        for number, units in enumerate(self._norms.values()):
            self.register_buffer(f"_norm_{number}", units, persistent=False)
        self._template: list[nn.Module] = []  # in a list: it is no part of the network
        self._shells: OrderedDict[Any, tuple[nn.Module, Slices]] = OrderedDict()

    @property
    def _read(self) -> list[tuple[str, int]]:
        return sorted(self.plan.inputs)

    def forward(
        self,
        *inputs: Any,
        widths: Tensor | None = None,
        depths: Tensor | None = None,
        kernels: Tensor | None = None,
        active: Active | None = None,
    ) -> Any:
        """Map inputs to what the network returns, with a mixture of members.

        Args:
            inputs: Of the network.
            widths: Weights (groups, shares); None for the full width. So for depths and kernels.
            depths: Weights (stages, D) of each stage's depths; what lies beyond a stage's own is not read.
            kernels: Weights (convolutions, K) of each one's sides.
            active: What to compute; None for all of it.
        """
        if self.combine == "interpolate" and active is None and widths is not None:
            active = _positive(widths)  # the widest of which is what all are brought to
        if active is not None and self._graphs is not None and not active.single:
            active = None  # an exported graph has no norms to measure and no blocks to blend
        masks = None if widths is None else self._masks(widths)
        gates = {} if depths is None else self._gates(depths)
        cut, exact = self._cut(active)
        network, slices = (self.network, None) if active is None else self._shell(cut, exact)
        own = dict((*self.network.named_parameters(), *self.network.named_buffers()))
        normed: dict[str, Tensor] = {}
        computed = None if active is None else active.widths
        if self.sets is not None and widths is not None:
            normed = self.sets.called(self.network, own, widths, computed)
        state = {
            name: normed.get(name, tensor)
            for name, tensor in own.items()
            if not name.rpartition(".")[2].startswith(BESIDE) and not any(_within(name, block) for block in cut.out)
        }
        called = dict(state) if slices is None else {name: slices.of(name, tensor) for name, tensor in state.items()}
        written = {name: x for name, x in called.items() if slices is not None and name in slices.names}
        if kernels is not None:
            self._ring(called, kernels)
        if masks is not None and widths is not None:
            by_group = matrices(self.plan.groups, cut.kept, widths) if self.combine == "interpolate" else None
            self._mask(called, masks, slices, cut.out, by_group)
        called |= {f"{path}.{GATE}": gate for path, gate in gates.items() if path not in cut.out}
        result = functional_call(network, called, inputs)
        if slices is not None:
            self._write_back(slices, state, written)
        if self.sets is not None and normed:
            self.sets.keep(self.network, own, {name: state[name] for name in normed if name in state}, computed)
        return result

    def _masks(self, widths: Tensor) -> Tensor:
        """Return the mixture of masks over all units (count,)."""
        mixed = (widths[self._owner] * self._within).sum(dim=1)
        return torch.cat([mixed.new_ones(1), mixed])

    def _gates(self, depths: Tensor) -> dict[str, Tensor]:
        gates = {}
        for stage, weights in zip(self.stages, depths, strict=True):
            for path in stage.removable:
                deeper = [d > stage.blocks.index(path) for d in stage.depths]
                gates[path] = weights[deeper.index(True) : len(deeper)].sum()
        return gates

    def _ring(self, called: dict[str, Tensor], kernels: Tensor) -> None:
        """Multiply kernels by the mixture of their centers."""
        for kernel, weights in zip(self.kernels, kernels, strict=True):
            tensor = called.get(kernel.weight)
            if tensor is None:
                continue
            own = kernel.sides[-1]
            mask = weights.new_zeros(own, own)
            for side, weight in zip(kernel.sides, weights.unbind(), strict=False):
                rim = (own - side) // 2
                mask = mask + weight * nn.functional.pad(weights.new_ones(side, side), [rim] * 4)
            called[kernel.weight] = tensor * centered(mask, tensor.shape[-1]).to(tensor.dtype)

    def _mask(
        self,
        called: dict[str, Tensor],
        masks: Tensor,
        slices: Slices | None,
        out: Sequence[str],
        by_group: Mapping[int, Tensor] | None,
    ) -> None:
        """Multiply what layers read along by the masks, or by the matrices of groups; norms get the masks."""
        for number, (name, axis) in enumerate(self._read):
            if name not in called:
                continue
            units, tensor = getattr(self, f"_units_{number}"), called[name]
            if by_group is not None:
                units = self.plan.axes[name, axis]
                if slices is not None and (name, axis) in slices.positions:
                    units = units[slices.positions[name, axis]]
                called[name] = interpolated(tensor, axis, units, self.plan, self.places, by_group)
                continue
            if slices is not None and (name, axis) in slices.positions:
                units = units[slices.on((name, axis), units.device)]
            shape = [-1 if other == axis else 1 for other in range(tensor.dim())]
            called[name] = tensor * masks[units].to(tensor.dtype).view(shape)
        for number, path in enumerate(self._norms):
            units = getattr(self, f"_norm_{number}")
            if slices is not None:
                units = units[slices.stay[units.cpu()].to(units.device)]
            if not any(_within(path, block) for block in out):
                called[f"{path}.{MASK}"] = masks[units]

    def _cut(self, active: Active | None) -> tuple[Cut, tuple[str, ...]]:
        """Return the widest active candidates, and the norms over groups of which one alone is active."""
        if active is None:
            return Cut(tuple(group.units for group in self.plan.groups)), ()
        kept = [max(g.shares[k] for k in row) for g, row in zip(self.plan.groups, active.widths, strict=True)]
        depths = _largest([stage.depths for stage in self.stages], active.depths)
        sides = _largest([kernel.sides for kernel in self.kernels], active.kernels)
        mixed = torch.zeros(self.plan.count, dtype=torch.bool)
        for group, row in zip(self.plan.groups, active.widths, strict=True):
            mixed[group.span] = len({group.shares[k] for k in row}) > 1
        exact = tuple(path for path, units in self._norms.items() if not mixed[units].any())
        return cut_of(self.plan, self.stages, self.kernels, kept, depths, sides), exact

    def _shell(self, cut: Cut, exact: tuple[str, ...]) -> tuple[nn.Module, Slices]:
        """Return the network cut to a shape, without memory, and what it keeps of each tensor."""
        key = (cut, exact)
        if key not in self._shells:
            if not self._template:
                self._template.append(copy.deepcopy(self.network).to("meta"))
            slices = Slices(self.plan, self.places, cut)
            if self._graphs is None:
                shell = cut_network(self._template[0], slices, cut)
            else:
                shell = self._graphs.member(self._template[0], self.plan, slices, cut)
            for path in exact:
                if not any(_within(path, block) for block in cut.out):
                    shell.get_submodule(path).elastic_exact = True  # type: ignore[assignment]
            self._shells[key] = shell, slices
            if len(self._shells) > _SHELLS:
                self._shells.popitem(last=False)
        self._shells.move_to_end(key)
        shell, slices = self._shells[key]
        modes = {path: module.training for path, module in self.network.named_modules()}
        for path, module in shell.named_modules():
            module.training = modes[path]
        return shell, slices

    def _write_back(self, slices: Slices, state: Mapping[str, Tensor], written: Mapping[str, Tensor]) -> None:
        """Return statistics to the tensors of which a shell had copies; views have written them already."""
        buffers = {name for name, _ in self.network.named_buffers()}
        for name in buffers & written.keys():
            if self.training and written[name].data_ptr() != state[name].data_ptr():
                with torch.no_grad():
                    slices.write(name, state[name], written[name])


def _positive(widths: Tensor) -> Active:
    """Return the candidates of widths (groups, shares) that have any weight."""
    return Active([[k for k, weight in enumerate(row) if weight != 0] for row in widths.tolist()])


def _largest(numbers: Sequence[Sequence[int]], active: Sequence[Sequence[int]]) -> list[int]:
    """Return the largest active number of each list; of all of them where nothing is said."""
    if not active:
        return [row[-1] for row in numbers]
    return [max(row[k] for k in indices) for row, indices in zip(numbers, active, strict=True)]


def _within(path: str, block: str) -> bool:
    return path == block or path.startswith(f"{block}.")
