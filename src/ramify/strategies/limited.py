"""Limits on the cost of a search's result, for strategies that derive it from scores or choose it."""

# No postponed annotations: the command line reads the types of these fields in the modules of strategies.

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ramify.costs import Inputs, Limits, Networks, check_limits
from ramify.spaces import Space
from ramify.training import Work


@dataclass(frozen=True, kw_only=True)
class Limited:
    """Settings of a search whose result stays within limits.

    Args:
        limits: Cost → the most that is allowed, such as `macs: 3e8` or `file:energy.json: 2.5`. What is derived, after
            every epoch and in the end, is the best member within them (`ramify.costs.Limits`).
        limits_network: Layout of the network that has to keep the limits, as `retrain` will build it; by default what
            `retrain` makes of that of the search.
    """

    limits: dict[str, float] = field(default_factory=dict)
    limits_network: dict[str, int | float | bool | str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_limits(self.limits)

    def limits_of(self, space: Space, work: Work) -> Limits:
        """Return the limits of a search."""
        return Limits(networks_of(space, work, self.limits_network or lasting(space, work)), self.limits)


def lasting(space: Space, work: Work) -> dict[str, Any]:
    """Return the layout keywords of a search that also hold for networks built of its result."""
    return {name: value for name, value in work.layout.items() if name in space.Layout.lasting()}


def networks_of(space: Space, work: Work, layout: Mapping[str, Any], inputs: Inputs | None = None) -> Networks:
    """Return the networks of a search's members in a layout, to be measured on the device of the search."""
    return Networks(space, inputs or work.inputs, layout, device=work.fabric.device, seed=work.seed)
