"""Mixtures of widths by channel-wise interpolation: what TAS does to features, as a matrix on the weights that read.

Dong and Yang, Network Pruning via Transformable Architecture Search, NeurIPS 2019, arXiv:1905.09717. Of a group with
weights w and kept units n_k, K of which are the most, a reader sees A·x instead of x: A = Σ_k w_k·P(n_k → K), P being
the interpolation of the first n_k units. That is W·A in the place of W. With one candidate A is the identity.
Deviation from the paper: there every convolution has a width of its own, additions extend by zeros, and what enters a
ReLU is mixed; here what is added has one width, and what is read is mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ramify.elastic.groups import Group, Plan
from ramify.ops.interpolation import interpolation_matrix


def matrices(groups: Sequence[Group], kept: Sequence[int], widths: Tensor) -> dict[int, Tensor]:
    """Return number of a group → A (K, K), without those that are the identity.

    Args:
        groups: Of a plan.
        kept: The most units of each that are computed, K.
        widths: Weights (groups, shares).
    """
    found = {}
    for number, (group, most) in enumerate(zip(groups, kept, strict=True)):
        usable = [k for k, share in enumerate(group.shares) if share <= most]
        if len({group.shares[k] for k in usable}) > 1:
            total = widths.new_zeros(most, most)
            for k in usable:
                narrow = interpolation_matrix(group.shares[k], most, widths)
                total = total + widths[number, k] * torch.nn.functional.pad(narrow, (0, most - group.shares[k]))
            found[number] = total
    return found


def interpolated(
    tensor: Tensor, axis: int, units: Tensor, plan: Plan, places: Tensor, by_group: Mapping[int, Tensor]
) -> Tensor:
    """Return a weight with its input axis multiplied by the matrices of its groups.

    Args:
        tensor: The weight.
        axis: Along which it reads.
        units: Unit (n,) of each index, on the CPU.
        plan: Of the network.
        places: The order of units, `cutting.ranks`.
        by_group: What `matrices` returned.
    """
    for number, index in _lines(units, plan, places, by_group):
        slots, most = index.shape
        where = index.flatten().to(tensor.device)
        lines = tensor.index_select(axis, where).movedim(axis, -1)
        mixed = lines.unflatten(-1, (slots, most)) @ by_group[number].to(tensor.dtype)
        tensor = tensor.index_copy(axis, where, mixed.flatten(-2).movedim(-1, axis))
    return tensor


def _lines(units: Tensor, plan: Plan, places: Tensor, by_group: Mapping[int, Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Yield groups that an axis has, with the indices (slots, units) of each place that a unit has there, in order."""
    for number in by_group:
        group = plan.groups[number]
        where = ((units >= group.start) & (units < group.start + group.units)).nonzero().flatten()
        if len(where):
            order = places[units[where]].argsort(stable=True)
            yield number, where[order].view(len(by_group[number]), -1).T
