"""The specification of a data set in plain values, for YAML, JSON and the command line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.errors import DataError, nearest

MAX_SIDE = 8192
"""Largest side in pixels that images are brought to."""

SPLITS = ("auto", "random", "ordered", "nasbench201")

AXES = ("first", "last")

TARGETS = ("classes", "values", "masks", "boxes")


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """All that determines which images, or rows of a table, a search uses.

    Args:
        source: A name such as digits or cifar10 (docs/data.md), a folder of images with one subfolder per class or a
            table of their labels, a Parquet file (or folder or glob of them), another file with images or rows
            (docs/data.md), or a Hugging Face data set: `hf:NAME`, a clone of it, or a folder written by `save_to_disk`.
        targets: What is learned: `classes`; `values`, which are numbers, one or several for each image or row;
            `masks`, the class of every pixel; or `boxes` around objects.
        test: The file or folder of the test images, when it is another one; images that are also in `source` are
            taken out there. By themselves are found: `X-test.parquet` beside `X-train.parquet`, the subfolders
            train, val and test of an image folder, by these names or others (docs/data.md), and the splits of a
            Hugging Face data set. Where there is none, a part of the training images is held out.
        validation_is_test: Whether the validation images of a source without test images are what networks are tested
            on, as is usual for ImageNet; `search_validation` is then a part of the training images.
        root: Folder of downloads, or of files that were fetched for a name. Default: the environment variable
            RAMIFY_DATA, else ~/.cache/ramify.
        download: Whether missing files may be downloaded.
        image_column: Column of the images in a table, encoded ones or names of files. Default: the only one that can
            hold them. Or the array of the images in a file of arrays.
        label_column: Column, or array, of the labels. Default: `label`, else the only column of integers; where rows
            are read, the only one with a usual name such as target, class or y. Values may be in several columns: a
            list, or names with commas between them.
        feature_columns: Columns of a table whose numbers are the inputs, written as several label columns are. Default:
            all but the labels.
        channel_axis: Where the channels of arrays stand, `first` or `last`; for shapes that do not tell it
            (docs/data.md).
        image_size: What images are brought to, in pixels: the side of squares, or height and width, as 24,16. They are
            resized until they cover it, then the center is cropped; those with boxes are resized to fit into it, with
            black beside or below. Needed when images differ in size. At most 8192.
        ignore_label: The value of pixels in masks that do not count; -1 where all values are classes.
        subset: Use this many training images, the same number of each class as far as possible, and at most as
            many test images.
        test_fraction: Share of each class that is held out for testing when the source has no test images.
            Which ones does not depend on `seed`.
        validation_fraction: Share of the training images that is `search_validation`; 0.5 are halves.
        split: `random` halves the training images class by class; `ordered` searches on the first of them and
            validates on the last, as the program of CDARTS does (classes have to be mixed); `nasbench201` takes the
            fixed lists of that benchmark; `auto` takes the validation images that the source brings, else `random`.
        split_file: Index lists to use instead, in the format of the AutoDL-Projects repository or plain: JSON with
            `train` and `valid` (both within the training images), or `xvalid` and `xtest` (within the test
            images, as for CIFAR-100 in NAS-Bench-201).
        seed: Seed of subset and split, independent of the seed of the run.

    Raises:
        DataError: If a value is out of its range.
    """

    source: str = "digits"
    targets: str = "classes"
    test: str | None = None
    validation_is_test: bool = False
    root: str | None = None
    download: bool = True
    image_column: str | None = None
    label_column: str | tuple[str, ...] | None = None
    feature_columns: str | tuple[str, ...] | None = None
    channel_axis: str | None = None
    image_size: int | tuple[int, int] | None = None
    ignore_label: int = 255
    subset: int | None = None
    test_fraction: float = 0.2
    validation_fraction: float = 0.5
    split: str = "auto"
    split_file: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise DataError(f"unknown split {self.split!r}: {nearest(self.split, SPLITS)}")
        if self.targets not in TARGETS:
            raise DataError(f"unknown targets {self.targets!r:.40}: {nearest(str(self.targets), TARGETS)}")
        for name in ("label_column", "feature_columns"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                object.__setattr__(self, name, _names(value, name))
        if self.split in ("random", "ordered") and self.split_file is not None:
            raise DataError(f"`split_file` gives the split, so `split` cannot be {self.split!r}; leave it 'auto'")
        for name in ("test_fraction", "validation_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"`{name}` must be at least 0 and below 1, got {getattr(self, name)}")
        if not (type(self.ignore_label) is int and -1 <= self.ignore_label < 2**32):
            raise DataError(f"`ignore_label` must be a value of pixels, or -1, got {self.ignore_label!r:.40}")
        if self.channel_axis is not None and self.channel_axis not in AXES:
            raise DataError(f"unknown channel_axis {self.channel_axis!r}: {nearest(self.channel_axis, AXES)}")
        if self.subset is not None:
            _check_count("subset", self.subset)
        for name in ("source", "test"):
            if getattr(self, name) == "":
                raise DataError(f"`{name}` is empty; give a name or a path, `.` for this folder")
        if self.image_size is not None:
            object.__setattr__(self, "image_size", _image_size(self.image_size))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that images are resized to; None where they keep theirs."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size


def _image_size(given: Any) -> int | tuple[int, int]:
    """Return a size in the one form that it has: the side of a square, height and width of a rectangle."""
    sides = tuple(given) if isinstance(given, list | tuple) else (given, given)
    if len(sides) != 2:
        raise DataError(f"`image_size` must be a side, or height and width as 24,16, got {given!r:.60}")
    for side in sides:
        _check_count("image_size", side)
        if side > MAX_SIDE:
            raise DataError(f"`image_size` must be at most {MAX_SIDE}, got {side}")
    height, width = sides
    return height if height == width else (height, width)


def _check_count(name: str, value: Any) -> None:
    if not (isinstance(value, int) and value >= 1):
        what = "be at least 1" if isinstance(value, int) else "be a whole number"
        raise DataError(f"`{name}` must {what}, got {value!r}")


def _names(value: Any, name: str) -> tuple[str, ...]:
    """Return several names of columns as YAML and Python give them."""
    if not isinstance(value, Sequence) or not value or not all(isinstance(one, str) for one in value):
        raise DataError(f"`{name}` must be a name, or a list of names, got {value!r:.60}")
    if twice := next((one for one in value if value.count(one) > 1), None):
        raise DataError(f"`{name}` has {twice!r:.60} twice; name every column once")
    return tuple(value)


def named_columns(asked: str | tuple[str, ...], known: Collection[str], option: str) -> tuple[str, ...]:
    """Return the columns that an `option` names; a text that is none of the `known` may list several with commas."""
    if not isinstance(asked, str):
        return asked
    return (asked,) if asked in known else _names([name.strip() for name in asked.split(",")], option)


def spec_of(data: Any) -> DataSpec:
    """Return the specification of data given by a name, a path or a specification.

    Raises:
        DataError: If it is a data set in Python, which other processes could not find again.
    """
    if isinstance(data, DataSpec):
        return data
    if isinstance(data, str | Path):
        return DataSpec(source=str(data))
    raise DataError(
        f"{type(data).__name__}: data is a name, a path or a DataSpec here, because other processes load it, too; "
        "write a data set in Python as a folder of images or a Parquet file"
    )
