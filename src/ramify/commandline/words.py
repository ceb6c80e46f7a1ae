"""Splitting the words of the command line, and the files they name, into options and values.

What somebody wrote is read here, bounded: words, `--config` files, values in JSON. Nothing is imported but what
`--import`, or FILE.py:NAME in the place of a class, names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify import imports, reading
from ramify.errors import ConfigurationError, RamifyError
from ramify.files import expanded

LIMIT_CHARACTERS = 2**20
"""Of a word."""

_OPTION = re.compile(r"--[^\W\d][\w-]*(\.[\w-]+)*\+?")
_SHORT = re.compile(r"-[^\W\d].*", re.S)
_CLASSES = ("space", "strategy", "strategies", "evaluator", "executor", "loggers", "problem", "method", "solver")
_FILE_AND_NAME = re.compile(r"(.+\.py):([^\W\d]\w*)", re.S)
_BOOLEANS = ("true", "false", "yes", "no", "on", "off")


class Word(str):
    """A value given as a word, to be read as a number, a list or a text according to the option's type."""


@dataclass(frozen=True)
class Place:
    """Where a value was given, for messages.

    Args:
        path: The option, and what is below it: `strategy.epochs`.
        file: The option, and the file, that it comes from; empty for a word.
    """

    path: str
    file: str = ""

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self.path}.{name}", self.file)

    def __str__(self) -> str:
        return f"{self.file}: {self.path}" if self.file else f"--{self.path}"

    @property
    def whole(self) -> str:
        """Where the whole value was given: its file, or its option."""
        return self.file or str(self)


@dataclass(frozen=True)
class Given:
    """An option with the value given for it.

    Args:
        option: Its name, and the name of what is below it that the value is for: `strategy.epochs`.
        value: A `Word`, or a plain value out of a file; None where an option stands alone.
        file: As for `Place`.
    """

    option: str
    value: Any
    file: str = ""

    @property
    def place(self) -> Place:
        """Where the option was given, for messages."""
        return Place(self.option, self.file)


def check(words: Sequence[str]) -> None:
    """Refuse words that can be neither options nor values.

    Raises:
        ConfigurationError: Naming the word.
    """
    options = True
    for word in words:
        if len(word) > LIMIT_CHARACTERS:
            raise ConfigurationError(f"{reading.shown(word)!r}: a word has at most {LIMIT_CHARACTERS:,} characters")
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(f"{reading.shown(word)!r}: a word must be UTF-8 text") from None
        if "\0" in word:
            raise ConfigurationError(f"{reading.shown(word)!r}: a word must not hold a zero byte")
        options &= word != "--"
        name = word.partition("=")[0]
        if options and word.startswith("--") and not _OPTION.fullmatch(name):
            raise ConfigurationError(f"unknown option {reading.shown(name)!r}; see --help")


def split(words: Sequence[str], flags: Collection[str] = ()) -> tuple[list[Given], list[Word]]:
    """Return the options in words, and the words that belong to no option.

    Args:
        words: As somebody wrote them.
        flags: Options that may stand alone; the word behind one is its value if it is a boolean.
    """
    options: list[Given] = []
    others: list[Word] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return options, [*others, *map(Word, rest)]
        if word in ("-h", "--help"):
            options.append(Given("help", None))
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            follows = bool(rest) and not rest[0].startswith("--") and rest[0] != "-h"
            if not equals and follows and (name not in flags or rest[0].lower() in _BOOLEANS):
                value, equals = rest.pop(0), " "
            options.append(Given(name, Word(value) if equals else None))
        elif _SHORT.fullmatch(word):
            raise ConfigurationError(f"unknown option {reading.shown(word)!r}; see --help")
        else:
            others.append(Word(word))
    return options, others


# Imports


def without_imports(words: Sequence[str]) -> list[str]:
    """Import what `--import` and `FILE.py:NAME` values name; return the words without `--import`.

    Raises:
        ConfigurationError: If it cannot be imported.
    """
    kept: list[str] = []
    done = 0
    for start, end, name, value in _valued(words):
        kept += words[done:start]
        done = end
        if name == "--import":
            imports.bring(value)
        elif ".py:" in value and name.removesuffix(".help").rpartition(".")[2].removeprefix("--") in _CLASSES:
            kept.append(f"{name}={','.join(map(_brought, value.split(',')))}")
        else:
            kept += words[start:end]
    kept += words[done:]
    if "--import" in kept:
        raise ConfigurationError("--import needs a file FILE.py or the name of a module")
    return kept


def _valued(words: Sequence[str]) -> Iterator[tuple[int, int, str, str]]:
    """Yield every option that has a value: the places of the first and behind the last of its words, name, value."""
    place = 0
    while place < len(words):
        name, equals, value = words[place].partition("=")
        end = place + 1
        if name.startswith("--"):
            if not equals and end < len(words) and not words[end].startswith("--"):
                value, equals, end = words[end], " ", end + 1
            if equals:
                yield place, end, name, value
        place = end


def _brought(value: str) -> str:
    parts = _FILE_AND_NAME.fullmatch(value)
    if parts is None:
        return value
    imports.bring(parts[1])
    return f"{Path(parts[1]).stem}:{parts[2]}"


# Files


def config_of(value: str) -> list[Given]:
    """Return the options in a `--config` file, or in the text of such a file.

    Raises:
        ConfigurationError: If it cannot be read or holds no options.
    """
    options = group_of(Place("config"), value)
    file = _file(Place("config"), value)
    if "config" in options:
        raise ConfigurationError(f"{file}: `config` is an option of the command line alone")
    imports.check(options.pop("import", None), file)
    return [Given(name, item, file) for name, item in options.items()]


def group_of(place: Place, value: str) -> dict[str, Any]:
    """Return the options in a value that is JSON, or a file of YAML.

    Raises:
        ConfigurationError: If it cannot be read or holds none.
    """
    value = str(value)  # YAML's own parser takes no word
    file = _file(place, value)
    if value.lstrip().startswith("{"):
        options: Any = reading.yaml_value(value, where=file, error=ConfigurationError)
    else:
        try:
            options = reading.yaml_file(expanded(value), error=ConfigurationError)
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}: {error}") from None
    if not isinstance(options, dict):
        raise ConfigurationError(f"{file}: it must hold options, as `name: value`, got {reading.shown(options)}")
    _check_classes(options, file)
    return options


def _file(place: Place, value: str) -> str:
    return str(place) if value.lstrip().startswith("{") else f"{place}: {reading.shown(Path(value))}"


def _check_classes(value: Any, where: str) -> None:
    """Refuse what names a class, or gives its options, in another form than can be read."""
    if isinstance(value, list):
        for item in value:
            _check_classes(item, where)
    elif isinstance(value, dict):
        for name, kind in (("class_path", str), ("init_args", dict), ("dict_kwargs", dict)):
            wanted = "a name" if kind is str else "options, as `name: value`"
            if ("class_path" in value or "init_args" in value) and not isinstance(value.get(name, kind()), kind):
                raise ConfigurationError(f"{where}: `{name}` must be {wanted}, got {reading.shown(value[name])}")
        for item in value.values():
            _check_classes(item, where)


# Values


def yaml_of(text: str) -> Any:
    """Return the YAML value of a text; the text itself where the value is empty or all `null`.

    Raises:
        RamifyError: If it is no YAML.
    """
    if not text.strip():
        return text
    parsed: Any = reading.yaml_value(str(text), where="it", error=RamifyError)
    if isinstance(parsed, Mapping) and all(value is None for value in parsed.values()):
        return text  # `word:` and `{a, b}` are texts
    return parsed
