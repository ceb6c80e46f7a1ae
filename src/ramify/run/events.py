"""TensorBoard events: a view of the history, rewritten when a run continues."""

from __future__ import annotations

import shutil
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c

from ramify import files

_TOGETHER_S = 1.0
"""Seconds within which rows are written together."""

_TOGETHER = 64
"""The most rows that wait."""

_NUMBER = int | float


class Events:
    """Writes the numbers of history rows as TensorBoard scalars.

    Records are written here, those of a second together: the writer of `torch.utils.tensorboard` opens its file anew
    from a thread of its own, which has nowhere to say that the run folder is gone, and TensorBoard's sums are loops of
    Python, which would take a fifth of a search in a table.

    Args:
        folder: Where the event file lives; what is there is replaced.
        rows: The history so far.
    """

    def __init__(self, folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        files.below(folder.parent, f"{folder.name}/events")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._file = (folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}").open("wb")
        self._event = Event
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._flushed = time.monotonic()
        self._waiting = [(time.time(), row) for row in rows]
        self.flush()

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row, which nobody changes any more."""
        self._waiting.append((time.time(), row))
        if len(self._waiting) >= _TOGETHER or time.monotonic() - self._flushed >= _TOGETHER_S:
            self.flush()

    def _record(self, at: float, row: Mapping[str, Any]) -> None:
        event = self._event(wall_time=at, step=row["step"])
        scalar, phase = event.summary.value.add, row["phase"]
        for name, value in row.items():
            if isinstance(value, _NUMBER) and name not in ("step", "steps", "seconds"):
                scalar(tag=f"{phase}/{name}", simple_value=value)
        self._write(event)

    def _write(self, event: Any) -> None:
        """Write a record: its length and its bytes, each followed by a sum."""
        data = event.SerializeToString()
        self._file.write(b"".join((_header(len(data)), data, _masked_crc(data))))

    def flush(self) -> None:
        """Write what is waiting, many rows in one go."""
        for at, row in self._waiting:
            self._record(at, row)
        self._waiting.clear()
        self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is waiting, and close the file."""
        self.flush()
        self._file.close()


@lru_cache(1024)
def _header(length: int) -> bytes:
    """Return the length of a record, followed by its sum."""
    packed = struct.pack("<Q", length)
    return packed + _masked_crc(packed)


def _masked_crc(data: bytes) -> bytes:
    """Return the CRC-32C of data as records hold it: rotated by 15 bits, and a constant added."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
