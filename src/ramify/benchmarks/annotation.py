"""Looking up the architectures that a search visits in a table, for its log and its history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ramify.architecture import Architecture
from ramify.benchmarks.table import Table
from ramify.errors import TableError

if TYPE_CHECKING:
    from ramify.spaces import Space


class Annotation:
    """Looks up the architecture of every history row in a table; the search itself does not change.

    Args:
        table: Where to look.
        space: What is searched.
        data: Name of the data set that is searched on; its columns are those that the progress shows.

    Raises:
        TableError: If the table is of another space, or holds neither accuracies nor losses.
    """

    def __init__(self, table: Table, space: Space, data: str = "") -> None:
        table.check(space)
        self.table = table
        self.columns = [column for column in table.columns.values() if column.metric != "seconds"]
        if not self.columns:
            raise TableError("the table holds neither accuracies nor losses")
        shown = [c for c in self.columns if c.has_score and c.data == data]
        self._shown = shown or self.columns[:1]

    def __call__(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """Return what to add to a history row, and a note for the progress; nothing where it has no architecture."""
        if "architecture" not in row:
            return {}, ""
        entry = self.of(Architecture.from_json(row["architecture"]))
        if entry is None:
            return {"table": None}, "not in the table"
        notes = []
        for column in self._shown:
            value = entry["values"][column.name]
            factor, unit = {"percent": (1, " %"), "fraction": (100, " %"), "nats": (1, " nats")}[column.unit]
            schedule = column.says().partition(",")[0]
            notes.append(f"{column.name} {'missing' if value is None else f'{factor * value:.2f}{unit}'} ({schedule})")
        return {"table": entry}, "  ".join(notes)

    def of(self, arch: Architecture) -> dict[str, Any] | None:
        """Return a member's entry: index, values, units, schedule and seeds by column; None if the table has none.

        A value that is missing is None.
        """
        try:
            index = self.table.index(arch)
        except TableError:
            return None
        values: dict[str, float | None] = {}
        for column in self.columns:
            try:
                values[column.name] = self.table.value(column.name, index)
            except TableError:
                values[column.name] = None
        says = {column.name: column.says() for column in self.columns}
        units = {column.name: column.unit for column in self.columns}
        return {"index": index, "values": values, "units": units, "says": says}
