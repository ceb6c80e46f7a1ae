"""Converting what is given for an option, words or plain values, to a plain value of its type.

Classes become `{"class_path": …, "init_args": …}`, settings a mapping of those that were given. Whatever does not fit
is refused in one line that says where, what would be right, and what was given.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, Literal, get_args

from ramify import reading
from ramify.commandline.classes import kind_of, parameters, path_of, unknown_option, unnamed
from ramify.commandline.kinds import in_words, is_exotic, is_list, is_settings, members, origin_of
from ramify.commandline.words import Place, Word, group_of, yaml_of
from ramify.errors import ConfigurationError, RamifyError

Readers = Mapping[str, Callable[[str], Any]]
"""Name below an option, empty for itself → what reads a text given for it, before its type is looked at."""


class UnnamedError(ConfigurationError):
    """Options of a class that is not named yet."""


_NO = object()  # what does not fit


@dataclasses.dataclass(frozen=True)
class Reader:
    """Converts given values of an option to plain values of its type.

    Args:
        readers: Of texts that have a meaning of their own.
    """

    readers: Readers = dataclasses.field(default_factory=dict)

    def merged(self, before: Any, kind: Any, names: Sequence[str], value: Any, place: Place, inner: str = "") -> Any:
        """Return the value of an option after another value is given for it or for an option below it.

        Args:
            before: What was given so far; None if nothing was.
            kind: Its type.
            names: Lead from here to what the value is given for.
            value: A word or a plain value.
            place: Of this.
            inner: Leads from the option to this.

        Raises:
            UnnamedError: If it is for a class that is not named yet.
            ConfigurationError: If it does not fit.
        """
        if not names and inner in self.readers and isinstance(value, str):
            value = self.readers[inner](value)
        kinds = members(kind)
        if cls := next((one for one in kinds if kind_of(one)), None):
            return self._of_class(before, cls, kind, list(names), value, place, inner)
        settings = next((one for one in kinds if is_settings(one)), None)
        others = tuple(one for one in kinds if one is not settings)
        if settings and set(others) - {types.NoneType} and not names and not _is_mapping(value):
            return self.value(value, reduce(or_, others), place)
        if settings:
            return self._of_settings(before, settings, kind, list(names), value, place, inner)
        if not names:
            return self.value(value, kind, place)
        if names == ["+"] and any(map(is_list, kinds)):
            return [*_many(before or ()), *_many(self.value(value, kind, place))]
        inside = next((one for one in kinds if origin_of(one) in (dict, Mapping) or one is Any), None)
        if inside is None:
            raise ConfigurationError(f"{place}: it has no options, but `{names[0]}` is given for it")
        of = (get_args(inside) or (Any, Any))[1]
        old = before if isinstance(before, dict) else {}
        return {**old, names[0]: self.merged(old.get(names[0]), of, names[1:], value, place / names[0], "-")}

    def value(self, given: Any, kind: Any, place: Place) -> Any:
        """Return a given value as a plain value of a type.

        Raises:
            ConfigurationError: If it is no such value.
        """
        kinds = members(kind)
        value, problem = given, ""
        if isinstance(given, Word) and kinds != (str,):
            try:
                value = yaml_of(given)
            except RamifyError as error:
                problem = str(error)
        for one in kinds:
            if not (isinstance(given, Word) and one is str):
                plain = self._fitted(value, one, place)
                if plain is not _NO:
                    return plain
        if isinstance(given, str) and str in kinds:
            return str(given)
        if isinstance(given, str) and not isinstance(given, Word):  # a text in a file may be a number in quotes
            plain = self._as_word(given, kind, place)
            if plain is not _NO:
                return plain
        for one in kinds:
            if isinstance(given, Word) and is_list(one) and not given.startswith(("[", "{")):
                plain = self._fitted([Word(item.strip()) for item in given.split(",")], one, place)
                if plain is not _NO:
                    return plain
        if problem and given.lstrip()[:1] in ("[", "{"):
            raise ConfigurationError(f"{place}: {problem.removeprefix('it: ')}")
        raise ConfigurationError(f"{place}: expected {in_words(kind)}, got {_quoted(given)}")

    def _as_word(self, given: str, kind: Any, place: Place) -> Any:
        try:
            return self.value(Word(given), kind, place)
        except ConfigurationError:
            return _NO

    def _fitted(self, value: Any, kind: Any, place: Place) -> Any:
        """Return a value as one of a type that is no union; `_NO` if it is none."""
        if kind is Any:
            return str(value) if isinstance(value, Word) else value
        if kind is None or kind is types.NoneType:
            return value if value is None else _NO
        if kind_of(kind) or is_settings(kind):
            return self.merged(None, kind, [], value, place, "-") if isinstance(value, str | dict) else _NO
        origin, of = origin_of(kind), get_args(kind)
        if origin is Literal:
            return value if value in of and type(value) in map(type, of) else _NO
        if is_exotic(kind):
            from ramify.commandline.parser import takes

            return value if takes(value, kind) else _NO
        if origin is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if origin in (bool, int, float, str):
            fits = isinstance(value, origin) and isinstance(value, bool) == (origin is bool)
            return (str(value) if isinstance(value, str) else value) if fits else _NO
        try:
            if origin in (dict, Mapping):
                if value == "{}":  # a word that YAML alone does not tell from a text
                    return {}
                if not isinstance(value, dict):
                    return _NO
                return {name: self.value(item, of[1] if of else Any, place / name) for name, item in value.items()}
            if is_list(kind) and isinstance(value, list):
                fixed = origin is tuple and of and of[-1] is not ...
                if fixed and len(value) != len(of):
                    return _NO
                each = list(of) if fixed else [of[0] if of else Any] * len(value)
                return [self.value(item, one, place) for item, one in zip(value, each, strict=True)]
        except ConfigurationError:
            if any(kind_of(one) or is_settings(one) for one in of) or origin in (dict, Mapping):
                raise
            return _NO
        return _NO

    # Classes and settings

    def _of_class(
        self, before: Any, base: type, kind: Any, names: list[str], value: Any, place: Place, inner: str
    ) -> Any:
        if names and names[0] == "class_path":
            names = names[1:]
        if names and names[0] == "init_args":
            names = names[1:]
            value = value if names else {"init_args": value}
        now = before if isinstance(before, dict) else {}
        if names:
            if "class_path" not in now:
                raise UnnamedError(str(unnamed(base, place)))
            _, cls = path_of(base, now["class_path"], place)
            return self._with_arguments(now, cls, [(names, value)], place, inner)
        if isinstance(value, Word):
            value = self._class_in(value, place)
        if value is None and types.NoneType in members(kind):
            return None
        if isinstance(value, str):
            value = {"class_path": value}
        if not isinstance(value, dict):
            raise ConfigurationError(f"{place}: expected the name of a {kind_of(base)}, got {_quoted(value)}")
        if wrong := next((name for name in value if name not in ("class_path", "init_args", "dict_kwargs")), None):
            if "class_path" not in value and "class_path" not in now:
                raise UnnamedError(str(unnamed(base, place)))
            raise unknown_option(wrong, {"class_path": 0, "init_args": 0}, place)
        name = value.get("class_path", now.get("class_path"))
        if name is None:
            raise UnnamedError(str(unnamed(base, place)))
        path, cls = path_of(base, name, place)
        kept = now.get("init_args", {})
        if path != now.get("class_path"):
            kept = {name: item for name, item in kept.items() if self._suits(item, cls, name, place)}
        arguments = {**value.get("init_args", {}), **value.get("dict_kwargs", {})}
        given = [([name], item) for name, item in arguments.items()]
        return self._with_arguments({"class_path": path, "init_args": kept}, cls, given, place, inner)

    def _class_in(self, value: Word, place: Place) -> Any:
        """Return what a word says of a class: its name, a mapping, or that there is none."""
        if value.lstrip().startswith("{"):
            return group_of(place, value)
        return None if value in ("null", "None") else str(value)

    def _suits(self, item: Any, cls: type, name: str, place: Place) -> bool:
        """Return whether an argument of the class that was named before is one of another class."""
        if name not in parameters(cls):
            return False
        try:
            self.merged(None, parameters(cls)[name].kind, [], item, place, "-")
        except ConfigurationError:
            return False
        return True

    def _with_arguments(
        self, now: dict[str, Any], cls: type, given: Sequence[tuple[Sequence[str], Any]], place: Place, inner: str
    ) -> dict[str, Any]:
        arguments = dict(now.get("init_args", {}))
        accepted = parameters(cls)
        for (name, *names), value in given:
            if name.endswith("+"):
                name, names = name[:-1], ["+"]
            if name not in accepted:
                raise unknown_option(name, accepted, place)
            below = f"{inner}.{name}".lstrip(".")
            before = arguments.get(name, accepted[name].default if names == ["+"] else None)
            arguments[name] = self.merged(before, accepted[name].kind, names, value, place / name, below)
        return {"class_path": now["class_path"], "init_args": arguments}

    def _of_settings(
        self, before: Any, settings: type, kind: Any, names: list[str], value: Any, place: Place, inner: str
    ) -> Any:
        now = before if isinstance(before, dict) else {}
        if names:
            return self._with_fields(now, settings, [(names, value)], place, inner)
        if isinstance(value, Word):
            if types.NoneType in members(kind) and value == "null":
                return None
            value = group_of(place, value)
        if value is None and types.NoneType in members(kind):
            return None
        if not isinstance(value, dict):
            raise ConfigurationError(f"{place}: expected options, as `name: value`, got {_quoted(value)}")
        if "class_path" in value:
            if re.split("[.:]", str(value["class_path"]))[-1] != settings.__name__:
                raise ConfigurationError(
                    f"{place}: expected options of {settings.__name__}, got {_quoted(value['class_path'])}"
                )
            value = value.get("init_args", {})
        return self._with_fields(now, settings, [([name], item) for name, item in value.items()], place, inner)

    def _with_fields(
        self, now: dict[str, Any], settings: type, given: Sequence[tuple[Sequence[str], Any]], place: Place, inner: str
    ) -> dict[str, Any]:
        return self._with_arguments({"class_path": "", "init_args": now}, settings, given, place, inner)["init_args"]


def _many(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, Word) and value.lstrip().startswith("{"))


def _quoted(value: Any) -> str:
    return repr(reading.shown(value)) if isinstance(value, str) else reading.shown(value)
