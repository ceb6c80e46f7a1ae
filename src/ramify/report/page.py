"""A page in the making: one HTML file that needs nothing else, and the pictures in it as files of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

from ramify import files
from ramify.report.elements import card, color_rules, slug
from ramify.report.pictures import save_figure

_LOGO = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.9" stroke-linecap="round" '
    'aria-hidden="true"><path d="M12 22V13M12 13C12 9 6 10 6 5.5M12 13c0-4 6-3 6-7.5M12 13V5.5"/>'
    '<g fill="currentColor" stroke="none"><circle cx="6" cy="4" r="2"/><circle cx="12" cy="4" r="2"/>'
    '<circle cx="18" cy="4" r="2"/></g></svg>'
)


class Drawing(Protocol):
    """What a page can show: a chart or a heat map."""

    def html(self, name: str, what: str) -> str:
        """Return it as HTML with this identifier; `what` says what it shows to those who cannot see it."""

    def data(self) -> Mapping[str, Any]:
        """Return what the script of the page needs to say values."""


class Page:
    """A page in the making.

    Args:
        folder: The folder that it is about, which gets the pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: dict[str, Mapping[str, Any]] = {}

    def plot(self, name: str, title: str, drawing: Drawing, aside: str = "") -> str:
        """Return a drawing in a titled box, whose values are said where it is pointed at; `aside` is HTML."""
        self._told[name] = drawing.data()
        return card(title, drawing.html(name, title), aside)

    def save(self, name: str, figure: Figure) -> None:
        """Save a picture for paper and slides."""
        save_figure(figure, self.picture(name))

    def picture(self, name: str) -> Path:
        """Return the path of a picture without its suffix."""
        return files.below(self.folder, f"pictures/{slug(name)}")

    def write(
        self, path: Path, headline: str, opening: str, sections: Mapping[str, str], mixing: Mapping[str, Any] | None
    ) -> None:
        """Write the page.

        Args:
            path: Where.
            headline: Its title.
            opening: What stands below that, as HTML.
            sections: Name of a link → section as HTML; empty ones are left out.
            mixing: What the slider moves through.
        """
        sections = {label: content for label, content in sections.items() if content}
        brand = f'<div class="brand">{_LOGO}<span><b>Ramify</b> · {escape(self.folder.resolve().name)}</span></div>'
        header = f"{brand}<h1>{escape(headline)}</h1>{opening}"
        body = "\n".join(f'<section id="{slug(label)}">{html}</section>' for label, html in sections.items())
        page = _asset("page.html").format(
            title=escape(f"{headline} · Ramify"),
            style=color_rules(header + body) + _asset("style.css"),
            header=header,
            links="".join(f'<a href="#{slug(label)}">{escape(label)}</a>' for label in sections),
            body=body,
            data=_json({"charts": self._told, "mixing": mixing}),
            script=_asset("page.js"),
        )
        files.write(path, page)


def _json(value: Any) -> str:
    """Return plain data as JSON that no text in it can end early."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
