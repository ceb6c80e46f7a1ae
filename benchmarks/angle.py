"""Children whose angle is taken: sums over pieces against the concatenated vectors.

The supernet of `MobileChain` with 1,000 classes, and that of `DARTSCells` in the ImageNet layout with 14 cells of 48
channels, with random weights. The vectors are written out in float64, as `child_vector` does. Both ways must agree on
every child that both have done, else the program stops. The ratio is that of the seconds for 100 children, the table
included that the sums need once. Then one shrinking step: 1,000 children for every operator.

    python benchmarks/angle.py [--vectors 5] [--children 20000] [--threads 1] [--quick] [--json FILE]

Figures are in README.md beside it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from goals import GOALS
from machine import in_words, machine, write
from ramify import spaces
from ramify.shrinking import AngleTable, Candidates, angle_between, child_vector, drawing, operator_scores
from ramify.spaces import Space

CASES: dict[str, tuple[Space, dict[str, object]]] = {
    "MobileChain": (spaces.MobileChain(), {}),
    "DARTSCells": (spaces.DARTSCells(), {"layout": "imagenet", "channels": 48, "layers": 14}),
}


@dataclass(frozen=True)
class Result:
    """Seconds of the table and of a shrinking step, children per second of both ways, and the ratio for 100 of them."""

    name: str
    table: float
    sums: float
    vectors: float
    ratio: float
    difference: float
    operators: int
    step: float

    def __str__(self) -> str:
        return (
            f"{self.name}: table {self.table:.2f} s once, sums {self.sums:,.0f} children/s, "
            f"vectors {self.vectors:,.2f} children/s, 100 children {self.ratio:.0f} times faster, "
            f"difference {self.difference:.0e} rad; {self.operators} operators scored in {self.step:.2f} s"
        )


def measure(name: str, vectors: int, count: int) -> Result:
    space, layout = CASES[name]
    with torch.device("meta"):
        sup = space.supernet(num_classes=1000, **layout)
    generator = torch.Generator().manual_seed(0)
    initial = {key: torch.randn(p.shape, generator=generator) for key, p in sup.named_parameters()}
    trained = {key: v + 0.1 * torch.randn(v.shape, generator=generator) for key, v in initial.items()}
    candidates = Candidates(space)
    lists = candidates.start
    draw = drawing(space.drawing, candidates, lists)
    children = candidates.one_hot(draw(count, generator, None))

    start = time.perf_counter()
    table = AngleTable.of(sup, initial, trained)
    made = time.perf_counter() - start
    start = time.perf_counter()
    table({key: rows[:100] for key, rows in children.items()})
    hundred = made + time.perf_counter() - start
    start = time.perf_counter()
    summed = table(children)
    sums = count / (time.perf_counter() - start)
    start = time.perf_counter()
    written = []
    for at in range(vectors):
        child = {key: rows[at] for key, rows in children.items()}
        written.append(angle_between(child_vector(sup, child, initial), child_vector(sup, child, trained)))
    whole = vectors / (time.perf_counter() - start)
    worst = max(abs(a - b) for a, b in zip(summed.tolist(), written, strict=False))
    if worst > 1e-10:
        raise SystemExit(f"{name}: the two ways differ by {worst:.1e} rad")
    start = time.perf_counter()
    scores = operator_scores(lists, draw, lambda found: table(candidates.one_hot(found)), seed=0)
    step = time.perf_counter() - start
    return Result(name, made, sums, whole, 100 / whole / hundred, worst, len(scores), step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=5)
    parser.add_argument("--children", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="the supernet of MobileChain, and one vector of it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names, vectors = (["MobileChain"], 1) if options.quick else (list(CASES), options.vectors)
    goal, results = GOALS["angle, 100 children"], []
    print(in_words(machine()))
    print(f"{options.threads} threads")
    for name in names:
        results.append(measure(name, vectors, options.children))
        print(results[-1])
    print(f"{results[0].name}: {goal} {goal.verdict(results[0].ratio)}")
    write(options.json, threads=options.threads, results=[asdict(result) for result in results])


if __name__ == "__main__":
    main()
