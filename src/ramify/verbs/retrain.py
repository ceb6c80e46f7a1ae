"""Train a found architecture from scratch, or from given weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors.torch import save
from torch import Tensor, nn

from ramify import files, parallel
from ramify.architecture import Architecture
from ramify.commandline.ending import say_end
from ramify.commandline.options import (
    add_data,
    add_init,
    add_network,
    add_recipe,
    add_run,
    add_space,
    add_task,
    as_architecture,
    of_run,
)
from ramify.commandline.plans import add_plan, say_plan
from ramify.commandline.seeds import add_seeds, with_seeds
from ramify.costs import Costs, Networks, profile
from ramify.data import Data, scale_of
from ramify.errors import ConfigurationError, RamifyError, nearest
from ramify.loggers import Logger, loggers_of
from ramify.run import RunFolder, data_parallel, drive, make_fabric, planning, say
from ramify.run.configuration import fields_of
from ramify.run.folder import More
from ramify.run.initial import Initial
from ramify.run.opening import (
    bound,
    check_finite,
    common_settings,
    data_settings,
    execution_of,
    opened,
    place_of,
    task_settings,
)
from ramify.run.origin import SUPERNET, data_of, directory_of, layout_of, located, task_told, without_images
from ramify.run.proofs import keep_proof
from ramify.run.sources import find
from ramify.run.teacher import teacher_of
from ramify.run.trained import BEST, LAST, TrainedNetwork, load_network
from ramify.seeding import rng, seeded
from ramify.spaces import Space, space_of
from ramify.tasks import Task
from ramify.training import Recipe, TrainingSession, Work
from ramify.training.recipe import recipe_keywords
from ramify.verbs.search import SearchResult

if TYPE_CHECKING:
    from ramify.commandline import Command
    from ramify.run.opening import AnyData


@dataclass(frozen=True)
class RetrainResult(TrainedNetwork):
    """The result of a retraining: a trained network.

    Args:
        architecture: What was built.
        network: With its trained weights, in evaluation mode, on the CPU.
        shape: What `network.json` says: layout, classes, size and normalization of the images.
        history: The rows of `history.jsonl`.
        out: The run folder; None where nothing was kept.
        task: What was learned, with its data.
        data_settings: How the configuration names that data.
        baseline: The result of what was trained beside it, if anything was.
    """

    architecture: Architecture
    network: nn.Module = field(repr=False)
    shape: dict[str, Any] = field(repr=False)
    history: list[dict[str, Any]] = field(repr=False)
    out: Path | None
    task: Task = field(repr=False)
    data_settings: dict[str, Any] | None = field(repr=False)
    baseline: RetrainResult | None = field(default=None, repr=False)

    @property
    def data(self) -> Data:
        """The training data."""
        return self.task.data


@data_parallel
def retrain(
    source: SearchResult | Architecture | Mapping[str, Any] | str | Path,
    data: AnyData | Task | None = None,
    *,
    task: Task | None = None,
    out: str | Path | None = None,
    recipe: Recipe | None = None,
    start: str = "scratch",
    init: str | Path | None = None,
    baseline: Architecture | str | None = None,
    space: Space | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    execution: str | None = None,
    threads: int | None = None,
    progress: bool = True,
    loggers: str | Sequence[Logger] | None = None,
) -> RetrainResult:
    """Train a found architecture, from scratch or from given weights, on search-train and search-validation together.

    Args:
        source: What a search returned, its run folder, an architecture, its file, a native notation, or `zoo:NAME`.
        data: What to train on; that of the search when None. Or a task that is bound to its data already.
        task: What is learned; that of the search when None, else classification.
        out: The run folder; `retrain` inside the search's folder when None.
        recipe: How to train; the defaults of `Recipe` when None.
        start: `scratch`, or `inherited`: from what the network inherits of the supernet of the search that `source` is.
        init: The weights to start from: the run folder of a retraining, of a search, whose supernet the network then
            inherits from, or of an export; or a state dict, also of a published program (docs/weights.md). New ones
            when None.
        baseline: What is trained beside it from scratch, by the same recipe, data and seed, in `baseline` inside the
            run folder: an architecture such as `zoo:ResNet20`, or `random`, the member of the same space that is
            nearest in multiply-adds among 100 uniform draws.
        space: What a notation is a member of; recognized from the notation when None.
        network: Layout keywords of `build`, such as `channels`.
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
        RamifyError: If anything handed in cannot work.
    """
    found = find(source, space)
    arch, home = found.architecture, found.home
    init = _start(start, init, home)
    if init is not None and recipe is not None and recipe.whiten:
        raise ConfigurationError("`whiten` sets the first convolution anew, whose weights `init` brings: leave one out")
    space = space_of(arch)
    directory = directory_of(home if data is None else None)
    settings = None
    if task is None and not isinstance(data, Task):
        task = _searched_task(source, home)
    if data is None and isinstance(source, SearchResult):
        if source.task is None:
            raise without_images("the search", source.lookup)
        if task is None or task == source.task:
            data, task = source.task, None
        elif task.needs_data:
            data = source.data
        settings = source.data_settings
    elif data is None and task is not None and task.bound:
        pass
    elif data is None and home is None:
        say("no data was named: training on digits", enabled=progress)
        data = "digits"
    elif data is None:
        recorded = data_of(cast(Path, home))
        data, settings = located(recorded, home), data_settings(recorded)
    settings = settings or data_settings(data)
    recipe = recipe or Recipe()
    told = loggers_of(loggers)
    fabric = make_fabric(device, precision, threads)
    learned = bound(task, data, fabric, space)
    of_recipe = recipe_keywords(space, recipe, learned)
    handed = _handed_on(source, home, space, {*of_recipe, *(network or {})})
    if handed:
        listing = ", ".join(f"{name} {value}" for name, value in handed.items())
        say(f"laid out as the search was: {listing}; --network or `network=` overrides that", enabled=progress)
    network = {**handed, **(network or {})}
    keywords = {**of_recipe, **network}
    layout = space.layout(keywords)
    if out is None and home is not None:
        out = files.inner(home, "retrain")
    execution = execution_of(execution, out, learned, fabric, precision, progress)
    work = Work(learned, seed, fabric, keywords, execution=execution)
    config = {
        "architecture": arch.to_dict(),
        "recipe": fields_of(recipe),
        "task": task_settings(learned),
        **common_settings(settings, network, seed, fabric, precision, execution, threads, devices),
        **({} if init is None else {"init": str(init)}),
    }
    teacher = teacher_of(recipe.distillation, learned)
    taught = None if teacher is None else teacher.network

    def network_built() -> nn.Module:
        with seeded(seed, "network"):
            return learned.network(space.build(arch, layout, shape=work.shape))

    def planned(seconds: float) -> planning.Plan:
        sessions = {"": lambda: TrainingSession(network_built(), recipe, work, teacher=taught)}
        return planning.measured("the training", sessions, out, fabric.device, seconds)

    planning.foresee(planned)
    with place_of(out) as path, RunFolder(path) as folder:
        built = network_built()
        initial = None if init is None else Initial.of(init, folder.path)
        if initial is not None:
            initial.into(built, space, arch, found.notation, progress)
        session = TrainingSession(built, recipe, work, teacher=taught)
        session.rehearse()  # before anything is written
        ruled = {name: getattr(session.recipe, name) for name in ("weight_decay", "drop_path")}
        if session.recipe != recipe:
            set_to = " and ".join(f"{name} {value}" for name, value in ruled.items())
            say(f"the size rule sets {set_to}", enabled=progress)
        more = _more(folder, session)
        origins = [initial, teacher]
        if opened(folder, config, seed, learned, progress, directory=directory, more=more, origins=origins):
            keep_proof(folder, space)
            planning.tell(planned, folder.path, progress=progress)
            seconds = drive(
                session, folder, fabric.device, title="retrain", progress=progress, shown=learned.shown, loggers=told
            )
            weights = _written(folder, LAST, session.trained.state_dict())
            best = {name: session.best[name] for name in ("epoch", "score") if session.best}
            folder.write_json("architecture.json", arch.to_dict())
            record = {"layout": keywords, **record_of(learned, task_settings(learned))}
            network_file = {"architecture": arch.to_dict(), **record, "sha256": weights}
            if best:
                network_file["best_sha256"] = _written(folder, BEST, session.best["state"])
            folder.write_json("network.json", network_file)
            last = folder.last_row()
            cost = profile(built, record["input_size"])
            summary = {
                "notation": space.format(arch),
                "loss": last["loss"],
                **_shown(last),
                **({"best": best} if best else {}),
                "seconds": round(seconds, 3),
                "params": cost.params - cost.auxiliary_params,
                "macs": cost.macs,
                **(ruled if recipe.size_rule else {}),
            }
            folder.finish(summary)
            parallel.wait()
        trained, shape = load_network(folder.path)
        kept = None if out is None else folder.path
        result = RetrainResult(arch, trained, shape, folder.history(), kept, learned, settings)
        if baseline is None:
            return result
        drawn = baseline == "random"
        beside = retrain(
            _of_like_cost(space, arch, layout, work) if drawn else baseline,
            data,
            task=task,
            out=None if kept is None else kept / "baseline",
            recipe=recipe,
            network=network if drawn else None,
            seed=seed,
            device=device,
            devices=devices,
            precision=precision,
            execution=execution,
            threads=threads,
            progress=progress,
            loggers=loggers,
        )
        return replace(result, baseline=beside)


_DRAWN = 100
"""Members of which a random baseline is the one nearest in cost."""


def _of_like_cost(space: Space, arch: Architecture, layout: Any, work: Work) -> Architecture:
    """Return the member nearest to another one in multiply-adds, of uniform draws."""
    costs, generator = Costs(Networks(space, work.inputs, layout), ["macs"]), rng(work.seed, "baseline")
    wanted = costs(arch)["macs"]
    others = [other for other in (space.sample(generator) for _ in range(_DRAWN)) if other != arch]
    if not others:
        raise ConfigurationError(f"{space.name} has no other member to be drawn; name a baseline, such as zoo:ResNet20")
    return min(others, key=lambda other: abs(costs(other)["macs"] - wanted))


STARTS = ("scratch", "inherited")


def _start(start: str, init: str | Path | None, home: Path | None) -> str | Path | None:
    """Return where the first weights come from; None for new ones."""
    if start not in STARTS:
        raise ConfigurationError(f"unknown start {start!r}; {nearest(start, STARTS)}")
    if start == "scratch":
        return init
    if init is not None:
        raise ConfigurationError(f"`init` {str(init)!r:.60} says where weights come from; leave out `start`")
    if home is None or not (home / SUPERNET).exists():
        raise ConfigurationError("start 'inherited' is for the run folder of a finished search that has a supernet")
    return home


def _written(folder: RunFolder, name: str, state: Mapping[str, Tensor]) -> str:
    """Write weights into the folder, and return their SHA-256."""
    state = {key: value.cpu().contiguous() for key, value in state.items()}
    check_finite(state, "the network")
    weights = save(state)
    folder.write(name, weights)
    return files.digest(weights)


def _more(folder: RunFolder, session: TrainingSession) -> More:
    """Return whether the epochs of a training have only grown since the run in a folder, so that it can go on."""
    before = folder.section("recipe").get("epochs")
    if not isinstance(before, int) or before >= session.recipe.epochs:
        return More()
    if session.fixed_length:
        return More(refused=session.fixed_length)
    return More({"recipe.epochs": session.recipe.epochs}, {"train": session.steps})


def _searched_task(source: Any, home: Path | None) -> Task | None:
    """Return the task of the search that a source stands for, as its configuration names it; None for the default."""
    if isinstance(source, SearchResult) or home is None:
        return None
    record = RunFolder(home).config().get("task")
    return None if record is None else task_told({"task": record})


def record_of(task: Task, settings: Any) -> dict[str, Any]:
    """Return what `network.json` says of the inputs and outputs of a trained network."""
    record: dict[str, Any] = dict(task.shape)
    if set(record) != {"num_classes", "in_channels"}:
        record = {"shape": record}
    if settings is not None:
        record["task"] = settings
    record["input_size"] = list(task.input_size)
    if not task.needs_data:
        return record
    data = task.data
    record |= {"mean": data.mean, "std": data.std, "classes": data.classes}
    record |= {name: names for name in ("features", "target_names") if (names := getattr(data, name))}
    scale = scale_of(data)
    return record if scale is None else {**record, "scale": vars(scale)}


_NO_METRIC = {"step", "phase", "epoch", "loss", "lr", "drop_path", "seconds", "time"}


def _shown(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the task in a row of the history."""
    return {name: value for name, value in row.items() if name not in _NO_METRIC and isinstance(value, float)}


