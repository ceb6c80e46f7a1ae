"""The report's section on shrinking: when operators were dropped, and their angles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ramify import reading
from ramify.errors import RunError
from ramify.report.axes import logarithmic
from ramify.report.charts import Chart, Line
from ramify.report.curves import new_figure
from ramify.report.figures import positions
from ramify.report.heat import HeatMap
from ramify.report.palette import ACCENT, HEAT, INK, MUTED, PAPER, WASH, operation_color
from ramify.shrinking.session import Row as Iteration

if TYPE_CHECKING:
    from ramify.supernet import Choice

Row = Mapping[str, Any]
Table = Sequence[Sequence[float | None]]

_SHADES = HEAT[1:]  # white is for operators that are gone
_HEAT = LinearSegmentedColormap.from_list("angles", _SHADES)


@dataclass(frozen=True)
class Shrunk:
    """When the operators of one choice, or of several with shared candidate lists, were dropped.

    Args:
        name: Of the choices.
        edges: Labels of the edges or layers.
        ops: Names of the operations.
        exists: Bool (E, O), what there was at the start.
        went: (E, O), the iteration, from 1, in which an operator went; 0 for those that stayed.
        angles: For every iteration the mean angles (E, O) in radians, None where nothing was scored.
        errors: Their standard errors.
    """

    name: str
    edges: tuple[str, ...]
    ops: tuple[str, ...]
    exists: tuple[tuple[bool, ...], ...]
    went: tuple[tuple[int, ...], ...]
    angles: tuple[Table, ...]
    errors: tuple[Table, ...]

    @property
    def strips(self) -> list[list[float | None]]:
        """Return a row for every edge, with a strip of iterations for every operation and a gap after it.

        A value says where the operator's angle ranks among all of its iteration: 0 the smallest, 1 the largest. The
        angles themselves grow while the supernet learns, so they say nothing from one iteration to the next.
        """
        ranks = [_ranks(table) for table in self.angles]
        return [
            [value for op in range(len(self.ops)) for value in (*(rank.get((edge, op)) for rank in ranks), None)][:-1]
            for edge in range(len(self.edges))
        ]

    @property
    def middles(self) -> list[float]:
        """The positions of the strips' middles."""
        count = len(self.angles)
        return [op * (count + 1) + (count - 1) / 2 for op in range(len(self.ops))]

    def label(self, operator: tuple[int, int]) -> str:
        """Return the label of an operator."""
        return f"{self.edges[operator[0]]}  {self.ops[operator[1]]}"


def shrunk(rows: Sequence[Row], choices: Mapping[str, Choice] | None) -> list[Shrunk]:
    """Return the stories of the choices from the rows of the iterations, equal ones merged.

    Args:
        rows: Those of the phase `shrink`.
        choices: Of the space before it was shrunk.
    """
    if not rows or not choices:
        return []
    for row in rows:
        _check(row, rows[0], choices)
    together: dict[str, list[str]] = {}
    for name in rows[0]["angles"]:
        together.setdefault(str([row["angles"][name] for row in rows]), []).append(name)
    return [_story(rows, choices[names[0]], names) for names in together.values() if names[0] in choices]


def _check(row: Row, first: Row, choices: Mapping[str, Choice]) -> None:
    """Raise `RunError` unless the row of an iteration is one of these choices, and has what the first one has."""
    where = f"history.jsonl, iteration {row.get('iteration')}"
    reading.checked(row, Iteration, where=where, error=RunError)
    for key in ("angles", "errors"):
        if row[key].keys() != first["angles"].keys():
            raise RunError(f"{where}: `{key}` must be of the choices {', '.join(first['angles'])}")
        for name, table in row[key].items():
            choice = choices.get(name)
            if choice is not None and [len(edge) for edge in table] != [len(choice.ops)] * len(choice.edges):
                shape = f"{len(choice.edges)} × {len(choice.ops)}"
                raise RunError(f"{where}: `{key}` of {reading.shown(name)} must be {shape}, edges × operations")
    for name, table in row["angles"].items():
        scored = zip(chain.from_iterable(table), chain.from_iterable(row["errors"][name]), strict=False)
        if any(error is None for angle, error in scored if angle is not None):
            raise RunError(f"{where}: `errors` of {reading.shown(name)} must have a number wherever there is an angle")
    for gone in row["dropped"]:
        for name in gone["choices"]:
            choice = choices.get(name)
            if choice is None or tuple(gone["edge"]) not in choice.edges or gone["operation"] not in choice.ops:
                raise RunError(f"{where}: `dropped` names {reading.shown(gone)}, which the space does not have")


def _story(rows: Sequence[Row], choice: Choice, names: Sequence[str]) -> Shrunk:
    edge_of: dict[tuple[int, int], list[int]] = {}
    for at, ends in enumerate(choice.edges):
        edge_of.setdefault(ends, []).append(at)
    went = [[0] * len(choice.ops) for _ in choice.edges]
    for number, row in enumerate(rows, start=1):
        for gone in row["dropped"]:
            if names[0] in gone["choices"]:
                for edge in edge_of[tuple(gone["edge"])]:
                    op = choice.ops.index(gone["operation"])
                    if row["angles"][names[0]][edge][op] is not None and not went[edge][op]:
                        went[edge][op] = number
    layers = all(target == source + 1 for source, target in choice.edges) and len(choice.edges) > 1
    labels = [f"layer {source}" if layers else f"{source} → {target}" for source, target in choice.edges]
    return Shrunk(
        name=", ".join(names),
        edges=tuple(labels),
        ops=choice.ops,
        exists=tuple(map(tuple, choice.mask.tolist())),
        went=tuple(map(tuple, went)),
        angles=tuple(row["angles"][names[0]] for row in rows),
        errors=tuple(row["errors"][names[0]] for row in rows),
    )


