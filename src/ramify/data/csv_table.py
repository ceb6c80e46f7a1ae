"""Text files of tables, `.csv` and `.tsv`: rows of numbers and their labels, or paths of images and their labels.

The first row is the header. Cells are separated by tabs in `.tsv` files; in `.csv` files by commas, semicolons or tabs,
whichever makes most names of the header. Numbers have a decimal point; `true` and `false` are 1 and 0. Sizes are
bounded by `ramify.delimited` and `ramify.data.rows` before arrays are made.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ramify.data.columns import check_for_images, column, feature_columns, label_columns
from ramify.data.encoded import Files
from ramify.data.labels import Label, read_label
from ramify.data.parts import Part, Parts
from ramify.data.rows import ENCODE, MOST_FEATURES, rows_of
from ramify.data.source import source
from ramify.data.spec import DataSpec
from ramify.data.table_files import TableFile, with_kin
from ramify.delimited import MISSING, NOT_FINITE, NUMBER, SEPARATORS, Delimited, read_content
from ramify.errors import DataError, OptionError, shown

_TRUTHS = {"true": 1.0, "false": 0.0}


@source("csv", suffix=".csv")
def csv_file(given: str, spec: DataSpec) -> Parts:
    """Read a table whose cells are separated by commas, semicolons or tabs, with its other parts beside it."""
    return with_kin(Path(given), spec, partial(_read, separator=None))


@source("tsv", suffix=".tsv")
def tsv_file(given: str, spec: DataSpec) -> Parts:
    """Read a table whose cells are separated by tabs, with its other parts beside it."""
    return with_kin(Path(given), spec, partial(_read, separator="\t"))


def _read(path: Path, spec: DataSpec, known: tuple[str, ...] | None, *, separator: str | None) -> TableFile:
    """Read the rows, or paths of images, and the labels of a file; see `table_files.Read`."""
    text = Delimited(read_content(path, DataError, "write larger tables as Parquet"), path, DataError)
    separator = separator or text.separator()
    records = text.records(separator)
    at, header = next(records, (0, []))
    names = [name.strip() for name in header]
    _check_header(path, at, names)
    named = [name for name in names if name]
    labels = known or label_columns(path, named, spec)
    if spec.image_column is None:
        inputs = feature_columns(path, named, labels, spec)
    else:
        check_for_images(path, spec)
        inputs = (column(path, named, spec.image_column, "image_column", ()),)
    wanted = [(name, names.index(name)) for name in inputs]
    held = [names.index(name) for name in labels if name in names]
    numbers = array("q")
    values = array("d")
    paths: list[Path] = []
    cells: list[list[str]] = []
    for number, row in _whole_rows(records, path, len(names), separator):
        numbers.append(number)
        cells.append([row[place].strip() for place in held])
        if spec.image_column is None:
            values.extend(_number(row[place].strip(), path, number, name) for name, place in wanted)
        else:
            paths.append(path.parent / row[wanted[0][1]].strip())
    if not numbers:
        raise DataError(f"{path}: has a header and no rows")

    def where(row: int) -> str:
        return f"{path}, row {numbers[row]}"

    table = np.array(values).reshape(len(numbers), -1)
    images = Files(paths, spec.channel_axis) if paths else rows_of(table, inputs, where)
    targets: list[Label] = [None] * len(numbers)
    if len(held) == len(labels):
        targets = _classes(cells, where) if spec.targets == "classes" else _values(cells, labels, path, numbers)
    left = len(names) - len(named)
    notes = (f"{path}: {left} of its columns, which {'have' if left > 1 else 'has'} no name, not used",) if left else ()
    return TableFile(Part(images, targets, labels), labels, notes=notes)


def _check_header(path: Path, at: int, names: Sequence[str]) -> None:
    """Refuse what has no names of columns, too many, or one twice."""
    if not names:
        raise DataError(f"{path}: is empty; wanted is a header with the names of the columns, and rows of numbers")
    if len(names) > MOST_FEATURES:
        raise DataError(f"{path}: row {at} names {len(names):,} columns, and {MOST_FEATURES:,} at most are read")
    earlier: set[str] = set()
    for name in filter(None, names):
        if name in earlier:
            raise DataError(f"{path}: row {at}: two columns are called {shown(name)!r}; rename one")
        earlier.add(name)
    # The columns of an array that became a table are called 0, 1, 2.
    if all(map(NUMBER.fullmatch, names)) and list(names) != list(map(str, range(len(names)))):
        raise DataError(f"{path}: row {at} holds numbers alone; wanted is a header with the names of the columns")


def _whole_rows(
    records: Iterator[tuple[int, list[str]]], path: Path, width: int, separator: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows below the header with their numbers.

    Raises:
        DataError: If one has more or fewer cells than the header, but for empty ones at its end.
    """
    for number, row in records:
        if len(row) != width and not (len(row) > width and not any(map(str.strip, row[width:]))):
            hint = f"; a cell with {SEPARATORS[separator]} in it needs quotes" * (len(row) > width)
            hint += ", and a column of row names needs a name" * (len(row) == width + 1)
            raise DataError(f"{path}: row {number} has {len(row)} cells where the header has {width}{hint}")
        yield number, row


def _number(cell: str, path: Path, number: int, name: str) -> float:
    """Return the value of a feature; what is said to be no number, or infinite, is for who looks at all of them."""
    if _is_number(cell):
        return float(cell)
    if (truth := _TRUTHS.get(cell.casefold())) is not None:
        return truth
    if cell.casefold() in MISSING or not cell:
        raise DataError(
            f"{path}, row {number}: column {shown(name)!r} is missing; fill it in, or leave the row or the column out"
        )
    raise OptionError(
        f"{path}, row {number}: {shown(cell)!r} in column {shown(name)!r} is no number; {ENCODE}", "feature_columns"
    )


def _is_number(cell: str) -> bool:
    """Return whether a cell is written as a number, be it NaN or infinite."""
    return bool(NUMBER.fullmatch(cell) or NOT_FINITE.fullmatch(cell))


def _classes(cells: Sequence[Sequence[str]], where: Callable[[int], str]) -> list[Label]:
    """Return class numbers if all labels are numbers, else class names; empty ones are hidden."""
    labels = [row[0] for row in cells]
    if not all(map(_is_number, filter(None, labels))):
        return [cell or None for cell in labels]
    return [read_label(float(cell), where(row)) if cell else None for row, cell in enumerate(labels)]


def _values(cells: Sequence[Sequence[str]], names: Sequence[str], path: Path, numbers: Sequence[int]) -> list[Label]:
    """Return the values of labels, NaN where they are missing."""
    values: list[Label] = []
    for number, row in zip(numbers, cells, strict=True):
        for cell, name in zip(row, names, strict=True):
            if cell and cell.casefold() not in MISSING and not _is_number(cell):
                raise DataError(
                    f"{path}, row {number}: {shown(cell)!r} in column {shown(name)!r} is no number; with "
                    "targets='values', labels are numbers"
                )
        values.append(tuple(float(cell) if _is_number(cell) else math.nan for cell in row))
    return values
