"""Tune hyper-parameters by gradients (HOAG), beside grid, random search and TPE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify import parallel
from ramify.commandline.ending import say_end
from ramify.commandline.options import (
    add_data,
    add_loggers,
    add_machine,
    add_network,
    add_recipe,
    add_task,
    as_architecture,
)
from ramify.commandline.seeds import add_seeds, with_seeds
from ramify.errors import ConfigurationError
from ramify.hypergradient import HOAG, PROBLEMS, Against, Problem, TuningSession
from ramify.loggers import Logger, loggers_of
from ramify.reading import yaml_text
from ramify.run import RunFolder, data_parallel, drive, make_fabric
from ramify.run.configuration import described, fields_of
from ramify.run.opening import bound, common_settings, data_settings, opened, place_of, task_settings
from ramify.tasks import Task
from ramify.training import Recipe, Work

if TYPE_CHECKING:
    from ramify.commandline import Command
    from ramify.commandline.command import Options
    from ramify.run.opening import AnyData

EXECUTION = "plain"
"""How networks are executed: second derivatives go through every operation."""

TUNED, RECIPE = "tuned.json", "recipe.yaml"
"""What was tuned; and what `ramify retrain --config` takes of it."""

_MACHINE = ("seed", "device", "threads", "devices", "precision", "progress")


@dataclass(frozen=True)
class TuneResult:
    """The result of a tuning.

    Args:
        values: The tuned hyper-parameters by name: numbers, by their labels where they have some.
        found: Options of `ramify retrain` that they stand for; empty where there is nothing that takes them.
        history: The rows of `history.jsonl`.
        summary: What `result.json` says: losses and costs, of the rivals as well.
        out: The run folder; None where nothing was kept.
    """

    values: Mapping[str, Any]
    found: Mapping[str, Any] = field(repr=False)
    history: list[dict[str, Any]] = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    out: Path | None

    def recipe(self, base: Recipe | None = None) -> Recipe:
        """Return a recipe with what was tuned in it.

        Args:
            base: What it is otherwise; the defaults of `Recipe` when None.

        Raises:
            ConfigurationError: If nothing of what was tuned belongs to a recipe.
        """
        if not self.found.get("recipe"):
            raise ConfigurationError(f"no recipe takes {', '.join(self.values)}: it was not tuned for one")
        return replace(base or Recipe(), **self.found["recipe"])


@data_parallel
def tune(
    problem: Problem,
    data: AnyData | Task | None = None,
    *,
    task: Task | None = None,
    hoag: HOAG | None = None,
    against: Against | None = None,
    out: str | Path | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    threads: int | None = None,
    progress: bool = True,
    loggers: str | Sequence[Logger] | None = None,
) -> TuneResult:
    """Tune the hyper-parameters of a problem, or continue the tuning that `out` holds.

    The inner problem learns on `search_train`, the outer loss is that of `search_validation`; the test split is not
    touched.

    Args:
        problem: What is tuned.
        data: A name, a path, a `DataSpec`, or a data set in Python; digits when None. Or a task that is bound to its
            data already.
        task: What is learned; what the problem is about when None.
        hoag: How; the defaults of `HOAG` when None.
        against: With what it is compared, at a multiple of its cost; with nothing when None.
        out: The run folder; None keeps nothing.
        network: Layout keywords of the network, where the problem has one.
        seed: All randomness follows from it.
        device: `auto`, `cpu`, `cuda`, …
        devices: How many of them share the data, each in a process of its own (docs/distributed.md).
        precision: `32-true` or `64-true`.
        threads: Threads of CPU operations.
        progress: Whether to show progress on standard error.
        loggers: Who gets the rows of the history as they come (`ramify.loggers`): loggers, or their names.

    Raises:
        RamifyError: If anything handed in cannot work, or the problem has no solution.
    """
    hoag, against = hoag or HOAG(), against or Against()
    if not (isinstance(problem, Problem) and isinstance(hoag, HOAG) and isinstance(against, Against)):
        raise ConfigurationError(
            f"tune takes a problem and settings, got {problem!r:.60}, {hoag!r:.60}, {against!r:.60}"
        )
    told = loggers_of(loggers)
    fabric = make_fabric(device, precision, threads)
    if "true" not in fabric.strategy.precision.precision:
        raise ConfigurationError(f"second derivatives need full precision: take 32-true or 64-true, not {precision}")
    if data is None and (task is None or not task.bound):
        data = "digits"
    if task is None and not isinstance(data, Task):
        task = problem.task()
    learned = bound(task, data, fabric, None)
    work = Work(learned, seed, fabric, dict(network or {}), execution=EXECUTION)
    config = {
        "problem": described(problem),
        "hoag": fields_of(hoag),
        "against": fields_of(against),
        "task": task_settings(learned),
        **common_settings(data_settings(data), network, seed, fabric, precision, EXECUTION, threads, devices),
    }
    with place_of(out) as path, RunFolder(path) as folder:
        session = TuningSession(problem, hoag, against, work)  # before anything is written
        if opened(folder, config, seed, learned, progress):
            seconds = drive(
                session,
                folder,
                fabric.device,
                title="tune",
                progress=progress,
                shown=("loss", "precision"),
                loggers=told,
            )
            summary, values = session.summary(), session.values()
            found = problem.found(values)
            folder.write_json(TUNED, {"values": values, "found": found})
            if found:
                folder.write(RECIPE, yaml_text({**found, "network": dict(network or {})}))
            for name, content in problem.files(session.losses, work).items():
                folder.write_json(name, content)
            folder.finish({**summary, "seconds": round(seconds, 3)})
            parallel.wait()
        tuned = folder.read_json(TUNED, dict[str, dict[str, Any]])
        kept = None if out is None else folder.path
        return TuneResult(tuned["values"], tuned["found"], folder.history(), folder.read_json("result.json"), kept)


# On the command line


def run(command: Command) -> int:
    """Run `ramify tune`."""
    command.take_classes()
    text = f"what is tuned: {', '.join(PROBLEMS)}; options as --problem.penalties N"
    command.add("--problem", Problem, text, required=True, readers={"architecture": _architecture})
    command.add("--hoag", HOAG, "how, as --hoag.iterations 30 or --hoag.method ConjugateGradients", default=HOAG())
    text = "with what it is compared, as --against.rivals grid,random,tpe"
    command.add("--against", Against, text, default=Against())
    add_data(command)
    add_task(command)
    add_network(command, "layout of the network, where there is one, as --network.channels 8")
    add_recipe(command, "tune")
    add_machine(command, "out", required=True)
    add_machine(command, *_MACHINE)
    add_loggers(command)
    add_seeds(command)
    options = command.parse()
    if options.seeds:

        def tuned(seed: int, folder: Path) -> dict[str, float]:
            summary = _tuned(options, seed=seed, out=folder).summary
            return {name: value for name, value in summary.items() if isinstance(value, float) and name != "seconds"}

        with_seeds(options, Path(options.out), tuned)
        return 0
    result = _tuned(options)
    for name, values in result.values.items():
        print(f"{name}: {_shown(values)}")
    for way, reached in result.summary["reached"].items():
        loss = reached.get("exact", reached["validation_loss"])
        print(f"{way}: validation loss {loss:.6g} for {reached['cost']:,} passes")
    say_end(result.out, "ramify report {}", enabled=options.progress)
    return 0


def _tuned(options: Options, **changed: Any) -> TuneResult:
    chosen = {name: options[name] for name in ("task", "hoag", "against", "network", "out", "loggers", *_MACHINE)}
    return tune(options.problem, options.data, **{**chosen, **changed})


def _architecture(text: str) -> Any:
    """Return the JSON form of the architecture that a notation, a file or a run folder stands for."""
    return text if text.startswith("zoo:") else as_architecture(text)


_FEW = 16


def _shown(values: Any) -> str:
    """Return tuned values in a line; of many, how they are spread."""
    if isinstance(values, Mapping):
        return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    if len(values) > _FEW:
        return f"{len(values):,} values from {min(values):.4g} to {max(values):.4g}"
    return ", ".join(f"{value:.4g}" for value in values)
