"""Building the objects that verbs take from plain values that fit their types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from ramify.commandline import classes
from ramify.commandline.classes import kind_of, parameters
from ramify.commandline.kinds import is_exotic, is_list, is_settings, members, origin_of
from ramify.commandline.words import Place
from ramify.errors import ConfigurationError, RamifyError


def object_of(value: Any, kind: Any, place: Place, default: Any = None) -> Any:
    """Return the object that a plain value of a type describes.

    Args:
        value: As `Reader.merged` returns it.
        kind: Its type.
        place: Where it was given.
        default: What settings are changed by it, if that is not their own default.

    Raises:
        RamifyError: If a constructor refuses its arguments.
    """
    kinds = members(kind)
    if isinstance(value, dict):
        if base := next((one for one in kinds if kind_of(one)), None):
            _, cls = classes.path_of(base, value["class_path"], place)
            return _built(cls, value["init_args"], place)
        if settings := next((one for one in kinds if is_settings(one)), None):
            return _built(settings, value, place, default)
        mapping = next((one for one in kinds if origin_of(one) in (dict, Mapping)), Any)
        of = (get_args(mapping) or (Any, Any))[1]
        return {name: object_of(item, of, place / name) for name, item in value.items()}
    if isinstance(value, list):
        one = next((one for one in kinds if is_list(one)), list)
        of = get_args(one) or (Any,)
        each = of if origin_of(one) is tuple and of[-1] is not ... else [of[0]] * len(value)
        items = [object_of(item, kind, place) for item, kind in zip(value, each, strict=True)]
        return tuple(items) if origin_of(one) is tuple else items
    if value is not None and any(map(is_exotic, kinds)):
        from ramify.commandline.parser import read

        return read(value, kind)
    return value


def _built(cls: type, arguments: Mapping[str, Any], place: Place, default: Any = None) -> Any:
    known = parameters(cls)
    changed = isinstance(default, cls)
    missing = next((name for name, one in known.items() if one.default is one.empty and name not in arguments), None)
    if missing and not changed:
        raise ConfigurationError(f"{place}: `{missing}` is missing")
    fields = {
        name: object_of(value, known[name].kind, place / name, known[name].default) for name, value in arguments.items()
    }
    try:
        make = getattr(cls, "of_file", cls)
        return dataclasses.replace(default, **fields) if changed else make(**fields)
    except RamifyError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{place}: {error}") from None
