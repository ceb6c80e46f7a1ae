"""The scaling of losses in half precision (Micikevicius et al., Mixed Precision Training, ICLR 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class LossScale:
    """The factor that keeps small gradients representable in 16-bit floats; 1 in every other precision.

    Fabric multiplies by it, divides the gradients of the weights, takes no step where they overflow, and then halves
    it. What one network needs says nothing about another, so each begins afresh, and a continued one where it was.

    Architecture parameters lie on the host, and what Fabric copies there from a GPU may be read before it has arrived.
    So whoever owns them divides by `factor` and asks `fits`.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._scaler: Any = getattr(fabric.strategy.precision, "scaler", None)
        if self._scaler is not None:
            self._scaler.scale(torch.zeros((), device=fabric.device))  # so that its state is there
            self._scaler.load_state_dict(torch.amp.GradScaler("cpu").state_dict())

    @property
    def factor(self) -> float:
        """The factor, a power of two."""
        return 1.0 if self._scaler is None else self._scaler.get_scale()

    def fits(self, gradients: Iterable[Tensor]) -> bool:
        """Return whether gradients are finite so that a step can be taken; if not, halve the factor."""
        if self._scaler is None or all(bool(gradient.isfinite().all()) for gradient in gradients):
            return True
        self._scaler.update(self.factor * self._scaler.get_backoff_factor())
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return the factor and its growth counter; nothing in other precisions."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        if self._scaler is not None:
            self._scaler.load_state_dict(dict(state))
