"""The curves of a run as pictures for paper and slides, one file for each section of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from ramify.report.palette import ACCENT, HEAT, INK, LINE, MUTED, PAPER, SERIES, WASH, line_color, operation_color
from ramify.report.sizes import SizeHistory
from ramify.report.story import ChoiceHistory, FrontStory, MixingHistory, Panel, Trial

HEAT_MAP = LinearSegmentedColormap.from_list("mixing", HEAT)


def draw_panels(panels: Sequence[Panel]) -> Figure:
    """Draw the curves of a phase side by side."""
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(3.6 * columns, 2.6 * rows)
    for at, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, at)
        for number, (split, values) in enumerate(panel.series.items()):
            gapless = [(x, y) for x, y in zip(panel.positions, values, strict=True) if y is not None]
            marker = "o" if len(gapless) < 40 else None
            axes.plot(
                *zip(*gapless, strict=True), color=line_color(split, number), label=split, lw=1.6, marker=marker, ms=3
            )
        dress(axes, panel.title, panel.axis)
        if len(panel.series) > 1:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return figure


def draw_mixing(mixing: MixingHistory) -> Figure:
    """Draw the final mixing weights of every choice, with the derived candidates framed, and the entropy over time."""
    choices = mixing.choices
    columns = min(2, len(choices))
    rows = math.ceil(len(choices) / columns)
    tall = max(1.5 + 0.24 * len(choice.edges) for choice in choices)
    figure = new_figure(5.2 * columns, tall * rows + 2.4)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[tall] * rows + [2.4])
    for at, choice in enumerate(choices):
        _draw_heatmap(figure.add_subplot(grid[divmod(at, columns)]), choice, mixing.ends)
    axes = figure.add_subplot(grid[rows, :])
    for at, choice in enumerate(choices):
        entropies = [(x, *values) for x, values in zip(mixing.positions, choice.entropy(), strict=True) if values]
        if entropies:
            x, mean, low, high = zip(*entropies, strict=True)
            color = SERIES[at % len(SERIES)]
            axes.fill_between(x, low, high, color=color, alpha=0.1, lw=0)
            axes.plot(x, mean, color=color, lw=1.8, label=choice.name)
    axes.set_ylim(0, 1.03)
    dress(axes, "entropy of the edges (1: undecided)", mixing.axis)
    if axes.lines and len(choices) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return figure


def draw_sizes(sizes: SizeHistory) -> Figure:
    """Draw the mean share that every convolution keeps, and the mean depth of every stage, over the search."""
    figure = new_figure(7.2, 1.4 + 0.1 * len(sizes.rows) + (2.4 if sizes.depths else 0))
    drawn = [bool(sizes.rows), sizes.depths is not None]
    heights = [height for height, on in zip((1 + 0.1 * len(sizes.rows), 2.4), drawn, strict=True) if on]
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    if sizes.rows:
        axes = figure.add_subplot(grid[0, 0])
        axes.pcolormesh([list(row) for row in sizes.shares], cmap=HEAT_MAP, vmin=0, vmax=1)
        axes.invert_yaxis()
        dress(axes, "share of its channels that a convolution keeps", sizes.axis)
        axes.set_yticks([])
    if sizes.depths is not None:
        axes = figure.add_subplot(grid[-1, 0])
        for at, (stage, values) in enumerate(sizes.depths.series.items()):
            gapless = [(x, y) for x, y in zip(sizes.depths.positions, values, strict=True) if y is not None]
            axes.plot(*zip(*gapless, strict=True), color=line_color(stage, at), label=stage, lw=1.6)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
        dress(axes, sizes.depths.title, sizes.axis)
    return figure


def draw_trials(trials: Sequence[Trial]) -> Figure:
    """Draw the score of every trial, and the best so far."""
    figure = new_figure(7.2, 3.4)
    axes = figure.add_subplot()
    numbers = [trial.number for trial in trials]
    axes.scatter(numbers, [trial.score for trial in trials], s=14, color=SERIES[0], alpha=0.5, lw=0, label="trial")
    axes.step(numbers, [trial.best for trial in trials], where="post", color=ACCENT, lw=1.8, label="best so far")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right")
    dress(axes, "score", "trial")
    return figure


def draw_front(front: FrontStory, labels: Sequence[str]) -> Figure:
    """Draw the first objective of every trial against each other one, and the Pareto front."""
    others = range(1, len(front.objectives))
    figure = new_figure(5.2 * len(others), 3.6)
    for other in others:
        axes = figure.add_subplot(1, len(others), other)
        x, y = [point[other] for point in front.points], [point[0] for point in front.points]
        axes.scatter(x, y, s=14, color=SERIES[0], alpha=0.35, lw=0, label="trial")
        axes.step(*zip(*front.stairs(other), strict=True), where="post", color=ACCENT, lw=1.4)
        chosen = [x[at] for at in front.members], [y[at] for at in front.members]
        axes.scatter(*chosen, s=30, color=ACCENT, edgecolor=PAPER, lw=0.8, label="front", zorder=3)
        dress(axes, labels[0], labels[other])
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper right")
    return figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches."""
    space = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.03, hspace=0.03)
    return Figure(figsize=(width, height), facecolor=PAPER, layout=space)


def _draw_heatmap(axes: Axes, choice: ChoiceHistory, ends: tuple[float, float]) -> None:
    weights = [[math.nan if value is None else value for value in row] for row in choice.frames[-1]]
    axes.pcolormesh(weights, cmap=HEAT_MAP, vmin=ends[0], vmax=ends[1], edgecolor=PAPER, linewidth=1.5)
    for edge, operation in sorted(choice.chosen):
        color = operation_color(choice.operations[operation])
        axes.add_patch(Rectangle((operation + 0.05, edge + 0.05), 0.9, 0.9, fill=False, edgecolor=color, lw=1.6))
    centers = [at + 0.5 for at in range(max(len(choice.operations), len(choice.edges)))]
    axes.set_xticks(
        centers[: len(choice.operations)], choice.operations, rotation=35, ha="left", rotation_mode="anchor"
    )
    axes.set_yticks(centers[: len(choice.edges)], choice.edges)
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    axes.set_facecolor(WASH)
    for label, name in zip(axes.get_xticklabels(), choice.operations, strict=True):
        label.set(color=operation_color(name), parse_math=False)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_title(choice.name, fontsize=10, color=INK, loc="left", weight="bold", parse_math=False)


def dress(axes: Axes, title: str, axis: str) -> None:
    """Give axes a title, a label, and the look that all have."""
    axes.set_title(title, fontsize=10, color=INK, loc="left", parse_math=False)
    axes.set_xlabel(axis, fontsize=8.5, color=MUTED)
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y", color=LINE, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
