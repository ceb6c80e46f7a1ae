"""Make a network that exists as small as limits ask: describe, search, train and export it in one command.

The folder is that of a pipeline with one level, `search`: the other verbs take it. Every step is a run of its own in
it, which continues where it was stopped: `original`, the network with its weights, `search`, `retrain`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save
from torch import nn

from ramify import files, parallel
from ramify.architecture import Architecture
from ramify.commandline.ending import say_end
from ramify.commandline.options import add_data, add_init, add_recipe, add_run, add_task, as_network, of_run
from ramify.commandline.plans import add_plan, say_plan
from ramify.costs import check_limits, profile
from ramify.errors import ConfigurationError, DataError, RunError
from ramify.exporting import export_network
from ramify.loggers import Logger, loggers_of
from ramify.run import RunFolder, data_parallel, make_fabric, planning, say
from ramify.run.configuration import described, fields_of
from ramify.run.initial import from_file
from ramify.run.opening import common_settings, data_settings, execution_of, is_place, task_settings
from ramify.run.sources import Found
from ramify.run.trained import LAST, load_network
from ramify.seeding import seeded
from ramify.spaces import AnyNetwork
from ramify.spaces.naming import INSTANCE
from ramify.spaces.sorting import sorted_start
from ramify.strategies import SPOS, Strategy, compatible
from ramify.tasks import Task
from ramify.training import Recipe, TrainingSession, Work, measure
from ramify.training.distillation import Distillation
from ramify.verbs.adapt.fitted import fitted_to, limited
from ramify.verbs.evaluate import evaluate
from ramify.verbs.export import export
from ramify.verbs.report import write_report
from ramify.verbs.retrain import RetrainResult, record_of, retrain
from ramify.verbs.search import SearchResult, search

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ramify.commandline import Command
    from ramify.run.opening import AnyData

SORTED = "sorted.safetensors"
"""What the supernet begins with: the weights of the original, its units sorted."""

TRAINING = Recipe(
    epochs=30,
    batch_size=64,
    lr=0.05,
    stepwise=True,
    weight_decay=5e-4,
    drop_path=0.0,
    auxiliary=False,
    cutout=0,
)
"""How a network without weights is trained first."""

RECIPE = replace(TRAINING, lr=0.02, distillation=Distillation(alpha=0.5, temperature=2.0))
"""How what was found is fine-tuned; the original teaches."""

STRATEGY = SPOS(
    paths="sandwich",
    epochs=20,
    batch_size=64,
    lr=0.02,
    schedule="cosine",
    weight_decay=5e-4,
    decay_norms=True,
    clip=5.0,
    label_smoothing=0.0,
    recalibrate=2048,
    fine_tune=30,
    objectives=("loss",),
    evaluations=100,
    population=20,
    parents=6,
    crossovers=10,
)
"""How the network is searched."""


@dataclass(frozen=True)
class AdaptResult:
    """The result of an adaptation.

    Args:
        space: The network with what is elastic in it.
        search: What the search found.
        trained: It, fine-tuned.
        exported: The folder of the network without Ramify.
        report: The page.
        figures: What `result.json` says: costs and metrics of the original and of what was made of it.
    """

    space: AnyNetwork
    search: SearchResult
    trained: RetrainResult
    exported: Path
    report: Path
    figures: Mapping[str, Any] = field(repr=False)

    @property
    def architecture(self) -> Architecture:
        """What was found."""
        return self.search.architecture

    @property
    def network(self) -> nn.Module:
        """The network of the user's own class, fine-tuned, in evaluation mode, on the CPU."""
        return self.trained.network


