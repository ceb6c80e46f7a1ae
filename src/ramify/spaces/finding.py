"""What is elastic in the network of an `AnyNetwork`, with its choice points in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ramify.elastic import Elastic, find_elastic
from ramify.errors import ConfigurationError
from ramify.seeding import seeded
from ramify.spaces.tracing import Blueprint, choices_of
from ramify.supernet import existing, mixtures
from ramify.supernet.points import MixedOneOf, PointSupernet

if TYPE_CHECKING:
    from ramify.spaces.any_network import AnyNetwork

WIDTHS = (0.25, 0.5, 0.75, 1.0)
"""The shares where there is no choice point."""


def found_in(space: AnyNetwork, blueprint: Blueprint, title: str) -> Elastic | None:
    """Return what is elastic in a network; None where nothing is to be.

    Args:
        space: Whose settings say what is wanted.
        blueprint: How the network is made.
        title: What messages call it.

    Raises:
        ConfigurationError: If there is nothing to search, or points are in the way.
    """
    title = f"{type(space).__name__}({title})"
    points = blueprint.every
    depth = not points if space.depth is None else bool(space.depth)
    widths = (() if points else WIDTHS) if space.widths is None else space.widths
    if not (depth or widths or space.kernels):
        if points or blueprint.numbers:
            return None
        raise ConfigurationError(
            f"{title} has no choice point, and widths, depth, kernels are empty: there is nothing to search; try "
            "widths=(0.5, 0.75, 1.0)"
        )
    if blueprint.numbers:
        if space.widths is None and space.depth is None and not space.kernels:
            return None
        raise ConfigurationError(
            f"{title}: {next(iter(blueprint.numbers))} is a number that the constructor reads, so widths, depth and "
            "kernels are not those of one network; leave them out"
        )
    with seeded(0, "elastic"):
        mixed = blueprint.mixed(blueprint.make(blueprint.shape, {}))
    if widths and (path := _with_none(mixed)) is not None:
        raise ConfigurationError(
            f"{title}: {path} has a candidate that is None, whose zeros have no widths that could be searched; write "
            "it as a module, or leave out widths"
        )
    choices = choices_of(points)
    with mixed.board.showing(mixtures(choices, existing(choices), torch.zeros(()))):
        found = find_elastic(
            mixed.network,
            torch.zeros(1, *blueprint.size),
            widths=widths,
            multiple=space.multiple,
            depth=depth,
            kernels=space.kernels,
            only=space.only,
            whole=(*space.whole, *(place.path for place in points if place.kind == "Repeat" and place.path)),
            order=space.order or ("given" if blueprint.source.instance is None else "weights"),
        )
    if points and found.graphs is not None:
        raise ConfigurationError(
            f"{title}: its code writes widths down ({found.written}), which is searched in networks without choice "
            "points; name the layers in whole=…"
        )
    return found


def _with_none(network: PointSupernet) -> str | None:
    """Return the path of a point with a candidate that is None."""
    points = (module for module in network.modules() if isinstance(module, MixedOneOf))
    return next((point.path for point in points if any(module is None for module in point.values())), None)
