"""Weights that go from a supernet to a member, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ramify.architecture import Architecture
from ramify.errors import ArchitectureError
from ramify.seeding import seeded

if TYPE_CHECKING:
    from ramify.spaces.base import Space


def extracted(space: Space, sup: nn.Module, arch: Architecture) -> nn.Module:
    """Return the built member with the layout, the shape and the weights of a supernet (`Space.extract`)."""
    supernet: Any = sup
    if foreign := supernet.layout.foreign("member"):
        settings = ", ".join(f"{name}={getattr(supernet.layout, name)!r}" for name in foreign)
        raise ArchitectureError(f"a supernet with {settings} holds no member: built networks have no such thing")
    with seeded(0, "extract"):  # the weights are replaced, and no draw of anybody else's moves
        network = space.build(arch, layout=supernet.layout, shape=supernet.shape)
    parameter = next(sup.parameters())
    network.to(device=parameter.device, dtype=parameter.dtype)
    network.load_state_dict(space.views(network, sup.state_dict()))
    return network.train(sup.training)


def absorbed(space: Space, sup: nn.Module, network: nn.Module) -> None:
    """Copy the weights of a member back into the supernet (`Space.absorb`)."""
    held, given, names = sup.state_dict(), network.state_dict(), space.held(network)
    for name, value in given.items():
        if names[name] not in held or space._inherited(held[names[name]], value.shape).shape != value.shape:
            raise ArchitectureError(f"the supernet has no parameter {name!r} of shape {tuple(value.shape)}")
    with torch.no_grad():
        for name, value in given.items():
            space._inherited(held[names[name]], value.shape).copy_(value)