@data_parallel
def adapt(
    network: Any,
    data: AnyData | Task | None = None,
    *,
    limits: Mapping[str, float],
    out: str | Path,
    init: str | Path | None = None,
    task: Task | None = None,
    strategy: Strategy | None = None,
    recipe: Recipe | None = None,
    training: Recipe | None = None,
    elastic: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    execution: str | None = None,
    threads: int | None = None,
    progress: bool = True,
    loggers: str | Sequence[Logger] | None = None,
) -> AdaptResult:
    """Make a network smaller, or continue what `out` holds: search it, fine-tune what is found, export it.

    The supernet of the search and the training of its result begin with the weights of the network, which also
    teaches. The same call continues what was stopped anywhere.

    Args:
        network: What `AnyNetwork` takes, or one: a module, which brings its weights, what makes one, or a name.
        data: As for `search`.
        limits: Cost → the most that is allowed; a number up to 1 is a share of what the network has. The tightest of
            limits that are counted is used to 98 % at least.
        out: The run folder.
        init: The weights of the network, a file or a run folder. A network without any is trained first.
        task: What is learned; classification when None.
        strategy: How to search; its limits are those of the adaptation. `STRATEGY` when None. Where what is learned has
            no classes, paths are drawn uniformly instead of as a sandwich.
        recipe: How to fine-tune. The original teaches where it names no other teacher. `RECIPE` when None.
        training: How a network without weights is trained first; `TRAINING` when None.
        elastic: Arguments of `AnyNetwork`, such as `widths` and `depth`. Without `widths` they are quarters, or as fine
            as the limits need; `input_size` is that of the data.
        seed: All randomness follows from it.
        device: `auto`, `cpu`, `cuda`, …
        devices: How many of them share every batch, each in a process of its own (docs/distributed.md).
        precision: `32-true`, `64-true`, `bf16-mixed` (`bf16` for short) or `16-mixed`.
        execution: How networks are executed (`ramify.execution`): `compiled`, `shared`, or `plain`, every candidate on
            its own. None: as the run in `out` is, or the fastest of this machine.
        threads: Threads of CPU operations.
        progress: Whether to show progress on standard error.
        loggers: Who gets the rows of the history as they come (`ramify.loggers`): loggers, or their names.

    Raises:
        RamifyError: If anything handed in cannot work; nothing has been trained then.
    """
    start = time.perf_counter()
    check_limits(limits)
    if not limits:
        raise ConfigurationError('`limits` say how small the network shall be, as {"macs": 0.5}; name one')
    recipe, training = recipe or RECIPE, training or TRAINING
    fabric = make_fabric(device, precision, threads)
    if data is None and task is None:
        data = "digits"
    fitted = fitted_to(network, elastic or {}, limits, data=data, fabric=fabric, task=task, folder=RunFolder(out))
    space, learned, most = fitted.space, fitted.task, fitted.most
    chosen = strategy or STRATEGY
    if isinstance(chosen, SPOS) and chosen.paths == "sandwich" and "classes" not in learned.offers:
        say(f"{learned.name} has no classes that members could learn from each other: paths are drawn uniformly")
        chosen = replace(chosen, paths="uniform")
    strategy = limited(chosen, fitted)
    if not (verdict := compatible(space, strategy)):
        raise ConfigurationError(f"{type(strategy).__name__} cannot search {space.title}: {verdict.reason}")
    execution = execution_of(execution, out, learned, fabric, precision, progress)
    work = Work(learned, seed, fabric, {}, execution=execution)
    strategy.session(space, work)  # what cannot work ends here
    settings = data_settings(data)
    largest = fitted.largest
    weights = _given(space, largest, init, learned, Path(out))
    _foresee(space, largest, strategy, recipe, training if weights is None else None, work, out, start)
    common = common_settings(settings, None, seed, fabric, precision, execution, threads, devices)
    common.pop("network")
    config = {
        "network": described(network) if isinstance(network, AnyNetwork) else space.network,
        "limits": dict(limits),
        "strategy": described(chosen),
        "recipe": fields_of(recipe),
        **({"training": fields_of(training)} if weights is None else {}),
        **({} if init is None else {"init": str(init)}),
        **described(dict(elastic or {})),
        **common,
        "task": task_settings(learned),
    }
    machine: dict[str, Any] = {"seed": seed, "device": device, "devices": devices, "precision": precision}
    machine |= {"execution": execution, "threads": threads, "progress": progress, "loggers": loggers_of(loggers)}
    with RunFolder(out) as folder:
        folder.open(config, seed, free=is_place)  # every step compares the data themselves
        say(space.describe(), enabled=progress and not folder.finished)
        original = files.inner(folder.path, "original")
        if weights is None:
            say("the network has no weights: it is trained first", enabled=progress)
            retrain(largest, data, task=task, recipe=training, out=original, **machine)
        else:
            _keep(original, weights, largest, learned)
        started = original / SORTED
        if parallel.is_first() and not started.exists():
            begun = sorted_start(space, load_network(original)[0], sort=not isinstance(network, AnyNetwork))
            files.write(started, save(begun))
        parallel.wait()
        found = search(
            space, strategy, data, task=task, init=started, out=files.inner(folder.path, "search"), **machine
        )
        trained = retrain(
            found,
            data,
            task=task,
            recipe=_taught(recipe, learned, original),
            start="inherited",
            out=files.inner(folder.path, "retrain"),
            **machine,
        )
        if not folder.finished:
            folder.write_json("architecture.json", found.architecture.to_dict())
            export(trained)
            tested = _tested(trained, learned, {"device": device, "precision": precision, "threads": threads})
            costs = fitted.costs(found.architecture)
            folder.finish(
                {
                    "notation": found.notation,
                    "limits": {name: {"most": most[name], "cost": costs[name]} for name in most},
                    "original": _told(load_network(original)[0], learned, fabric, folder.path),
                    "adapted": tested,
                }
            )
            parallel.wait()
        figures = folder.read_json("result.json")
        page = write_report(folder.path) if parallel.is_first() else folder.path / "report.html"
        return AdaptResult(space, found, trained, folder.path / "retrain" / "export", page, figures)


