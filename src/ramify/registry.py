"""Registries: classes and functions by name, the library's own, those of plug-ins, and users'.

    STRATEGIES = Registry("strategy", Strategy, package=__name__)

A registry of classes knows every concrete class below its base, a registry of functions what `add` was told. The
library's own are found by listing a package, so that one of them is one file. A user's are known once Python has
imported them: by an `import`, by `--import` on the command line (`imports.py`), or as an installed plug-in, an entry
point of the group `ramify.plugins` that is loaded when its name is looked up. Nothing else is ever imported.

A name is bare, `Greedy`, or says where it is from, `mine:Greedy` or `my.module:Greedy`: classes of one name in two
modules are two things.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Any, Generic, TypeVar

from ramify.errors import ConfigurationError, shown

T = TypeVar("T")

PLUGINS = "ramify.plugins"
"""The group of entry points: each has the name of a class or function, and points at it or at its module."""

brought: dict[str, str] = {}
"""The modules that `--import` brought, as Python calls them here → as people call them: `mine` for `mine.py`."""

registries: dict[str, Registry[Any]] = {}
"""Every registry, by the kind of what it holds."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered name with what it stands for.

    Args:
        name: Of a class, or what a function was registered as.
        make: The class or function, or a record that holds one.
        paper: Where it was published; empty where it was not.
        line: What it is, in a line.
        code: The class or function itself.
    """

    name: str
    make: T
    paper: str
    line: str
    code: Any

    @property
    def module(self) -> str:
        """The module that defines it."""
        return self.code.__module__

    @property
    def own(self) -> bool:
        """Whether it belongs to the library."""
        return self.module.partition(".")[0] == "ramify"

    @property
    def is_brought(self) -> bool:
        """Whether `--import` imported it."""
        return any(f"{self.module}.".startswith(f"{module}.") for module in brought)

    @property
    def path(self) -> str:
        """The path by which Python imports it in this process."""
        return f"{self.module.rpartition('.')[0] if self.own else self.module}.{self.name}"

    @property
    def full_name(self) -> str:
        """The name; a user's with its module: `mine:Greedy`."""
        return self.name if self.own else f"{label(self.module)}:{self.name}"


