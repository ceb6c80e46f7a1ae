"""NumPy archives of images or rows: `images` and `labels`, or `x_train`, `y_train`, `x_test`, `y_test` as of Keras.

Sizes are read in the headers, and bounded, before any array is; nothing is unpickled.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ramify.data.arrays import Header, native, read_header
from ramify.data.labeled_arrays import check_arrays, part_of_arrays
from ramify.data.part_names import IMAGE_KEYS, LABEL_KEYS, USUAL, told_by
from ramify.data.parts import Parts, listed
from ramify.data.pixels import memory_limit
from ramify.data.source import source
from ramify.data.spec import DataSpec, named_columns
from ramify.errors import DataError, OptionError, nearest
from ramify.reading import shown

_CLASS_NAMES = ("class_names", "label_names", "classes", "names")


@source("npz", suffix=".npz")
def npz_file(given: str, spec: DataSpec) -> Parts:
    """Images and labels in a NumPy archive, with those of its other parts.

    Args:
        given: The file.
        spec: Names the arrays, as `image_column` and `label_column`, where they are others than the usual ones.

    Raises:
        DataError: If it is damaged or too large, or leaves open which arrays are meant.
    """
    path = Path(given)
    headers = _readable(path, lambda: dict(_headers(path)))
    pairs = _pairs(path, headers, spec)
    class_names = next((name for name in _CLASS_NAMES if name in headers and headers[name].dtype.kind in "US"), None)
    used = [name for pair in pairs.values() for name in pair] + ([class_names] if class_names else [])
    size = sum(headers[name].bytes for name in used)
    if size > memory_limit:
        raise DataError(
            f"{path}: its arrays take {size / 2**30:,.1f} GiB, and {memory_limit / 2**30:g} GiB at most are read from "
            "such a file; write bytes (uint8), or image files in folders"
        )
    for images, labels in pairs.values():
        of_images, of_labels = headers[images], headers[labels].shape
        where = f"{path}, {shown(images)}"
        check_arrays(where, (of_images.shape, of_images.dtype), of_labels, shown(labels), spec)
    arrays = _readable(path, lambda: _arrays(path, used))
    names = tuple(map(str, _texts(arrays[class_names]).ravel().tolist())) if class_names else None
    parts = {
        part: part_of_arrays(arrays[images], _labels(arrays[labels]), str(path), spec)
        for part, (images, labels) in pairs.items()
    }
    left = [name for name in headers if name not in used]
    return Parts(
        path.stem,
        parts.get("train"),
        parts.get("validation"),
        parts.get("test"),
        names,
        (f"{path}: the arrays {listed(left)} are not used",) if left else (),
        f"{path}: has no array of training images, such as x_train; its arrays: {listed(list(headers))}",
    )


# Which arrays


def _pairs(path: Path, headers: Mapping[str, Header], spec: DataSpec) -> dict[str, tuple[str, str]]:
    """Return the names of images and labels of each part."""
    images = _named(path, headers, spec.image_column, "image_column", (*IMAGE_KEYS, "data"))
    asked = named_columns(spec.label_column or (), headers, "label_column")
    if len(asked) > 1:
        raise OptionError(f"{path}: the labels are one array, (N,) or (N, K), got {listed(asked)}", "label_column")
    labels = _named(path, headers, next(iter(asked), None), "label_column", LABEL_KEYS)
    pairs = {part: (images[part], labels[part]) for part in USUAL if part in images and part in labels}
    if not pairs:
        raise OptionError(
            f"{path}: has no images and labels as x_train and y_train, or images and labels; its arrays: "
            f"{listed(list(headers)) or 'none'}; name others by --data.image_column and --data.label_column",
            "image_column",
        )
    if "train" in images and "train" not in pairs:
        raise OptionError(
            f"{path}: {images['train']!r} has no labels beside it; its arrays: {listed(list(headers))}; name them by "
            "--data.label_column",
            "label_column",
        )
    return pairs


def _named(
    path: Path, headers: Mapping[str, Header], asked: str | None, option: str, usual: tuple[str, ...]
) -> dict[str, str]:
    """Return part → name of the array that holds something, asked for by its name or known by usual ones.

    An array whose name tells no part is for training.
    """
    names_by_part: dict[str, list[str]] = {}
    for name in headers:
        told = told_by(name)
        rest = name if told is None else f"{name[: told.start]}{name[told.end :]}".strip("_-. ")
        if (name == asked or rest == asked) if asked else rest.casefold() in usual:
            names_by_part.setdefault("train" if told is None else told.part, []).append(name)
    if asked and not names_by_part:
        raise OptionError(f"{path}: has no array {shown(asked)!r}; {nearest(asked, headers)}", option)
    for part, names in names_by_part.items():
        if len(names) > 1:
            raise OptionError(
                f"{path}: {listed(names)} could all be it for {part}; say which by --data.{option}", option
            )
    return {part: names[0] for part, names in names_by_part.items()}


# Reading


def _readable(path: Path, read: Any) -> Any:
    try:
        return read()
    except (DataError, OSError):
        raise
    except Exception as error:  # zipfile, zlib and NumPy fail in ways without number
        raise DataError(f"{path}: not a whole .npz file ({' '.join(str(error).split())[:120]})") from error


def _headers(path: Path) -> Iterator[tuple[str, Header]]:
    """Yield name and header of every array."""
    earlier: set[str] = set()
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name == member.filename:
                continue
            if name in earlier:
                raise DataError(f"{path}: has two arrays {shown(name)!r}")
            earlier.add(name)
            with archive.open(member) as file:
                yield name, read_header(file, member.file_size, f"{path}, {shown(name)}")


def _arrays(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in names}
    return {name: native(array) for name, array in arrays.items()}


def _texts(array: np.ndarray) -> np.ndarray:
    return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array


def _labels(labels: np.ndarray) -> list[Any]:
    values: list[Any] = _texts(labels).tolist()
    return values
