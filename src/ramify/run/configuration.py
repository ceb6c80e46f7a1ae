"""Describing objects as configuration: plain values that the command line's `--config` reads back."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ramify import registry


def described(value: Any) -> Any:
    """Return `value` as plain YAML values; settings objects become `{class_path, init_args}`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    names = (
        [item.name for item in dataclasses.fields(value)]
        if dataclasses.is_dataclass(value)
        else list(inspect.signature(type(value)).parameters)
    )
    return {
        "class_path": full_name(type(value)),
        "init_args": {name: described(getattr(value, name)) for name in names},
    }


def full_name(kind: type) -> str:
    """Return how a configuration names a class: `ramify.strategies.GDAS`, and of a user's `mine:Greedy`."""
    package, _, _ = kind.__module__.rpartition(".")
    if package.partition(".")[0] == "ramify":
        return f"{package}.{kind.__name__}"
    return f"{registry.label(kind.__module__)}:{kind.__name__}"


def fields_of(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain values, without its class."""
    return {item.name: described(getattr(settings, item.name)) for item in dataclasses.fields(settings)}


def differences(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    prefix: str = "",
    *,
    free: Callable[[str], bool] = lambda name: False,
) -> Iterator[str]:
    """Yield a phrase for every value that differs between two configurations.

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
