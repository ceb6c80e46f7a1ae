"""A layer of a chain with all candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ramify.errors import ArchitectureError
from ramify.ops import SKIP, Operation, dropout
from ramify.supernet.mixture import Mixed, Mixture, weighted_sum


class MixedLayer(Mixed):
    """All candidates of a layer, (B, C_in, H, W) → (B, C_out, H', W'), with shortcuts where the layer has one.

    Args:
        kind: Name of the choice.
        index: Of the layer's edge in the choice.
        names: The choice's operations; `skip_connect` is the layer left out.
        operations: Those of the layer that have a module, by name, without the shortcut.
        residual: Whether what it takes in is added to what it puts out.
        keeps: Whether it keeps the resolution.
    """

    def __init__(
        self,
        kind: str,
        index: int,
        names: Sequence[str],
        operations: Mapping[str, Operation],
        *,
        residual: bool,
        keeps: bool,
    ) -> None:
        super().__init__()
        self.kind, self.index, self.residual, self.keeps = kind, index, residual, keeps
        self.names = tuple(names)
        self.ops = nn.ModuleDict(operations)

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        self.check(mixture)

        def candidate(index: int) -> Tensor:
            y, probability = self.whole(index, x), self.dropped(index, mixture)
            return dropout(y, probability) if probability else y

        total = weighted_sum(mixture.terms(self.index, candidate), mixture.constants(self.index))
        assert total is not None
        return total

    def operation(self, index: int) -> Any:
        """Return a candidate's `Operation`; None for a skipped layer."""
        return None if self.names[index] == SKIP else self.ops[self.names[index]]

    def whole(self, index: int, x: Tensor) -> Tensor:
        """Return a candidate's output for `x`, including the shortcut."""
        operation = self.operation(index)
        return x if operation is None else operation(x) + x if self.residual else operation(x)

    def dropped(self, index: int, mixture: Mixture) -> float:
        """Return the dropout probability of a candidate's output."""
        return mixture.dropout[index] if self.training and self.keeps else 0.0

    def check(self, mixture: Mixture) -> None:
        """Raise `ArchitectureError` if there is nothing to compute."""
        if not mixture.active[self.index]:
            raise ArchitectureError(f"active: no candidate of layer {self.index} is left")
