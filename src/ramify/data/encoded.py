"""Where single images come from: arrays, files, tables, data sets of PyTorch. All give a PIL image by its row."""

from __future__ import annotations

import io
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch

from ramify.data.depth import Extent, Scale, UnmeasuredError, is_signed, is_wide, values_of
from ramify.data.spec import MAX_SIDE
from ramify.errors import DataError, OptionError

if TYPE_CHECKING:
    import pyarrow
    from PIL.Image import Image, Transpose

T = TypeVar("T")

DEEP_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
GREY_MODES = frozenset({"1", "L", "LA", "La"}) | DEEP_MODES

MAX_PIXELS = MAX_SIDE**2
"""Pixels of one image above which it is refused before it is decoded."""

RESIZED_BY_SPEC = "set `image_size` of DataSpec (--data.image_size N)"
RESIZED_IN_PYTHON = "resize them in the data set, or hand over ramify.data.load(dataset, image_size=N)"


class Encoded(Protocol):
    """A sequence of images that are not decoded yet."""

    advice: str
    """What brings these images to one size, for messages."""

    def __len__(self) -> int: ...

    def open(self, row: int) -> Image | np.ndarray:
        """Return image `row`; its pixels may still be unread. An array is (H, W) or (H, W, 3), of any depth."""
        ...

    def where(self, row: int) -> str:
        """Return how to find image `row`, for messages."""
        ...


class Arrays:
    """Images that are an array already: `pixels` (N, H, W) or (N, H, W, C) uint8."""

    advice = RESIZED_BY_SPEC

    def __init__(self, pixels: np.ndarray, name: str) -> None:
        self.pixels, self.name = pixels, name

    def __len__(self) -> int:
        return len(self.pixels)

    def open(self, row: int) -> Image:
        """Return image `row`."""
        from PIL import Image

        return Image.fromarray(self.pixels[row])

    def where(self, row: int) -> str:
        """Return how to find image `row`, for messages."""
        return f"{self.name}, image {row}"


class Files:
    """One image file per image."""

    advice = RESIZED_BY_SPEC

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, row: int) -> Image:
        """Return image `row`."""
        from PIL import Image

        return Image.open(self.paths[row])

    def where(self, row: int) -> str:
        """Return how to find image `row`, for messages."""
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
        """Return how to find image `row`, for messages."""
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
        """Return how to find image `row`, for messages."""
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
    ) -> None:
        self.dataset, self.name, self.select, self.extent = dataset, name, select, extent

    def __len__(self) -> int:
        return len(self.dataset)

    def open(self, row: int) -> Image | np.ndarray:
        """Return image `row`."""
        image = as_image(self.select(taken(self.dataset, row, self.where(row))), self.where(row))
        # A copy, because the reader closes what it is given, and this image is the data set's own.
        return image if isinstance(image, np.ndarray) else image.copy()

    def where(self, row: int) -> str:
        """Return how to find image `row`, for messages."""
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
        """Return how to find image `row`, for messages."""
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
        """Return how to find image `row`, for messages."""
        return self.images.where(self.rows[row])


def join(parts: Sequence[Encoded]) -> Encoded:
    """Put sequences of images one after the other; arrays of one shape stay an array."""
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


