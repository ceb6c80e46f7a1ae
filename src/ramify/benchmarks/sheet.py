"""`Sheet`: the cells of a CSV file as people and spreadsheets write it, with row numbers.

What is clear is read: byte order marks (UTF-8, UTF-16), semicolons or tabs between cells, `sep=;` above the header,
decimal commas, percent signs, blank rows. What is not is refused with the number of the row, counted as a spreadsheet
does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ramify.benchmarks.columns import Column
from ramify.delimited import MISSING, NOT_FINITE, NUMBER, SEPARATORS, Delimited
from ramify.errors import TableError, nearest

ARCHITECTURES = "arch"
"""Name of the column with the architectures."""

_LISTED = 12
"""How many names a message lists."""

_DIGITS = re.compile(r"[\d.]+", re.ASCII)
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_DOT_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+", re.ASCII)
_MARKED = re.compile(r"[+-]?\d{1,3}([., '’\u00a0\u202f]\d{3})+([.,]\d+)?", re.ASCII)


class Sheet:
    """The header of a CSV file and the wanted cells of every row that is not blank.

    Args:
        content: Of the file.
        path: Its name, for messages.
        wanted: Names of the columns that are kept.

    Attributes:
        names: Those of the header.
        numbers: Of the rows; the first row of the file is 1.

    Raises:
        TableError: If it is no text, or a row is broken, or has another number of cells than the header.
    """

    def __init__(self, content: bytes, path: str | Path, wanted: Sequence[str]) -> None:
        self.path = path
        self.names: list[str] = []
        text = Delimited(content, path, TableError)
        self._separator = separator = text.separator(wanted)
        records = text.records(separator)
        at, header = next(records, (0, []))
        if not header:
            raise TableError(f"{path} is empty")
        self.names += [name.strip() for name in header]
        for name in wanted:
            if self.names.count(name) > 1:
                raise TableError(f"{path}: row {at}: two columns are called {name!r}")
        places = {name: self.names.index(name) for name in wanted if name in self.names}
        self._cells: dict[str, list[str]] = {name: [] for name in places}
        self.numbers: list[int] = []
        rows: list[list[str]] = []
        for number, row in records:
            if len(row) > len(header) and not any(map(str.strip, row[len(header) :])):
                row = row[: len(header)]
            if len(row) != len(header):
                self._check_header(at, wanted)
                hint = f"; a cell with {SEPARATORS[separator]} in it needs quotes" * (len(row) > len(header))
                hint += ", and a column of row names needs a name" * (len(row) == len(header) + 1)
                raise TableError(f"{path}: row {number} has {len(row)} cells where the header has {len(header)}{hint}")
            self.numbers.append(number)
            rows.append(row)
        for name, place in places.items():
            self._cells[name] = [row[place].strip() for row in rows]
        if not self.numbers:
            self._check_header(at, wanted)
            raise TableError(f"{path} has a header and no rows")
        if any(map(NUMBER.fullmatch, self.names)):
            self._check_header(at, wanted)

    def cells(self, name: str) -> list[str]:
        """Return the cells of a column, stripped of blanks.

        Raises:
            TableError: If the header does not have it.
        """
        if name not in self._cells:
            names = [names[:40] for names in self.names[:_LISTED] if names]
            if len(self.names) == 1:
                advice = f", but one column {self.names[0][:40]!r}; commas, semicolons or tabs must separate cells"
            elif name == ARCHITECTURES:
                advice = f" with the architectures; rename the one that holds them, among {self.listing()}"
            else:
                advice = "; " + nearest(name, names)
                if any(len(names.split()) > 1 for names in names):
                    advice += "; a name with blanks must be changed in the file"
            raise TableError(f"{self.path} has no column {name!r}{advice}")
        return self._cells[name]

    def listing(self, *without: str) -> str:
        """Return the names of the columns for a message, the first of them where they are many."""
        names = [name[:40] for name in self.names if name and name not in without]
        return ", ".join([*names[:_LISTED], *["…"] * (len(names) > _LISTED)])

    def values(self, column: Column) -> tuple[Column, np.ndarray]:
        """Return a column with its unit, and its values (N,), NaN where a cell is empty.

        Raises:
            TableError: If a value is no number or cannot be what the column says, or the unit is open.
        """
        cells = self.cells(column.name)
        if column.has_score and all(cell.endswith("%") for cell in cells if cell):
            column, cells = self._signed(column, cells)
        values = self._numbers(column, cells)
        if np.isnan(values).all():
            raise TableError(f"{self.path}: column {column.name!r} has no value in any row")
        try:
            column = column.settled(values)
        except TableError as error:
            doubtful = np.flatnonzero(column.doubtful(values))
            where = f"row {self.numbers[doubtful[0]]}: " if len(doubtful) and (values > 1).any() else ""
            raise TableError(f"{self.path}: {where}{error}") from None
        if fault := column.fault(values):
            raise TableError(f"{self.path}: row {self.numbers[fault[0]]}: {fault[1]}")
        return column, values

    def _numbers(self, column: Column, cells: list[str]) -> np.ndarray:
        """Return the values of cells (N,), NaN where one is empty."""
        if column.has_score and all(cells) and _DIGITS.fullmatch("".join(cells)):  # as most are: at once
            try:
                values = np.array(list(map(float, cells)))
            except ValueError:
                values = np.array([np.inf])
            if np.isfinite(values).all():
                return values
        commas = [at for at, cell in enumerate(cells) if _COMMA.fullmatch(cell)]
        if commas and any("." in cell for cell in cells):
            raise self._wrong(commas[0], column, "has a decimal comma where other rows have a decimal point")
        if commas and not column.has_score and all(_THOUSANDS.fullmatch(cells[at]) for at in commas):
            raise self._ambiguous(commas[0], column, ",")
        if points := self._may_be_thousands(column, cells):
            raise self._ambiguous(points[0], column, ".")
        values = np.full(len(cells), np.nan)
        for at, cell in enumerate(cells):
            if cell:
                values[at] = self._number(at, cell, column)
        return values

    def _number(self, at: int, cell: str, column: Column) -> float:
        plain = cell.replace(",", ".") if _COMMA.fullmatch(cell) else cell
        if NUMBER.fullmatch(plain) and math.isfinite(number := float(plain)):
            return number
        if NUMBER.fullmatch(plain) or NOT_FINITE.fullmatch(cell):
            raise self._wrong(at, column, "is not finite; leave the cell empty where a value is missing")
        hint = "; write digits with a decimal point or comma alone"
        if cell.endswith("%"):
            hint = "; give all accuracies and errors a percent sign, or none and say unit percent"
        elif cell.casefold() in MISSING:
            hint = "; leave the cell empty where a value is missing"
        elif _MARKED.fullmatch(cell):
            hint = "; write it without marks of thousands"
        raise self._wrong(at, column, f"is no number{hint}")

    def _signed(self, column: Column, cells: list[str]) -> tuple[Column, list[str]]:
        """Return a column whose values have percent signs, and its cells without them."""
        first = next((at for at, cell in enumerate(cells) if cell), None)
        if first is not None and column.unit == "fraction":
            raise self._wrong(first, column, "has a percent sign, and the unit is said to be fraction")
        unit = column.unit if first is None else "percent"
        return replace(column, unit=unit), [cell.removesuffix("%").rstrip() for cell in cells]

    def _may_be_thousands(self, column: Column, cells: list[str]) -> list[int]:
        """Return where points may mark thousands: in files that have decimal commas, or seem to."""
        if column.has_score:
            return []
        points = [at for at, cell in enumerate(cells) if "." in cell]
        if not all(_DOT_THOUSANDS.fullmatch(cells[at]) for at in points):
            return []
        others = [
            cell for name, cells in self._cells.items() if name not in (column.name, ARCHITECTURES) for cell in cells
        ]
        with_points = any("." in cell for cell in others)
        commas = any(_COMMA.fullmatch(cell) for cell in others)
        return points if commas or (self._separator == ";" and not with_points) else []

    def _ambiguous(self, at: int, column: Column, mark: str) -> TableError:
        """Return the error of a value that is a thousand times another one where the mark is of thousands."""
        cell = self._cells[column.name][at]
        plain = cell.replace(mark, "")
        if cell.count(mark) > 1:
            return self._wrong(at, column, f"has marks of thousands; write {plain}")
        return self._wrong(at, column, f"may be of thousands or not; write {plain}, or one digit more: {cell}0")

    def _check_header(self, number: int, wanted: Sequence[str]) -> None:
        """Refuse what has nothing of a header where it should be: it explains whatever else is wrong."""
        folded = [name.casefold() for name in self.names]
        if not self._cells and not any(name.casefold() in folded for name in wanted):
            named = " or ".join(map(repr, wanted[:3]))
            raise TableError(f"{self.path}: row {number} is no header of a table: it names no column {named}")

    def _wrong(self, at: int, column: Column, reason: str) -> TableError:
        cell = self._cells[column.name][at]
        return TableError(f"{self.path}: row {self.numbers[at]}: {cell[:40]!r} in column {column.name!r} {reason}")
