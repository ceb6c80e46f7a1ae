"""Meters: metrics accumulated over batches and over processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from ramify import parallel
from ramify.tasks.batch import Batch


class Meter(ABC):
    """Accumulates a network's outputs over batches and computes metrics from them.

    A meter that cannot be written as sums keeps what it needs of each batch, and gathers it in `merge`.
    """

    @abstractmethod
    def update(self, output: Any, batch: Batch) -> None:
        """Add the outputs on a batch, or on this process' share of it."""

    @abstractmethod
    def merge(self) -> None:
        """Combine the counts of all processes; called once, after the last update."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the metrics by name."""

    def details(self) -> dict[str, Any]:
        """Return further results as plain JSON values, for a file of the run folder."""
        return {}


class SumMeter(Meter):
    """A meter whose state is a row of sums, float64 (n,), so that processes add them up.

    Only such meters are shown while something learns: their sums are part of the checkpoint, the same in every process.
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    @abstractmethod
    def count(self, output: Any, batch: Batch) -> Tensor:
        """Return the sums of one batch, (n,), without synchronizing the device."""

    @abstractmethod
    def computed(self, sums: list[float]) -> dict[str, float]:
        """Return the metrics of these sums, by name."""

    def update(self, output: Any, batch: Batch) -> None:
        """Add the sums of a batch."""
        counted = self.count(output, batch).double()
        self.sums = counted if self.sums is None else self.sums + counted

    def merge(self) -> None:
        """Add the sums of all processes, some of which may have counted nothing."""
        size = max(parallel.counted(0 if self.sums is None else len(self.sums)))
        self.sums = parallel.total(torch.zeros(size, dtype=torch.float64) if self.sums is None else self.sums)

    def compute(self) -> dict[str, float]:
        """Return the metrics by name."""
        return {} if self.sums is None else self.computed(self.sums.tolist())
