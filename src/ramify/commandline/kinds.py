"""The types of options and their names in messages."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ramify.commandline.classes import kind_of


def members(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union type, or the type itself."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def origin_of(kind: Any) -> Any:
    """Return a type without its arguments: `list` for `list[int]`."""
    return get_origin(kind) or kind


def is_list(kind: Any) -> bool:
    """Return whether a type's values are lists."""
    return origin_of(kind) in (list, tuple, Sequence)


def is_settings(kind: Any) -> bool:
    """Return whether a type is a dataclass of settings, which needs no class name."""
    return inspect.isclass(kind) and dataclasses.is_dataclass(kind) and not kind_of(kind)


def is_exotic(kind: Any) -> bool:
    """Return whether a type is left to the parser, such as `Path`, an `Enum` or a user's class."""
    plain = (Any, None, types.NoneType, bool, int, float, str, dict, Mapping, Literal)
    return not (origin_of(kind) in plain or is_list(kind) or is_settings(kind) or kind_of(kind))


def in_words(kind: Any) -> str:
    """Return a type in words, for messages."""
    names: list[str] = []
    for one in members(kind):
        origin = origin_of(one)
        if origin is Literal:
            names += [repr(value) for value in get_args(one)]
        elif one is types.NoneType:
            names.append("null")
        else:
            names.append("list" if origin is Sequence else str(getattr(origin, "__name__", origin)))
    return " or ".join(dict.fromkeys(names))
