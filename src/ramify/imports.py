"""Users' classes: importing what `--import` names, here and in the processes that this one starts.

A file of Python or a module is imported because a person names it on the command line, never because a file says so:
configurations and run folders only record it, with the hash of its source. The spaces, strategies, evaluators and
executors it defines are known by their bare names from then on, like the library's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NotRequired

from typing_extensions import TypedDict

from ramify import reading
from ramify.errors import ConfigurationError, RamifyError, nearest
from ramify.registry import Entry, brought, load_plugin, plugins, registries
from ramify.wording import listing

MAIN = "__main__"
"""What Python calls a script or notebook."""

HINT = "your own come with --import"
"""What is said where a name is unknown."""


class Record(TypedDict):
    """How a configuration records an import: the file or module, as it was given, and the hash of its source.

    Of a script or notebook, the module `__main__`, it says which of its classes are meant.
    """

    file: NotRequired[str]
    module: NotRequired[str]
    names: NotRequired[list[str]]
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
        """The record for configurations."""
        if self.source is None:
            return {"module": self.given, "sha256": self.sha256}
        return {"file": self.given, "sha256": self.sha256}


_imported: dict[str, Imported] = {}


def bring(given: str) -> None:
    """Import a file or a module; the classes that it defines are known from then on.

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


def traveling() -> list[Imported]:
    """Return all imports, and the modules whose functions have names, for a new process.

    `repeat` takes them there. Classes that are handed over bring their own modules.
    """
    others = {entry.module for kind in registries.values() if kind.base is None for entry in kind.users()}
    others -= {MAIN, *_imported}
    return [*_imported.values(), *(Imported(name, name, "", None) for name in sorted(others))]


def repeat(imports: Iterable[Imported]) -> None:
    """Import what another process has imported, so that its objects can be unpickled.

    Raises:
        ConfigurationError: If something cannot be imported here, or is another one here.
    """
    for imported in imports:
        _take(imported, imported.given)


def records(config: Any = None) -> list[Record]:
    """Return the records of all imports, and of the modules of users whose classes a configuration names."""
    texts = set(_texts(config))
    classes: dict[str, list[str]] = {}
    brought = {entry.full_name for entry in _users() if entry.is_brought}
    for entry in _users():
        called = {entry.full_name} if inspect.isclass(entry.make) else {entry.full_name, entry.name}
        if entry.full_name not in brought and texts & called:
            classes.setdefault(entry.module, []).append(entry.name)
    imports = [imported.record for imported in _imported.values()]
    for module, names in sorted(classes.items()):
        record: Record = {"module": module, "sha256": _digest(sys.modules[module], names)}
        imports.append(record | {"names": sorted(names)} if module == MAIN else record)
    return imports


def unrepeatable(records: Iterable[Record]) -> list[str]:
    """Return the names that a script or notebook defines, which the command line cannot import."""
    return [name for record in records if record.get("module") == MAIN for name in record.get("names", [])]


def _users() -> list[Entry[Any]]:
    """Return what Python has imported, of every kind, that is not the library's."""
    return [entry for kind in registries.values() for entry in kind.users()]


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a configuration, names of settings too: limits have those of costs."""
    if isinstance(value, str):
        yield value
    if isinstance(value, Mapping):
        yield from filter(lambda key: isinstance(key, str), value)
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _texts(item)


def check(recorded: Any, where: str | Path, *, error: type[RamifyError] = ConfigurationError) -> None:
    """Refuse a configuration whose imports this process does not have.

    Args:
        recorded: What the configuration says under `import`.
        where: What the configuration is of; begins the message.
        error: What to raise.

    Raises:
        RamifyError: Of the type `error`, saying what to import, or that it has changed.
    """
    shown = reading.shown(where)
    if isinstance(recorded, str):
        word = reading.shown(Path(recorded))
        raise error(f"{shown}: `import` is a record and imports nothing; add --import {word} to the command line")
    made_with: list[Record] = reading.checked(recorded or [], list[Record], where=f"{shown}: `import`", error=error)
    for record in made_with:
        given = record.get("file") or record.get("module") or ""
        here = _digests(given, record.get("names", []))
        if record["sha256"] in here:
            continue
        word = reading.shown(Path(given))
        if here:
            raise error(
                f"{shown} was made with another {word} than is imported now (SHA-256 {record['sha256'][:12]!r} then, "
                f"{here[-1][:12]!r} now); restore it, or begin anew"
            )
        if given == MAIN:
            names = listing(record.get("names", []))
            raise error(
                f"{shown} was made with {names} of a script or notebook, which the command line cannot import; go on "
                "there, or begin anew with a file and --import"
            )
        raise error(f"{shown} was made with classes of {word}: add --import {word}")


def _digests(given: str, names: Sequence[str]) -> list[str]:
    """Return the hashes of what this process has of a file or module: what `--import` brought, or Python itself."""
    label = label_of(given)
    digests = [imported.sha256 for imported in _imported.values() if label_of(imported.given) == label]
    for plugin, points_at in plugins().items():
        packages = {re.split("[.:]", point)[0] for point in points_at}
        if given not in sys.modules and given.partition(".")[0] in packages:
            with contextlib.suppress(ConfigurationError):  # another one of the same package
                load_plugin(plugin)
    module = sys.modules.get(given)
    if not digests and module is not None and set(names) <= {entry.name for entry in _users() if entry.module == given}:
        digests.append(_digest(module, names))
    return digests


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the error message for a name that no class of a kind has."""
    text = reading.shown(name)
    where, _, last = name.replace(":", ".").rpartition(".")
    if missing := registries[kind].lacks(name) if kind in registries else []:
        return f"{kind} {text!r} is not whole: it lacks {listing(missing)}, which every {kind} defines"
    if points_at := plugins().get(last):
        plugin = reading.shown(", ".join(points_at))
        return f"unknown {kind} {text!r}, which the plug-in of that name ({plugin[:120]}) does not define"
    if not where:
        if not _imported:
            return f"unknown {kind} {text!r}; {nearest(name, known)}; {HINT}"
        given = ", ".join(reading.shown(Path(imported.given)) for imported in _imported.values())
        return f"unknown {kind} {text!r}, which {given[:80]} does not define either; {nearest(name, known)}"
    if where.split(".")[0] == "ramify" or not last:
        return f"unknown {kind} {text!r}; {nearest(last, known)}"
    if last in ("yaml", "yml", "json"):
        return f"unknown {kind} {text!r}; a file of options goes behind --config"
    if kind not in registries:
        return f"unknown {kind} {text!r}; names import nothing, and here --import adds none of your own"
    source = reading.shown(name.partition(":")[0] if ":" in name else where)
    file = f", or --import {source}.py of a file," if ":" in name and "." not in source else ""
    call = f"add --import {source}{file} and call it {reading.shown(last)!r}"
    return f"unknown {kind} {text!r}; names import nothing: {call}"


