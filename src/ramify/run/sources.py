"""Sources of an architecture: a result, a run folder, a file, a notation, or `zoo:NAME`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify import files, reading, zoo
from ramify.architecture import Architecture
from ramify.errors import ArchitectureError
from ramify.parallel import say
from ramify.run.folder import RunFolder
from ramify.run.proofs import recall_proof
from ramify.spaces import Space, notation, recognize, space_of


class Result:
    """The result of a verb, which other verbs take: an architecture, and its run folder, if any."""

    architecture: Architecture
    out: Path | None


def architecture_of(source: Result | Mapping[str, Any] | str | Path) -> Architecture:
    """Return the architecture of a result, a run folder, a file, a notation or `zoo:NAME`."""
    return read(source)[0]


@dataclass(frozen=True)
class Found:
    """What a source stands for.

    Args:
        architecture: The member.
        home: The run folder that it comes from; None for none.
        notation: The native notation that it was read from, which says more than the architecture: the order in which a
            genotype lists its reads. None where there was none.
    """

    architecture: Architecture
    home: Path | None = None
    notation: Any = None


def read(source: Any, space: Space | None = None) -> tuple[Architecture, Path | None]:
    """Return the architecture of a source, and the run folder that it comes from."""
    found = find(source, space)
    return found.architecture, found.home


def find(source: Any, space: Space | None = None) -> Found:
    """Return the architecture of a source, with its run folder and its notation, where it has them."""
    if isinstance(source, Architecture):
        return Found(source)
    if isinstance(source, Result):
        return Found(source.architecture, source.out)
    if isinstance(source, Mapping | list | tuple):
        return _parsed(source, space)
    text = str(source)
    entry = zoo.find(text)
    if entry is not None:
        return Found((space or entry.space).checked(entry.architecture), None, entry.notation)
    path = Path(text)
    if files.is_folder(path):
        content = RunFolder(path).architecture()
        recall_proof(path)
        try:
            return Found(Architecture.from_json(content), path)
        except ArchitectureError as error:
            raise ArchitectureError(f"{reading.shown(path / 'architecture.json')}: {error}") from None
    if files.is_file(path):
        return _from_file(path, space)
    head, _, name = text.rpartition(":")
    if files.is_file(head):
        return _from_file(Path(head), space, name.strip() or None)
    if files.is_there(path):
        raise ArchitectureError(f"{reading.shown(path)} is neither a file nor a folder; save it as a file")
    if not re.search(r"[|{\[(=]", text) and (path.suffix or os.sep in text):
        raise ArchitectureError(f"there is no file or folder {reading.shown(path)}")
    try:
        return _parsed(notation.read(text, tell=say), space)
    except notation.UnknownNotationError as error:
        hint = f"; zoo:{text} is in the zoo" if any(text == entry.name for entry in zoo.entries()) else ""
        message = str(error).replace(" is no ", " is no run folder, no file, and no ")
        raise ArchitectureError(f"{message}{hint}") from None


def _from_file(path: Path, space: Space | None, name: str | None = None) -> Found:
    """Return the architecture in a file; of several genotypes that of this name, or the last of a log."""
    text = reading.text_of(path, error=ArchitectureError, limit=notation.MAX_CHARACTERS)
    try:
        written = notation.read(text, name=name, python=path.suffix == ".py", tell=lambda note: say(f"{path}: {note}"))
        return _parsed(written, space)
    except ArchitectureError as error:
        raise ArchitectureError(f"{path}: {error}") from None


def _parsed(content: Any, space: Space | None) -> Found:
    """Read an architecture's JSON object, a file of ours that holds one, or a native notation."""
    if isinstance(content, Mapping) and isinstance(content.get("architecture"), Mapping):
        content = content["architecture"]
    if isinstance(content, Mapping) and "format" in content:
        arch = Architecture.from_json(content)
        return Found((space or space_of(arch)).checked(arch))
    return Found((space or recognize(content)).parse(content), None, content)
