"""`Sheet`: the cells of a CSV file as people and spreadsheets write it, each row with its number.

What is clear is read: byte order marks (UTF-8, UTF-16), semicolons or tabs between cells, `sep=;` above the header,
decimal commas, percent signs, blank rows. What is not is refused with the number of the row, counted as a spreadsheet
does.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ramify.benchmarks.columns import Column
from ramify.errors import TableError, nearest

ARCHITECTURES = "arch"
"""Name of the column with the architectures."""

LARGEST = 2**27
"""Bytes of text that are read, unpacked."""

_GZIP = b"\x1f\x8b"
_MARKS = {  # the longer first: that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WORKBOOK = "a workbook or an archive; save the sheet as 'CSV UTF-8'"
_OTHERS = {
    b"PK\x03\x04": _WORKBOOK,
    b"\xd0\xcf\x11\xe0": _WORKBOOK,
    b"PAR1": "Parquet; write it with `pandas.read_parquet(FILE).to_csv(OUT, index=False)`",
    b"{": "JSON; write it with `pandas.read_json(FILE, lines=True).to_csv(OUT, index=False)`",
    b"[{": "JSON; write it with `pandas.read_json(FILE).to_csv(OUT, index=False)`",
}
"""How files of other formats begin → what they are and how they become CSV. No header begins like JSON."""
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_LISTED = 12
"""How many names a message lists."""

_NUMBER = re.compile(r"[+-]?(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_DOT_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+", re.ASCII)
_MARKED = re.compile(r"[+-]?\d{1,3}([., '’\u00a0\u202f]\d{3})+([.,]\d+)?", re.ASCII)
_MISSING = {"na", "n/a", "#n/a", "#nv", "null", "none", "-", "–", "—", "?", "#div/0!", "#value!", "#ref!", "#name?"}
"""What programs write in the place of a value that is not there."""
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_SEPARATOR_LINE = re.compile(r"sep=([,;\t])\s*", re.IGNORECASE)


def read_content(path: Path) -> bytes:
    """Return the bytes of a file, unpacked where they are compressed.

    Raises:
        TableError: If it is missing, damaged, or too large.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if packed else file as unpacked:
                content = unpacked.read(LARGEST + 1)
    except FileNotFoundError:
        raise TableError(f"there is no file {path}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TableError(f"{path} is damaged or truncated ({error})") from None
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise TableError(f"{path} holds more than {LARGEST >> 20} MiB of text; is it a table?")
    return content


class Sheet:
    """A header and, of every row that is not blank, the cells of some columns.

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
        self.path, self._content = path, content
        self.names: list[str] = []
        start = b"".join(content[:1024].removeprefix(codecs.BOM_UTF8).split())
        for mark, kind in _OTHERS.items():
            if start.startswith(mark):
                raise TableError(f"{path} is no CSV file but {kind}")
        self._encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
        if self._encoding == "utf-8" and b"\0" in content[:1024]:
            raise TableError(f"{path} is no CSV file: it holds zero bytes; save it as 'CSV UTF-8'")
        self._separator = separator = self._found_separator(wanted)
        records = self._records(separator)
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
        for number, row in records:
            if not any(map(str.strip, row[len(header) :])):
                row = row[: len(header)]
            if len(row) != len(header):
                self._check_header(at, wanted)
                hint = f"; a cell with {_SEPARATORS[separator]} in it needs quotes" * (len(row) > len(header))
                hint += ", and a column of row names needs a name" * (len(row) == len(header) + 1)
                raise TableError(f"{path}: row {number} has {len(row)} cells where the header has {len(header)}{hint}")
            self.numbers.append(number)
            for name, place in places.items():
                self._cells[name].append(row[place].strip())
        if not self.numbers:
            self._check_header(at, wanted)
            raise TableError(f"{path} has a header and no rows")
        if any(map(_NUMBER.fullmatch, self.names)):
            self._check_header(at, wanted)

    def cells(self, name: str) -> list[str]:
        """Return the cells of a wanted column, without blanks around them.

        Raises:
            TableError: If the header does not have it.
        """
        if name not in self._cells:
            known = [known[:40] for known in self.names[:_LISTED] if known]
            if len(self.names) == 1:
                said = f", but one column {self.names[0][:40]!r}; commas, semicolons or tabs must separate cells"
            elif name == ARCHITECTURES:
                said = f" with the architectures; rename the one that holds them, among {self.listing()}"
            else:
                said = "; " + nearest(name, known)
                if any(len(known.split()) > 1 for known in known):
                    said += "; a name with blanks must be changed in the file"
            raise TableError(f"{self.path} has no column {name!r}{said}")
        return self._cells[name]

    def listing(self, *without: str) -> str:
        """Return the names of the columns for a message, not too many of them."""
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
        commas = [at for at, cell in enumerate(cells) if _COMMA.fullmatch(cell)]
        if commas and any("." in cell for cell in cells):
            raise self._wrong(commas[0], column, "has a decimal comma where other rows have a decimal point")
        if commas and not column.has_score and all(_THOUSANDS.fullmatch(cells[at]) for at in commas):
            raise self._ambiguous(commas[0], column, ",")
        if points := self._may_be_thousands(column, cells):
            raise self._ambiguous(points[0], column, ".")
        found = np.full(len(cells), np.nan)
        for at, cell in enumerate(cells):
            if cell:
                found[at] = self._number(at, cell, column)
        if np.isnan(found).all():
            raise TableError(f"{self.path}: column {column.name!r} has no value in any row")
        try:
            column = column.settled(found)
        except TableError as error:
            doubtful = np.flatnonzero(column.doubtful(found))
            where = f"row {self.numbers[doubtful[0]]}: " if len(doubtful) and (found > 1).any() else ""
            raise TableError(f"{self.path}: {where}{error}") from None
        if fault := column.fault(found):
            raise TableError(f"{self.path}: row {self.numbers[fault[0]]}: {fault[1]}")
        return column, found

    def _number(self, at: int, cell: str, column: Column) -> float:
        plain = cell.replace(",", ".") if _COMMA.fullmatch(cell) else cell
        if _NUMBER.fullmatch(plain) and math.isfinite(number := float(plain)):
            return number
        if _NUMBER.fullmatch(plain) or _NOT_FINITE.fullmatch(cell):
            raise self._wrong(at, column, "is not finite; leave the cell empty where a value is missing")
        hint = "; write digits with a decimal point or comma alone"
        if cell.endswith("%"):
            hint = "; give all accuracies and errors a percent sign, or none and say unit percent"
        elif cell.casefold() in _MISSING:
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
        points = [at for at, cell in enumerate(cells) if "." in cell]
        if column.has_score or not all(_DOT_THOUSANDS.fullmatch(cells[at]) for at in points):
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

    def _stream(self) -> tuple[io.TextIOWrapper, str]:
        """Return the text behind a line such as `sep=;`, and what that line says."""
        stream = io.TextIOWrapper(io.BytesIO(self._content), self._encoding, newline="")
        try:
            found = _SEPARATOR_LINE.fullmatch(stream.readline(80))
        except UnicodeDecodeError:
            found = None  # said with its row by who reads it
        if not found:
            stream = io.TextIOWrapper(io.BytesIO(self._content), self._encoding, newline="")
        return stream, found[1] if found else ""

    def _records(self, separator: str) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows that are not blank with their numbers."""
        stream, said = self._stream()
        reader = csv.reader(stream, delimiter=separator, strict=True, skipinitialspace=True)
        number = 1 if said else 0
        while True:
            number += 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError:
                raise self._no_text() from None
            except csv.Error as error:
                hint = "is a quote not closed?" if self.names else "commas, semicolons or tabs must separate cells"
                raise TableError(f"{self.path}: row {number}: {error}; {hint}") from None
            if any(map(str.strip, row)):
                yield number, row

    def _found_separator(self, wanted: Sequence[str]) -> str:
        """Return what separates cells: what makes the names of the wanted columns, or most names, of the header."""
        if said := self._stream()[1]:
            return said

        def fit(separator: str) -> tuple[int, int]:
            try:
                names = [name.strip() for name in next(self._records(separator), (0, []))[1]]
            except TableError:  # said by who reads it with the separator that is chosen
                return 0, 0
            return len(set(names).intersection(wanted)), len(names)

        return max(_SEPARATORS, key=fit)

    def _no_text(self) -> TableError:
        where = ""
        try:
            self._content.decode(self._encoding)
        except UnicodeDecodeError as error:
            if self._encoding.startswith("utf-8"):
                lines = self._content.count(b"\n", 0, error.start)
                where = f"row {lines + 1}: "
        return TableError(f"{self.path}: {where}this is no {self._encoding[:6].upper()} text; save it as 'CSV UTF-8'")
