"""Finding architectures in other data: JSON results, rows with an accuracy, notebooks, YAML dumps.

{"result": {"arch": [2, 0, …], "acc": 74.3}}        the one architecture in it, wherever it is
((2, 0, …), 74.3)    ('best arch:', (2, 0, …))       beside numbers and words
tensor([[2., 0., …]])                               as one row, or one column, of whole numbers
{"cells": […], "nbformat": 4, …}                    a notebook: the texts of its cells and of what they printed
normal:                                             YAML, with tags of Python's tuples
- !!python/tuple [sep_conv_3x3, 1]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ramify import reading
from ramify.errors import ArchitectureError
from ramify.wording import listing

MAX_YAML = 40_000
"""Characters of a text that is read as YAML."""
HOLDERS = ("genotype", "arch", "arch_str", "architecture", "choice", "choices", "cand", "candidate", "path")
"""What records call an architecture; lists of numbers under other names are something else."""

_STAGES = {"0", "1", "2", "stage0", "stage1", "stage2"}
_MARKS = {"matrix", "module_adjacency", "DAG", "format", "stages"}
_LISTED = re.compile(r"[\d\s,()\[\]-]{9,}")
_SETTING = re.compile(r"(?:.*:)?edge_(?:normal|reduce)_\d{1,2}")
_YAML = re.compile(r"(?:---|\{|- |[\w'\"]+:(?:\s|$))")
_TAGS = re.compile(r"!!python/(?:tuple|object/(?:new|apply):[\w.]*Genotype)(?=\s)")


def is_notation(value: Any, cells: frozenset[str]) -> bool:
    """Return whether a mapping is itself an architecture, `cells` being the names of cells in genotypes."""
    if not isinstance(value, Mapping):
        return False
    keys = set(map(str, value))
    if keys & (cells | _MARKS) or any(map(_SETTING.fullmatch, keys)):
        return True
    return bool(keys & _STAGES) and any(isinstance(v, str) or is_notation(v, cells) for v in value.values())


def held(value: Any, cells: frozenset[str], holds: Callable[[str], bool]) -> Any:
    """Return the only architecture inside a value; the value itself if it holds none or is one.

    Args:
        value: Of a whole text.
        cells: How genotypes call their cells.
        holds: Tells of a text whether there is a notation in it.

    Raises:
        ArchitectureError: If it holds several.
    """
    if isinstance(value, list) and value:
        return _of_list(value, cells, holds)
    if not isinstance(value, Mapping) or is_notation(value, cells) or isinstance(value.get("architecture"), Mapping):
        return value
    if text := _notebook(value):
        return text
    architectures: dict[str, tuple[str, Any]] = {}
    for place, item in _places(value, "", "", cells, holds):
        architectures.setdefault(repr(item), (place, item))
    named = [(place, item) for place, item in architectures.values() if place in HOLDERS]
    return _only(named or list(architectures.values()), value)


def _only(architectures: list[tuple[str, Any]], otherwise: Any) -> Any:
    """Return the only one of several architectures with their places, or something else where there is none."""
    if len(architectures) > 1:
        places = listing(place for place, _ in architectures)
        raise ArchitectureError(f"it holds {len(architectures)} architectures, of which FILE:PLACE picks one: {places}")
    return architectures[0][1] if architectures else otherwise


def at(value: Any, name: str) -> Any:
    """Return the item at a path in a value, such as `best.arch` or `rows.3.arch`; None if there is none."""
    if isinstance(value, Mapping) and name in value:
        return value[name]
    for part in name.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and re.fullmatch(r"\d{1,6}", part) and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def from_yaml(text: str) -> Any:
    """Return the mapping or the list of a YAML text; None if it is no YAML."""
    text = text if len(text) > MAX_YAML else _TAGS.sub("", text).strip("\n")
    if len(text) > MAX_YAML or not _YAML.match(text):
        return None
    try:
        value: Any = reading.yaml_value(text, where="it", error=ArchitectureError)
    except ArchitectureError:
        return None
    return value if isinstance(value, dict | list) else None


def _places(
    value: Any, key: str, place: str, cells: frozenset[str], holds: Callable[[str], bool]
) -> Iterator[tuple[str, Any]]:
    """Yield every architecture inside a value with where it is."""
    if isinstance(value, str):
        if holds(value) or (key in HOLDERS and _LISTED.fullmatch(value)):
            yield place, value
    elif is_notation(value, cells) or (key in HOLDERS and _are_codes(value)):
        yield place, value
    elif isinstance(value, Mapping) and "op_indices" in value:
        yield place or "op_indices", {"op_indices": value["op_indices"]}
    elif isinstance(value, Mapping | list):
        for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            inner = f"{place}.{name}" if place else str(name)
            yield from _places(item, str(name), inner, cells, holds)


def _of_list(value: list[Any], cells: frozenset[str], holds: Callable[[str], bool]) -> Any:
    """Return the architecture in a list of what belongs to one, or of rows with one."""
    if len(value) > 1 and all(is_notation(item, cells) for item in value):
        raise ArchitectureError(
            f"it lists {len(value)} genotypes; write {{'stages': [...]}} if there is one for each of three stages, "
            "else hand over one of them"
        )
    if all(_are_numbers(item) for item in value):
        if len(value) == 1:
            return _whole_numbers(value[0])
        if len(value) != 7 and all(len(item) == 1 for item in value):  # seven lists are a chain of CDARTS
            return _whole_numbers([item[0] for item in value])
    if _are_numbers(value):
        return _whole_numbers(value)
    if len(value) == 1 and (isinstance(value[0], str) or is_notation(value[0], cells)):
        return value[0]
    if any(isinstance(item, Mapping) for item in value):
        architectures = {repr(item): (place, item) for place, item in _places(value, "", "", cells, holds)}
        return _only(list(architectures.values()), value)
    large = [item for item in value if isinstance(item, list) or (isinstance(item, str) and holds(item))]
    return large[0] if len(large) == 1 < len(value) else value


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) in (int, float) for item in value)


def _are_codes(value: Any) -> bool:
    """Return whether a value may be a chain, or the operations of a cell: numbers, names or lists of numbers."""
    return _are_numbers(value) or (
        isinstance(value, list)
        and len(value) > 4
        and (all(isinstance(item, str) and " " not in item for item in value) or all(map(_are_numbers, value)))
    )


def _whole_numbers(value: list[Any]) -> list[Any]:
    """Return codes that were printed as floats, `2.`, as integers."""
    return [int(item) if isinstance(item, float) and item.is_integer() else item for item in value]


def _notebook(value: Mapping[Any, Any]) -> str:
    """Return all texts of the cells of a Jupyter notebook, and of what they printed; empty for anything else."""
    cells = value.get("cells")
    if "nbformat" not in value or not isinstance(cells, list):
        return ""
    texts: list[str] = []
    for cell in filter(_is_mapping, cells):
        outputs = cell.get("outputs")
        parts = [cell.get("source"), *(_printed(out) for out in (outputs if isinstance(outputs, list) else []))]
        for part in parts:
            lines = part if isinstance(part, list) else [part]
            texts.append("".join(line for line in lines if isinstance(line, str)))
    return "\n".join(["a notebook", *texts])  # a first line of its own: it is no notation as a whole


def _printed(output: Any) -> Any:
    if not _is_mapping(output):
        return None
    data = output.get("data")
    return output.get("text") or (data.get("text/plain") if _is_mapping(data) else None)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)