def _foresee(
    space: AnyNetwork,
    largest: Architecture,
    strategy: Strategy,
    recipe: Recipe,
    training: Recipe | None,
    work: Work,
    out: str | Path,
    begun: float,
) -> None:
    """End the call, which has `begun` then, with its plan, if one was asked for.

    What is found trains, and is exported, as long as the network itself, at most.
    """
    task = work.task

    def network() -> nn.Module:
        with seeded(work.seed, "network"):
            return task.network(space.build(largest, shape=work.shape))

    def exported() -> None:
        with tempfile.TemporaryDirectory() as folder:
            export_network(network(), Path(folder) / "export", input_size=task.input_size)

    def trained(by: Recipe) -> TrainingSession:
        alone = "classes" not in task.offers or by is training
        by = replace(by, distillation=Distillation()) if alone else by
        return TrainingSession(network(), by, work, teacher=None if alone else network())

    sessions: dict[str, Callable[[], Any]] = {} if training is None else {"original": lambda: trained(training)}
    sessions |= {"search": lambda: strategy.session(space, work), "retrain": lambda: trained(recipe)}

    def planned(seconds: float) -> planning.Plan:
        fit = planning.Stretch("fit", 0, time.perf_counter() - begun, 0)
        found = planning.measured("adapting", sessions, out, work.fabric.device, seconds)
        last = planning.timed("export", exported)
        notes = (*found.notes, "starting and the page come on top, as a rule some seconds")
        return replace(found, parts=(fit, *found.parts, last), memory=planning.peak(work.fabric.device), notes=notes)

    planning.foresee(planned)


def _given(
    space: AnyNetwork, largest: Architecture, init: str | Path | None, task: Task, out: Path
) -> nn.Module | None:
    """Return the network with the weights that it has, None if it has none."""
    if init is not None:
        kept = out / "original"
        if not files.is_there(files.expanded(init)) and (kept / "network.json").exists():
            return load_network(kept)[0]
        return from_file(init, Found(largest), task)
    if space.network != INSTANCE:
        return None
    with seeded(0, "original"):
        return task.network(space.build(largest, shape=task.shape)).eval()


def _keep(path: Path, network: nn.Module, largest: Architecture, task: Task) -> None:
    """Write a network into a folder, from where it teaches, or see that it is the one there.

    Raises:
        RunError: If it is another one.
    """
    weights = save({name: value.cpu().contiguous() for name, value in network.state_dict().items()})
    record = {"architecture": largest.to_dict(), "layout": {}, **record_of(task, task_settings(task))}
    record["sha256"] = files.digest(weights)
    if not parallel.is_first():
        return
    if (path / "network.json").exists():
        if RunFolder(path).read_json("network.json")["sha256"] != record["sha256"]:
            raise RunError(f"{path.parent} began with other weights of the network; choose another --out")
        return
    files.write(path / LAST, weights)
    files.write(path / "network.json", files.to_json(record, indent=2, ascii_only=False) + "\n")


def _taught(recipe: Recipe, task: Task, original: Path) -> Recipe:
    """Return a recipe in which the original teaches, unless another teacher is named, or there are no classes."""
    taught = recipe.distillation
    if taught.teacher is not None:
        return recipe
    if "classes" in task.offers:
        return replace(recipe, distillation=replace(taught, teacher=str(original)))
    return replace(recipe, distillation=Distillation())


