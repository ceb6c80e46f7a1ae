"""Data sets that are published as pickled batches: CIFAR-10, CIFAR-100 and ImageNet in 16×16 pixels.

A batch is a dictionary of pixels, (N, 3·S·S) bytes, color by color, and N labels. Nothing is unpickled
(`ramify.pickled`), and the size of a file is bounded before it is read.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ramify import files
from ramify.data.encoded import Arrays
from ramify.data.named import downloads, not_there
from ramify.data.parts import Part, Parts, listed
from ramify.data.source import source
from ramify.data.spec import DataSpec
from ramify.errors import DataError
from ramify.pickled import Array, described

_LARGEST = 2**30
"""Bytes of a file; published ones, of 128,116 images of ImageNet, have 99 million."""

_CIFAR = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
_DOWNSAMPLED = "Chrabaszcz, Loshchilov & Hutter, A Downsampled Variant of ImageNet, 2017, arXiv:1707.08819"

IMAGENET16 = {  # MD5 of the published files, as in AutoDL-Projects
    "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
    "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
    "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
    "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
    "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
    "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
    "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
    "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
    "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
    "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
    "val_data": "3410e3017fdaefba8d5073aaa65e4bd6",
}
_CLASSES = 1000  # of ImageNet


def _imagenet16(name: str, count: int) -> Callable[[str, DataSpec], Parts]:
    def read(given: str, spec: DataSpec) -> Parts:
        """ImageNet in 16×16 pixels, from its published batches, which `root` holds."""
        root = downloads(spec.root)
        places = [root, *(root / inner for inner in ("ImageNet16", "imagenet16", "Imagenet16"))]
        folder = next((place for place in places if (place / "val_data").is_file()), None)
        if folder is None:
            raise DataError(
                f"{name}: no val_data in {root}; it cannot be downloaded without an account: fetch the 16x16 batches "
                f"(train_data_batch_1 to _10, val_data) from image-net.org, and give their folder with --data.root"
            )
        if missing := [file for file in IMAGENET16 if not (folder / file).is_file()]:
            raise DataError(f"{folder}: {listed(missing)} of the {len(IMAGENET16)} batches of ImageNet16 missing")
        others = []
        parts: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {True: [], False: []}
        for file, known in IMAGENET16.items():
            batch, md5 = read_batch(folder / file)
            pixels, labels = _checked(batch, "labels", 16, range(1, _CLASSES + 1), folder / file)
            others += [] if md5 == known else [file]
            wanted = labels <= count
            parts[file != "val_data"].append((pixels[wanted], labels[wanted] - 1))
        notes = []
        if others:
            what = f"{listed(others)}: not the published files by their MD5"
            notes = [f"{folder}: {what}; lists of NAS-Bench-201 count the images of those"]
        train, test = (_part(parts[training], name) for training in (True, False))
        return Parts(name, train, test=test, class_names=tuple(map(str, range(1, count + 1))), notes=tuple(notes))

    return read


for _name, _count in (("imagenet16", _CLASSES), ("imagenet16-120", 120)):
    source(_name, paper=_DOWNSAMPLED)(_imagenet16(_name, _count))


def _cifar(name: str, class_name: str, labels: str, names: str) -> Callable[[str, DataSpec], Parts]:
    def read(given: str, spec: DataSpec) -> Parts:
        """Images of 32×32 pixels, downloaded where they are missing."""
        from torchvision import datasets
        from torchvision.datasets.utils import check_integrity, download_and_extract_archive

        kind: Any = getattr(datasets, class_name)
        root = downloads(spec.root)
        folder = root / kind.base_folder
        known = dict([*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])])
        if not all(check_integrity(folder / file, md5) for file, md5 in known.items()):
            try:
                if not spec.download:
                    raise FileNotFoundError(folder)
                root.mkdir(parents=True, exist_ok=True)
                download_and_extract_archive(kind.url, str(root), filename=kind.filename, md5=kind.tgz_md5)
            except Exception as error:
                raise not_there(name, root, spec, error) from error
        parts = []
        for batches in (kind.train_list, kind.test_list):
            several = []
            for file, _ in batches:
                batch, _ = read_batch(folder / file)
                several.append(_checked(batch, labels, 32, range(100 if "100" in name else 10), folder / file))
            parts.append(_part(several, name))
        meta, _ = read_batch(folder / kind.meta["filename"])
        return Parts(name, parts[0], test=parts[1], class_names=tuple(map(str, meta[names])))

    return read


source("cifar10", paper=_CIFAR)(_cifar("cifar10", "CIFAR10", "labels", "label_names"))
source("cifar100", paper=_CIFAR)(_cifar("cifar100", "CIFAR100", "fine_labels", "fine_label_names"))


def read_batch(path: Path) -> tuple[dict[str, Any], str]:
    """Return what a batch holds, by the texts that its keys are, and the MD5 of the file.

    Raises:
        DataError: If it cannot be read, is too large, or is no pickle of a dictionary of plain values.
    """
    try:
        with files.opened(path) as file:
            if os.fstat(file.fileno()).st_size > _LARGEST:
                raise DataError(f"{path}: has more than {_LARGEST / 2**30:g} GiB, and no batch of images does")
            content = file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        batch = described(content, "batches of images")
        if not isinstance(batch, dict):
            raise ValueError(f"it holds {type(batch).__name__}, and wanted is a dictionary with the key data")
    except ValueError as error:
        raise DataError(f"{path}: not a pickled batch of images ({error!s:.160})") from None
    named = {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in batch.items()}
    return named, hashlib.md5(content, usedforsecurity=False).hexdigest()


def _checked(batch: dict[str, Any], key: str, side: int, numbers: range, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (N, side, side, 3) uint8 and labels (N,) int64 of a batch."""
    data, labels = batch.get("data"), batch.get(key)
    pixels: np.ndarray | None = getattr(data, "values", None) if isinstance(data, Array) else None
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3 * side * side:
        found = "no array" if pixels is None else f"{pixels.shape} of {pixels.dtype}"
        width = 0 if pixels is None or pixels.ndim != 2 else pixels.shape[1]
        other = math.isqrt(width // 3)
        hint = f"; it is of {other}x{other} pixels" if 3 * other**2 == width and other not in (0, side) else ""
        raise DataError(f"{path}: 'data' must be bytes of shape (N, {3 * side * side}), got {found}{hint}")
    values = labels.values.tolist() if isinstance(labels, Array) and hasattr(labels, "values") else labels
    if not isinstance(values, list) or len(values) != len(pixels):
        found = f"{len(values)}" if isinstance(values, list) else "none"
        raise DataError(f"{path}: {key!r} must be a list of {len(pixels)} class numbers, one an image, got {found}")
    if wrong := [one for one in values if type(one) is not int or one not in numbers]:
        raise DataError(f"{path}: {key!r} has {wrong[0]!r:.40}, and classes are {numbers[0]} to {numbers[-1]}")
    shaped = pixels.reshape(-1, 3, side, side).transpose(0, 2, 3, 1)
    return shaped, np.array(values, dtype=np.int64)


def _part(batches: Sequence[tuple[np.ndarray, np.ndarray]], name: str) -> Part:
    pixels = np.ascontiguousarray(np.concatenate([pixels for pixels, _ in batches]))
    return Part(Arrays(pixels, name), np.concatenate([labels for _, labels in batches]).tolist())
