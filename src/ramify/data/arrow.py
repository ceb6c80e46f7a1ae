"""Arrow tables from Parquet files, Hugging Face data sets or data frames: their labels and rows of numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ramify.data.columns import feature_columns, label_columns
from ramify.data.labels import Label, read_target
from ramify.data.rows import ENCODE, Rows, rows_of
from ramify.data.spec import DataSpec
from ramify.errors import DataError, OptionError, shown

if TYPE_CHECKING:
    import pyarrow


def is_whole(kind: pyarrow.DataType) -> bool:
    """Return whether a column of this type holds integers or booleans."""
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_boolean(kind))


def is_number(kind: pyarrow.DataType) -> bool:
    """Return whether a column of this type holds numbers or booleans, or only nulls."""
    import pyarrow.types as types

    return bool(is_whole(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind))


def columns_of(
    schema: pyarrow.Schema, spec: DataSpec, where: object, known: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the feature and label columns of a table of rows.

    Args:
        schema: Of the table.
        spec: Says which, where it does.
        where: How to find the table, for messages.
        known: The labels of the training rows, which others may lack.

    Raises:
        OptionError: If it is open which, or a feature is not of numbers.
    """
    # pandas writes an index that is no column of its own under such names.
    names = [name for name in schema.names if not re.fullmatch(r"__index_level_\d+__", name)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{where}: two columns are called {shown(twice)!r}; rename one")
    labels = label_columns(where, names, spec) if known is None else known
    features = feature_columns(where, names, labels, spec)
    for name in features:
        if not is_number(kind := schema.field(name).type):
            raise OptionError(
                f"{where}: column {shown(name)!r} holds {shown(str(kind))}, not numbers; {ENCODE}", "feature_columns"
            )
    return features, labels


def table_of_frame(data: Any, where: str) -> pyarrow.Table:
    """Return a data frame, of pandas, Polars, or whatever else hands over Arrow tables, as such a table."""
    import pyarrow

    try:
        return pyarrow.table(data)
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        reason = f"{' '.join(str(error).split())!s:.120}"
        raise DataError(f"{where}: cannot become an Arrow table ({reason}); give columns of numbers") from None


def rows_of_frame(data: Any, spec: DataSpec, where: str) -> Rows:
    """Return the rows of a data frame without labels, with the columns that the specification chooses."""
    table = table_of_frame(data, where)
    features, _ = columns_of(table.schema, spec, where, ())
    return rows_of_table(table, features, lambda row: f"{where}, row {row}")


def rows_of_table(table: pyarrow.Table, features: Sequence[str], where: Callable[[int], str]) -> Rows:
    """Return the rows of a table with the numeric columns `features`.

    Raises:
        DataError: If one is missing, or beyond `LARGEST_NUMBER`; it is named.
    """
    import pyarrow
    import pyarrow.compute as compute

    values = np.empty((len(table), len(features)), dtype=np.float64)
    for place, name in enumerate(features):
        values[:, place] = compute.cast(table.column(name), pyarrow.float64(), safe=False).to_numpy()
    return rows_of(values, features, where)


def labels_of(
    table: pyarrow.Table, columns: Sequence[str], targets: str, where: Callable[[int], str], *, may_hide: bool
) -> list[Label]:
    """Return the label of each row of a table.

    Args:
        table: The table.
        columns: Of the labels, which are hidden where there are no such columns.
        targets: What is learned, as `DataSpec` has it.
        where: How to find a row, for messages.
        may_hide: Whether labels that are all empty are hidden.

    Raises:
        DataError: If one is nothing that can be learned.
    """
    if not set(columns) <= set(table.column_names):
        return [None] * len(table)
    cells = [table.column(name).to_pylist() for name in columns]
    values: list[Any] = cells[0] if len(cells) == 1 else list(zip(*cells, strict=True))
    if may_hide and all(value is None or value != value for value in values):
        return [None] * len(table)
    if targets == "classes" and not _holds_classes(kind := table.schema.field(columns[0]).type, values):
        advice = "; numbers are learned with targets='values'" if is_number(kind) else ""
        raise DataError(
            f"{where(0).rpartition(',')[0]}: column {columns[0]!r} is {kind}, not integers or names{advice}"
        )
    return [read_target(value, where(row), targets) for row, value in enumerate(values)]


def _holds_classes(kind: pyarrow.DataType, values: Sequence[Any]) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if is_whole(kind) or types.is_string(kind) or types.is_large_string(kind):
        return True
    return all(value is None or (isinstance(value, float) and value.is_integer()) for value in values)
