"""The interface of supernets as types, and the detection of its optional parts without computing anything.

Only `(x, mix)` is a must. The rest are capabilities (`ramify.capabilities`): what a strategy needs of them is looked
for in the signature of `forward` and among the attributes before anything is trained.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ramify.capabilities import (
    ACTIVE,
    ANGLE,
    CLASSIFIER,
    CONSTANTS,
    DROPOUT,
    STEMS,
    TAPS,
    Capability,
    in_words,
)
from ramify.errors import ArchitectureError
from ramify.supernet.choice import Choice, Mix
from ramify.supernet.vector import WeightVector


@runtime_checkable
class MixedNetwork(Protocol):
    """A supernet: all candidates at once, as a pure function of inputs and mixing weights.

    Attributes:
        choices: Name → `Choice`. `Space.supernet` sets this and the next two.
        layout: Of the space's `Layout`; members that are taken out are laid out so.
        shape: What the task demands, such as `num_classes`.
    """

    choices: Mapping[str, Choice]
    layout: Any
    shape: Mapping[str, int]

    def __call__(
        self,
        x: Tensor,
        mix: Mix,
        *,
        active: Mapping[str, Tensor] | None = None,
        dropout: Mapping[str, float] | None = None,
        taps: Collection[str] = (),
        constants: bool = False,
    ) -> Any:
        """Map inputs (B, …) to outputs, as the networks of members do.

        A supernet may leave out any of the keywords: `active`, what to compute; `dropout` (P-DARTS); `taps`, stages
        whose features to return as well, `(output, {tap: features})`; `constants` (GDAS). `Supernet.forward` has them.
        """


@runtime_checkable
class Staged(Protocol):
    """A supernet, or a member's network, that names its stages and stems.

    Attributes:
        distilled: The taps whose features are compared by a strategy that distills.
        stems: Names of the submodules that inputs pass first, before anything that is searched.
    """

    @property
    def distilled(self) -> tuple[str, ...]: ...

    @property
    def stems(self) -> tuple[str, ...]: ...


@runtime_checkable
class Weighed(Protocol):
    """A supernet whose members have weight vectors."""

    def weight_vector(self) -> WeightVector:
        """Return the composition of members' weight vectors (`ramify.angle`)."""


Network = nn.Module | type[nn.Module]
"""A network, or what is known of one before it is made: its class."""


def takes(network: Network, keyword: str) -> bool:
    """Return whether a network's forward pass has a keyword argument."""
    parameters = inspect.signature(network.forward).parameters
    return keyword in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _has(network: Network, name: str) -> bool:
    """Return whether a network has something of a name; of a class it is enough that it declares it."""
    if isinstance(network, type):
        return hasattr(network, name) or any(name in vars(kind).get("__annotations__", ()) for kind in network.__mro__)
    return bool(getattr(network, name, None))


_SHOWN: Mapping[Capability, Callable[[Network], bool]] = {
    ACTIVE: lambda network: takes(network, "active"),
    DROPOUT: lambda network: takes(network, "dropout"),
    CONSTANTS: lambda network: takes(network, "constants"),
    TAPS: lambda network: takes(network, "taps") and _has(network, "distilled"),
    STEMS: lambda network: _has(network, "stems"),
    CLASSIFIER: lambda network: _has(network, "classifier"),
    ANGLE: lambda network: _has(network, "weight_vector"),
}

OF_SUPERNETS = frozenset(_SHOWN)
"""What can be seen of a supernet."""

OF_MEMBERS = frozenset({TAPS, STEMS, CLASSIFIER})
"""What must be seen of the networks of members as well."""


def shown_by(network: Network) -> frozenset[Capability]:
    """Return the capabilities that a supernet's signature and attributes show."""
    return frozenset(capability for capability, shows in _SHOWN.items() if shows(network))


def require(network: nn.Module, needs: Collection[Capability], reader: str) -> None:
    """Raise `ArchitectureError` if a supernet lacks a capability that the reader, such as a strategy, needs."""
    if lacking := (OF_SUPERNETS & frozenset(needs)) - shown_by(network):
        raise ArchitectureError(f"{reader}: the supernet {type(network).__name__} lacks {in_words(lacking)}")


def vector_of(supernet: nn.Module) -> WeightVector:
    """Return the composition of the weight vectors of a supernet's members.

    Raises:
        ArchitectureError: If these are not defined for such networks.
    """
    network: Any = getattr(supernet, "module", supernet)  # a search hands it over as Fabric has wrapped it
    require(network, {ANGLE}, "the angle")
    return network.weight_vector()


def compute_everything(network: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    """Emulate `active` by zero weights: a forward pre-hook for supernets without that argument.

    The outputs and the gradients of the mixing weights are those of a supernet that computes the active ones alone. The
    weights of the others get gradients of zero where they would get none, so an optimizer's decay moves them.
    """
    active: Mapping[str, Tensor] | None = options.pop("active", None)
    if active is None:
        return arguments, options
    x, mix = arguments
    masked = {name: torch.where(active[name].to(w.device), w, torch.zeros_like(w)) for name, w in mix.items()}
    return (x, masked), options
