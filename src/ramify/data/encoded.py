"""Sources of single images by row number: arrays, files, tables, data sets of PyTorch."""

from __future__ import annotations

import io
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch

from ramify.data.arrays import MAX_PIXELS, channels_first, check_sides, read_npy
from ramify.data.depth import Extent, Scale, UnmeasuredError, is_signed, is_wide, values_of
from ramify.data.framing import SIDEWAYS, by_channel, contained, covered, turn_of
from ramify.errors import DataError, OptionError

if TYPE_CHECKING:
    import pyarrow
    from PIL.Image import Image

T = TypeVar("T")

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".npy"})
"""Endings of files that are images, in lower case."""

DEEP_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
GREY_MODES = frozenset({"1", "L", "LA", "La"}) | DEEP_MODES

RESIZED_BY_SPEC = "set `image_size` of DataSpec (--data.image_size N, or HEIGHT,WIDTH)"
RESIZED_IN_PYTHON = "resize them in the data set, or hand over ramify.data.load(dataset, image_size=N)"

COLORS = (1, 3)
"""Channels that grey images and colored ones have, each of which can be had from the other."""


@dataclass(frozen=True)
class Form:
    """The size and channels that all images of a data set are converted to.

    Args:
        height: H, in pixels.
        width: W, in pixels.
        channels: C.
        resized: Whether images of other sizes are resized and cropped; else they are refused.
        whole: Whether they are resized to fit into the size instead, so that nothing is cropped.
    """

    height: int
    width: int
    channels: int
    resized: bool = False
    whole: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.height, self.width, self.channels


class Encoded(Protocol):
    """A sequence of images that are not decoded yet."""

    advice: str
    """What brings these images to one size, for messages."""

    def __len__(self) -> int: ...

    def open(self, row: int) -> Image | np.ndarray:
        """Return image `row`; its pixels may still be unread. An array is (H, W) or (H, W, C), of any depth."""
        ...

    def where(self, row: int) -> str:
        """Return a description of where image `row` is, for messages."""
        ...


class Arrays:
    """Images that are an array already: `pixels` (N, H, W) or (N, H, W, C) uint8."""

    advice = RESIZED_BY_SPEC

    def __init__(self, pixels: np.ndarray, name: str) -> None:
        self.pixels, self.name = pixels, name

    def __len__(self) -> int:
        return len(self.pixels)

    def open(self, row: int) -> np.ndarray:
        """Return image `row`."""
        return self.pixels[row]

    def where(self, row: int) -> str:
        """Return a description of where image `row` is, for messages."""
        return f"{self.name}, image {row}"


class Files:
    """One file per image: of an image format, or `.npy` with an array."""

    advice = RESIZED_BY_SPEC

    def __init__(self, paths: Sequence[Path], channel_axis: str | None = None) -> None:
        self.paths, self.channel_axis = paths, channel_axis

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, row: int) -> Image | np.ndarray:
        """Return image `row`."""
        from PIL import Image

        path = self.paths[row]
        if path.is_fifo():
            raise DataError(f"{path}: is a pipe, which nobody may ever write to; remove it")
        if path.suffix.lower() == ".npy":
            return as_image(read_npy(path), str(path), self.channel_axis)
        return Image.open(path)

    def where(self, row: int) -> str:
        """Return a description of where image `row` is, for messages."""
        return str(self.paths[row])


class Table:
    """A column of encoded images: bytes, or records of bytes and path; read from one file."""

    advice = RESIZED_BY_SPEC

    def __init__(self, column: pyarrow.ChunkedArray, file: Path) -> None:
        self.column, self.file = column, file

    def __len__(self) -> int:
        return len(self.column)

    def open(self, row: int) -> Image:
        """Return image `row`."""
        return _open(self.column[row].as_py(), self.file.parent)

    def where(self, row: int) -> str:
        """Return a description of where image `row` is, for messages."""
        return f"{self.file}, row {row}"


