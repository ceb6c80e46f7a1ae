"""How well short trainings rank cells of NAS-Bench-201, and what they take: one recipe beside another.

    python benchmarks/table_recipes.py --table nasbench201.csv.gz --data cifar10-train.parquet
        [--recipes nasbench201-retrain-12 fast-table] [--members 24] [--images 5000] [--seed 0] [--json FILE]

The same drawn cells are trained by every recipe on half of the images and measured on the other half, with 8 channels
and one cell a stage, on one thread. Their ranks are compared to those of the published table (`cifar10_valid`): full
networks after 12 epochs on 25,000 images. Cells without a path from input to output are drawn like all others. Rank
correlation (Spearman's ρ, Kendall's τ) of each recipe, the seconds of a training with its measurement, and the interval
of the difference of ρ over 10,000 bootstrap draws of the cells.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

from machine import in_words, machine, write
from ramify import recipes
from ramify.benchmarks import Table, open_table
from ramify.building import build_table
from ramify.data import DataSpec
from ramify.spaces import NASBench201

COLUMN = "cifar10_valid"
NETWORK = {"channels": 8, "cells": 1}


@dataclass(frozen=True)
class Row:
    """Rank correlations of a recipe with the published table, and seconds of a training."""

    recipe: str
    spearman: float
    kendall: float
    seconds: float
    accuracy: float


def difference(first: np.ndarray, second: np.ndarray, published: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of ρ(second) - ρ(first) over bootstrap draws of the cells."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(10_000):
        rows = draw.integers(0, len(published), len(published))
        ranks = [spearmanr(values[rows], published[rows]).statistic for values in (first, second)]
        found.append(ranks[1] - ranks[0])
    return float(np.nanpercentile(found, 2.5)), float(np.nanpercentile(found, 97.5))


def built(name: str, options: argparse.Namespace, folder: Path) -> Table:
    """Return the table of the drawn cells by a recipe."""
    return build_table(
        NASBench201(),
        DataSpec(source=str(options.data), subset=2 * options.images),
        out=folder / name,
        architectures=options.members,
        recipe=recipes.load(name)["recipe"],
        network=NETWORK,
        seed=options.seed,
        processes=0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, metavar="FILE", help="the published table")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="CIFAR-10")
    parser.add_argument("--recipes", nargs="+", default=["nasbench201-retrain-12", "fast-table"], metavar="NAME")
    parser.add_argument("--members", type=int, default=24, metavar="N")
    parser.add_argument("--images", type=int, default=5000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="decides which cells are drawn")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keeps the tables; the same command continues")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(in_words(machine()), flush=True)
    lookup = open_table(options.table)
    with tempfile.TemporaryDirectory() as scratch:
        tables = {name: built(name, options, options.out or Path(scratch)) for name in options.recipes}
    rows, scores = [], {}
    for name, table in tables.items():
        members = list(table.notations)
        published = np.array([lookup.value(COLUMN, lookup.index(member)) for member in members])
        scores[name] = table.values("valid")
        rows.append(
            Row(
                name,
                float(spearmanr(scores[name], published).statistic),
                float(kendalltau(scores[name], published).statistic),
                float(table.values("valid_seconds").mean()),
                100 * float(scores[name].mean()),
            )
        )
    print(f"\n| recipe | ρ | τ | mean accuracy | seconds | times faster than {rows[0].recipe} |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        faster = rows[0].seconds / row.seconds
        print(
            f"| {row.recipe} | {row.spearman:.3f} | {row.kendall:.3f} | {row.accuracy:.1f} % | {row.seconds:.2f} "
            f"| {faster:.2f} |"
        )
    intervals = {}
    for name in options.recipes[1:]:
        intervals[name] = difference(scores[options.recipes[0]], scores[name], published)
        print(
            f"{name}: ρ differs by {intervals[name][0]:+.3f} to {intervals[name][1]:+.3f} from {options.recipes[0]}'s"
        )
    write(options.json, rows=[asdict(row) for row in rows], intervals=intervals)


if __name__ == "__main__":
    main()
