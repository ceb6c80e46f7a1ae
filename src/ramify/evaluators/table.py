"""Evaluate an architecture by looking it up in a table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ramify.architecture import Architecture
from ramify.benchmarks import Table, open_table
from ramify.costs import Inputs
from ramify.costs.record import known_costs
from ramify.errors import ConfigurationError, RunError, TableError
from ramify.evaluators.base import Evaluation, Evaluator
from ramify.spaces import Space
from ramify.training import Metrics, Work


@dataclass(frozen=True, kw_only=True)
class TableLookup(Evaluator):
    """Look accuracies or errors up in a table instead of training. No images are needed and no network is built.

    The score is the accuracy as a fraction. Where the table knows what a value costs, `seconds` is that time, which
    budgets in simulated seconds count. The evaluation of a member that the table does not hold, or holds no value of,
    fails; the search goes on.

    Args:
        table: A table file, or the CSV file of the 12-epoch table of NAS-Bench-201.
        column: Name of a column of accuracies or errors.
        seed: Whose training's values to take; the mean over all seeds of the column when None.
    """

    needs_data: ClassVar[bool] = False

    table: str
    column: str
    seed: int | None = None

    def start(self, space: Space, work: Work) -> Evaluation:
        """Return the evaluator at work.

        Raises:
            TableError: If the table has no such column, is of another space, or holds no value of a member.
            ConfigurationError: If the column holds no accuracies.
        """
        return _Lookup(self, open_table(self.table), space, work)


def _images(classes: int, channels: int, height: int, width: int) -> Inputs:
    return Inputs({"num_classes": classes, "in_channels": channels}, (channels, height, width))


_IMAGES = {
    "cifar10": _images(10, 3, 32, 32),
    "cifar100": _images(100, 3, 32, 32),
    "imagenet16": _images(120, 3, 16, 16),
}
"""What the networks of a benchmark were measured on, whatever the data set of the search is."""

_NAMED = {
    "digits": _images(10, 1, 8, 8),
    "fashion-mnist": _images(10, 1, 28, 28),
    "svhn": _images(10, 3, 32, 32),
}
"""Further data sets of the library, as they are where the search has no images that may be of another size."""

_NOT_THE_VALUE = frozenset({"score", "error", "reward", "seconds"})
"""Metrics, beside costs, that mean something else than the value of a column that happens to be called so."""


class _Lookup:
    def __init__(self, settings: TableLookup, table: Table, space: Space, work: Work) -> None:
        self.table, self.settings, self.space, self.work = table, settings, space, work
        self.column = table.column(settings.column)
        if not self.column.has_score:
            fitting = [column.name for column in table.columns.values() if column.has_score]
            raise ConfigurationError(
                f"column {self.column.name!r} holds {self.column.metric}, a search needs accuracies: "
                f"{', '.join(fitting) or 'the table has none'}"
            )
        self.measured = table.measured(self.column.name, space, seed=settings.seed)
        if not self.measured:
            raise TableError(f"{settings.table} holds no value of a member of {space!r:.120} in {self.column.name!r}")
        self.fidelities = self.column.epochs
        reserved = _NOT_THE_VALUE.union(cost.name for cost in known_costs())
        own = () if self.column.name in reserved else (self.column.name,)
        self.metrics = ("score", *own, *(["seconds"] if self.column.cost else ()))

    @property
    def partial(self) -> bool:
        """Whether there are members without a value, so that failures say nothing of those that follow."""
        return self.measured < self.space.size

    @property
    def inputs(self) -> Inputs:
        """What the measured networks saw, or would see on the data of the search where the table does not tell."""
        trained_on = self.table.origin.get("data")
        if isinstance(trained_on, Mapping) and {"classes", "input_size"} <= trained_on.keys():  # by `build_table`
            channels, height, width = trained_on["input_size"]
            return _images(trained_on["classes"], channels, height, width)
        if self.column.data in _IMAGES:
            return _IMAGES[self.column.data]
        if self.work.given is None and self.column.data in _NAMED:
            return _NAMED[self.column.data]
        if self.work.given is None:
            raise ConfigurationError(
                f"what networks cost depends on their images, and {self.settings.table} does not say of what size and "
                f"in how many classes those of {self.column.data!r} are: name the data with --data or `data=`"
            )
        return self.work.inputs

    @property
    def metadata(self) -> dict[str, Any]:
        """Where the numbers come from: table, data, column, schedule in words (`12 epochs, seed 111`), checksum."""
        try:
            inputs = {"classes": self.inputs.shape["num_classes"], "input_size": list(self.inputs.size)}
        except ConfigurationError:  # nobody knows, and only costs need it
            inputs = {}
        network = self.table.origin.get("network")
        return {
            "table": self.settings.table,
            "sha256": self.table.digest,
            "data": self.column.data,
            "split": self.column.split,
            "says": self.column.says(seed=self.settings.seed),
            "measured": self.measured,
            "members": self.space.size,
            "column": self.column.to_dict(),
            **inputs,
            **({"network": network} if network else {}),
        }

    def prepare(self) -> Iterator[Metrics]:
        yield from ()

    def __call__(self, arch: Architecture, epochs: int | None = None) -> dict[str, float]:
        name = self.column.name
        try:
            index = self.table.index(arch)
            value = self.table.value(name, index, epochs=epochs, seed=self.settings.seed)
            seconds = self.table.seconds(name, index, epochs=epochs)
        except TableError as error:
            if not self.partial:
                raise
            share = f"the table holds {self.measured:,} of {self.space.size:,} members"
            raise TableError(f"missing: {error!s:.200}; {share}") from None
        metrics = {name: value, "score": self.column.score(value), "seconds": seconds}
        return {key: entry for key in self.metrics if (entry := metrics[key]) is not None}

    def state_dict(self) -> dict[str, Any]:
        return {"table": self.table.digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["table"] != self.table.digest:
            raise RunError(f"{self.settings.table} is not the table that the search began with; it cannot continue")
