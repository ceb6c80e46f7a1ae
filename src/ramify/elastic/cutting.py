"""Members of the first form: the user's own classes with smaller tensors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramify.elastic.blocks import Kernel, Stage
from ramify.elastic.groups import CONSTANT, Place, Plan


@dataclass(frozen=True)
class Cut:
    """What one member keeps of a network.

    Args:
        kept: Units of each group of a plan, in order.
        out: Paths of the blocks that are left out.
        sides: Path of a convolution → side of its kernel, where it is smaller.
    """

    kept: tuple[int, ...]
    out: tuple[str, ...] = ()
    sides: tuple[tuple[str, int], ...] = ()


def cut_of(plan: Plan, stages: Iterable[Stage], kernels: Iterable[Kernel], *choices: Sequence[int]) -> Cut:
    """Return the cut of kept units, depths and sides, each in order."""
    kept, depths, sides = choices
    out = [path for stage, depth in zip(stages, depths, strict=True) for path in stage.out(depth)]
    smaller = [(k.name, side) for k, side in zip(kernels, sides, strict=True) if side < k.sides[-1]]
    return Cut(tuple(kept), tuple(out), tuple(smaller))


def importance(network: nn.Module, plan: Plan) -> Tensor:
    """Return the sum of the absolute weights of each unit (count,), over all of its slices."""
    total = torch.zeros(plan.count, dtype=torch.double)
    parameters = dict(network.named_parameters())
    for (name, axis), units in plan.axes.items():
        if name in parameters:
            lines = parameters[name].detach().double().abs().movedim(axis, 0)
            total.index_add_(0, units, lines.reshape(len(units), -1).sum(dim=1).cpu())
    return total


def ranks(plan: Plan, scores: Tensor | None) -> Tensor:
    """Return the place (count,) of each unit in its group: by falling score, or in the given order."""
    places = torch.zeros(plan.count, dtype=torch.long)
    for group in plan.groups:
        order = torch.arange(group.units)
        if scores is not None:
            order = scores[group.span].argsort(descending=True, stable=True)
        places[group.span][order] = torch.arange(group.units)
    return places


def rearrange(network: nn.Module, plan: Plan, taken: Tensor) -> None:
    """Put units of a network into each other's places, in all tensors, in place.

    Args:
        network: Which computes the same afterwards.
        plan: Its groups.
        taken: Unit (count,) that takes the place of each, one of the same group.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad():
        for (name, axis), units in plan.axes.items():
            source = torch.empty_like(units)
            source[taken[units].argsort(stable=True)] = units.argsort(stable=True)
            tensors[name].copy_(tensors[name].index_select(axis, source.to(tensors[name].device)))


def sort_units(network: nn.Module, plan: Plan) -> None:
    """Put the units of every group in the order of their falling sums of absolute weights, in place.

    So the first ones, which members keep, are those that a pruning by magnitude keeps (Cai et al., Once-for-All, ICLR
    2020, section 3.3, sorts channels so, by the L1 norm of their kernels).
    """
    places, taken = ranks(plan, importance(network, plan)), torch.arange(plan.count)
    for group in plan.groups:
        taken[group.span] = taken[group.span][places[group.span].argsort()]
    rearrange(network, plan, taken)


def keeping(plan: Plan, places: Tensor, kept: Sequence[int]) -> Tensor:
    """Return which units (count,) stay where the first ones of each group do."""
    stay = torch.ones(plan.count, dtype=torch.bool)
    for group, number in zip(plan.groups, kept, strict=True):
        stay[group.span] = places[group.span] < number
    stay[CONSTANT] = True
    return stay


def positions(plan: Plan, stay: Tensor) -> dict[Place, Tensor]:
    """Return the indices that are left of every axis that shrinks."""
    indices = {place: stay[units].nonzero().flatten() for place, units in plan.axes.items()}
    return {place: index for place, index in indices.items() if len(index) < len(plan.axes[place])}


def leading(index: Tensor) -> bool:
    """Return whether indices are the first ones, so that they need no copy."""
    return len(index) == 0 or int(index[-1]) == len(index) - 1


def centered(weight: Tensor, side: int) -> Tensor:
    """Return the center (…, side, side) of kernels."""
    rim = (weight.shape[-1] - side) // 2
    return weight[..., rim : rim + side, rim : rim + side]


