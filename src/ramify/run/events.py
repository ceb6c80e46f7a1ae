"""TensorBoard events: a view of the history, rewritten when a run continues.

Records are written here and now, in the format of TensorBoard (`event.proto`, `summary.proto`, `record_writer.h`). Its
own writer opens the file anew from a thread, which has nowhere to say that the run folder is gone, and takes longer for
a row than a look into a table.
"""

from __future__ import annotations

import math
import shutil
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ramify import files

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
        self._write(_double(1, time.time()) + _bytes(3, b"brain.Event:2"))  # the version of the file
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        scalars = b"".join(
            [
                _tag(row["phase"], name) + _float(value)
                for name, value in row.items()
                if isinstance(value, int | float) and name not in _NO_SCALARS
            ]
        )
        self._write(_double(1, time.time()) + _number(2, row["step"]) + _bytes(5, scalars))

    def _write(self, event: bytes) -> None:
        rest = memoryview(_header(len(event)) + event + _checksum(event))
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
_PLACES = np.arange(_BLOCK)
_POLYNOMIAL = 0x82F63B78


@cache
def _header(length: int) -> bytes:
    """Return what goes before a record of so many bytes."""
    content = struct.pack("<Q", length)
    return content + _checksum(content)


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


def _checksum(content: bytes) -> bytes:
    """Return the masked CRC-32C of some bytes: sums over bits, so those over the bytes of a block at once."""
    shares, crc = _shares(), 0xFFFFFFFF
    for start in range(0, len(content), _BLOCK):
        block = np.frombuffer(content[start : start + _BLOCK], np.uint8)
        first = _BLOCK - len(block)
        before = crc.to_bytes(4, "little")[: len(block)]  # adds to the first bytes
        crc = crc >> 8 * len(before) ^ int(np.bitwise_xor.reduce(shares[_PLACES[first:], block]))
        for place, byte in enumerate(before, first):
            crc ^= int(shares[place, byte])
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
