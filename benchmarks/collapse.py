"""First-order DARTS on a task where it collapses into skip connections, with and without the guard.

    python benchmarks/collapse.py [--seeds 5] [--out runs/collapse] [--figure docs/images/collapse.svg]

Images are black and white noise that repeats after five pixels, along the rows in one class and along the columns in
the other; a quarter of the training labels are wrong. Inside a window of 5 by 5 pixels both classes are the same coin
tosses, and a network of this space that holds nothing but skip connections compares no pixels further apart: it has to
guess. The candidates are the two of space S2 of Zela et al. (ICLR 2020), skip connection and separable convolution.

Everything is kept in run folders, and the same command continues. It prints the table of `docs/collapse.md` and draws
its figure.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch.utils.data import Dataset

import ramify
from ramify import files
from ramify.data import Augmentation, Data, load
from ramify.report.palette import INK, LINE, MUTED, SERIES
from ramify.report.pictures import svg
from ramify.spaces import DARTSCells
from ramify.strategies import DARTS, CollapseGuard
from ramify.strategies.collapse import skip_share

LAG, SIDE, WRONG = 5, 16, 0.25
SPACE = DARTSCells(nodes=2, operations={"normal": ["skip_connect", "sep_conv_3x3"], "reduce": ["skip_connect"]})
NETWORK = {"channels": 4, "layers": 5}
EPOCHS = 30
MEASURES = ("skip_share", "entropy", "gap", "eigenvalue")
GUARDS = {
    "without": CollapseGuard(measures=MEASURES, batches=0),
    "with": CollapseGuard(measures=MEASURES, batches=0, action="rollback", max_skip_share=0.5, patience=3),
}
RECIPE = ramify.Recipe(epochs=20, batch_size=32, lr=0.1, crop=2, flip=True, cutout=0, auxiliary=False, drop_path=0.0)

PANELS = {  # name in the history → title
    "skip_share": "share of skip connections",
    "mixing_entropy": "entropy of the mixing weights",
    "discretization_gap": "discretization gap",
    "hessian_eigenvalue": "largest eigenvalue",
}


class Textures(Dataset):
    """Images (1, S, S) of both classes in turn, with their labels; the same ones every time."""

    classes = ("rows", "columns")

    def __init__(self, seed: int, count: int, wrong: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        tosses = 255 * torch.randint(2, (count, SIDE, LAG), generator=generator).byte()
        noise = tosses.repeat(1, 1, -(-SIDE // LAG))[:, None, :, :SIDE]
        self.images = [image if number % 2 == 0 else image.mT for number, image in enumerate(noise)]
        self.labels = (torch.arange(count) + (torch.rand(count, generator=generator) < wrong)) % 2

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return self.images[number], int(self.labels[number])


def make_data(seed: int) -> Data:
    """Return 1024 images to search on and as many to test, the latter with the right labels."""
    data = load((Textures(2 * seed, 1024, WRONG), Textures(2 * seed + 1, 1024, 0.0)))
    return replace(data, augmentation=Augmentation())


def strategy(guard: CollapseGuard) -> DARTS:
    return DARTS(epochs=EPOCHS, batch_size=32, lr=0.05, arch_lr=0.02, guard=guard)


def run(out: Path, guard: str, seed: int) -> dict[str, Any]:
    """Search, retrain and evaluate; return what came of it."""
    folder = out / f"{guard}-{seed}"
    common = {"seed": seed, "device": "cpu", "threads": 1, "progress": False}
    found = ramify.search(SPACE, strategy(GUARDS[guard]), make_data(seed), out=folder, network=NETWORK, **common)
    trained = ramify.retrain(found, recipe=RECIPE, network=NETWORK, **common)
    return {
        "history": found.history,
        "skips": skip_share(found.space, found.architecture),
        "test": ramify.evaluate(trained, device="cpu", threads=1).top1,
    }


def draw(results: dict[str, list[dict[str, Any]]]) -> Figure:
    """Return the measures over the epochs, one panel each."""
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for seed, result in enumerate(results["without"]):
            values = [row[name] for row in result["history"]]
            label = "without guard" if seed == 0 else None
            axes.plot(range(1, len(values) + 1), values, color=SERIES[1], linewidth=1, alpha=0.75, label=label)
        for seed, result in enumerate(results["with"]):
            rows = result["history"]
            last = rows[-1].get("returned_to_epoch", len(rows) - 1)
            values = [row[name] for row in rows[: last + 1]]
            label = "with guard, up to the epoch it returned to" if seed == 0 else None
            axes.plot(range(1, last + 2), values, color=SERIES[0], linewidth=2.2, label=label)
            axes.plot(last + 1, values[-1], "o", color=SERIES[0], markersize=4)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.grid(color=LINE, linewidth=0.6)
        axes.tick_params(labelsize=8, colors=MUTED)
        axes.spines[["top", "right"]].set_visible(False)
        if name == "skip_share":
            axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle="--")
            axes.legend(fontsize=8, frameon=False, loc="lower right")
    figure.supxlabel("epoch", fontsize=9, color=MUTED)
    return figure


def print_table(results: dict[str, list[dict[str, Any]]]) -> None:
    print("| seed | | ends with epoch | skips of the cell | mixture, validation | retrained, test |")
    print("|---|---|---|---|---|---|")
    for seed in range(len(results["with"])):
        for guard in GUARDS:
            r = results[guard][seed]
            rows = r["history"]
            epoch = rows[-1].get("returned_to_epoch", len(rows) - 1)
            accuracies = f"{100 * rows[epoch]['validation_accuracy']:.1f} % | {100 * r['test']:.1f} %"
            print(f"| {seed} | {guard} guard | {epoch + 1} | {4 * r['skips']:.0f} of 4 | {accuracies} |")
    for guard, rows in results.items():
        tests = [100 * r["test"] for r in rows]
        spread = statistics.stdev(tests) if len(tests) > 1 else 0.0
        print(f"{guard} guard: {statistics.mean(tests):.1f} ± {spread:.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/collapse"))
    parser.add_argument("--figure", type=Path, default=Path("docs/images/collapse.svg"))
    arguments = parser.parse_args()
    results = {guard: [run(arguments.out, guard, seed) for seed in range(arguments.seeds)] for guard in GUARDS}
    print_table(results)
    files.write(arguments.figure, svg(draw(results), text=True))


if __name__ == "__main__":
    main()
