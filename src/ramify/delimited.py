"""Text files of rows and cells, as people and spreadsheets write CSV, read with bounds and row numbers.

What is clear is read: byte order marks (UTF-8, UTF-16), commas, semicolons or tabs between cells, `sep=;` above the
header, blank rows, quotes, files packed by gzip. Rows are counted as a spreadsheet does: the first one is 1.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ramify import files
from ramify.errors import RamifyError

LARGEST = 2**27
"""Bytes of text that are read, unpacked."""

LONGEST = 2**22
"""Characters of a line."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may stand between cells → its name."""

MISSING = {"na", "n/a", "#n/a", "#nv", "null", "none", "-", "–", "—", "?", "#div/0!", "#value!", "#ref!", "#name?"}
"""What programs write in the place of a value that is not there, in lower case."""

NUMBER = re.compile(r"[+-]?(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number with a decimal point."""

NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
"""How programs write what is no finite number."""

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

_SEPARATOR_LINE = re.compile(r"sep=([,;\t])\s*", re.IGNORECASE)


def read_content(path: Path, error: type[RamifyError], advice: str = "is it a table?") -> bytes:
    """Return the bytes of a file, unpacked where they are compressed.

    Args:
        path: The file.
        error: What to raise.
        advice: What is said of a file that is too large.

    Raises:
        RamifyError: Of the type `error`, if it is missing, damaged, or too large.
    """
    try:
        with files.opened(path) as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if packed else file as unpacked:
                content = unpacked.read(LARGEST + 1)
    except FileNotFoundError:
        raise error(f"there is no file {path}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
        raise error(f"{path} is damaged or truncated ({problem})") from None
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}") from None
    if len(content) > LARGEST:
        raise error(f"{path} holds more than {LARGEST >> 20} MiB of text; {advice}")
    return content


class Delimited:
    """The rows of a text whose cells are separated by a delimiter.

    Args:
        content: Of the file.
        path: Its name, for messages.
        error: What to raise.

    Raises:
        RamifyError: Of the type `error`, if it is of another format.
    """

    def __init__(self, content: bytes, path: str | Path, error: type[RamifyError]) -> None:
        self.path, self.error, self._content = path, error, content
        start = b"".join(content[:1024].removeprefix(codecs.BOM_UTF8).split())
        for mark, kind in _OTHERS.items():
            if start.startswith(mark):
                raise error(f"{path} is no CSV file but {kind}")
        self._encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
        if self._encoding.startswith("utf-8") and b"\0" in content:
            raise error(f"{path} is no CSV file: it holds zero bytes; save it as 'CSV UTF-8'")

    def records(self, separator: str) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows that are not blank, with their numbers.

        Raises:
            RamifyError: Of the type `error`, if it is no text, or a row is broken or too long.
        """
        stream, line = self._stream()
        reader = csv.reader(self._lines(stream), delimiter=separator, strict=True, skipinitialspace=True)
        number = 1 if line else 0
        begun = False
        while True:
            number += 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError:
                raise self._no_text() from None
            except csv.Error as problem:
                hint = "is a quote not closed?" if begun else "commas, semicolons or tabs must separate cells"
                raise self.error(f"{self.path}: row {number}: {problem}; {hint}") from None
            if any(map(str.strip, row)):
                yield number, row
                begun = True

    def separator(self, wanted: Sequence[str] = ()) -> str:
        """Return the delimiter: that of a line `sep=;`, else the one that splits the header into most names.

        Args:
            wanted: Names that count before all others.
        """
        if declared := self._stream()[1]:
            return declared

        def fit(separator: str) -> tuple[int, int]:
            try:
                names = [name.strip() for name in next(self.records(separator), (0, []))[1]]
            except self.error:  # said by who reads it with the separator that is chosen
                return 0, 0
            return len(set(names).intersection(wanted)), len(names)

        return max(SEPARATORS, key=fit)

    def _stream(self) -> tuple[io.TextIOWrapper, str]:
        """Return the text behind a line such as `sep=;`, and what that line says."""
        stream = io.TextIOWrapper(io.BytesIO(self._content), self._encoding, newline="")
        try:
            line = _SEPARATOR_LINE.fullmatch(stream.readline(80))
        except UnicodeDecodeError:
            line = None  # said with its row by who reads it
        if not line:
            stream = io.TextIOWrapper(io.BytesIO(self._content), self._encoding, newline="")
        return stream, line[1] if line else ""

    def _lines(self, stream: io.TextIOWrapper) -> Iterator[str]:
        while line := stream.readline(LONGEST + 1):
            if len(line) > LONGEST:
                raise self.error(f"{self.path}: a line has more than {LONGEST:,} characters; is it a table?")
            yield line

    def _no_text(self) -> RamifyError:
        where = ""
        try:
            self._content.decode(self._encoding)
        except UnicodeDecodeError as problem:
            if self._encoding.startswith("utf-8"):
                lines = self._content.count(b"\n", 0, problem.start)
                where = f"row {lines + 1}: "
        return self.error(f"{self.path}: {where}this is no {self._encoding[:6].upper()} text; save it as 'CSV UTF-8'")
