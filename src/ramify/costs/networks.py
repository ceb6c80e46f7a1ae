"""The networks whose costs are asked for: their space, layout, inputs and device."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from ramify import parallel
from ramify.architecture import Architecture
from ramify.costs.inputs import Inputs
from ramify.costs.record import Cost
from ramify.errors import ConfigurationError, RamifyError, shown
from ramify.seeding import seeded
from ramify.spaces import Space
from ramify.spaces.layout import LayoutLike


class Networks:
    """The networks of a space's members, built to be measured.

    Args:
        space: Whose members.
        inputs: What the networks are for.
        layout: Of the networks, or its keywords.
        device: Where costs are measured that take a network which computes.
        seed: Of the weights of such a network.
    """

    def __init__(
        self,
        space: Space,
        inputs: Inputs,
        layout: LayoutLike = None,
        *,
        device: str | torch.device = "cpu",
        seed: int = 0,
    ) -> None:
        self.space, self.inputs, self.device, self.seed = space, inputs, torch.device(device), seed
        self.layout: Any = space.layout(layout)

    @property
    def key(self) -> str:
        """What identifies the networks for costs that are not measured on a device."""
        space = self.space
        return json.dumps([type(space).__module__, space.to_dict(), self.inputs.to_dict(), asdict(self.layout)])

    def measured(self, costs: Sequence[Cost], arch: Architecture) -> tuple[float, ...]:
        """Return the costs of a member's network; the costs are all on the device, or none is.

        Of several processes all return what the first one has measured on its device.

        Raises:
            ConfigurationError: If a cost cannot be measured, or is no finite number.
        """
        network = self.network(arch) if costs[0].on_device else self.shapes(arch)
        tensors = (*network.parameters(), *network.buffers())
        floating = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
        dtype = torch.get_default_dtype() if floating is None else floating.dtype
        device = self.device if costs[0].on_device else torch.device("meta")
        inputs = self.inputs.example(device=device, dtype=dtype)
        values = [_number(cost, network, inputs) for cost in costs]
        return tuple(parallel.of_first(values) if costs[0].on_device else values)

    def network(self, arch: Architecture) -> nn.Module:
        """Return a member's network on the device, in evaluation mode."""
        with seeded(self.seed, "network"):
            network = self.space.build(arch, self.layout, shape=dict(self.inputs.shape))
        return network.to(self.device).eval()

    def shapes(self, arch: Architecture) -> nn.Module:
        """Return a member's network on the meta device, in evaluation mode: nothing is initialized or computed."""
        with torch.device("meta"):
            return self.space.build(arch, self.layout, shape=dict(self.inputs.shape)).to("meta").eval()


def _number(cost: Cost, network: nn.Module, inputs: torch.Tensor) -> float:
    """Return what a network costs. Costs are anybody's code, so whatever is wrong with one becomes one line."""
    try:
        with torch.no_grad():
            value = float(cost.measure(network, inputs))
    except RamifyError:
        raise
    except Exception as error:
        hint = "" if cost.on_device else "; networks are on the meta device unless the cost says `on_device=True`"
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"cost {cost.name!r} cannot be measured ({reason:.120}){hint}") from error
    if not math.isfinite(value):
        raise ConfigurationError(f"cost {cost.name!r} must be a finite number, its `measure` returned {shown(value)}")
    return value
