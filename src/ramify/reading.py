"""Reading untrusted JSON and YAML: limited in size before it is used, and checked against a type.

What comes out is plain: objects, arrays, texts that can be encoded, integers that are floats too, finite numbers,
booleans and null, neither deep nor large, every key once. `checked` holds such a value against a type; for a file that
is a `TypedDict` beside the code that writes it. Whatever is wrong becomes one line that names the file.
"""

from __future__ import annotations

import codecs
import functools
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import pydantic

from ramify import files
from ramify.errors import RamifyError
from ramify.errors import shown as shown

LIMIT_BYTES = 16 * 2**20
"""Of a file that is read as a whole."""
LIMIT_LINE_BYTES = 4 * 2**20
"""Of a line, in a file that is read by lines."""
LIMIT_DEPTH = 60
"""Of arrays and objects in each other."""
LIMIT_ITEMS = 1_000_000
"""Of all arrays and objects together, the contents of YAML aliases counted where they are used."""

LIMIT_BITS = 1000
"""Of an integer. Sizes of spaces need more than 64, and floats hold no more than 1024."""

T = TypeVar("T")


class _Malformed(ValueError):
    """What is wrong, without where."""


# Files


def bytes_of(path: str | Path, *, error: type[RamifyError] = RamifyError, limit: int | None = None) -> bytes:
    """Read a whole file; arguments and errors are those of `text_of`, without a limit when None."""
    try:
        with files.opened(path) as file:
            content = file.read(-1 if limit is None else limit + 1)
    except FileNotFoundError:
        raise error(f"{shown(path)}: no such file") from None
    except (OSError, ValueError) as problem:  # a name with a zero byte is a ValueError
        raise error(f"{shown(path)} cannot be read ({getattr(problem, 'strerror', None) or problem})") from None
    if limit is not None and len(content) > limit:
        raise error(f"{shown(path)} is larger than {limit / 2**20:g} MiB, which is more than such a file can need")
    return content


def text_of(path: str | Path, *, error: type[RamifyError] = RamifyError, limit: int = LIMIT_BYTES) -> str:
    """Read a text file in UTF-8, or in UTF-16 if a byte order mark says so; the mark is skipped.

    Args:
        path: The file.
        error: What to raise.
        limit: Bytes that it may have.

    Raises:
        RamifyError: Of the type `error`, if there is no such file, or it cannot be read, is too large, or is no text.
    """
    content = bytes_of(path, error=error, limit=limit)
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes what is printed
            return content.decode("utf-16")
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(f"{shown(path)}, line {line}: not UTF-8 text") from None


def json_file(
    path: str | Path, kind: type[T] | Any = Any, *, error: type[RamifyError] = RamifyError, advice: str = ""
) -> T:
    """Read a JSON file.

    Args:
        path: The file.
        kind: The type that its value must have; see `checked`.
        error: What to raise.
        advice: Ends the message, as `; advice`.

    Raises:
        RamifyError: Of the type `error`, if it cannot be read, is no JSON, or holds something else.
    """
    return _file(path, json_value, kind, error, advice)


def yaml_file(
    path: str | Path, kind: type[T] | Any = Any, *, error: type[RamifyError] = RamifyError, advice: str = ""
) -> T:
    """Read a YAML file; arguments and errors are those of `json_file`."""
    return _file(path, yaml_value, kind, error, advice)


def _file(path: str | Path, parse: Callable[..., Any], kind: Any, error: type[RamifyError], advice: str) -> Any:
    try:
        return parse(text_of(path, error=error), kind, where=shown(path), error=error)
    except error as problem:
        if not advice:
            raise
        raise error(f"{problem}; {advice}") from None


# Texts


def json_value(
    text: str, kind: type[T] | Any = Any, *, where: str, error: type[RamifyError], limit: int = LIMIT_BYTES
) -> T:
    """Return the value of a JSON text.

    Args:
        text: The text.
        kind: The type that its value must have; see `checked`.
        where: Begins the message.
        error: What to raise.
        limit: Characters that the text may have.

    Raises:
        RamifyError: Of the type `error`, if it is no JSON, not plain, or another value.
    """
    try:
        if len(text) > limit:
            raise _Malformed(f"it has more than {limit:,} characters")
        value = _decoder().decode(text)
        if not _is_evidently_plain(text):
            _check_plain(value)
    except json.JSONDecodeError as problem:
        raise error(f"{where}: {_json_problem(text, problem)}") from None
    except (_Malformed, RecursionError, ValueError) as problem:
        raise error(f"{where}: {_reason(problem)}") from None
    return value if kind is Any else _checked(value, text, kind, where, error)


