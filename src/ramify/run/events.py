"""TensorBoard events: a view of the history, rewritten when a run continues."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ramify import files

_TOGETHER_S = 1.0
"""Seconds within which rows are written together."""

_NUMBER = int | float


class Events:
    """Writes the numbers of history rows as TensorBoard scalars.

    Records are written here, those of a second together: the writer of `torch.utils.tensorboard` opens its file anew
    from a thread of its own, which has nowhere to say that the run folder is gone.

    Args:
        folder: Where the event file lives; what is there is replaced.
        rows: The history so far.
    """

    def __init__(self, folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        files.below(folder.parent, f"{folder.name}/events")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._file = (folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}").open("wb")
        self._event, self._records = Event, RecordWriter(self._file)
        self._records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        self._flushed = time.monotonic()
        for row in rows:
            self.add(row)
        self.flush()

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        event = self._event(wall_time=time.time(), step=row["step"])
        scalar, phase = event.summary.value.add, row["phase"]
        for name, value in row.items():
            if isinstance(value, _NUMBER) and name not in ("step", "steps", "seconds"):
                scalar(tag=f"{phase}/{name}", simple_value=value)
        self._records.write(event.SerializeToString())
        if time.monotonic() - self._flushed >= _TOGETHER_S:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is waiting, and close the file."""
        self._file.close()
