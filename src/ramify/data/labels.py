"""Reading labels of any type as classes or values.

Of classes: a number, a name, a truth value. Of values: a number, or a vector of them.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import torch

from ramify.data.rows import LARGEST_NUMBER, within_bounds
from ramify.errors import DataError, shown

Label = int | str | tuple[float, ...] | None
"""A class number, a class name, or the values to be learned; None where it is hidden."""


def read_target(label: Any, where: str, targets: str) -> Label:
    """Return a label as `read_label` does, or as `read_value` does where the targets are values."""
    return read_value(label, where) if targets == "values" else read_label(label, where)


def read_label(label: Any, where: str) -> int | str | None:
    """Return a label as a class number or a class name.

    Whole floats are numbers, too; truth values are the classes False and True.

    Raises:
        DataError: If it is neither.
    """
    if isinstance(label, torch.Tensor | np.ndarray | np.generic | list | tuple) and not isinstance(label, str):
        array = np.asarray(label.detach().cpu() if isinstance(label, torch.Tensor) else label)
        if array.size != 1:
            advice = "of a one-hot vector, label.argmax()" if array.ndim == 1 else "after the image"
            raise DataError(
                f"{where}: the label has {array.size} values (shape {array.shape}); wanted is a class number, {advice}"
            )
        label = array.item()
    if label is None or isinstance(label, bool):
        return label
    if isinstance(label, str):
        return str(label)  # NumPy has a type of its own for them
    if isinstance(label, numbers.Integral) or (isinstance(label, float) and label.is_integer()):
        return int(label)
    raise DataError(
        f"{where}: is not a pair of image and class number: the label is {label!r:.40} ({type(label).__name__}), and "
        "wanted is a whole number or a name"
        + ("; numbers are learned with targets='values'" if isinstance(label, float) and math.isfinite(label) else "")
    )


def read_value(label: Any, where: str) -> tuple[float, ...] | None:
    """Return the values to predict, a number or a vector of numbers; missing ones are NaN.

    Raises:
        DataError: If it is neither.
    """
    if label is None:
        return None
    array = _numbers(label)
    if array is None:
        raise DataError(
            f"{where}: the target is {label!r:.40} ({type(label).__name__}); with targets='values' it is a number, "
            "or a vector of numbers"
        )
    if (array.ndim > 1 and array.size > 1) or not array.size:
        raise DataError(f"{where}: the target has shape {array.shape}; wanted is a number, or a vector of numbers")
    return tuple(array.ravel().tolist())


def _numbers(label: Any) -> np.ndarray | None:
    """Return numbers of whatever type as float64, NaN where one is missing; None if they are no numbers."""
    if isinstance(label, torch.Tensor):
        return None if label.is_complex() else label.detach().cpu().double().numpy()
    try:
        array = np.asarray(label)
        is_numeric = array.dtype.kind in "buif" or (
            array.dtype.kind == "O"
            and all(one is None or isinstance(one, numbers.Real | Decimal) for one in array.flat)
        )
        return array.astype(np.float64) if is_numeric else None
    except (TypeError, ValueError, OverflowError):  # lists of several lengths, and numbers of hundreds of digits
        return None


def values_of(labels: Sequence[Label], where: Callable[[int], str], names: Sequence[str]) -> np.ndarray:
    """Return labels as an array of finite values, all of the same length.

    Args:
        labels: N labels.
        where: How to find one, for messages.
        names: Of the values, as far as they are known.

    Returns:
        (N, K) float32.

    Raises:
        DataError: If one has none, others, or values beyond `LARGEST_NUMBER`; it is named.
    """
    read = [read_value(label, where(row)) for row, label in enumerate(labels)]
    width = next((len(one) for one in read if one is not None), 0)
    for row, one in enumerate(read):
        if one is None:
            raise DataError(f"{where(row)}: has no target; leave it out")
        if len(one) != width:
            raise DataError(f"{where(row)}: has {len(one)} targets, and {where(0)} has {width}; all have as many")
    values = np.array(read, dtype=np.float64).reshape(len(read), width)
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    usable = within_bounds(numbers)
    if not usable.all():
        row, place = np.argwhere(~usable)[0].tolist()
        name = names[place] if place < len(names) else "target"
        value = values[row, place]
        what = (
            "is missing, or NaN; leave it out"
            if math.isnan(value)
            else f"is {value:g}; it must be within ±{LARGEST_NUMBER:g}"
        )
        raise DataError(f"{where(row)}: the target {shown(name)!r} {what}")
    return numbers
