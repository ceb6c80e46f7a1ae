"""The report of a run: one HTML file that needs nothing else, and the pictures in it as files of their own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from plotly.graph_objects import Figure as PlotlyFigure
from plotly.offline import get_plotlyjs

from ramify import files
from ramify.costs.record import known_costs
from ramify.report import curves, details, figures, shrinking, tuning
from ramify.report.cells import draw_cell
from ramify.report.elements import (
    card,
    color_rules,
    copyable,
    data_url,
    grid,
    inline_svg,
    percent,
    slug,
    spaced,
    table,
    titled,
    written,
)
from ramify.report.facts import Facts, name_of
from ramify.report.folder import DETAILS, RunFolder, number, read_folder
from ramify.report.palette import HEAT, colors_in, on_dark, operation_color
from ramify.report.phrases import edges_in_words, ending, objective_label
from ramify.report.pictures import save_figure, svg
from ramify.report.sizes import size_history
from ramify.report.story import (
    MixingHistory,
    cycle_panels,
    cycles,
    last_change,
    mixing_history,
    panels,
    pareto_front,
    trials,
)
from ramify.run.origin import in_words, lookup_of
from ramify.wording import sentence

if TYPE_CHECKING:
    from ramify.spaces import CellGraph
    from ramify.supernet import Choice

_LOGO = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.9" stroke-linecap="round" '
    'aria-hidden="true"><path d="M12 22V13M12 13C12 9 6 10 6 5.5M12 13c0-4 6-3 6-7.5M12 13V5.5"/>'
    '<g fill="currentColor" stroke="none"><circle cx="6" cy="4" r="2"/><circle cx="12" cy="4" r="2"/>'
    '<circle cx="18" cy="4" r="2"/></g></svg>'
)


def write_report(
    folder: Path,
    *,
    graphs: Mapping[str, CellGraph],
    choices: Mapping[str, Choice] | None,
    levels: Mapping[str, tuple[Mapping[str, CellGraph], Mapping[str, Choice]]] | None = None,
    title: str | None = None,
) -> Path:
    """Write `report.html` and `pictures/` into a run folder and return the path of the page.

    The page is one file that loads nothing; the same folder gives the same bytes. Sections whose input the
    folder does not have are left out.

    Args:
        folder: The run folder; of its files only config.yaml has to exist.
        graphs: The cells of the architecture found, by name.
        choices: The mixing choices of the space, for the names of edges and operations (None: numbers).
        levels: The same two for every level of a pipeline, by name.
        title: The headline (None: strategy and space).

    Raises:
        RunError: If the folder has no config.yaml, or a file in it is malformed.
    """
    page = _Page(read_folder(Path(folder)), graphs, choices, levels or {})
    path = Path(folder) / "report.html"
    files.write(path, page.render(title))
    return path


class _Page:
    """A page in the making: its sections, and the figures that its script is going to draw."""

    def __init__(
        self,
        run: RunFolder,
        graphs: Mapping[str, CellGraph],
        choices: Mapping[str, Choice] | None,
        levels: Mapping[str, tuple[Mapping[str, CellGraph], Mapping[str, Choice]]],
    ) -> None:
        self.run, self.levels = run, levels
        self.graphs, self.choices = graphs, choices
        self.mixing = mixing_history(run, graphs, choices)
        self.shrunk = shrinking.shrunk(run.rows("shrink"), choices)
        self.trials = trials(run.rows("trial"))
        self.front = pareto_front(run.result, self.trials)
        self.facts = Facts(run, self.trials, bool(self.shrunk))
        self.interactive: dict[str, PlotlyFigure] = {}

    def render(self, title: str | None) -> str:
        sections = {
            "Architecture": self._architecture(),
            "Adapted": self.facts.adapted(),
            **{f"Level {name}": self._level(name) for name in self.levels},
            "Sizes": self._sizes(),
            "Decision": self._decision(),
            "Cycles": self._cycles(),
            "Shrinking": self._shrinking(),
            "Tuning": tuning.section(tuning.story(self.run), self._plot, self._still),
            "Front": self._front(),
            "Trials": self._trials(),
            "Search" if self.run.config.get("strategy") else "Training": self._curves(self.run),
            "Retraining": self._curves(self.run.retrain, "retrain-") if self.run.retrain else "",
            "Baseline": self.facts.baseline(),
            "Cost": self.facts.cost(),
            "Evaluation": self._evaluation(),
            "Test reads": self.facts.reads(),
            "Export": self.facts.export(),
            "Configuration": self.facts.configuration(),
            "Provenance": self.facts.provenance(),
            "Repeat it": self.facts.repeat(),
        }
        sections = {label: content for label, content in sections.items() if content}
        headline = title or self._headline()
        brand = f"<span><b>Ramify</b> · {escape(self._folder_name)}</span>"
        header = (
            f'<div class="brand">{_LOGO}{brand}</div><h1>{escape(headline)}</h1>{self._story()}{self.facts.tiles()}'
        )
        body = "\n".join(f'<section id="{slug(label)}">{html}</section>' for label, html in sections.items())
        return _asset("page.html").format(
            title=escape(f"{headline} · Ramify"),
            style=color_rules(body) + _asset("style.css"),
            header=header,
            links="".join(f'<a href="#{slug(label)}">{label}</a>' for label in sections),
            body=body,
            data=self._data(),
            plotly=get_plotlyjs(),
            script=_asset("page.js"),
        )

    # The head of the page

    @property
    def _folder_name(self) -> str:
        return self.run.path.resolve().name

    def _headline(self) -> str:
        config = self.run.config
        names = [name_of(config.get("strategy")), name_of(config.get("space") or config.get("architecture"))]
        if config.get("problem"):
            names = [name_of(config["problem"]), name_of(config.get("data"))]
        return " on ".join(filter(None, names)) or self._folder_name

    def _story(self) -> str:
        config = self.run.config
        parts = (config.get("strategy"), config.get("space") or config.get("architecture"), config.get("data"))
        strategy, space, data = (escape(name_of(part)) for part in parts)
        story = "A run"
        if space:
            story = f"A member of <strong>{space}</strong>, trained from scratch"
        if config.get("problem"):
            story = f"The hyper-parameters of <strong>{escape(name_of(config['problem']))}</strong> were tuned"
        if config.get("shrinking"):
            story = f"<strong>{space}</strong> was shrunk by the angles of a supernet"
        if strategy:
            story = f"<strong>{strategy}</strong> searched <strong>{space or 'an unnamed space'}</strong>"
        if lookup := lookup_of(config, self.run.provenance):
            story += f", whose scores were looked up in <strong>{escape(in_words(lookup))}</strong>"
        elif data:
            story += f" on <strong>{data}</strong>"
        for key, before in (("seed", "with seed"), ("device", "on"), ("precision", "in")):
            if config.get(key) not in (None, ""):
                story += f", {before} <strong>{escape(str(config[key]))}</strong>"
        return f'<p class="story">{story}.{self._doubts()}</p>'

    def _doubts(self) -> str:
        """Return what speaks against the result of a search, as sentences."""
        cut, undecided = (self.run.result.get(key) for key in ("disconnected", "undecided"))
        doubts = ""
        if isinstance(cut, list) and cut:
            names = escape(" and ".join(map(str, cut)))
            doubts += f" <strong>No information passes {names}</strong>: <code>none</code> cuts every path."
        return doubts + (f" <strong>Undecided</strong>: {escape(str(undecided))}." if undecided else "")

    # Sections

    def _architecture(self) -> str:
        cells = "".join(self._cell(name, graph) for name, graph in self.graphs.items())
        used = Counter(op for graph in self.graphs.values() for _, _, op in graph.edges if op)
        chips = "".join(
            f'<li style="--c: var(--c-{operation_color(op)[1:]})">{escape(op)} <b>× {count}</b></li>'
            for op, count in sorted(used.items(), key=lambda item: (-item[1], item[0]))
        )
        body = f'<div class="cells">{cells}</div><ul class="chips">{chips}</ul>' if cells else ""
        if source := self.run.result.get("notation") or self.run.architecture:
            body += card("Notation", copyable("notation", written(source)))
        return titled("The architecture found" if self.run.config.get("strategy") else "The architecture", "", body)

    def _cell(self, name: str, graph: CellGraph) -> str:
        figure = draw_cell(graph)
        pair = save_figure(figure, self._picture(name))
        buttons = "".join(
            f'<a class="button" download="{file.name}" href="{data_url(file)}">{file.suffix[1:].upper()}</a>'
            for file in pair
        )
        drawing = inline_svg(svg(figure, text=True), prefix=slug(name), width=figure.get_figwidth())
        shown = f'<div class="drawing" role="img" aria-label="{escape(edges_in_words(graph))}">{drawing}</div>'
        return card(name, shown, f'<span class="downloads">{buttons}</span>')

    def _sizes(self) -> str:
        """Return widths and depths over a search that chooses them."""
        sizes = size_history(self.run.rows("search"), self.choices)
        if sizes is None:
            return ""
        plots = [card("Widths", self._plot("widths", figures.size_map(sizes)))] if sizes.rows else []
        if sizes.depths is not None:
            plots.append(card("Depths", self._plot("depths", figures.curve(sizes.depths))))
        lead = (
            "The share of its channels that every convolution keeps, the first one on top, and the blocks that every "
            "stage keeps: means over what is probable at the time."
        )
        still = self._still("sizes", "Widths and depths over the search", curves.draw_sizes(sizes))
        return titled("Widths and depths over the search", lead, grid(plots, wide=True, screen=True) + still)

    def _decision(self) -> str:
        mixing = self.mixing
        if not mixing:
            return ""
        colors = ", ".join(f"var(--c-{color[1:]})" for color in HEAT)
        ramp = f'<span class="ramp" style="background: linear-gradient(90deg, {colors})"></span>'
        scale = f'<small aria-hidden="true">0 {ramp} {mixing.highest:.2f}</small>'
        maps = (
            card(choice.name, self._plot(f"mixing-{at}", figures.heatmap(choice, mixing.highest)), scale)
            for at, choice in enumerate(mixing.choices)
        )
        options = "".join(
            f'<option value="{at}:{edge}">{escape(f"{choice.name}: {label}")}</option>'
            for at, choice in enumerate(mixing.choices)
            for edge, label in enumerate(choice.edges)
        )
        select = f'<select id="edge" aria-label="Edge">{options}</select>'
        lines = [card("One edge", self._plot("edge-lines", figures.edge_lines(mixing)), select)]
        if any(any(choice.entropy()) for choice in mixing.choices):
            lines.append(card("How undecided the edges are", self._plot("entropy", figures.entropy(mixing))))
        lead = (
            "The weight of every operation on every edge. Drag the slider to go through the search, "
            "click a row to follow that edge below."
        )
        if any(choice.chosen for choice in mixing.choices):
            lead += " Frames mark what the architecture found keeps."
        change = last_change(self.run.rows("search"))
        if change and number(change.get(mixing.axis)) is not None:
            lead += f" The derived architecture last changed at {mixing.axis} {change[mixing.axis]}."
        slider = _SLIDER.format(last=len(mixing.positions) - 1, axis=mixing.axis)
        still = self._still("mixing", "Final mixing weights, and entropy", curves.draw_mixing(mixing))
        body = slider + grid(maps, wide=True, screen=True) + grid(lines, wide=True, screen=True) + still
        return titled("How the search decided", lead, body)

    def _cycles(self) -> str:
        """Return what the two networks of a cyclic search did, and the architecture of every cycle."""
        rows = self.run.rows("search")
        ended = cycles(rows)
        if not ended:
            return ""
        curves_of = cycle_panels(rows)
        plots = (
            card(panel.title[0].upper() + panel.title[1:], self._plot(f"cycles-{at}", figures.curve(panel)))
            for at, panel in enumerate(curves_of)
        )
        shown = (
            (
                f"{it.number}",
                " ".join(percent(it.accuracy)),
                "" if it.distance is None else f"{it.distance:.4g}",
                f"<code>{escape(it.notation)}</code>" if it.is_new else "as before",
            )
            for it in ended
        )
        heads = ("cycle", "accuracy", "distance", "architecture of the evaluation network")
        lead = "In every cycle the evaluation network is built anew, learns, and is compared with the search network."
        still = self._still("cycles", "Both networks over the cycles", curves.draw_panels(curves_of))
        listing = card("Every cycle", table(heads, shown, numbers=(0, 1, 2)))
        return titled("How the two networks taught each other", lead, grid(plots, screen=True) + still + listing)

    def _shrinking(self) -> str:
        """Return which operators went when, and their angles."""
        stories, rows = self.shrunk, self.run.rows("shrink")
        if not stories:
            return ""
        cards = []
        for at, story in enumerate(stories):
            plot = self._plot(f"lives-{at}", shrinking.lives(story, len(rows)))
            cards.append(card(f"{story.name}: what went when", plot))
            plot = self._plot(f"angles-{at}", shrinking.angles(story))
            cards.append(card("Its angles, iteration by iteration; dark: the largest of all", plot))
        before = number(self.run.result.get("size_before"))
        if before is not None:
            cards.append(card("Combinations that are left", self._plot("sizes", shrinking.sizes(before, rows))))
        gone = sum(len(row["dropped"]) for row in rows)
        lead = (
            f"{gone} operations went in {len(rows)} iterations, those with the smallest angles first; a number says in "
            "which iteration, the others are left."
        )
        if (reset := self.run.result.get("base_reset_after")) is not None:
            lead += f" After iteration {reset} the angles are measured from the weights of that moment."
        still = self._still("shrinking", "What went when, and all angles", shrinking.draw_shrunk(stories, len(rows)))
        return titled("How the space shrank", lead, grid(cards, wide=True, screen=True) + still)

    def _evaluation(self) -> str:
        """Return what the evaluation says beside its metrics: by class, by value, or whatever its meter says."""
        run = self.facts.final
        confusions = details.by_class(run.details, run.path / DETAILS)
        picture = details.predictions(run.path)
        if confusions is None:
            parts = "class by class" if "by_class" in run.details else "value by value"
            return titled(f"What it reaches, {parts}", "", details.plain(run.details)) + picture
        cards = [card("Every class, the worst first", details.listing(confusions)), picture]
        if 2 <= len(confusions.classes) <= details.MOST_DRAWN:
            figure = details.draw_confusions(confusions)
            save_figure(figure, self._picture("confusions"))
            drawing = inline_svg(svg(figure, text=True), prefix="confusions", width=figure.get_figwidth())
            label = "Which share of each class is taken for what"
            cards.append(card("Confusions", f'<div class="drawing" role="img" aria-label="{label}">{drawing}</div>'))
        split = str(run.evaluation.get("split", "test"))
        return titled("What it reaches, class by class", f"On the {split} split.", grid(cards, wide=True))

    def _front(self) -> str:
        front = self.front
        if not front:
            return ""
        labels = [objective_label(name) for name in front.objectives]
        plots = (
            card(
                sentence(" and ".join(label.partition(",")[0] for label in (labels[0], labels[other]))),
                self._plot(f"front-{other}", figures.front(front, other, (labels[0], labels[other]))),
            )
            for other in range(1, len(labels))
        )
        members = (
            (
                f"{at:02}",
                f"{front.trials[member].number:g}",
                *(f"{value:,.0f}" if value % 1 == 0 else f"{value:,.6g}" for value in front.points[member]),
                f"<code>{escape(front.trials[member].notation)}</code>",
            )
            for at, member in enumerate(front.members)
        )
        numbers = range(2, 2 + len(labels))
        listing = table(("file", "trial", *labels, "architecture"), members, numbers=numbers)
        lead = "No other architecture of the search is as good in every objective and better in one; less is better."
        if front.hypervolume is not None:
            lead += f" It dominates {front.hypervolume:.4f} of the box up to the reference point."
        still = self._still("front", "Pareto front", curves.draw_front(front, labels))
        listing = card("Its members, as they lie in the folder front", listing)
        return titled("Pareto front", lead, grid(plots, wide=True, screen=True) + still + listing)

    def _trials(self) -> str:
        trials = self.trials
        if not trials:
            return ""
        plots = [card("Score of every trial", self._plot("trials", figures.scores(trials)))]
        cost = next((cost for cost in known_costs() if any(cost.name in trial.metrics for trial in trials)), None)
        if cost and not self.front:
            plot = figures.trade_off(trials, cost.name, cost.label)
            plots.append(card("Score and cost", self._plot("trade-off", plot)))
        ranked = sorted(trials, key=lambda trial: (trial.score, -trial.number))
        best = list({trial.notation or trial.number: trial for trial in ranked}.values())[:-11:-1]
        rows = ((f"{it.number:g}", f"{it.score:,.6g}", f"<code>{escape(it.notation)}</code>") for it in best)
        still = self._still("trials", "Score of every trial", curves.draw_trials(trials))
        listing = card("The best", table(("trial", "score", "architecture"), rows, numbers=(1,)))
        lead = "Every point is an architecture that was evaluated; point at it to see which."
        return titled("Trials", lead, grid(plots, wide=True, screen=True) + still + listing)

    def _level(self, name: str) -> str:
        """Return what a level of a pipeline found, how it decided, and its curves."""
        run, (graphs, choices) = self.run.levels[name], self.levels[name]
        cells = "".join(self._cell(f"{name}, {cell}", graph) for cell, graph in graphs.items())
        body = f'<div class="cells">{cells}</div>'
        if mixing := mixing_history(run, graphs, choices):
            maps = (
                card(choice.name, self._plot(f"{slug(name)}-mixing-{at}", figures.heatmap(choice, mixing.highest)))
                for at, choice in enumerate(mixing.choices)
            )
            body += grid(maps, wide=True, screen=True)
            body += self._still(f"{name}-mixing", "Final mixing weights, and entropy", curves.draw_mixing(mixing))
        names = [name_of(run.config.get(key)) for key in ("strategy", "space")]
        return titled(f"Level {name}: {' on '.join(filter(None, names))}", "", body) + self._curves(run, f"{name}-")

    def _curves(self, run: RunFolder, before: str = "") -> str:
        """Return the curves of every phase of a run but trials and shrinking, which have sections of their own."""
        content = ""
        for phase in run.phases:
            drawn = panels(run.rows(phase)) if phase not in ("trial", "shrink", *tuning.PHASES) else []
            if not drawn:
                continue
            stem = slug(f"{before}{phase}")
            title = _PHASES.get(before + phase) or _PHASES.get(phase, sentence(spaced(phase)))
            plots = (
                card(sentence(panel.title), self._plot(f"{stem}-{at}", figures.curve(panel)))
                for at, panel in enumerate(drawn)
            )
            still = self._still(f"curves-{stem}", title, curves.draw_panels(drawn))
            even = len(drawn) in (2, 4)  # two columns, where three would leave gaps
            lead = escape(ending(run.rows(phase)[-1]))
            content += f'<div class="phase">{titled(title, lead, grid(plots, wide=even, screen=True) + still)}</div>'
        return content

    # Figures

    def _plot(self, name: str, figure: PlotlyFigure) -> str:
        """Return the place of an interactive figure; the script draws it there."""
        self.interactive[name] = figure
        return f'<div class="plot screen" id="{name}" style="height:{figure.layout.height}px"></div>'

    def _still(self, name: str, alternative: str, figure: Figure) -> str:
        """Save a picture, and show it on paper and where scripts are off."""
        vector, _ = save_figure(figure, self._picture(name))
        return f'<div class="print card"><img alt="{escape(alternative)}" src="{data_url(vector)}"></div>'

    def _picture(self, name: str) -> Path:
        return files.below(self.run.path, f"pictures/{slug(name)}")

    def _data(self) -> str:
        """Return the figures and the frames of the slider as JSON that no text in it can end early."""
        drawn = {name: json.loads(figure.to_json()) for name, figure in self.interactive.items()}
        content = {
            "figures": drawn,
            "mixing": _frames(self.mixing) if self.mixing else None,
            "dark": {color: on_dark(color) for color in colors_in(json.dumps(drawn))},
        }
        return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


_PHASES = {
    "prepare": "Preparing the supernet",
    "search": "Search curves",
    "train": "Training",
    "retrain-train": "Retraining",
}

_SLIDER = """<div class="card scrub screen"><button id="play" aria-label="Play or pause">\
<svg class="start" viewBox="0 0 16 16"><path d="M4 2v12l10-6z"/></svg>\
<svg class="pause" viewBox="0 0 16 16"><path d="M3 2h4v12H3zM9 2h4v12H9z"/></svg></button>
<input id="slider" type="range" min="0" max="{last}" value="{last}" aria-label="{axis}">\
<output id="position" for="slider"></output></div>"""


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _frames(mixing: MixingHistory) -> dict[str, Any]:
    return {
        "axis": mixing.axis,
        "positions": mixing.positions,
        "choices": [
            {
                "operations": list(map(escape, choice.operations)),
                "colors": list(map(operation_color, choice.operations)),
                "chosen": sorted(choice.chosen),
                "frames": choice.frames,
            }
            for choice in mixing.choices
        ],
    }
