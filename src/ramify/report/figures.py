"""The charts of the page, of the stories that a run tells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from textwrap import wrap

from ramify.report.axes import Axis, linear, logarithmic, shares
from ramify.report.charts import Chart, Line, Points
from ramify.report.heat import HeatMap
from ramify.report.palette import ACCENT, SERIES, line_color, operation_colors
from ramify.report.sizes import SizeHistory
from ramify.report.story import ChoiceHistory, FrontStory, MixingHistory, Panel, Trial, ends_of

_SHARE = re.compile(r"share|entropy|sparsity|fraction")
"""Quantities between 0 and 1."""
_MOST = 1000
"""The most trials that are drawn as points of a chart."""
_TOLD = 110
"""The most letters of a notation that are said of a point."""


def curve(panel: Panel) -> Chart:
    """Draw one quantity over a run."""
    known = [value for values in panel.series.values() for value in values if value is not None]
    lines = tuple(
        Line(split if len(panel.series) > 1 else "", line_color(split, at), panel.positions, values)
        for at, (split, values) in enumerate(panel.series.items())
    )
    return Chart(positions(panel.axis, panel.positions), axis_of(panel.title, known), lines)


def axis_of(quantity: str, values: Sequence[float]) -> Axis:
    """Return the vertical axis of a quantity: all of it where it has two ends, such as a share, else what fits."""
    if _SHARE.search(quantity) and all(0 <= value <= 1 for value in values):
        return shares()
    if quantity.endswith("%"):
        return linear(values, within=(0, 100), fits=False)
    return linear(values, fits=False)


def positions(name: str, values: Sequence[float]) -> Axis:
    """Return the horizontal axis of epochs, steps or the like."""
    values = [*values, values[0] + 1] if len(values) == 1 else values
    return linear(values, name, whole=all(float(value).is_integer() for value in values))


def heatmap(choice: ChoiceHistory, ends: tuple[float, float]) -> HeatMap:
    """Draw the final mixing weights of one choice; frames mark the candidates of the derived architecture."""
    colors = operation_colors(choice.operations)
    framed = {(edge, operation): colors[operation] for edge, operation in choice.chosen}
    return HeatMap(choice.edges, choice.operations, choice.frames[-1], *ends, colors=colors, framed=framed)


def size_map(sizes: SizeHistory) -> HeatMap:
    """Draw the mean share that every convolution keeps, over the search."""
    at = [f"{position:g}" for position in sizes.positions]
    names = [f"{sizes.axis} {position}" for position in at]
    tall = min(22, max(11, 420 / len(sizes.rows)))
    return HeatMap(sizes.rows, at, sizes.shares, *ends_of(sizes.shares), names=names, axis=sizes.axis, tall=tall)


def edge_lines(mixing: MixingHistory) -> Chart:
    """Draw the weights of the operations on the first edge over the search; the page can switch edges."""
    first = mixing.choices[0]
    colors = operation_colors(first.operations)
    lines = tuple(
        Line(operation, colors[at], mixing.positions, [frame[0][at] for frame in first.frames])
        for at, operation in enumerate(first.operations)
    )
    up = linear((0, mixing.ends[1]), "mixing weight", fits=False)
    return Chart(positions(mixing.axis, mixing.positions), up, lines, height=260)


def entropy(mixing: MixingHistory) -> Chart:
    """Draw the mean entropy of the edges of every choice, with the range from smallest to largest."""
    lines = []
    for at, choice in enumerate(mixing.choices):
        entropies = [(x, *values) for x, values in zip(mixing.positions, choice.entropy(), strict=True) if values]
        if entropies:
            x, mean, low, high = (list(column) for column in zip(*entropies, strict=True))
            lines.append(Line(choice.name, SERIES[at % len(SERIES)], x, mean, low=low, high=high))
    across = positions(mixing.axis, mixing.positions)
    return Chart(across, shares("entropy (1: undecided)"), tuple(lines), height=260)


def scores(trials: Sequence[Trial]) -> Chart:
    """Draw the score of every trial and the best so far."""
    shown = thinned(trials)
    best = Line(
        "best so far", ACCENT, [trial.number for trial in shown], [trial.best for trial in shown], 2.2, stairs=True
    )
    points = _points(shown, [trial.number for trial in shown])
    up = linear([trial.score for trial in shown], "score", fits=False)
    return Chart(positions("trial", [trial.number for trial in shown]), up, (best,), points, height=270)


def trade_off(trials: Sequence[Trial], metric: str, label: str) -> Chart:
    """Draw the score of every trial against a cost that was measured with it."""
    measured = thinned([trial for trial in trials if metric in trial.metrics])
    costs = [trial.metrics[metric] for trial in measured]
    up = linear([trial.score for trial in measured], "score", fits=False)
    return Chart(linear(costs, label), up, points=_points(measured, costs), height=270)


def front(story: FrontStory, other: int, labels: tuple[str, str]) -> Chart:
    """Draw the first objective of every trial against another one, with the Pareto front; both are minimized."""
    steps = story.stairs(other)
    line = Line("", ACCENT, [x for x, _ in steps], [y for _, y in steps], 1.6, stairs=True)
    on_front, others = list(story.members), sorted(set(range(len(story.trials))) - set(story.members))
    shown = _evenly(others, _MOST)
    points = tuple(
        Points(
            name,
            color,
            [story.points[at][other] for at in members],
            [story.points[at][0] for at in members],
            [told(story.trials[at]) for at in members],
            size,
            opacity,
        )
        for name, members, color, size, opacity in (
            ("trial", shown, SERIES[0], 7, 0.4),
            ("front", on_front, ACCENT, 10, 1.0),
        )
    )
    drawn = [story.points[at] for at in (*shown, *on_front)]
    across = _costs([point[other] for point in drawn], labels[1])
    return Chart(across, linear([point[0] for point in drawn], labels[0], fits=False), (line,), points, height=290)


def thinned(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that are drawn: all that were the best of their time, and of the others not too many."""
    if len(trials) <= _MOST:
        return list(trials)
    records = {at for at, record in enumerate(_records(trials)) if record}
    others = [at for at in range(len(trials)) if at not in records]
    return [trials[at] for at in sorted(records | set(_evenly(others, max(2, _MOST - len(records)))))]


