"""Search, retrain, evaluate, export and report on handwritten digits, in minutes and without a download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ramify.commandline.options import add_machine
from ramify.spaces import DARTSCells
from ramify.strategies import DARTS
from ramify.training import Recipe
from ramify.verbs.evaluate import evaluate
from ramify.verbs.export import export
from ramify.verbs.report import write_report
from ramify.verbs.retrain import retrain
from ramify.verbs.search import search

if TYPE_CHECKING:
    from ramify.commandline import Command


def demo(out: str | Path = "runs/demo", *, seed: int = 0, threads: int | None = 1) -> Path:
    """Run the demonstration and return the path of its report. It continues where it was stopped."""
    from rich.console import Console

    console = Console(stderr=True)
    console.print("[bold]1. Search[/]: DARTS looks for a cell on real handwritten digits")
    result = search(
        DARTSCells(),
        DARTS(epochs=10, lr=0.05, arch_lr=0.02),
        out=out,
        network={"channels": 8, "layers": 4},
        seed=seed,
        threads=threads,
    )
    console.print("[bold]2. Retrain[/]: the found cell is trained from scratch")
    trained = retrain(
        result,
        recipe=Recipe(epochs=20, batch_size=64, lr=0.05, drop_path=0.1, cutout=2),
        network={"channels": 16, "layers": 5},
        seed=seed,
        threads=threads,
    )
    console.print("[bold]3. Evaluate[/]: the test split is read, for the first time")
    reached = evaluate(trained, threads=threads)
    console.print("[bold]4. Export[/] and [bold]report[/]")
    exported = export(trained)
    page = write_report(result)
    console.print(
        f"\nTest accuracy [bold]{reached.top1:.2%}[/] with {reached.params:,} parameters and "
        f"{reached.macs:,} multiply-adds; {reached.latency_ms:.1f} ms an image on this {reached.device}."
    )
    console.print(f"The network without Ramify: {exported.folder}")
    console.print(f"The report: {page}")
    return page


# On the command line


def run(command: Command) -> int:
    """Run `ramify demo`."""
    add_machine(command, "out", default="runs/demo")
    add_machine(command, "seed")
    add_machine(command, "threads", default=1, text="threads of CPU operations; the maps are so small that one is best")
    options = command.parse()
    demo(options.out, seed=options.seed, threads=options.threads)
    return 0
