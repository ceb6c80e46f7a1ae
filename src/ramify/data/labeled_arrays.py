"""Arrays of images or rows beside arrays of their labels: from files of arrays, and as `(X, y)` in Python.

Images are (N, H, W), (N, H, W, C) or (N, C, H, W), rows are (N, F), and labels (N,), (N, 1) or, of values, (N, K).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ramify.data.arrays import channels_first, check_sides, native
from ramify.data.arrow import rows_of_frame
from ramify.data.depth import Extent
from ramify.data.encoded import RESIZED_BY_SPEC, RESIZED_IN_PYTHON, Arrays, Encoded, Items
from ramify.data.labels import Label, read_target
from ramify.data.parts import Part
from ramify.data.rows import Rows, check_size, rows_of_array
from ramify.data.spec import DataSpec
from ramify.errors import DataError, OptionError

Shape = tuple[int, ...]


def check_arrays(
    where: str,
    images: tuple[Shape, np.dtype[Any]],
    labels: Shape,
    of_labels: str,
    spec: DataSpec,
    *,
    tensor: bool = False,
) -> None:
    """Refuse arrays that are no images or rows, or have other numbers of them and of labels.

    Args:
        where: How to find the images, for messages.
        images: Their shape and type.
        labels: Their shape.
        of_labels: How messages call them.
        spec: Says where the channels stand, where the shape does not.
        tensor: Whether the images are a tensor; see `channels_first`.

    Raises:
        DataError: If they are.
        OptionError: If it is open which axis holds the channels.
    """
    shape, dtype = images
    if dtype.kind not in "buif":
        raise DataError(f"{where}: images are numbers, not {dtype}")
    if len(shape) not in (2, 3, 4) or not math.prod(shape[1:]):
        raise DataError(
            f"{where}: shape {shape} is none of (N, H, W), (N, H, W, C), (N, C, H, W), nor (N, F) of rows; reshape it"
        )
    if len(shape) == 2:
        check_size(*shape, where)
    else:
        sides = shape[1:]
        if len(sides) == 3 and channels_first(sides, f"{where}: shape {shape}", spec.channel_axis, tensor=tensor):
            sides = (*sides[1:], sides[0])
        check_sides(sides, f"{where}: shape {shape}")
    what = "image" if len(shape) > 2 else "row"
    if len(labels) not in (1, 2):
        raise DataError(f"{where}: {of_labels} has shape {labels}; wanted is one label for each {what}, (N,)")
    if shape[0] != labels[0]:
        raise DataError(f"{where}: {shape[0]} {what}s, and {labels[0]} labels in {of_labels}")


def part_of_arrays(
    images: np.ndarray,
    labels: Sequence[Any],
    name: str,
    spec: DataSpec,
    *,
    tensor: bool = False,
    in_python: bool = False,
) -> Part:
    """Return arrays that `check_arrays` has passed as images or rows, and their labels.

    Args:
        images: Numbers of any type.
        labels: As many, each of any type.
        name: How to find the images, for messages.
        spec: Says what is learned, which features are used, and where the channels stand.
        tensor: Whether the images were a tensor; see `channels_first`.
        in_python: Whether they were handed over in Python, for what is said of images of other sizes.
    """
    if images.ndim == 2:
        rows = rows_of_array(images, spec, lambda row: f"{name}, row {row}")
        return Part(rows, _targets(labels, rows.where, spec))
    if images.ndim == 4:
        if channels_first(images.shape[1:], name, spec.channel_axis, tensor=tensor):
            images = images.transpose(0, 2, 3, 1)
        images = images[..., 0] if images.shape[3] == 1 else images
    images = np.ascontiguousarray(images)
    encoded: Encoded = Arrays(images, name)
    if images.dtype != np.uint8:
        extent = Extent()
        for row, image in enumerate(images):
            extent.add(image, encoded.where(row))
        encoded = Items(images, name, _itself, extent, channel_axis="last")
    encoded.advice = RESIZED_IN_PYTHON if in_python else RESIZED_BY_SPEC
    return Part(encoded, _targets(labels, encoded.where, spec))


def _itself(image: np.ndarray) -> np.ndarray:
    return image


def _targets(labels: Sequence[Any], where: Callable[[int], str], spec: DataSpec) -> list[Label]:
    return [read_target(label, where(row), spec.targets) for row, label in enumerate(labels)]


# (X, y) in Python


def is_labeled_arrays(data: Any) -> bool:
    """Return whether this is a pair of inputs, in an array, a tensor or a data frame, and their labels."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        return False
    inputs, labels = data
    if isinstance(labels, np.ndarray | torch.Tensor):
        several = labels.ndim > 0
    else:
        is_column = hasattr(labels, "__array__") and hasattr(labels, "__len__")
        several = isinstance(labels, list | tuple | range) or (is_column and not is_frame(labels))
    return several and (isinstance(inputs, np.ndarray | torch.Tensor) or is_frame(inputs))


def is_frame(data: Any) -> bool:
    """Return whether this is a table with named columns, of pandas, Polars or Arrow."""
    return hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns")


def of_labeled_arrays(data: Sequence[Any], name: str, spec: DataSpec) -> Part:
    """Read (X, y).

    Args:
        data: X, images or rows in an array, a tensor or a data frame, and y, an array, a tensor, a column or a list.
        name: How to find it, for messages.
        spec: Says what is learned, which features are used, and where the channels stand.

    Raises:
        DataError: If they are none of these, do not fit together, or one of their values cannot be used.
    """
    inputs, labels = data
    for option in ("image_column", "label_column"):
        if getattr(spec, option) is not None:
            raise OptionError(f"{name}: (X, y) has no columns of images and labels; leave `{option}` out", option)
    targets = _labels(labels, name)
    if is_frame(inputs):
        rows: Rows = rows_of_frame(inputs, spec, name)
        if len(rows) != len(targets):
            raise DataError(f"{name}: {len(rows)} rows in X, and {len(targets)} labels in y")
        return Part(rows, _targets(targets, rows.where, spec))
    if isinstance(inputs, np.ma.MaskedArray):
        raise DataError(f"{name}, X: is a masked array, and its gaps have no values; fill them in, X.filled(0)")
    is_tensor = isinstance(inputs, torch.Tensor)
    images = native(_of_tensor(inputs, f"{name}, X") if is_tensor else inputs)
    of_labels = tuple(labels.shape) if isinstance(labels, np.ndarray | torch.Tensor) else (len(targets),)
    check_arrays(f"{name}, X", (images.shape, images.dtype), of_labels, "y", spec, tensor=is_tensor)
    return part_of_arrays(images, targets, name, spec, tensor=is_tensor, in_python=True)


def _labels(labels: Any, name: str) -> list[Any]:
    if isinstance(labels, torch.Tensor):
        labels = _of_tensor(labels, f"{name}, y")
    if isinstance(labels, list | tuple | range):
        return list(labels)
    try:
        values = np.asarray(labels).tolist()
    except (TypeError, ValueError):
        values = None
    if not isinstance(values, list):
        raise DataError(
            f"{name}: y is {type(labels).__name__}; wanted is one label for each of X, an array (N,) or a list"
        )
    return values


def _of_tensor(tensor: torch.Tensor, where: str) -> np.ndarray:
    """Return a tensor as an array; NumPy knows no bfloat16."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise DataError(f"{where}: is a sparse, quantized or meta tensor; hand over a plain one, as tensor.to_dense()")
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).resolve_conj().numpy()
    return array
