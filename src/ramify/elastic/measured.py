"""Parts of a supernet that take the place of a network's own: measured norms, blocks with a gate.

Each is the user's module with another class, a subclass of its own, so that parameters and paths stay as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

MASK, GATE = "elastic_mask", "elastic_gate"
"""Buffers that are handed in with every call."""


def with_gate(block: nn.Module) -> None:
    """Let a block blend its input with its output, in place."""
    kind: Any = type(block)
    block.__class__ = _gated(kind)
    block.register_buffer(GATE, torch.ones(()), persistent=False)


def with_measured_norm(norm: nn.Module, length: int) -> None:
    """Let a module whose forward calls `layer_norm` or `group_norm` measure by a mask (length,), in place."""
    kind: Any = type(norm)
    norm.__class__ = _measuring(kind)
    norm.register_buffer(MASK, torch.ones(length), persistent=False)
    norm.elastic_exact = False  # type: ignore[assignment]


@functools.cache
def _gated(kind: Any) -> Any:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Blend input and output: exactly the one at a gate of 0, the other at 1."""
        (x,) = (x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        out = kind.forward(self, *args, **kwargs)
        gate = getattr(self, GATE)
        return torch.lerp(x.to(out.dtype), out, gate.to(out.dtype))

    return type(f"Gated{kind.__name__}", (kind,), {"forward": forward, "__module__": kind.__module__})


@functools.cache
def _measuring(kind: Any) -> Any:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Measure over the units that are kept, unless all that are left are."""
        if self.elastic_exact:
            return kind.forward(self, *args, **kwargs)
        with _Measuring(getattr(self, MASK)):
            return kind.forward(self, *args, **kwargs)

    return type(f"Measured{kind.__name__}", (kind,), {"forward": forward, "__module__": kind.__module__})


class _Measuring(TorchFunctionMode):
    """Calls of norms that weigh channels by a mask (n,)."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self._mask = mask

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        norm = _NORMS.get(func)
        return func(*args, **kwargs) if norm is None else norm(self._mask, func, *args, **kwargs)


def layer_norm(
    mask: Tensor,
    plain: Callable[..., Tensor],
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *rest: Any,
) -> Tensor:
    """Normalize over the last axes with μ = Σ m·x / Σ m and σ² = Σ m·(x − μ)² / Σ m.

    What the mask changes is added to the plain norm: with a mask of ones the result is PyTorch's own, bit for bit.
    """
    dims = list(range(input.dim() - len(normalized_shape), input.dim()))
    mask = _along(mask, input, dims)
    change = _change(mask, input, dims, eps)
    out = plain(input, normalized_shape, weight, bias, eps, *rest)
    return out + (change if weight is None else change * weight).to(out.dtype)


def group_norm(
    mask: Tensor,
    plain: Callable[..., Tensor],
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *rest: Any,
) -> Tensor:
    """The same for a group norm with one group."""
    dims = list(range(1, input.dim()))
    change = _change(_along(mask, input, [1]), input, dims, eps)
    out = plain(input, num_groups, weight, bias, eps, *rest)
    scale = 1 if weight is None else weight.view(-1, *[1] * (input.dim() - 2))
    return out + (change * scale).to(out.dtype)


_NORMS: dict[Any, Callable[..., Tensor]] = {
    functional.layer_norm: layer_norm,
    torch.layer_norm: layer_norm,
    functional.group_norm: group_norm,
    torch.group_norm: group_norm,
}


def _along(mask: Tensor, x: Tensor, dims: Sequence[int]) -> Tensor:
    """Return a mask (n,) as it lies along the one of some dimensions that has its length."""
    dim = next(dim for dim in dims if x.shape[dim] == len(mask))
    return mask.view([-1 if other == dim else 1 for other in range(x.dim())])


def _change(mask: Tensor, x: Tensor, dims: Sequence[int], eps: float) -> Tensor:
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    mask = mask.to(x.dtype)
    return _standardized(x, mask, dims, eps) - _standardized(x, torch.ones_like(mask), dims, eps)


def _standardized(x: Tensor, mask: Tensor, dims: Sequence[int], eps: float) -> Tensor:
    share = mask / mask.expand([x.shape[d] if d in dims else 1 for d in range(x.dim())]).sum()
    apart = x - (x * share).sum(tuple(dims), keepdim=True)
    return apart * torch.rsqrt((apart.square() * share).sum(tuple(dims), keepdim=True) + eps)
