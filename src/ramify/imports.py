"""Classes of users: what `--import` brings into this process, and how the same comes into the processes it starts.

A file of Python or a module is imported because a person names it on the command line, never because a file says so:
configurations and run folders only record it, with the hash of its source. The spaces, strategies, evaluators and
executors it defines are known by their bare names from then on, like the library's own.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NotRequired

from typing_extensions import TypedDict

from ramify import reading
from ramify.errors import ConfigurationError, RamifyError, nearest


class Record(TypedDict):
    """What a configuration says of an import: the file or the module, as it was given, and the hash of its source."""

    file: NotRequired[str]
    module: NotRequired[str]
    sha256: str


@dataclass(frozen=True)
class Imported:
    """An import; plain enough to travel to other processes before anything else.

    Args:
        given: As the user gave it.
        module: Its name among the modules of a process, the same in all of them.
        sha256: Of its source.
        source: Of a file, which so need not be there where it travels; None for a module.
    """

    given: str
    module: str
    sha256: str
    source: str | None

    @property
    def record(self) -> Record:
        """What a configuration says of it."""
        if self.source is None:
            return {"module": self.given, "sha256": self.sha256}
        return {"file": self.given, "sha256": self.sha256}


_imported: dict[str, Imported] = {}
_registries: dict[str, tuple[type, dict[str, Any], frozenset[str]]] = {}
_users: dict[str, type] = {}


def register(kind: str, base: type, known: dict[str, Any]) -> None:
    """Let imports add to the classes that are known.

    Args:
        kind: What they are, in a word.
        base: What all of them are subclasses of.
        known: The library's own by name; those of users are added.
    """
    _registries[kind] = base, known, frozenset(known)
    for name in _imported:
        _add(name, kind)


def bring(given: str) -> None:
    """Import a file or a module; the classes that it defines are known from now on.

    Args:
        given: A file, `mine.py`, or a module, `mine` or `my.own`.

    Raises:
        ConfigurationError: If it cannot be imported, or a name of its classes is taken.
    """
    if given.endswith(".py") or "/" in given:
        path = Path(given)
        if path.suffix != ".py" or not path.name[:-3]:
            raise _refusal(given, "it must be a file FILE.py or the name of a module")
        try:
            source = reading.text_of(path, error=ConfigurationError)
        except ConfigurationError as error:
            raise ConfigurationError(f"--import: {error}") from None
        digest = hashlib.sha256(source.encode()).hexdigest()
        name = f"ramify_import_{re.sub('[^a-zA-Z0-9]', '_', path.stem)}_{digest[:12]}"
        _take(Imported(given, name, digest, source), str(path.absolute()))
        return
    if not all(part.isidentifier() for part in given.split(".")):
        raise _refusal(given, "it must be a file FILE.py or the name of a module")
    if given.partition(".")[0] == "ramify":
        raise _refusal(given, "the library's own classes are known without it")
    _take(Imported(given, given, "", None))


def travelling() -> list[Imported]:
    """Return all imports, for a process that is started; `repeat` takes them there."""
    return list(_imported.values())


def repeat(imports: Iterable[Imported]) -> None:
    """Import what another process has imported, so that its objects can be read.

    Raises:
        ConfigurationError: If something cannot be imported here, or is another one here.
    """
    for imported in imports:
        _take(imported, imported.given)


def records() -> list[Record]:
    """Return what a configuration says of all imports."""
    return [imported.record for imported in _imported.values()]


def check(found: Any, where: str | Path, *, error: type[RamifyError] = ConfigurationError) -> None:
    """Refuse what was made with imports that this process does not have.

    Args:
        found: What the configuration says under `import`.
        where: What the configuration is of; begins the message.
        error: What to raise.

    Raises:
        RamifyError: Of the type `error`, saying what to import, or that it has changed.
    """
    shown = reading.shown(where)
    if isinstance(found, str):
        word = reading.shown(Path(found))
        raise error(f"{shown}: `import` is a record and imports nothing; add --import {word} to the command line")
    made_with: list[Record] = reading.checked(found or [], list[Record], where=f"{shown}: `import`", error=error)
    for record in made_with:
        given = record.get("file") or record.get("module") or ""
        if any(imported.sha256 == record["sha256"] for imported in _imported.values()):
            continue
        word = reading.shown(Path(given))
        here = [imported for imported in _imported.values() if Path(imported.given).name == Path(given).name]
        if not here:
            raise error(f"{shown} was made with classes of {word}: add --import {word}")
        raise error(
            f"{shown} was made with another {word} than --import gives now (SHA-256 {record['sha256'][:12]!r} then, "
            f"{here[0].sha256[:12]!r} now); restore it, or begin anew"
        )


def is_users(kind: type) -> bool:
    """Return whether a class came by an import."""
    return _users.get(kind.__name__) is kind


def path_of(kind: str, name: str) -> str:
    """Return where in this process the class is that goes by a name; what is no bare name stays as it is.

    Raises:
        ConfigurationError: If no class goes by that name: a class that is loaded is not yet known.
    """
    if kind not in _registries:
        return name
    known = _registries[kind][1]
    item = known.get(name)
    if item is None:
        if name.isidentifier() and name not in ("null", "None"):
            raise ConfigurationError(unknown(kind, name, known))
        return name
    return f"{item.__module__}.{name}" if is_users(item) else f"{item.__module__.rpartition('.')[0]}.{name}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return what to say of a name that no class of a kind has."""
    text = reading.shown(name)
    where, _, last = name.replace(":", ".").rpartition(".")
    if not where:
        if not _imported:
            return f"unknown {kind} {text!r}; {nearest(name, known)}; your own come with --import"
        given = ", ".join(reading.shown(Path(imported.given)) for imported in _imported.values())
        return f"unknown {kind} {text!r}, which {given[:80]} does not define either; {nearest(name, known)}"
    if where.split(".")[0] == "ramify" or not last:
        return f"unknown {kind} {text!r}; {nearest(last, known)}"
    if last in ("yaml", "yml", "json"):
        return f"unknown {kind} {text!r}; a file of options goes behind --config"
    if kind not in _registries:
        return f"unknown {kind} {text!r}; names import nothing, and here --import adds none of your own"
    source = reading.shown(name.partition(":")[0] if ":" in name else where)
    return f"unknown {kind} {text!r}; names import nothing: add --import {source} and call it {reading.shown(last)!r}"


