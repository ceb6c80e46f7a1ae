"""Data sets of Hugging Face: from the hub, a folder of `save_to_disk`, or objects in Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ramify.data.arrow import columns_of, labels_of, rows_of_table
from ramify.data.columns import check_for_images, column, label_columns, usual
from ramify.data.encoded import RESIZED_BY_SPEC, HuggingFace
from ramify.data.labels import read_target
from ramify.data.part_names import LABEL_KEYS, assign
from ramify.data.parts import Part, Parts, listed
from ramify.data.source import source
from ramify.data.spec import DataSpec
from ramify.errors import DataError, MissingExtraError


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "datasets", "A Hugging Face data set") from error
    return datasets


@source("hub", prefix="hf:")
def _hugging_face_hub(given: str, spec: DataSpec) -> Parts:
    """A data set of the Hugging Face hub."""
    name = given.removeprefix("hf:")
    datasets = _datasets()
    try:
        config = datasets.DownloadConfig(local_files_only=not spec.download)
        loaded = datasets.load_dataset(name, cache_dir=spec.root, download_config=config)
    except Exception as error:  # the hub, its cache and the network each have exceptions of their own
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"hf:{name}: cannot be loaded ({reason}); check the name and the network") from error
    return _hugging_face(loaded, name.rsplit("/", 1)[-1], f"hf:{name}", spec)


def hugging_face_folder(path: Path, spec: DataSpec) -> Parts:
    """Read a folder of `save_to_disk`."""
    datasets = _datasets()
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # Arrow, JSON and file errors alike: the folder is not whole
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a complete folder of save_to_disk ({reason})") from error
    return _hugging_face(loaded, path.name, str(path), spec)


def _hugging_face(loaded: Any, name: str, where: str, spec: DataSpec) -> Parts:
    def read(dataset: Any, where: str) -> tuple[Part, tuple[str, ...] | None]:
        return hugging_face_part(dataset, where, spec)

    if isinstance(loaded, dict):
        return hugging_face_splits(loaded, name, where, read)
    part, names = read(loaded, where)
    return Parts(name, part, class_names=names)


def hugging_face_splits(
    datasets: dict[str, Any],
    name: str,
    where: str,
    read: Callable[[Any, str], tuple[Part, tuple[str, ...] | None]],
) -> Parts:
    """Read the splits of a Hugging Face data set, each by `read(dataset, where)`."""
    splits = assign(datasets, where)
    lacking = "" if "train" in splits else f"{where}: has no split `train`; its splits: {', '.join(datasets)}"
    if not splits:
        raise DataError(lacking)
    left = [split for split in datasets if split not in splits.values()]
    parts, names = {}, None
    for part, split in splits.items():
        read_part, its_names = read(datasets[split], where if len(splits) == 1 else f"{where}, {part}")
        names = names or its_names
        parts[part] = read_part.by_names(its_names, names)
    notes = (f"{where}: the splits {listed(left)} are not used",) if left else ()
    return Parts(name, parts.get("train"), parts.get("validation"), parts.get("test"), names, notes, lacking)


def hugging_face_part(
    dataset: Any, where: str, spec: DataSpec, advice: str = RESIZED_BY_SPEC
) -> tuple[Part, tuple[str, ...] | None]:
    """Return encoded images, or rows of numbers, and labels of one Hugging Face data set, and its class names.

    Args:
        dataset: The data set, not a dictionary of them.
        where: How to find it, for messages.
        spec: Says which columns.
        advice: What brings its images to one size, for messages.
    """
    datasets = _datasets()
    dataset = dataset.with_format(None)
    features = dataset.features
    if spec.image_column is None and not any(isinstance(feature, datasets.Image) for feature in features.values()):
        return _rows(dataset, where, spec)
    check_for_images(where, spec)
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
    candidates = classes if len(classes) == 1 else integers
    if spec.targets == "values":
        candidates = usual(features, LABEL_KEYS) or [name for name in features if name != image]
    if spec.label_column is None and "label" in features:
        candidates = ["label"]
    columns = label_columns(where, features, spec, candidates)
    label = columns[0]
    names = getattr(features[label], "names", None)
    scalar = re.match("float|(large_)?string", str(getattr(features[label], "dtype", "")))
    if names is None and label not in integers and not scalar and spec.targets == "classes":
        raise DataError(
            f"{where}: column {label!r} is {features[label]!s:.80}, not integers or names; a class number is wanted"
        )
    images = HuggingFace(dataset.cast_column(image, datasets.Image(decode=False)), image, where, advice)
    values = dataset[label] if len(columns) == 1 else zip(*(dataset[name] for name in columns), strict=True)
    labels = [read_target(value, images.where(row), spec.targets) for row, value in enumerate(values)]
    return Part(images, labels, columns), tuple(names) if names else None


def _rows(dataset: Any, where: str, spec: DataSpec) -> tuple[Part, tuple[str, ...] | None]:
    """Return rows and labels of one Hugging Face data set of numbers, and its class names."""
    table = dataset.with_format("arrow")[:]
    features, columns = columns_of(table.schema, spec, where)
    rows = rows_of_table(table, features, lambda row: f"{where}, row {row}")
    names = getattr(dataset.features[columns[0]], "names", None)
    labels = labels_of(table, columns, spec.targets, rows.where, may_hide=False)
    return Part(rows, labels, columns), tuple(names) if names else None
