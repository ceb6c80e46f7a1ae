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

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ramify.errors import ArchitectureError
from ramify.ops.operations import NONE, check_operation
from ramify.spaces.forms import FORMS, GENOTYPE, GENOTYPE2, GENOTYPE3, ROLES, GenotypeForm
from ramify.spaces.notation import read
from ramify.wording import excerpt, listing

_MOST_NODES = 100
"""Of a cell, or of a stage of cells."""

FIXED = "fixed"
"""Stands for the reduction cell of GDAS-FRC."""

Read = tuple[str, int]
"""(operation, state it reads)."""


STAGES = (("0", "1", "2"), ("stage0", "stage1", "stage2"))
"""The keys under which CDARTS writes one genotype for each stage, and another spelling of them."""

_NAMES = {
    f"{new}_{k}": f"{old}_{k}"
    for new, old in (("dua_sepc", "sep_conv"), ("dil_sepc", "dil_conv"))
    for k in ("3x3", "5x5")
}
"""What AutoDL-Projects calls operations of DARTS by now."""

_EDGE = re.compile(r"(?:NetworkSelectorDatasetInfo:darts:)?edge_(normal|reduce)_(\d{1,2})")
_INPUTS = re.compile(r"(?:NetworkSelectorDatasetInfo:darts:)?inputs_node_(normal|reduce)_(\d)")


@dataclass(frozen=True)
class CellGenotype:
    """One cell: two inputs for every node, and the states concatenated to the cell's output.

    `nodes` is None for the fixed reduction cell.
    """

    nodes: tuple[tuple[Read, Read], ...] | None
    concat: tuple[int, ...]


def form_of(notation: Any) -> GenotypeForm:
    """Return the form of a genotype, `Genotype` where it has none of them.

    Raises:
        ArchitectureError: If it is a text, or a genotype of stages, that cannot be read.
    """
    notation = _mapping(notation)
    staged = _staged(notation)
    if staged is not None:
        return GENOTYPE if _agree(_five_cells(staged)) else GENOTYPE3
    keys = set(notation) if isinstance(notation, Mapping) else set()
    if "DAG" in keys:  # together with the cells
        return GENOTYPE2
    return next((form for form in FORMS if keys & set(form.cells)), GENOTYPE)


def is_genotype(notation: Any) -> bool:
    """Return whether a value is intended as a genotype, valid or not."""
    mapping = _mapping(notation)
    known = {"DAG", "stages", *(key for form in FORMS for key in form.fields), *(key for row in STAGES for key in row)}
    return isinstance(mapping, Mapping) and not known.isdisjoint(map(str, mapping))


def read_genotype(notation: Any, form: GenotypeForm = GENOTYPE) -> dict[str, CellGenotype]:
    """Read any of the notations into `{key of the form: cell}`.

    Raises:
        ArchitectureError: Saying what is wrong at which node.
    """
    notation = _mapping(notation)
    staged = None if form is GENOTYPE2 else _staged(notation)
    if staged is not None:
        return _read_stages(staged, form)
    if isinstance(notation, str):
        raise ArchitectureError(f"{excerpt(notation)} is neither JSON nor {form.name}(...) text")
    if not isinstance(notation, Mapping):
        raise ArchitectureError(f"a genotype is a JSON object or {form.name}(...) text, got {type(notation).__name__}")
    known = {*form.fields, "name"}
    if unknown := sorted(map(str, set(notation) - known)):
        shown = sorted(known - set(form.empty))
        raise ArchitectureError(f"genotype has unknown keys [{listing(unknown)}]; known: {shown}")
    if missing := sorted(set(form.cells) - set(notation)):
        raise ArchitectureError(f"genotype lacks {missing}")
    for field in form.empty:
        if notation.get(field) is not None:
            raise ArchitectureError(f"{field} is {excerpt(notation[field])}; only genotypes without it can be read")
    return {key: _read_cell(key, notation[key], notation.get(f"{key}_concat"), form) for key in form.cells}


def _mapping(notation: Any) -> Any:
    """Return the mapping that a genotype is in another dress: a text, a record of it, a tuple, NAS-Bench-301."""
    notation = read(notation)
    if isinstance(notation, Mapping) and "genotype" in notation and "DAG" not in notation:
        return _mapping(notation["genotype"])
    if is_unnamed(notation):
        return dict(zip(GENOTYPE.fields, notation, strict=False))
    if isinstance(notation, Mapping) and any(isinstance(key, str) and _EDGE.fullmatch(key) for key in notation):
        return _from_configuration(notation)
    return notation


def is_unnamed(notation: Any) -> bool:
    """Return whether a value is `tuple(Genotype(…))`: inputs and concatenated states of both cells, without names."""
    return (
        isinstance(notation, list | tuple)
        and len(notation) == 4
        and all(isinstance(part, list | tuple) for part in notation[::2])
        and all(isinstance(part, list | tuple | range) for part in notation[1::2])
        and any(_is_read(node) or isinstance(node, list | tuple) for part in notation[::2] for node in part)
    )


def is_compact(notation: Any) -> bool:
    """Return whether a value is a pair of cells as lists of (state, operation number)."""
    return (
        isinstance(notation, list | tuple)
        and len(notation) == 2
        and all(isinstance(cell, list | tuple) and len(cell) == 8 for cell in notation)
        and all(
            isinstance(read, list | tuple) and len(read) == 2 and all(type(part) is int for part in read)
            for cell in notation
            for read in cell
        )
    )


