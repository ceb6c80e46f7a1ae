"""`load`: from the name of a data set to images, or rows of a table, in splits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ramify.data.augmentation import Augmentation
from ramify.data.boxes import BoxedData, checked, laid_out
from ramify.data.columns import check_for_images
from ramify.data.dataset import Data, Store, scale_of
from ramify.data.depth import Scale
from ramify.data.dividing import divided, thinned
from ramify.data.encoded import Encoded, Form
from ramify.data.encoded import join as joined
from ramify.data.labels import Label, values_of
from ramify.data.masks import ClassMaps, SegmentedData, classes_of, load_masks
from ramify.data.objects import from_objects
from ramify.data.parts import Part, Parts, join
from ramify.data.pixels import InMemory, Pixels, load_pixels, sample
from ramify.data.rows import Rows
from ramify.data.sources import open_source, open_to_measure, to_measure, to_train
from ramify.data.spec import DataSpec
from ramify.errors import DataError, nearest
from ramify.parallel import say_once

PUBLISHED = {  # side, mean and standard deviation times 255, as in the DARTS and AutoDL-Projects repositories
    "cifar10": (32, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
    "cifar100": (32, (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)),
    "imagenet16-120": (16, (122.68, 116.66, 104.01), (63.22, 61.26, 65.09)),
}
_DIGITS = 400  # of a class that is a number: floats have fewer, and Python reads no more than 4300
HANDED = frozenset({"digits", "mnist", "svhn"})  # a mirrored digit is another digit, or none


def load(
    spec: str | Path | DataSpec | Data | Dataset[Any] | Sequence[Any] | Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
    measured: bool = False,
    scale: Scale | None = None,
    quiet: bool = False,
    targets: str | None = None,
    **options: Any,
) -> Data:
    """Load a data set; notes on data that is unused, or used twice, go to standard error.

    Args:
        spec: A `DataSpec`; a string or path, short for `DataSpec(source=...)`; a data set in Python, or two of them,
            (train, test), or three, (train, validation, test). Data that is loaded already is only moved.

            In Python, that is a map-style data set of PyTorch, or a `Dataset` or `DatasetDict` of Hugging Face. An item
            is (image, label), or a mapping or named tuple with keys such as image, img or pixel_values, and label,
            labels or target, in any case. An image is a PIL image, or a tensor or array (C, H, W), (H, W, C) or (H, W),
            whose channels are found as docs/data.md says. A label is a class number (an integer, a whole float, an
            array of one), a class name or a truth value; with `targets="values"` a number or a vector. An image may be
            a vector, the row of a table; whole tables may be data frames of pandas or Polars, or Arrow tables.

            Or it is a pair (X, y) of arrays or tensors: images (N, H, W), (N, H, W, C) or (N, C, H, W), or rows (N, F),
            which may be a data frame, and N labels.
        device: Where the images shall be kept, as bytes, or the rows.
        measured: Whether nothing will be trained on it: then all images are test images where there is no part for
            testing. Data that is loaded already stays as it is.
        scale: How images deeper than bytes become bytes, as `scale_of` the data that a network was trained on; by what
            they reach when None.
        quiet: Whether nothing is said.
        targets: What is learned, `classes` or `values`; as the specification says when None.
        options: Further fields of `DataSpec`, such as `image_size`, `subset` or `label_column`; they hold for data
            sets in Python, too.

    Images become upright and bytes: EXIF orientation is applied; the alpha of a PIL image is dropped; 16 and 32 bits,
    and floats, are scaled by one range for the whole data set (`ramify.data.depth`). One image has at most
    `ramify.data.arrays.MAX_PIXELS`.

    Returns:
        The data. Images above `ramify.data.pixels.memory_limit` are not kept but decoded for each batch.

    Raises:
        DataError: If the data is missing, damaged, ambiguous, or too small for its splits.
    """
    if isinstance(spec, Data):
        if options:
            raise DataError(f"{', '.join(options)}: no options for data that is loaded already; give them where it is")
        if targets not in (None, spec.targets):
            raise DataError(
                f"{spec.name} was loaded with {spec.targets} as targets; load it with targets={targets!r:.20}"
            )
        own_scale = scale_of(spec)
        if not (scale or Scale()).agrees(own_scale or Scale()):
            raise DataError(
                f"{spec.name} was loaded as {own_scale}, and the network was trained on {scale}; hand over the data "
                "set itself, or load(..., scale=scale_of(the training data))"
            )
        return spec.to(device)
    options |= {} if targets is None else {"targets": targets}
    known = [each.name for each in fields(DataSpec)]
    if strange := next((name for name in options if name not in known), None):
        raise DataError(f"data has no option {strange!r}: {nearest(strange, known)}")
    if isinstance(spec, str | Path):
        chosen = DataSpec(**{"source": str(spec), **options})
    elif isinstance(spec, DataSpec):
        chosen = replace(spec, **options)
    else:
        if place := next((name for name in ("source", "test", "root", "download") if name in options), None):
            raise DataError(f"`{place}` says where data lie, and a data set in Python was handed over; leave it out")
        chosen = replace(DataSpec(), **options)
    if isinstance(spec, str | Path | DataSpec):
        parts = open_to_measure(chosen) if measured else open_source(chosen)
    else:
        parts = from_objects(spec, chosen)
        parts = to_measure(parts) if measured else to_train(parts)
    parts = checked(parts) if chosen.targets == "boxes" else _without_hidden(parts, chosen)
    data = _assemble(parts, chosen, torch.device(device), scale, measured)
    for note in (*parts.notes, *_trained_on(data)):
        say_once(note, enabled=not quiet)
    return data


def _without_hidden(parts: Parts, spec: DataSpec) -> Parts:
    """Leave out a part beside the training images whose labels are hidden: all of them missing or negative."""
    for name, part in parts.present().items():
        hidden = all(map(_is_hidden, part.labels))
        if name == "train" or not len(part.labels) or not hidden:
            continue
        if parts.train is None or (name == "test" and spec.test is not None):
            raise DataError(f"{part.images.where(0)}: all labels of these test images are hidden; nothing is measured")
        note = f"{parts.name}: its {len(part.labels)} {name} images are not used, because their labels are hidden"
        parts = parts.having(name, None).noting(note)
    return parts


def _is_hidden(label: Label) -> bool:
    """Return whether there is no label, or a negative class; of values, whether all are missing."""
    if isinstance(label, tuple):
        return all(map(math.isnan, label))
    return label is None or (not isinstance(label, str) and label < 0)


def _trained_on(data: Data) -> list[str]:
    """Return a note on test images or rows that are trained on too; streamed images are not looked at."""
    test, pool = (data._stores[name][0] for name in ("test", "pool"))
    if not (isinstance(test, InMemory | Tensor) and isinstance(pool, InMemory | Tensor)):
        return []
    digests = set(_digests(pool))
    both = sum(digest in digests for digest in _digests(test))
    what, how = ("rows", "number for number") if data.features else ("images", "pixel for pixel")
    return [f"{data.name}: {both} of {len(test)} test {what} are training {what} too, {how}"] if both else []


def _digests(inputs: InMemory | Tensor) -> Iterator[bytes]:
    for chunk in _sample(inputs):
        for image in chunk.contiguous().numpy():
            yield hashlib.blake2b(image.data, digest_size=16).digest()


def _assemble(parts: Parts, spec: DataSpec, device: torch.device, known: Scale | None, measured: bool) -> Data:
    if spec.validation_is_test and parts.test is None:
        parts = replace(parts, validation=None, test=parts.validation)
    present = parts.present()
    for name, part in present.items():
        if not len(part.images):
            raise DataError(f"{parts.name}: the {name} part has no images or rows")
    images = join([part.images for part in present.values()], [f"{parts.name}, {name}" for name in present])
    _check_options(parts.name, images, spec)
    classes: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    codes: dict[int, int] | None = None
    if spec.targets == "values":
        target_names, by_part = _values(present)
    elif spec.targets in ("masks", "boxes"):
        classes = parts.class_names or ()
        if spec.targets == "masks":
            classes, codes = classes_of(present, parts.class_names, spec.ignore_label)
        by_part = {name: torch.zeros(len(part.images), dtype=torch.int64) for name, part in present.items()}
    else:
        classes, by_part = _number(present, parts.class_names, least=1 if measured else 2)

    # From here on, images are numbered through all parts.
    labels = torch.cat(list(by_part.values()))
    # Values, masks and boxes are divided as if all were of one class: at random.
    strata = labels if spec.targets == "classes" else torch.zeros(len(labels), dtype=torch.int64)
    ends = torch.tensor([len(part) for part in by_part.values()]).cumsum(0).tolist()
    ranges = {name: torch.arange(end - len(by_part[name]), end) for name, end in zip(by_part, ends, strict=True)}
    chosen = thinned(divided(parts.name, classes, strata, ranges, spec), strata, spec)

    pool = torch.cat([chosen["search_train"], chosen["search_validation"]]).sort().values
    test = chosen["test"]
    if not len(pool) and parts.train is not None:
        raise DataError(f"{parts.name}: no training images or rows are left; lower `test_fraction`")
    rows = {name: torch.searchsorted(pool, index) for name, index in chosen.items() if name != "test"}
    rows["test"] = torch.arange(len(test))
    known_by = pool if len(pool) else test  # what size, mean and deviation are of
    scale = None
    of_pool: Store
    of_test: Store
    input_size: tuple[int, ...]
    augmentation = None
    if isinstance(images, Rows):
        of_pool, of_test = (torch.from_numpy(images.values[index.numpy()]).to(device) for index in (pool, test))
        mean, std = _moments(images.values[known_by.numpy()])
        input_size = (len(images.features),)
    else:
        of_pool, of_test, scale = _pixels(images, pool, test, spec, device, known)
        input_size, mean, std = _measured(of_pool if len(pool) else of_test, parts.name)
        augmentation = Augmentation(crop=max(1, min(input_size[1:]) // 8), flip=parts.name not in HANDED)
    target_mean, target_std = _moments(labels[known_by].numpy()) if target_names else ((), ())
    stores: dict[str, tuple[Store, Any]] = {"pool": (of_pool, labels[pool]), "test": (of_test, labels[test])}
    kind: type[Data] = Data
    if spec.targets == "masks":
        masks = _masks(present, cast(Encoded, images), codes, spec)
        form = Form(*cast(Pixels, of_pool).size, 1, resized=spec.size is not None)
        streamed = not isinstance(of_pool, InMemory)
        both = load_masks(masks, pool, test, form, device, streamed)
        stores = {name: (stores[name][0], kept) for name, kept in zip(("pool", "test"), both, strict=True)}
        kind = SegmentedData
    elif spec.targets == "boxes":
        boxes = laid_out(present, cast(Pixels, of_pool).size)
        stores = {"pool": (of_pool, boxes[pool]), "test": (of_test, boxes[test])}
        kind = BoxedData
    return kind(
        name=parts.name,
        classes=classes,
        input_size=input_size,
        mean=mean,
        std=std,
        fingerprint=_fingerprint(stores, rows),
        augmentation=augmentation,
        features=images.features if isinstance(images, Rows) else (),
        target_names=target_names,
        target_mean=target_mean,
        target_std=target_std,
        _stores={name: (kept, values.to(device)) for name, (kept, values) in stores.items()},
        _rows=rows,
        _scale=scale,
    )


def _masks(present: dict[str, Part], images: Encoded, codes: dict[int, int] | None, spec: DataSpec) -> ClassMaps:
    """Return the masks of all parts as class maps, numbered through all parts."""
    masks = [part.masks for part in present.values() if part.masks is not None]
    known = masks[0].codes if codes is None else codes
    ignored = spec.ignore_label if masks[0].codes is None else None
    return ClassMaps(joined([each.files for each in masks]), images, cast("dict[int, int]", known), ignored, spec.size)


def _check_options(name: str, images: Encoded | Rows, spec: DataSpec) -> None:
    """Raise `DataError` if an option is for images, and these are rows, or the other way round."""
    if isinstance(images, Rows):
        for option in ("image_column", "channel_axis", "image_size"):
            if getattr(spec, option) is not None:
                raise DataError(f"{name}: holds rows of a table, and `{option}` is for images; leave it out")
    else:
        check_for_images(name, spec)


def _pixels(
    images: Encoded, pool: Tensor, test: Tensor, spec: DataSpec, device: torch.device, known: Scale | None
) -> tuple[Pixels, Pixels, Scale | None]:
    """Decode the training images `pool` and the `test` images; what they are like is said by the former, if any."""
    whole = spec.targets == "boxes"
    if len(pool):
        return load_pixels(images, pool, test, spec.size, device, known, whole)
    of_test, of_pool, scale = load_pixels(images, test, pool, spec.size, device, known, whole)
    return of_pool, of_test, scale


def _measured(pixels: Pixels, name: str) -> tuple[tuple[int, int, int], tuple[float, ...], tuple[float, ...]]:
    """Return (C, H, W) of images, and mean and standard deviation of each channel, for inputs in 0..1."""
    input_size = (pixels.channels, *pixels.size)
    side, *moments = PUBLISHED.get(name, (0,))
    if input_size == (3, side, side):
        mean, std = (tuple(value / 255 for value in values) for values in moments)
    else:
        mean, std = _measure(pixels)
    return input_size, mean, std


def _values(present: dict[str, Part]) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Return the names of the values to be learned, and those of each part, (n, K) float32."""
    names = next((part.target_names for part in present.values() if part.target_names), ())
    values = {name: values_of(part.labels, part.images.where, names) for name, part in present.items()}
    first, width = next((name, array.shape[1]) for name, array in values.items())
    for name, array in values.items():
        if array.shape[1] != width:
            where = present[name].images.where(0)
            raise DataError(f"{where}: has {array.shape[1]} targets, and those of the {first} part have {width}")
    if len(names) != width:  # such as one column of vectors
        name = "".join(names) or "target"
        names = (name,) if width == 1 else tuple(f"{name} {number}" for number in range(1, width + 1))
    return names, {name: torch.from_numpy(array) for name, array in values.items()}


