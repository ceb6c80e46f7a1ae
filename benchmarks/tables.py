"""Opening a table of 15,625 architectures and asking it, against reading its CSV file into dictionaries.

Every figure comes from fresh processes, the median of some. Without --csv the table is made up, with the size and the
columns of the 12-epoch table of NAS-Bench-201.

    python benchmarks/tables.py [--csv nasbench201.csv.gz] [--rounds 7] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from goals import CSV, GOALS
from machine import in_words, machine, write
from ramify.benchmarks import ORDERS, Column, import_csv

NAMES = [f"{data}_{split}" for data in ("cifar10", "cifar100", "imagenet16") for split in ("valid", "test")]
COUNT = 1_000_000

COMMON = """
import json, random, resource, sys, time
path, column, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
figures = {}
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20
class timed:
    def __init__(self, name): self.name = name
    def __enter__(self): self.start = time.perf_counter()
    def __exit__(self, *_): figures[self.name] = time.perf_counter() - self.start
"""

OURS = """
with timed("import"):
    from ramify.benchmarks import open_table
before = resident()
with timed("open and ask once"):
    table = open_table(path)
    table.value(column, 0)
figures["memory"] = resident() - before
with timed("first question by notation"):
    table.value(column, table.notations[7])
assert "torch" not in sys.modules and "pandas" not in sys.modules
rng = random.Random(0)
indices = [rng.randrange(len(table)) for _ in range(count)]
notations = [table.notations[index] for index in indices]
with timed("by index"):
    for index in indices: table.value(column, index)
with timed("by notation"):
    for notation in notations: table.value(column, notation)
import numpy
batch = numpy.array(indices)
table.values(column, batch[:10])
with timed("batched"):
    table.values(column, batch)
with timed("notations to indices"):
    table.indices(notations)
print(json.dumps(figures))
"""

PLAIN = """
with timed("import"):
    import csv, gzip, io
before = resident()
with timed("open and ask once"):
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    with opened as file:
        rows = list(csv.DictReader(file))
    table = {row["arch"]: {name: float(value) for name, value in row.items() if "_" in name} for row in rows}
    table[rows[0]["arch"]][column]
figures["memory"] = resident() - before
rng = random.Random(0)
notations = [rows[rng.randrange(len(rows))]["arch"] for _ in range(count)]
with timed("by notation"):
    for notation in notations: table[notation][column]
print(json.dumps(figures))
"""


def measured(program: str, path: Path, rounds: int) -> dict[str, float]:
    found = []
    for _ in range(rounds):
        words = [sys.executable, "-c", COMMON + program, str(path), "cifar10_valid", str(COUNT)]
        found.append(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout))
    return {name: statistics.median(figures[name] for figures in found) for name in found[0]}


def made_up(folder: Path) -> tuple[Path, list[Column]]:
    rng = random.Random(0)
    lines = ["index,arch," + ",".join(NAMES)]
    for index, cell in enumerate(ORDERS["nasbench201"].notations()):
        lines.append(f"{index},{cell}," + ",".join(f"{rng.uniform(10, 90):.4f}" for _ in NAMES))
    path = folder / "table.csv"
    path.write_text("\n".join(lines))
    return path, [Column(name=n, metric="accuracy", data="made up", split="valid", schedule=12) for n in NAMES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="the real table's CSV file")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two rounds: a look, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:
        source, columns = (options.csv, []) if options.csv else made_up(Path(folder))
        table = import_csv(source, columns=columns)
        table.save(Path(folder) / "a.table")
        size = (Path(folder) / "a.table").stat().st_size / 2**20
        runs = {"table": (OURS, Path(folder) / "a.table"), "dictionaries": (PLAIN, source)}
        if options.csv:
            runs["its CSV file, directly"] = (OURS, options.csv)
        found = {name: measured(program, path, rounds) for name, (program, path) in runs.items()}
    print(in_words(machine()))
    print(f"{len(table):,} architectures, {len(table.columns)} columns, {size:.2f} MiB; {COUNT:,} questions")
    rows = list(found["table"])
    print(f"{'':28}" + "".join(f"{name:>26}" for name in found))
    for row in rows:
        cells = (figures.get(row) for figures in found.values())
        scale, unit = (1.0, "MiB") if row == "memory" else (1000.0, "ms")
        print(f"{row:28}" + "".join(f"{'' if c is None else f'{c * scale:,.1f} {unit}':>26}" for c in cells))
    ratio = found["dictionaries"]["open and ask once"] / found["table"]["open and ask once"]
    print(f"opening: {ratio:.0f} times faster than dictionaries")
    goals = {"table: load": found["table"]["open and ask once"], "table: a million look-ups": found["table"]["batched"]}
    if options.csv:
        goals[CSV] = found["its CSV file, directly"]["open and ask once"]
    for name, seconds in goals.items():
        print(f"{name} {1000 * seconds:.1f} ms, {GOALS[name]} {GOALS[name].verdict(1000 * seconds)}")
    write(options.json, rounds=rounds, questions=COUNT, figures=found)


if __name__ == "__main__":
    main()
