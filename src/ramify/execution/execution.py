"""The one place that decides how a network is executed.

Networks are defined once, as plain modules: `MixedGraph`, `FixedGraph`, `MixedLayer`, `WidthMask`. An execution names
for a module a subclass, without state of its own, that runs it instead. Parameters, their names and shapes, and the
call stay what they are; they are read at every call, so `torch.func.functional_call` works.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ramify import imports
from ramify.errors import ConfigurationError
from ramify.ops import channels_last
from ramify.parallel import say_once
from ramify.registry import Registry
from ramify.supernet import Mixed

Execution = Callable[[nn.Module], type[nn.Module] | None]
"""A module → the class that runs it, a `Form` of its own or the one that defines it; None for what is not known."""

EXECUTIONS: Registry[Execution] = Registry("execution", package="ramify.execution")
"""Every execution by name."""

DEFAULT = "shared"


class Form:
    """Marks a class that executes what its other base defines: `class SharedMixedGraph(Form, MixedGraph)`.

    Modules change to it and back while they live, so it has no constructor and no state of its own.
    """


def definition_of(module: nn.Module) -> type[nn.Module]:
    """Return the class that defines a module, whichever form executes it."""
    return next(kind for kind in type(module).__mro__ if not issubclass(kind, Form) and issubclass(kind, nn.Module))


def check_execution(name: str) -> str:
    """Return `name` if it names an execution.

    Raises:
        ConfigurationError: If it is none; the message suggests the nearest one.
    """
    if not isinstance(name, str) or name not in EXECUTIONS:
        raise ConfigurationError(imports.unknown("execution", str(name)[:60], EXECUTIONS))
    return name


def prepare(network: nn.Module, execution: str = DEFAULT) -> nn.Module:
    """Bring a supernet or a built network, in place, into the form that it is trained in.

    What an execution does not know of a supernet stays plain, with one line.

    Args:
        network: As its space and its task have made it.
        execution: A name in `EXECUTIONS`.

    Raises:
        ConfigurationError: If there is no such execution.
    """
    network, knows = executed(channels_last(network), execution), EXECUTIONS[execution]
    parts: list[nn.Module] = [module for module in network.modules() if isinstance(module, Mixed)]
    if not parts:  # of a supernet of somebody's own making, all of it
        parts = [module for module in network.modules() if hasattr(module, "choices")]
    if unknown := sorted({type(part).__name__ for part in parts if knows(part) is None}):
        say_once(f"execution `{execution}` does not know {', '.join(unknown)}, which runs as it is written")
    return network


def executed(network: nn.Module, execution: str = DEFAULT) -> nn.Module:
    """Switch a network, in place, to an execution, whatever execution and memory format it had.

    Raises:
        ConfigurationError: If there is no such execution.
    """
    form_of = EXECUTIONS[check_execution(execution)]
    for module in network.modules():
        kind = form_of(module) or definition_of(module)
        if kind is not type(module):
            module.__class__ = kind
    return network
