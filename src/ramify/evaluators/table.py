"""Evaluate an architecture by looking it up in a table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ramify.architecture import Architecture
from ramify.benchmarks import Table, open_table
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators.base import Evaluation, Evaluator, Images
from ramify.spaces import Space
from ramify.training import Metrics, Task


@dataclass(frozen=True, kw_only=True)
class TableLookup(Evaluator):
    """Look accuracies up in a table instead of training. No images are needed and no network is built.

    The score is the accuracy as a fraction. Where the table knows what a value costs, `seconds` is that time, which
    budgets in simulated seconds count.

    Args:
        table: A table file, or the CSV file of the 12-epoch table of NAS-Bench-201.
        column: Name of a column of accuracies.
        seed: Whose training's values to take; the mean over all seeds of the column when None.
    """

    table: str
    column: str
    seed: int | None = None

    def start(self, space: Space, task: Task) -> Evaluation:
        """Return the evaluator at work.

        Raises:
            TableError: If the table has no such column, or is of another space.
            ConfigurationError: If the column holds no accuracies, or members of the space are missing.
        """
        return _Lookup(self, open_table(self.table), space, task)


_IMAGES = {
    "cifar10": Images(10, (3, 32, 32)),
    "cifar100": Images(100, (3, 32, 32)),
    "imagenet16": Images(120, (3, 16, 16)),
}
"""What the networks of a benchmark were measured on, whatever the data set of the search is."""


class _Lookup:
    def __init__(self, settings: TableLookup, table: Table, space: Space, task: Task) -> None:
        self.table, self.settings = table, settings
        self.column = table.column(settings.column)
        if self.column.metric != "accuracy":
            fitting = [column.name for column in table.columns.values() if column.metric == "accuracy"]
            raise ConfigurationError(
                f"column {self.column.name!r} holds {self.column.metric}, a search needs accuracies: "
                f"{', '.join(fitting) or 'the table has none'}"
            )
        if not table.covers(space):
            raise ConfigurationError(
                f"{settings.table} holds {len(table):,} architectures, not all {space.size:,} of {space!r} that a "
                "search may ask for; search the part of the space that the table was made for"
            )
        table.values(self.column.name, epochs=self.column.epochs[0], seed=settings.seed)  # errors before the search
        self.fidelities = self.column.epochs
        self.metrics = ("score", self.column.name, *(["seconds"] if self.column.cost else ()))
        self.images = _IMAGES[self.column.data] if self.column.data in _IMAGES else Images.of(task)
        self._scale = 100.0 if self.column.unit == "percent" else 1.0

    @property
    def metadata(self) -> dict[str, Any]:
        """What the numbers are: the column, the schedule in words (`12 epochs, seed 111`), the table's checksum."""
        return {
            "column": self.column.to_dict(),
            "says": self.column.says(seed=self.settings.seed),
            "sha256": self.table.digest,
        }

    def prepare(self) -> Iterator[Metrics]:
        yield from ()

    def __call__(self, arch: Architecture, epochs: int | None = None) -> dict[str, float]:
        name, index = self.column.name, self.table.index(arch)
        value = self.table.value(name, index, epochs=epochs, seed=self.settings.seed)
        seconds = self.table.seconds(name, index, epochs=epochs)
        return {
            "score": value / self._scale,
            name: value,
            **({} if seconds is None else {"seconds": seconds}),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"table": self.table.digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["table"] != self.table.digest:
            raise RunError(f"{self.settings.table} is not the table that the search began with; it cannot continue")
