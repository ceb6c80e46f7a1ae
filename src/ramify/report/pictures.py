"""Writing Matplotlib figures to files: atomically, and the same bytes for the same figure."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from ramify import files


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write `stem`.svg and `stem`.png atomically and return their paths."""
    vector, raster = stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")
    files.write(vector, svg(figure))
    files.write(raster, png(figure))
    return vector, raster


def svg(figure: Figure, *, text: bool = False) -> str:
    """Return the figure as SVG, with text as outlines, or as `text` for a page that embeds the font."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "ramify", "svg.fonttype": "none" if text else "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def png(figure: Figure) -> bytes:
    """Return the figure as PNG in a resolution for slides."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()
