"""What an unknown option may be meant for: a setting of a class, a layout keyword, or a name that is nearly alike."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ramify.commandline.classes import kind_of, parameters, path_of
from ramify.commandline.kinds import is_settings, members
from ramify.commandline.words import Given, Place
from ramify.errors import RamifyError, nearest

if TYPE_CHECKING:
    from ramify.commandline.command import Option

_ALIKE = 0.8
"""Of a name below an option, which is one of hundreds."""


def suggestion(name: str, options: Mapping[str, Option], given: Sequence[Given]) -> str:
    """Return the end of the message for an unknown option: what goes by its name below others, else the nearest.

    Args:
        name: As it was written.
        options: Those of the verb.
        given: With the classes that were named.
    """
    if difflib.get_close_matches(name.casefold(), map(str.casefold, options), n=1, cutoff=_ALIKE):
        return nearest(name, options)
    below = [f"{option}.{inner}" for option, inner in _below(options, given)]
    head, _, rest = name.partition(".")
    same = [path for path in below if path.rpartition(".")[2] == head]
    if not same:
        names = {path.rpartition(".")[2] for path in below}
        alike = difflib.get_close_matches(head, sorted(names), n=1, cutoff=_ALIKE)
        same = [path for path in below if alike and path.rpartition(".")[2] == alike[0]]
    if not same:
        return nearest(name, options)
    return f"did you mean {' or '.join(f'--{path}' + f'.{rest}' * bool(rest) for path in same[:3])}?"


def _below(options: Mapping[str, Option], given: Sequence[Given]) -> Iterator[tuple[str, str]]:
    """Yield options with the names of what is below them: settings, arguments of classes, keywords of layouts."""
    for name, option in options.items():
        kinds = members(option.kind)
        if settings := next((kind for kind in kinds if is_settings(kind)), None):
            yield from ((name, item.name) for item in dataclasses.fields(settings))
        elif base := next((kind for kind in kinds if kind_of(kind)), None):
            cls = _named(name, base, given) or _kind_of_default(option)
            yield from ((name, inner) for inner in (parameters(cls) if cls else ()))
        elif name.endswith("network"):
            from ramify.spaces import Space

            space = name.removesuffix("network") + "space"
            cls = _named(space, Space, given) if space in options else None
            yield from ((name, item.name) for item in (dataclasses.fields(cls.Layout) if cls else ()))


def _named(name: str, base: type, given: Sequence[Given]) -> Any:
    """Return the class that was named for an option; None for none."""
    told = next((item.value for item in reversed(given) if item.option == name), None)
    named = told.get("class_path") if isinstance(told, Mapping) else told
    try:
        return None if named is None else path_of(base, str(named), Place(name))[1]
    except RamifyError:  # said elsewhere
        return None


def _kind_of_default(option: Option) -> Any:
    default = option.arguments.get("default")
    return None if default is None else type(default)
