"""How the promises of a space, which stand in `spaces` and `offers`, compare."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ramify.capabilities import Capability
from ramify.testing.small import Grown

NORMS = frozenset({"affine", "track_running_stats"})
"""Layout keywords that give the norms of supernets weights and running statistics."""


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> bool:
    """Return whether two tensors have the same shape and, but for rounding, the same values."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def apart(a: Tensor, b: Tensor) -> str:
    """Return in words how far two outputs are apart."""
    if a.shape != b.shape:
        return f"the shapes are {tuple(a.shape)} and {tuple(b.shape)}"
    return f"they are {float((a - b).abs().max()):.2g} apart"


def output(found: Any) -> Tensor:
    """Return the output of a network, that of its end where there are several."""
    return found[0] if isinstance(found, tuple) else found


def without(capability: Capability, grown: Grown) -> bool:
    """Return whether a space does not offer a capability, and so need not keep its promises."""
    return capability not in grown.space.offers