class HuggingFace:
    """The images of a Hugging Face data set whose image column is not decoded by itself."""

    def __init__(self, dataset: Any, column: str, name: str, advice: str = RESIZED_BY_SPEC) -> None:
        self.dataset, self.column, self.name, self.advice = dataset, column, name, advice

    def __len__(self) -> int:
        return len(self.dataset)

    def open(self, row: int) -> Image:
        """Return image `row`."""
        return _open(self.dataset[row][self.column], Path())

    def where(self, row: int) -> str:
        """Return a description of where image `row` is, for messages."""
        return f"{self.name}, row {row}"


class Items:
    """The images of a map-style data set in Python, whose items are (image, label) unless `select` says otherwise."""

    advice = RESIZED_IN_PYTHON

    def __init__(
        self,
        dataset: Any,
        name: str,
        select: Callable[[Any], Any] = operator.itemgetter(0),
        extent: Extent | None = None,
        channel_axis: str | None = None,
    ) -> None:
        self.dataset, self.name, self.select, self.extent = dataset, name, select, extent
        self.channel_axis = channel_axis

    def __len__(self) -> int:
        return len(self.dataset)

    def open(self, row: int) -> Image | np.ndarray:
        """Return image `row`."""
        image = as_image(self.select(item_of(self.dataset, row, self.where(row))), self.where(row), self.channel_axis)
        # A copy, because the reader closes what it is given, and this image is the data set's own.
        return image if isinstance(image, np.ndarray) else image.copy()

    def where(self, row: int) -> str:
        """Return a description of where image `row` is, for messages."""
        return f"{self.name}, item {row}"


class Joined:
    """Several sequences of images, one after the other."""

    def __init__(self, parts: Sequence[Encoded]) -> None:
        self.parts, self.advice = parts, parts[0].advice
        self.starts = np.cumsum([0] + [len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _find(self, row: int) -> tuple[Encoded, int]:
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.parts[part], row - int(self.starts[part])

    def open(self, row: int) -> Image | np.ndarray:
        """Return image `row`."""
        part, row = self._find(row)
        return part.open(row)

    def where(self, row: int) -> str:
        """Return a description of where image `row` is, for messages."""
        part, row = self._find(row)
        return part.where(row)


class Chosen:
    """Some rows of a sequence of images."""

    def __init__(self, images: Encoded, rows: Sequence[int]) -> None:
        self.images, self.rows, self.advice = images, rows, images.advice

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, row: int) -> Image | np.ndarray:
        """Return image `row`."""
        return self.images.open(self.rows[row])

    def where(self, row: int) -> str:
        """Return a description of where image `row` is, for messages."""
        return self.images.where(self.rows[row])


def join(parts: Sequence[Encoded]) -> Encoded:
    """Concatenate sequences of images; arrays of one shape stay an array."""
    arrays = [part for part in parts if isinstance(part, Arrays)]
    if len(arrays) == len(parts) and len({part.pixels.shape[1:] for part in arrays}) == 1:
        return Arrays(np.concatenate([part.pixels for part in arrays]), arrays[0].name)
    return parts[0] if len(parts) == 1 else Joined(parts)


def _open(record: Any, folder: Path) -> Image:
    """Open one cell of a table: bytes, or a mapping with the keys bytes and path."""
    from PIL import Image

    if isinstance(record, dict):
        if record.get("bytes") is None:
            if record.get("path") is None:
                raise ValueError("the cell is empty")
            return Image.open(folder / record["path"])
        record = record["bytes"]
    if record is None:
        raise ValueError("the cell is empty")
    return Image.open(io.BytesIO(record))


def as_image(image: Any, where: str, channel_axis: str | None = None) -> Image | np.ndarray:
    """Take a PIL image as it is; map a tensor or array, HW, HWC or CHW, of any depth, to (H, W) or (H, W, C).

    Args:
        image: What may be one.
        where: How to find it, for messages.
        channel_axis: Where the channels of arrays stand, if that is known; see `channels_first`.

    Raises:
        DataError: If it is no image, is too large, or leaves open which axis holds the channels.
    """
    from PIL import Image as factory

    if isinstance(image, factory.Image):
        _check_size(image, where)
        return image
    if isinstance(image, str | Path | bytes | Mapping) or image is None:
        wanted = "hand over an image, or its values"
        if isinstance(image, str | Path | bytes):
            source = "io.BytesIO(data)" if isinstance(image, bytes) else "path"
            wanted = f"open it in the data set: PIL.Image.open({source})"
        raise DataError(f"{where}: the image is {type(image).__name__} ({image!r:.40}), not pixels; {wanted}")
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = image.float() if image.dtype == torch.bfloat16 else image  # NumPy knows no bfloat16
    tensor = isinstance(image, torch.Tensor)
    try:
        array = np.asarray(image)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {type(image).__name__} is no array of pixels ({error!s:.100})") from None
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating) or array.dtype == bool):
        raise DataError(f"{where}: an image is numbers, not {type(image).__name__} of {array.dtype}")
    if array.ndim not in (2, 3) or not array.size:
        raise DataError(f"{where}: shape {array.shape} is none of HW, CHW and HWC")
    if array.ndim == 3:
        if channels_first(array.shape, f"{where}: shape {array.shape}", channel_axis, tensor=tensor):
            array = array.transpose(1, 2, 0)
        if array.shape[2] == 1:
            array = array[:, :, 0]
    check_sides(array.shape, f"{where}: shape {array.shape}")
    return np.ascontiguousarray(array)


