"""The facts of a run in figures and words, without pictures, including how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ramify import files
from ramify.costs.record import known_costs
from ramify.imports import unrepeatable
from ramify.report.elements import (
    amount,
    as_yaml,
    beside,
    card,
    copyable,
    facts,
    folded,
    grid,
    percent,
    spaced,
    table,
    titled,
)
from ramify.report.folder import RunFolder, number
from ramify.report.nextsteps import again, is_repeatable
from ramify.report.phrases import SHARES, objective_label
from ramify.report.story import Trial
from ramify.report.verdict import conditions, seconds_of, stages_of
from ramify.wording import duration, sentence


class Facts:
    """The sections of a page that need the files of one run alone.

    Args:
        run: The run.
        trials: Its trials.
        shrunk: Whether it is a shrinking.
    """

    def __init__(self, run: RunFolder, trials: Sequence[Trial], shrunk: bool) -> None:
        self.run, self.trials, self.shrunk = run, trials, shrunk
        self.final = run.retrain or run  # the run whose network is the finished one

    def tiles(self) -> str:
        """Return the key figures, the accuracy first."""
        evaluation, tiles = self.final.evaluation, []
        split = str(evaluation.get("split", "test"))
        if (top1 := number(evaluation.get("top1"))) is not None:
            images = number(evaluation.get("images"))
            note = f"top-1, {images:,.0f} images" if images else "top-1"
            tiles.append((f"{sentence(split)} accuracy", percent(top1), note))
        elif metrics := self._metrics():
            name, value = next(iter(metrics.items()))
            count = number(evaluation.get("images"))
            note = f"of the {split} split" + (f", {count:,.0f} inputs" if count else "")
            amount_of = percent(value) if name in SHARES else (f"{value:.4g}", "")
            tiles.append((SHARES.get(name, sentence(spaced(name))), amount_of, note))
        if (score := number(self.run.result.get("score"))) is not None:
            note = f"best of {len(self.trials):,} trials" if self.trials else "of the architecture found"
            tiles.append(("Score of the search", (f"{score:.4g}", ""), note))
        for key, label in (("members", "Members left"), ("members_before", "Members before")):
            if self.shrunk and (count := number(self.run.result.get(key))) is not None:
                tiles.append((label, (f"{count:,.0f}" if count < 1e7 else f"{count:.2e}", ""), ""))
        if (params := self._measured("params")) is not None:
            tiles.append(("Parameters", amount(params), ""))
        if (macs := self._measured("macs")) is not None:
            tiles.append(("Multiply-adds", amount(macs), "of one image"))
        for name, milliseconds in list(self._latencies().items())[:1]:
            device = str(self.final.evaluation.get("device") or "")
            note = name or ", ".join(filter(None, ("one input", device)))
            tiles.append(("Latency", (f"{milliseconds:.3g}", "ms"), note))
        if (seconds := seconds_of(self.run)) is not None:
            searched = self.run.config.get("strategy") or self.run.levels
            tiles.append(("Search time" if searched else "Time", duration(seconds), ""))
        shown = (
            f'<div class="tile"><dt>{escape(label)}</dt><dd>{value}{f"<small>{unit}</small>" if unit else ""}</dd>'
            f"{f'<dd class=note>{escape(note)}</dd>' if note else ''}</div>"
            for label, (value, unit), note in tiles
        )
        return f'<dl class="tiles">{"".join(shown)}</dl>' if tiles else ""

    def _metrics(self) -> dict[str, float]:
        """Return the metrics of the task that the evaluation has, by name."""
        others = {"images", "loss", *(cost.name for cost in known_costs())}
        metrics = ((name, number(value)) for name, value in self.final.evaluation.items() if name not in others)
        return {name: value for name, value in metrics if value is not None}

    def _measured(self, key: str) -> float | None:
        """Return a cost of the network found, measured at the end or else by its trial."""
        sources = [self.final.evaluation, self.final.result, self.run.result]
        if self.trials:
            sources.append(max(self.trials, key=lambda trial: trial.score).metrics)
        values = (number(source.get(key)) for source in sources)
        return next((value for value in values if value is not None), None)

    def _latencies(self) -> dict[str, float]:
        """Return the latencies in milliseconds by what tells them apart, nothing where there is but one."""
        for source in (self.final.evaluation, self.run.result):
            latency = source.get("latency_ms")
            measured = latency if isinstance(latency, dict) else {"": latency}
            if latencies := {spaced(key): ms for key, value in measured.items() if (ms := number(value)) is not None}:
                return latencies
        return {}

    def _limits(self) -> Iterator[tuple[str, str]]:
        """Yield the costs that had a limit, and in words what the result has of them."""
        limits = self.run.result.get("limits")
        for name, row in limits.items() if isinstance(limits, dict) else ():
            if isinstance(row, dict) and (most := number(row.get("most"))) is not None:
                cost, measured = number(row.get("cost")), number(row.get("measured"))
                text = f"{most:,.6g}" if cost is None else f"{cost:,.6g} of {most:,.6g}"
                yield name, text if measured is None else f"{text}, measured {measured:,.6g}"

    def _predicted(self) -> Iterator[tuple[str, str]]:
        """Yield the costs of the result that were predicted, and in words by how much that is off."""
        rows = self.run.result.get("predicted")
        for name, row in rows.items() if isinstance(rows, dict) else ():
            if isinstance(row, dict) and (cost := number(row.get("cost"))) is not None:
                measured = number(row.get("measured"))
                yield name, f"{cost:,.6g}" if measured is None else f"{cost:,.6g}, measured {measured:,.6g}"

    def cost(self) -> str:
        """Return the section on the network's cost and metrics."""
        evaluation = self.final.evaluation
        takes, reaches = [], []
        for cost in known_costs():
            if not cost.on_device and (value := self._measured(cost.name)) is not None:
                takes.append((sentence(cost.label), _counted(value)))
        for name, milliseconds in self._latencies().items():
            takes.append((f"Latency {name}".strip(), f"{milliseconds:.4g} ms{conditions(self.final)}"))
        takes += [(f"Limit of {name}", limit) for name, limit in self._limits()]
        takes += [(f"Predicted {name}", text) for name, text in self._predicted()]
        for label, run in stages_of(self.run):
            if (seconds := seconds_of(run)) is not None:
                takes.append(("Time" if label == "run" else sentence(label), " ".join(duration(seconds))))
        split = str(evaluation.get("split", "test"))
        for name, value in self._metrics().items():
            shown = " ".join(percent(value)) if name in SHARES else f"{value:,.6g}"
            reaches.append((f"{SHARES.get(name, sentence(spaced(name)))}, {split} split", shown))
        if (loss := number(evaluation.get("loss"))) is not None:
            reaches.append((f"Loss, {split} split", f"{loss:.4f}"))
        shown_elsewhere = {"seconds", *(cost.name for cost in known_costs())}
        for key, value in self.run.result.items():
            if key not in shown_elsewhere and number(value) is not None and not self.shrunk:
                shown = " ".join(percent(value)) if key.endswith("accuracy") else f"{value:,.6g}"
                reaches.append((sentence(spaced(key)), shown))
        cards = (
            card(title, table((), ((escape(label), value) for label, value in rows), numbers=(1,)))
            for title, rows in (("What it takes", takes), ("What it reaches", reaches))
            if rows
        )
        return titled("Cost and quality", "", folded("All figures", grid(cards, wide=True)))

    def adapted(self) -> str:
        """Return the section on what became of a network that was adapted."""
        before, after = (self.run.result.get(name) for name in ("original", "adapted"))
        if not isinstance(before, dict) or not isinstance(after, dict):
            return ""
        rows = []
        for name, value in before.items():
            ends = [end for end in (number(value), number(after.get(name))) if end is not None]
            if len(ends) == 2:
                shown = [" ".join(percent(end)) if name in SHARES else _counted(end) for end in ends]
                rows.append((escape(SHARES.get(name, sentence(objective_label(name)))), *shown))
        lead = "The network that was handed in, and what was made of it; metrics are those of the test split."
        return titled(
            "Adapted", lead, f'<div class="card">{table(("", "original", "adapted"), rows, numbers=(1, 2))}</div>'
        )

    def baseline(self) -> str:
        """Return the section on what was trained beside the network by the same recipe."""
        beside = self.final.baseline
        if beside is None or not beside.result:
            return ""
        rows = []
        for label, run in (("found", self.final), ("baseline", beside)):
            measured = {key: number(value) for key, value in {**run.result, **_tested(run)}.items()}
            rows.append((label, escape(f"{run.result.get('notation')!s:.80}"), measured))
        keys = [key for key in rows[0][2] if all(row[2].get(key) is not None for row in rows) and key not in _UNTOLD]
        lines = [(escape(spaced(key)), *(f"{measured[key]:,.5g}" for *_, measured in rows)) for key in keys]
        lines.insert(0, ("network", *(f"<code>{notation}</code>" for _, notation, _ in rows)))
        lead = "Both were trained by the same recipe, on the same data and from the same seed."
        shown = table(("", *(label for label, *_ in rows)), lines, numbers=(1, 2))
        return titled("Beside a baseline", lead, f'<div class="card">{shown}</div>')

    def reads(self) -> str:
        """Return the section on reads of the test split."""
        reads = [*self.run.reads, *(self.run.retrain.reads if self.run.retrain else ())]
        times = "once" if len(reads) == 1 else f"{len(reads)} times"
        lead = f"The test split was read {times}. What it says holds only while nothing is chosen by it."
        return titled("What was read", lead, f'<div class="card">{facts(reads)}</div>' if reads else "")

    def export(self) -> str:
        """Return the section on exported files."""
        titles = {"differences": "Differences to the network in the library"}
        run = self.run if self.run.manifest else self.final
        told = {key: value for key, value in run.manifest.items() if value}
        listed = told.pop("files", None)
        links = "".join(self._exported(run, name, about) for name, about in listed.items()) if listed else ""
        body = card("Files", f'<ul class="files">{links}</ul>') if links else ""
        plain = {key: value for key, value in told.items() if not isinstance(value, dict | list)}
        cards = [card("The network", facts(plain))] if plain else []
        others = ((key, value) for key, value in told.items() if key not in plain)
        cards += (card(titles.get(key, sentence(spaced(key))), facts(value)) for key, value in others)
        return titled("Export", "", body + folded("How it was exported", grid(cards, wide=True)))

    def _exported(self, run: RunFolder, name: Any, about: Any) -> str:
        """Return an item that links an exported file, with its size."""
        size = number(about.get("bytes")) if isinstance(about, Mapping) else None
        told = f"{' '.join(amount(size))}B" if size is not None else "" if isinstance(about, Mapping) else str(about)
        file = run.path / "export" / str(name)
        where = beside(self.run.path, file) if files.is_file(file) else ""
        link = f'<a href="{where}">{escape(str(name))}</a>' if where else escape(str(name))
        return f"<li>{link} <small>{escape(told)}</small></li>"

    def configuration(self) -> str:
        """Return the section with the configurations."""
        runs = (("search" if self.run.retrain else "run", self.run), ("retraining", self.run.retrain))
        body = "".join(
            folded(f"config.yaml of the {label}", copyable(f"config-{label}", as_yaml(run.config), yaml_keys=True))
            for label, run in runs
            if run and run.config
        )
        return titled("Configuration", "", body)

    def provenance(self) -> str:
        """Return the section on the run's provenance."""
        recorded = {
            key: value for key, value in self.run.provenance.items() if key != "command" and value not in ({}, [])
        }
        plain = {key: value for key, value in recorded.items() if not isinstance(value, dict | list)}
        cards = [card("Run", facts(plain))] if plain else []
        cards += (card(sentence(spaced(key)), facts(value)) for key, value in recorded.items() if key not in plain)
        body = f'<div class="packed">{"".join(cards)}</div>' if cards else ""
        return titled("Provenance", "", folded("Versions, machine, data, and when it was at work", body))

    def repeat(self) -> str:
        """Return the section with the commands that repeat the run."""
        commands = [
            (label, shlex.join(map(str, command)) if isinstance(command, list) else str(command))
            for label, run in (("The run", self.run), ("The retraining", self.run.retrain))
            if run and (command := run.provenance.get("command"))
        ]
        if is_repeatable(self.run.config) and not unrepeatable(self.run.config.get("import") or ()):
            words = again(self.run.config, self.run.provenance.get("directory"))
            commands.append(("With the configuration above, from this folder", shlex.join(["ramify", *words])))
        commands.append(("This page, from this folder", "ramify report ."))
        return titled(
            "Repeat it",
            "",
            "".join(card(label, copyable(f"command-{at}", text)) for at, (label, text) in enumerate(commands)),
        )


def _counted(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"


_UNTOLD = ("history_rows", "weight_decay", "drop_path")
"""Figures of a training that say nothing of the network."""


def _tested(run: RunFolder) -> dict[str, Any]:
    """Return the figures of a run's evaluation, named after their split."""
    split = run.evaluation.get("split", "test")
    known = {"split", "images", *(cost.name for cost in known_costs())}
    return {f"{split}_{key}": value for key, value in run.evaluation.items() if key not in known}
