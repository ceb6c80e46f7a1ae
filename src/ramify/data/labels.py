"""What a label may be: a class number, a class name, a truth value, in any of the types they come in."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import torch

from ramify.errors import DataError


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
    )
