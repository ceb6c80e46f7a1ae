"""The layout keywords in `--help`, with types, defaults and descriptions from the dataclass of a space."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from ramify.spaces.layout import Layout

_ONLY = {"member": "of built networks", "supernet": "of supernets"}


def listing_of(layout: type[Layout], width: int = 100) -> str:
    """Return the keywords of a layout in lines, each with its type, its default and its description."""
    from docstring_parser import parse

    described: dict[str, str] = {}
    for base in reversed(layout.__mro__):
        parsed = parse(inspect.cleandoc(base.__doc__ or ""))
        described |= {item.arg_name: item.description or "" for item in parsed.params}
    hints = get_type_hints(layout)
    lines = []
    for item in fields(layout):
        text = " ".join(described.get(item.name, "").split()).replace("None: ", "By default ")
        only = _ONLY.get(str(item.metadata.get("only")), "")
        description = f"{text} ({only})" if only and only not in text else text
        default = "" if item.default is None else f", {_written(item.default)} by default"
        lines.append(f"  {item.name}: {_in_words(hints[item.name])}{default}")
        lines += textwrap.wrap(description, width, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def _in_words(hint: Any) -> str:
    """Return a type as people call it."""
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    names = {int: "whole number", float: "number", bool: "true or false", str: "name"}
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    return " or ".join(_in_words(kind) if get_origin(kind) is Literal else names.get(kind, str(kind)) for kind in kinds)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
