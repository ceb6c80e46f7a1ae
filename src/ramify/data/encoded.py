"""Where single images come from: arrays, files, tables, data sets of PyTorch. All give a PIL image by its row."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch

from ramify.errors import DataError

if TYPE_CHECKING:
    import pyarrow
    from PIL.Image import Image

T = TypeVar("T")

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "F"})


class Encoded(Protocol):
    """A sequence of images that are not decoded yet."""

    def __len__(self) -> int: ...

    def open(self, row: int) -> Image:
        """Return image `row`; its pixels may still be unread."""
        ...

    def where(self, row: int) -> str:
        """Return how to find image `row`, for messages."""
        ...


class Arrays:
    """Images that are an array already: `pixels` (N, H, W) or (N, H, W, C) uint8."""

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

    def __init__(self, dataset: Any, column: str, name: str) -> None:
        self.dataset, self.column, self.name = dataset, column, name

    def __len__(self) -> int:
        return len(self.dataset)

    def open(self, row: int) -> Image:
        """Return image `row`."""
        return _open(self.dataset[row][self.column], Path())

    def where(self, row: int) -> str:
        """Return how to find image `row`, for messages."""
        return f"{self.name}, row {row}"


class Items:
    """The images of a map-style `torch.utils.data.Dataset` of (image, label)."""

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset, self.name = dataset, name

    def __len__(self) -> int:
        return len(self.dataset)

    def open(self, row: int) -> Image:
        """Return image `row`."""
        from PIL import Image

        image = self.dataset[row][0]
        # A copy, because the reader closes what it is given, and this image is the data set's own.
        return image.copy() if isinstance(image, Image.Image) else Image.fromarray(_to_bytes(image))

    def where(self, row: int) -> str:
        """Return how to find image `row`, for messages."""
        return f"{self.name}, item {row}"


class Joined:
    """Several sequences of images, one after the other."""

    def __init__(self, parts: Sequence[Encoded]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0] + [len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _find(self, row: int) -> tuple[Encoded, int]:
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.parts[part], row - int(self.starts[part])

    def open(self, row: int) -> Image:
        """Return image `row`."""
        part, row = self._find(row)
        return part.open(row)

    def where(self, row: int) -> str:
        """Return how to find image `row`, for messages."""
        part, row = self._find(row)
        return part.where(row)


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


def _to_bytes(image: Any) -> np.ndarray:
    """Map a tensor or array, HW, HWC or CHW, uint8 or float in 0..1, to uint8 (H, W) or (H, W, 3 or 4)."""
    array = np.asarray(image.detach().cpu() if isinstance(image, torch.Tensor) else image)
    if array.ndim == 3 and _channels_first(array.shape, isinstance(image, torch.Tensor)):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ValueError(f"shape {tuple(array.shape)} is none of HW, CHW and HWC with 1, 3 or 4 channels")
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # so written that NaN fails, too
            raise ValueError(
                f"floats must lie in 0..1, before any normalisation, and reach from {array.min():g} to {array.max():g}"
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"images are uint8, or floats in 0..1, not {array.dtype}")
    return np.ascontiguousarray(array)


def _channels_first(shape: tuple[int, ...], tensor: bool) -> bool:
    """Tell CHW from HWC; a tiny image can be both, and then a tensor is CHW and an array HWC."""
    first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
    if first and last:
        return shape[1] == shape[2] and (tensor or shape[0] != shape[1])
    return first


def _read(images: Encoded, row: int, use: Callable[[Image], T]) -> T:
    """Apply `use` to image `row`; whatever goes wrong becomes one line that says where."""
    try:
        with images.open(row) as image:
            return use(image)
    except DataError:
        raise
    except Exception as error:  # damaged files make decoders fail in ways without number
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{images.where(row)}: not a readable image ({reason}); repair or remove it") from error


def probe(images: Encoded, rows: Sequence[int], image_size: int | None) -> tuple[int, int]:
    """Return (side in pixels, channels) of the images `rows`, reading no more headers than needed.

    The side is `image_size`, else that of the first image. One coloured image makes all of them coloured.
    """
    side = image_size or _read(images, rows[0], lambda image: image.size)[0]
    if isinstance(images, Arrays):
        return side, 1 if images.pixels.ndim == 3 else 3
    coloured = any(_read(images, row, lambda image: image.mode not in GREY_MODES) for row in rows)
    return side, 3 if coloured else 1


def decode(images: Encoded, row: int, side: int, channels: int, image_size: int | None) -> np.ndarray:
    """Return image `row` as (side, side, channels) uint8, resized and cropped only if `image_size` is given.

    Raises:
        DataError: If the image cannot be decoded, or has another size although no `image_size` is given.
    """

    def pixels(image: Image) -> np.ndarray:
        if image.mode.startswith("I"):  # 16 bits per pixel; PIL would clip instead of scaling
            from PIL import Image as factory

            image = factory.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
        if "transparency" in image.info:
            image = image.convert("RGBA")
        return np.asarray(_squared(image.convert("RGB" if channels == 3 else "L"), side))

    def checked(image: Image) -> np.ndarray:
        if image_size is None and image.size != (side, side):
            raise DataError(
                f"{images.where(row)}: {image.width}x{image.height} pixels; images must be square and of one "
                f"size (the first is {side} wide), or set `image_size`"
            )
        return pixels(image)

    return _read(images, row, checked).reshape(side, side, channels)


def _squared(image: Image, side: int) -> Image:
    """Resize the shorter side to `side` and crop the centre; the aspect ratio is kept."""
    from PIL import Image as factory

    if image.size == (side, side):
        return image
    ratio = side / min(image.size)
    width, height = (max(side, round(length * ratio)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    return image.resize((width, height), factory.Resampling.BILINEAR).crop((left, top, left + side, top + side))
