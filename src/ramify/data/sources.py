"""Finding a data set: by name, as a folder of images, in Parquet files, or from Hugging Face.

Every source becomes `Parts`: encoded images and raw labels of the training images, and of the validation and
test images where the source brings them. Nothing is decoded here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ramify.data.encoded import RESIZED_BY_SPEC, Arrays, Encoded, Files, HuggingFace, Table, join
from ramify.data.labels import read_label
from ramify.data.spec import DataSpec
from ramify.errors import DataError, MissingExtraError, nearest
from ramify.files import expanded, matching

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
PART_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
PART_OF = {alias: part for part, aliases in PART_NAMES.items() for alias in aliases}


@dataclass(frozen=True)
class Part:
    """Images and the label of each: a class number or a class name."""

    images: Encoded
    labels: Sequence[int | str | None]


@dataclass(frozen=True)
class Parts:
    """What a source brings; `class_names` where it names the classes of its numbers."""

    name: str
    train: Part
    validation: Part | None = None
    test: Part | None = None
    class_names: tuple[str, ...] | None = None


def open_source(spec: DataSpec) -> Parts:
    """Find the data set of `spec`.

    Raises:
        DataError: If there is none, it is damaged, or it leaves open what its images or labels are.
        MissingExtraError: If reading it takes a package that is not installed.
    """
    parts = _open(spec.source, spec)
    if spec.test is None:
        return parts
    if Path(spec.test).resolve() == Path(spec.source).resolve():
        raise DataError(f"{spec.test}: `test` is the same as `source`; test images must not be trained on")
    other = _open(spec.test, spec)
    test = other.test or other.train
    return Parts(parts.name, parts.train, parts.validation, test, parts.class_names)


def _open(source: str, spec: DataSpec) -> Parts:
    if source in NAMED:
        return NAMED[source](spec)
    if source.startswith("hf:"):
        return _hugging_face_hub(source.removeprefix("hf:"), spec)
    path = expanded(source)
    try:
        if path.is_dir():
            return _folder(path, spec)
        if path.is_file():
            if path.suffix != ".parquet":
                raise DataError(f"{path}: a file of images must be .parquet; else give a folder of images")
            return _parquet(_with_siblings(path), spec)
        if any(mark in source for mark in "*?["):
            return _parquet(_by_part(matching(Path(path.anchor), str(path.relative_to(path.anchor))), source), spec)
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from error
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
    if files := sorted(path.glob("*.parquet")):
        return _parquet(_by_part(files, str(path)), spec)
    return _image_folder(path)


# Named data sets


def _digits(spec: DataSpec) -> Parts:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), values 0..16
    names = tuple(str(name) for name in digits.target_names)
    return Parts("digits", Part(Arrays(pixels, "digits"), digits.target.tolist()), class_names=names)


def _torchvision(name: str, class_name: str) -> Callable[[DataSpec], Parts]:
    def read(spec: DataSpec) -> Parts:
        from torchvision import datasets

        root = expanded(spec.root or os.environ.get("RAMIFY_DATA") or "~/.cache/ramify")
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
            names = tuple(getattr(data, "classes", None) or map(str, range(10)))
        return Parts(name, parts[0], test=parts[1], class_names=names)

    return read


NAMED: dict[str, Callable[[DataSpec], Parts]] = {
    "digits": _digits,
    "cifar10": _torchvision("cifar10", "CIFAR10"),
    "cifar100": _torchvision("cifar100", "CIFAR100"),
    "fashion-mnist": _torchvision("fashion-mnist", "FashionMNIST"),
    "svhn": _torchvision("svhn", "SVHN"),
}


BY_FOLDER = {"imagenet": "ImageNet"}
"""Data sets that everybody has to fetch on their own: the name that stands for them, and what they are called."""


# Image folders


def _image_folder(path: Path) -> Parts:
    folders = {PART_OF[child.name.lower()]: child for child in _subfolders(path) if child.name.lower() in PART_OF}
    if folders and len(folders) == len(_subfolders(path)) and "train" not in folders:
        raise DataError(f"{path}: has {', '.join(child.name for child in folders.values())}, but no folder train")
    if "train" not in folders:
        name = path.parent.name if path.name.lower() in PART_OF else path.name
        return Parts(name, _image_part(path))
    parts = {part: _image_part(folder) for part, folder in folders.items()}
    return Parts(path.name, parts["train"], parts.get("validation"), parts.get("test"))


def _image_part(path: Path) -> Part:
    files, labels = [], []
    for folder in _subfolders(path):
        found = sorted(
            file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."
        )
        if not found:
            raise DataError(
                f"{folder}: this class has no image ({', '.join(sorted(IMAGE_SUFFIXES))}); add some or remove it"
            )
        files += found
        labels += [folder.name] * len(found)
    if not files:
        raise DataError(f"{path}: no images; wanted is one subfolder per class with images in it, or Parquet files")
    return Part(Files(files), labels)


def _subfolders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


# Parquet files


def _part_of(file: Path) -> tuple[str, str] | None:
    """Return the part that a file name tells, and the word that does: cifar10-train.parquet, val-0-of-2.parquet."""
    words = [word for word in re.split(r"[-_.]", file.stem) if word.lower() in PART_OF]
    return (PART_OF[words[-1].lower()], words[-1]) if words else None


def _with_siblings(file: Path) -> dict[str, list[Path]]:
    found = {"train": [file]}
    told = _part_of(file)
    if told and told[0] == "train":
        before, after = file.name.rsplit(told[1], 1)
        for part in ("validation", "test"):
            siblings = [file.with_name(before + alias + after) for alias in PART_NAMES[part]]
            found[part] = [sibling for sibling in siblings if sibling.is_file()][:1]
    return found


def _by_part(files: Sequence[Path], source: str) -> dict[str, list[Path]]:
    if not files:
        raise DataError(f"{source}: no file matches")
    if strange := next((file for file in files if file.suffix != ".parquet"), None):
        raise DataError(f"{source}: {strange.name} is not a .parquet file")
    told = [_part_of(file) for file in files]
    if not any(told):
        return {"train": list(files)}
    if None in told:
        raise DataError(
            f"{files[told.index(None)]}: the name does not tell train, validation or test, as others in {source} do"
        )
    found: dict[str, list[Path]] = {}
    for file, part in zip(files, told, strict=True):
        found.setdefault(part[0] if part else "", []).append(file)
    if len(found) == 1:  # a folder of test files, given as `test`
        return {"train": list(files)}
    if "train" not in found:
        raise DataError(f"{source}: has files for {' and '.join(found)}, but none for train")
    return found


def _parquet(files: dict[str, list[Path]], spec: DataSpec) -> Parts:
    names: tuple[str, ...] | None = None
    parts: dict[str, Part] = {}
    for part, paths in files.items():
        if not paths:
            continue
        read = [_parquet_file(path, spec) for path in paths]
        images = join([part.images for part, _ in read])
        parts[part] = Part(images, [label for part, _ in read for label in part.labels])
        names = names or read[0][1]
    first = files["train"][0]
    told = _part_of(first)
    stem = first.stem[: first.stem.rfind(told[1])].rstrip("-_.") if told else first.stem
    return Parts(stem or first.parent.name, parts["train"], parts.get("validation"), parts.get("test"), names)


def _parquet_file(path: Path, spec: DataSpec) -> tuple[Part, tuple[str, ...] | None]:
    import pyarrow
    import pyarrow.parquet
    import pyarrow.types as types

    def holds_images(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(field.name == "bytes" for field in kind)
        return types.is_binary(kind) or types.is_large_binary(kind)

    def holds_labels(kind: Any) -> bool:
        if types.is_dictionary(kind):
            kind = kind.value_type
        return types.is_integer(kind) or types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind)

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            kinds = {field.name: field.type for field in schema}
            image = _column(
                path, kinds, spec.image_column, "image_column", [name for name in kinds if holds_images(kinds[name])]
            )
            integers = [name for name in kinds if types.is_integer(kinds[name]) or types.is_boolean(kinds[name])]
            default = spec.label_column or ("label" if "label" in kinds else None)
            label = _column(path, kinds, default, "label_column", integers)
            for name, fits, wanted in (
                (image, holds_images, "encoded images (bytes)"),
                (label, holds_labels, "integers or names"),
            ):
                if not fits(kinds[name]):
                    raise DataError(f"{path}: column {name!r} is {kinds[name]}, not {wanted}")
            table = file.read(columns=[image, label])
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: damaged or not a complete Parquet file ({reason})") from error
    labels = table.column(label).to_pylist()
    return Part(Table(table.column(image), path), labels), _recorded_names(schema.metadata, label)


def _column(where: object, kinds: Iterable[str], asked: str | None, option: str, candidates: Sequence[str]) -> str:
    """Return the column that was `asked` for, else the only candidate."""
    if asked is not None:
        if asked not in kinds:
            raise DataError(f"{where}: no column {asked!r}; {nearest(asked, kinds)}")
        return asked
    if len(candidates) == 1:
        return candidates[0]
    what = f"{' and '.join(map(repr, candidates))} could be it" if candidates else f"columns: {', '.join(kinds)}"
    raise DataError(f"{where}: which column is meant is open ({what}); set `{option}`")


def _recorded_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """Return the class names that Hugging Face's writer leaves in a Parquet file."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError):
        return None


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
    splits = {PART_OF[split.lower()]: found[split] for split in found if split.lower() in PART_OF}
    if "train" not in splits:
        raise DataError(f"{where}: has no split `train`; its splits: {', '.join(found)}")
    parts, names = {}, None
    for part, dataset in splits.items():
        parts[part], names = read(dataset, where if len(splits) == 1 else f"{where}, {part}")
    return Parts(name, parts["train"], parts.get("validation"), parts.get("test"), names)


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
    image = _column(
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
    label = _column(where, features, default, "label_column", classes if len(classes) == 1 else integers)
    names = getattr(features[label], "names", None)
    scalar = re.match("float|(large_)?string", str(getattr(features[label], "dtype", "")))
    if names is None and label not in integers and not scalar:
        raise DataError(
            f"{where}: column {label!r} is {features[label]!s:.80}, not integers or names; a class number is wanted"
        )
    images = HuggingFace(dataset.cast_column(image, datasets.Image(decode=False)), image, where, advice)
    labels = [read_label(value, images.where(row)) for row, value in enumerate(dataset[label])]
    return Part(images, labels), tuple(names) if names else None
