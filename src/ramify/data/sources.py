"""Opening a data set: by name, from a folder of images, Parquet files, a NumPy archive, or Hugging Face.

Every source becomes `Parts`: encoded images and raw labels of the training images, and of the validation and
test images where the source brings them. Nothing is decoded here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ramify.data.box_folders import box_folder
from ramify.data.folder_tables import table_folder
from ramify.data.folders import holds_images, image_folder
from ramify.data.hugging_face import hugging_face_folder
from ramify.data.mask_folders import mask_folder
from ramify.data.named import BY_FOLDER
from ramify.data.overlap import rows_apart
from ramify.data.parquet import parquet_files, parquet_folder
from ramify.data.part_names import assign, told_by
from ramify.data.parts import Parts, subfolders
from ramify.data.rows import Rows
from ramify.data.source import SOURCES, data_set_names, source_of
from ramify.data.spec import DataSpec
from ramify.errors import DataError, nearest
from ramify.files import expanded, matching
from ramify.imports import HINT

T = TypeVar("T")


def open_source(spec: DataSpec) -> Parts:
    """Open the data set of `spec` for training; test images are removed from its other parts.

    Raises:
        DataError: If there is none, it is damaged, or it leaves open what its images or labels are.
        MissingExtraError: If reading it takes a package that is not installed.
    """
    parts = _with_test(to_train(_open(spec.source, spec)), spec)
    return parts if parts.test is not None else parts.noting(*_beside(expanded(spec.source)))


def open_to_measure(spec: DataSpec) -> Parts:
    """Open the data set of `spec` as `open_source` does, for evaluation only."""
    return to_measure(_with_test(_open(spec.source, spec), spec))


def to_train(parts: Parts) -> Parts:
    """Return the parts, having checked that there are images to train on.

    Raises:
        DataError: If there are none.
    """
    if parts.train is None:
        raise DataError(parts.lacking)
    return parts


def to_measure(parts: Parts) -> Parts:
    """Return the parts for evaluation only: without a test part, all images become test images."""
    if parts.test is not None:
        return parts if parts.train is not None else replace(parts, validation=None)
    if parts.train is None or parts.validation is None:
        return replace(parts, train=None, validation=None, test=parts.train or parts.validation)
    note = f"{parts.name}: has no test part, so its {len(parts.validation.images)} validation images are measured"
    return replace(parts, train=None, validation=None, test=parts.validation).noting(note)


def _beside(path: Path) -> list[str]:
    """Return a note on other parts beside the folder of training images that was given, or a file of which was."""
    path = path if path.name else path.absolute()
    path = path.parent if path.is_file() else path  # a file in a folder train
    told = told_by(path.name)
    if told is None or told.part != "train" or not path.is_dir():
        return []
    held = [child.name for child in subfolders(path.parent) if child.name == path.name or _holds_data(child)]
    parts = assign(held, path.parent)
    if parts.pop("train", None) != path.name or not parts:
        return []
    names = " and ".join(str(path.parent / name) for name in parts.values())
    lie = "lies beside and is" if len(parts) == 1 else "lie beside and are"
    return [f"{names} {lie} not used; --data {path.parent} would"]


def _holds_data(path: Path) -> bool:
    return (path / "state.json").is_file() or holds_images(path) or any(path.rglob("*.parquet"))


def _with_test(parts: Parts, spec: DataSpec) -> Parts:
    """Add the test images that `spec` names."""
    if spec.test is None:
        return parts
    if expanded(spec.test).resolve() == expanded(spec.source).resolve():
        raise DataError(f"{spec.test}: `test` is the same as `source`; test images must not be trained on")
    other = to_measure(_open(spec.test, spec))
    return _apart(replace(parts, test=other.test).noting(*other.notes), spec)


def _apart(parts: Parts, spec: DataSpec) -> Parts:
    """Take the test images out of the other parts, where they are the same files or have the same bytes."""
    present = parts.present()
    test = present.pop("test").images
    gone = 0
    for name, part in present.items():
        if isinstance(part.images, Rows) or isinstance(test, Rows):
            continue  # equal rows are no proof that one is the other
        rows = _readable(spec.source, partial(rows_apart, part.images, test))
        if len(rows) == len(part.images):
            continue
        gone += len(part.images) - len(rows)
        parts = parts.having(name, part.chosen(rows) if rows else None)
    if not gone:
        return parts
    if "train" in present and parts.train is None:
        raise DataError(
            f"{spec.source}: all training images are test images too, in {spec.test}; nothing is left to train on"
        )
    note = f"{spec.source}: {gone} images are test images too, in {spec.test}, and taken out of the other parts"
    return parts.noting(note)


def _readable(source: object, read: Callable[[], T]) -> T:
    """Do what reads files; one that cannot be read becomes one line."""
    try:
        return read()
    except OSError as error:
        raise DataError(f"{error.filename or source}: cannot be read ({error.strerror or error})") from error


def _open(source: str, spec: DataSpec) -> Parts:
    entry = source_of(source)
    if entry is not None and not entry.make.suffix:
        return entry.make.read(source, spec)
    return _readable(source, lambda: _open_path(source, expanded(source), spec))


def _open_path(source: str, path: Path, spec: DataSpec) -> Parts:
    if path.is_dir():
        return _folder(path, spec)
    if path.is_file():
        entry = source_of(str(path))
        if entry is None:
            suffixes = " or ".join(other.make.suffix for other in SOURCES.entries() if other.make.suffix)
            raise DataError(
                f"{path}: a file of images or rows must be {suffixes}; else give a folder of images; {HINT}"
            )
        return entry.make.read(str(path), spec)
    if any(mark in source for mark in "*?["):
        return parquet_files(matching(Path(path.anchor), str(path.relative_to(path.anchor))), source, spec)
    if (name := source.lower()) in BY_FOLDER:
        raise DataError(
            f"{BY_FOLDER[name].title} cannot be had by name; {BY_FOLDER[name].wanted(name)}, from Python "
            f"DataSpec(source='/data/{name}', …)"
        )
    if os.sep in source or path.suffix:
        here = "" if path.is_absolute() else f" in {Path.cwd()}, where it was looked for"
        raise DataError(f"{source}: no such file or folder{here}")
    raise DataError(
        f"{source!r} is neither a folder or file nor a data set; {nearest(source, data_set_names())}, hf:NAME; {HINT}"
    )


def _folder(path: Path, spec: DataSpec) -> Parts:
    if spec.targets == "masks":
        return mask_folder(path)
    if spec.targets == "boxes":
        return box_folder(path)
    if any((path / marker).is_file() for marker in ("state.json", "dataset_dict.json")):
        return hugging_face_folder(path, spec)
    if (path / "val_data").is_file() and (path / "train_data_batch_1").is_file():
        raise DataError(
            f"{path}: holds the batches of downsampled ImageNet; as --data.root, beside --data imagenet16-120, it is "
            "read: the first 120 classes of those of 16x16 pixels, or with imagenet16 all"
        )
    if parts := parquet_folder(path, spec) or table_folder(path, spec):
        return parts
    inner = subfolders(path)
    turns_back = len(inner) == 1 and path.resolve().is_relative_to(inner[0].resolve())  # a link
    if len(inner) == 1 and not turns_back and not holds_images(path):  # a folder around one of those above
        return _folder(inner[0], spec)
    if spec.targets == "values":
        raise DataError(
            f"{path}: folders of images name classes, not values; give a table of values with a column of paths: "
            "--data TABLE.csv --data.image_column COLUMN"
        )
    return image_folder(path, spec.channel_axis)
