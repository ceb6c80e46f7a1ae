"""Arguments of spaces as plain JSON values and as text, and shapes as networks are built by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return `value` with tuples as lists, as it comes back from JSON."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def listed(arguments: Mapping[str, Any]) -> str:
    """Return arguments as a call writes them."""
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def sized(shape: Mapping[str, int]) -> dict[str, int]:
    """Return the shape that a network is built by; a classifier that is taken off afterwards has one output."""
    return {name: value or 1 for name, value in shape.items()}
