"""Uniform sampling of members whose cost is within bounds, in every space."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ramify.architecture import Architecture
from ramify.costs.chain import COUNTED, ChainCosts
from ramify.costs.filling import Filling
from ramify.costs.inputs import Inputs
from ramify.costs.members import Costs
from ramify.costs.networks import Networks
from ramify.errors import RunError
from ramify.spaces import AnyNetwork, Space
from ramify.spaces.chain import ChainSpace
from ramify.spaces.layout import LayoutLike

TRIES = 10_000
"""How often a member is drawn until its cost is within bounds."""

Draw = Callable[[Random], Architecture]
"""Draws a member."""


def draw_within(space: Space, cost: str, low: float, high: float, inputs: Inputs, layout: LayoutLike = None) -> Draw:
    """Return a sampler that is uniform over the members whose cost is within bounds.

    In chains it counts them; elsewhere it draws until a member is within. (The program of SPOS takes any member after
    500 draws.) In networks with elastic widths it moves members into the bounds, which is not uniform.

    Args:
        space: Whose members.
        cost: A cost that needs no device, or a table in a file.
        low, high: The bounds, both allowed.
        inputs: What the networks are for.
        layout: Of the networks, or its keywords.

    Raises:
        ConfigurationError: If a chain has no such member.
    """
    if isinstance(space, ChainSpace) and cost in COUNTED:
        return ChainCosts(space, inputs, layout).sampler(cost, at_least=low, at_most=high).sample
    costs = Costs(Networks(space, inputs, layout), [cost])
    if isinstance(space, AnyNetwork) and space.knobs:
        return _moved(space, cost, Filling(space, costs, {cost: high}, low / high))

    def draw(generator: Random) -> Architecture:
        for _ in range(TRIES):
            arch = space.sample(generator)
            if low <= costs(arch)[cost] <= high:
                return arch
        raise RunError(f"none of {TRIES:,} members of {space.name} has {low:,.6g} to {high:,.6g} {cost}; widen `bins`")

    return draw


def _moved(space: Space, cost: str, filling: Filling) -> Draw:
    """Return a sampler that moves uniform draws to where they are within bounds."""
    filling.check()

    def draw(generator: Random) -> Architecture:
        for _ in range(TRIES):
            if (moved := filling(space.sample(generator), generator)) is not None:
                return moved
        raise RunError(
            f"none of {TRIES:,} members of {space.name} could be moved to the bounds of {cost}; widen `bins`"
        )

    return draw
