"""Ramify's errors: one line that says what is wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LIMIT = 299
"""Characters of a message. What people hand in may be of any length, and messages quote it."""


class RamifyError(ValueError):
    """Base of every error caused by the user's input; the command line prints it and exits with 2.

    The message becomes one line that can be printed; the middle of a long one is left out.
    """

    def __init__(self, message: str = "") -> None:
        text = "".join(character if character.isprintable() else " " for character in message)
        text = " ".join(text.split())
        half = (LIMIT - 3) // 2
        super().__init__(text if len(text) <= LIMIT else f"{text[:half].rstrip()} … {text[-half:].lstrip()}")


class ArchitectureError(RamifyError):
    """A genotype, an architecture file or a mask does not describe a member of the space."""


class ConfigurationError(RamifyError):
    """Settings that cannot work, alone or together."""


class DataError(RamifyError):
    """A data set that is missing, damaged, or of another shape than needed."""


class OptionError(DataError):
    """A data set that cannot be read without another value of an option of `DataSpec`."""

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class TableError(RamifyError):
    """A benchmark table that is missing or damaged, or does not hold what was asked for."""


class RunError(RamifyError):
    """A run folder that cannot be used: damaged, busy, unwritable, or of another configuration."""


class MissingExtraError(RamifyError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package `{package}`: pip install 'ramify[{extra}]'")


_LISTED = 180  # characters of a list of names


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message that suggests the nearest valid names for `name`.

    Case does not matter for the comparison, so `gdas` finds `GDAS`. A long list is cut.
    """
    known = sorted(known)
    folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name[:_LISTED].casefold(), folded, n=1, cutoff=0.5)
    listing = ", ".join(known)
    if len(listing) > _LISTED:
        listing = f"{listing[:_LISTED].rpartition(', ')[0]}, … ({len(known)} in all)"
    return f"did you mean {folded[close[0]]!r}? Known: {listing}" if close else f"known: {listing}"


_SHOWN = 40  # characters of a wrong value in a message


def shown(value: Any) -> str:
    """Return a user's value as a short text in one line, for messages."""
    text = str(value) if isinstance(value, str | Path) else repr(value)
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:600])
    limit = 160 if isinstance(value, Path) else _SHOWN
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[1 - limit // 2 :]}"
