"""Rows of a table, each with F numbers, the features; kept in memory.

Legend: N rows, F features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ramify.data.columns import feature_columns
from ramify.data.spec import DataSpec
from ramify.errors import DataError, shown

LARGEST = 2**32
"""Bytes of the numbers of a table, which are kept in memory."""

MOST_FEATURES = 100_000

LARGEST_NUMBER = 1e37
"""Of a feature or a value to be learned: differences of larger ones are not finite in 32 bits."""

ENCODE = "leave it out by `feature_columns` (--data.feature_columns a,b,c), or encode it as numbers"
"""What to do with a column that holds no numbers."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a table, in memory.

    Args:
        values: (N, F) float32, finite.
        features: Names of the columns.
        where: How to find a row, for messages.
    """

    values: np.ndarray
    features: tuple[str, ...]
    where: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.values)


def check_size(count: int, features: int, where: object) -> None:
    """Raise `DataError` if a table of `count` rows and this many features is too large for memory."""
    if features > MOST_FEATURES:
        raise DataError(f"{where}: has {features:,} features, and {MOST_FEATURES:,} at most are read; choose some")
    if count * features * 4 > LARGEST:
        raise DataError(
            f"{where}: {count:,} rows of {features:,} features take more than {LARGEST / 2**30:g} GiB; choose some"
        )


def rows_of(values: np.ndarray, features: Sequence[str], where: Callable[[int], str]) -> Rows:
    """Return numbers (N, F) of any type as rows.

    Raises:
        DataError: If one is missing, or beyond `LARGEST_NUMBER`; it is named.
    """
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, dtype=np.float32)
    usable = within_bounds(single)
    if not usable.all():
        row, place = np.argwhere(~usable)[0].tolist()
        value = float(values[row, place])
        raise DataError(
            f"{where(row)}: column {shown(features[place])!r} "
            + ("is missing, or NaN; fill it in, or leave the row out" if math.isnan(value) else _too_large(value))
        )
    return Rows(single, tuple(features), where)


def within_bounds(values: np.ndarray) -> np.ndarray:
    """Return which numbers are not NaN and at most `LARGEST_NUMBER` in size."""
    usable: np.ndarray = (values >= -LARGEST_NUMBER) & (values <= LARGEST_NUMBER)
    return usable


def rows_of_array(
    values: np.ndarray, spec: DataSpec, where: Callable[[int], str], names: Sequence[str] | None = None
) -> Rows:
    """Return an array (N, F) as rows, with the features that the specification chooses.

    Args:
        values: Numbers.
        spec: Names the features, where it does.
        where: How to find a row, for messages.
        names: Of the columns; x0, x1 and so on when None.
    """
    columns = [f"x{place}" for place in range(values.shape[1])] if names is None else [str(name) for name in names]
    features = feature_columns(where(0), columns, (), spec)
    if spec.feature_columns is not None:
        values = values[:, [columns.index(name) for name in features]]
    return rows_of(values, features, where)


def _too_large(value: float) -> str:
    return f"is {value:g}, and features must be within ±{LARGEST_NUMBER:g}; scale them"


def joined(parts: Sequence[Rows], names: Sequence[str]) -> Rows:
    """Concatenate the rows of tables; columns are matched by name.

    Args:
        parts: Of which the first says the order of the features.
        names: How messages call each.

    Raises:
        DataError: If one has other features.
    """
    features = parts[0].features
    for part, name in zip(parts, names, strict=True):
        for some, others, at in ((features, part.features, name), (part.features, features, names[0])):
            if missing := next((one for one in some if one not in others), None):
                raise DataError(
                    f"{at}: has no feature {shown(missing)!r}, and other rows have; give all tables the same columns"
                )
    if len(parts) == 1:
        return parts[0]
    blocks = [part.values[:, [part.features.index(name) for name in features]] for part in parts]
    starts = list(accumulate(map(len, parts), initial=0))

    def where(row: int) -> str:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        return parts[part].where(row - starts[part])

    return Rows(np.concatenate(blocks), features, where)
