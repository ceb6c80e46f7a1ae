"""Fitting a state dict to a built network: under our own names, or under those of a known original."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.spaces import Space
from ramify.tasks import backbone_of
from ramify.weights.families import Family, family_of
from ramify.weights.reading import Weights, WeightsError
from ramify.weights.written import Written, canonical, is_settled

OURS = "ramify"
"""The family of state dicts under our own names."""
_COUNTER = "num_batches_tracked"
"""Files of PyTorch before 0.4.1 have none; no network reads it."""
_TRAINING_ONLY = "auxiliary."


@dataclass(frozen=True)
class Fit:
    """Weights that fit a network.

    Args:
        family: Whose names they had; `ramify` for our own.
        state: What to load into the network.
        unused: Names in the file that the network does not read.
        fresh: Names in the network that the file has nothing for, and that stay as they were drawn.
    """

    family: str
    state: Mapping[str, Tensor] = field(repr=False)
    unused: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    def into(self, network: nn.Module) -> None:
        """Copy the weights into the network that they fit, in place."""
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if name in self.state:
                    value.copy_(self.state[name])

    def __str__(self) -> str:
        """Say whose weights they are, and what is not used of them."""
        parts = [f"{len(self.state):,} tensors under the names of {self.family}"]
        for names, what in ((self.unused, "of the file are not used"), (self.fresh, "of the network stay as drawn")):
            if names:
                parts.append(f"{len(names):,} {what} ({_beginnings(names)})")
        return "; ".join(parts)


def load(network: nn.Module, weights: Weights, nodes: Written | None = None) -> Fit:
    """Load weights into a built network, in place, having checked that all of them fit.

    Args:
        network: Of a space; a task's head may be behind it.
        weights: From `read`, or any state dict.
        nodes: The genotype's nodes in the order in which the original lists them (`written`).

    Raises:
        WeightsError: Saying which names do not fit; nothing has been changed then.
    """
    found = fit(network, weights, nodes)
    found.into(network)
    return found


def fit(network: nn.Module, weights: Weights, nodes: Written | None = None) -> Fit:
    """Return the weights under the network's own names, having compared every shape; nothing is computed.

    Raises:
        WeightsError: If names are missing, left over, or have tensors of another shape.
    """
    wanted = network.state_dict()
    state, family = weights.state, family_of(weights.state)
    if family is None or wanted.keys() & state.keys() >= {name for name in wanted if not name.endswith(_COUNTER)}:
        if not wanted.keys() & state.keys():
            raise WeightsError(
                f"{weights.source} has names of no known program ({_some(state)}); this network has {_some(wanted)}"
            )
        names = {name: name for name in wanted}
        return _fitted(OURS, wanted, names, weights.source, state, idle=(_TRAINING_ONLY,))
    backbone = backbone_of(network)
    lead = "" if backbone is network else "backbone."
    try:
        names = _renamed(backbone, family, nodes or {})
        further = family.further(backbone, nodes or {})
        idle = (*family.idle, *family.unread(backbone, nodes or {}))
    except (AttributeError, KeyError, LookupError):
        raise WeightsError(
            f"{weights.source} has the names of {family.about}, whose networks are members of "
            f"{' or '.join(family.spaces)}; this network is none: name the space and the architecture of the file"
        ) from None
    names = {f"{lead}{ours}": theirs for ours, theirs in names.items()}
    return _fitted(family.name, wanted, names, weights.source, _first_names(state, further, weights.source), idle)


def ordered(space: Space, arch: Architecture, nodes: Written, source: str) -> Written:
    """Return the nodes of a genotype for key maps: as written, where it says them, else in canonical order.

    Raises:
        WeightsError: If the order of a node's reads is not known, and another one would fit as well.
    """
    plain = {key: cell for key, cell in canonical(space, arch).items() if key not in nodes and f"{key}1" not in nodes}
    if not is_settled(plain):
        raise WeightsError(
            f"{source}: its modules are numbered as the genotype lists the reads of every node, which this "
            "architecture does not say; give the genotype as it was published, as Genotype(...) or zoo:NAME"
        )
    return {**plain, **nodes}


def _renamed(network: nn.Module, family: Family, nodes: Written) -> dict[str, str]:
    """Return the original's name for every name in a network's state."""
    modules = dict(family.names(network, nodes))
    names = {}
    for name in network.state_dict():
        head, tail = name, ""
        while head not in modules:
            head, _, last = head.rpartition(".")
            if not head:
                raise LookupError(name)
            tail = f".{last}{tail}"
        names[name] = f"{modules[head]}{tail}"
    return names


def _first_names(state: Mapping[str, Tensor], further: Mapping[str, str], source: str) -> dict[str, Tensor]:
    """Return a state dict with one name for every tensor, having checked that all of its names agree."""
    single: dict[str, Tensor] = {}
    for name, value in state.items():
        prefix = next((prefix for prefix in further if name.startswith(prefix)), "")
        first = f"{further[prefix]}{name.removeprefix(prefix)}" if prefix else name
        held = single.setdefault(first, value)
        if held is not value and (held.shape != value.shape or not torch.equal(held, value)):
            raise WeightsError(f"{source}: {name} is another name of {first}, and their tensors are not equal")
    return single


def _fitted(
    family: str,
    wanted: Mapping[str, Tensor],
    names: Mapping[str, str],
    source: str,
    state: Mapping[str, Tensor],
    idle: tuple[str, ...],
) -> Fit:
    """Compare names and shapes.

    Raises:
        WeightsError: With the first three names that do not fit, and how many there are.
    """
    fresh = [
        ours for ours in wanted if names[ours] not in state and ours.split("backbone.")[-1].startswith(_TRAINING_ONLY)
    ]
    missing = [
        theirs
        for ours, theirs in names.items()
        if theirs not in state and not theirs.endswith(_COUNTER) and ours not in fresh
    ]
    used = set(names.values())
    left = [name for name in state if name not in used]
    unexpected = [name for name in left if not name.startswith(idle) and not name.endswith(_COUNTER)]
    shapes = [
        f"{theirs} {_sides(state[theirs])} for {_sides(wanted[ours])}"
        for ours, theirs in names.items()
        if theirs in state and not theirs.endswith(_COUNTER) and state[theirs].shape != wanted[ours].shape
    ]
    wrong = {"missing": missing, "left over": unexpected, "of another shape": shapes}
    wrong = {what: found for what, found in wrong.items() if found}
    if wrong:
        counts = ", ".join(f"{len(found):,} {what}" for what, found in wrong.items())
        each = 3 // len(wrong)  # three names in all
        examples = ", ".join(name for found in wrong.values() for name in found[:each])
        raise WeightsError(f"{source} ({family}) does not fit this network: {counts} ({examples})")
    kept = {ours: state[theirs] for ours, theirs in names.items() if theirs in state}
    return Fit(family, kept, tuple(left), tuple(fresh))


def _sides(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "1"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return f"{', '.join(names[:2])}, … ({len(names):,})"


def _beginnings(names: Iterable[str]) -> str:
    """Return the different first parts of names, the first three."""
    heads = list(dict.fromkeys(name.partition(".")[0] for name in names))
    return ", ".join(heads[:3]) + (", …" if len(heads) > 3 else "")