class Registry(Mapping[str, T]):
    """Entries of one kind by name; as a mapping, the library's own and those that `--import` imported.

    Looking a name up also finds what Python has imported otherwise, and installed plug-ins.

    Args:
        kind: What they are, in a word.
        base: What classes are subclasses of; None for functions.
        package: Whose modules define the library's own.
    """

    def __init__(self, kind: str, base: type | None = None, *, package: str) -> None:
        self.kind, self.base, self.package = kind, base, package
        self._own: dict[str, Entry[T]] = {}
        self._functions: dict[tuple[str, str], Entry[T]] = {}
        registries[kind] = self

    # What there is

    @property
    def own(self) -> Mapping[str, Entry[T]]:
        """The library's entries, by name."""
        if not self._own:
            for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__, f"{self.package}."):
                importlib.import_module(module.name)
            own = (entry for entry in self._all() if entry.module.startswith(f"{self.package}."))
            self._own = {entry.name: entry for entry in sorted(own, key=lambda entry: entry.name.casefold())}
        return self._own

    def entries(self) -> list[Entry[T]]:
        """Return the library's entries and those that `--import` imported."""
        return [*self.own.values(), *(entry for entry in self.users() if entry.is_brought)]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(entry.name for entry in self.entries()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # One of them

    def __getitem__(self, name: str) -> T:
        entry = self.lookup(name)
        if entry is None:
            raise KeyError(name)
        return entry.make

    def users(self) -> list[Entry[T]]:
        """Return entries for the classes outside the library that Python has imported."""
        return [entry for entry in self._all() if not entry.own]

    def lookup(self, name: str) -> Entry[T] | None:
        """Return the entry of a name, with or without its module; None if there is none.

        Raises:
            ConfigurationError: If there are several.
        """
        if name in self.own:
            return self.own[name]
        for entry in self.own.values():
            if name in (getattr(entry.make, "short", None), entry.path, f"{entry.module}.{entry.name}"):
                return entry
        return self._user(name) or (self._user(name) if load_plugin(name.rpartition(":")[2]) else None)

    def lacks(self, name: str) -> list[str]:
        """Return what the user's class of a name leaves abstract: because of it the class is no entry."""
        last = name.replace(":", ".").rpartition(".")[2]
        below = [] if self.base is None else [item for item in _below(self.base) if _can_be_found(item)]
        items = (item for item in below if item.__name__ == last and not item.__module__.startswith("ramify."))
        return next((sorted(item.__abstractmethods__) for item in items if inspect.isabstract(item)), [])

    def entry_of(self, make: Any) -> Entry[T] | None:
        """Return the entry of a class or function; None if Python cannot import it by its own path."""
        return next((entry for entry in self._all() if entry.make is make), None)

    def name_of(self, make: type) -> str:
        """Return the name by which `lookup` finds a class: without its module, unless that is ambiguous."""
        entry = self.entry_of(make)
        if entry is None or entry.own:
            return make.__name__
        named = [other for other in self.users() if other.name == entry.name]
        named = [other for other in named if other.is_brought] or named
        alone = len(named) == 1 and (entry.is_brought or len(_plugins().get(entry.name, ())) <= 1)
        return entry.name if alone else entry.full_name

    def add(self, name: str, make: T, *, paper: str = "", line: str = "", of: Any = None) -> None:
        """Register a function, or a record that holds one, under a name.

        Args:
            name: By which it is looked up.
            make: What the name stands for.
            paper: Where it was published.
            line: What it is; by default the first line of its docstring.
            of: The function, where `make` is a record.

        Raises:
            ConfigurationError: If the library has something else of that name.
        """
        code = make if of is None else of
        entry = Entry(name, make, paper, line or _first_line(code), code)
        if not entry.own and name in self.own:
            raise ConfigurationError(f"the library has {self.kind} {shown(name)!r} already; choose another name")
        self._functions[entry.module, name] = entry

    def _user(self, name: str) -> Entry[T] | None:
        """Return the user's entry of a name: what `--import` brought goes first."""
        where, colon, last = name.rpartition(":")
        if colon:
            wanted = PurePath(where).stem if where.endswith(".py") else where
            named = [entry for entry in self.users() if entry.name == last]
            named = [entry for entry in named if f"{label(entry.module)}.".startswith(f"{wanted}.")]
        else:
            named = [entry for entry in self.users() if name in (entry.name, f"{entry.module}.{entry.name}")]
        entries = [entry for entry in named if entry.is_brought] or named
        if len(entries) > 1:
            names = ", ".join(sorted(entry.full_name for entry in entries))
            raise ConfigurationError(f"{shown(name)!r} is the name of {len(entries)} classes; say which: {names}")
        return entries[0] if entries else None

    def _all(self) -> list[Entry[T]]:
        """Return everything that Python has imported of this kind, and can still find."""
        if self.base is None:
            return [entry for entry in self._functions.values() if entry.module in sys.modules]
        return [
            Entry(item.__name__, item, getattr(item, "source", ""), _first_line(item), item)
            for item in dict.fromkeys(_below(self.base))
            if not item.__name__.startswith("_") and not inspect.isabstract(item) and _can_be_found(item)
        ]


def label(module: str) -> str:
    """Return a module's name for people: `mine` for a file `mine.py` that `--import` imported."""
    return brought.get(module, module)


def load_plugin(name: str) -> bool:
    """Import the installed plug-ins of a name, of which several packages may have one.

    Raises:
        ConfigurationError: If one cannot be imported.
    """
    points = _plugins().get(name, ())
    for point in points:
        try:
            point.load()
        except (Exception, SystemExit) as error:  # whatever the code of others does
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            where = f"plug-in {shown(name)!r} ({shown(point.value)})"
            raise ConfigurationError(f"{where} cannot be loaded: {reason}") from None
    return bool(points)


def plugins() -> dict[str, tuple[str, ...]]:
    """Return the names of the installed plug-ins with the objects they point at, none of which is loaded."""
    return {name: tuple(point.value for point in points) for name, points in _plugins().items()}


@cache
def _plugins() -> dict[str, tuple[importlib.metadata.EntryPoint, ...]]:
    points_by_name: dict[str, dict[str, importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=PLUGINS):
        points_by_name.setdefault(point.name, {})[point.value] = point
    return {name: tuple(points.values()) for name, points in points_by_name.items()}


def _below(base: type) -> Iterator[Any]:
    item: type
    for item in base.__subclasses__():
        yield item
        yield from _below(item)


def _can_be_found(item: type) -> bool:
    """Return whether Python finds a class where it says that it is, as another process would."""
    return getattr(sys.modules.get(item.__module__), item.__qualname__, None) is item


def _first_line(make: Any) -> str:
    text = inspect.getdoc(make) or ""
    return " ".join(text.partition("\n\n")[0].split())


def named(registry: Registry[Callable[..., Any]], name: str, *, paper: str = "", line: str = "") -> Callable[[T], T]:
    """Return a decorator that registers a function under a name."""

    def decorate(make: T) -> T:
        registry.add(name, make, paper=paper, line=line)  # type: ignore[arg-type]
        return make

    return decorate
