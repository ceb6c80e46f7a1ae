"""How good the multi-trial strategies are on the table of NAS-Bench-201, beside random search.

    python benchmarks/comparison.py nasbench201.csv.gz [--seeds 100] [--out runs/comparison]

Two comparisons, each a folder with tables and pictures: the regret of the validation accuracy after 200 evaluations on
three data sets, and that of the hypervolume of (error, multiply-adds) on CIFAR-10 after 300. Both continue when they
were stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import ramify
from ramify import strategies

COLUMNS = ("cifar10_valid", "cifar100_valid", "imagenet16_valid")
REFERENCE = (0.20, 220.1e6)  # a fifth wrong; the multiply-adds of a cell of 3×3 convolutions alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="the table, or its CSV file")
    parser.add_argument("--seeds", type=int, default=100, help="searches of each strategy on each data set")
    parser.add_argument("--front_seeds", type=int, default=20, help="searches of each strategy for a front")
    parser.add_argument("--out", type=Path, default=Path("runs/comparison"), help="the folder of both")
    parser.add_argument("--processes", type=int, help="default: one per processor")
    arguments = parser.parse_args()

    start = time.monotonic()
    accuracy = ramify.compare(
        arguments.table,
        COLUMNS,
        out=arguments.out / "accuracy",
        seeds=arguments.seeds,
        evaluations=200,
        processes=arguments.processes,
    )
    print(accuracy.text)
    middle = time.monotonic()
    front = ramify.compare(
        arguments.table,
        COLUMNS[:1],
        [
            strategies.OptunaSampler(sampler="NSGAII"),
            strategies.OptunaSampler(),
            strategies.BayesianOptimization(),
        ],
        out=arguments.out / "front",
        seeds=arguments.front_seeds,
        evaluations=300,
        objectives=("error", "macs"),
        reference=REFERENCE,
        processes=arguments.processes,
    )
    print(front.text)
    print(f"{middle - start:.0f} s and {time.monotonic() - middle:.0f} s")


if __name__ == "__main__":
    main()
