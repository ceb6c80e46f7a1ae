"""Compare runs in a table: what each is about, and what it came to."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired

from typing_extensions import TypedDict

from ramify import files, reading
from ramify.commandline.options import add_json
from ramify.commandline.seeds import SUMMARY
from ramify.commandline.tables import print_table
from ramify.errors import ConfigurationError, RunError, nearest
from ramify.run.listing import CONFIG, runs_in, summary_of
from ramify.verbs.report import write_report

if TYPE_CHECKING:
    from ramify.commandline import Command


class _Mean(TypedDict):
    mean: float
    low: NotRequired[float]
    high: NotRequired[float]


class _Seeds(TypedDict):
    """The file of several seeds."""

    seeds: dict[str, dict[str, float]]
    together: dict[str, _Mean]


@dataclass(frozen=True)
class Compared:
    """One line of a comparison.

    Args:
        name: The folder.
        what: What it is about.
        figures: Figure → value; of several seeds the mean.
        intervals: Figure → ends of the interval of its mean, where there were several seeds.
    """

    name: str
    what: str
    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]

    def text(self, figure: str) -> str:
        """Return a figure for people, with its interval; empty where there is none."""
        if figure not in self.figures:
            return ""
        ends = self.intervals.get(figure)
        return f"{self.figures[figure]:,.5g}" + ("" if ends is None else f" ({ends[0]:,.5g} to {ends[1]:,.5g})")


def compared(path: Path) -> Compared:
    """Return the line of a run, or of the folder of a run with several seeds.

    Raises:
        RunError: If it is neither, or damaged.
    """
    if (path / SUMMARY).is_file() and not (path / CONFIG).is_file():
        together: _Seeds = reading.json_file(path / SUMMARY, _Seeds, error=RunError)
        first = next(runs_in(path), None)
        what = "" if first is None else summary_of(first).what
        means = together["together"]
        ends = {name: (one["low"], one["high"]) for name, one in means.items() if "low" in one and "high" in one}
        figures = {name: one["mean"] for name, one in means.items()}
        return Compared(str(path), f"{what}, {len(together['seeds'])} seeds", figures, ends)
    one = summary_of(path)
    if one.reason:
        raise RunError(one.reason)
    seconds = {} if one.seconds is None else {"seconds": one.seconds}
    return Compared(str(path), one.what, {**one.figures, **seconds}, {})


def columns_of(lines: Sequence[Compared], wanted: Sequence[str] | None) -> list[str]:
    """Return the figures to show: those that are asked for, else those that most runs have, and one of every run.

    Raises:
        ConfigurationError: If a run was asked for a figure that none has.
    """
    known = list(dict.fromkeys(name for line in lines for name in line.figures))
    if wanted:
        if strange := next((name for name in wanted if name not in known), None):
            raise ConfigurationError(f"--figures: no run has {strange!r}; {nearest(strange, known)}")
        return list(wanted)
    shown = {name for name in known if 2 * sum(name in line.figures for line in lines) > len(lines)}
    for line in lines:
        own = [name for name in line.figures if name != "seconds"]
        if shown.isdisjoint(own):
            shown |= set(own[:1])
    return [name for name in known if name in shown]


def csv_of(lines: Iterable[Compared], columns: Sequence[str]) -> str:
    """Return the table as CSV, with the ends of intervals in columns of their own."""
    rows: list[dict[str, object]] = []
    for line in lines:
        row: dict[str, object] = {"run": line.name, "what": line.what}
        for name in columns:
            row[name] = line.figures.get(name, "")
            if name in line.intervals:
                row[f"{name} low"], row[f"{name} high"] = line.intervals[name]
        rows.append(row)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


_ESCAPED = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def latex_of(lines: Sequence[Compared], columns: Sequence[str]) -> str:
    """Return the table as LaTeX, for the package booktabs."""

    def row(cells: Iterable[str]) -> str:
        escaped = ("".join(_ESCAPED.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in cell) for cell in cells)
        return " & ".join(escaped) + r" \\"

    body = [row([line.name, line.what, *(line.text(name) for name in columns)]) for line in lines]
    heads = row(["run", "what", *(name.replace("_", " ") for name in columns)])
    align = "ll" + "r" * len(columns)
    return "\n".join(
        [rf"\begin{{tabular}}{{{align}}}", r"\toprule", heads, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""]
    )


def run(command: Command) -> int:
    """Run `ramify runs compare`."""
    command.add("runs", list[str], "run folders, or folders of runs with several seeds", several=True)
    command.add("--figures", list[str] | None, "which, as accuracy,params; default: those that most runs have")
    command.add("--csv", str | None, "file for the table as CSV")
    command.add("--latex", str | None, "file for the table as LaTeX, for the package booktabs")
    command.add("--page", str | None, "HTML file that shows the runs side by side, with their curves")
    add_json(command)
    options = command.parse()
    lines = [compared(files.expanded(path)) for path in options.runs]
    columns = columns_of(lines, options.figures)
    if options.page is not None:
        if len(options.runs) < 2:
            raise ConfigurationError("--page shows runs side by side: name two or more; `ramify report RUN` shows one")
        write_report(*options.runs, out=options.page)
    if options.csv is not None:
        files.write(options.csv, csv_of(lines, columns))
    if options.latex is not None:
        files.write(options.latex, latex_of(lines, columns))
    if options.json:
        told = [{"run": line.name, "what": line.what, "figures": dict(line.figures)} for line in lines]
        print(files.to_json(told, indent=2, ascii_only=False))
        return 0
    rows = [(line.name, line.what, *(line.text(name) for name in columns)) for line in lines]
    print_table(f"{len(lines)} runs", ("run", "what", *(name.replace("_", " ") for name in columns)), rows)
    return 0