def forget() -> None:
    """Know only the library's own classes again."""
    for _, known, own in _registries.values():
        for name in known.keys() - own:
            del known[name]
    for imported in _imported.values():
        if imported.source is not None:
            sys.modules.pop(imported.module, None)
    _imported.clear()
    _users.clear()


# Importing


class _Text(importlib.abc.SourceLoader):
    """Loads a module from a text that was read already; the file may lie on another machine."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_data(self, path: str | bytes) -> bytes:
        return self.text.encode()


def _refusal(given: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"--import {reading.shown(Path(given))}: {reason}")


def _take(imported: Imported, path: str = "") -> None:
    if imported.module in _imported:
        return
    before = sys.modules.get(imported.module)
    try:
        module = _loaded(imported, path) if before is None else before
    except (Exception, SystemExit) as error:  # whatever the code of others does
        sys.modules.pop(imported.module, None)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise _refusal(imported.given, f"it cannot be imported ({reason})") from None
    if imported.source is None:
        digest = _digest(module)
        if imported.sha256 not in ("", digest):
            raise _refusal(imported.given, "it is another one in this process")
        imported = Imported(imported.given, imported.module, digest, None)
    _imported[imported.module] = imported
    try:
        for kind in _registries:
            _add(imported.module, kind)
    except ConfigurationError:
        del _imported[imported.module]
        raise


def _loaded(imported: Imported, path: str) -> ModuleType:
    if imported.source is None:
        return importlib.import_module(imported.module)
    loader = _Text(path, imported.source)
    spec = importlib.util.spec_from_loader(imported.module, loader, origin=path)
    assert spec is not None
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[imported.module] = module
    loader.exec_module(module)
    return module


def _add(name: str, kind: str) -> None:
    """Make the classes of one kind known that a module defines."""
    base, known, _ = _registries[kind]
    given = _imported[name].given
    found: Mapping[str, type] = {
        key: item
        for key, item in vars(sys.modules[name]).items()
        if inspect.isclass(item)
        and issubclass(item, base)
        and f"{item.__module__}.".startswith(f"{name}.")
        and key == item.__name__
        and not key.startswith("_")
        and not inspect.isabstract(item)
    }
    for key, item in found.items():
        if any(key in names for _, _, names in _registries.values()):
            raise _refusal(given, f"the library has a {key} already; rename the class")
        if _users.get(key, item) is not item:
            raise _refusal(given, f"another import has a {key} already; rename one of the classes")
    known.update(found)
    _users.update(found)


def _digest(module: ModuleType) -> str:
    """Return the hash of a module's source; of a package, of all of its Python files."""
    origin = getattr(module.__spec__, "origin", None)
    folders: Sequence[str] = list(getattr(module, "__path__", ()))
    files = sorted(file for folder in folders for file in Path(folder).rglob("*.py")) if folders else []
    if not files and origin and Path(origin).is_file():
        return hashlib.sha256(Path(origin).read_bytes()).hexdigest()
    digest = hashlib.sha256(module.__name__.encode())
    for file in files:
        digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()
