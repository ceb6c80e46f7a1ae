"""Records as TensorFlow frames them: length, checksum of the length, content, checksum of the content.

The checksums are CRC-32C (Castagnoli), rotated and shifted as TensorFlow's `record_writer.h` masks them. TensorBoard's
own writer computes one byte after the other; here all records of a batch go through each step together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def framed(records: Sequence[bytes]) -> bytes:
    """Return records, none shorter than 4 bytes, one framed after the other."""
    lengths = [len(record).to_bytes(8, "little") for record in records]
    parts = zip(lengths, _masked(crc32c(lengths)), records, _masked(crc32c(records)), strict=True)
    return b"".join([part for four in parts for part in four])


def crc32c(texts: Sequence[bytes]) -> np.ndarray:
    """Return the checksums of texts, none shorter than 4 bytes, uint32 (N,)."""
    if not texts:
        return np.empty(0, np.uint32)
    # A register of zeros stays so through zeros, and one of ones inverts the first four bytes: so all end together.
    width = max(map(len, texts))
    rows = np.frombuffer(b"".join([text.rjust(width, b"\0") for text in texts]), np.uint8).reshape(-1, width).copy()
    begin = width - np.fromiter(map(len, texts), np.int64, len(texts))
    rows[np.arange(len(texts))[:, None], begin[:, None] + np.arange(4)] ^= 0xFF
    register = np.zeros(len(texts), np.uint32)
    for column in np.ascontiguousarray(rows.T):
        register = _TABLE[(register ^ column) & 0xFF] ^ (register >> 8)
    return ~register


def _table() -> np.ndarray:
    """Return what a byte adds to the register, uint32 (256,)."""
    register = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        register = np.where(register & 1, (register >> 1) ^ np.uint32(0x82F63B78), register >> 1)
    return register


_TABLE = _table()


def _masked(sums: np.ndarray) -> list[bytes]:
    masked = ((sums >> 15) | (sums << 17)) + np.uint32(0xA282EAD8)
    return [four.tobytes() for four in masked.astype("<u4")]
