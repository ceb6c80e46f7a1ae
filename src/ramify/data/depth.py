"""Images deeper than 8 bits, with 16 or 32 bits or floats: one scale for the whole data set maps them to bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ramify.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

WHITES = (1.0, *(2.0**bits - 1 for bits in (8, 10, 12, 14, 16)))  # what floats are taken to reach to
OVERSHOOT = 1.01  # of floats that were resized
DARKEST = 1 / 64  # as largest float of a data set in 0..1: four of 256 levels would be left
FEW = 0.1  # of images may be nearly black
FEWEST = 64  # as largest float of a data set beyond 0..1: which range is meant would be a guess


class UnmeasuredError(DataError):
    """An image is deeper than 8 bits, and the range of the data set is not known."""


@dataclass(frozen=True)
class Scale:
    """How the values of deep images are mapped to bytes, the same for all images of a data set.

    Args:
        bits: Depth of integers; the upper eight bits are kept. None where none were measured, or only black ones.
        white: The float that becomes 255; None likewise.

    Raises:
        DataError: If a value is out of its range.
    """

    bits: int | None = None
    white: float | None = None

    def __post_init__(self) -> None:
        if not (self.bits is None or (type(self.bits) is int and 8 <= self.bits <= 64)):
            raise DataError(f"`bits` of a scale must be 8..64, got {self.bits!r}")
        if not (self.white is None or (isinstance(self.white, int | float) and 0 < self.white <= WHITES[-1] * 2)):
            raise DataError(f"`white` of a scale must be above 0 and at most {WHITES[-1] * 2:g}, got {self.white!r}")

    def __str__(self) -> str:
        kinds = [] if self.bits is None else [f"integers in 0..{2**self.bits - 1}"]
        return " and ".join(kinds if self.white is None else [*kinds, f"floats in 0..{self.white:g}"])

    def agrees(self, other: Scale) -> bool:
        """Return whether both scales give the same bytes for the kinds of images that both have measured."""
        same_bits = None in (self.bits, other.bits) or self.bits == other.bits
        if self.white is None or other.white is None:
            return same_bits
        return same_bits and max(self.white, other.white) <= OVERSHOOT * min(self.white, other.white)

    def to_bytes(self, values: np.ndarray, where: str) -> np.ndarray:
        """Map integers or floats of any shape to uint8.

        Raises:
            DataError: If they do not lie in the range that was measured.
        """
        floating = np.issubdtype(values.dtype, np.floating)
        bits, brightest = self.bits or 8, self.white or 1.0
        white = brightest if floating else 2**bits - 1
        if not (values.min() >= 0 and values.max() <= white):  # so written that NaN fails, too
            raise DataError(
                f"{where}: reaches from {values.min():g} to {values.max():g}, beyond 0..{white:g} as measured before; "
                "a data set has to give the same image every time"
            )
        if floating:
            return np.rint(values * (255 / brightest)).astype(np.uint8)
        return (values >> (bits - 8)).astype(np.uint8)


@dataclass
class Reach:
    """The smallest and the largest value of some images, and the images that have them."""

    least: float = np.inf
    greatest: float = -np.inf
    least_at: str = ""
    greatest_at: str = ""

    def add(self, other: Reach) -> None:
        """Extend the range by that of other images."""
        if other.least < self.least:
            self.least, self.least_at = other.least, other.least_at
        if other.greatest > self.greatest:
            self.greatest, self.greatest_at = other.greatest, other.greatest_at

    def __str__(self) -> str:
        return f"{self.least:g} to {self.greatest:g}"


def values_of(image: Image) -> np.ndarray:
    """Return the values of a deep image, with the signedness of TIFF files, which PIL gets wrong, corrected."""
    values = np.asarray(image)
    if is_signed(image):
        return values.view(np.int8)
    tags = getattr(image, "tag_v2", {})
    unsigned = values.dtype == np.int32 and tags.get(258) == (32,) and tags.get(339, (1,)) == (1,)
    return values.view(np.uint32) if unsigned else values


def is_signed(image: Image) -> bool:
    """Return whether the bytes of a TIFF file are signed."""
    return image.mode == "L" and getattr(image, "tag_v2", {}).get(339) == (2,)


def is_wide(image: Image) -> bool:
    """Return whether an unread image has several 16-bit channels, of which PIL reads the upper bytes only."""
    return len(image.getbands()) > 1 and any(";16" in str(part[3]) for part in getattr(image, "tile", ()))


class Extent:
    """The ranges of values of a data set's deep images, separate for integers and floats."""

    def __init__(self) -> None:
        self.integers, self.floats, self.upper = Reach(), Reach(), Reach()
        self.images, self.dim = 0, 0  # of floats, and how many of them end at 1
        self.not_finite = ""

    def add(self, values: np.ndarray, where: str) -> None:
        """Extend the ranges by the values of one image; bytes and booleans need no measuring."""
        if values.dtype in (np.uint8, np.bool_) or not values.size:
            return
        if np.issubdtype(values.dtype, np.integer):
            self.integers.add(Reach(int(values.min()), int(values.max()), where, where))
            return
        finite = values[np.isfinite(values)]
        if finite.size:
            least, greatest = float(finite.min()), float(finite.max())
            self.floats.add(Reach(least, greatest, where, where))
            self.images += 1
            self.dim += least < greatest <= OVERSHOOT
        if finite.size < values.size:
            self.not_finite = self.not_finite or where

    def add_upper(self, values: np.ndarray, where: str) -> None:
        """Extend the ranges by the upper bytes of an image with several 16-bit channels."""
        self.upper.add(Reach(int(values.min()), int(values.max()), where, where))

    def join(self, other: Extent) -> None:
        """Extend the ranges by those of other images."""
        self.integers.add(other.integers)
        self.floats.add(other.floats)
        self.upper.add(other.upper)
        self.images += other.images
        self.dim += other.dim
        self.not_finite = self.not_finite or other.not_finite

    def scale(self, known: Scale | None = None) -> Scale:
        """Return the scale for all of these images: as `known` from other data, else by their ranges.

        Integers count as 8, 10, 12, ... bits, the fewest that hold them all, and floats as 0..1, 0..255, 0..1023, ...
        0..65535. Steps this coarse give another part of the same pictures the same scale.

        Raises:
            DataError: If there are negative or infinite values or NaN, the range of floats can mean anything, or these
                images reach beyond what is known.
        """
        if self.not_finite:
            rest = f"the finite values reach from {self.floats}" if self.floats.least_at else "no value is finite"
            raise DataError(f"{self.not_finite}: holds NaN or infinity ({rest}); repair or remove it")
        if self.integers.least < 0:
            raise DataError(
                f"{self.integers.least_at}: integers must not be negative, and reach from {self.integers}; shift them "
                "to begin at 0"
            )
        if self.floats.least < 0:
            raise self._unclear(self.floats.least_at)
        if 0 <= self.upper.greatest < FEWEST - 1:
            raise DataError(
                f"{self.upper.greatest_at}: colors of 16 bits reach to {int(self.upper.greatest) * 256 + 255} at most, "
                f"and only {int(self.upper.greatest) + 1} steps of 256 would be left; convert the images to 8 bits"
            )
        known = known or Scale()
        scale = Scale(self._bits(known.bits), self._white(known.white))
        if scale.white is not None and scale.white > OVERSHOOT and self.dim > FEW * self.images:
            raise DataError(
                f"{self.dim} of {self.images} images of floats lie in 0..1 and would be black beside others in "
                f"0..{scale.white:g}, such as {self.floats.greatest_at or 'those trained on'}; bring all to one range"
            )
        return scale

    def _bits(self, known: int | None) -> int | None:
        greatest = int(max(self.integers.greatest, 0))
        if known is None:
            bits = max(8, greatest.bit_length())
            return bits + bits % 2 if greatest else None
        if greatest >= 2**known:
            raise self._beyond(self.integers, 2**known - 1)
        return known

    def _white(self, known: float | None) -> float | None:
        greatest = self.floats.greatest
        if greatest <= 0:
            return known
        if known is not None:
            if greatest > known * OVERSHOOT:
                raise self._beyond(self.floats, known)
            return max(known, greatest)
        for white in WHITES:
            if greatest <= white * OVERSHOOT:
                if (white > 1 and greatest < FEWEST) or 0 < greatest < DARKEST:
                    break
                return max(white, greatest)
        raise self._unclear(self.floats.greatest_at)

    @staticmethod
    def _beyond(reach: Reach, white: float) -> DataError:
        return DataError(
            f"{reach.greatest_at}: these images reach from {reach}, and those that the network was trained on were "
            f"taken for 0..{white:g}; bring them to that range"
        )

    def _unclear(self, where: str) -> DataError:
        return DataError(
            f"{where}: floats must lie in 0..1, 0..255 or 0..65535 and make use of it, before any normalization, and "
            f"reach from {self.floats}; scale them"
        )