def yaml_value(text: str, kind: type[T] | Any = Any, *, where: str, error: type[RamifyError]) -> T:
    """Return the value of a YAML text of one document; dates stay texts. Arguments and errors as for `json_value`."""
    import yaml

    try:
        if len(text) > LIMIT_BYTES:
            raise _Malformed(f"it has more than {LIMIT_BYTES:,} characters")
        _check_events(text)
        value = yaml.load(text, _plain_loader())  # noqa: S506 -- it makes plain values alone
        _check_plain(value)
    except yaml.YAMLError as problem:
        raise error(f"{where}{_yaml_problem(problem)}") from None
    except Exception as problem:  # a tag and a value that do not fit fail in ways without number
        raise error(f"{where}: {_reason(problem)}") from None
    return checked(value, kind, where=where, error=error)


def checked(
    value: Any,
    kind: type[T] | Any,
    *,
    where: str,
    error: type[RamifyError] = RamifyError,
    limit: int = LIMIT_BYTES,
) -> T:
    """Return a plain value unchanged if it conforms to a type.

    Numbers, texts and booleans do not stand for each other, but an integer for a float, and an array for a tuple.

    Args:
        value: Plain.
        kind: A type: `int`, `list[str]`, a `TypedDict`, … A `TypedDict` may have more keys than it names.
        where: Begins the message.
        error: What to raise.
        limit: Characters that the value may have as JSON.

    Raises:
        RamifyError: Of the type `error`, naming the place inside the value and what would be right there.
    """
    try:
        text = json.dumps(value)
    except TypeError:
        raise error(f"{where}: JSON knows nothing like {shown(value)}") from None
    if len(text) > limit:
        raise error(f"{where}: it has more than {limit:,} characters")
    return _checked(value, text, kind, where, error)


def _checked(value: Any, text: str, kind: Any, where: str, error: type[RamifyError]) -> Any:
    """Return a value whose JSON text conforms to a type."""
    try:
        _adapter(kind).validate_json(text, strict=True)
    except pydantic.ValidationError as problem:
        first = problem.errors(include_url=False, include_context=False)[0]
        place = ".".join(_place(value, first["loc"]))
        if first["type"] == "missing":
            name = f"{place}.{first['loc'][-1]}" if place else first["loc"][-1]
            raise error(f"{where}: `{shown(name)}` is missing") from None
        named = f"`{shown(place)}`" if place else "it"
        wanted = first["msg"].removeprefix("Input should be ")
        raise error(f"{where}: {named} must be {wanted}, got {shown(first['input'])}") from None
    return value


def _place(value: Any, names: Sequence[str | int]) -> Iterator[str]:
    """Yield the names that lead into a value, without those of types, which stand where there are several."""
    for name in names:
        known = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        if name in known:
            yield str(name)
            value = value[name]


# Bounds


def _check_plain(value: Any) -> None:
    """Raise `_Malformed` if a value is deep, large, or holds what cannot be printed, counted or computed with."""
    level, items, depth = [value], 0, 0
    while level:
        if depth > LIMIT_DEPTH:
            raise _Malformed(f"it is nested more than {LIMIT_DEPTH} levels deep")
        items += len(level)
        if items > LIMIT_ITEMS:
            raise _Malformed(f"it has more than {LIMIT_ITEMS:,} items")
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                for key in item:
                    if not isinstance(key, str):
                        raise _Malformed(f"the key {shown(key)} is no text; write it in quotes")
                    _check_text(key)
                inner += item.values()
            elif isinstance(item, list):
                inner += item
            else:
                _check_scalar(item)
            if items + len(inner) > LIMIT_ITEMS:
                raise _Malformed(f"it has more than {LIMIT_ITEMS:,} items")
        level, depth = inner, depth + 1


def _is_evidently_plain(text: str) -> bool:
    """Return whether a JSON text shows, without a look at its value, that this has not too much, nor too deep."""
    brackets = text.count("[") + text.count("{")
    return brackets <= LIMIT_DEPTH and len(text) <= LIMIT_ITEMS and text.isascii() and "\\u" not in text


@functools.cache
def _decoder() -> json.JSONDecoder:
    """Return what reads JSON with keys that occur once, and numbers within the limits."""
    return json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_float)


def _integer(text: str) -> int:
    value = int(text)
    if len(text) > LIMIT_BITS // 4:
        _check_scalar(value)
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _check_scalar(value)
    return value