def _tested(trained: RetrainResult, task: Task, machine: Mapping[str, Any]) -> dict[str, float]:
    """Measure what was made of the network as `evaluate` does, beside it; return what it costs, and its metrics."""
    try:
        found = evaluate(trained, **machine)
    except DataError:  # nothing was held out
        cost = profile(trained.network, task.input_size)
        return {"params": cost.params, "macs": cost.macs}
    return {**found.metrics, "loss": found.loss, "params": found.params, "macs": found.macs}


def _told(network: nn.Module, task: Task, fabric: Fabric, path: Path) -> dict[str, float]:
    """Return what a network costs, and its metrics on the test split, whose reading the run at `path` records."""
    cost = profile(network, task.input_size)
    costs: dict[str, float] = {"params": cost.params, "macs": cost.macs}
    before = len(task.data.reads) if task.needs_data else 0
    try:
        inputs = task.split("test", "adapt")
    except DataError:  # nothing was held out
        return costs
    if task.needs_data:
        RunFolder(path).record_reads(task.data.reads[before:])
    measured = measure(fabric.setup_module(network), inputs, device=fabric.device).checked(inputs)
    return {**measured.metrics, "loss": measured.loss, **costs}


# On the command line


def run(command: Command) -> int:
    """Run `ramify adapt`."""
    command.take_classes()
    command.add(
        "network", str, "torchvision:NAME, timm:NAME, FILE.py:NAME or PACKAGE.MODULE:NAME", readers={"": as_network}
    )
    text = "cost → the most that is allowed, as {macs: 0.5}; numbers up to 1 are shares of what the network has"
    command.add("--limits", dict[str, float], text, required=True)
    add_init(command, "weights of the network: a file, or a run folder; without any it is trained first")
    add_data(command)
    add_task(command)
    _add_elastic(command)
    text = "how to search, as --strategy.epochs 50; default: SPOS with sandwich paths"
    command.add("--strategy", Strategy, text, default=STRATEGY)
    add_recipe(command, "retrain", default=RECIPE)
    command.add("--training", Recipe, "how a network without weights is trained first", default=TRAINING)
    add_run(command)
    add_plan(command)
    options = command.parse()
    chosen = {name: options[name] for name in ("limits", "init", "task", "strategy", "recipe", "training")}
    elastic = {name: options[name] for name in ELASTIC if options[name] is not None}

    def adapted() -> AdaptResult:
        return adapt(options.network, options.data, elastic=elastic, **chosen, **of_run(options))

    if options.plan:
        return say_plan(adapted)
    _print(adapted())
    say_end(options.out, "ramify predict {} IMAGE", enabled=options.progress)
    return 0


ELASTIC = {
    "keywords": (dict[str, Any] | None, "further keywords of what makes the network"),
    "input_size": (
        tuple[int, ...] | None,
        "size of the inputs that the network is looked at with; default: the data's",
    ),
    "widths": (tuple[float, ...] | None, "shares of units that may be kept; default: as fine as the limits need"),
    "multiple": (int | None, "of which kept channels are; default: 8, or as fine as the limits need"),
    "depth": (bool | None, "whether the last of consecutive blocks may be left out; default: true"),
    "kernels": (tuple[int, ...] | None, "sides that odd square kernels may shrink to; default: none"),
    "only": (tuple[str, ...] | None, "patterns of the paths of modules that may be elastic; default: all"),
    "whole": (tuple[str, ...] | None, "patterns of the paths of modules that must stay whole; default: none"),
}
"""Option → its type, and what it is: the arguments of `AnyNetwork` beside the network."""


def _add_elastic(command: Command) -> None:
    for name, (kind, text) in ELASTIC.items():
        command.add(f"--{name}", kind, text)


def _print(result: AdaptResult) -> None:
    """Print what became of the network, a line each."""
    original, adapted = (result.figures[name] for name in ("original", "adapted"))
    for name, value in original.items():
        before, after = (f"{one:,d}" if isinstance(one, int) else f"{one:,.6g}" for one in (value, adapted[name]))
        print(f"{name}: {before} → {after}")
    print(f"{result.exported}\n{result.report}")
