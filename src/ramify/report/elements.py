"""Plain data as HTML and as words; every text is escaped here."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from ramify.report.palette import ACCENT, HEAT, INK, LEVELS, LINE, MUTED, PAPER, WASH, on_dark, shades


def titled(title: str, lead: str, body: str) -> str:
    """Return a titled section, or nothing without a body."""
    if not body:
        return ""
    return f"<h2>{escape(title)}</h2>" + (f'<p class="lead">{escape(lead)}</p>' if lead else "") + body


def card(title: str, body: str, aside: str = "") -> str:
    """Return a titled box; `body` and `aside`, which stands beside the title, are HTML."""
    return f'<div class="card"><h3>{escape(title)}{aside}</h3>{body}</div>'


def folded(title: str, body: str) -> str:
    """Return a box that shows its title until it is opened; `body` is HTML."""
    return f'<details class="card"><summary>{escape(title)}</summary>{body}</details>' if body else ""


def grid(cards: Iterable[str], *, wide: bool = False) -> str:
    """Return boxes in a responsive grid, nothing for none."""
    body = "".join(cards)
    return f'<div class="grid{" wide" * wide}">{body}</div>' if body else ""


def ramp(low: float, high: float) -> str:
    """Return the color scale of a heat map."""
    colors = ", ".join(f"var(--h{level})" for level in range(LEVELS))
    shown = f'<span class="ramp" style="background: linear-gradient(90deg, {colors})"></span>'
    return f"<small>{low:.3g} {shown} {high:.3g}</small>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Return a table of HTML cells; the columns in `numbers` are right-aligned."""

    def cells(row: Sequence[str]) -> str:
        return "".join(f"<td{' class=number' * (at in numbers)}>{cell}</td>" for at, cell in enumerate(row))

    titles = "".join(f"<th{' class=number' * (at in numbers)}>{escape(cell)}</th>" for at, cell in enumerate(head))
    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows)
    header = f"<thead><tr>{titles}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{header}<tbody>{body}</tbody></table></div>'


def facts(value: Any) -> str:
    """Return any JSON value as HTML: mappings as definitions, lists of mappings as tables, the rest as text."""
    if isinstance(value, Mapping):
        items = (f"<dt>{escape(spaced(key))}</dt><dd>{facts(item)}</dd>" for key, item in value.items())
        return f'<dl class="facts">{"".join(items)}</dl>'
    if isinstance(value, list):
        if value and all(isinstance(item, Mapping) for item in value):
            keys = list(dict.fromkeys(key for item in value for key in item))
            return table([spaced(key) for key in keys], ([facts(item.get(key, "")) for key in keys] for item in value))
        return ", ".join(map(facts, value))
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return escape(f"{value:,.6g}" if isinstance(value, float) else str(value))


def copyable(name: str, text: str, *, yaml_keys: bool = False) -> str:
    """Return text with a button that copies it; `yaml_keys` highlights the keys of YAML, else lines are wrapped."""
    shown = escape(text)
    if yaml_keys:
        shown = re.sub(r"(?m)^([ -]*)([\w.-]+)(?=:)", r'\1<span class="key">\2</span>', shown)
    return (
        f'<div class="copyable"><pre id="{name}"{" class=wrapped" * (not yaml_keys)}>{shown}</pre>'
        f'<button data-copies="{name}">Copy</button></div>'
    )


def tinted(color: str) -> str:
    """Return the style value of a color `#rrggbb` of the light theme, which follows the page's theme."""
    return f"var(--c-{color[1:]})"


def color_rules(html: str) -> str:
    """Return the style rules for the colors that the page names as variables, for light and for dark screens.

    These are `--ink` and its like, which the style sheet names, `--h0` to `--h15`, the shades of heat maps, and
    `--c-rrggbb`, the colors of drawings.
    """
    darker: dict[str, str] = {}
    names = {"paper": PAPER, "ink": INK, "muted": MUTED, "line": LINE, "wash": WASH, "accent": ACCENT}
    names |= {f"c-{color}": f"#{color}" for color in sorted(set(re.findall(r"var\(--c-([0-9a-f]{6})\)", html)))}
    for level, (light, dark) in enumerate(zip(shades(HEAT), shades(tuple(map(on_dark, HEAT))), strict=True)):
        names[f"h{level}"], darker[f"h{level}"] = light, dark
    light = "".join(f"--{name}:{color};" for name, color in names.items())
    dark = "".join(f"--{name}:{darker.get(name) or on_dark(color)};" for name, color in names.items())
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"


def data_url(file: Path) -> str:
    """Return a picture as a data URL."""
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[file.suffix]
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def beside(folder: Path, file: Path) -> str:
    """Return the address of a file in a folder, for a page that lies in the folder."""
    return escape(quote(file.relative_to(folder).as_posix()))


def slug(name: str) -> str:
    """Return a name for use in file names and identifiers."""
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "unnamed"


def spaced(key: object) -> str:
    """Return a key as words."""
    return str(key).replace("_", " ")


def written(value: Any) -> str:
    """Return a notation as text to read and to copy: JSON with one line per entry, or the string that it is."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    lines = (f"  {json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in value.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def as_yaml(value: Any) -> str:
    """Return plain data as YAML."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).rstrip()


def percent(share: float) -> tuple[str, str]:
    """Return an accuracy, given as a fraction or in percent, as number and unit."""
    return f"{100 * share if share <= 1 else share:.2f}", "%"


def amount(count: float) -> tuple[str, str]:
    """Return a count to three significant digits, as number and unit."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:#.3g}".rstrip("."), unit
    return f"{count:g}", ""
