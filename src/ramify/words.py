"""The words of the command line, and the files they name, before the parser sees them.

What somebody wrote is read here, bounded: words, `--config` files, values in JSON. Names of classes become those of
the library, or of what `--import` brought; jsonargparse, which would import any other, is told to import nothing.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ramify import imports, reading
from ramify.errors import ConfigurationError, RamifyError
from ramify.files import expanded
from ramify.registry import brought, label

LIMIT_CHARACTERS = 2**20
"""Of a word."""

MODE = "ramify"
"""The name of the reader of values among those of jsonargparse."""

_OPTION = re.compile(r"--[^\W\d][\w-]*(\.[\w-]+)*\+?")
_CLASSES = ("space", "strategy", "strategies", "evaluator", "executor")
_FILE_AND_NAME = re.compile(r"(.+\.py):([^\W\d]\w*)", re.S)


def check(words: Sequence[str]) -> None:
    """Refuse words that no option and no value can be.

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


def options_of(words: Sequence[str]) -> Iterator[tuple[int, int, str, str]]:
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


# Imports


def without_imports(words: Sequence[str]) -> list[str]:
    """Import what `--import` names, and what stands as FILE.py:NAME for a class; return the words without that.

    Raises:
        ConfigurationError: If it cannot be imported.
    """
    found: list[str] = []
    done, classes = 0, []
    for start, end, name, value in options_of(words):
        found += words[done:start]
        done = end
        if name == "--import":
            imports.bring(value)
        elif _names_class(name):
            classes.append(len(found) + 1)
            found += [name, ",".join(map(_brought, value.split(","))) if ".py:" in value else value]
        else:
            found += words[start:end]
    found += words[done:]
    if "--import" in found:
        raise ConfigurationError("--import needs a file FILE.py or the name of a module")
    for place in classes:  # any import may come after it
        found[place] = _placed(found[place - 1], found[place])
    return found


def _names_class(option: str) -> bool:
    return _kind(option) in _CLASSES


def _kind(option: str) -> str:
    return option.removeprefix("--").removesuffix(".help").rpartition(".")[2]


def _placed(option: str, value: str) -> str:
    """Return the value of an option that names a class, with its place for its name.

    Raises:
        ConfigurationError: If no class goes by its name.
    """
    if value.lstrip().startswith("{"):
        try:
            found: Any = reading.yaml_value(value, where=option, error=ConfigurationError)
        except ConfigurationError:
            return value  # the parser says what it expects
        return json.dumps(_with_places(found, _kind(option), option))
    return value if _kind(option) == "strategies" else _with_places(value, _kind(option), option)


def _with_places(value: Any, kind: str, where: str) -> Any:
    """Put the places of classes for their names, where a value of a kind, or what is below it, names them."""
    kind = "strategy" if kind == "strategies" else kind
    if isinstance(value, str):
        try:
            return imports.path_of(kind, value) if kind in _CLASSES else value
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from None
    if isinstance(value, list):
        return [_with_places(item, kind, where) for item in value]
    if isinstance(value, dict) and "format" not in value:  # an architecture names its space for itself
        return {key: _with_places(item, kind if key == "class_path" else key, where) for key, item in value.items()}
    return value


def _brought(value: str) -> str:
    parts = _FILE_AND_NAME.fullmatch(value)
    if parts is None:
        return value
    imports.bring(parts[1])
    return f"{Path(parts[1]).stem}:{parts[2]}"


# Files


def with_configs(words: Sequence[str]) -> list[str]:
    """Put what the files of `--config` hold in their places, as JSON.

    Raises:
        ConfigurationError: If one cannot be read or holds no options.
    """
    return _replaced(words, ("--config",), _config)