def _read(images: Encoded, row: int, use: Callable[[Any], T]) -> T:
    """Apply `use` to image `row`; whatever goes wrong becomes one line that says where."""
    from PIL import Image as factory

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", factory.DecompressionBombWarning)
            image = images.open(row)
        with nullcontext(image) if isinstance(image, np.ndarray) else image:
            if not isinstance(image, np.ndarray):
                _check_size(image, images.where(row))
            return use(image)
    except DataError:
        raise
    except (factory.DecompressionBombError, factory.DecompressionBombWarning) as error:
        raise _giant(images.where(row), error) from error
    except Exception as error:  # damaged files make decoders fail in ways without number
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, factory.UnidentifiedImageError):
            reason = (
                "Pillow does not know it: empty, damaged, or to be converted, such as floats of 64 bits, and more than "
                "four bands to .npy"
            )
        raise DataError(f"{images.where(row)}: not a readable image ({reason:.160}); repair or remove it") from error


def item_of(dataset: Any, row: int, where: str) -> Any:
    """Return an item of a Python data set; giant images may be opened, as long as the data set shrinks them."""
    from PIL import Image as factory

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", factory.DecompressionBombWarning)
            return dataset[row]
    except factory.DecompressionBombError as error:
        raise _giant(where, error) from error


def _check_size(image: Image, where: str) -> None:
    """Refuse an image, by its header, that has too many pixels."""
    if image.width * image.height > MAX_PIXELS:
        raise _giant(where, f"{image.height}x{image.width}")


def _giant(where: str, size: str | Exception) -> DataError:
    if isinstance(size, Exception):  # of Pillow, which names the number
        size = "".join(re.findall(r"\d+", str(size))[:1]) or "too many"
    return DataError(f"{where}: claims {size} pixels, and {MAX_PIXELS} are the most that one image may have; shrink it")


def _size(image: Image | np.ndarray) -> tuple[int, int]:
    """Return (height, width)."""
    return (image.shape[0], image.shape[1]) if isinstance(image, np.ndarray) else (image.height, image.width)


def _upright_size(image: Image | np.ndarray) -> tuple[int, int]:
    """Return the (height, width) that an image has once it is turned upright."""
    height, width = _size(image)
    turn = None if isinstance(image, np.ndarray) else turn_of(image)
    return (width, height) if turn is not None and turn.name in SIDEWAYS else (height, width)


def _channels(image: Image | np.ndarray) -> int:
    if isinstance(image, np.ndarray):
        return 1 if image.ndim == 2 else image.shape[2]
    return 1 if image.mode in GREY_MODES else 3


def opened(images: Encoded, row: int, use: Callable[[Any], T]) -> T:
    """Apply `use` to image `row`, a PIL image or an array, and return the result.

    Raises:
        DataError: If it cannot be read, saying where it is.
    """
    return _read(images, row, use)


def upright_size(images: Encoded, row: int) -> tuple[int, int]:
    """Return the (height, width) of image `row`, turned upright, from its header."""
    return _read(images, row, _upright_size)


