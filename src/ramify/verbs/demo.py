"""Search, retrain, evaluate, export and report on handwritten digits, in a minute or two and without a download."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ramify import files
from ramify.commandline.options import add_machine
from ramify.ops import make_operation
from ramify.run import RunFolder
from ramify.run.speed import by_threads, fastest_count
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

_NETWORK = {"channels": 8, "layers": 3}
"""The supernet."""


def demo(out: str | Path = "runs/demo", *, seed: int = 0, threads: int | None = None) -> Path:
    """Run the demonstration and return the path of its report. It continues where it was stopped.

    Args:
        out: The run folder.
        seed: All randomness follows from it.
        threads: Of CPU operations. By default as many as the run has that is continued, and in a new one as many as
            take the steps of the search fastest, which is measured first.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if threads is None and files.is_file(Path(out) / "config.yaml"):
        threads = RunFolder(out).config().get("threads")
    if threads is None:
        times = by_threads(_step(), seconds=3)
        threads = fastest_count(times)
        console.print(f"{_in_words(times)}: taking {threads}")
    console.print("[bold]1. Search[/]: DARTS looks for a cell on real handwritten digits")
    result = search(
        DARTSCells(),
        DARTS(epochs=6, lr=0.05, arch_lr=0.03),
        out=out,
        network=_NETWORK,
        seed=seed,
        threads=threads,
    )
    console.print("[bold]2. Retrain[/]: the found cell is trained from scratch")
    trained = retrain(
        result,
        recipe=Recipe(epochs=12, batch_size=64, lr=0.05, drop_path=0.1, cutout=2),
        network={"channels": 16, "layers": 4},
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


def _step() -> Callable[[], object]:
    """Return a step of one candidate of the search, so short that it can be measured on a busy machine, too."""
    import torch

    candidate = make_operation("sep_conv_5x5", _NETWORK["channels"]).to(memory_format=torch.channels_last)
    images = torch.zeros(64, _NETWORK["channels"], 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    return lambda: candidate(images).sum().backward()


def _in_words(times: Mapping[int, Sequence[float]]) -> str:
    """Return what a step takes with different numbers of threads."""
    each = ", ".join(f"{1000 * median(taken):.1f} ms with {count}" for count, taken in times.items())
    return f"Threads: a candidate takes {each}"


# On the command line


def run(command: Command) -> int:
    """Run `ramify demo`."""
    add_machine(command, "out", default="runs/demo")
    add_machine(command, "seed")
    add_machine(command, "threads", text="threads of CPU operations; default: as many as are fastest here, measured")
    options = command.parse()
    demo(options.out, seed=options.seed, threads=options.threads)
    return 0