# Interactive


def lives(story: Shrunk, iterations: int) -> HeatMap:
    """Draw (edges × operations) by the iteration in which they were dropped; those that stayed are marked."""
    values, texts, told = [], [], []
    framed: dict[tuple[int, int], str] = {}
    for edge, (exists, row) in enumerate(zip(story.exists, story.went, strict=True)):
        values.append([(at or None) if there else None for at, there in zip(row, exists, strict=True)])
        texts.append([str(at or "✓") if there else "" for at, there in zip(row, exists, strict=True)])
        told.append([_fate(number) if there else "" for number, there in zip(row, exists, strict=True)])
        framed |= {(edge, op): ACCENT for op, at in enumerate(row) if exists[op] and not at}
    colors = tuple(map(operation_color, story.ops))
    return HeatMap(
        story.edges, story.ops, values, 0, 2 * iterations, colors=colors, framed=framed, written=texts, told=told
    )


def angles(story: Shrunk) -> HeatMap:
    """Draw the rank of every operator's angle over the iterations."""
    count = len(story.angles)
    told: list[list[str]] = []
    for edge in range(len(story.edges)):
        told.append([])
        for op in range(len(story.ops)):
            for mean, error in zip(story.angles, story.errors, strict=True):
                value = mean[edge][op]
                told[-1].append("" if value is None else f"{value:.4f} ± {error[edge][op]:.4f} rad")
            told[-1].append("")
        del told[-1][-1]
    names = [f"{op}, iteration {number}" for op in story.ops for number in (*range(1, count + 1), 0)][:-1]
    heads = [""] * len(names)
    for name, middle in zip(story.ops, story.middles, strict=True):
        heads[round(middle)] = name
    colors = [operation_color(story.ops[at // (count + 1)]) for at in range(len(names))]
    return HeatMap(
        story.edges, heads, story.strips, -0.2, 1, colors=colors, told=told, names=names, written=[], tall=25
    )


def sizes(before: float, rows: Sequence[Row]) -> Chart:
    """Draw the number of remaining combinations of operators after every iteration."""
    counts = [before, *(row["size"] for row in rows)]
    line = Line("", ACCENT, range(len(counts)), counts)
    return Chart(positions("iteration", range(len(counts))), logarithmic(counts), (line,))


def _fate(number: int) -> str:
    return f"went in iteration {number}" if number else "is left"


def _ranks(table: Table) -> dict[tuple[int, int], float]:
    """Return (edge, operation) → rank of its value from 0 to 1."""
    scored = [(value, edge, op) for edge, row in enumerate(table) for op, value in enumerate(row) if value is not None]
    last = max(1, len(scored) - 1)
    return {(edge, op): place / last for place, (_, edge, op) in enumerate(sorted(scored))}


# On paper


def draw_shrunk(stories: Sequence[Shrunk], iterations: int) -> Figure:
    """Draw when operators were dropped, and the ranks of their angles, one row per story."""
    tall = [1.5 + 0.24 * len(story.edges) for story in stories]
    figure = new_figure(12.4, sum(tall))
    grid = figure.add_gridspec(len(stories), 2, height_ratios=tall)
    for at, story in enumerate(stories):
        _draw_lives(figure.add_subplot(grid[at, 0]), story, iterations)
        _draw_angles(figure.add_subplot(grid[at, 1]), story)
    return figure


def _draw_lives(axes: Axes, story: Shrunk, iterations: int) -> None:
    shades = LinearSegmentedColormap.from_list("lives", (WASH, *HEAT[1:-1], ACCENT))
    values = [
        [(at or iterations + 1) if there else math.nan for at, there in zip(row, exists, strict=True)]
        for row, exists in zip(story.went, story.exists, strict=True)
    ]
    axes.pcolormesh(values, cmap=shades, vmin=1, vmax=iterations + 1, edgecolor=PAPER, linewidth=1.5)
    for edge, row in enumerate(story.went):
        for op, number in enumerate(row):
            if number:
                color = INK if number <= 0.6 * iterations else PAPER
                axes.text(op + 0.5, edge + 0.5, str(number), ha="center", va="center", fontsize=7, color=color)
    _label(axes, [at + 0.5 for at in range(len(story.ops))], story)
    axes.set_title(f"{story.name}: iteration in which it went", fontsize=10, color=INK, loc="left", parse_math=False)


def _draw_angles(axes: Axes, story: Shrunk) -> None:
    values = [[math.nan if value is None else value for value in row] for row in story.strips]
    axes.pcolormesh(values, cmap=_HEAT, vmin=0, vmax=1)
    for edge in range(1, len(story.edges)):
        axes.axhline(edge, color=PAPER, lw=1.5)
    _label(axes, [middle + 0.5 for middle in story.middles], story)
    title = f"rank of its angle in iterations 1 to {len(story.angles)}, dark: the largest"
    axes.set_title(title, fontsize=10, color=INK, loc="left")


def _label(axes: Axes, places: Sequence[float], story: Shrunk) -> None:
    axes.set_xticks(places, story.ops, rotation=35, ha="left", rotation_mode="anchor")
    axes.set_yticks([at + 0.5 for at in range(len(story.edges))], story.edges)
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    axes.set_facecolor(PAPER)
    for label, name in zip(axes.get_xticklabels(), story.ops, strict=True):
        label.set(color=operation_color(name), parse_math=False)
