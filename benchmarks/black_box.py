"""What black-box searches cost beside their evaluations, as trials become many, and what starting the library costs.

    python benchmarks/black_box.py [--quick] [--table FILE] [--json FILE]

Three tables. *Trials*: CPU milliseconds that a trial of every ask-and-tell strategy takes after 100, 1,000 and 5,000
trials of a NAS-Bench-201 cell whose score is made up at once, with the slope of their logarithms: 0 is a cost that does
not grow, 1 one that grows with the number of trials. *Table searches*: microseconds of CPU a trial of `ramify.search`
with a table, its run folder included and imports excluded, beside asking the table for the same cells in a bare loop;
the ratio is of runs that follow each other. *Starting*: seconds until a program is done that only starts, the median
over fresh processes, and whether it imported PyTorch; opening a CSV file and asking it once.

Without --table the table is made up, in the format and size of the 12-epoch table of NAS-Bench-201.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import ramify
from ramify.architecture import Architecture
from ramify.benchmarks import Column, Table, open_table
from ramify.costs import Inputs
from ramify.evaluators import Evaluation, Evaluator, TableLookup
from ramify.orders import ORDERS
from ramify.run import make_fabric
from ramify.spaces import NASBench201, Space
from ramify.strategies import (
    BOHB,
    AskTell,
    BayesianOptimization,
    Evolution,
    LocalSearch,
    OptunaSampler,
    RandomSearch,
    RegularizedEvolution,
    Reinforce,
)
from ramify.training import Metrics, Work

MARKS = (100, 1_000, 5_000)
WINDOW = 100
"""Trials over which a cost is averaged, those before a mark; at most half of them."""
ALLOWED_SLOPE, ALLOWED_US, ALLOWED_START_S = 0.3, 150.0, 0.3


@dataclass(frozen=True, kw_only=True)
class MadeUp(Evaluator):
    """Scores and sizes that follow from the cell, at once."""

    needs_data = False

    def start(self, space: Space, work: Work) -> Evaluation:
        return _MadeUp(space)


class _MadeUp:
    fidelities: tuple[int, ...] = ()
    metrics = ("score", "size")
    inputs = Inputs({"num_classes": 10, "in_channels": 3}, (3, 32, 32))

    def __init__(self, space: Space) -> None:
        self.space = space

    def prepare(self) -> Iterator[Metrics]:
        yield from ()

    def __call__(self, arch: Architecture, epochs: int | None = None) -> dict[str, float]:
        used = [decision.index[arch[decision.name]] for decision in self.space.decisions]
        noise = hashlib.sha256(bytes(used)).digest()[0] / 255
        return {"score": 0.7 * sum(used) / (4 * len(used)) + 0.3 * noise, "size": float(sum(used))}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


TWO = ("error", "size")
STRATEGIES: dict[str, tuple[AskTell, int]] = {  # with the trials that are worth waiting for
    "RandomSearch": (RandomSearch(), 5_000),
    "RegularizedEvolution": (RegularizedEvolution(), 5_000),
    "Reinforce": (Reinforce(), 5_000),
    "LocalSearch": (LocalSearch(), 5_000),
    "Evolution": (Evolution(), 5_000),
    "BayesianOptimization": (BayesianOptimization(), 5_000),
    "BayesianOptimization, 2 objectives": (BayesianOptimization(objectives=TWO), 5_000),
    "BOHB": (BOHB(), 1_000),
    "OptunaSampler TPE": (OptunaSampler(), 1_000),
    "OptunaSampler NSGAII, 2 objectives": (OptunaSampler(sampler="NSGAII", objectives=TWO), 5_000),
}
HELD = ("Evolution", "BayesianOptimization, 2 objectives")
"""Whose slopes are goals."""


@dataclass(frozen=True)
class Trials:
    """CPU milliseconds a trial of one strategy, by the number of trials, and the slope of their logarithms."""

    strategy: str
    milliseconds: dict[int, float]
    slope: float


@dataclass(frozen=True)
class TableSearch:
    """CPU microseconds of a trial of a table search; ratio to a bare loop over the same cells."""

    evaluations: int
    microseconds: float
    bare: float
    ratio: float


@dataclass(frozen=True)
class Start:
    """Seconds of a program that only starts, and whether it imported PyTorch."""

    what: str
    seconds: float
    imports_torch: bool


def slope_of(costs: Mapping[int, float]) -> float:
    """Return the slope of a line through the logarithms, by least squares."""
    return float(np.polyfit(np.log(list(costs)), np.log(list(costs.values())), 1)[0])


def measure_trials(name: str, most: int) -> Trials:
    strategy, enough = STRATEGIES[name]
    marks = [mark for mark in MARKS if mark <= min(most, enough)]
    strategy = replace(strategy, evaluator=MadeUp(), evaluations=marks[-1])
    session = strategy.session(NASBench201(), Work(None, 0, make_fabric("cpu", threads=1), {}))
    times = [time.process_time()]
    times += [time.process_time() for _ in session.run()]
    costs = {}
    for mark in marks:
        window = min(WINDOW, mark // 2)
        costs[mark] = 1e3 * (times[mark] - times[mark - window]) / window
    return Trials(name, costs, slope_of(costs))


def timed(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure_search(table: Path, column: str, evaluations: int, rounds: int) -> TableSearch:
    space, lookup = NASBench201(), TableLookup(table=str(table), column=column)
    opened = open_table(table)
    found = []

    def searched(count: int, seed: int) -> Any:
        strategy = RandomSearch(evaluator=lookup, evaluations=count)
        return ramify.search(space, strategy, seed=seed, progress=False)

    def bare(seed: int) -> None:
        rng = Random(seed)
        for _ in range(evaluations):
            opened.value(column, space.sample(rng))

    searched(5, 0)  # imports what a search needs
    bare(0)
    for seed in range(rounds):
        found.append((timed(lambda: searched(evaluations, seed)), timed(lambda: bare(seed))))  # noqa: B023
    whole, loop = (statistics.median(column) / evaluations * 1e6 for column in zip(*found, strict=True))
    ratio = statistics.median(whole / loop for whole, loop in found)
    return TableSearch(evaluations, whole, loop, ratio)


def made_up(path: Path) -> str:
    """Write a table of all cells, and return the name of its column."""
    rng = np.random.default_rng(0)
    column = Column(
        name="valid", metric="accuracy", unit="percent", data="cifar10", split="valid", schedule=12, seeds=(0,)
    )
    values = {"valid": rng.uniform(10, 90, len(ORDERS["nasbench201"].notations()))}
    Table({"space": "NASBench201"}, "nasbench201", [column], values, {"source": "made up"}).save(path)
    return "valid"


_RUN = """
import sys
sys.argv[0] = "ramify"
from ramify.__main__ import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""
_OPEN = """
import sys
from ramify.benchmarks import open_table
open_table(sys.argv[1]).value(sys.argv[2], 0)
print("torch" in sys.modules, file=sys.stderr)
"""


