"""The notations of DARTS-like genotypes: flat JSON, nested JSON, and the text that papers print.

    {"normal": [["sep_conv_3x3", 1], ["sep_conv_3x3", 0], …], "normal_concat": [2, 3, 4, 5], "reduce": …}
    {"normal": [[["sep_conv_3x3", 1], ["sep_conv_3x3", 0]], …], …}            one list per node
    Genotype(normal=[('sep_conv_3x3', 1), …], normal_concat=range(2, 6), reduce=…)

States of a cell: 0 and 1 are its inputs, the older first; node n is state n+2. H-DAS writes its five cells as
`Genotype3` and the graphs of its three stages as `Genotype2` (Liu et al., AAAI 2021), in the same three ways.

CDARTS (Yu et al., TPAMI 2023) writes a genotype for each of three stages, as text inside a JSON object. Such an object,
with `stage0` … for `0` …, or a list of three under `stages`, and with any of the above as values, is read as well:

    {"0": "Genotype(normal=[[('sep_conv_3x3', 0), …], …], normal_concat=range(2, 6), reduce=…)", "1": …, "2": …}

It stands for one normal and one reduction cell where the stages agree, else for the five cells. The last stage has no
reduction cell, whatever its genotype says.
"""

from __future__ import annotations

import ast
import json
import warnings
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
class GenotypeForm:
    """Which cells a genotype holds, and how its text calls them.

    Args:
        name: What the text begins with.
        cells: The keys of the cells; `<key>_concat` are the states they join.
        joined: How many of the last nodes are joined where the notation does not say; None: all.
    """

    name: str
    cells: tuple[str, ...]
    joined: int | None = None

    def default_concat(self, nodes: int) -> range:
        """Return the states that are joined where the notation does not say."""
        return range(2 if self.joined is None else max(2, nodes + 2 - self.joined), nodes + 2)


GENOTYPE = GenotypeForm("Genotype", ("normal", "reduce"))
GENOTYPE3 = GenotypeForm("Genotype3", ("normal1", "reduce1", "normal2", "reduce2", "normal3"))
GENOTYPE2 = GenotypeForm("Genotype2", ("DAG1", "DAG2", "DAG3"), joined=2)
FORMS = (GENOTYPE, GENOTYPE2, GENOTYPE3)

STAGES = (("0", "1", "2"), ("stage0", "stage1", "stage2"))
"""The keys under which CDARTS writes one genotype for each stage, and another spelling of them."""


@dataclass(frozen=True)
class CellGenotype:
    """One cell: two reads for every node, and the states that are joined to the cell's output.

    `nodes` is None for the fixed reduction cell.
    """

    nodes: tuple[tuple[Read, Read], ...] | None
    concat: tuple[int, ...]


def form_of(notation: Any) -> GenotypeForm:
    """Return the form that a genotype evidently has, `Genotype` where it has none of them.

    Raises:
        ArchitectureError: If it begins like JSON and is none, or is a genotype of stages that cannot be read.
    """
    if isinstance(notation, str):
        text = notation.strip()
        called = {form.name: form for form in FORMS}
        if not text.startswith("{"):
            return called.get(text.partition("(")[0].strip(), GENOTYPE)
        notation = genotype_json(text)
    staged = _staged(notation)
    if staged is not None:
        return GENOTYPE if _agree(_five_cells(staged)) else GENOTYPE3
    keys = set(notation) if isinstance(notation, Mapping) else set()
    if "DAG" in keys:  # together with the cells
        return GENOTYPE2
    return next((form for form in FORMS if keys & set(form.cells)), GENOTYPE)


def read_genotype(notation: Any, form: GenotypeForm = GENOTYPE) -> dict[str, CellGenotype]:
    """Read any of the notations into `{key of the form: cell}`.

    Raises:
        ArchitectureError: Saying what is wrong at which node.
    """
    if isinstance(notation, str):
        notation = _from_text(notation, form)
    staged = None if form is GENOTYPE2 else _staged(notation)
    if staged is not None:
        return _read_stages(staged, form)
    if not isinstance(notation, Mapping):
        raise ArchitectureError(f"a genotype is a JSON object or {form.name}(...) text, got {type(notation).__name__}")
    known = {*form.cells, *(f"{key}_concat" for key in form.cells), "name"}
    if unknown := sorted(map(str, set(notation) - known)):
        raise ArchitectureError(f"genotype has unknown keys {unknown}; known: {sorted(known)}")
    if missing := sorted(set(form.cells) - set(notation)):
        raise ArchitectureError(f"genotype lacks {missing}")
    return {key: _read_cell(key, notation[key], notation.get(f"{key}_concat"), form) for key in form.cells}


def _staged(notation: Any) -> list[Any] | None:
    """Return the genotypes of the three stages where `notation` has one for each, and None where it is no such thing.

    Raises:
        ArchitectureError: If stages are missing, or there are other keys.
    """
    if not isinstance(notation, Mapping):
        return None
    keys = {str(key) for key in notation} - {"name"}
    for names in STAGES:
        if keys & set(names):
            if keys != set(names):
                raise ArchitectureError(f"a genotype of stages has the keys {list(names)}, got {sorted(keys)}")
            return [notation[name] for name in names]
    if keys != {"stages"}:
        return None
    stages = notation["stages"]
    if not isinstance(stages, list | tuple) or len(stages) != 3:
        raise ArchitectureError(f"`stages` must list three genotypes, got {str(stages)[:60]}")
    return list(stages)