def _number(
    present: dict[str, Part], names: tuple[str, ...] | None, least: int
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Number the classes: as `names` has them, else in sorted order of what the training images are labeled with.

    Returns:
        Class names, and the labels of each part, (n,) int64.
    """
    training: list[Any] = [
        label for name, part in present.items() if name != "test" or len(present) == 1 for label in part.labels
    ]
    numbers: dict[Any, int]
    if names is None:
        distinct = set(training) - {None}
        if len(kinds := {isinstance(label, str): label for label in distinct}) > 1:
            raise DataError(
                f"labels are numbers and names at once, such as {kinds[False]!r} and {kinds[True]!r:.40}; they must be "
                "one of the two"
            )
        ordered = sorted(label for label in distinct if isinstance(label, str) or label >= 0)
        names = tuple(map(str, ordered))
        # Another part may be written otherwise: folders `0`, `1` for the numbers of a table.
        numbers = {label: number for number, name in enumerate(names) for label in (ordered[number], name)}
        if all(name.isdecimal() and len(name) <= _DIGITS for name in names):
            numbers |= {int(name): number for number, name in enumerate(names) if str(int(name)) == name}
    else:
        numbers = {number: number for number in range(len(names))} | {name: n for n, name in enumerate(names)}
    labels = {}
    for part_name, part in present.items():
        for row, label in enumerate(part.labels):
            if label not in numbers:
                classes = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
                if isinstance(label, int | np.integer) and label < 0:
                    raise DataError(
                        f"{part.images.where(row)}: the label {label} is negative, as where labels are hidden; "
                        "leave such images out, or number the classes from 0"
                    )
                if label is None:
                    raise DataError(f"{part.images.where(row)}: has no label; leave such images out")
                raise DataError(
                    f"{part.images.where(row)}: the label {label!r:.60} is none of the classes ({classes!s:.100}); "
                    "call classes alike in all parts, or leave these images out"
                )
        labels[part_name] = torch.tensor([numbers[label] for label in part.labels], dtype=torch.int64)
    if len(names) < least and "train" in present:
        first = present["train"].images.where(0)
        raise DataError(
            f"all images are of one class ({''.join(names)}), as {first}; classification needs at least two"
        )
    return names, labels


def _sample(pixels: Store) -> list[Tensor]:
    """Return the images, or a fixed sample of streamed ones, as uint8 (n, H, W, C) chunks, or rows as one chunk."""
    if isinstance(pixels, Tensor):
        return [pixels.cpu()]
    if isinstance(pixels, InMemory):
        return [pixels[first : first + 4096].cpu() for first in range(0, len(pixels), 4096)]
    return [images[index].cpu() for images, index in pixels.padded(sample(pixels).split(64), 0)]


def _measure(pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, for inputs in 0..1."""
    counts = torch.zeros(pixels.channels, 256, dtype=torch.float64)
    for chunk in _sample(pixels):
        for channel in range(pixels.channels):
            counts[channel] += chunk[..., channel].flatten().bincount(minlength=256)
    share = counts / counts.sum(dim=1, keepdim=True)
    value = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ value
    std = (share * (value - mean[:, None]) ** 2).sum(dim=1).sqrt()
    # A constant channel carries nothing; dividing by 1 keeps it at zero.
    return tuple(mean.tolist()), tuple(s if s > 0 else 1.0 for s in std.tolist())


def _moments(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each column of (N, F).

    The latter is 1 where a column is constant, or varies by so little that 32 bits cannot divide by it.
    """
    exact = values.astype(np.float64)
    std = exact.std(axis=0)
    constant = (values == values[:1]).all(axis=0) | (std < np.finfo(np.float32).tiny)
    return tuple(exact.mean(axis=0).tolist()), tuple(np.where(constant, 1.0, std).tolist())


def _fingerprint(stores: dict[str, tuple[Store, Any]], rows: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, (pixels, labels) in stores.items():
        size = pixels.shape[1:] if isinstance(pixels, Tensor) else (*pixels.size, pixels.channels)
        digest.update("x".join([f"{name} {len(pixels)}", *map(str, size)]).encode())
        for chunk in _sample(pixels):
            digest.update(chunk.contiguous().numpy().data)
        for chunk in [labels] if isinstance(labels, Tensor) else _sample(labels):
            digest.update(chunk.cpu().contiguous().numpy().data)
    for name in sorted(rows):
        digest.update(name.encode())
        digest.update(rows[name].numpy().data)
    return digest.hexdigest()
