"""TensorBoard events: a view of the history, written anew when a run continues."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ramify import files


class Events:
    """Writes the numbers of history rows as TensorBoard scalars.

    Args:
        folder: Where the event files live; what is there is replaced.
        rows: The history so far.
    """

    def __init__(self, folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        files.below(folder.parent, f"{folder.name}/events")
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("step", "steps", "seconds"):
                self._writer.add_scalar(f"{row['phase']}/{name}", value, row["step"])

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()
