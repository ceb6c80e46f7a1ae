"""Evaluating architectures with one worker and with two: how much sooner two are done.

An evaluation trains a member of NAS-Bench-201 on handwritten digits with one thread, so it does little but compute.
Workers are started and have evaluated once before the clock runs. One and two workers take turns; the speed-up is the
median over pairs of neighboring runs. Every evaluation must give the same metrics wherever it runs.

    python benchmarks/executors.py --json figures.json      # ten minutes; --quick for a look
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from machine import write
from ramify.data import load
from ramify.evaluators import Evaluations, TrainFromScratch
from ramify.executors import Executor, InProcess, LocalProcesses, RayCluster
from ramify.run import make_fabric
from ramify.seeding import rng
from ramify.spaces import NASBench201
from ramify.tasks import Classification
from ramify.training import Work

SPACE, LAYOUT = NASBench201(), {"channels": 16, "cells": 2}
ARCHITECTURE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


class Crew:
    """Workers of one executor that are ready."""

    def __init__(self, executor: Executor, workers: int, epochs: int) -> None:
        task = Work(Classification().on(load("digits")), 0, make_fabric("cpu", threads=1), LAYOUT, executor)
        evaluator = TrainFromScratch(epochs=epochs)
        self.evaluations = Evaluations(evaluator, evaluator.start(SPACE, task), SPACE, task)
        self.jobs = 0
        while self.evaluations.ready < workers:  # starting takes longer than an evaluation
            self.seconds(workers)
        self.seconds(workers)

    def seconds(self, jobs: int) -> tuple[float, list[Any]]:
        """Return how long so many evaluations take, and what they find."""
        start = time.perf_counter()
        for _ in range(jobs):
            self.evaluations.submit(self.jobs, SPACE.parse(ARCHITECTURE), None)
            self.jobs += 1
        found = [self.evaluations.next().result() for _ in range(jobs)]
        return time.perf_counter() - start, found


def executors(workers: int, ray: bool) -> dict[str, Executor]:
    found: dict[str, Executor] = {"LocalProcesses": LocalProcesses(processes=workers)}
    return found | ({"RayCluster": RayCluster(workers=workers)} if ray else {})


def measure(name: str, *, jobs: int, pairs: int, epochs: int, ray: bool) -> dict[str, Any]:
    with ExitStack() as stack:
        crews = {}
        for workers in (1, 2):
            crews[workers] = Crew(executors(workers, ray)[name], workers, epochs)
            stack.enter_context(crews[workers].evaluations)
        here = Crew(InProcess(), 1, epochs).seconds(1)[1][0]
        times: dict[int, list[float]] = {1: [], 2: []}
        for pair in range(pairs):
            for workers in rng(0, "order", pair).sample((1, 2), 2):
                seconds, found = crews[workers].seconds(jobs)
                if any(metrics != here for metrics in found):
                    raise SystemExit(f"{name} finds other metrics than this process")
                times[workers].append(seconds)
        ratios = [one / two for one, two in zip(times[1], times[2], strict=True)]
    return {
        "one": statistics.median(times[1]) / jobs,
        "two": statistics.median(times[2]) / jobs,
        "speed-up": statistics.median(ratios),
        "ratios": ratios,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--quick", action="store_true", help="few and short evaluations")
    parser.add_argument("--local", action="store_true", help="without Ray")
    options = parser.parse_args(arguments)
    jobs, pairs, epochs = (4, 1, 1) if options.quick else (6, 5, 4)
    if not options.local:
        import ray

        ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)  # room for all workers, of whom some rest
    figures = {}
    print(f"load before: {os.getloadavg()[0]:.2f}")
    for name in executors(1, not options.local):
        found = measure(name, jobs=jobs, pairs=pairs, epochs=epochs, ray=not options.local)
        figures[name] = found
        print(
            f"{name}: {found['one']:.2f} s an evaluation with one worker, {found['two']:.2f} s with two, "
            f"speed-up {found['speed-up']:.2f}"
        )
    print(f"load after: {os.getloadavg()[0]:.2f}")
    write(options.json, load=os.getloadavg()[0], figures=figures)


if __name__ == "__main__":
    main()