def _five_cells(staged: list[Any]) -> dict[str, CellGenotype]:
    """Read the genotypes of three stages into the cells that a network has of them."""
    cells: dict[str, CellGenotype] = {}
    for number, notation in enumerate(staged, start=1):
        try:
            if _staged(notation) is not None:
                raise ArchitectureError("a genotype of stages holds plain genotypes")
            stage = read_genotype(notation)
        except ArchitectureError as error:
            raise ArchitectureError(f"stage {number}: {error}") from None
        cells |= {f"{kind}{number}": cell for kind, cell in stage.items()}
    return {key: cells[key] for key in GENOTYPE3.cells}


def _agree(cells: Mapping[str, CellGenotype]) -> bool:
    """Return whether five cells are one normal and one reduction cell, whatever the order of a node's inputs."""

    def plain(cell: CellGenotype) -> Any:
        return None if cell.nodes is None else [sorted(node) for node in cell.nodes], cell.concat

    roles = [[plain(cell) for key, cell in cells.items() if key.startswith(kind)] for kind in GENOTYPE.cells]
    return all(cell == role[0] for role in roles for cell in role)


def _read_stages(staged: list[Any], form: GenotypeForm) -> dict[str, CellGenotype]:
    cells = _five_cells(staged)
    if form is GENOTYPE3:
        return cells
    if not _agree(cells):
        raise ArchitectureError("the stages have different cells, and this space has one normal and one reduction cell")
    return {"normal": cells["normal1"], "reduce": cells["reduce1"]}


def _read_cell(kind: str, listed: Any, concat: Any, form: GenotypeForm) -> CellGenotype:
    if listed == FIXED:
        if not kind.startswith("reduce"):
            raise ArchitectureError(f"{kind}: only the reduction cell can be {FIXED!r}")
        return CellGenotype(None, _read_concat(kind, concat, 4, form))
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
    return CellGenotype(tuple(nodes), _read_concat(kind, concat, len(nodes), form))  # type: ignore[arg-type]


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


def _read_concat(kind: str, concat: Any, nodes: int, form: GenotypeForm) -> tuple[int, ...]:
    if concat is None:
        concat = form.default_concat(nodes)
    if not isinstance(concat, list | tuple | range) or not all(type(state) is int for state in concat):
        raise ArchitectureError(f"{kind}_concat must be a list of states, got {concat!r}")
    concat = tuple(concat)
    last = 1 + nodes
    if not concat or len(set(concat)) < len(concat) or not all(2 <= state <= last for state in concat):
        raise ArchitectureError(f"{kind}_concat must be different states from 2 to {last}, got {list(concat)}")
    return tuple(sorted(concat))


def genotype_json(text: str) -> Any:
    """Return the JSON value that `text` is.

    Raises:
        ArchitectureError: If it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchitectureError(f"genotype is not valid JSON ({error}); is it truncated?") from None


def _from_text(text: str, form: GenotypeForm) -> Any:
    text = text.strip()
    if text.startswith("{"):
        return genotype_json(text)
    refusal = ArchitectureError(f"{text[:60]!r} is neither JSON nor {form.name}(...) text")
    try:
        with warnings.catch_warnings(action="ignore"):  # about odd escapes; a refusal is one line
            call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise refusal from None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == form.name):
        raise refusal
    named = [name for key in form.cells for name in (key, f"{key}_concat")]
    fields = dict(zip(named, call.args, strict=False))
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
    except (ValueError, TypeError, RecursionError, MemoryError):  # a list as the key of a dict is a TypeError
        raise ArchitectureError(f"genotype text: cannot read {ast.unparse(node)[:60]!r}") from None


def write_genotype(cells: Mapping[str, CellGenotype], *, style: str = "flat", form: GenotypeForm = GENOTYPE) -> Any:
    """Write genotype cells as `flat` or `nested` JSON values, as `text`, or as CDARTS' JSON object of `stages`.

    Raises:
        ArchitectureError: If there is no such style, or the cells cannot be written in it.
    """
    if style not in ("flat", "nested", "text", "stages"):
        raise ArchitectureError(f"unknown style {style!r}; known: flat, nested, text, stages")
    if style == "stages":
        return _write_stages(cells, form)
    flat = style == "flat" or (style == "text" and form is GENOTYPE)
    written: dict[str, Any] = {}
    for kind, cell in cells.items():
        pairs = tuple if style == "text" else list
        if cell.nodes is None:
            written[kind] = FIXED
        elif flat:
            written[kind] = [pairs(read) for node in cell.nodes for read in node]
        else:
            written[kind] = [[pairs(read) for read in node] for node in cell.nodes]
        written[f"{kind}_concat"] = list(cell.concat)
    if style != "text":
        return written
    return f"{form.name}({', '.join(f'{key}={value!r}' for key, value in written.items())})"


def _write_stages(cells: Mapping[str, CellGenotype], form: GenotypeForm) -> dict[str, str]:
    """Write what CDARTS' program reads. The last stage repeats the reduction cell before it, which is never built."""
    if form is GENOTYPE2 or any(cell.nodes is None for cell in cells.values()):
        raise ArchitectureError("the style 'stages' is for searched normal and reduction cells")
    written = {}
    for number, key in enumerate(STAGES[0], start=1):
        reduction = min(number, 2)
        fields = []
        for kind, place in (("normal", number), ("reduce", reduction)):
            cell = cells[kind if form is GENOTYPE else f"{kind}{place}"]
            first, last = cell.concat[0], cell.concat[-1]
            ordered = cell.concat == tuple(range(first, last + 1))
            concat = f"range({first}, {last + 1})" if ordered else str(list(cell.concat))
            fields += [f"{kind}={[list(node) for node in cell.nodes or ()]!r}", f"{kind}_concat={concat}"]
        written[key] = f"{GENOTYPE.name}({', '.join(fields)})"
    return written
