"""The page of several runs side by side: what each reached at what cost, how their settings differ, their curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any

from ramify.report.charts import Chart, Line
from ramify.report.elements import amount, card, folded, grid, percent, table, titled
from ramify.report.figures import axis_of, positions
from ramify.report.folder import RunFolder, number, read_folder
from ramify.report.intervals import newcombe, wilson
from ramify.report.nextsteps import name_of
from ramify.report.page import Page
from ramify.report.palette import SERIES
from ramify.report.story import panels
from ramify.report.verdict import counted, seconds_of
from ramify.wording import duration, sentence

MOST = 40
"""The most runs on a page."""
_SETTINGS = 60
"""The most settings that are listed."""


def write_several(folders: Sequence[Path], path: Path) -> Path:
    """Write a page on several run folders and return its path.

    Raises:
        RunError: If one is no run folder, or a file in it is malformed.
    """
    runs = dict(zip(_names(folders), map(read_folder, folders), strict=True))
    page = Page(path.parent)
    sections = {
        "Runs": titled("What each reached, and what it cost", "", f'<div class="card">{_listing(runs)}</div>'),
        "Curves": titled("Their curves", "", grid(_curves(page, runs), wide=True)),
        "Settings": titled("What differs", "", _settings(runs)),
    }
    statements = "".join(f"<p{' class=doubt' * doubt}>{escape(text)}</p>" for text, doubt in verdict(runs))
    opening = f'<dl class="verdict"><dt>Result</dt><dd>{statements}</dd></dl>' if statements else ""
    page.write(path, f"{len(runs)} runs side by side", opening, sections, None)
    return path


def _names(folders: Sequence[Path]) -> list[str]:
    """Return names of the runs that tell them apart: the last parts of their paths, as many as that needs."""
    whole = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, whole)) + 1):
        names = ["/".join(parts[-length:]) for parts in whole]
        if len(set(names)) == len(names):
            return names
    return [f"{number} {'/'.join(parts[-1:])}" for number, parts in enumerate(whole, start=1)]


def verdict(runs: Mapping[str, RunFolder]) -> Iterator[tuple[str, bool]]:
    """Yield in words which run is the best, and whether the next one may be as good; then what cannot be compared."""
    measured = {name: found for name, run in runs.items() if (found := counted(_final(run).evaluation)) is not None}
    ranked = sorted(measured, key=lambda name: -measured[name][0] / measured[name][1])
    if len(ranked) > 1:
        first, second = ranked[:2]
        low, high = newcombe(*measured[first], *measured[second])
        difference = 100 * (measured[first][0] / measured[first][1] - measured[second][0] / measured[second][1])
        told = f"{difference:.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"
        if low > 0:
            yield f"{first} classifies the most images correctly, by {told} before {second}.", False
        else:
            yield f"{first} classifies the most images correctly, but its {told} before {second} may be chance.", True
    data = {name: _fingerprint(run) for name, run in runs.items()}
    others = [(one, other) for one, other in combinations(data, 2) if data[one] != data[other]]
    if others:
        yield f"Not all of them saw the same data: {others[0][0]} and {others[0][1]} did not.", True
    if unfinished := [name for name, run in runs.items() if not run.result]:
        yield f"Unfinished: {', '.join(unfinished)}.", True


def _fingerprint(run: RunFolder) -> Any:
    data = _final(run).provenance.get("data")
    return data.get("fingerprint") if isinstance(data, Mapping) else None


def _final(run: RunFolder) -> RunFolder:
    return run.retrain or run


def _listing(runs: Mapping[str, RunFolder]) -> str:
    """Return the table of all runs."""
    rows = []
    for name, run in runs.items():
        final, sources = _final(run), (_final(run).evaluation, _final(run).result, run.result)
        found = counted(final.evaluation)
        reached = "–"
        if found is not None:
            low, high = wilson(*found)
            reached = f"{' '.join(percent(found[0] / found[1]))} ({100 * low:.2f} to {100 * high:.2f})"
        score = number(run.result.get("score"))
        sizes = [
            next((" ".join(amount(value)) for one in sources if (value := number(one.get(key))) is not None), "–")
            for key in ("params", "macs")
        ]
        times = [
            "–" if one is None or (took := seconds_of(one)) is None else " ".join(duration(took))
            for one in (run, run.retrain)
        ]
        config = run.config
        what = [
            name_of(config.get("strategy")) or "–",
            name_of(config.get("space") or config.get("architecture")) or "–",
        ]
        shown = "finished" if run.result else "unfinished"
        cells = [name, *what, shown, "–" if score is None else f"{score:.5g}", reached, *sizes, *times]
        rows.append([escape(str(cell)) for cell in cells])
    reached_at = ("score", "test accuracy (95 % interval)")
    heads = ("run", "strategy", "space", "state", *reached_at, "parameters", "multiply-adds", "time", "retraining")
    return table(heads, rows, numbers=range(4, len(heads)))


def _curves(page: Page, runs: Mapping[str, RunFolder]) -> Iterator[str]:
    """Yield the quantities that several runs recorded, each run as a line: of validation where there is one."""
    drawn: dict[str, list[Line]] = {}
    axes: dict[str, str] = {}
    for at, (name, run) in enumerate(runs.items()):
        for stage, one in (("search", run), ("training", run.retrain or (run if run.config.get("recipe") else None))):
            phase = "search" if stage == "search" else "train"
            for panel in panels(one.rows(phase)) if one is not None else ():
                key = f"{sentence(panel.title)} ({stage})"
                split = next((it for it in ("validation", "test", *panel.series) if it in panel.series), None)
                if split is None or panel.title.partition(",")[0] not in ("accuracy", "loss", "miou", "map", "r2"):
                    continue
                told = panel.series[split]
                axes.setdefault(key, panel.axis)
                drawn.setdefault(key, []).append(Line(name, SERIES[at % len(SERIES)], panel.positions, told))
    for number_of, (title, lines) in enumerate(drawn.items()):
        known = [value for line in lines for value in line.y if value is not None]
        across = positions(axes[title], [x for line in lines for x in line.x])
        chart = Chart(across, axis_of(title.rpartition(" (")[0], known), tuple(lines), height=260)
        yield page.plot(f"curves-{number_of}", title, chart)


def _settings(runs: Mapping[str, RunFolder]) -> str:
    """Return the settings in which the runs differ."""
    flat = {name: dict(_flat(run.config)) for name, run in runs.items()}
    keys = dict.fromkeys(key for one in flat.values() for key in one)
    differ = [key for key in keys if len({repr(one.get(key)) for one in flat.values()}) > 1]
    if not differ:
        return card("They do not", "All settings are the same.")
    rows = ((escape(key), *(escape(_said(one.get(key))) for one in flat.values())) for key in differ[:_SETTINGS])
    more = f", the first {_SETTINGS} of {len(differ)}" if len(differ) > _SETTINGS else ""
    return folded(f"{len(differ)} settings{more}", table(("setting", *map(str, flat)), rows))


def _flat(config: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a configuration by the names that lead to them."""
    for key, value in config.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _said(value: Any) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
