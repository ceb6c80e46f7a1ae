"""Search, retrain, evaluate, export and report in minutes, without a download: on handwritten digits, or shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ramify import files
from ramify.commandline.options import add_machine
from ramify.data import DataSpec
from ramify.errors import ConfigurationError, nearest
from ramify.ops import make_operation
from ramify.run import RunFolder
from ramify.run.speed import by_threads, fastest_count
from ramify.spaces import CDARTSChain, DARTSCells, Space
from ramify.strategies import DARTS, GDAS, Strategy
from ramify.tasks import Classification, Detection, Segmentation, Task
from ramify.training import Recipe
from ramify.verbs.evaluate import evaluate
from ramify.verbs.export import export
from ramify.verbs.report import write_report
from ramify.verbs.retrain import retrain
from ramify.verbs.search import search

if TYPE_CHECKING:
    from ramify.commandline import Command

_NETWORK = {"channels": 8, "layers": 3}
"""The supernet of cells."""


@dataclass(frozen=True)
class Demonstration:
    """What a demonstration does.

    Args:
        says: What is searched for, and on what.
        space, strategy, task, data: Of the search.
        network: Layout of the supernet.
        recipe: Of the training.
        trained: Layout of the network that is trained.
    """

    says: str
    space: Space
    strategy: Strategy
    task: Task
    data: DataSpec
    network: Mapping[str, int]
    recipe: Recipe
    trained: Mapping[str, int]


def _of_maps(epochs: int, lr: float) -> Recipe:
    """Return how a network with a head over its maps is trained: by Muon, with which it learns in fewer epochs."""
    return Recipe(
        epochs=epochs, batch_size=16, optimizer="muon", lr=lr, rest_lr=0.003, weight_decay=0.01, warmup_epochs=1,
        drop_path=0.0,
    )  # fmt: skip


DEMONSTRATIONS: Mapping[str, Callable[[], Demonstration]] = {
    "classification": lambda: Demonstration(
        "DARTS looks for a cell on real handwritten digits",
        DARTSCells(),
        DARTS(epochs=6, lr=0.05, arch_lr=0.03),
        Classification(),
        DataSpec(source="digits"),
        _NETWORK,
        Recipe(epochs=12, batch_size=64, lr=0.05, drop_path=0.1, cutout=2),
        {"channels": 16, "layers": 4},
    ),
    "segmentation": lambda: Demonstration(
        "GDAS looks for a chain by the loss of pixels, on shapes that are made here",
        CDARTSChain(blocks=(1, 1, 1, 1, 1), absent=False),
        GDAS(epochs=12, batch_size=16, lr=0.05, arch_lr=0.4),
        Segmentation(factor=2),
        DataSpec(source="shapes", targets="masks"),
        {"channels": 4},
        _of_maps(epochs=50, lr=0.02),
        {"channels": 16},
    ),
    "detection": lambda: Demonstration(
        "GDAS looks for a chain by the loss of boxes, on shapes that are made here",
        CDARTSChain(blocks=(1, 1, 1, 1, 1), absent=False),
        GDAS(epochs=12, batch_size=16, lr=0.01, arch_lr=0.4),
        Detection(width=32, base=2.0),
        DataSpec(source="shapes", targets="boxes"),
        {"channels": 4},
        _of_maps(epochs=50, lr=0.01),
        {"channels": 16},
    ),
}
"""By what is learned."""


def demo(
    out: str | Path | None = None, *, task: str = "classification", seed: int = 0, threads: int | None = None
) -> Path:
    """Run the demonstration and return the path of its report. It continues where it was stopped.

    Args:
        out: The run folder; `runs/demo`, or `runs/demo-segmentation` and the like, when None.
        task: What is learned: `classification` of handwritten digits, `segmentation` or `detection` of shapes.
        seed: All randomness follows from it.
        threads: Of CPU operations. By default as many as the run has that is continued, and in a new one as many as
            take the steps of the search fastest, which is measured first.

    Raises:
        ConfigurationError: If there is no such demonstration.
    """
    if task.lower() not in DEMONSTRATIONS:
        raise ConfigurationError(f"no demonstration of {task!r:.40}; {nearest(task, DEMONSTRATIONS)}")
    shown = DEMONSTRATIONS[task.lower()]()
    out = out or ("runs/demo" if task.lower() == "classification" else f"runs/demo-{task.lower()}")
    from rich.console import Console

    console = Console(stderr=True)
    if threads is None and files.is_file(Path(out) / "config.yaml"):
        threads = RunFolder(out).config().get("threads")
    if threads is None:
        times = by_threads(_step(), seconds=3)
        threads = fastest_count(times)
        console.print(f"{_in_words(times)}: taking {threads}")
    console.print(f"[bold]1. Search[/]: {shown.says}")
    result = search(
        shown.space,
        shown.strategy,
        shown.data,
        task=shown.task,
        out=out,
        network=shown.network,
        seed=seed,
        threads=threads,
    )
    console.print("[bold]2. Retrain[/]: what was found is trained from scratch")
    trained = retrain(result, recipe=shown.recipe, network=shown.trained, seed=seed, threads=threads)
    console.print("[bold]3. Evaluate[/]: the test split is read, for the first time")
    reached = evaluate(trained, threads=threads)
    console.print("[bold]4. Export[/] and [bold]report[/]")
    exported = export(trained)
    page = write_report(result)
    name = shown.task.metrics[0].name
    console.print(
        f"\nTest {name} [bold]{reached.metrics[name]:.2%}[/] with {reached.params:,} parameters and "
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
    add_machine(command, "out", kind=str | None, text="run folder; default: runs/demo")
    text = f"what is learned: {' or '.join(DEMONSTRATIONS)}"
    command.add("--task", str, text, default="classification")
    add_machine(command, "seed")
    add_machine(command, "threads", text="threads of CPU operations; default: as many as are fastest here, measured")
    options = command.parse()
    demo(options.out, task=options.task, seed=options.seed, threads=options.threads)
    return 0
