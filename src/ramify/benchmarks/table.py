"""`Table`: measured values of architectures, looked up instead of trained."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ramify import files
from ramify.architecture import Architecture
from ramify.benchmarks.columns import Column
from ramify.benchmarks.container import is_container, pack, unpack
from ramify.errors import TableError, nearest
from ramify.orders import ORDERS

if TYPE_CHECKING:
    from ramify.spaces import Space

_LISTED = 12
"""How many names or numbers a message lists."""

Which = Architecture | str | int
"""An architecture, its notation, or its index in the table."""


@dataclass(frozen=True, eq=False)
class _Vector:
    """One value for every architecture: as an array, and as a view whose items are plain floats."""

    array: np.ndarray
    view: memoryview
    complete: bool


class Table:
    """Measured values of architectures, looked up instead of trained.

    A look-up names its column exactly. Columns with other schedules, splits or seeds are never mixed, and nothing
    is drawn: a column whose values are kept for each seed answers with their mean, or with those of the seed that
    is asked for.

    Args:
        space: `Space.to_dict()` of the space that the architectures are members of.
        members: The name of an order in `ORDERS`, or the canonical notations in the table's order.
        columns: What the values are.
        values: Name of a column → float64 (S, T, N) or (N,): kept seeds, recorded epochs, architectures. NaN where
            a value is missing.
        origin: What else there is to say about where the table comes from, as plain JSON values.

    Raises:
        TableError: If values are missing or too many, cannot be what their column says, or leave its unit open.

    Example:
        >>> from ramify.benchmarks import Column, Table
        >>> column = Column(name="valid", metric="accuracy", data="digits", split="valid", schedule=12, seeds=(0,))
        >>> table = Table({"space": "NATSBenchSize"}, ["8:8:8:8:8", "8:8:8:8:16"], [column], {"valid": [91.5, 93.0]})
        >>> table.value("valid", "8:8:8:8:16"), table.best("valid"), table.column("valid").says()
        (93.0, 1, '12 epochs, seed 0')
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        members: str | Sequence[str],
        columns: Iterable[Column],
        values: Mapping[str, Any],
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self._fill(space, members, columns, values, origin)
        for name, array in self._values.items():
            if fault := self.columns[name].fault(array.reshape(-1)):
                raise TableError(f"{self.notations[fault[0] % len(self)]!r:.120}: {fault[1]}")

    def _fill(
        self,
        space: Mapping[str, Any],
        members: str | Sequence[str],
        columns: Iterable[Column],
        values: Mapping[str, Any],
        origin: Mapping[str, Any] | None,
    ) -> None:
        self.space_description = {"arguments": {}, **space}
        self.order = members if isinstance(members, str) else ""
        self._listed = [] if isinstance(members, str) else list(members)
        if self.order and (self.order not in ORDERS or self.space_description != ORDERS[self.order].described):
            advice = nearest(self.order, ORDERS)
            raise TableError(f"{self.space_description.get('space')} has no order {self.order!r}; {advice}")
        if not self.order and len(set(self._listed)) != len(self._listed):
            raise TableError("a table lists every architecture once; some occur twice")
        self._size = ORDERS[self.order].size if self.order else len(self._listed)
        self.columns: dict[str, Column] = {}
        self._values: dict[str, np.ndarray] = {}
        for column in columns:
            if column.name in self.columns:
                raise TableError(f"two columns are called {column.name!r}")
            shape = (*column.layers, len(self))
            array = np.asarray(values[column.name], dtype="<f8")
            if array.size != np.prod(shape) or array.shape not in (shape, shape[2:]):
                raise TableError(f"column {column.name!r} needs values of shape {shape}, got {array.shape}")
            self.columns[column.name] = column.settled(array)
            self._values[column.name] = array.reshape(shape)
        for column in self.columns.values():
            if column.cost and getattr(self.columns.get(column.cost), "metric", None) != "seconds":
                raise TableError(
                    f"column {column.name!r} names {column.cost!r} as its cost, which is no column of seconds"
                )
        self.origin = dict(origin or {})
        self._vectors: dict[tuple[str, int | None, int | None], _Vector] = {}
        self._digest = ""

    # Files

    @classmethod
    def open(cls, path: str | Path) -> Table:
        """Open a table file, verifying every byte; values stay on disk until they are read.

        Raises:
            TableError: If it is missing, no table, damaged, or of another version.
        """
        header, arrays, digest = unpack(Path(path))
        try:
            members = header["order"] or _notations(arrays["members"].tobytes())
            if not isinstance(header["space"].get("space"), str):
                raise ValueError("it names no space")
            columns = [Column.from_dict(plain) for plain in header["columns"]]
            table = cls.__new__(cls)
            table._fill(header["space"], members, columns, arrays, header["origin"])  # looked at when it was made
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise TableError(f"{path} does not hold a whole table ({reason}); make it anew") from None
        table._digest = digest
        return table

    @staticmethod
    def is_table(path: str | Path) -> bool:
        """Return whether a file has the signature of a table."""
        with files.opened(path) as file:
            return is_container(file.read(64))

    def save(self, path: str | Path) -> None:
        """Write the table's file completely, or keep the previous one."""
        files.write(path, self._packed)

    @property
    def _packed(self) -> bytes:
        header = {
            "space": self.space_description,
            "order": self.order,
            "columns": [column.to_dict() for column in self.columns.values()],
            "origin": self.origin,
        }
        listed = json.dumps(self._listed, ensure_ascii=False).encode()
        members = {} if self.order else {"members": np.frombuffer(listed, "|u1")}
        return pack(header, members | self._values)

    @property
    def digest(self) -> str:
        """SHA-256 of the table's file, in hexadecimal: equal for equal tables."""
        self._digest = self._digest or hashlib.sha256(self._packed[:-32]).hexdigest()
        return self._digest

    # Architectures

    def __len__(self) -> int:
        return self._size

    @cached_property
    def notations(self) -> Sequence[str]:
        """The canonical notations of all architectures; JSON where the native notation is no text."""
        return ORDERS[self.order].notations() if self.order else self._listed

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {notation: index for index, notation in enumerate(self.notations)}

    @cached_property
    def space(self) -> Space:
        """The space whose members the table lists."""
        from ramify.spaces import create

        return create(self.space_description)

    def index(self, which: Which) -> int:
        """Return the position of an architecture in the table.

        Raises:
            TableError: If the table does not hold it.
            ArchitectureError: If a notation cannot be read.
        """
        if isinstance(which, str):
            place = self._positions.get(which)
            # Other spellings of a member are rare: only they need the space, and with it PyTorch.
            return self._find(self.space.parse(which)) if place is None else place
        if isinstance(which, Architecture):
            return self._find(which)
        position = operator.index(which)
        if not 0 <= position < len(self):
            raise TableError(f"the table has {len(self)} architectures, numbered from 0, and no number {position}")
        return position

    def _find(self, arch: Architecture) -> int:
        description = self.space_description
        if arch.space != description["space"] or dict(arch.arguments) != description["arguments"]:
            self._check(arch.space, arch.arguments)
        notation = notation_of(self.space, arch)
        try:
            return self._positions[notation]
        except KeyError:
            raise TableError(f"{notation!r:.120} is not among the {len(self)} architectures of the table") from None

    def indices(self, which: Iterable[Which]) -> np.ndarray:
        """Return the positions of many architectures, int64 (M,)."""
        which = list(which)
        try:
            return np.fromiter(map(self._positions.__getitem__, which), np.int64, len(which))  # type: ignore[arg-type]
        except (KeyError, TypeError):
            return np.fromiter(map(self.index, which), np.int64, len(which))

    def architecture(self, index: int) -> Architecture:
        """Return the architecture at a position."""
        return self.space.parse(self.notations[self.index(index)])

    def check(self, space: Space) -> None:
        """Raise `TableError` unless the table is one of this space's members, restricted or not."""
        self._check(space.name, space.arguments)

    def _check(self, name: str, arguments: Mapping[str, Any]) -> None:
        own = self.space_description
        if name != own["space"] or _sorted(arguments) != _sorted(own["arguments"]):
            raise TableError(
                f"the table is of {_called(own['space'], own['arguments'])}, not of {_called(name, arguments)}"
            )

    def covers(self, space: Space) -> bool:
        """Return whether every member of a space, restricted or not, is in the table."""
        self.check(space)
        if self.order:
            return True
        if space.size > len(self):
            return False
        members = map(space.architecture, product(*(decision.choices for decision in space.decisions)))
        return all(notation_of(space, arch) in self._positions for arch in members)

    # Values

    def column(self, name: str) -> Column:
        """Return the description of a column.

        Raises:
            TableError: If there is none of that name; the message lists those that there are.
        """
        try:
            return self.columns[name]
        except KeyError:
            listing = [f"{column.name} ({column.says()})" for column in self.columns.values()]
            more = [f"{len(listing) - _LISTED} more"] if len(listing) > _LISTED else []
            raise TableError(
                f"the table has no column {name!r}; it has {', '.join(listing[:_LISTED] + more)}"
            ) from None

    def value(self, column: str, which: Which, *, epochs: int | None = None, seed: int | None = None) -> float:
        """Return the measured value of one architecture.

        Args:
            column: Its name.
            which: An architecture, its notation, or its index.
            epochs: After how many epochs; the last recorded when None.
            seed: Of the training; the mean over all seeds of the column when None.

        Raises:
            TableError: If the table does not hold it.
        """
        vector = self._vectors.get((column, epochs, seed)) or self._vector(column, epochs, seed)
        position = self._positions.get(which) if type(which) is str else None  # first what is asked by the million
        if position is None:
            position = which if type(which) is int and 0 <= which < self._size else self.index(which)
        value = vector.view[position]
        if value != value:
            raise TableError(f"column {column!r} has no value for {self.notations[self.index(which)]!r}")
        return value

    def values(
        self, column: str, indices: Any = None, *, epochs: int | None = None, seed: int | None = None
    ) -> np.ndarray:
        """Return the values (M,) at `indices` (M,), those of all architectures in the table's order when None.

        Args and errors are those of `value`.
        """
        vector = self._vectors.get((column, epochs, seed)) or self._vector(column, epochs, seed)
        if indices is None:
            values = vector.array
        else:
            indices = np.asarray(indices)
            if indices.size == 0:
                indices = indices.astype(np.int64)
            if indices.dtype.kind not in "iu":
                raise TableError(
                    f"indices must be whole numbers, got {indices.dtype}; `indices` finds those of notations"
                )
            if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
                raise TableError(f"indices must be in 0 … {len(self) - 1}, got {indices.min()} … {indices.max()}")
            values = vector.array.take(indices)
        if not vector.complete and np.isnan(values).any():
            raise TableError(f"column {column!r} lacks {np.isnan(values).sum()} of the {values.size} values asked for")
        return values

    def best(self, column: str, *, epochs: int | None = None, seed: int | None = None) -> int:
        """Return the index of the architecture with the best value, the lowest of equals.

        The best value is the smallest of errors, losses and times.
        """
        values = self._vector(column, epochs, seed).array
        if np.isnan(values).all():
            raise TableError(f"column {column!r} has no value at all")
        return int(np.nanargmax(values) if self.column(column).higher_is_better else np.nanargmin(values))

    def measured(self, column: str, space: Space, *, seed: int | None = None) -> int:
        """Return how many members of a space, restricted or not, have a value after the last recorded epoch."""
        self.check(space)
        vector = self._vector(column, None, seed)
        there = np.flatnonzero(~np.isnan(vector.array)).tolist()
        if self.order and vector.complete:
            return space.size
        return sum(self.architecture(index) in space for index in there) if space.restriction else len(there)

    def seconds(self, column: str, which: Which, *, epochs: int | None = None) -> float | None:
        """Return the seconds of training and of one pass over the split behind a value; None if not recorded."""
        described = self.column(column)
        if not described.cost:
            return None
        return self.value(described.cost, which, epochs=described.epochs[-1] if epochs is None else epochs)

    def _vector(self, name: str, epochs: int | None, seed: int | None) -> _Vector:
        column = self.column(name)
        if epochs is not None and epochs not in column.epochs:
            raise TableError(
                f"column {name!r} has no values after epoch {epochs}; it has those of {_numbers(column.epochs)}"
            )
        layers = self._values[name][:, column.epochs.index(epochs) if epochs is not None else -1]
        if seed is None:
            vector = layers[0] if len(layers) == 1 else layers.mean(axis=0)
        elif seed not in column.seeds:
            raise TableError(f"column {name!r} has no seed {seed}; it has {_numbers(column.seeds) or 'unknown ones'}")
        elif not column.per_seed and len(column.seeds) > 1:
            raise TableError(f"column {name!r} holds the mean over seeds {_numbers(column.seeds)}, not each of them")
        else:
            vector = layers[column.seeds.index(seed) if column.per_seed else 0]
        vector.flags.writeable = False
        values = _Vector(vector, memoryview(vector), not bool(np.isnan(vector).any()))
        self._vectors[name, epochs, seed] = values
        return values

    def about(self) -> dict[str, Any]:
        """Return a description of the table as plain JSON values."""
        return {
            **self.space_description,
            "architectures": len(self),
            "columns": {column.name: {**column.to_dict(), "says": column.says()} for column in self.columns.values()},
            "origin": self.origin,
            "sha256": self.digest,
        }

    def __repr__(self) -> str:
        own = self.space_description
        return f"Table({_called(own['space'], own['arguments'])}: {len(self)} × {', '.join(self.columns)})"


def _notations(content: bytes) -> list[str]:
    """Return the notations that a table lists."""
    notations = json.loads(content)
    if not (isinstance(notations, list) and all(isinstance(item, str) for item in notations)):
        raise ValueError("its members are no list of notations")
    return notations


def notation_of(space: Space, arch: Architecture) -> str:
    """Return the canonical notation of a member as a table stores it: JSON where the native one is no text."""
    notation = space.notation(arch)
    return notation if isinstance(notation, str) else json.dumps(notation, sort_keys=True, separators=(",", ":"))


def _sorted(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True)


def _called(space: str, arguments: Mapping[str, Any]) -> str:
    return f"{space}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


def _numbers(numbers: Iterable[int]) -> str:
    listed = [str(number) for number in numbers]
    return ", ".join(listed if len(listed) <= _LISTED else [*listed[:4], "…", *listed[-4:]])
