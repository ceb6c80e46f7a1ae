"""`Choice`: a mixing choice, as supernets and differentiable strategies see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ramify.errors import ArchitectureError

Mix = Mapping[str, Tensor]
"""Name of a choice → mixing weights (E, O)."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The edges and operations that one mixing tensor of shape (E, O) weighs.

    Args:
        edges: E pairs (source, target) of state numbers. A pair that occurs twice is two independent edges.
        ops: O operation names, in the order of the weights.
        mask: Bool (E, O) on the host: the candidates that exist. All of them by default.
        role: What its space decides with it, such as `normal` for normal cells; empty where there is nothing to say.
    """

    edges: tuple[tuple[int, int], ...]
    ops: tuple[str, ...]
    mask: Tensor = field(default=None)  # type: ignore[assignment]
    role: str = ""

    def __post_init__(self) -> None:
        mask = torch.ones(self.shape, dtype=torch.bool, device="cpu") if self.mask is None else self.mask
        object.__setattr__(self, "mask", mask)

    @property
    def shape(self) -> tuple[int, int]:
        """(E, O)."""
        return len(self.edges), len(self.ops)

    def restricted(self, mask: Any, name: str) -> Choice:
        """Return this choice with the candidates that exist both here and in `mask`.

        Raises:
            ArchitectureError: If the mask is not bool-like of shape (E, O).
        """
        return replace(self, mask=self.mask & as_mask(mask, self, name))

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax of `scores` (E, O) over the existing candidates of each edge; 0 for all others."""
        weights = scores.masked_fill(~self.mask, float("-inf")).softmax(dim=-1)
        # An edge without any candidate is a row of zeros. NaN in the scores stays, so that it is found.
        return weights.masked_fill(~self.mask.any(dim=-1, keepdim=True), 0.0)

    def edge_softmax(self, scores: Tensor) -> Tensor:
        """Softmax of `scores` (E,) over the edges that enter each node; edges without a candidate take no part."""
        scores = scores.masked_fill(~self.mask.any(dim=1), float("-inf"))
        targets = dict.fromkeys(target for _, target in self.edges)
        parts = [scores[self.incoming(target)].softmax(dim=0) for target in targets]
        order = [edge for target in targets for edge in self.incoming(target)]
        return torch.nan_to_num(torch.cat(parts)[torch.tensor(order).argsort()])

    def equals(self, other: Choice) -> bool:
        """Return whether both have the same edges, operations and candidates."""
        same = self.edges == other.edges and self.ops == other.ops
        return same and torch.equal(self.mask, other.mask)

    def incoming(self, target: int) -> Sequence[int]:
        """Indices of the edges that end in `target`."""
        return [e for e, (_, t) in enumerate(self.edges) if t == target]


def as_mask(mask: Any, choice: Choice, name: str) -> Tensor:
    """Return `mask` as a bool tensor (E, O) on the host.

    Raises:
        ArchitectureError: If it has another shape or holds anything but 0 and 1.
    """
    try:
        tensor = torch.as_tensor(mask, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise ArchitectureError(f"mask of choice {name!r} is not a rectangular (E, O) table of booleans") from None
    if tensor.shape != choice.shape or not bool(((tensor == 0) | (tensor == 1)).all()):
        raise ArchitectureError(
            f"mask of choice {name!r} must hold booleans of shape (E, O) = {choice.shape}, "
            f"got shape {tuple(tensor.shape)}"
        )
    return tensor.bool()


def existing(choices: Mapping[str, Choice]) -> dict[str, Tensor]:
    """Return uniform mixing weights over the existing candidates of every edge."""
    return {name: choice.softmax(torch.zeros(choice.shape, device="cpu")) for name, choice in choices.items()}
