"""The wording of names and values in messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def sentence(text: str) -> str:
    """Return `text` with a capital first letter; unlike `str.capitalize`, names in it stay as they are."""
    return text[:1].upper() + text[1:]


def excerpt(value: Any, length: int = 60) -> str:
    """Return the beginning of a value for a message, with texts in quotes."""
    written = value if isinstance(value, str) else repr(value)
    cut = written if len(written) <= length else f"{written[:length]}…"
    return repr(cut) if isinstance(value, str) else cut


def listing(names: Iterable[Any], length: int = 100) -> str:
    """Return names for a message, truncated where they are many."""
    quoted = [excerpt(str(name), 30) for name in names]
    shown: list[str] = []
    for name in quoted:
        if shown and len(", ".join([*shown, name])) > length:
            break
        shown.append(name)
    more = len(quoted) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def duration(seconds: float) -> tuple[str, str]:
    """Return a duration as number and unit, with a second unit where that matters."""
    if seconds < 100:
        return f"{seconds:.3g}", "s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes}", "min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}", f"h {minutes:02} min"
    return f"{hours / 24:.1f}", "days"
