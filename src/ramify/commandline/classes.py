"""Classes that options name: which are known, and which parameters they take.

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


def registries() -> dict[str, tuple[type, Mapping[str, type]]]:
    """Return what kinds of classes there are: a word → what all of the kind are, those that are known by name."""
    from ramify import evaluators, executors, spaces, strategies

    return {
        "space": (spaces.Space, spaces.SPACES),
        "strategy": (strategies.Strategy, strategies.STRATEGIES),
        "evaluator": (evaluators.Evaluator, evaluators.EVALUATORS),
        "executor": (executors.Executor, executors.EXECUTORS),
    }


def kind_of(base: Any) -> str:
    """Return the word for the kind that a class is of; empty if it is of none."""
    if not inspect.isclass(base) or base.__module__ in ("builtins", "collections.abc"):
        return ""  # at once: plain verbs do not wait for PyTorch
    return next((kind for kind, (root, _) in registries().items() if issubclass(base, root)), "")


def path_of(base: type, name: str, place: Place) -> tuple[str, type]:
    """Return the path of the class that goes by a name, or by its path, and the class.

    Raises:
        ConfigurationError: If none does.
    """
    kind = kind_of(base)
    known = registries()[kind][1]
    last = name.rpartition(".")[2]
    found = known.get(last)
    if found is not None and name in (
        last,
        f"{found.__module__}.{last}",
        f"{found.__module__.rpartition('.')[0]}.{last}",
    ):
        if not issubclass(found, base):
            raise ConfigurationError(f"{place}: {last} is no {base.__name__}")
        return imports.path_of(kind, last), found
    raise ConfigurationError(f"{place.whole}: {imports.unknown(kind, name, known)}")


def unnamed(base: type, place: Place) -> ConfigurationError:
    """Return the error of whoever gives options of a class without saying which."""
    kind = kind_of(base)
    return ConfigurationError(
        f"{place}: name the {kind} before its options; known: {', '.join(sorted(registries()[kind][1]))}"
    )


def unknown_option(name: str, known: Mapping[str, Any], place: Place) -> ConfigurationError:
    """Return the error of whoever gives an option that is not among those of a place."""
    return ConfigurationError(f"{place}: unknown option {reading.shown(name)!r}; {nearest(name, known)}")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a class: its type, `Any` where that is not known, and its default, `empty` if it has none."""

    kind: Any
    default: Any
    empty = inspect.Parameter.empty


@cache
def parameters(cls: type) -> dict[str, Parameter]:
    """Return what the constructor of a class takes, by name; those of its bases where it hands on keywords."""
    found: dict[str, Parameter] = {}
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
        taken = list(inspect.signature(init).parameters.values())[1:]
        for item in taken:
            if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD):
                default = factories.get(item.name, lambda default=item.default: default)()
                found.setdefault(item.name, Parameter(hints.get(item.name, Any), default))
        if not any(item.kind is item.VAR_KEYWORD for item in taken):
            break
    return found