def as_image(image: Any, where: str) -> Image | np.ndarray:
    """Take a PIL image as it is; map a tensor or array, HW, HWC or CHW, of any depth, to (H, W) or (H, W, 3).

    Raises:
        DataError: If it is no image, or a tensor or array whose channels are not 1 or 3.
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
        if array.shape[0] not in (1, 3) and array.shape[2] not in (1, 3):
            count, height, width = array.shape
            if height != width:  # of squares, the side that is another one
                count = width if count == height else min(count, width)
            raise DataError(
                f"{where}: shape {array.shape} has {count} channels; images have 1 or 3, choose some of them"
            )
        if channels_first(array.shape, tensor):
            array = array.transpose(1, 2, 0)
        if array.shape[2] == 1:
            array = array[:, :, 0]
    return np.ascontiguousarray(array)


def channels_first(shape: tuple[int, ...], tensor: bool) -> bool:
    """Tell CHW from HWC; a tiny image can be both, and then a tensor is CHW and an array HWC."""
    first, last = shape[0] in (1, 3), shape[2] in (1, 3)
    if first and last:
        return shape[1] == shape[2] and (tensor or shape[0] != shape[1])
    return first


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
            reason = "Pillow does not know it: empty, damaged, or of pixels to be converted, such as floats of 64 bits"
        raise DataError(f"{images.where(row)}: not a readable image ({reason:.160}); repair or remove it") from error


def taken(dataset: Any, row: int, where: str) -> Any:
    """Return an item of a data set in Python, which may open giant images, as long as it shrinks them."""
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
        raise _giant(where, f"{image.width}x{image.height}")


def _giant(where: str, size: str | Exception) -> DataError:
    if isinstance(size, Exception):  # of Pillow, which names the number
        size = "".join(re.findall(r"\d+", str(size))[:1]) or "too many"
    return DataError(f"{where}: claims {size} pixels, and {MAX_PIXELS} are the most that one image may have; shrink it")


def _size(image: Image | np.ndarray) -> tuple[int, int]:
    """Return (width, height)."""
    return (image.shape[1], image.shape[0]) if isinstance(image, np.ndarray) else image.size


def _coloured(image: Image | np.ndarray) -> bool:
    return image.ndim == 3 if isinstance(image, np.ndarray) else image.mode not in GREY_MODES


def is_deep(images: Encoded, row: int) -> bool:
    """Return whether image `row` is deeper than bytes."""

    def deep(image: Image | np.ndarray) -> bool:
        if isinstance(image, np.ndarray):
            return image.dtype not in (np.uint8, np.bool_)
        return _is_deep(image) or is_wide(image)

    return _read(images, row, deep)


def _is_deep(image: Image) -> bool:
    return image.mode in DEEP_MODES or is_signed(image)


def extent(images: Encoded, rows: Sequence[int]) -> Extent:
    """Return from where to where the values of the images `rows` reach, as far as they are deeper than bytes."""
    found = Extent()

    for row in rows:
        _read(images, row, partial(measure, where=images.where(row), found=found))
    return found


def measure(image: Image | np.ndarray, where: str, found: Extent) -> None:
    """Add the values of an image to `found`, if they are deeper than bytes."""
    if isinstance(image, np.ndarray):
        found.add(image, where)
    elif _is_deep(image):
        found.add(values_of(image), where)
    elif is_wide(image):
        colors = np.asarray(image)
        found.add_upper(colors[..., :-1] if image.getbands()[-1] == "A" else colors, where)


def probe(images: Encoded, rows: Sequence[int], image_size: int | None) -> tuple[int, int]:
    """Return (side in pixels, channels) of the images `rows`, reading no more headers than needed.

    The side is `image_size`, else that of the first image. One coloured image makes all of them coloured.
    """
    side = image_size or _read(images, rows[0], _size)[0]
    if isinstance(images, Arrays):
        return side, 1 if images.pixels.ndim == 3 else 3
    return side, 3 if any(_read(images, row, _coloured) for row in rows) else 1


def decode(
    images: Encoded, row: int, side: int, channels: int, image_size: int | None, scale: Scale | None = None
) -> np.ndarray:
    """Return image `row` as (side, side, channels) uint8, upright; resized and cropped only if `image_size` is given.

    Raises:
        UnmeasuredError: If the image is deeper than bytes and there is no `scale`.
        DataError: If the image cannot be decoded, or has another size although no `image_size` is given.
    """

    def pixels(image: Image | np.ndarray) -> np.ndarray:
        shallow = _of_bytes(image, scale, images.where(row))
        if image_size is None and shallow.size != (side, side):
            raise OptionError(
                f"{images.where(row)}: {shallow.width}x{shallow.height} pixels; images must be square and of one "
                f"size (the first is {side} wide): {images.advice}",
                "image_size",
            )
        if "transparency" in shallow.info:
            shallow = shallow.convert("RGBA")
        return np.asarray(_squared(shallow.convert("RGB" if channels == 3 else "L"), side))

    return _read(images, row, pixels).reshape(side, side, channels)


def _of_bytes(image: Image | np.ndarray, scale: Scale | None, where: str) -> Image:
    """Return the image with bytes for values, upright."""
    from PIL import Image as factory

    turn = None
    if not isinstance(image, np.ndarray):
        if scale is None and is_wide(image):
            raise UnmeasuredError(f"{where}: has colors of 16 bits, and others have not; convert it to 8 bits")
        image.load()
        turn = _turn(image)
        if not _is_deep(image):
            return image if turn is None else image.transpose(turn)
        image = values_of(image)
    if image.dtype == np.bool_:
        image = image * np.uint8(255)
    if image.dtype != np.uint8:
        if scale is None:
            raise UnmeasuredError(f"{where}: is deeper than 8 bits, as others are not; convert it to 8 bits")
        image = scale.to_bytes(image, where)
    shallow = factory.fromarray(image)
    return shallow if turn is None else shallow.transpose(turn)


def _turn(image: Image) -> Transpose | None:
    """Return what turns a photograph upright by its EXIF orientation, None if it is or says nothing legible."""
    from PIL.Image import Transpose

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = image.getexif().get(0x0112)
    except Exception:  # damaged metadata; the pixels are whole
        return None
    turns: dict[Any, Transpose] = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(orientation)


def _squared(image: Image, side: int) -> Image:
    """Resize the shorter side to `side` and crop the centre; the aspect ratio is kept."""
    from PIL import Image as factory

    if image.size == (side, side):
        return image
    ratio = side / min(image.size)
    width, height = (max(side, round(length * ratio)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    return image.resize((width, height), factory.Resampling.BILINEAR).crop((left, top, left + side, top + side))