class Slices:
    """What one member keeps of every tensor of a network.

    Args:
        plan: Of the network.
        places: The order of units, `ranks`.
        cut: What is kept.

    Attributes:
        stay: Which units (count,) are kept.
        positions: The indices that are left of every axis that shrinks.
    """

    def __init__(self, plan: Plan, places: Tensor, cut: Cut) -> None:
        self._moved: dict[tuple[Place, torch.device], Tensor] = {}
        self.stay = keeping(plan, places, cut.kept)
        self.positions = positions(plan, self.stay)
        self._cuts: dict[str, list[tuple[int, Tensor]]] = {}
        for (name, axis), index in self.positions.items():
            self._cuts.setdefault(name, []).append((axis, index))
        self._sides = {f"{path}.weight": side for path, side in cut.sides}

    @property
    def names(self) -> set[str]:
        """Of the tensors that shrink."""
        return self._cuts.keys() | self._sides.keys()

    def on(self, place: Place, device: torch.device) -> Tensor:
        """Return the positions of a place on a device, of which a copy is kept there."""
        if (place, device) not in self._moved:
            self._moved[place, device] = self.positions[place].to(device)
        return self._moved[place, device]

    def of(self, name: str, tensor: Tensor) -> Tensor:
        """Return what is left of the tensor with this name, a view where it can be one."""
        kept = tensor
        for axis, index in self._cuts.get(name, ()):
            if leading(index) or tensor.is_meta:
                kept = kept.narrow(axis, 0, len(index))
            else:
                kept = kept.index_select(axis, self.on((name, axis), tensor.device))
        return centered(kept, self._sides[name]) if name in self._sides else kept

    def write(self, name: str, tensor: Tensor, values: Tensor) -> None:
        """Write into a tensor, in place, what a member has of it."""
        kept = [torch.arange(size) for size in tensor.shape]
        for axis, index in self._cuts.get(name, ()):
            kept[axis] = index
        if name in self._sides:
            rim = (tensor.shape[-1] - self._sides[name]) // 2
            kept[-2:] = [places[rim : len(places) - rim] for places in kept[-2:]]
        views = [[-1 if dim == axis else 1 for dim in range(len(kept))] for axis in range(len(kept))]
        where = [places.view(view).to(tensor.device) for places, view in zip(kept, views, strict=True)]
        tensor[tuple(where)] = values.to(tensor)


def cut_network(network: nn.Module, slices: Slices, cut: Cut) -> nn.Module:
    """Return a copy of a network with smaller tensors, the same module tree and the same paths.

    Blocks that are left out become `nn.Identity`. On the meta device nothing but shapes is cut.
    """
    member = copy.deepcopy(network)
    replaced: dict[int, Tensor] = {}
    for name, tensor in (*member.named_parameters(), *member.named_buffers()):
        if name in slices.names:
            kept = slices.of(name, tensor.detach()).clone(memory_format=torch.contiguous_format)
            replaced[id(tensor)] = (
                nn.Parameter(kept, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else kept
            )
    for module in member.modules():
        before = _shapes(module)
        own: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in own:
            tensors |= {name: replaced[id(x)] for name, x in tensors.items() if id(x) in replaced}
        _fit(module, before, _shapes(module))
    for module in member.modules():
        _fit_heads(module)
    for path in cut.out:
        member.set_submodule(path, nn.Identity())
    return member


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    return {name: tensor.shape for name, tensor in own}


def _fit(module: nn.Module, before: Mapping[str, torch.Size], now: Mapping[str, torch.Size]) -> None:
    """Set the attributes in which PyTorch's modules write the sizes of their tensors once more."""
    if now == before:
        return
    if isinstance(module, nn.modules.conv._ConvNd):
        weight, old = now["weight"], before["weight"]
        if module.groups > 1:
            module.groups = module.groups * weight[0] // old[0]
        ends = (weight[0], weight[1] * module.groups)
        module.in_channels, module.out_channels = ends if module.transposed else ends[::-1]
        if weight[2:] != old[2:]:
            module.kernel_size = tuple(weight[2:])
            module.padding = tuple(side // 2 * step for side, step in zip(weight[2:], module.dilation, strict=True))
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = now["weight"]
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = next(iter(now.values()))[0]
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(now["weight"])
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = now["weight"][0]
        if module.num_groups > 1:
            module.num_groups = module.num_groups * now["weight"][0] // before["weight"][0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = now["weight"][0]


def _fit_heads(module: nn.Module) -> None:
    """Set the number of heads beside a `head_dim`, which stays: by the layer that reads all of them."""
    size, reader = getattr(module, "head_dim", None), getattr(module, "proj", None)
    if isinstance(size, int) and isinstance(reader, nn.Linear):
        numbers = {"num_heads": reader.in_features // size, "attn_dim": reader.in_features}
        for name, number in numbers.items():
            if isinstance(getattr(module, name, None), int):
                setattr(module, name, number)
