"""Masks: images whose values say of which class each pixel is.

Values may be bytes, 16 bits, indices of a palette, or integers in `.npy` files. Which of them are classes is known of
published data sets; of others the training masks are read once, and their values are the classes, in ascending order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ramify.data.augmentation import Augmentation, windows
from ramify.data.dataset import Data, Split
from ramify.data.encoded import RESIZED_BY_SPEC, Encoded, Form, opened, upright_size
from ramify.data.parts import Part, listed
from ramify.data.pixels import InMemory, Pixels, Streamed, arranged_pixels
from ramify.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

IGNORED = 255
"""The number of pixels that do not count."""
MOST_CLASSES = 255


@dataclass(frozen=True)
class Masks:
    """The masks of a part, one for each of its images.

    Args:
        files: Encoded masks.
        codes: Value → number of its class, of a published data set; values that are not there do not count. None where
            the training masks say which values there are.
    """

    files: Encoded
    codes: Mapping[int, int] | None = None


def values_of(masks: Encoded, row: int) -> np.ndarray:
    """Return the values of a mask, (H, W) integers, as they are in its file.

    Raises:
        DataError: If it cannot be read, or has more than one value for a pixel.
    """

    def read(mask: Image | np.ndarray) -> np.ndarray:
        values = mask if isinstance(mask, np.ndarray) else np.asarray(mask)
        if values.ndim == 3 and bool((values[..., :1] == values[..., :3]).all()):  # grey, written as colors
            values = values[..., 0]
        if values.ndim != 2:
            raise DataError(
                f"{masks.where(row)}: is colored, and a mask has one number for every pixel; write it with a palette, "
                "or as grey values"
            )
        if values.dtype == np.bool_:
            return values.astype(np.uint8)
        if not np.issubdtype(values.dtype, np.integer):
            whole = values.astype(np.int64)
            if not bool((whole == values).all()):
                raise DataError(f"{masks.where(row)}: has values that are not whole, and classes are whole numbers")
            return whole
        return values

    return opened(masks, row, read)


class ClassMaps:
    """Masks as images of the numbers of classes, of the size that their images are brought to.

    Args:
        masks: Encoded masks.
        images: What they are masks of.
        codes: Value → number of its class.
        ignored: Value of pixels that do not count; None where every value that is no class is left out.
        size: (H, W) that images are resized to, cut as they are; None where all keep theirs.
    """

    advice = RESIZED_BY_SPEC

    def __init__(
        self,
        masks: Encoded,
        images: Encoded,
        codes: Mapping[int, int],
        ignored: int | None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.masks, self.images, self.codes, self.ignored, self.size = masks, images, codes, ignored, size

    def __len__(self) -> int:
        return len(self.masks)

    def where(self, row: int) -> str:
        """Return a description of where mask `row` is, for messages."""
        return self.masks.where(row)

    def open(self, row: int) -> np.ndarray:
        """Return the numbers of classes of mask `row`, (H, W) uint8."""
        values = values_of(self.masks, row)
        check_size(self.masks, self.images, row, values)
        numbers = np.full(values.shape, IGNORED, dtype=np.uint8)
        for value in np.unique(values).tolist():
            if value in self.codes:
                numbers[values == value] = self.codes[value]
            elif self.ignored is not None and value != self.ignored:
                known = listed([str(code) for code in self.codes], 8)
                raise DataError(
                    f"{self.where(row)}: has the value {value}, which no training mask has ({known}); if it does not "
                    f"count, --data.ignore_label {value}"
                )
        return numbers if self.size is None else _covered(numbers, self.size)


def check_size(masks: Encoded, images: Encoded, row: int, values: np.ndarray) -> None:
    """Raise `DataError` unless a mask has as many pixels as its image."""
    height, width = upright_size(images, row)
    if values.shape != (height, width):
        raise DataError(
            f"{masks.where(row)}: the mask has {values.shape[0]}x{values.shape[1]} pixels, and its image "
            f"{height}x{width}"
        )


def _covered(numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize numbers (H, W) to cover a size, nearest values, and crop the center, as images are."""
    high, wide = numbers.shape
    ratio = max(size[1] / wide, size[0] / high)
    scaled = max(size[0], round(high * ratio)), max(size[1], round(wide * ratio))
    rows, columns = (
        np.minimum(((np.arange(side) + (whole - side) // 2 + 0.5) * old / whole).astype(np.int64), old - 1)
        for side, whole, old in zip(size, scaled, numbers.shape, strict=True)
    )
    return numbers[rows[:, None], columns[None, :]]


def classes_of(
    present: Mapping[str, Part], names: Sequence[str] | None, ignored: int
) -> tuple[tuple[str, ...], dict[int, int] | None]:
    """Return the names of the classes, and value → number where the training masks say it.

    Args:
        present: The parts, by name.
        names: Of the classes, where the source knows them.
        ignored: Value that does not count.

    Raises:
        DataError: If a part has no masks, or there are fewer than two classes.
    """
    for part in present.values():
        if part.masks is None:
            raise DataError(
                f"{part.images.where(0)}: comes without a mask, which segmentation learns from; wanted are a folder of "
                "images and one of masks beside each other, VOC, Cityscapes, ADE20K, or `shapes`"
            )
    training = next(iter(present.values()))
    masks = training.masks
    assert masks is not None
    if masks.codes is not None:
        assert names is not None
        return tuple(names), None
    found: dict[int, int] = {}
    for row in range(len(masks.files)):
        values = values_of(masks.files, row)
        check_size(masks.files, training.images, row, values)  # type: ignore[arg-type]
        for value in np.unique(values).tolist():
            found.setdefault(value, row)
    found.pop(ignored, None)
    first = masks.files.where(0)
    if names is not None:
        for value, row in found.items():
            if not 0 <= value < len(names):
                raise DataError(
                    f"{masks.files.where(row)}: has the value {value}, and {len(names)} classes are named, 0 to "
                    f"{len(names) - 1}; if it does not count, --data.ignore_label {value}"
                )
        return tuple(names), {number: number for number in range(len(names))}
    if len(found) < 2:
        only = "".join(map(str, found)) or "nothing"
        raise DataError(
            f"{first}: the masks hold {only} beside {ignored}, which does not count, and segmentation needs two classes"
            + ("; if 255 is one, --data.ignore_label -1" if ignored == IGNORED else "")
        )
    if len(found) > MOST_CLASSES:
        raise DataError(
            f"{first}: the masks hold {len(found)} different values, and {MOST_CLASSES} classes are the most; are they "
            "masks?"
        )
    return tuple(str(value) for value in sorted(found)), {value: at for at, value in enumerate(sorted(found))}


class SegmentedSplit(Split):
    """A split whose targets are the numbers of the classes of all pixels, (B, H, W) int64."""

    _masks: Pixels

    def __init__(self, *arguments: Any, masks: Pixels) -> None:
        super().__init__(*arguments)
        self._masks = masks

    def _targets(self, chunks: Sequence[Tensor], augmentation: Augmentation) -> Any:
        """Yield for every batch what returns its targets, once it is known how its images are cut and mirrored."""
        crop, size = augmentation.crop, self._masks.size

        def cut(masks: Tensor, rows: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda draws: windows(masks, rows, draws, size=size, crop=crop, fill=IGNORED)[..., 0].long()

        return (cut(masks, rows) for masks, rows in self._masks.padded(chunks, crop))


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentedData(Data):
    """A data set with a mask for every image."""

    @property
    def targets(self) -> str:
        """The kind of targets: `masks`."""
        return "masks"

    def _split(self, name: str, inputs: Any, labels: Any, rows: Tensor) -> Split:
        none = torch.zeros(len(inputs), dtype=torch.int64)
        return SegmentedSplit(name, inputs, none, rows, self.mean, self.std, masks=labels)

    def numbered(self, classes: Sequence[str]) -> SegmentedData:
        """Return the same masks with classes numbered as for a network, which was trained on all of them."""
        table = torch.full((256,), IGNORED, dtype=torch.uint8)
        table[: len(self.classes)] = torch.tensor([list(classes).index(name) for name in self.classes])
        stores: dict[str, Any] = {}
        for name, (images, masks) in self._stores.items():
            kept: Any = masks
            if isinstance(kept, InMemory):
                renumbered: Pixels = InMemory(table.to(kept.device)[kept[:].long()])
            else:
                renumbered = kept.changed(_Renumbered(kept.images, table.numpy()))
            stores[name] = (images, renumbered)
        return replace(self, classes=tuple(classes), _stores=stores)


class _Renumbered:
    """Class maps with other numbers."""

    advice = RESIZED_BY_SPEC

    def __init__(self, maps: Encoded, table: np.ndarray) -> None:
        self.maps, self.table = maps, table

    def __len__(self) -> int:
        return len(self.maps)

    def where(self, row: int) -> str:
        return self.maps.where(row)

    def open(self, row: int) -> np.ndarray:
        return self.table[np.asarray(self.maps.open(row))]


def load_masks(
    maps: Encoded, pool: Tensor, test: Tensor, form: Form, device: torch.device, streamed: bool
) -> tuple[Pixels, Pixels]:
    """Decode the masks of the training images `pool` (n,) and of the `test` images (m,), or set up streaming them."""
    form = replace(form, channels=1)
    if streamed:
        return Streamed(maps, pool, form, device), Streamed(maps, test, form, device)
    first, second = (arranged_pixels(maps, rows, form) for rows in (pool, test))
    return InMemory(first.to(device)), InMemory(second.to(device))