def with_groups(words: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Put what the files hold that are given for whole groups of options in their places, as JSON.

    Raises:
        ConfigurationError: If one cannot be read.
    """
    return _replaced(words, groups, _group)


def _replaced(words: Sequence[str], options: Sequence[str], read: Any) -> list[str]:
    found: list[str] = []
    done = 0
    for start, end, name, value in options_of(words):
        if name in options:
            found += [*words[done:start], f"{name}={json.dumps(read(name, value))}"]
            done = end
    return [*found, *words[done:]]


def _config(option: str, value: str) -> dict[str, Any]:
    found = _group(option, value)
    if "config" in found:
        raise ConfigurationError(f"{_where(option, value)}: `config` is an option of the command line alone")
    imports.check(found.pop("import", None), _where(option, value))
    return {name: _with_places(item, name, _where(option, value)) for name, item in found.items()}


def _group(option: str, value: str) -> dict[str, Any]:
    """Return the options in a value that is JSON, or a file of YAML."""
    where = _where(option, value)
    if value.lstrip().startswith("{"):
        found: Any = reading.yaml_value(value, where=where, error=ConfigurationError)
    else:
        try:
            found = reading.yaml_file(expanded(value), error=ConfigurationError)
        except ConfigurationError as error:
            raise ConfigurationError(f"{option}: {error}") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{where}: it must hold options, as `name: value`, got {reading.shown(found)}")
    _check_classes(found, where)
    return found


def _check_classes(value: Any, where: str) -> None:
    """Refuse what names a class, or gives its options, in another form than the parser takes."""
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


def _where(option: str, value: str) -> str:
    return option if value.lstrip().startswith("{") else f"{option}: {reading.shown(Path(value))}"


# Values and names, for jsonargparse


def prepare_parser(*, classes: bool = True) -> None:
    """Tell jsonargparse how values are read, and that it may import nothing but classes that are known here.

    Args:
        classes: Whether options name any; where none do, PyTorch need not be waited for.
    """
    from jsonargparse import set_dumper, set_loader, set_parsing_settings

    set_loader(MODE, _value, (RamifyError,))
    set_dumper(MODE, _dumped)
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=sorted(_known_paths()) if classes else [],
        instantiate_subclass_spec_in_any=False,
    )


def _value(text: str) -> Any:
    if not text.strip():
        return text
    found: Any = reading.yaml_value(text, where="it", error=RamifyError)
    if isinstance(found, dict) and all(value is None for value in found.values()):
        return text  # `word:` and `{a, b}` are texts
    return found


def _dumped(value: Any) -> str:
    import yaml

    return yaml.safe_dump(_with_full_names(value), sort_keys=False, allow_unicode=True)


def _with_full_names(value: Any) -> Any:
    """Name the classes of users by where they are from, not by the modules of this process."""
    if isinstance(value, list):
        return [_with_full_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: _with_full_names(item) for name, item in value.items()}
    path = found.get("class_path")
    if isinstance(path, str) and path.partition(".")[0] != "ramify":
        module, _, name = path.rpartition(".")
        found["class_path"] = f"{label(module)}:{name}"
    return found


def _known_paths() -> set[str]:
    """Return by which paths the classes may be named: those that the library's packages offer, and those of users."""
    import ramify
    from ramify import benchmarks, data, evaluators, executors, shrinking, spaces, strategies, training

    found: set[str] = set()
    for package in (benchmarks, data, evaluators, executors, shrinking, spaces, strategies, training):
        for name in package.__all__:
            kind = getattr(package, name)
            if inspect.isclass(kind):
                found |= {f"{package.__name__}.{name}", f"{kind.__module__}.{kind.__qualname__}"}
                if name in ramify.__all__:
                    found.add(f"ramify.{name}")
    for known in (spaces.SPACES, strategies.STRATEGIES, evaluators.EVALUATORS, executors.EXECUTORS):
        found |= {entry.path for entry in [*known.entries(), *known.users()]}
    for module in brought:  # also the settings that classes of users take
        found |= {f"{module}.{name}" for name, kind in vars(sys.modules[module]).items() if inspect.isclass(kind)}
    return found