def found(given: str) -> ModuleType | None:
    """Return what a file or a module is in this process, `--import`'s first; None where nothing has imported it."""
    label = label_of(given)
    named = (imported.module for imported in _imported.values() if label_of(imported.given) == label)
    return sys.modules.get(next(named, given))


def is_brought(given: str) -> bool:
    """Return whether `--import` has imported a file or a module."""
    return any(label_of(imported.given) == label_of(given) for imported in _imported.values())


def forget() -> None:
    """Forget all imports: only the library's own classes, and what Python itself has imported, stay known."""
    for imported in _imported.values():
        if imported.source is not None:
            sys.modules.pop(imported.module, None)
    _imported.clear()
    brought.clear()


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
        missing = isinstance(error, ModuleNotFoundError) and error.name == imported.given
        advice = f"; a file is given as {imported.given}.py" if missing and "." not in imported.given else ""
        raise _refusal(imported.given, f"it cannot be imported ({reason}){advice}") from None
    if imported.source is None:
        digest = _digest(module)
        if imported.sha256 not in ("", digest):
            raise _refusal(imported.given, "it is another one in this process")
        imported = Imported(imported.given, imported.module, digest, None)
    label = label_of(imported.given)
    if label in brought.values():
        raise _refusal(imported.given, f"another import is called {label} already; rename one of them")
    _imported[imported.module], brought[imported.module] = imported, label
    for entry in (entry for entry in _users() if entry.is_brought):
        if any(entry.name in kind.own for kind in registries.values()):
            del _imported[imported.module], brought[imported.module]
            raise _refusal(imported.given, f"the library has a {entry.name} already; rename the class")


def label_of(given: str) -> str:
    """Return how people call an import: `mine` for `mine.py`."""
    return Path(given).stem if given.endswith(".py") else given


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


def _digest(module: ModuleType, names: Sequence[str] = ()) -> str:
    """Return the hash of a module's source; of a package, of all of its Python files; of a script, of some classes.

    A script or notebook is what runs: it changes in other places, and has no file or another one.
    """
    if module.__name__ == MAIN:
        sources = {entry.name: source_of(entry.code) for entry in _users() if entry.module == MAIN}
        return hashlib.sha256("\0".join(sources[name] for name in sorted(names)).encode()).hexdigest()
    origin = getattr(module.__spec__, "origin", None)
    folders: Sequence[str] = list(getattr(module, "__path__", ()))
    files = sorted(file for folder in folders for file in Path(folder).rglob("*.py")) if folders else []
    if not files and origin and Path(origin).is_file():
        return hashlib.sha256(Path(origin).read_bytes()).hexdigest()
    digest = hashlib.sha256(module.__name__.encode())
    for file in files:
        digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def source_of(item: Any) -> str:
    """Return the source of a class or function; where Python does not have it, what its functions do."""
    try:
        return inspect.getsource(item)
    except (OSError, TypeError):
        functions = [value for _, value in sorted(vars(item).items()) if inspect.isfunction(value)]
        codes = [function.__code__ for function in functions or [item]]
        return repr(
            [(code.co_code, code.co_names, [c for c in code.co_consts if isinstance(c, int | str)]) for code in codes]
        )