def is_deep(images: Encoded, row: int) -> bool:
    """Return whether image `row` has more than 8 bits per value."""

    def deep(image: Image | np.ndarray) -> bool:
        if isinstance(image, np.ndarray):
            return image.dtype not in (np.uint8, np.bool_)
        return _is_deep(image) or is_wide(image)

    return _read(images, row, deep)


def _is_deep(image: Image) -> bool:
    return image.mode in DEEP_MODES or is_signed(image)


def extent(images: Encoded, rows: Sequence[int]) -> Extent:
    """Return the ranges of values of the images `rows`, as far as they are deeper than 8 bits."""
    whole = Extent()

    for row in rows:
        _read(images, row, partial(measure, where=images.where(row), extent=whole))
    return whole


def measure(image: Image | np.ndarray, where: str, extent: Extent) -> None:
    """Extend `extent` by the values of an image, if it is deeper than 8 bits."""
    if isinstance(image, np.ndarray):
        extent.add(image, where)
    elif _is_deep(image):
        extent.add(values_of(image), where)
    elif is_wide(image):
        colors = np.asarray(image)
        extent.add_upper(colors[..., :-1] if image.getbands()[-1] == "A" else colors, where)


def probe(images: Encoded, rows: Sequence[int], size: tuple[int, int] | None) -> Form:
    """Return the form that the images `rows` are converted to, reading no more headers than needed.

    The size is `size`, else that of the first image. One image that is not grey makes all of them like it.
    """
    height, width = size or _read(images, rows[0], _upright_size)
    if isinstance(images, Arrays):
        channels = 1 if images.pixels.ndim == 3 else images.pixels.shape[3]
    else:
        counts = (_read(images, row, _channels) for row in rows)
        channels = next((count for count in counts if count != 1), 1)
    return Form(height, width, channels, resized=size is not None)


def decode(images: Encoded, row: int, form: Form, scale: Scale | None = None) -> np.ndarray:
    """Return image `row` as (H, W, C) uint8, upright, in the given form.

    Raises:
        UnmeasuredError: If the image is deeper than bytes and there is no `scale`.
        DataError: If the image cannot be decoded, or has another size and is not to be resized, or other channels.
    """

    def pixels(image: Image | np.ndarray) -> np.ndarray:
        shallow, count = _of_bytes(image, scale, images.where(row)), _channels(image)
        if count != form.channels and not (count in COLORS and form.channels in COLORS):
            raise DataError(
                f"{images.where(row)}: images of one data set have equally many channels; this one has {count}, and "
                f"others have {form.channels}"
            )
        if not form.resized and _size(shallow) != form.size:
            height, width = _size(shallow)
            raise OptionError(
                f"{images.where(row)}: {height}x{width} pixels, and others have {form.height}x{form.width} (height x "
                f"width); images of one data set have one size: {images.advice}",
                "image_size",
            )
        frame = contained if form.whole else covered
        if isinstance(shallow, np.ndarray):
            return by_channel(shallow, form.size, frame)
        if "transparency" in shallow.info:
            shallow = shallow.convert("RGBA")
        return np.asarray(frame(shallow.convert("RGB" if form.channels == 3 else "L"), form.size))

    return _read(images, row, pixels).reshape(form.shape)


def _of_bytes(image: Image | np.ndarray, scale: Scale | None, where: str) -> Image | np.ndarray:
    """Return the image with bytes for values, upright; an array if it is neither grey nor colored."""
    from PIL import Image as factory

    turn = None
    if not isinstance(image, np.ndarray):
        if scale is None and is_wide(image):
            raise UnmeasuredError(f"{where}: has colors of 16 bits, and others have not; convert it to 8 bits")
        image.load()
        turn = turn_of(image)
        if not _is_deep(image):
            return image if turn is None else image.transpose(turn)
        image = values_of(image)
    if image.dtype == np.bool_:
        image = image * np.uint8(255)
    if image.dtype != np.uint8:
        if scale is None:
            raise UnmeasuredError(f"{where}: is deeper than 8 bits, as others are not; convert it to 8 bits")
        image = scale.to_bytes(image, where)
    if _channels(image) not in COLORS:
        return image
    shallow = factory.fromarray(image)
    return shallow if turn is None else shallow.transpose(turn)