def told(trial: Trial) -> str:
    """Return what is said of a trial: number, score, notation and metrics, in lines."""
    text = trial.notation
    lines = wrap(text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…", 44)
    facts = [f"{key} {value:,.6g}" for key, value in trial.metrics.items()][:6]
    return "\n".join([f"trial {trial.number:g}: {trial.score:,.6g}", *lines, *facts])


def _costs(values: Sequence[float], label: str) -> Axis:
    """Return the axis of a cost: logarithmic where it has several magnitudes."""
    if values and min(values) > 0 and max(values) > 100 * min(values):
        return logarithmic(values, label)
    return linear(values, label)


def _evenly(items: Sequence[int], most: int) -> list[int]:
    """Return at most so many of the items, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


def _records(trials: Sequence[Trial]) -> list[bool]:
    """Return which trials were the best of their time."""
    bests = chain([None], (trial.best for trial in trials))
    return [trial.score >= trial.best != before for trial, before in zip(trials, bests, strict=False)]


def _points(trials: Sequence[Trial], places: Sequence[float]) -> tuple[Points, ...]:
    """Return the trials as points, those apart that were the best of their time."""
    records = _records(trials)
    drawn = []
    for name, wanted, color, size, opacity in (
        ("trial", False, SERIES[0], 7, 0.5),
        ("new best", True, ACCENT, 10, 1.0),
    ):
        shown = [at for at, record in enumerate(records) if record is wanted]
        texts = [told(trials[at]) for at in shown]
        values = [trials[at].score for at in shown]
        drawn.append(Points(name, color, [places[at] for at in shown], values, texts, size, opacity))
    return tuple(drawn)
