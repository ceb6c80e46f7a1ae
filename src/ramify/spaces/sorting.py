"""The supernet of a network that exists begins with its weights, the units that matter most first."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ramify.elastic.cutting import sort_units

if TYPE_CHECKING:
    from ramify.spaces.any_network import AnyNetwork


def sorted_start(space: AnyNetwork, network: nn.Module, *, sort: bool = True) -> dict[str, Tensor]:
    """Return what the state of a supernet is that begins with the weights of its largest member, units sorted.

    They are sorted once, by their sums of absolute weights; then the supernet computes at full width what the network
    does, but for what rounding makes of another order of sums.

    Args:
        space: Whose units are kept in the given order, where they are to be sorted.
        network: Its largest member, which stays as it is.
        sort: Whether to sort them at all.
    """
    held, ordered = space.held(network), copy.deepcopy(network)
    if sort and space._elastic is not None:
        sort_units(getattr(ordered, "backbone", ordered), space._elastic.plan)
    return {held[name]: value.contiguous() for name, value in ordered.state_dict().items()}
