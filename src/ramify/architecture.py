"""`Decision`, an independent categorical unit of a space, and `Architecture`, a choice for every decision."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ramify import reading
from ramify.errors import ArchitectureError
from ramify.wording import excerpt

Value = str | int | tuple[Any, ...]
"""What can be chosen: a name, a number, or a tuple of such, for instance `(("sep_conv_3x3", 0), ("none", 1))`."""


_KEYS = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def frozen(value: Any) -> Any:
    """Return `value` with every list turned into a tuple, so that JSON arrays can be hashed."""
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return value


@dataclass(frozen=True)
class Decision:
    """An independent categorical unit of a search space.

    Args:
        name: Unique within its space.
        choices: The values that may be taken, all different.
        place: What it decides, in the terms of its space, such as the number of a layer.
    """

    name: str
    choices: tuple[Value, ...]
    place: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def index(self) -> Mapping[Value, int]:
        """Position of every value in `choices`."""
        return {value: position for position, value in enumerate(self.choices)}

    def __contains__(self, value: object) -> bool:
        try:
            return value in self.index
        except TypeError:  # unhashable: a damaged file may hold anything
            return False

    def neighbors(self, value: Value) -> tuple[Value, ...]:
        """Return the values next to `value`: what a single mutation can change it to.

        For a value made of parts (a pair of inputs) those that differ in exactly one part; for any other
        value, and for a composite one that has no such neighbor, all other values.
        """
        others = tuple(choice for choice in self.choices if choice != value)
        if not _is_composite(value):
            return others
        return tuple(choice for choice in others if _parts_changed(value, choice) == 1) or others


def _is_composite(value: Value) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, tuple) for part in value)


def _parts_changed(a: Value, b: Value) -> int:
    """Number of parts of `a` that are missing in `b`, each part of `b` standing in for one of `a` only."""
    assert isinstance(a, tuple) and isinstance(b, tuple)
    left = list(b)
    for part in a:
        if part in left:
            left.remove(part)
    return len(left)


@dataclass(frozen=True, eq=False)
class Architecture:
    """An immutable assignment of every decision of a space.

    Two architectures are equal when they belong to the same space with the same arguments and choose the
    same values. Equality is notational; functionally isomorphic networks may differ.

    Args:
        space: Name of the space class.
        choices: Decision name → chosen value, in the order of the space's decisions.
        arguments: The constructor arguments of the space that differ from its defaults, as plain JSON values.

    Example:
        >>> import ramify
        >>> arch = ramify.spaces.NASBench201().parse("|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|")
        >>> arch["1<-0"]
        'skip_connect'
    """

    FORMAT = "ramify.architecture"
    VERSION = 1

    space: str
    choices: Mapping[str, Value]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choices = {name: frozen(value) for name, value in self.choices.items()}
        object.__setattr__(self, "choices", MappingProxyType(choices))
        object.__setattr__(self, "arguments", MappingProxyType(dict(self.arguments)))

    @cached_property
    def _key(self) -> str:
        return _KEYS.encode([self.space, dict(self.arguments), dict(self.choices)])

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Architecture) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __getitem__(self, decision: str) -> Value:
        return self.choices[decision]

    def __iter__(self) -> Iterator[str]:
        return iter(self.choices)

    def __reduce__(self) -> tuple[Any, ...]:  # mapping proxies do not travel between processes by themselves
        return Architecture, (self.space, dict(self.choices), dict(self.arguments))

    def __repr__(self) -> str:
        chosen = ", ".join(f"{name}={value}" for name, value in self.choices.items())
        return f"Architecture({self.space}: {chosen})"

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form of the JSON that `to_json` writes."""
        return {
            "format": self.FORMAT,
            "version": self.VERSION,
            "space": self.space,
            "arguments": dict(self.arguments),
            "choices": dict(self.choices),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the versioned JSON text; `from_json` reads it back to an equal architecture."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any]) -> Architecture:
        """Read the JSON text, or the plain form, of an architecture.

        Raises:
            ArchitectureError: If the text is no JSON, of another format or version, or incomplete.
        """
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        if isinstance(text, str):
            text = reading.json_value(text, where="architecture", error=ArchitectureError)
        if not isinstance(text, Mapping) or text.get("format") != cls.FORMAT:
            raise ArchitectureError(f'architecture JSON must be an object with "format": "{cls.FORMAT}"')
        if text.get("version") != cls.VERSION:
            version = excerpt(text.get("version"))
            raise ArchitectureError(f"architecture has version {version}, this release reads version {cls.VERSION}")
        space, choices, arguments = (text.get(name) for name in ("space", "choices", "arguments"))
        if not (isinstance(space, str) and isinstance(choices, Mapping) and isinstance(arguments, Mapping)):
            raise ArchitectureError("architecture JSON must hold `space` (a name), `choices` and `arguments` (objects)")
        return cls(space, choices, arguments)
