"""Counting the products of a forward pass, from the shapes of what meets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ramify.ops.shapes import BATCH_NORMS, ShapesOnly

_POOLS = frozenset((torch.ops.aten.mean, torch.ops.aten._adaptive_avg_pool2d))


class Counter(ShapesOnly):
    """Counts while it is entered; PyTorch knows how many operations a product of which shapes is.

    Args:
        weights: The network's parameters and buffers, as the pass sees them.

    Attributes:
        macs: Multiply-adds of products with a weight.
        attention_macs: Of products without.
        norms: 2 for every element that leaves a batch norm.
        pools: For every mean of a map, the elements that enter and those that leave it.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # brings Triton

        self._formulas = flop_registry
        self._weights = {_storage(weight) for weight in weights}
        self.macs = self.attention_macs = self.norms = self.pools = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        packet = func.overloadpacket
        if packet in BATCH_NORMS:
            self.norms += 2 * args[0].numel()
        elif packet in _POOLS and args[0].dim() == 4:
            self.pools += args[0].numel() + out.numel()
        elif packet in self._formulas:
            macs = self._formulas[packet](*args, **(kwargs or {}), out_val=out) // 2
            if any(isinstance(x, Tensor) and _storage(x) in self._weights for x in args):
                self.macs += macs
            else:
                self.attention_macs += macs
        return out


def _storage(tensor: Tensor) -> int:
    """Return what a tensor has in common with its views."""
    return tensor.untyped_storage()._cdata


@contextmanager
def written_out() -> Iterator[None]:
    """Let attention be products and a softmax instead of one operation that hides them."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
