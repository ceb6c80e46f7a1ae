"""Sources of images by name: data sets, kinds of files, and prefixes such as `hf:`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from ramify.data.parts import Parts
from ramify.data.spec import DataSpec
from ramify.registry import Entry, Registry, plugins

Read = Callable[[str, DataSpec], Parts]
"""(what `source` says, the specification) → what is there."""


@dataclass(frozen=True)
class Source:
    """A source: a data set with a name, or a kind of file or prefix with its reader.

    Args:
        read: Finds the images, or rows, and labels; decodes nothing.
        suffix: The ending of the files it reads, as `.parquet`.
        prefix: What stands in front of names that it looks up, as `hf:`.
    """

    read: Read
    suffix: str = ""
    prefix: str = ""

    def reads(self, name: str, source: str) -> bool:
        """Return whether the text `source` refers to the source `name`."""
        if self.prefix:
            return source.startswith(self.prefix)
        return PurePath(source).suffix == self.suffix if self.suffix else source == name


SOURCES: Registry[Source] = Registry("data source", package="ramify.data")
"""Every source by name."""


def source(name: str, *, suffix: str = "", prefix: str = "", paper: str = "") -> Callable[[Read], Read]:
    """Return a decorator that makes a function `(source, spec)` a source of images or rows.

    The function finds them and their labels, and returns them as `Parts`, without decoding anything. What `--data` says
    is handed to it if it is `name`, ends in `suffix`, or begins with `prefix`.

    Args:
        name: Of the data set, or of the format.
        suffix: The ending of the files it reads.
        prefix: What stands in front of names that it looks up.
        paper: Where it was published.

    Raises:
        ConfigurationError: If the library has another source of this name.
    """

    def decorate(read: Read) -> Read:
        SOURCES.add(name, Source(read, suffix, prefix), paper=paper, of=read)
        return read

    return decorate


def source_of(text: str) -> Entry[Source] | None:
    """Return the source that a value of `--data` refers to; None where a folder or file has to be inspected."""
    known = next((entry for entry in _known() if entry.make.reads(entry.name, text)), None)
    prefix, colon, _ = text.partition(":")
    for name in (text, PurePath(text).suffix[1:], prefix if colon else ""):
        if known is None and name in plugins() and (entry := SOURCES.lookup(name)) and entry.make.reads(name, text):
            known = entry
    return known


def data_set_names() -> list[str]:
    """Return the names of data sets."""
    return [entry.name for entry in _known() if not entry.make.suffix and not entry.make.prefix]


def _known() -> list[Entry[Source]]:
    return [*SOURCES.own.values(), *SOURCES.users()]


def is_name(text: str) -> bool:
    """Return whether a text is the name of a data set, not a path."""
    entry = source_of(text)
    return entry is not None and not entry.make.suffix


def in_words() -> str:
    """Return the possible values of `--data`, for help."""
    sources = [entry.make for entry in SOURCES.entries()]
    files = [source.suffix for source in sources if source.suffix]
    prefixes = [f"{source.prefix}NAME" for source in sources if source.prefix]
    return ", ".join([*data_set_names(), "a folder of images", f"a {' or '.join(files)} file", *prefixes])