def _from_configuration(settings: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the genotype of a configuration of NAS-Bench-301 (Siems et al., 2020), passing over all other settings.

    `…darts:edge_normal_J` names the operation of edge J of the complete cell: states 2 to 5 in order, each with its
    sources in order. `…darts:inputs_node_normal_3`, a text such as `0_2`, repeats what the edges say.

    Raises:
        ArchitectureError: If a node has not exactly two edges, or the two disagree.
    """
    edges: dict[str, dict[int, Any]] = {kind: {} for kind in GENOTYPE.cells}
    inputs: dict[tuple[str, int], Any] = {}
    for key, value in settings.items():
        if not isinstance(key, str):
            continue
        if match := _EDGE.fullmatch(key):
            edges[match[1]][int(match[2])] = value
        elif match := _INPUTS.fullmatch(key):
            inputs[match[1], int(match[2])] = value
    genotype: dict[str, Any] = {}
    for kind, given in edges.items():
        nodes = []
        for state in range(2, 6):
            first = (state - 2) * (state + 1) // 2
            reads = [(given.pop(first + source), source) for source in range(state) if first + source in given]
            if len(reads) != 2:
                raise ArchitectureError(f"NAS-Bench-301, {kind}: state {state} has {len(reads)} edges, it needs two")
            sources = "_".join(str(source) for _, source in reads)
            if inputs.get((kind, state), sources) != sources:
                conflict = f"the edges of state {state} say {sources!r}, not {excerpt(inputs[kind, state], 20)}"
                raise ArchitectureError(f"NAS-Bench-301, {kind}: {conflict}")
            nodes.append(reads)
        if given:
            raise ArchitectureError(f"NAS-Bench-301, {kind}: there are edges 0 to 13, got {listing(given)}")
        genotype |= {kind: nodes, f"{kind}_concat": [2, 3, 4, 5]}
    return genotype


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
                given = listing(sorted(keys))
                raise ArchitectureError(f"a genotype of stages has the keys {list(names)}, got [{given}]")
            return [value for name in names for key, value in notation.items() if str(key) == name]
    if keys != {"stages"}:
        return None
    stages = notation["stages"]
    if not isinstance(stages, list | tuple) or len(stages) != 3:
        raise ArchitectureError(f"`stages` must list three genotypes, got {excerpt(stages)}")
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

    roles = [[plain(cell) for key, cell in cells.items() if GENOTYPE3.role(key) == role] for role in ROLES]
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
        if form.role(kind) != "reduce":
            raise ArchitectureError(f"{kind}: only the reduction cell can be {FIXED!r}")
        return CellGenotype(None, _read_concat(kind, concat, 4, form))
    if not isinstance(listed, list | tuple) or not listed:
        raise ArchitectureError(f"{kind} must be a list of [operation, state] pairs, got {excerpt(listed)}")
    reads = listed if _is_read(listed[0]) else [read for node in listed for read in _as_list(kind, node)]
    if len(reads) % 2:
        raise ArchitectureError(f"{kind} lists {len(reads)} inputs; every node needs exactly two")
    if len(reads) > 2 * _MOST_NODES:
        raise ArchitectureError(f"{kind} has {len(reads) // 2:,} nodes, more than {_MOST_NODES}")
    nodes = []
    for position in range(0, len(reads), 2):
        state = position // 2 + 2
        nodes.append(tuple(_read_input(kind, state, item) for item in reads[position : position + 2]))
    if not _is_read(listed[0]) and any(len(node) != 2 for node in listed):
        raise ArchitectureError(f"{kind}: every node needs exactly two inputs, got {excerpt([len(n) for n in listed])}")
    return CellGenotype(tuple(nodes), _read_concat(kind, concat, len(nodes), form))  # type: ignore[arg-type]


def _as_list(kind: str, node: Any) -> Any:
    if not isinstance(node, list | tuple):
        raise ArchitectureError(f"{kind}: {excerpt(node)} is neither an [operation, state] pair nor a list of them")
    return node


def _is_read(item: Any) -> bool:
    """Return whether an item is an operation and a state, and possibly the weight that searches print with them."""
    return (
        isinstance(item, list | tuple)
        and 2 <= len(item) <= 3
        and isinstance(item[0], str)
        and all(type(weight) in (int, float) for weight in item[2:])
    )


def _read_input(kind: str, state: int, item: Any) -> Read:
    where = f"{kind}, node {state - 2} (state {state})"
    if not _is_read(item) or not isinstance(item[1], int) or isinstance(item[1], bool):
        raise ArchitectureError(f"{where}: {excerpt(item)} is not an [operation, state] pair")
    op, source = _NAMES.get(item[0], item[0]), item[1]
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
        raise ArchitectureError(f"{kind}_concat must be a list of states, got {excerpt(concat)}")
    concat = tuple(concat)
    last = 1 + nodes
    if not concat or len(set(concat)) < len(concat) or not all(2 <= state <= last for state in concat):
        raise ArchitectureError(f"{kind}_concat must be different states from 2 to {last}, got {excerpt(list(concat))}")
    return tuple(sorted(concat))


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
