"""The plain execution: modules run as they are defined; the reference for every other execution."""

from __future__ import annotations

from torch import nn

from ramify.execution.execution import EXECUTIONS, definition_of
from ramify.registry import named


@named(EXECUTIONS, "plain")
def plain(module: nn.Module) -> type[nn.Module]:
    """Every candidate of every edge on its own: slow, and easy to read."""
    return definition_of(module)
