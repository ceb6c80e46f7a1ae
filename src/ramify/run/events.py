"""TensorBoard events: a view of the history, rewritten when a run continues.

Records are in the format of TensorBoard (`event.proto`, `summary.proto`, `record_writer.h`). Its own writer opens the
file anew from a thread, which has nowhere to say that the run folder is gone, and takes longer for a row than a look
into a table. Rows that follow each other within a second are written together.
"""

from __future__ import annotations

import math
import shutil
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ramify import files

_TOGETHER_S, _AT_MOST = 1.0, 500
"""Seconds within which rows are written together, and how many of them."""
_NO_SCALARS = ("step", "steps", "seconds")


class Events:
    """Writes the numbers of history rows as TensorBoard scalars.

    Args:
        folder: Where the event file lives; what is there is replaced.
        rows: The history so far.
    """

    def __init__(self, folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        files.below(folder.parent, f"{folder.name}/events")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._file = (folder / name).open("wb", buffering=0)
        self._waiting = [_double(1, time.time()) + _bytes(3, b"brain.Event:2")]  # the version of the file
        for row in rows:
            self._waiting.append(_event(row, time.time()))
        self.flush()

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        now = time.time()
        self._waiting.append(_event(row, now))
        if not 0 <= now - self._flushed < _TOGETHER_S or len(self._waiting) >= _AT_MOST:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        sizes = [struct.pack("<Q", len(event)) for event in self._waiting]
        parts = zip(sizes, _checksums(sizes), self._waiting, _checksums(self._waiting), strict=True)
        rest = memoryview(b"".join([part for record in parts for part in record]))
        while rest:
            rest = rest[self._file.write(rest) :]
        self._waiting, self._flushed = [], time.time()

    def close(self) -> None:
        """Write what is waiting, and close the file."""
        try:
            self.flush()
        finally:
            self._file.close()


def _event(row: Mapping[str, Any], now: float) -> bytes:
    """Return the event of a row."""
    scalars = b"".join(
        [
            _tag(row["phase"], name) + _float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and name not in _NO_SCALARS
        ]
    )
    return _double(1, now) + _number(2, row["step"]) + _bytes(5, scalars)


# Protocol buffers: fields by their numbers


def _varint(value: int) -> bytes:
    encoded = bytearray()
    value &= 2**64 - 1
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3]) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return struct.pack("<Bd", field << 3 | 1, value)


def _bytes(field: int, value: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(value)) + value


_FLOAT_BYTES = 5


@cache
def _tag(phase: str, name: str) -> bytes:
    """Return the beginning of a scalar, which its value completes."""
    tag = _bytes(1, f"{phase}/{name}".encode())
    return b"\x0a" + _varint(len(tag) + _FLOAT_BYTES) + tag


def _float(value: float) -> bytes:
    try:
        return struct.pack("<Bf", 2 << 3 | 5, value)
    except OverflowError:  # beyond what four bytes hold
        return struct.pack("<Bf", 2 << 3 | 5, math.copysign(math.inf, value))


# Checksums of records: CRC-32C (RFC 3720), masked

_BLOCK = 256
_POLYNOMIAL = 0x82F63B78


@cache
def _shares() -> np.ndarray:
    """Return what every byte adds to the checksum of a block by its place and value, uint32 (256, 256)."""
    table: Any = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ np.where(table & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    shares = [table]
    for _ in range(_BLOCK - 1):  # one byte further from the end
        shares.append(table[shares[-1] & 255] ^ shares[-1] >> 8)
    return np.stack(shares[::-1])


def _checksums(contents: Sequence[bytes]) -> list[bytes]:
    """Return the masked CRC-32C of contents, four bytes or more each: sums over bits, so those of all bytes at once."""
    if not contents:
        return []
    width = -(-max(map(len, contents)) // _BLOCK) * _BLOCK
    padded = b"".join([content.rjust(width, b"\0") for content in contents])  # zeros before the first byte add nothing
    blocks = np.frombuffer(padded, np.uint8).reshape(len(contents), -1, _BLOCK).copy()
    rows = blocks.reshape(len(contents), width)
    for row, content in zip(rows, contents, strict=True):
        row[width - len(content) :][:4] ^= 255
    crc = np.zeros(len(contents), "<u4")
    for number in range(blocks.shape[1]):
        block = blocks[:, number]
        block[:, :4] ^= crc.view(np.uint8).reshape(-1, 4)
        crc = np.bitwise_xor.reduce(_shares()[np.arange(_BLOCK), block], axis=1)
    crc = ~crc
    masked = (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)
    return [bytes(each) for each in masked.astype("<u4").view(np.uint8).reshape(-1, 4)]
