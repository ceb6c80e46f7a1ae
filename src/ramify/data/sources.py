"""Finding a data set: by name, as a folder of images, in Parquet files, in a NumPy archive, or from Hugging Face.

Every source becomes `Parts`: encoded images and raw labels of the training images, and of the validation and
test images where the source brings them. Nothing is decoded here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ramify.data.encoded import RESIZED_BY_SPEC, Arrays, Chosen, HuggingFace
from ramify.data.folders import holds_images, image_folder
from ramify.data.labels import read_label
from ramify.data.npz import npz_file
from ramify.data.overlap import rows_apart
from ramify.data.parquet import column, parquet_file, parquet_files, parquet_folder
from ramify.data.part_names import assign, told_by
from ramify.data.parts import Part, Parts, listed, subfolders
from ramify.data.spec import DataSpec
from ramify.errors import DataError, MissingExtraError, nearest
from ramify.files import expanded, matching

T = TypeVar("T")


def open_source(spec: DataSpec) -> Parts:
    """Find the data set of `spec`, with images to train on; its test images are in no other part.

    Raises:
        DataError: If there is none, it is damaged, or it leaves open what its images or labels are.
        MissingExtraError: If reading it takes a package that is not installed.
    """
    parts = _with_test(to_train(_open(spec.source, spec)), spec)
    return parts if parts.test is not None else parts.noting(*_beside(expanded(spec.source)))


def open_to_measure(spec: DataSpec) -> Parts:
    """Find the data set of `spec`, as `open_source` does, where nothing will be trained on it."""
    return to_measure(_with_test(_open(spec.source, spec), spec))


def to_train(parts: Parts) -> Parts:
    """Return data that has images to train on.

    Raises:
        DataError: If there are none.
    """
    if parts.train is None:
        raise DataError(parts.lacking)
    return parts


def to_measure(parts: Parts) -> Parts:
    """Return data that nothing is trained on: all images are test images, where there is no part for testing."""
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
    found = assign(held, path.parent)
    if found.pop("train", None) != path.name or not found:
        return []
    names = " and ".join(str(path.parent / name) for name in found.values())
    lie = "lies beside and is" if len(found) == 1 else "lie beside and are"
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
        rows = _readable(spec.source, partial(rows_apart, part.images, test))
        if len(rows) == len(part.images):
            continue
        gone += len(part.images) - len(rows)
        parts = parts.having(
            name, Part(Chosen(part.images, rows), [part.labels[row] for row in rows]) if rows else None
        )
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
    if source in NAMED:
        return NAMED[source](spec)
    if source.startswith("hf:"):
        return _hugging_face_hub(source.removeprefix("hf:"), spec)
    return _readable(source, lambda: _open_path(source, expanded(source), spec))


FILES: dict[str, Callable[[Path, DataSpec], Parts]] = {".parquet": parquet_file, ".npz": npz_file}
"""What reads a single file, by the end of its name."""


def _open_path(source: str, path: Path, spec: DataSpec) -> Parts:
    if path.is_dir():
        return _folder(path, spec)
    if path.is_file():
        if path.suffix not in FILES:
            raise DataError(f"{path}: a file of images must be {' or '.join(FILES)}; else give a folder of images")
        return FILES[path.suffix](path, spec)
    if any(mark in source for mark in "*?["):
        return parquet_files(matching(Path(path.anchor), str(path.relative_to(path.anchor))), source, spec)
    if (name := source.lower()) in BY_FOLDER:
        raise DataError(
            f"{BY_FOLDER[name]} cannot be had by name; give its folder (train/ and val/) with --data, e.g. --data "
            f"/data/{name} --data.image_size 224, from Python DataSpec(source='/data/{name}', image_size=224)"
        )
    if os.sep in source or path.suffix:
        here = "" if path.is_absolute() else f" in {Path.cwd()}, where it was looked for"
        raise DataError(f"{source}: no such file or folder{here}")
    raise DataError(f"{source!r} is neither a folder or Parquet file nor a data set; {nearest(source, NAMED)}, hf:NAME")


def _folder(path: Path, spec: DataSpec) -> Parts:
    if any((path / marker).is_file() for marker in ("state.json", "dataset_dict.json")):
        return _hugging_face_folder(path, spec)
    if parts := parquet_folder(path, spec):
        return parts
    inner = subfolders(path)
    turns_back = len(inner) == 1 and path.resolve().is_relative_to(inner[0].resolve())  # a link
    if len(inner) == 1 and not turns_back and not holds_images(path):  # a folder around one of those above
        return _folder(inner[0], spec)
    return image_folder(path)


# Named data sets


def downloads(root: str | None = None) -> Path:
    """Return the folder of downloads: `root`, else what RAMIFY_DATA says, else the usual one."""
    return expanded(root or os.environ.get("RAMIFY_DATA") or "~/.cache/ramify")


def _digits(spec: DataSpec) -> Parts:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), values 0..16
    names = tuple(str(name) for name in digits.target_names)
    return Parts("digits", Part(Arrays(pixels, "digits"), digits.target.tolist()), class_names=names)


def _torchvision(name: str, class_name: str) -> Callable[[DataSpec], Parts]:
    def read(spec: DataSpec) -> Parts:
        from torchvision import datasets

        root = downloads(spec.root)
        parts, names = [], None
        for train in (True, False):
            which: dict[str, Any] = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
            try:
                if spec.download:
                    root.mkdir(parents=True, exist_ok=True)
                data = getattr(datasets, class_name)(str(root), download=spec.download, **which)
            except Exception as error:  # no network is an OSError, a RuntimeError, or an error of http or tarfile
                reason = " ".join(str(error).split())
                raise DataError(
                    f"{name}: the download to {root} failed ({reason}); connect, or copy torchvision's files there"
                    if spec.download
                    else f"{name}: not found in {root}; allow `download`, or copy torchvision's files there"
                ) from error
            pixels = np.asarray(data.data)
            if name == "svhn":
                pixels = pixels.transpose(0, 2, 3, 1)
            labels = data.labels if name == "svhn" else data.targets
            parts.append(Part(Arrays(pixels, name), [int(label) for label in labels]))
            names = None if name == "mnist" else getattr(data, "classes", None)  # MNIST's are like "7 - seven"
            names = tuple(names or map(str, range(10)))
        return Parts(name, parts[0], test=parts[1], class_names=names)

    return read


NAMED: dict[str, Callable[[DataSpec], Parts]] = {
    "digits": _digits,
    "cifar10": _torchvision("cifar10", "CIFAR10"),
    "cifar100": _torchvision("cifar100", "CIFAR100"),
    "mnist": _torchvision("mnist", "MNIST"),
    "fashion-mnist": _torchvision("fashion-mnist", "FashionMNIST"),
    "svhn": _torchvision("svhn", "SVHN"),
}


BY_FOLDER = {"imagenet": "ImageNet"}
"""Data sets that everybody has to fetch on their own: the name that stands for them, and what they are called."""


# Hugging Face data sets


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "datasets", "A Hugging Face data set") from error
    return datasets


def _hugging_face_hub(name: str, spec: DataSpec) -> Parts:
    datasets = _datasets()
    try:
        config = datasets.DownloadConfig(local_files_only=not spec.download)
        found = datasets.load_dataset(name, cache_dir=spec.root, download_config=config)
    except Exception as error:  # the hub, its cache and the network each have exceptions of their own
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"hf:{name}: cannot be loaded ({reason}); check the name and the network") from error
    return _hugging_face(found, name.rsplit("/", 1)[-1], f"hf:{name}", spec)


def _hugging_face_folder(path: Path, spec: DataSpec) -> Parts:
    datasets = _datasets()
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # Arrow, JSON and file errors alike: the folder is not whole
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a complete folder of save_to_disk ({reason})") from error
    return _hugging_face(found, path.name, str(path), spec)


def _hugging_face(found: Any, name: str, where: str, spec: DataSpec) -> Parts:
    def read(dataset: Any, where: str) -> tuple[Part, tuple[str, ...] | None]:
        return hugging_face_part(dataset, where, spec)

    if isinstance(found, dict):
        return hugging_face_splits(found, name, where, read)
    part, names = read(found, where)
    return Parts(name, part, class_names=names)


def hugging_face_splits(
    found: dict[str, Any],
    name: str,
    where: str,
    read: Callable[[Any, str], tuple[Part, tuple[str, ...] | None]],
) -> Parts:
    """Read the splits of a Hugging Face data set, each by `read(dataset, where)`."""
    splits = assign(found, where)
    lacking = "" if "train" in splits else f"{where}: has no split `train`; its splits: {', '.join(found)}"
    if not splits:
        raise DataError(lacking)
    left = [split for split in found if split not in splits.values()]
    parts, names = {}, None
    for part, split in splits.items():
        read_part, its_names = read(found[split], where if len(splits) == 1 else f"{where}, {part}")
        names = names or its_names
        parts[part] = read_part.by_names(its_names, names)
    notes = (f"{where}: the splits {listed(left)} are not used",) if left else ()
    return Parts(name, parts.get("train"), parts.get("validation"), parts.get("test"), names, notes, lacking)


def hugging_face_part(
    dataset: Any, where: str, spec: DataSpec, advice: str = RESIZED_BY_SPEC
) -> tuple[Part, tuple[str, ...] | None]:
    """Return encoded images and labels of one Hugging Face data set that has a column of images, and its class names.

    Args:
        dataset: The data set, not a dictionary of them.
        where: How to find it, for messages.
        spec: Says which columns.
        advice: What brings its images to one size, for messages.
    """
    datasets = _datasets()
    dataset = dataset.with_format(None)
    features = dataset.features
    image = column(
        where,
        features,
        spec.image_column,
        "image_column",
        [name for name, feature in features.items() if isinstance(feature, datasets.Image)],
    )
    if not isinstance(features[image], datasets.Image):
        raise DataError(f"{where}: column {image!r} is {features[image]}, not an image feature")
    integers = [
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.ClassLabel) or re.match("u?int|bool", str(getattr(feature, "dtype", "")))
    ]
    classes = [name for name in integers if isinstance(features[name], datasets.ClassLabel)]
    default = spec.label_column or ("label" if "label" in features else None)
    label = column(where, features, default, "label_column", classes if len(classes) == 1 else integers)
    names = getattr(features[label], "names", None)
    scalar = re.match("float|(large_)?string", str(getattr(features[label], "dtype", "")))
    if names is None and label not in integers and not scalar:
        raise DataError(
            f"{where}: column {label!r} is {features[label]!s:.80}, not integers or names; a class number is wanted"
        )
    images = HuggingFace(dataset.cast_column(image, datasets.Image(decode=False)), image, where, advice)
    labels = [read_label(value, images.where(row)) for row, value in enumerate(dataset[label])]
    return Part(images, labels), tuple(names) if names else None
