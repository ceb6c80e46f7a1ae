"""The classes that options can name, and the parameters that they take.

Names resolve through the registries and import nothing.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

from ramify import imports, reading
from ramify.commandline.words import Place
from ramify.errors import ConfigurationError, nearest
from ramify.registry import Registry, registries


def classes() -> dict[str, Registry[Any]]:
    """Return the registries of classes, by the word for what they hold."""
    from ramify import evaluators, executors, hypergradient, loggers, spaces, strategies, tasks  # noqa: F401

    return {kind: registry for kind, registry in registries.items() if registry.base is not None}


def kind_of(base: Any) -> str:
    """Return the kind of a class, such as `strategy`; an empty text if it belongs to no registry."""
    if not inspect.isclass(base) or base.__module__ in ("builtins", "collections.abc"):
        return ""  # at once: plain verbs do not wait for PyTorch
    return next((kind for kind, registry in classes().items() if registry.base and issubclass(base, registry.base)), "")


def path_of(base: type, name: str, place: Place) -> tuple[str, type]:
    """Return the path of a class and the class itself, for a registered name or an import path.

    Raises:
        ConfigurationError: If none does, or several do.
    """
    kind = kind_of(base)
    registry = classes()[kind]
    try:
        entry = registry.lookup(name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place.whole}: {error}") from None
    if entry is None:
        raise ConfigurationError(f"{place.whole}: {imports.unknown(kind, name, registry)}")
    if not issubclass(entry.make, base):
        raise ConfigurationError(f"{place}: {entry.name} is no {base.__name__}")
    return entry.path, entry.make


def unnamed(base: type, place: Place) -> ConfigurationError:
    """Return the error for options of a class that no option names."""
    kind = kind_of(base)
    return ConfigurationError(
        f"{place}: name the {kind} before its options; known: {', '.join(sorted(classes()[kind]))}"
    )


def unknown_option(name: str, known: Mapping[str, Any], place: Place) -> ConfigurationError:
    """Return the error for an option that is not among those known at a place."""
    return ConfigurationError(f"{place}: unknown option {reading.shown(name)!r}; {nearest(name, known)}")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a class: its type, `Any` where that is not known, and its default, `empty` if it has none."""

    kind: Any
    default: Any
    empty = inspect.Parameter.empty


@cache
def parameters(cls: type) -> dict[str, Parameter]:
    """Return the parameters of a class's constructor by name, with those of its bases where it passes keywords on."""
    by_name: dict[str, Parameter] = {}
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    factories: dict[str, Any] = {
        field.name: field.default_factory for field in fields if field.default_factory is not dataclasses.MISSING
    }
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        try:
            hints = get_type_hints(init)
        except (NameError, TypeError, AttributeError):  # of a user, for checkers alone
            hints = {}
        signature = list(inspect.signature(init).parameters.values())[1:]
        for item in signature:
            if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD):
                default = factories.get(item.name, lambda default=item.default: default)()
                by_name.setdefault(item.name, Parameter(hints.get(item.name, Any), default))
        if not any(item.kind is item.VAR_KEYWORD for item in signature):
            break
    return by_name
