"""Finding images that are the same file or have the same bytes, so that no test image is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify import files
from ramify.data.encoded import Encoded, Files, HuggingFace, Joined, Table

BLOCK = 512  # bytes from the middle of a file, which tell nearly all files of one size apart


def rows_apart(images: Encoded, test: Encoded) -> list[int]:
    """Return the rows of `images` that are not among the images `test`, by file and by bytes.

    Arrays and data sets of PyTorch have no files to compare; all of their rows are returned. A byte is read only
    where sizes agree, and a whole file only where a block in its middle does too.

    Raises:
        OSError: If a file cannot be read.
    """
    others = list(_stored(test))
    files = {other.file for other in others} - {None}
    gone, unclear = set(), []
    for one in _stored(images):
        if one.file in files:
            gone.add(one.row)
        else:
            unclear.append(one)
    for tell in (_Stored.length, _Stored.block, _Stored.digest):
        known = {tell(other) for other in others}
        unclear = [one for one in unclear if tell(one) in known]
        left = {tell(one) for one in unclear}
        others = [other for other in others if tell(other) in left]
    gone |= {one.row for one in unclear}
    return [row for row in range(len(images)) if row not in gone]


@dataclass(frozen=True, slots=True)
class _Stored:
    """An encoded image where it lies: a file, or a cell of a table."""

    row: int
    size: int
    file: tuple[int, int] | None = None  # device and inode: one file under whatever path
    path: Path | None = None
    cell: Any = None

    def length(self) -> int:
        return self.size

    def block(self) -> tuple[int, bytes]:
        middle = self.size // 2
        if self.path is None:
            return self.size, self.cell.as_py()[middle : middle + BLOCK]
        with files.opened(self.path) as file:
            file.seek(middle)
            return self.size, file.read(BLOCK)

    def digest(self) -> bytes:
        if self.path is None:
            return hashlib.sha256(self.cell.as_py()).digest()
        with files.opened(self.path) as file:
            return hashlib.file_digest(file, "sha256").digest()


def _stored(images: Encoded, first: int = 0) -> Iterator[_Stored]:
    """Yield what is stored of `images`, whose first has the number `first`."""
    if isinstance(images, Joined):
        for start, part in zip(images.starts.tolist(), images.parts, strict=False):
            yield from _stored(part, first + start)
    elif isinstance(images, Files):
        for row, path in enumerate(images.paths):
            yield _of_file(first + row, path)
    elif isinstance(images, Table):
        yield from _cells(images.column, images.file.parent, first)
    elif isinstance(images, HuggingFace):
        table = images.dataset.select_columns([images.column]).with_format("arrow")[:]
        yield from _cells(table.column(images.column), Path(), first)


def _of_file(row: int, path: Path) -> _Stored:
    status = path.stat()
    return _Stored(row, status.st_size, (status.st_dev, status.st_ino), path)


def _cells(column: Any, folder: Path, first: int) -> Iterator[_Stored]:
    """Yield the cells of a column: bytes, or records of bytes and the path of a file."""
    import pyarrow.compute as compute
    import pyarrow.types as types

    data = compute.struct_field(column, "bytes") if types.is_struct(column.type) else column
    for row, size in enumerate(compute.binary_length(data).to_pylist()):
        if size is not None:
            yield _Stored(first + row, size, cell=data[row])
        elif types.is_struct(column.type) and (path := column[row].as_py().get("path")):
            yield _of_file(first + row, folder / path)
