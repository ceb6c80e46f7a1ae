"""The facts of a run in figures and words, without pictures, including how to repeat it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ramify import files
from ramify.costs.record import known_costs
from ramify.imports import unrepeatable
from ramify.report.elements import (
    amount,
    as_yaml,
    card,
    copyable,
    facts,
    grid,
    percent,
    spaced,
    table,
    titled,
)
from ramify.report.folder import RunFolder, number
from ramify.report.story import Trial
from ramify.wording import duration, sentence

_SHARES = {
    **{"top1": "Top-1 accuracy", "top5": "Top-5 accuracy", "balanced_accuracy": "Balanced accuracy"},
    **{"miou": "Mean overlap of classes", "pixel_accuracy": "Pixel accuracy"},
    **{"map": "Average precision", "map50": "Average precision at an overlap of 0.5"},
}
"""Metrics that are shown in per cent."""


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
            amount_of = percent(value) if name in _SHARES else (f"{value:.4g}", "")
            tiles.append((_SHARES.get(name, sentence(spaced(name))), amount_of, note))
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
            tiles.append(("Latency", (f"{milliseconds:.3g}", "ms"), name))
        if (seconds := _seconds(self.run)) is not None:
            tiles.append(("Search time" if self.run.config.get("strategy") else "Time", duration(seconds), ""))
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
                takes.append((sentence(cost.label), f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"))
        for name, milliseconds in self._latencies().items():
            takes.append((f"Latency {name}".strip(), f"{milliseconds:.4g} ms"))
        takes += [(f"Limit of {name}", limit) for name, limit in self._limits()]
        takes += [(f"Predicted {name}", text) for name, text in self._predicted()]
        for run, label in (
            (self.run, "Search" if self.run.config.get("strategy") else "Time"),
            (self.run.retrain, "Retraining"),
        ):
            if run and (seconds := _seconds(run)) is not None:
                takes.append((label, " ".join(duration(seconds))))
        split = str(evaluation.get("split", "test"))
        for name, value in self._metrics().items():
            shown = " ".join(percent(value)) if name in _SHARES else f"{value:,.6g}"
            reaches.append((f"{_SHARES.get(name, sentence(spaced(name)))}, {split} split", shown))
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
        return titled("Cost and quality", "", grid(cards, wide=True))

    def adapted(self) -> str:
        """Return the section on what became of a network that was adapted."""
        before, after = (self.run.result.get(name) for name in ("original", "adapted"))
        if not isinstance(before, dict) or not isinstance(after, dict):
            return ""
        rows = []
        for name, value in before.items():
            ends = [end for end in (number(value), number(after.get(name))) if end is not None]
            if len(ends) == 2:
                shown = [" ".join(percent(end)) if name in _SHARES else f"{end:,.6g}" for end in ends]
                rows.append((escape(_SHARES.get(name, sentence(spaced(name)))), *shown))
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
        body = ((label, notation, *(f"{measured[key]:,.5g}" for key in keys)) for label, notation, measured in rows)
        head = ["", "network", *(spaced(key) for key in keys)]
        lead = "Both were trained by the same recipe, on the same data and from the same seed."
        shown = table(head, body, numbers=range(2, len(head)))
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
        manifest = self.run.manifest or self.final.manifest
        cards = (card(titles.get(key, sentence(spaced(key))), facts(value)) for key, value in manifest.items() if value)
        return titled("Export", "", grid(cards, wide=True))

    def configuration(self) -> str:
        """Return the section with the configurations."""
        runs = (("search" if self.run.retrain else "run", self.run), ("retraining", self.run.retrain))
        cards = (
            card(f"config.yaml of the {label}", copyable(f"config-{label}", as_yaml(run.config), yaml_keys=True))
            for label, run in runs
            if run and run.config
        )
        return titled("Configuration", "", grid(cards, wide=True))

    def provenance(self) -> str:
        """Return the section on the run's provenance."""
        recorded = {
            key: value for key, value in self.run.provenance.items() if key != "command" and value not in ({}, [])
        }
        plain = {key: value for key, value in recorded.items() if not isinstance(value, dict | list)}
        cards = [card("Run", facts(plain))] if plain else []
        cards += (card(sentence(spaced(key)), facts(value)) for key, value in recorded.items() if key not in plain)
        body = f'<div class="packed">{"".join(cards)}</div>' if cards else ""
        return titled("Provenance", "", body)

    def repeat(self) -> str:
        """Return the section with the commands that repeat the run."""
        commands = [
            (label, shlex.join(map(str, command)) if isinstance(command, list) else str(command))
            for label, run in (("The run", self.run), ("The retraining", self.run.retrain))
            if run and (command := run.provenance.get("command"))
        ]
        if "data" in self.run.config and not unrepeatable(self.run.config.get("import") or ()):
            words = again(self.run.config, self.run.provenance.get("directory"))
            commands.append(("With the configuration above, from this folder", shlex.join(["ramify", *words])))
        commands.append(("This page, from this folder", "ramify report ."))
        return titled(
            "Repeat it",
            "",
            "".join(card(label, copyable(f"command-{at}", text)) for at, (label, text) in enumerate(commands)),
        )


_UNTOLD = ("history_rows", "weight_decay", "drop_path")
"""Figures of a training that say nothing of the network."""


def _tested(run: RunFolder) -> dict[str, Any]:
    """Return the figures of a run's evaluation, named after their split."""
    split = run.evaluation.get("split", "test")
    known = {"split", "images", *(cost.name for cost in known_costs())}
    return {f"{split}_{key}": value for key, value in run.evaluation.items() if key not in known}


def again(config: Mapping[str, Any], directory: Any) -> list[str]:
    """Return the command words that repeat a run with its configuration.

    Args:
        config: The configuration.
        directory: Where the run was made, which its relative paths begin at.
    """

    def located(path: Any) -> str:
        place = Path(str(directory), str(path))
        return str(place) if files.is_there(place) else str(path)

    verb = next((verb for key, verb in _VERBS.items() if key in config), "search")
    words = [verb, "--config", "config.yaml"]
    for record in config.get("import") or ():
        words += ["--import", located(record["file"]) if "file" in record else str(record.get("module"))]
    source = config["data"].get("source") if isinstance(config["data"], Mapping) else None
    if source is not None and located(source) != source:
        words += ["--data", located(source)]
    return [*words, "--out", "../again"]


_VERBS = {"problem": "tune", "shrinking": "shrink", "recipe": "retrain"}
"""What a configuration says that has these."""


def name_of(setting: Any) -> str:
    """Return a class's or setting's name in the configuration, without its module."""
    if isinstance(setting, Mapping):
        if source := setting.get("source"):
            return Path(str(source)).name
        setting = setting.get("class_path") or setting.get("space") or ""
    return re.split("[.:]", str(setting or ""))[-1]


def _seconds(run: RunFolder) -> float | None:
    """Return how long a run took."""
    durations = (number(source.get("seconds")) for source in (run.result, *reversed(run.history)))
    return next((seconds for seconds in durations if seconds is not None), None)
