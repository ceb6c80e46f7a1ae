"""The notations of DARTS-like genotypes: flat JSON, nested JSON, and the text that papers print.

    {"normal": [["sep_conv_3x3", 1], ["sep_conv_3x3", 0], …], "normal_concat": [2, 3, 4, 5], "reduce": …}
    {"normal": [[["sep_conv_3x3", 1], ["sep_conv_3x3", 0]], …], …}            one list per node
    Genotype(normal=[('sep_conv_3x3', 1), …], normal_concat=range(2, 6), reduce=…)

States of a cell: 0 and 1 are its inputs, the older first; node n is state n+2.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ramify.errors import ArchitectureError
from ramify.ops.operations import NONE, check_operation

FIXED = "fixed"
"""Stands for the reduction cell of GDAS-FRC."""

Read = tuple[str, int]
"""(operation, state it reads)."""


@dataclass(frozen=True)
class CellGenotype:
    """One cell: two reads for every node, and the states that are joined to the cell's output.

    `nodes` is None for the fixed reduction cell.
    """

    nodes: tuple[tuple[Read, Read], ...] | None
    concat: tuple[int, ...]


def read_genotype(notation: Any) -> dict[str, CellGenotype]:
    """Read any of the notations into `{"normal": …, "reduce": …}`.

    Raises:
        ArchitectureError: Saying what is wrong at which node.
    """
    if isinstance(notation, str):
        notation = _from_text(notation)
    if not isinstance(notation, Mapping):
        raise ArchitectureError(f"a genotype is a JSON object or Genotype(...) text, got {type(notation).__name__}")
    known = {"normal", "normal_concat", "reduce", "reduce_concat", "name"}
    if unknown := sorted(set(notation) - known):
        raise ArchitectureError(f"genotype has unknown keys {unknown}; known: {sorted(known)}")
    if missing := sorted({"normal", "reduce"} - set(notation)):
        raise ArchitectureError(f"genotype lacks {missing}")
    return {kind: _read_cell(kind, notation[kind], notation.get(f"{kind}_concat")) for kind in ("normal", "reduce")}


def _read_cell(kind: str, listed: Any, concat: Any) -> CellGenotype:
    if listed == FIXED:
        if kind != "reduce":
            raise ArchitectureError(f"{kind}: only the reduction cell can be {FIXED!r}")
        return CellGenotype(None, _read_concat(kind, concat, None))
    if not isinstance(listed, list | tuple) or not listed:
        raise ArchitectureError(f"{kind} must be a list of [operation, state] pairs, got {listed!r}")
    reads = listed if _is_read(listed[0]) else [read for node in listed for read in _as_list(kind, node)]
    if len(reads) % 2:
        raise ArchitectureError(f"{kind} lists {len(reads)} inputs; every node needs exactly two")
    nodes = []
    for position in range(0, len(reads), 2):
        state = position // 2 + 2
        nodes.append(tuple(_read_input(kind, state, item) for item in reads[position : position + 2]))
    if not _is_read(listed[0]) and any(len(node) != 2 for node in listed):
        raise ArchitectureError(f"{kind}: every node needs exactly two inputs, got {[len(n) for n in listed]}")
    return CellGenotype(tuple(nodes), _read_concat(kind, concat, len(nodes)))  # type: ignore[arg-type]


def _as_list(kind: str, node: Any) -> Any:
    if not isinstance(node, list | tuple):
        raise ArchitectureError(f"{kind}: {node!r} is neither an [operation, state] pair nor a list of them")
    return node


def _is_read(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str)


def _read_input(kind: str, state: int, item: Any) -> Read:
    where = f"{kind}, node {state - 2} (state {state})"
    if not _is_read(item) or not isinstance(item[1], int) or isinstance(item[1], bool):
        raise ArchitectureError(f"{where}: {item!r} is not an [operation, state] pair")
    op, source = item
    try:
        check_operation(op)
    except ArchitectureError as error:
        raise ArchitectureError(f"{where}: {error}") from None
    if op == NONE:
        raise ArchitectureError(f"{where}: `none` cannot be an input of a genotype; choose another operation")
    if not 0 <= source < state:
        raise ArchitectureError(f"{where}: source {source} is out of range, the node reads states 0 to {state - 1}")
    return op, source


def _read_concat(kind: str, concat: Any, nodes: int | None) -> tuple[int, ...]:
    if concat is None:
        concat = range(2, 2 + (nodes or 4))
    if not isinstance(concat, list | tuple | range) or not all(type(state) is int for state in concat):
        raise ArchitectureError(f"{kind}_concat must be a list of states, got {concat!r}")
    concat = tuple(concat)
    last = 1 + (nodes or 4)
    if not concat or len(set(concat)) < len(concat) or not all(2 <= state <= last for state in concat):
        raise ArchitectureError(f"{kind}_concat must be different states from 2 to {last}, got {list(concat)}")
    return tuple(sorted(concat))


def _from_text(text: str) -> Any:
    text = text.strip()
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ArchitectureError(f"genotype is not valid JSON ({error}); is it truncated?") from None
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ArchitectureError(f"{text[:60]!r} is neither JSON nor Genotype(...) text") from None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
        raise ArchitectureError(f"{text[:60]!r} is neither JSON nor Genotype(...) text")
    fields = dict(zip(("normal", "normal_concat", "reduce", "reduce_concat"), call.args, strict=False))
    fields |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    return {name: _literal(node) for name, node in fields.items()}


def _literal(node: ast.expr) -> Any:
    """Return the value of a literal or a `range(...)` of integers; nothing is evaluated."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("range", "list"):
        values = [_literal(argument) for argument in node.args]
        if node.func.id == "list" and len(values) == 1 and isinstance(values[0], list):
            return values[0]
        if node.func.id == "range" and 1 <= len(values) <= 2 and all(type(v) is int and abs(v) < 99 for v in values):
            return list(range(*values))
        raise ArchitectureError("genotype text: only range(a, b) with small integers can be read")
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ArchitectureError(f"genotype text: cannot read {ast.unparse(node)[:60]!r}") from None


def write_genotype(cells: Mapping[str, CellGenotype], *, style: str = "flat") -> Any:
    """Write genotype cells as `flat` or `nested` JSON values, or as `text`.

    Raises:
        ArchitectureError: If there is no such style.
    """
    if style not in ("flat", "nested", "text"):
        raise ArchitectureError(f"unknown style {style!r}; known: flat, nested, text")
    written: dict[str, Any] = {}
    for kind, cell in cells.items():
        if cell.nodes is None:
            written[kind] = FIXED
        elif style == "nested":
            written[kind] = [[list(read) for read in node] for node in cell.nodes]
        else:
            written[kind] = [list(read) for node in cell.nodes for read in node]
        written[f"{kind}_concat"] = list(cell.concat)
    if style != "text":
        return written
    listed = {
        key: value if key.endswith("concat") or value == FIXED else [tuple(read) for read in value]
        for key, value in written.items()
    }
    return f"Genotype({', '.join(f'{key}={value!r}' for key, value in listed.items())})"
