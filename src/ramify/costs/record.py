"""Costs of networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ramify.errors import ConfigurationError, nearest, shown
from ramify.registry import Registry

Measure = Callable[[nn.Module, Tensor], float]
"""(a network in evaluation mode, an example batch of one) → what the network costs."""

FILE = "file:"
"""Begins the name of a table of operators in a file."""


@dataclass(frozen=True)
class Cost:
    """A cost of networks that is known before they are trained.

    Args:
        name: By which limits and objectives speak of it.
        unit: As reports print it behind a number; empty for a count.
        measure: Returns the cost of a network, a finite number.
        additive: Whether it is a sum over the parts of a network, so that in most spaces the cost of a member follows
            from those of others. That is verified.
        on_device: Whether `measure` has the network compute on the device of the search, as a latency does; else
            network and inputs are on the meta device, where shapes are all there is. What was measured on a device is
            part of the state of a search, since another time it would be another number.
        title: What people call it; its name where empty.
    """

    name: str
    unit: str
    measure: Measure
    additive: bool = True
    on_device: bool = False
    title: str = ""

    @property
    def label(self) -> str:
        """The name of the cost in reports, with its unit: `latency, ms`."""
        return ", ".join(filter(None, (self.title or self.name, self.unit)))


COSTS: Registry[Cost] = Registry("cost", package="ramify.costs")
"""Every cost by name."""


def cost(
    name: str, *, unit: str = "", additive: bool = True, on_device: bool = False, title: str = "", paper: str = ""
) -> Callable[[Measure], Measure]:
    """Return a decorator that registers a function `(network, inputs) -> float` as a cost of this name.

    The arguments are those of `Cost`; `paper` is where it was published.

    Raises:
        ConfigurationError: If the library has another cost of this name.
    """

    def decorate(measure: Measure) -> Measure:
        COSTS.add(name, Cost(name, unit, measure, additive, on_device, title), paper=paper, of=measure)
        return measure

    return decorate


def find(name: str) -> Cost | None:
    """Return the cost of a name, None if there is none; an installed plug-in is loaded for it.

    Raises:
        ConfigurationError: If there are several.
    """
    entry = COSTS.lookup(name)
    return None if entry is None else entry.make


def is_cost(name: str) -> bool:
    """Return whether a name is that of a cost, or of a table in a file; the file is not read."""
    return len(name) > len(FILE) if name.startswith(FILE) else find(name) is not None


def is_repeatable(name: str) -> bool:
    """Return whether the cost of this name is always the same for the same network, on every machine."""
    record = find(name)
    return record is None or not record.on_device


def check_counted(name: str, option: str) -> None:
    """Raise `ConfigurationError` unless an option names a cost that needs no device, or a table in a file."""
    if not (is_cost(name) and is_repeatable(name)):
        known = [entry.name for entry in COSTS.entries() if not entry.make.on_device]
        raise ConfigurationError(
            f"`{option}` must be a cost that is known without a device, not {shown(name)!r}; {nearest(name, known)}"
        )


def known_costs() -> list[Cost]:
    """Return the costs that this process knows, those that need no device first; no plug-in is loaded."""
    costs = [entry.make for entry in (*COSTS.own.values(), *COSTS.users())]
    return sorted(costs, key=lambda cost: cost.on_device)
