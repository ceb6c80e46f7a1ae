"""The report of a run: one HTML file that needs nothing else, and the pictures in it as files of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ramify.costs.record import known_costs
from ramify.report import curves, details, figures, shrinking, tuning
from ramify.report.cells import draw_cell
from ramify.report.decision import Draw, decision, frames
from ramify.report.drawn_cells import cell_svg
from ramify.report.elements import (
    beside,
    card,
    copyable,
    grid,
    percent,
    ramp,
    slug,
    spaced,
    table,
    tinted,
    titled,
    written,
)
from ramify.report.facts import Facts
from ramify.report.folder import DETAILS, RunFolder, number, read_folder
from ramify.report.nextsteps import name_of
from ramify.report.page import Page
from ramify.report.palette import operation_color
from ramify.report.phrases import edges_in_words, ending, objective_label
from ramify.report.pictures import save_figure
from ramify.report.sizes import size_history
from ramify.report.standing import Standing
from ramify.report.story import (
    CYCLE_KEYS,
    cycle_panels,
    cycles,
    ends_of,
    mixing_history,
    panels,
    pareto_front,
    trials,
)
from ramify.report.verdict import verdict
from ramify.run.listing import adapted_of
from ramify.run.origin import in_words, lookup_of
from ramify.run.records import levels_of
from ramify.wording import sentence

if TYPE_CHECKING:
    from ramify.spaces import CellGraph
    from ramify.supernet import Choice

_MEMBERS = 100
"""The most members of a front that are listed."""


def write_report(
    folder: Path,
    *,
    graphs: Mapping[str, CellGraph],
    choices: Mapping[str, Choice] | None,
    levels: Mapping[str, tuple[Mapping[str, CellGraph], Mapping[str, Choice]]] | None = None,
    draw: Draw | None = None,
    standing: Standing | None = None,
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
        draw: Returns the cells of an architecture that the history names, so that they move with the search.
        standing: Where a table places the architecture found.
        title: The headline (None: strategy and space).

    Raises:
        RunError: If the folder has no config.yaml, or a file in it is malformed.
    """
    report = _Report(read_folder(Path(folder)), graphs, choices, levels or {}, draw, standing)
    path = Path(folder) / "report.html"
    report.write(path, title)
    return path


