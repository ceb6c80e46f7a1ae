"""Sources of an architecture: a result, a run folder, a file, a notation, or `zoo:NAME`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ramify import files, reading, zoo
from ramify.architecture import Architecture
from ramify.errors import ArchitectureError
from ramify.parallel import say
from ramify.run.folder import RunFolder
from ramify.spaces import Space, notation, recognize, space_of


class Result:
    """The result of a verb, which other verbs take: an architecture, and its run folder, if any."""

    architecture: Architecture
    out: Path | None


def architecture_of(source: Result | Mapping[str, Any] | str | Path) -> Architecture:
    """Return the architecture of a result, a run folder, a file, a notation or `zoo:NAME`."""
    return read(source)[0]


def read(source: Any, space: Space | None = None) -> tuple[Architecture, Path | None]:
    """Return the architecture of a source, and the run folder that it comes from."""
    if isinstance(source, Architecture):
        return source, None
    if isinstance(source, Result):
        return source.architecture, source.out
    if isinstance(source, Mapping | list | tuple):
        return _parsed(source, space), None
    text = str(source)
    entry = zoo.find(text)
    if entry is not None:
        return (space or entry.space).checked(entry.architecture), None
    path = Path(text)
    if files.is_folder(path):
        content = RunFolder(path).architecture()
        try:
            return Architecture.from_json(content), path
        except ArchitectureError as error:
            raise ArchitectureError(f"{reading.shown(path / 'architecture.json')}: {error}") from None
    if files.is_file(path):
        return _from_file(path, space), None
    head, _, name = text.rpartition(":")
    if files.is_file(head):
        return _from_file(Path(head), space, name.strip() or None), None
    if files.is_there(path):
        raise ArchitectureError(f"{reading.shown(path)} is neither a file nor a folder; save it as a file")
    if not re.search(r"[|{\[(=]", text) and (path.suffix or os.sep in text):
        raise ArchitectureError(f"there is no file or folder {reading.shown(path)}")
    try:
        return _parsed(notation.read(text, tell=say), space), None
    except notation.UnknownNotationError as error:
        hint = f"; zoo:{text} is in the zoo" if any(text == entry.name for entry in zoo.entries()) else ""
        message = str(error).replace(" is no ", " is no run folder, no file, and no ")
        raise ArchitectureError(f"{message}{hint}") from None


def _from_file(path: Path, space: Space | None, name: str | None = None) -> Architecture:
    """Return the architecture in a file; of several genotypes that of this name, or the last of a log."""
    text = reading.text_of(path, error=ArchitectureError, limit=notation.MAX_CHARACTERS)
    try:
        written = notation.read(text, name=name, python=path.suffix == ".py", tell=lambda note: say(f"{path}: {note}"))
        return _parsed(written, space)
    except ArchitectureError as error:
        raise ArchitectureError(f"{path}: {error}") from None


def _parsed(content: Any, space: Space | None) -> Architecture:
    """Read an architecture's JSON object, a file of ours that holds one, or a native notation."""
    if isinstance(content, Mapping) and isinstance(content.get("architecture"), Mapping):
        content = content["architecture"]
    if isinstance(content, Mapping) and "format" in content:
        arch = Architecture.from_json(content)
        return (space or space_of(arch)).checked(arch)
    return (space or recognize(content)).parse(content)
