"""Data sets given as Python objects: map-style ones of PyTorch, and those of Hugging Face's `datasets`.

An item is (image, label), or a mapping or named tuple that has both by name. A vector instead of an image is a row of
a table; data frames and Arrow tables are tables as a whole, and (X, y) is arrays as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset

from ramify.data.arrow import columns_of, labels_of, rows_of_table, table_of_frame
from ramify.data.columns import check_for_images, usual
from ramify.data.depth import Extent
from ramify.data.encoded import RESIZED_IN_PYTHON, Items, as_image, item_of, measure
from ramify.data.hugging_face import hugging_face_part, hugging_face_splits
from ramify.data.labeled_arrays import is_labeled_arrays, of_labeled_arrays
from ramify.data.labels import Label, read_target
from ramify.data.part_names import IMAGE_KEYS, LABEL_KEYS
from ramify.data.parts import Part, Parts, listed
from ramify.data.rows import check_size, rows_of_array
from ramify.data.spec import DataSpec, named_columns
from ramify.errors import DataError, OptionError, nearest

SEVERAL = "hand over one, a pair (train, test), or three (train, validation, test)"
WANTED = "a data set is given by a name, a path, a DataSpec, Data, arrays (X, y), or as one or several in Python"


def from_objects(data: Any, spec: DataSpec) -> Parts:
    """Read a data set, two or three of them, or a `DatasetDict` of Hugging Face; see `ramify.data.load`.

    Args:
        data: What was handed over.
        spec: Its options; `source` and what else says where data lie are not looked at.

    Raises:
        DataError: If it is none of these, or an item is not an image and a label.
    """
    if _of_hugging_face(data) and isinstance(data, dict):
        name = _name(next(iter(data.values()), data))
        return hugging_face_splits(data, name, type(data).__name__, partial(_part, spec=spec))
    several = [data]
    if isinstance(data, tuple | list) and not is_labeled_arrays(data) and _is_of_several(data):
        several = list(data)
        if several and all(isinstance(one, np.ndarray | torch.Tensor) for one in several):
            raise DataError(f"got {len(several)} arrays; hand over (X, y), or such pairs: ((X, y), (X, y))")
        if len(several) not in (2, 3):
            raise DataError(f"got {len(several)} data sets; {SEVERAL}")
    train, test = several[0], several[-1] if len(several) > 1 else None
    name = _name(train)
    part, names = _part(train, name, spec)
    parts = Parts(name, part, class_names=names)
    for kind, one in (("validation", several[1] if len(several) == 3 else None), ("test", test)):
        if one is not None:
            held, its_names = _part(one, f"{name}, {kind}", spec)
            parts = parts.having(kind, held.by_names(its_names, names))
    return parts


def _is_of_several(data: Sequence[Any]) -> bool:
    """Return whether these are data sets one by one, not the items of one."""
    return isinstance(data, tuple) or (bool(data) and all(map(_is_data_set, data)))


def _is_data_set(data: Any) -> bool:
    """Return whether this is a data set for certain, and not an item of one."""
    return isinstance(data, Dataset) or _of_hugging_face(data)


def _of_hugging_face(data: Any) -> bool:
    return type(data).__module__.split(".")[0] == "datasets"


def _name(data: Any) -> str:
    if is_labeled_arrays(data):
        return "arrays"
    recorded = getattr(data.info, "dataset_name", None) if hasattr(data, "info") and _of_hugging_face(data) else None
    return str(recorded or type(data).__name__.lower())


def _part(data: Any, where: str, spec: DataSpec) -> tuple[Part, tuple[str, ...] | None]:
    """Return images and labels of one data set, and its class names."""
    if isinstance(data, IterableDataset):
        advice = (
            "load it without streaming=True, or keep some: datasets.Dataset.from_list(list(data.take(1000)))"
            if _of_hugging_face(data)
            else "give a map-style one, such as list(data) where it fits into memory"
        )
        raise DataError(
            f"{where}: is iterable, so it has no length and no items by number (__len__, __getitem__); {advice}"
        )
    if isinstance(data, DataLoader):
        raise DataError(f"{where}: is a DataLoader; hand over its data set, loader.dataset")
    if isinstance(data, Mapping):
        arrays = any(isinstance(value, np.ndarray | torch.Tensor) for value in data.values())
        wanted = "arrays (X, y)" if arrays else "a pair (train, test)"
        raise DataError(f"{where}: a mapping of {', '.join(map(str, data))!s:.80}; hand over {wanted}")
    if is_labeled_arrays(data):
        return of_labeled_arrays(data, where, spec), None
    if hasattr(data, "__arrow_c_stream__"):
        return _of_frame(data, where, spec), None
    if isinstance(data, np.ndarray | torch.Tensor):
        raise DataError(f"{where}: an array has no labels; hand over (X, y), an array beside its labels")
    if isinstance(data, str | bytes) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        missing = "needs __len__ and __getitem__, as map-style data sets have"
        raise DataError(f"{where}: {missing}; {WANTED}, not {type(data).__name__}")
    names = _classes(data)
    if _of_hugging_face(data):
        # A transform of the user's makes the images; without one, they are best taken as they are encoded.
        custom = data.format["type"] == "custom"
        kinds = {type(feature).__name__ for feature in data.features.values()}
        if not custom and ("Image" in kinds or kinds <= {"Value", "ClassLabel"}):
            return hugging_face_part(data, where, spec, RESIZED_IN_PYTHON)
        data = data if custom else data.with_format("numpy")
        asked = named_columns(spec.label_column or (), data.features, "label_column")
        label = list(asked) or usual(data.features, LABEL_KEYS)
        names = getattr(data.features.get(label[0]), "names", None) if label else None
    has_names = isinstance(names, list | tuple) and len(names) > 0
    return _items(data, where, spec), tuple(map(str, names)) if names is not None and has_names else None


def _classes(data: Any) -> Any:
    """Return the names of the classes that a data set, or the one or those it is made of, has recorded; else None."""
    names = getattr(data, "classes", None)
    if names is None and isinstance(data, Subset):
        return _classes(data.dataset)
    if names is None and isinstance(data, ConcatDataset):
        classes = [_classes(part) for part in data.datasets]
        if any(not isinstance(one, list | tuple) for one in classes):
            return None
        if other := next((one for one in classes if list(one) != list(classes[0])), None):
            orders = " and ".join(listed(list(map(str, names))) for names in (classes[0], other))
            raise DataError(f"{_name(data)}: its data sets number their classes otherwise ({orders}); use one order")
        return classes[0]
    return names


def _items(data: Any, name: str, spec: DataSpec) -> Part:
    """Read every item once, for its label and the range of its image, or for its row."""
    labels: list[Label] = []
    extent = Extent()
    rows: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    try:
        count = len(data)
    except Exception as error:
        raise DataError(f"{name}: has no length ({_reason(error)}); a map-style data set is wanted") from error
    for row in range(count):
        where = f"{name}, item {row}"
        try:
            item = item_of(data, row, where)
        except DataError:
            raise
        except Exception as error:  # whatever the data set's own code raises
            raise DataError(f"{where}: the data set raised {type(error).__name__} ({_reason(error)})") from error
        image, label = pair_of(item, where, spec)
        labels.append(read_target(label, where, spec.targets))
        if row == 0 and isinstance(item, Mapping):
            names = tuple(map(str, _keys(item, where, spec)[1]))
        if rows or (row == 0 and _is_vector(image)):
            rows.append(_vector(image, where, rows))
            check_size(count, len(rows[0]), name)
        else:
            measure(as_image(image, where, spec.channel_axis), where, extent)
    if rows:
        return Part(rows_of_array(np.stack(rows), spec, lambda row: f"{name}, item {row}"), labels, names)
    check_for_images(name, spec)
    images = Items(data, name, partial(_image_of, name=name, spec=spec), extent, spec.channel_axis)
    return Part(images, labels, names)


def _is_vector(image: Any) -> bool:
    """Return whether this is one number or more in a row, not an image."""
    if isinstance(image, list | tuple):
        return bool(image) and all(isinstance(value, int | float | np.number) for value in image)
    return isinstance(image, np.ndarray | torch.Tensor) and image.ndim == 1 and len(image) > 0


def _vector(image: Any, where: str, before: Sequence[np.ndarray]) -> np.ndarray:
    """Return the row of an item as (F,), as many numbers as in those `before`."""
    array = np.asarray(image.detach().cpu().double() if isinstance(image, torch.Tensor) else image)
    wanted = before[0].shape if before else array.shape
    if array.dtype.kind not in "buif" or array.shape != wanted:
        raise DataError(
            f"{where}: is {type(image).__name__} of {array.dtype}, {array.shape}; wanted are numbers, {wanted}"
        )
    return array.astype(np.float64)


def _of_frame(data: Any, where: str, spec: DataSpec) -> Part:
    """Return the rows of a data frame: of pandas, Polars, or whatever else hands over Arrow tables."""
    table = table_of_frame(data, where)
    features, columns = columns_of(table.schema, spec, where)
    rows = rows_of_table(table, features, lambda row: f"{where}, row {row}")
    return Part(rows, labels_of(table, columns, spec.targets, rows.where, may_hide=False), columns)


def _reason(error: Exception) -> str:
    return f"{' '.join(str(error).split())!s:.120}"


def _image_of(item: Any, name: str, spec: DataSpec) -> Any:
    return pair_of(item, name, spec)[0]


def pair_of(item: Any, where: str, spec: DataSpec) -> tuple[Any, Any]:
    """Return the image and the label of an item.

    Args:
        item: A pair, or a mapping or named tuple whose keys are those of the specification, or usual ones.
        where: How to find it, for messages.
        spec: Names the keys, as `image_column` and `label_column`, where they are others.

    Raises:
        DataError: If it is something else, or which is meant is open.
    """
    if isinstance(item, Mapping):
        image, labels = _keys(item, where, spec)
        return item[image], item[labels[0]] if len(labels) == 1 else [item[label] for label in labels]
    if isinstance(item, tuple) and hasattr(item, "_asdict"):
        fields = item._asdict()
        if len(item) != 2 or (usual(fields, IMAGE_KEYS) and usual(fields, LABEL_KEYS)):
            return pair_of(fields, where, spec)
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    what = type(item).__name__
    if isinstance(item, tuple | list):
        what += f" of {len(item)} ({', '.join(type(value).__name__ for value in item)!s:.60})"
    raise DataError(
        f"{where}: is not a pair of image and class number, but {what}; give (image, label), or a mapping with the "
        "keys image and label"
    )


def _keys(item: Mapping[Any, Any], where: str, spec: DataSpec) -> tuple[Any, list[Any]]:
    """Return which key of a mapping holds the image, and which hold the label, or several values."""
    keys: list[list[Any]] = []
    for given, option, known in (
        (spec.image_column, "image_column", IMAGE_KEYS),
        (spec.label_column, "label_column", LABEL_KEYS),
    ):
        asked = () if given is None else named_columns(given, item, option)
        if strange := next((key for key in asked if key not in item), None):
            raise OptionError(f"{where}: no key {strange!r}; {nearest(strange, map(str, item))}", option)
        candidates = list(asked) or usual(item, known)
        if len(candidates) != 1 and not (asked and option == "label_column" and spec.targets == "values"):
            which = " and ".join(map(str, candidates)) + " could be it" if candidates else "an (image, label) is wanted"
            raise OptionError(
                f"{where}: items are mappings with the keys {', '.join(map(str, item))!s:.100}; which is the "
                f"{option.split('_')[0]} is open ({which}): load(dataset, {option}=...)",
                option,
            )
        keys.append(candidates)
    return keys[0][0], keys[1]