def _check_scalar(value: Any) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if value.bit_length() > LIMIT_BITS:
            raise _Malformed(f"it holds an integer of {len(str(abs(value)))} digits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _Malformed(f"it holds {value}, which is no finite number")
    else:
        raise _Malformed(f"it holds a {type(value).__name__}; texts, numbers, booleans, lists and mappings can be read")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Malformed("it holds half of a character (a lone surrogate)") from None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Malformed(f"the key {shown(twice)!r} occurs twice in one object")
    return mapping


@functools.cache
def _plain_loader() -> Any:
    """Return what loads only what JSON can say: dates and `8:16:24`, which is a notation and no number, stay texts."""
    import yaml

    class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers = {  # noqa: RUF012
            first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":bool", ":null", ":merge"))]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
            if len(set(keys)) < len(keys):
                twice = next(key for key in keys if keys.count(key) > 1)
                raise _Malformed(f"the key {shown(twice)!r} occurs twice in one mapping")
            return cast("dict[Any, Any]", super().construct_mapping(node, deep))

    for tag, pattern in _NUMBERS:
        kind = f"tag:yaml.org,2002:{tag}"
        PlainLoader.add_implicit_resolver(kind, re.compile(f"^({pattern})$"), [*"-+.0123456789"])
    return PlainLoader


def yaml_text(value: Any) -> str:
    """Return a plain value as YAML that `yaml_value` reads back; PyYAML alone would not quote the text `0E0`."""
    return str(_plain_dumper()(value))


@functools.cache
def _plain_dumper() -> Any:
    import yaml

    class PlainDumper(yaml.SafeDumper):
        pass

    for tag, pattern in _NUMBERS:
        kind = f"tag:yaml.org,2002:{tag}"
        PlainDumper.add_implicit_resolver(kind, re.compile(f"^({pattern})$"), [*"-+.0123456789"])
    return functools.partial(yaml.dump, Dumper=PlainDumper, sort_keys=False)


_NUMBERS = (
    ("int", r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][\d_]*)"),
    ("float", r"[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?|[-+]?\d[\d_]*[eE][-+]?\d+"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
)
"""How YAML writes numbers: without base 60, and with 1e-3."""


def _check_events(text: str) -> None:
    """Raise `_Malformed` for YAML whose value would be deep or, its aliases written out, large."""
    sizes: dict[str, tuple[int, int]] = {}  # of what an alias stands for: items, and levels of nesting
    frames: list[list[Any]] = []  # of what is open: its anchor, items and levels so far
    items = 1

    def close(anchor: str | None, size: int, levels: int) -> None:
        if anchor is not None:
            sizes[anchor] = size, levels
        if frames:
            frames[-1][1] += size
            frames[-1][2] = max(frames[-1][2], levels + 1)

    import yaml

    for event in yaml.parse(text, Loader=_plain_loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            frames.append([event.anchor, 1, 1])
        elif isinstance(event, yaml.CollectionEndEvent):
            close(*frames.pop())
        elif isinstance(event, yaml.ScalarEvent):
            close(event.anchor, 1, 0)
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _, _ in frames):
                raise _Malformed(f"the alias {shown(f'*{event.anchor}')} contains itself")
            size, levels = sizes.get(str(event.anchor), (1, 0))
            close(None, size, levels)
            items += size
        items += 1
        if len(frames) > LIMIT_DEPTH or (frames and len(frames) + frames[-1][2] > LIMIT_DEPTH + 1):
            raise _Malformed(f"it is nested more than {LIMIT_DEPTH} levels deep")
        if items > LIMIT_ITEMS:
            raise _Malformed(f"it has more than {LIMIT_ITEMS:,} items")


# Messages


def _json_problem(text: str, problem: json.JSONDecodeError) -> str:
    if not text.strip():
        return "it is empty"
    if problem.pos >= len(text.rstrip()) or problem.msg.startswith("Unterminated string"):
        return "not valid JSON: it is cut off in the middle"
    return f"not valid JSON ({problem.msg}, line {problem.lineno} column {problem.colno})"


def _yaml_problem(problem: Exception) -> str:
    mark = getattr(problem, "problem_mark", None)
    reason = getattr(problem, "problem", None) or getattr(problem, "reason", None) or type(problem).__name__
    return f"{'' if mark is None else f', line {mark.line + 1}'}: not valid YAML ({shown(str(reason))})"


def _reason(problem: Exception) -> str:
    if isinstance(problem, _Malformed):
        return str(problem)
    if isinstance(problem, RecursionError):
        return f"it is nested more than {LIMIT_DEPTH} levels deep"
    return "it holds a value that cannot be read, such as an integer of thousands of digits"


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)
