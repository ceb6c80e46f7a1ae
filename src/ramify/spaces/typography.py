"""Replacing typographic characters of papers, web pages and terminals by those of program text.

What is undone has one meaning only: typographic quotes, full-width brackets and ligatures, signs that look like `~`,
`|`, `-` or `x`, invisible characters, colors of a terminal, LaTeX's backslashes, entities of HTML. Line ends stay.
"""

from __future__ import annotations

import html
import re
import unicodedata

_COLORS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ENTITIES = re.compile(r"&(?:#\d{1,6}|#x[0-9a-fA-F]{1,6}|quot|apos|nbsp|amp);")
_LATEX = re.compile(r"\\([_~])|`{1,2}(\w[\w ]{0,60})'{1,2}")
_FORMS = re.compile("[\uff01-\uffee\ufb00-\ufb06\u00a0\u2000-\u200a\u202f\u3000]+")
"""Full-width characters, ligatures, blanks of other widths. Other characters may expand to many."""
_ALIKE = str.maketrans(
    dict.fromkeys("\N{SOFT HYPHEN}\u200b\u200c\u200d\u200e\u200f\u2060\ufeff")
    | dict.fromkeys("‘’‚‛′´", "'")
    | dict.fromkeys("“”„‟″«»", '"')
    | dict.fromkeys("∼˜", "~")
    | dict.fromkeys("∣❘", "|")
    | dict.fromkeys("‐‑–−", "-")
    | {"×": "x"}
)


def plain(text: str) -> str:
    """Return a text with its typographic characters replaced by plain ones."""
    if "\x1b" in text:
        text = _COLORS.sub("", text)
    if "&" in text:
        text = _ENTITIES.sub(lambda entity: html.unescape(entity[0]), text)
    if "\\" in text or "`" in text:
        text = _LATEX.sub(lambda match: match[1] or f"'{match[2]}'", text)
    if text.isascii():
        return text
    return _FORMS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text.translate(_ALIKE))
