"""Text files of tables, `.csv` and `.tsv`: rows of numbers and their labels, or paths of images and their labels.

The first row is the header. Cells are separated by tabs in `.tsv` files; in `.csv` files by commas, semicolons or tabs,
whichever makes most names of the header. Numbers have a decimal point; `true` and `false` are 1 and 0. Sizes are
bounded by `ramify.delimited` and `ramify.data.rows` before arrays are made.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ramify.data.columns import check_for_images, feature_columns, label_columns, usual
from ramify.data.encoded import Files
from ramify.data.labels import Label, read_label
from ramify.data.listed_images import SAMPLE, ListedImages, image_column, part_column
from ramify.data.part_names import LABEL_KEYS, told_by, told_by_stem
from ramify.data.parts import Part, Parts
from ramify.data.rows import ENCODE, MOST_FEATURES, rows_of
from ramify.data.source import source
from ramify.data.spec import DataSpec, named_columns
from ramify.data.table_files import TableFile, with_kin
from ramify.delimited import MISSING, NOT_FINITE, NUMBER, SEPARATORS, Delimited, read_content
from ramify.errors import DataError, OptionError, shown

_TRUTHS = {"true": 1.0, "false": 0.0}


@source("csv", suffix=".csv")
@source("tsv", suffix=".tsv")
def table_file(given: str, spec: DataSpec) -> Parts:
    """Read a table whose cells are separated by commas, semicolons or tabs, with its other parts beside it."""
    path = Path(given)
    return read_table(path, spec, ListedImages(path.parent))


def read_table(path: Path, spec: DataSpec, images: ListedImages) -> Parts:
    """Read a table, with its other parts beside it.

    Args:
        path: The file; cells are separated by tabs in a `.tsv` file.
        spec: Says which columns.
        images: Finds the images that it lists, if it is one of images.

    Raises:
        DataError: If it is no table, or a cell cannot be used.
    """
    separator = "\t" if path.suffix.lower() == ".tsv" else None
    parts = with_kin(path, spec, partial(_read, separator=separator, images=images))
    return parts.noting(*images.notes())


def _read(
    path: Path, spec: DataSpec, known: tuple[str, ...] | None, *, separator: str | None, images: ListedImages
) -> TableFile:
    """Read the rows, or paths of images, and the labels of a file; see `table_files.Read`."""
    text = Delimited(read_content(path, DataError, "write larger tables as Parquet"), path, DataError)
    separator = separator or text.separator()
    records = text.records(separator)
    at, header = next(records, (0, []))
    names = [name.strip() for name in header]
    _check_header(path, at, names)
    rows = list(islice(_whole_rows(records, path, len(names), separator), SAMPLE))
    told = told_by_stem(path.stem)
    part = told.part if told else "train"
    listing = image_column(path, names, [row for _, row in rows], spec, images, part)
    whole = chain(rows, _whole_rows(records, path, len(names), separator))
    named = [name for name in names if name]
    left = len(names) - len(named)
    notes = [f"{path}: {left} of its columns, which {'have' if left > 1 else 'has'} no name, not used"] if left else []
    if listing is not None:
        table = _of_images(path, names, list(whole), listing, spec, known, images, part)
        return replace(table, notes=(*notes, *table.notes))
    labels = known or label_columns(path, named, spec)
    inputs = feature_columns(path, named, labels, spec)
    wanted = [(name, names.index(name)) for name in inputs]
    held = [names.index(name) for name in labels if name in names]
    numbers = array("q")
    values = array("d")
    cells: list[list[str]] = []
    for number, row in whole:
        numbers.append(number)
        cells.append([row[place].strip() for place in held])
        values.extend(_number(row[place].strip(), path, number, name) for name, place in wanted)
    if not numbers:
        raise DataError(f"{path}: has a header and no rows")

    def where(row: int) -> str:
        return f"{path}, row {numbers[row]}"

    features = rows_of(np.array(values).reshape(len(numbers), -1), inputs, where)
    return TableFile(Part(features, _labels(cells, labels, path, numbers, spec), labels), labels, notes=tuple(notes))


def _of_images(
    path: Path,
    names: Sequence[str],
    rows: Sequence[tuple[int, list[str]]],
    listing: str,
    spec: DataSpec,
    known: tuple[str, ...] | None,
    images: ListedImages,
    part: str,
) -> TableFile:
    """Read a table whose column `listing` names images, all of a `part` unless another column names parts."""
    check_for_images(path, spec)
    others = [name for name in names if name and name != listing]
    asked = named_columns(spec.label_column or (), others, "label_column")
    parting = part_column(names, [row for _, row in rows[:SAMPLE]], (listing, *asked, *(known or ())))
    others = [name for name in others if name != parting]
    labels = known or label_columns(
        path, others, spec, usual(others, LABEL_KEYS) or (others if len(others) == 1 else ())
    )
    held = [names.index(name) for name in labels if name in names]
    numbers = array("q")
    files: list[Path] = []
    cells: list[list[str]] = []
    places: dict[str, list[int]] = {}
    missing: list[tuple[int, str]] = []
    for number, row in rows:
        name = row[names.index(listing)].strip()
        own = part
        if parting is not None:
            told = told_by(row[names.index(parting)].strip())
            if told is None:
                wanted = f"{shown(row[names.index(parting)])!r} in column {shown(parting)!r} names no part"
                raise DataError(f"{path}, row {number}: {wanted}; wanted is train, validation or test")
            own = told.part
        file = images.find(name, own) if name else None
        if file is None:
            missing.append((number, name))
            continue
        images.use(file)
        places.setdefault(own, []).append(len(files))
        numbers.append(number)
        files.append(file)
        cells.append([row[place].strip() for place in held])
    notes = (_missing(path, listing, missing, len(files), images.root),) if missing else ()
    if not files:
        raise DataError(f"{path}: has a header and no rows")
    targets = _labels(cells, labels, path, numbers, spec)
    whole = Part(Files(files, spec.channel_axis), targets, labels)
    divided = {
        own: replace(
            whole, images=Files([files[row] for row in some], spec.channel_axis), labels=[targets[row] for row in some]
        )
        for own, some in places.items()
    }
    return TableFile(whole, labels, notes=notes, divided=None if parting is None else divided)


def _missing(path: Path, listing: str, missing: Sequence[tuple[int, str]], found: int, root: Path) -> str:
    """Return a note on names without an image, or refuse a table most of whose images are not there."""
    (number, name), count = missing[0], len(missing) + found
    such = f"such as {shown(name)!r} in row {number}"
    if len(missing) > found:
        which = f"{len(missing)} of the {count} images that column {shown(listing)!r} lists"
        raise DataError(f"{path}: {which} are not below {root}, {such}")
    return f"{path}: {len(missing)} of the {count} images that it lists are not there and left out, {such}"


def _labels(
    cells: Sequence[Sequence[str]], labels: Sequence[str], path: Path, numbers: Sequence[int], spec: DataSpec
) -> list[Label]:
    """Return the labels of rows; hidden ones where a table lacks their columns."""
    if cells and len(cells[0]) != len(labels):
        return [None] * len(cells)
    if spec.targets == "values":
        return _values(cells, labels, path, numbers)
    return _classes(cells, lambda row: f"{path}, row {numbers[row]}")


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
