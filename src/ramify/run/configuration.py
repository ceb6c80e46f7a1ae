"""Describing objects as configuration: plain values that the command line's `--config` reads back."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ramify import registry
from ramify.errors import ConfigurationError


def described(value: Any, name: str = "") -> Any:
    """Return `value` as plain YAML values; settings objects become `{class_path, init_args}`.

    Args:
        value: A setting, or an object with settings.
        name: How a message calls it.

    Raises:
        ConfigurationError: If it is nothing that can be written and read back, such as NaN or an array.
    """
    kind = type(value)
    home = kind.__module__.partition(".")[0]
    if isinstance(value, float) and not math.isfinite(value):
        raise _not_plain(name, f"is {float(value)}")
    if value is None or (isinstance(value, bool | int | float | str) and home != "numpy"):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): described(item, f"{name}[{key!r:.40}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item, f"{name}[{place}]") for place, item in enumerate(value)]
    if home in ("builtins", "numpy", "torch"):
        raise _not_plain(name, f"is of the type {home}.{kind.__name__}")
    names = (
        _names(value)
        if dataclasses.is_dataclass(value)
        else []
        if kind.__init__ is object.__init__
        else list(inspect.signature(kind).parameters)
    )
    if missing := next((item for item in names if not hasattr(value, item)), None):
        raise _not_plain(f"{kind.__name__}.{missing}", "is an argument that the object does not keep under this name")
    return {
        "class_path": full_name(kind),
        "init_args": {item: described(getattr(value, item), f"{kind.__name__}.{item}") for item in names},
    }


def full_name(kind: type) -> str:
    """Return the name of a class in configurations: `ramify.strategies.GDAS`, or `mine:Greedy` for a user's."""
    package, _, _ = kind.__module__.rpartition(".")
    if package.partition(".")[0] == "ramify":
        return f"{package}.{kind.__name__}"
    return f"{registry.label(kind.__module__)}:{kind.__name__}"


def _not_plain(name: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name:.80} {problem}; settings are plain values that a configuration can hold: finite numbers of Python, "
        "texts, lists, mappings, None"
    )


def fields_of(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain values, without its class."""
    return {name: described(getattr(settings, name), name) for name in _names(settings)}


def _names(settings: Any) -> list[str]:
    """Return the fields of a dataclass that a configuration shows.

    One whose metadata say `later` is left out where it holds its default, so that configurations which are older than
    the field stay equal.
    """
    return [
        item.name
        for item in dataclasses.fields(settings)
        if not item.metadata.get("later") or getattr(settings, item.name) != _default(item)
    ]


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


_OF_MACHINE = {"execution", "threads", "precision", "device", "devices", "seed"}
"""Options with which a run goes on as it was begun, where another machine has other defaults."""


def options_back(changed: Sequence[str], held: Mapping[str, Any]) -> str:
    """Return the options that undo differences from a held configuration; empty where they are of another run.

    Example:
        >>> options_back(["threads is 2 there and 1 now"], {"threads": 2})
        '--threads 2'
    """
    names = [one.partition(" is ")[0] for one in changed]
    known = set(names) <= _OF_MACHINE
    return " ".join(f"--{name} {held[name]}" for name in names if held.get(name) is not None) if known else ""


def differences(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    prefix: str = "",
    *,
    free: Callable[[str], bool] = lambda name: False,
) -> Iterator[str]:
    """Yield a description of every value that differs between two configurations.

    Args:
        old: One of them.
        new: The other.
        prefix: Goes before the names.
        free: Says which values may differ, by their dotted names.
    """
    for name in [*old, *(name for name in new if name not in old)]:
        a, b = old.get(name), new.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differences(a, b, f"{prefix}{name}.", free=free)
        elif free(f"{prefix}{name}"):
            continue
        elif a != b:
            yield f"{(prefix + name).replace('init_args.', '')} is {a!r} there and {b!r} now"