def _handed_on(source: Any, home: Path | None, space: Space, decided: Collection[str]) -> dict[str, Any]:
    """Return the layout keywords of a run that hold for the networks built of its result, but those `decided`."""
    if home is not None:
        layout = layout_of(home, space)
    elif isinstance(source, SearchResult):
        layout = source.shape["layout"]
    else:
        layout = {}
    return {name: value for name, value in layout.items() if name not in decided}


# On the command line


def run(command: Command) -> int:
    """Run `ramify retrain`."""
    command.take_classes()
    command.add("source", str | None, "run folder of a search, notation, zoo:NAME, or a file with one")
    command.add(
        "--architecture",
        dict | str | None,
        "the same as an option; an architecture's JSON in a config file",
        readers={"": _in_brackets},
    )
    add_data(command, more="; default: that of the search")
    add_task(command)
    add_recipe(command, "retrain", default=Recipe())
    text = "`scratch`, or `inherited`, from the supernet of the search: short for --init with its folder"
    command.add("--start", str, text, default="scratch")
    add_init(command, "weights to start from: run folder of a retraining, a search or an export, or a state dict")
    text = "what to train beside it, as zoo:ResNet20, or `random`, a member of like cost: in `baseline` of --out"
    command.add("--baseline", str | None, text)
    add_space(command, "what a notation belongs to, if it is not evident", files=True)
    add_network(command, "layout of the network, as --network.channels 36")
    add_run(command, out="`retrain` inside the search's")
    add_seeds(command)
    add_plan(command)
    options = command.parse()
    source = options.source or options.architecture
    if source is None:
        raise RamifyError("retrain needs a run folder, an architecture file, a notation or zoo:NAME")
    if options.out is None and not files.is_folder(str(source)):
        raise RamifyError(f"{str(source)[:60]!r} is no run folder; to train anything else, --out says where")
    chosen = {name: options[name] for name in ("task", "recipe", "start", "init", "baseline", "space", "network")}
    if options.plan:
        return say_plan(lambda: retrain(source, options.data, **chosen, **of_run(options)))
    if options.seeds:
        out = Path(options.out or files.inner(Path(source), "retrain"))

        def trained(seed: int, folder: Path) -> dict[str, float]:
            keywords = of_run(options) | {"seed": seed, "out": folder}
            last = retrain(source, options.data, **chosen, **keywords).history[-1]
            return {"loss": last["loss"], **_shown(last)}

        with_seeds(options, out, trained)
        return 0
    result = retrain(source, options.data, **chosen, **of_run(options))
    for each in filter(None, (result, result.baseline)):
        _say(each)
    say_end(result.out, "ramify evaluate {}", "ramify predict {} IMAGE", enabled=options.progress)
    return 0


def _say(result: RetrainResult) -> None:
    """Print the result of a training in a line."""
    last = result.history[-1]
    words = {name: name.replace("_", " ") if name.startswith("validation") else f"training {name}" for name in last}
    shown = "".join(f", {words[name]} {value:.4f}" for name, value in _shown(last).items())
    print(f"{result.out}: loss {last['loss']:.4f}{shown}")


def _in_brackets(text: str) -> Any:
    """Return the architecture of a notation that YAML would read by its own rules for quotes."""
    return as_architecture(text) if text.lstrip().startswith(("{", "[", "(")) else text