class _Report:
    """The report of a run in the making: its sections."""

    def __init__(
        self,
        run: RunFolder,
        graphs: Mapping[str, CellGraph],
        choices: Mapping[str, Choice] | None,
        levels: Mapping[str, tuple[Mapping[str, CellGraph], Mapping[str, Choice]]],
        draw: Draw | None,
        standing: Standing | None,
    ) -> None:
        self.run, self.levels, self.draw, self.standing = run, levels, draw, standing
        self.graphs, self.choices = graphs, choices
        self.mixing = mixing_history(run, graphs, choices)
        self.shrunk = shrinking.shrunk(run.rows("shrink"), choices)
        self.trials = trials(run.rows("trial"))
        self.front = pareto_front(run.result, self.trials)
        self.facts = Facts(run, self.trials, bool(self.shrunk))
        self.page = Page(run.path)

    def write(self, path: Path, title: str | None) -> None:
        sections = {
            "Architecture": self._architecture(),
            "Adapted": self.facts.adapted(),
            **{f"Level {name}": self._level(name) for name in self.levels},
            "Sizes": self._sizes(),
            "Decision": decision(self.page, self.run, self.mixing, self.graphs, self.draw) if self.mixing else "",
            "Cycles": self._cycles(),
            "Shrinking": self._shrinking(),
            "Tuning": tuning.section(tuning.story(self.run), self.page),
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
        opening = self._story() + self.facts.tiles() + verdict(self.run, self.mixing, self.trials, self.standing)
        mixing = frames(self.mixing, self.graphs, self.draw) if self.mixing else None
        self.page.write(path, title or self._headline(), opening, sections, mixing)

    # The head of the page

    def _headline(self) -> str:
        config = self.run.config
        names = [name_of(config.get("strategy")), name_of(config.get("space") or config.get("architecture"))]
        if config.get("problem"):
            names = [name_of(config["problem"]), name_of(config.get("data"))]
        if levels := levels_of(config):
            names = [self._adapted() or ", ".join(levels), name_of(config.get("data"))]
        return " on ".join(filter(None, names)) or self.run.path.resolve().name

    def _story(self) -> str:
        config = self.run.config
        parts = (config.get("strategy"), config.get("space") or config.get("architecture"), config.get("data"))
        strategy, space, data = (escape(name_of(part)) for part in parts)
        story = "A run"
        if space:
            story = f"A member of <strong>{space}</strong>, trained from scratch"
        if config.get("problem"):
            story = f"The hyper-parameters of <strong>{escape(name_of(config['problem']))}</strong> were tuned"
        if levels := levels_of(config):
            names = ", ".join(levels)
            story = f"<strong>{escape(names)}</strong> were searched one after the other"
            if network := self._adapted():
                limits = ", ".join(
                    f"{value:,.6g} {'of its ' * (value <= 1)}{objective_label(name)}"
                    for name, value in config["limits"].items()
                )
                story = f"<strong>{escape(network)}</strong> was adapted to <strong>{escape(limits)}</strong>"
        if config.get("shrinking"):
            story = f"<strong>{space}</strong> was shrunk by the angles of a supernet"
        if strategy and not levels:
            story = f"<strong>{strategy}</strong> searched <strong>{space or 'an unnamed space'}</strong>"
        if lookup := lookup_of(config, self.run.provenance):
            story += f", whose scores were looked up in <strong>{escape(in_words(lookup))}</strong>"
        elif data:
            story += f" on <strong>{data}</strong>"
        for key, before in (("seed", "with seed"), ("device", "on"), ("precision", "in")):
            if config.get(key) not in (None, ""):
                story += f", {before} <strong>{escape(str(config[key]))}</strong>"
        return f'<p class="story">{story}.</p>'

    def _adapted(self) -> str:
        """Return the name of the network that was adapted; empty where none was."""
        return adapted_of(self.run.config) if "limits" in self.run.config else ""

    # Sections

    def _architecture(self) -> str:
        cells = "".join(self._cell(name, graph) for name, graph in self.graphs.items())
        used = Counter(op for graph in self.graphs.values() for _, _, op in graph.edges if op)
        chips = "".join(
            f'<li style="--c: {tinted(operation_color(op))}">{escape(op)} <b>× {count}</b></li>'
            for op, count in sorted(used.items(), key=lambda item: (-item[1], item[0]))
        )
        body = f'<div class="cells">{cells}</div><ul class="chips">{chips}</ul>' if cells else ""
        if source := self.run.result.get("notation") or self.run.architecture:
            body += card("Notation", copyable("notation", written(source)))
        found = "The architecture found" if self.run.result else "The architecture so far"
        return titled(found if self.run.config.get("strategy") else "The architecture", "", body)

    def _cell(self, name: str, graph: CellGraph) -> str:
        pair = save_figure(draw_cell(graph), self.page.picture(name))
        buttons = "".join(
            f'<a class="button" href="{beside(self.run.path, file)}">{file.suffix[1:].upper()}</a>' for file in pair
        )
        label = escape(edges_in_words(graph))
        shown = f'<div class="drawing" id="cell-{slug(name)}" role="img" aria-label="{label}">{cell_svg(graph)}</div>'
        return card(name, shown, f'<span class="downloads">{buttons}</span>')

    def _sizes(self) -> str:
        """Return widths and depths over a search that chooses them."""
        sizes = size_history(self.run.rows("search"), self.choices)
        if sizes is None:
            return ""
        page, plots = self.page, []
        if sizes.rows:
            plots.append(page.plot("widths", "Widths", figures.size_map(sizes), ramp(*ends_of(sizes.shares))))
        if sizes.depths is not None:
            plots.append(page.plot("depths", "Depths", figures.curve(sizes.depths)))
        lead = (
            "The share of its channels that every convolution keeps, the first one on top, and the blocks that every "
            "stage keeps: means over what is probable at the time."
        )
        page.save("sizes", curves.draw_sizes(sizes))
        return titled("Widths and depths over the search", lead, grid(plots, wide=True))

    def _cycles(self) -> str:
        """Return what the two networks of a cyclic search did, and the architecture of every cycle."""
        rows = self.run.rows("search")
        ended = cycles(rows)
        if not ended:
            return ""
        curves_of = cycle_panels(rows)
        plots = (
            self.page.plot(f"cycles-{at}", sentence(panel.title), figures.curve(panel))
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
        self.page.save("cycles", curves.draw_panels(curves_of))
        listing = card("Every cycle", table(heads, shown, numbers=(0, 1, 2)))
        return titled("How the two networks taught each other", lead, grid(plots) + listing)

    def _shrinking(self) -> str:
        """Return which operators went when, and their angles."""
        stories, rows = self.shrunk, self.run.rows("shrink")
        if not stories:
            return ""
        page, cards = self.page, []
        for at, story in enumerate(stories):
            cards.append(page.plot(f"lives-{at}", f"{story.name}: what went when", shrinking.lives(story, len(rows))))
            title = "Its angles, iteration by iteration; dark: the largest of all"
            cards.append(page.plot(f"angles-{at}", title, shrinking.angles(story)))
        before = number(self.run.result.get("size_before"))
        if before is not None:
            cards.append(page.plot("sizes", "Combinations that are left", shrinking.sizes(before, rows)))
        gone = sum(len(row["dropped"]) for row in rows)
        lead = (
            f"{gone} operations went in {len(rows)} iterations, those with the smallest angles first; a number says in "
            "which iteration, a frame that it is left."
        )
        if (reset := self.run.result.get("base_reset_after")) is not None:
            lead += f" After iteration {reset} the angles are measured from the weights of that moment."
        page.save("shrinking", shrinking.draw_shrunk(stories, len(rows)))
        return titled("How the space shrank", lead, grid(cards, wide=True))

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
            self.page.save("confusions", details.draw_confusions(confusions))
            title = "Which share of each class is taken for what"
            cards.append(self.page.plot("confusions", title, details.confusion_map(confusions)))
        split = str(run.evaluation.get("split", "test"))
        body = grid(cards, wide=True) + details.worst_images(run.worst)
        return titled("What it reaches, class by class", f"On the {split} split.", body)

    def _front(self) -> str:
        front = self.front
        if not front:
            return ""
        labels = [objective_label(name) for name in front.objectives]
        plots = (
            self.page.plot(
                f"front-{other}",
                sentence(" and ".join(label.partition(",")[0] for label in (labels[0], labels[other]))),
                figures.front(front, other, (labels[0], labels[other])),
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
            for at, member in enumerate(front.members[:_MEMBERS])
        )
        numbers = range(2, 2 + len(labels))
        listing = table(("file", "trial", *labels, "architecture"), members, numbers=numbers)
        lead = "No other architecture of the search is as good in every objective and better in one; less is better."
        if front.hypervolume is not None:
            lead += f" It dominates {front.hypervolume:.4f} of the box up to the reference point."
        self.page.save("front", curves.draw_front(front, labels))
        shown = "" if len(front.members) <= _MEMBERS else f", the first {_MEMBERS} of {len(front.members)}"
        listing = card(f"Its members, as they lie in the folder front{shown}", listing)
        return titled("Pareto front", lead, grid(plots, wide=True) + listing)

    def _trials(self) -> str:
        trials = self.trials
        if not trials:
            return ""
        plots = [self.page.plot("trials", "Score of every trial", figures.scores(trials))]
        cost = next((cost for cost in known_costs() if any(cost.name in trial.metrics for trial in trials)), None)
        if cost and not self.front:
            plot = figures.trade_off(trials, cost.name, cost.label)
            plots.append(self.page.plot("trade-off", "Score and cost", plot))
        ranked = sorted(trials, key=lambda trial: (trial.score, -trial.number))
        best = list({trial.notation or trial.number: trial for trial in ranked}.values())[:-11:-1]
        rows = ((f"{it.number:g}", f"{it.score:,.6g}", f"<code>{escape(it.notation)}</code>") for it in best)
        self.page.save("trials", curves.draw_trials(trials))
        listing = card("The best", table(("trial", "score", "architecture"), rows, numbers=(1,)))
        lead = "Every point is an architecture that was evaluated; point at it to see which."
        return titled("Trials", lead, grid(plots, wide=True) + listing)

    def _level(self, name: str) -> str:
        """Return what a level of a pipeline found, how it decided, and its curves."""
        run, (graphs, choices) = self.run.levels[name], self.levels[name]
        cells = "".join(self._cell(f"{name}, {cell}", graph) for cell, graph in graphs.items())
        body = f'<div class="cells">{cells}</div>'
        if mixing := mixing_history(run, graphs, choices):
            maps = (
                self.page.plot(
                    f"{slug(name)}-mixing-{at}", choice.name, figures.heatmap(choice, mixing.ends), ramp(*mixing.ends)
                )
                for at, choice in enumerate(mixing.choices)
            )
            body += grid(maps, wide=True)
            self.page.save(f"{name}-mixing", curves.draw_mixing(mixing))
        names = [name_of(run.config.get(key)) for key in ("strategy", "space")]
        if scored := trials(run.rows("trial")):
            body += grid([self.page.plot(f"{slug(name)}-trials", "Score of every trial", figures.scores(scored))])
            self.page.save(f"{name}-trials", curves.draw_trials(scored))
        return titled(f"Level {name}: {' on '.join(filter(None, names))}", "", body) + self._curves(run, f"{name}-")

    def _curves(self, run: RunFolder, before: str = "") -> str:
        """Return the curves of every phase of a run but trials and shrinking, which have sections of their own."""
        content = ""
        for phase in run.phases:
            elsewhere = {"mixing_entropy"} if run is self.run and self.mixing else set()
            elsewhere |= CYCLE_KEYS if run is self.run and cycles(run.rows("search")) else set()
            drawn = panels(run.rows(phase), elsewhere) if phase not in ("trial", "shrink", *tuning.PHASES) else []
            if not drawn:
                continue
            stem = slug(f"{before}{phase}")
            title = _PHASES.get(before + phase) or _PHASES.get(phase, sentence(spaced(phase)))
            plots = (
                self.page.plot(f"{stem}-{at}", sentence(panel.title), figures.curve(panel))
                for at, panel in enumerate(drawn)
            )
            self.page.save(f"curves-{stem}", curves.draw_panels(drawn))
            even = len(drawn) in (2, 4)  # two columns, where three would leave gaps
            lead = escape(ending(run.rows(phase)[-1]))
            content += f'<div class="phase">{titled(title, lead, grid(plots, wide=even))}</div>'
        return content


_PHASES = {
    "prepare": "Preparing the supernet",
    "search": "Search curves",
    "train": "Training",
    "retrain-train": "Retraining",
}
