"""A table of operator costs in a file: the cost of every candidate of a space, measured elsewhere.

A limit, an objective or a cost term names it as `file:PATH`. In JSON it says for operations, wherever they stand, what
they add to the cost of a network, and what all networks have (`fixed`); `choices` says it for one choice, for all of
its edges alike or for each in turn, and goes first:

    {"name": "energy", "unit": "mJ", "fixed": 0.4,
     "operations": {"skip_connect": 0, "nor_conv_1x1": 0.3, "nor_conv_3x3": 1.9, "avg_pool_3x3": 0.1},
     "choices": {"cell": [{"nor_conv_3x3": 2.1}, {}, {}, {}, {}, {}]}}

In CSV the header is `choice,edge,operation,NAME (UNIT)`; a row without choice or edge holds for all, and one with
nothing but a number is what is fixed. `none` costs nothing where it is not mentioned.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from ramify import reading
from ramify.architecture import Architecture, Value
from ramify.costs.record import FILE
from ramify.errors import TableError, nearest, shown
from ramify.files import expanded
from ramify.ops import NONE
from ramify.spaces import Space

Key = tuple[str, int | None, str]
"""(choice, edge, operation); an empty choice stands for all of them, and so does an edge that is None."""

LEAST, MOST = 1e-100, 1e100
"""What a cost that is not 0 is from and to: sums of others, or shares of them, are no floats."""

_COLUMNS = ("choice", "edge", "operation")
_HEADING = re.compile(r"([^()]+?)\s*(?:\(([^()]*)\))?")


class _Json(TypedDict):
    name: str
    unit: NotRequired[str]
    fixed: NotRequired[float]
    operations: NotRequired[dict[str, float]]
    choices: NotRequired[dict[str, dict[str, float] | list[dict[str, float]]]]


@dataclass(frozen=True)
class OperatorTable:
    """The costs of operators, from a file.

    Args:
        path: Of the file.
        name: What the cost is called.
        unit: Of the numbers.
        fixed: What every network costs beside its candidates.
        costs: What candidates add.
    """

    path: Path
    name: str
    unit: str
    fixed: float
    costs: Mapping[Key, float]

    @classmethod
    def of(cls, name: str) -> OperatorTable:
        """Read the table that `file:PATH` names, as JSON if it begins like an object, else as CSV.

        Raises:
            TableError: If it cannot be read, or says something else than what operators cost.
        """
        path = expanded(name.removeprefix(FILE))
        text = reading.text_of(path, error=TableError)
        return cls(path, *(_of_json(text, path) if text.lstrip().startswith("{") else _of_csv(text, path)))

    def check(self, space: Space) -> None:
        """Refuse a table of another space, or one that lacks an existing candidate.

        Raises:
            TableError: Saying what is wrong.
        """
        where = shown(self.path)
        for choice, edge, operation in self.costs:
            if not choice:
                continue
            if choice not in space.choices:
                known_choices = nearest(choice, space.choices)
                raise TableError(f"{where}: {space.name} has no choice {shown(choice)!r}; {known_choices}")
            mixing = space.choices[choice]
            if operation not in mixing.ops:
                raise TableError(
                    f"{where}: {choice!r} has no operation {shown(operation)!r}; {nearest(operation, mixing.ops)}"
                )
            if edge is not None and edge >= len(mixing.edges):
                raise TableError(
                    f"{shown(self.path)}: {choice!r} has the edges 0 to {len(mixing.edges) - 1}, got {edge}"
                )
        for decision in space.decisions:
            for value in decision.choices:
                self._added(space, decision.name, value)

    def __call__(self, space: Space, arch: Architecture) -> float:
        """Return what a member costs."""
        return self.fixed + math.fsum(self._added(space, name, arch[name]) for name in arch)

    def rows(self, space: Space) -> list[list[float]]:
        """Return the cost that every value of every decision adds."""
        return [[self._added(space, d.name, value) for value in d.choices] for d in space.decisions]

    def _added(self, space: Space, decision: str, value: Value) -> float:
        return math.fsum(self._of(space, *candidate) for candidate in space.candidates(decision, value))

    def _of(self, space: Space, choice: str, edge: int, op: int) -> float:
        operation = space.choices[choice].ops[op]
        keys: tuple[Key, ...] = ((choice, edge, operation), (choice, None, operation), ("", None, operation))
        cost = next((self.costs[key] for key in keys if key in self.costs), 0.0 if operation == NONE else None)
        if cost is None:
            raise TableError(
                f"{shown(self.path)} does not say what {operation!r} costs on edge {edge} of choice {choice!r} of "
                f"{space.name}"
            )
        return cost


_Contents = tuple[str, str, float, dict[Key, float]]


def _of_json(text: str, path: Path) -> _Contents:
    where = shown(path)
    content: _Json = reading.json_value(text, _Json, where=where, error=TableError)
    for key in content:
        if key not in _Json.__annotations__:
            raise TableError(f"{where}: unknown key {shown(key)!r}; {nearest(key, _Json.__annotations__)}")
    costs: dict[Key, float] = {}
    for operation, value in content.get("operations", {}).items():
        costs["", None, operation] = _number(value, where, operation)
    for choice, edges in content.get("choices", {}).items():
        each = [*enumerate(edges)] if isinstance(edges, list) else [(None, edges)]
        for edge, operations in each:
            for operation, value in operations.items():
                costs[choice, edge, operation] = _number(value, where, f"{choice}, {operation}")
    return content["name"], content.get("unit", ""), _number(content.get("fixed", 0.0), where, "fixed"), costs


def _of_csv(text: str, path: Path) -> _Contents:
    where = shown(path)
    try:
        rows = [(number, row) for number, row in enumerate(csv.reader(text.splitlines(), strict=True), 1) if any(row)]
    except csv.Error as error:
        raise TableError(f"{where} is no CSV: {error}") from None
    header = [name.strip() for name in rows[0][1]] if rows else []
    heading = _HEADING.fullmatch(header[-1]) if header else None
    if len(header) != 4 or tuple(header[:3]) != _COLUMNS or heading is None:
        raise TableError(f"{where}: the header must be {','.join(_COLUMNS)},NAME (UNIT), or the file JSON")
    fixed, costs = 0.0, dict[Key, float]()
    seen: set[Key] = set()
    for number, row in rows[1:]:
        cells = [cell.strip() for cell in row]
        if len(cells) != len(header):
            raise TableError(f"{where}, line {number}: {len(cells)} cells where the header has {len(header)}")
        choice, edge, operation, value = cells
        if edge and not (choice and edge.isascii() and edge.isdecimal() and len(edge) < 10):
            raise TableError(
                f"{where}, line {number}: `edge` must be a number from 0, of a choice, got {shown(edge)!r}"
            )
        if choice and not operation:
            raise TableError(f"{where}, line {number}: `operation` is missing")
        key = (choice, int(edge) if edge else None, operation)
        if key in seen:
            raise TableError(f"{where}, line {number}: says a second time what {shown(operation) or 'all'!r} costs")
        seen.add(key)
        amount = _number(_float(value), where, f"line {number}")
        if operation:
            costs[key] = amount
        else:
            fixed = amount
    return heading[1], heading[2] or "", fixed, costs


def _float(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _number(value: Any, where: str, what: str) -> float:
    if isinstance(value, str) or not (value == 0 or LEAST <= value <= MOST):
        raise TableError(
            f"{where}: {shown(what)}: a cost must be 0, or a number from {LEAST:g} to {MOST:g}, got {shown(value)}"
        )
    return float(value)
