"""Detecting the capabilities of a space: from its class, its candidates and its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ramify.capabilities import (
    ADDITIVE_COST,
    BUDGET,
    DEPTH,
    EVEN_CANDIDATES,
    EXPECTED_COST,
    INHERITANCE,
    MIXTURES,
    PARTIAL_CHANNELS,
    SAME_WIDTHS,
    SKIPS,
    SUPERNET,
    TERMS,
    Capability,
)
from ramify.ops import SKIP
from ramify.ops.weights import count_weights
from ramify.seeding import seeded
from ramify.supernet.contract import OF_MEMBERS, OF_SUPERNETS, Network, shown_by

if TYPE_CHECKING:
    from ramify.spaces.base import Space

LIBRARY = __name__.partition(".")[0]

OF_NETWORKS = OF_SUPERNETS | {INHERITANCE}
"""What can be seen of a supernet and a member."""


def shown_by_space(space: Space) -> Iterator[Capability]:
    """Yield the capabilities that the class of a space and its candidates show."""
    if space.one_shot:
        yield SUPERNET
        yield MIXTURES
    if "partial_channels" in space.Layout.keywords("supernet"):
        yield PARTIAL_CHANNELS
    if space.depth is not None:
        yield DEPTH
    if space.same_widths:
        yield SAME_WIDTHS
    if space.additive:
        yield ADDITIVE_COST
        yield EXPECTED_COST
        yield BUDGET
    if space.regularizers:
        yield TERMS
    if len(candidate_counts(space)) == 1:
        yield EVEN_CANDIDATES
    if any(SKIP in choice.ops and any(map(count_weights, choice.ops)) for choice in space.choices.values()):
        yield SKIPS


def shown_by_networks(space: Space) -> frozenset[Capability]:
    """Return the capabilities that the networks of a space show.

    Where `_supernet` and `_build` return classes of the library, as their annotations say, these are looked at. Else a
    supernet and a member of the default layout are made, on the meta device: nothing is computed. A space that makes
    none by default is trusted; a search looks at the supernet that it makes, before it trains it.
    """
    if not space.one_shot:
        return frozenset()
    supernets, members = _class_of(space._supernet), _class_of(space._build)
    if supernets is not None and members is not None:
        return _shared(supernets, members) | {INHERITANCE}
    try:
        arch = space.sample(Random(0))  # so that the masks of its choices, which it keeps, are not on the meta device
        with torch.device("meta"), seeded(0, "offers"):
            supernet: Any = space.supernet()
            member = space.build(arch, supernet.layout, shape=supernet.shape)
    except Exception:  # whatever the code of others does
        return OF_NETWORKS
    return shown_by_pair(space, supernet, member)


def shown_by_pair(space: Space, supernet: nn.Module, member: nn.Module) -> frozenset[Capability]:
    """Return the capabilities that a supernet and a member's network show; tensors may be on the meta device."""
    return _shared(supernet, member) | ({INHERITANCE} if _inherits(space, supernet, member) else set())


def _shared(supernet: Network, member: Network) -> frozenset[Capability]:
    return shown_by(supernet) - (OF_MEMBERS - shown_by(member))


def _class_of(method: Callable[..., nn.Module]) -> type[nn.Module] | None:
    """Return the class of the library that a method says to return, None for any other.

    The library's classes declare all they have; those of others may get it when they are made.
    """
    annotation = method.__annotations__.get("return")
    returned = method.__globals__.get(annotation) if isinstance(annotation, str) else annotation
    return returned if isinstance(returned, type) and returned.__module__.startswith(f"{LIBRARY}.") else None


def _inherits(space: Space, supernet: nn.Module, member: nn.Module) -> bool:
    """Return whether all that a member's state holds is in the supernet's."""
    found = space.views(member, supernet.state_dict())
    return all(name in found and found[name].shape == value.shape for name, value in member.state_dict().items())


def used_candidates(space: Space) -> Mapping[str, list[list[int]]]:
    """Return the operations that members use, ascending, for every choice and edge."""
    used = {
        candidate
        for decision in space.decisions
        for value in decision.choices
        for candidate in space.candidates(decision.name, value)
    }
    return {
        name: [[op for op in range(len(choice.ops)) if (name, edge, op) in used] for edge in range(len(choice.edges))]
        for name, choice in space.choices.items()
    }


def candidate_counts(space: Space) -> list[int]:
    """Return the numbers of candidates that members use on edges with a choice, ascending, without duplicates."""
    return sorted({len(ops) for edges in used_candidates(space).values() for ops in edges} - {0, 1})
