"""Labels that can be tied: one union-find over all of them, as one tensor."""

from __future__ import annotations

import torch
from torch import Tensor

NONE = 0
"""The label of what has none: constants, images."""


class Ties:
    """Labels 1, 2, … and which of them live and die together.

    Attributes:
        root: Label → the smallest label that is tied to it.
        changes: How often two labels that were apart have been tied.
    """

    def __init__(self) -> None:
        self.root = torch.zeros(1, dtype=torch.long)
        self.changes = 0

    def fresh(self, count: int) -> Tensor:
        """Return new labels (count,), tied to nothing."""
        labels = torch.arange(len(self.root), len(self.root) + count)
        self.root = torch.cat([self.root, labels])
        return labels

    def tie(self, a: Tensor, b: Tensor) -> None:
        """Tie the labels that meet entry by entry after broadcasting; `NONE` is tied to nothing."""
        a, b = torch.broadcast_tensors(self.root[a], self.root[b])
        apart = (a != b) & (a != NONE) & (b != NONE)
        if not apart.any():
            return
        self.changes += 1
        a, b = torch.stack([a[apart], b[apart]]).unique(dim=1)
        while not torch.equal(a, b):
            self.root.scatter_reduce_(0, torch.maximum(a, b), torch.minimum(a, b), "amin")
            self._flatten()
            a, b = self.root[a], self.root[b]

    def _flatten(self) -> None:
        while not torch.equal(further := self.root[self.root], self.root):
            self.root = further

    def roots(self, labels: Tensor) -> Tensor:
        """Return the roots of labels, with size 1 along every dimension that does not matter."""
        return narrowed(self.root[labels])


def narrowed(labels: Tensor) -> Tensor:
    """Return labels with size 1 along every dimension along which they do not change."""
    for dim in range(labels.dim()):
        if labels.shape[dim] > 1:
            first = labels.narrow(dim, 0, 1)
            if labels.stride(dim) == 0 or bool((labels == first).all()):
                labels = first
    return labels


def changing(labels: Tensor) -> list[int]:
    """Return the dimensions along which narrowed labels change."""
    return [dim for dim, size in enumerate(labels.shape) if size > 1]


def decides(labels: Tensor, dim: int) -> bool:
    """Return whether the index along one dimension alone says which label an entry has."""
    lines = labels.movedim(dim, 0).flatten(1)
    return bool((lines == lines[:, :1]).all())
