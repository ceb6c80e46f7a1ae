"""Every goal of this project that this machine can measure, beside the figure that it reaches.

    python benchmarks/goals.py [--quick] [--only WORDS] [--table FILE] [--json FILE]

It runs the other programs of this folder, each in a process of its own, and takes its rows from their records. Ratios
are those of neighboring runs beside an implementation without any of the means of this library: `plain.py` for
supernets, a DataLoader for augmentation, vectors written out for angles. `must` and `ambitious` bound a figure from
below (≥) or from above (≤). The exit code is 1 if a goal is missed, or if a program fails.

Rows that need something that is not here, such as an accelerator, are named at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from machine import in_words, machine, write
from ramify.execution import fastest
from ramify.parallel import usable_cores

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Goal:
    """Bounds of a figure, from below (≥) or from above (≤)."""

    sign: str
    must: float
    ambitious: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.must:g}{self.unit and ' '}{self.unit}"

    def verdict(self, figure: float) -> str:
        return "ambitious" if self._holds(figure, self.ambitious) else "met" if self.met(figure) else "MISSED"

    def met(self, figure: float) -> bool:
        return self._holds(figure, self.must)

    def _holds(self, figure: float, bound: float) -> bool:
        return figure >= bound if self.sign == "≥" else figure <= bound


PURE, CSV = "DARTS weight step, pure PyTorch", "CSV: load"
GOALS: Mapping[str, Goal] = {
    PURE: Goal("≥", 1.5, 2.5),
    "DARTS weight step": Goal("≥", 4, 8),
    "DARTS architecture step, first order": Goal("≥", 3, 8),
    "DARTS architecture step, second order": Goal("≥", 2, 6),
    "DARTS weight step, peak memory": Goal("≤", 0.5, 0.4),
    "second order, peak memory": Goal("≤", 0.9, 0.6),
    "PC-DARTS weight step": Goal("≥", 2, 5),
    "NAS-Bench-201 mixture step": Goal("≥", 1.7, 3),
    "NAS-Bench-201 random path step": Goal("≥", 1.5, 2),
    "augmentation": Goal("≥", 8, 11),
    "angle, 100 children": Goal("≥", 30, 45),
    "table: load": Goal("≤", 100, 25, "ms"),
    "table: a million look-ups": Goal("≤", 20, 5, "ms"),
    CSV: Goal("≤", 100, 50, "ms"),
    "Evolution: slope": Goal("≤", 0.3, 0),
    "BayesianOptimization, 2 objectives: slope": Goal("≤", 0.3, 0),
    "a trial of a table search": Goal("≤", 150, 60, "µs"),
    "ramify": Goal("≤", 0.3, 0.15, "s"),
    "ramify --help": Goal("≤", 0.3, 0.15, "s"),
    "ramify --version": Goal("≤", 0.3, 0.15, "s"),
    "ramify serach": Goal("≤", 0.3, 0.15, "s"),
    "the demo's job": Goal("≤", 90, 45, "s"),
}
"""Name of a row → its goal. Without a unit a figure is a ratio or a slope."""

ELSEWHERE = {
    "DARTS weight step on one H200": "≥ 3, ambitious ≥ 6: no program here takes steps on an accelerator",
    "supernets beside the originals' own code": "it is not a part of this repository; `plain.py` stands for it",
}
"""Goals that nothing here can measure, and why."""

Record = Mapping[str, Any]


def named(rows: Sequence[Record], **wanted: str) -> Record:
    """Return the row of a record that has these values."""
    return next(row for row in rows if wanted.items() <= row.items())


@dataclass(frozen=True)
class Row:
    """Where a figure comes from: the words that start its program, and its place in what that writes.

    `only` is what the program calls the row, where it can measure one without the others.
    """

    name: str
    command: tuple[str, ...]
    read: Callable[[Record], float]
    only: str = ""


def supernet(name: str, step: str = "", *words: str) -> Row:
    step = step or name
    return Row(name, ("supernet.py", *words), lambda record: named(record["results"], name=step)["ratio"], step)


def opened(name: str, side: str, figure: str) -> Row:
    return Row(name, ("tables.py",), lambda record: 1000 * record["figures"][side][figure])


def slope(strategy: str) -> Row:
    name = f"{strategy}: slope"
    return Row(name, ("black_box.py",), lambda record: named(record["trials"], strategy=strategy)["slope"])


def started(name: str) -> Row:
    return Row(name, ("black_box.py",), lambda record: named(record["starts"], what=name)["seconds"])


ROWS = (
    supernet(PURE, "DARTS weight step", "--execution", "shared"),
    supernet("DARTS weight step"),
    supernet("DARTS architecture step, first order"),
    supernet("DARTS architecture step, second order"),
    supernet("DARTS weight step, peak memory"),
    supernet("second order, peak memory"),
    supernet("PC-DARTS weight step"),
    supernet("NAS-Bench-201 mixture step"),
    supernet("NAS-Bench-201 random path step"),
    Row("augmentation", ("augmentation.py",), lambda record: record["ratio"]),
    Row("angle, 100 children", ("angle.py",), lambda record: named(record["results"], name="MobileChain")["ratio"]),
    opened("table: load", "table", "open and ask once"),
    opened("table: a million look-ups", "table", "batched"),
    opened(CSV, "its CSV file, directly", "open and ask once"),
    slope("Evolution"),
    slope("BayesianOptimization, 2 objectives"),
    Row("a trial of a table search", ("black_box.py",), lambda record: record["table_search"]["microseconds"]),
    *map(started, ("ramify", "ramify --help", "ramify --version", "ramify serach")),
    Row("the demo's job", ("demo.py",), lambda record: record["seconds"]),
)
TABLE_OPTION = {"black_box.py": "--table", "tables.py": "--csv"}


class Failed(Exception):
    """A program did not give its figures; the text is one line."""


def record_of(command: Sequence[str]) -> Record:
    """Run a program of this folder, and return what it writes.

    Raises:
        Failed: With the last line of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "record.json")
        words = [sys.executable, str(HERE / command[0]), *command[1:], "--json", str(file)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode == 0 and file.exists():
            return json.loads(file.read_text())
    said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
    raise Failed(f"exit code {done.returncode}: {said[:200]}")


def measured(command: tuple[str, ...], rows: Sequence[Row], options: Sequence[str]) -> dict[str, float]:
    """Return the figures of rows that one run of a program gives."""
    only = [word for row in rows if row.only for word in ("--only", row.only)]
    record = record_of([*command, *only, *options])
    try:
        return {row.name: row.read(record) for row in rows}
    except (KeyError, StopIteration, TypeError) as error:
        raise Failed(f"its record is another than expected: {error!r}") from None


def line(name: str, figure: float) -> str:
    goal = GOALS[name]
    must, ambitious = (f"{goal.sign} {bound:g}" for bound in (goal.must, goal.ambitious))
    return f"{name:44}{figure:9.3g} {goal.unit:3}{must:>7}{ambitious:>7}   {goal.verdict(figure)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repeats: a look, not a measurement")
    parser.add_argument("--only", metavar="WORDS", help="rows whose name has one of these, with commas between")
    parser.add_argument("--table", type=Path, metavar="FILE", help="the CSV file of the table of NAS-Bench-201")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of supernets; default: all cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    words = [word.strip() for word in (arguments.only or "").split(",")]
    chosen = [row for row in ROWS if any(word in row.name for word in words)]
    if not chosen:
        parser.error(f"no row is called {arguments.only!r}; there are {'; '.join(row.name for row in ROWS)}")
    absent = dict(ELSEWHERE)
    if arguments.table is None:
        absent[CSV] = "needs --table"
    jobs: dict[tuple[str, ...], list[Row]] = {}
    for row in chosen:
        if row.name not in absent:
            jobs.setdefault(row.command, []).append(row)

    execution = fastest("cpu", "32-true")
    print(in_words(machine()))
    print(
        f"execution {execution}; {arguments.threads} threads for supernets, those that it measures for the demo, else 1"
    )
    print(f"\n{'':44}{'figure':>9} {'':3}{'must':>7}{'ambit.':>7}")
    figures: dict[str, float] = {}
    failed: dict[str, str] = {}
    for command, rows in jobs.items():
        options = ["--quick"] * arguments.quick
        if command[0] == "supernet.py":
            options += ["--threads", str(arguments.threads)]
        if arguments.table and command[0] in TABLE_OPTION:
            options += [TABLE_OPTION[command[0]], str(arguments.table)]
        try:
            found = measured(command, rows, options)
        except Failed as error:
            failed |= dict.fromkeys((row.name for row in rows), f"{command[0]} failed, {error}")
            for row in rows:
                print(f"{row.name:44}{'—':>9}   FAILED", flush=True)
        else:
            figures |= found
            for name, figure in found.items():
                print(line(name, figure), flush=True)
    missed = [name for name, figure in figures.items() if not GOALS[name].met(figure)]
    print("\nmissed: " + ("; ".join(missed) or "nothing"))
    for why in dict.fromkeys(failed.values()):
        print(why)
    print("not measured here:")
    for name, why in absent.items():
        print(f"  {name}: {why}")
    write(
        arguments.json,
        execution=execution,
        threads=arguments.threads,
        quick=arguments.quick,
        rows=[{"name": n, "figure": f, "verdict": GOALS[n].verdict(f)} | asdict(GOALS[n]) for n, f in figures.items()],
        failed=failed,
        absent=absent,
    )
    return int(bool(missed or failed))


if __name__ == "__main__":
    raise SystemExit(main())
