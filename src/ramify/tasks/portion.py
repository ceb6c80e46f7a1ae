"""A split of a task's data, for training and measuring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ramify.tasks.batch import Batch, counted

if TYPE_CHECKING:
    from ramify.tasks.base import Task


class Portion:
    """One split of a task: its number of inputs, and their batches.

    Args:
        task: Whose.
        name: `search_train`, `search_validation`, `train` or `test`.
        purpose: Why it is read; reading the test split is recorded.
    """

    def __init__(self, task: Task, name: str, purpose: str = "") -> None:
        task.announce(name, purpose)
        self.task, self.name, self.purpose = task, name, purpose
        self._size = task.steps(name, 1, drop_last=False)

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"Portion({self.name!r}, {len(self)} inputs)"

    def num_batches(self, batch_size: int, drop_last: bool = False) -> int:
        """Return the number of batches in a pass."""
        return self.task.steps(self.name, batch_size, drop_last=drop_last)

    def batches(self, batch_size: int, *, seed: int, **options: Any) -> Iterator[Batch]:
        """Return an iterator over one pass; the options are those of `Task.batches`."""
        return counted(self.task.batches(self.name, batch_size, seed=seed, purpose=self.purpose, **options))
