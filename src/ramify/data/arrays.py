"""Images as arrays: which axis holds the channels, how large they may be, and NumPy's file of one array.

Sizes are bounded before an array is read; nothing is unpickled.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ramify.data.spec import MAX_SIDE
from ramify.errors import DataError, OptionError

MAX_PIXELS = MAX_SIDE**2
"""Pixels of one image above which it is refused before it is decoded."""

MAX_VALUES = 3 * MAX_PIXELS
"""Numbers that the pixels of one image may have together."""

MAX_CHANNELS = 256
"""Channels of an array above which it is refused."""

_HEADER = 10_000  # bytes of the header of an array


# Channels


def channels_first(shape: Sequence[int], what: str, asked: str | None = None, *, tensor: bool = False) -> bool:
    """Return whether the channels are an image's first axis, rather than its last, judged by its three sides.

    An end of 1 or 3 is the channels; of two such ends that which leaves a square, else the first of a tensor and the
    last of an array. Without one, the channels are what stands beside the two equal sides of a square, or else the end
    that is at most half as long as both other sides.

    Args:
        shape: The three sides.
        what: The image and its shape, for messages.
        asked: `first` or `last`, where that is known.
        tensor: Whether it is a tensor.

    Raises:
        OptionError: If the rule leaves it open.
        DataError: If there are more than `MAX_CHANNELS`.
    """
    first = asked == "first" if asked else _by_sides(shape, tensor)
    if first is None:
        raise OptionError(
            f"{what} leaves open which axis holds the channels; set `channel_axis` to first or last "
            "(--data.channel_axis last)",
            "channel_axis",
        )
    if (count := shape[0 if first else 2]) > MAX_CHANNELS:
        raise DataError(f"{what} has {count} channels; images have 1 to {MAX_CHANNELS}, choose some of them")
    return first


def _by_sides(shape: Sequence[int], tensor: bool) -> bool | None:
    first, middle, last = shape
    colors = first in (1, 3), last in (1, 3)
    squares = middle == last, first == middle  # what is left if the channels are first, or last
    if any(colors) and not all(colors):
        return colors[0]
    if any(squares) and not all(squares):
        return squares[0]
    if all(colors):
        return tensor
    if 2 * first <= min(middle, last) or 2 * last <= min(first, middle):
        return first < last
    return None


def check_sides(shape: Sequence[int], what: str) -> None:
    """Refuse an image, with axes in any order, that has too many pixels or numbers.

    Args:
        shape: Its sides, the channels last.
        what: The image and its shape, for messages.
    """
    if math.prod(shape[:2]) > MAX_PIXELS or math.prod(shape) > MAX_VALUES:
        raise DataError(
            f"{what} is larger than {MAX_PIXELS} pixels, or {MAX_VALUES} numbers, which one image may have; shrink it"
        )


def native(array: np.ndarray) -> np.ndarray:
    """Return an array in native byte order, with 16-bit floats, too short to scale, as 32-bit floats."""
    kind = np.dtype(np.float32) if array.dtype.itemsize == 2 and array.dtype.kind == "f" else array.dtype
    return array.astype(kind.newbyteorder("="), copy=False)


# Files


@dataclass(frozen=True)
class Header:
    """The shape and type of an array, read from its file's header."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], size: int, where: str) -> Header:
    """Read and validate the header of an array in NumPy's format.

    Args:
        file: At its beginning.
        size: Bytes that it has.
        where: The array, for messages.

    Raises:
        DataError: If the array holds Python objects, or its size is not that of the file.
        ValueError: If there is no such header.
    """
    start = io.BytesIO(file.read(_HEADER))
    version = np.lib.format.read_magic(start)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(start)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(start)
    if dtype.hasobject:
        raise DataError(f"{where}: holds Python objects, which are not read; save a plain array")
    header = Header(shape, dtype)
    if min(shape, default=0) < 0 or start.tell() + header.bytes != size:
        raise DataError(f"{where}: damaged; its size is not that of shape {shape} of {dtype}")
    return header


def read_npy(path: Path) -> np.ndarray:
    """Read the array of a `.npy` file that holds an image."""
    with path.open("rb") as file:
        header = read_header(file, path.stat().st_size, str(path))
        if math.prod(header.shape) > MAX_VALUES:
            raise DataError(f"{path}: shape {header.shape} has more than {MAX_VALUES} numbers; shrink it")
        file.seek(0)
        return native(np.load(file, allow_pickle=False))
