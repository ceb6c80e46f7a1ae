"""The assignment of images to splits: stratified draws, fixed lists, files of lists. Indices only, no pixels."""

from __future__ import annotations

import base64
import gzip
import json
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ramify import files
from ramify.errors import DataError

# The first labels of the published data sets. Index lists mean images only in that order.
CIFAR10_TRAIN = (6, 9, 9, 4, 1, 1, 2, 7, 8, 3)
CIFAR100_TEST = (49, 33, 72, 51, 71, 92, 15, 14, 23, 0)

_LARGEST = 2**26  # bytes of a file of lists; those of ImageNet have a sixth


def _shuffled_by_class(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return images in random order but grouped by class, the class of each, and its rank within the class."""
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order].argsort(stable=True)]
    grouped = labels[order]
    sizes = grouped.bincount()
    rank = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[grouped]
    return order, grouped, rank


def stratified(labels: Tensor, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Divide images so that `fraction` of each class, to within one image, goes to the second part.

    Args:
        labels: (N,) int64.
        fraction: Of the images, in 0..1; the size of the second part is exactly the rounded share of N.
        generator: Decides which.

    Returns:
        Two sorted int64 tensors of indices.
    """
    order, grouped, rank = _shuffled_by_class(labels, generator)
    # Rounding the running total, not each class, is what makes the sum right.
    total = (labels.bincount().cumsum(0) * fraction).round().long()
    quota = total.diff(prepend=total.new_zeros(1))
    chosen = rank < quota[grouped]
    return order[~chosen].sort().values, order[chosen].sort().values


def balanced(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose `count` images, equally many per class as far as the classes allow; sorted indices."""
    order, grouped, rank = _shuffled_by_class(labels, generator)
    classes = int(labels.max()) + 1 if len(labels) else 0
    turn = torch.randperm(classes, generator=generator)  # which classes get one more, when it does not divide
    deal = rank * classes + turn[grouped]  # one image of every class, then the second of every class, ...
    return order[deal.argsort()[:count]].sort().values


def nasbench201_cifar10() -> tuple[Tensor, Tensor]:
    """Return the halves of CIFAR-10's training images in NAS-Bench-201 (Dong and Yang, 2020, arXiv:2001.00326).

    The published lists (`configs/nas-benchmark/cifar-split.txt` of D-X-Y/AutoDL-Projects) are this shuffle of
    Python's `random`, by `generate_meta_info` in that repository. They are not stratified.
    """
    order = list(range(50_000))
    random.Random(1021).shuffle(order)
    first, second = torch.tensor(order).split(25_000)
    return first.sort().values, second.sort().values


def nasbench201_test(name: str) -> tuple[Tensor, Tensor]:
    """Return the halves of the test images of `cifar100` or `imagenet16-120` in NAS-Bench-201, x-valid and x-test.

    They are the published lists (`configs/nas-benchmark` of D-X-Y/AutoDL-Projects), and count the images of the
    published files; of ImageNet16-120, the validation images of the first 120 classes.
    """
    lists = json.loads(Path(__file__).with_name("nasbench201.json").read_text(encoding="utf-8"))
    valid = torch.from_numpy(np.unpackbits(np.frombuffer(base64.b64decode(lists[name]), np.uint8)))
    return valid.nonzero()[:, 0], (valid == 0).nonzero()[:, 0]


def read_split_file(path: str) -> dict[str, Tensor]:
    """Read index lists like `{"train": ["int", ["0", "5"]], "valid": ["int", ["1", "2"]]}`, or of numbers alone.

    The file may be packed by gzip.

    Returns:
        The two lists by name, `train` and `valid` or `xvalid` and `xtest`; each (n,) int64, sorted.

    Raises:
        DataError: If the file cannot be read, has other names, or an index occurs twice.
    """
    wanted = 'JSON such as {"train": ["int", ["0", "5"]], "valid": ["int", ["1", "2"]]}'
    try:
        with files.opened(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if packed else file as unpacked:
                text = unpacked.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise DataError(f"{path}: the split file has more than {_LARGEST / 2**20:g} MiB; is it one?")
        content = json.loads(text)
    except OSError as error:
        raise DataError(f"{path}: the split file cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the split file is not JSON ({error}); wanted is {wanted}") from error
    names = set(content) if isinstance(content, dict) else set()
    if names not in ({"train", "valid"}, {"xvalid", "xtest"}):
        raise DataError(f"{path}: a split file names `train` and `valid`, or `xvalid` and `xtest`; wanted is {wanted}")
    lists = {}
    for name, value in content.items():
        try:
            kind, numbers = _declared(value)
            lists[name] = torch.tensor(sorted(int(number) for number in numbers), dtype=torch.int64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"{path}: {name!r} is not a list of indices; wanted is {wanted}") from error
        if kind != "int":
            raise DataError(f"{path}: {name!r} is declared as {kind!r}; indices are 'int'")
    values, counts = torch.cat(list(lists.values())).unique(return_counts=True)
    if (counts > 1).any():
        raise DataError(f"{path}: index {int(values[counts > 1][0])} occurs twice; the lists must be disjoint")
    if len(values) and int(values[0]) < 0:
        raise DataError(f"{path}: index {int(values[0])} is negative; the first image is 0")
    return lists


def _declared(value: Any) -> tuple[Any, Any]:
    """Return the kind of the numbers in a list, and the numbers."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], list):
        return value[0], value[1]
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        raise TypeError("wanted is a list of whole numbers")
    return "int", value
