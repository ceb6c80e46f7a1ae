"""Tabular benchmarks: measured values of architectures in a compact file, looked up instead of trained.

Opening a table and asking it by index or notation imports NumPy and nothing heavier.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ramify.benchmarks.annotation import Annotation
from ramify.benchmarks.columns import Column
from ramify.benchmarks.csv_import import import_csv
from ramify.benchmarks.nats_import import import_nats
from ramify.benchmarks.table import Table
from ramify.errors import TableError
from ramify.orders import ORDERS

__all__ = ["ORDERS", "Annotation", "Column", "Table", "import_csv", "import_nats", "open_table"]


def open_table(path: str | Path) -> Table:
    """Return the table in a table file, or in a CSV file whose columns are known.

    A file that has not changed is read once in a process.

    Raises:
        TableError: If it is missing, damaged, or neither.
    """
    path = Path(path)
    try:
        status, packed = path.stat(), Table.is_table(path)
    except FileNotFoundError:
        raise TableError(f"there is no table {path}") from None
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from None
    return _opened(path.absolute(), packed, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _opened(path: Path, packed: bool, changed: int, size: int) -> Table:
    return Table.open(path) if packed or not path.name.endswith((".csv", ".csv.gz")) else import_csv(path)
