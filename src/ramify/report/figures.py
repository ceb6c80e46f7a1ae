"""The interactive figures of the page, as Plotly figures in the light colors; the page repaints them for dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import wrap

import plotly.graph_objects as go

from ramify.report.palette import ACCENT, FAINT, HEAT, INK, LINE, MUTED, PAPER, SERIES, line_color, operation_color
from ramify.report.sizes import SizeHistory
from ramify.report.story import ChoiceHistory, FrontStory, MixingHistory, Panel, Trial

_FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def curve(panel: Panel) -> go.Figure:
    """Draw one quantity over a run."""
    figure = new_plot(260, panel.axis)
    few = len(panel.positions) < 40
    for at, (split, values) in enumerate(panel.series.items()):
        figure.add_scatter(
            x=panel.positions,
            y=values,
            name=split,
            mode="lines+markers" if few else "lines",
            line={"color": line_color(split, at), "width": 2},
            marker={"size": 5},
            connectgaps=True,
            hovertemplate=f"%{{y:,.4~g}}<extra>{split}</extra>",
        )
    return figure.update_layout(showlegend=len(panel.series) > 1, hovermode="x unified")


def heatmap(choice: ChoiceHistory, highest: float) -> go.Figure:
    """Draw the final mixing weights of one choice; frames mark the candidates of the derived architecture."""
    figure = new_plot(92 + 25 * len(choice.edges))
    figure.add_heatmap(
        z=choice.frames[-1],
        zmin=0,
        zmax=highest,
        colorscale=[[at / (len(HEAT) - 1), color] for at, color in enumerate(HEAT)],
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        text=[[f"{edge}<br>{escape(op)}" for op in choice.operations] for edge in map(escape, choice.edges)],
        hovertemplate="%{text}<br><b>%{z:.3f}</b><extra></extra>",
    )
    for edge, operation in sorted(choice.chosen):
        color = operation_color(choice.operations[operation])
        box = {"x0": operation - 0.47, "x1": operation + 0.47, "y0": edge - 0.44, "y1": edge + 0.44}
        figure.add_shape(type="rect", line={"color": color, "width": 2}, **box)
    columns = [f'<span style="color:{operation_color(op)}">{escape(op)}</span>' for op in choice.operations]
    figure.update_xaxes(
        side="top",
        tickvals=list(range(len(columns))),
        ticktext=columns,
        tickangle=-35,
        ticklabeloverflow="allow",
        fixedrange=True,
    )
    rows = list(map(escape, choice.edges))
    figure.update_yaxes(
        autorange="reversed", tickvals=list(range(len(rows))), ticktext=rows, showgrid=False, fixedrange=True
    )
    longest = max(map(len, choice.operations))  # leaning labels: 5 pixels to the right and 4 up for each letter
    return figure.update_layout(margin={"t": 20 + 4 * longest, "b": 8, "r": 12 + 5 * len(choice.operations[-1])})


def size_map(sizes: SizeHistory) -> go.Figure:
    """Draw the mean share that every convolution keeps, over the search."""
    figure = new_plot(92 + 15 * len(sizes.rows), sizes.axis)
    figure.add_heatmap(
        z=sizes.shares,
        x=sizes.positions,
        zmin=0,
        zmax=1,
        colorscale=[[at / (len(HEAT) - 1), color] for at, color in enumerate(HEAT)],
        showscale=False,
        text=[[row] * len(sizes.positions) for row in map(escape, sizes.rows)],
        hovertemplate=f"%{{text}}, {sizes.axis} %{{x}}<br><b>%{{z:.2f}}</b><extra></extra>",
    )
    return figure.update_yaxes(autorange="reversed", showticklabels=False)


def edge_lines(mixing: MixingHistory) -> go.Figure:
    """Draw the weights of the operations on the first edge over the search; the page can switch edges."""
    figure = new_plot(360, mixing.axis)
    first = mixing.choices[0]
    for at, operation in enumerate(first.operations):
        figure.add_scatter(
            x=mixing.positions,
            y=[frame[0][at] for frame in first.frames],
            name=escape(operation),
            mode="lines",
            line={"color": operation_color(operation), "width": 2},
            hovertemplate="%{y:.3f}",
        )
    return figure.update_layout(hovermode="x unified", legend={"y": -0.2, "yanchor": "top"}).update_yaxes(
        rangemode="tozero", title_text="mixing weight"
    )


def entropy(mixing: MixingHistory) -> go.Figure:
    """Draw the mean entropy of the edges of every choice, with the range from smallest to largest."""
    figure = new_plot(360, mixing.axis)
    for at, choice in enumerate(mixing.choices):
        entropies = [(x, *values) for x, values in zip(mixing.positions, choice.entropy(), strict=True) if values]
        if not entropies:
            continue
        x, mean, low, high = (list(column) for column in zip(*entropies, strict=True))
        color = SERIES[at % len(SERIES)]
        band = {"mode": "lines", "line": {"width": 0, "color": color}, "showlegend": False, "hoverinfo": "skip"}
        figure.add_scatter(x=x + x[::-1], y=high + low[::-1], fill="toself", fillcolor=color, opacity=0.1, **band)
        figure.add_scatter(
            x=x, y=mean, name=escape(choice.name), mode="lines", line={"color": color, "width": 2.2},
            hovertemplate="%{y:.3f}",
        )  # fmt: skip
    return figure.update_layout(hovermode="x unified", legend={"y": -0.2, "yanchor": "top"}).update_yaxes(
        range=[0, 1.03], title_text="entropy (1: undecided)"
    )


def scores(trials: Sequence[Trial]) -> go.Figure:
    """Draw the score of every trial and the best so far; hovering shows the architecture."""
    figure = new_plot(380, "trial")
    _add_trials(figure, trials, [trial.number for trial in trials])
    figure.add_scatter(
        x=[trial.number for trial in trials],
        y=[trial.best for trial in trials],
        name="best so far",
        mode="lines",
        line={"color": ACCENT, "width": 2.2, "shape": "hv"},
        hoverinfo="skip",
    )
    return figure.update_yaxes(title_text="score").update_layout(legend={"y": -0.18, "yanchor": "top"})


def trade_off(trials: Sequence[Trial], metric: str, label: str) -> go.Figure:
    """Draw the score of every trial against a cost that was measured with it."""
    figure = new_plot(380, label)
    measured = [trial for trial in trials if metric in trial.metrics]
    _add_trials(figure, measured, [trial.metrics[metric] for trial in measured])
    return figure.update_yaxes(title_text="score").update_layout(legend={"y": -0.18, "yanchor": "top"})


def front(story: FrontStory, other: int, labels: tuple[str, str]) -> go.Figure:
    """Draw the first objective of every trial against another one, with the Pareto front; both are minimized."""
    figure = new_plot(400, labels[1])
    steps = story.stairs(other)
    figure.add_scatter(
        x=[x for x, _ in steps],
        y=[y for _, y in steps],
        mode="lines",
        line={"color": ACCENT, "width": 1.6, "shape": "hv"},
        showlegend=False,
        hoverinfo="skip",
    )
    on_front = set(story.members)
    for name, wanted, color, size, opacity in (
        ("trial", False, SERIES[0], 7, 0.35),
        ("front", True, ACCENT, 10, 1.0),
    ):
        shown = [at for at in range(len(story.trials)) if (at in on_front) is wanted]
        figure.add_scatter(
            x=[story.points[at][other] for at in shown],
            y=[story.points[at][0] for at in shown],
            name=name,
            mode="markers",
            marker={"color": color, "size": size, "opacity": opacity, "line": {"color": PAPER, "width": 1}},
            text=[_hover(story.trials[at]) for at in shown],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_xaxes(showgrid=True)
    return figure.update_yaxes(title_text=labels[0]).update_layout(legend={"y": -0.18, "yanchor": "top"})


def _add_trials(figure: go.Figure, trials: Sequence[Trial], positions: Sequence[float]) -> None:
    """Add the trials as points, those apart that were the best of their time."""
    bests = [None, *(trial.best for trial in trials)]
    records = [trial.score >= trial.best != before for trial, before in zip(trials, bests, strict=False)]
    for name, wanted, color, size, opacity in (
        ("trial", False, SERIES[0], 7, 0.5),
        ("new best", True, ACCENT, 10, 1.0),
    ):
        shown = [at for at, record in enumerate(records) if record is wanted]
        figure.add_scatter(
            x=[positions[at] for at in shown],
            y=[trials[at].score for at in shown],
            name=name,
            mode="markers",
            marker={"color": color, "size": size, "opacity": opacity, "line": {"color": PAPER, "width": 1}},
            text=[_hover(trials[at]) for at in shown],
            hovertemplate="%{text}<extra></extra>",
        )


def _hover(trial: Trial) -> str:
    lines = wrap(trial.notation, 64)[:8]
    facts = [f"{escape(key)} {value:,.6g}" for key, value in trial.metrics.items()][:6]
    return "<br>".join([f"<b>trial {trial.number:g}: {trial.score:,.6g}</b>", *map(escape, lines), *facts])


def new_plot(height: int, axis: str = "") -> go.Figure:
    """Return an empty figure of this height in pixels, in the light colors."""
    clear = "rgba(0,0,0,0)"
    title = {"standoff": 8, "font": {"size": 12}}
    lines = {"gridcolor": LINE, "zeroline": False, "showline": False, "automargin": True, "ticks": ""}
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "margin": {"l": 48, "r": 14, "t": 12, "b": 40},
            "paper_bgcolor": clear,
            "plot_bgcolor": clear,
            "font": {"family": _FONT, "size": 12, "color": MUTED},
            "hoverlabel": {"bgcolor": PAPER, "bordercolor": LINE, "font": {"color": INK, "family": _FONT}},
            "modebar": {"bgcolor": clear, "color": FAINT, "activecolor": MUTED},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": INK}},
            "xaxis": {**lines, "showgrid": False, "title": {"text": axis, **title}},
            "yaxis": {**lines, "title": title},
        }
    )
