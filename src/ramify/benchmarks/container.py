"""The file of a table: a header of JSON, arrays that are mapped into memory, and a checksum over all of it.

RAMIFY-TABLE 1\\n   the kind of file and its version
8 bytes            length of the header, little endian
header             JSON; its `arrays` say type, shape and place of every array, counted from the file's start
arrays             little endian, each at a multiple of 64
32 bytes           SHA-256 of everything before
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ramify import files
from ramify.errors import TableError

VERSION = 1
_KIND = b"RAMIFY-TABLE "
_MAGIC = _KIND + b"%d\n" % VERSION
_ALIGNMENT = 64
_HEADER = {"space": dict, "order": str, "columns": list, "origin": dict, "arrays": dict}
_PLACE = {"dtype": str, "shape": list, "offset": int}
_TYPES = ("<f8", "|u1")
_SEAL = hashlib.sha256().digest_size


def is_container(start: bytes) -> bool:
    """Return whether a file that begins with these bytes is a table, of any version."""
    return start.startswith(_KIND)


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of the file; equal arguments give equal bytes."""
    places: dict[str, Any] = {}
    content = _head(header, {name: {} for name in arrays})
    # The header holds the places, which depend on its length: it is laid out with room for the longest numbers.
    start = _aligned(len(content) + 120 * len(arrays))
    position = start
    for name, array in arrays.items():
        places[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "offset": position}
        position = _aligned(position + array.nbytes)
    content = _head(header, places).ljust(start, b"\0")
    assert len(content) == start
    parts = [content]
    for array in arrays.values():
        data = array.tobytes()
        parts.append(data.ljust(_aligned(len(data)), b"\0"))
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def _head(header: Mapping[str, Any], places: Mapping[str, Any]) -> bytes:
    text = json.dumps({**header, "arrays": places}, ensure_ascii=False, separators=(",", ":")).encode()
    return _MAGIC + len(text).to_bytes(8, "little") + text


def _aligned(position: int) -> int:
    return math.ceil(position / _ALIGNMENT) * _ALIGNMENT


def unpack(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], str]:
    """Return header, arrays and checksum of a file, every byte verified.

    The arrays are views of the mapped file and cannot be written.

    Raises:
        TableError: If it is missing, no table, of another version, truncated, or changed in a single bit.
    """
    try:
        with files.opened(path) as file:
            start = file.read(len(_MAGIC))
            if not is_container(start):
                raise TableError(f"{path} is no table; `ramify bench import` makes one from a CSV or NATS-Bench file")
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise TableError(f"there is no table {path}") from None
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from None
    if not start.endswith(b"\n") or start != _MAGIC:
        version = start.removeprefix(_KIND).split(b"\n")[0].decode(errors="replace")
        raise TableError(f"{path} is a table of version {version!r}, this release reads version {VERSION}")
    view = memoryview(content)
    seal = bytes(view[-_SEAL:])
    if len(view) < len(_MAGIC) + 8 + _SEAL or hashlib.sha256(view[:-_SEAL]).digest() != seal:
        raise TableError(f"{path} is damaged or truncated (its checksum is wrong); make it anew")
    try:
        length = int.from_bytes(view[len(_MAGIC) : len(_MAGIC) + 8], "little")
        text = bytes(view[len(_MAGIC) + 8 : -_SEAL][:length]).decode()
        header = json.loads(text)
        _check(header, "the header", _HEADER)
        arrays = {name: _array(view, place) for name, place in header.pop("arrays").items()}
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} does not have the layout of version {VERSION} ({error}); make it anew") from None
    return header, arrays, seal.hex()


def _check(value: Any, what: str, kinds: Mapping[str, type]) -> None:
    """Raise `ValueError` unless a value has these keys, of these types. Look-ups need nothing that knows more types."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no object")
    for name, kind in kinds.items():
        if not isinstance(value.get(name), kind):
            raise ValueError(f"`{name}` of {what} is no {kind.__name__}")


def _array(view: memoryview, place: Any) -> np.ndarray:
    _check(place, "an array", _PLACE)
    if not all(type(size) is int and size >= 0 for size in (*place["shape"], place["offset"])):
        raise ValueError("an array has no such shape, or no such place")
    if place["dtype"] not in _TYPES:
        raise ValueError(f"array of type {place['dtype']!r}")
    count = math.prod(place["shape"])
    if place["offset"] + count * np.dtype(place["dtype"]).itemsize > len(view) - _SEAL:
        raise ValueError("an array lies outside of the file")
    return np.frombuffer(view[:-_SEAL], place["dtype"], count, place["offset"]).reshape(place["shape"])
