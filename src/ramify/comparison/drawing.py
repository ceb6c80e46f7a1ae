"""The figure of a comparison: regret over budget, one panel for each column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, MaxNLocator

from ramify.report.palette import INK, LINE, MUTED, PAPER, SERIES

_BASELINE = "#8a929b"
_FEW = 5
"""Points below which a curve is drawn with marks."""


def draw(statistics: Mapping[str, Any]) -> Figure:
    """Draw mean regrets with their intervals; the axis of regrets is logarithmic.

    Args:
        statistics: The content of `comparison.json`.
    """
    columns = statistics["columns"]
    space = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.03)
    figure = Figure(figsize=(4.6 * len(columns), 4.2), facecolor=PAPER, layout=space)
    grid = np.array(statistics["grid"])
    for at, (column, about) in enumerate(columns.items(), start=1):
        axes = figure.add_subplot(1, len(columns), at)
        means = []
        for number, (label, it) in enumerate(about["strategies"].items()):
            curve = {name: np.array(values, dtype=float) for name, values in it["curve"].items()}
            color = SERIES[(number - 1) % len(SERIES)] if number else _BASELINE  # random search comes first
            axes.fill_between(grid, curve["low"], curve["high"], color=color, alpha=0.15, lw=0)
            mark = "." if np.isfinite(curve["mean"]).sum() < _FEW else ""  # a line of one point is none
            axes.plot(grid, curve["mean"], label=label, color=color, lw=1.8, ls="-" if number else "--", marker=mark)
            means.append(curve["mean"])
        lowest = np.nanmin([mean[mean > 0].min(initial=1.0) for mean in means])
        shown = np.concatenate([mean[len(mean) // 20 :] for mean in means])
        low = max(lowest * 0.7, 0.003)
        axes.set_ylim(low, max(np.nanmax(shown), low) * 1.3)
        axes.set_yscale("log")
        axes.set_title(column, fontsize=10, color=INK, loc="left", parse_math=False)
        axes.set_xlabel(statistics["axis"], fontsize=8.5, color=MUTED)
        if at == 1:
            axes.set_ylabel(f"{statistics['measure']}, {statistics['unit']}", fontsize=8.5, color=MUTED)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(length=0, labelsize=8, labelcolor=MUTED, which="both")
        axes.grid(axis="y", color=LINE, lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(LINE)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8, labelcolor=INK)
    return figure
