"""Children per second whose angle is taken: sums over pieces against the concatenated vectors.

The supernet of `MobileChain` with 1,000 classes, and that of `DARTSCells` in the ImageNet layout with 14 cells of 48
channels, with random weights. The vectors are written out in float64, as `child_vector` does. Both ways must agree on
every child that both have done, else the program stops. Then one shrinking step: 1,000 children for every operator.

    OMP_NUM_THREADS=1 python benchmarks/angle.py [--vectors 5] [--children 20000]

Figures are in README.md beside it.
"""

from __future__ import annotations

import argparse
import time

import torch

from ramify import spaces
from ramify.shrinking import AngleTable, Candidates, angle_between, child_vector, drawing, operator_scores
from ramify.spaces import Space

CASES: dict[str, tuple[Space, dict[str, object]]] = {
    "MobileChain": (spaces.MobileChain(), {}),
    "DARTSCells": (spaces.DARTSCells(), {"layout": "imagenet", "channels": 48, "layers": 14}),
}


def measure(name: str, vectors: int, count: int) -> None:
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
    print(
        f"{name}: table {made:.2f} s once, sums {sums:,.0f} children/s, vectors {whole:,.2f} children/s, "
        f"ratio {sums / whole:,.0f}, difference {worst:.0e} rad; {len(scores)} operators scored in {step:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=5)
    parser.add_argument("--children", type=int, default=20_000)
    options = parser.parse_args()
    for name in CASES:
        measure(name, options.vectors, options.children)


if __name__ == "__main__":
    main()