def measure_start(what: str, program: str, words: Sequence[str], rounds: int) -> Start:
    seconds, last = [], ""
    for _ in range(rounds):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        last = done.stderr.split()[-1]
    return Start(what, statistics.median(seconds), last == "True")


def measure_starts(table: Path, column: str, rounds: int) -> list[Start]:
    verbs = {"ramify": [], "ramify --help": ["--help"], "ramify --version": ["--version"], "ramify serach": ["serach"]}
    verbs |= {"ramify search --help": ["search", "--help"]}
    starts = [measure_start(what, _RUN, words, rounds) for what, words in verbs.items()]
    empty = measure_start("python -c ''", "import sys; print(False, file=sys.stderr)", [], rounds)
    return [empty, *starts, measure_start("open a table", _OPEN, [str(table), column], rounds)]


def print_tables(trials: list[Trials], search: TableSearch, starts: list[Start]) -> None:
    print(f"\n| CPU ms a trial after | {' | '.join(f'{mark:,}' for mark in MARKS)} | slope |")
    print("|---|" + "---|" * (len(MARKS) + 1))
    for row in trials:
        cells = [f"{row.milliseconds[mark]:.3f}" if mark in row.milliseconds else "" for mark in MARKS]
        print(f"| {row.strategy} | {' | '.join(cells)} | {row.slope:.2f} |")
    print(f"\n| {search.evaluations:,} trials of a table search | µs a trial | bare loop | ratio |")
    print("|---|---|---|---|")
    print(f"| RandomSearch | {search.microseconds:.0f} | {search.bare:.0f} | {search.ratio:.1f} |")
    print("\n| starting | seconds | imports torch |\n|---|---|---|")
    for start in starts:
        print(f"| {start.what} | {start.seconds:.3f} | {'yes' if start.imports_torch else 'no'} |")
    steep = [row for row in trials if row.strategy in HELD and not row.slope <= ALLOWED_SLOPE]
    missed = [f"slope of {row.strategy} {row.slope:.2f}" for row in steep]
    missed += [f"a table search takes {search.microseconds:.0f} µs a trial"] * (search.microseconds > ALLOWED_US)
    missed += [f"{s.what} takes {s.seconds:.2f} s" for s in starts[1:5] if s.seconds > ALLOWED_START_S]
    print("\nMISSED: " + "; ".join(missed) if missed else "\nmet: slopes, table search and start-up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer trials: a look, not a measurement")
    parser.add_argument("--table", type=Path, metavar="FILE", help="the CSV file of the table of NAS-Bench-201")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    most, evaluations, rounds = (1_000, 1_000, 3) if arguments.quick else (5_000, 10_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        table = arguments.table or Path(folder, "made-up.table")
        column = "cifar10_valid" if arguments.table else made_up(table)
        starts = measure_starts(table, column, rounds)
        search = measure_search(table, column, evaluations, rounds)
    trials = [measure_trials(name, most) for name in STRATEGIES]
    print_tables(trials, search, starts)
    if arguments.json:
        record = {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": 1,
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "trials": [asdict(row) for row in trials],
            "table_search": asdict(search),
            "starts": [asdict(start) for start in starts],
        }
        arguments.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
