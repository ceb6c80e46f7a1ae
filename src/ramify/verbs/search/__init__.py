"""Search a space with a strategy; the same command continues a search that was stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors.torch import save

from ramify import parallel, recipes
from ramify.architecture import Architecture
from ramify.benchmarks import Annotation, Table, open_table
from ramify.commandline.command import printed
from ramify.commandline.ending import say_end
from ramify.commandline.options import (
    add_data,
    add_init,
    add_network,
    add_recipe,
    add_restriction,
    add_run,
    add_space,
    add_task,
    of_run,
    restricted,
)
from ramify.commandline.plans import add_plan, say_plan
from ramify.commandline.seeds import add_seeds, with_seeds
from ramify.data import Data
from ramify.errors import ConfigurationError, RamifyError
from ramify.executors import Executor, InProcess
from ramify.loggers import Logger, loggers_of
from ramify.reading import shown
from ramify.run import RunFolder, data_parallel, drive, make_fabric, planning, say
from ramify.run.configuration import described
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
from ramify.run.origin import SUPERNET, in_words, shape_of, told_of
from ramify.run.proofs import keep_proof, recall_proof
from ramify.run.sources import Result
from ramify.spaces import Space
from ramify.spaces.layout import Kind
from ramify.strategies import STRATEGIES, Strategy, compatible
from ramify.tasks import Task
from ramify.training import Work

if TYPE_CHECKING:
    from ramify.commandline import Command
    from ramify.run.opening import AnyData


@dataclass(frozen=True)
class SearchResult(Result):
    """The result of a search.

    Args:
        architecture: The member it stands for at the end.
        read_rows: Returns the rows of `history.jsonl`.
        space: What was searched.
        out: The run folder; None where nothing was kept.
        task: What was learned, with its data, for the verbs that follow; None where nothing was learned.
        data_settings: How the configuration names that data.
        network: The layout keywords of the search.
        lookup: Where its scores come from, as in `provenance.json`, if they were looked up in a table.
        laid_out: What the layout keywords are of: the `supernet`, or every `member` that was evaluated.
    """

    architecture: Architecture
    read_rows: Callable[[], list[dict[str, Any]]] = field(repr=False)
    space: Space
    out: Path | None
    task: Task | None = field(repr=False)
    data_settings: dict[str, Any] | None = field(repr=False)
    network: Mapping[str, Any] = field(default_factory=dict, repr=False)
    lookup: Mapping[str, Any] | None = field(default=None, repr=False)
    laid_out: Kind = field(default="member", repr=False)

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The rows of `history.jsonl`, parsed when they are asked for: of a search in a table they are many."""
        return self.read_rows()

    @property
    def data(self) -> Data | None:
        """The data of the search; None if there was none, or the task makes its own."""
        return self.task.data if self.task is not None and self.task.needs_data else None

    @property
    def notation(self) -> Any:
        """The architecture in the native notation of its space."""
        return self.space.format(self.architecture)

    @property
    def shape(self) -> dict[str, Any]:
        """Layout, shape and input size of the network that the architecture stands for, where known."""
        images = self.lookup or (told_of(self.task) if self.task else {})
        return shape_of(self.space, self.network, images, self.laid_out)


@data_parallel
def search(
    space: Space,
    strategy: Strategy,
    data: AnyData | Task | None = None,
    *,
    task: Task | None = None,
    out: str | Path | None = None,
    network: Mapping[str, Any] | None = None,
    init: str | Path | None = None,
    init_alphas: bool = False,
    table: str | Path | Table | None = None,
    executor: Executor | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    execution: str | None = None,
    threads: int | None = None,
    progress: bool = True,
    loggers: str | Sequence[Logger] | None = None,
) -> SearchResult:
    """Search a space, or continue the search that `out` holds.

    The same call continues a search that was stopped anywhere, with the result of an undisturbed one.

    Args:
        space: What to search.
        strategy: How.
        data: A name, a path, a `DataSpec`, a data set in Python, or what `ramify.data.load` made of one; its test
            split is not touched. Default: digits, and none where scores are looked up in a table. Or a task that is
            bound to its data already.
        task: What is learned; classification when None.
        out: The run folder; None keeps nothing.
        network: Layout keywords of the supernet, or of the networks that are trained, such as `channels`.
        init: The weights that its supernet starts from: the run folder of a search of the same space and layout, or a
            state dict of such a supernet. New ones when None.
        init_alphas: Whether its architecture parameters start as those of `init`, too.
        table: A table of the space, or its file: its values of the architecture of every row go into the history and
            the progress, and change nothing about the search.
        executor: Where architectures are evaluated, by a strategy that does so one by one: `InProcess` when None. The
            result does not depend on it, and another one may continue the search, with the same
            `threads_per_evaluation`, which is `threads` unless the executor names another number.
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
        RamifyError: If anything handed in cannot work; nothing has been trained or written then.
    """
    if not (isinstance(space, Space) and isinstance(strategy, Strategy)):
        raise ConfigurationError(f"search takes a space and a strategy, got {space!r:.60} and {strategy!r:.60}")
    verdict = compatible(space, strategy)
    if not verdict:
        raise ConfigurationError(f"{type(strategy).__name__} cannot search {space.title}: {verdict.reason}")
    if strategy.evaluates:
        executor = (executor or InProcess()).with_threads(threads)
    elif executor is not None:
        raise ConfigurationError(
            f"{type(strategy).__name__} evaluates no architectures one by one, so an executor has nothing to do"
        )
    if devices > 1 and not isinstance(executor, InProcess | None):
        raise ConfigurationError(
            f"{devices} devices share every batch, so architectures are evaluated one by one; leave out the executor, "
            "or take one device"
        )
    told = loggers_of(loggers)
    fabric = make_fabric(device, precision, threads)
    if data is None and strategy.needs_data and task is None:
        data = "digits"
    nothing = data is None and task is None
    learned = None if nothing else bound(task, data, fabric, space)
    execution = execution_of(execution, out, learned, fabric, precision, progress)
    work = Work(learned, seed, fabric, dict(network or {}), executor, execution)
    settings = None if data is None else data_settings(data)
    session = strategy.session(space, work)  # before anything is written: settings that cannot work end here
    lookup: dict[str, Any] | None = getattr(session, "lookup", None)
    if init is None and init_alphas:
        raise ConfigurationError("`init_alphas` needs `init`, which says whose architecture parameters")
    annotate = None
    if table is not None:
        name = learned.title if learned is not None else lookup["data"] if lookup else ""
        annotate = Annotation(table if isinstance(table, Table) else open_table(table), space, name)
    config = {
        "space": described(space),
        "restriction": space.restriction or None,
        "strategy": described(strategy),
        "task": task_settings(learned),
        "table": f"python:{table.digest}" if isinstance(table, Table) else described(table),
        "executor": described(executor),
        **common_settings(settings, network, seed, fabric, precision, execution, threads, devices),
        **({} if init is None else {"init": str(init), "init_alphas": init_alphas}),
    }

    def planned(seconds: float) -> planning.Plan:
        sessions = {"": lambda: strategy.session(space, work)}
        return planning.measured("the search", sessions, out, fabric.device, seconds)

    planning.foresee(planned)
    with place_of(out) as path, RunFolder(path) as folder:
        if executor is not None and not folder.finished:
            executor.check(fabric.device)
        initial = None if init is None else Initial.of(init, folder.path)
        if initial is not None:
            initial.into_search(session, init_alphas, progress)
        if lookup:
            say(f"scores are looked up in {in_words(lookup)}", enabled=progress)
        if slower := space.lacks(strategy.uses):
            say(f"more is computed than {type(strategy).__name__} asks for: {slower}", enabled=progress)
        of_table = None if annotate is None else annotate.table
        more = _more(folder, strategy)
        if opened(folder, config, seed, learned, progress, of_table, lookup, more=more, origins=[initial]):
            keep_proof(folder, space)
            planning.tell(planned, folder.path, progress=progress and learned is not None)
            title = type(strategy).__name__
            shown = () if learned is None else learned.shown
            seconds = drive(
                session,
                folder,
                fabric.device,
                title=title,
                progress=progress,
                annotate=annotate,
                shown=shown,
                loggers=told,
            )
            _write_search(folder, space, session, seconds, annotate)
            parallel.wait()
            rows = folder.rows()
        else:
            rows = partial(list, folder.history())
        arch = space.checked(Architecture.from_json(folder.architecture()))
        kept = None if out is None else folder.path
        laid_out: Kind = "member" if session.supernet is None else "supernet"
        given = dict(network or {})
        return SearchResult(arch, rows, space, kept, learned, settings, given, lookup, laid_out)


def _more(folder: RunFolder, strategy: Strategy) -> More:
    """Return which settings of a strategy have only grown since the run in a folder, so that it can go on."""
    before = folder.section("strategy").get("init_args", {})
    changed = {
        name: before[name] for name in strategy.grows if before.get(name, ()) not in ((), getattr(strategy, name))
    }
    if not changed:
        epochs = before.get("epochs"), getattr(strategy, "epochs", None)
        longer = "epochs" not in strategy.grows and None not in epochs and epochs[0] != epochs[1]
        return More(refused="its schedules span all epochs" if longer else "")
    try:
        then, now = replace(cast(Any, strategy), **changed).amounts, strategy.amounts
        if any(amount > now.get(name, inf) for name, amount in then.items()):
            return More()
    except (RamifyError, TypeError):  # a configuration that somebody has changed
        return More()
    counted = set(now) <= {"evaluations", "candidates"}
    values = {f"strategy.init_args.{name}": getattr(strategy, name) for name in changed}
    return More(values, {"trial": int(*now.values())} if counted else {})


def _write_search(folder: RunFolder, space: Space, session: Any, seconds: float, annotate: Annotation | None) -> None:
    arch = session.architecture()
    last = folder.last_row()
    if session.supernet is not None:
        state = {name: value.contiguous() for name, value in session.supernet.state_dict().items()}
        if "best" not in last:  # else members were evaluated with these weights, and the best of them is sound
            check_finite(state, "the supernet")
        folder.write(SUPERNET, save(state))
    folder.write_json("architecture.json", arch.to_dict())
    result = {
        "notation": space.format(arch),
        # of the architecture found, or of the whole mixture: two things that must not go by one name
        **({"score": last["best"]} if "best" in last else _of_supernet(last)),
        "seconds": round(seconds, 3),
        **({} if annotate is None else {"table": annotate.of(arch)}),
        **session.summary(),
        "architecture": arch.to_dict(),
    }
    if cut := space.disconnected(arch):
        result["disconnected"] = cut
        say(f"`none` cuts every path through {' and '.join(cut)}: the architecture passes no information there")
    if undecided := result.get("undecided"):
        say(f"undecided: {undecided}")
    budget = result.get("budget", {"met": True})
    if not budget["met"]:
        cost, target = (f"{budget[name]:,.10g}" for name in ("cost", "target"))
        say(f"the budget is missed: {cost} {budget['of']}, where {target} were asked for")
    for name, limit in result.get("limits", {}).items():
        say(f"{name}: {limit['cost']:,.10g}, of {limit['most']:,.10g} that are allowed")
    for name, cost in {**result.get("limits", {}), **result.get("predicted", {})}.items():
        if "measured" in cost:
            say(f"{name}: {cost['measured']:,.4g} measured, {cost['off']:+.1%} from the {cost['cost']:,.4g} predicted")
        elif "differs" in cost:
            say(f"{name}: of another device, so nothing is measured here: {cost['differs']}")
    for number, member in enumerate(result.get("front", ())):
        folder.write_json(f"front/{number:02}.json", member["architecture"])
    folder.finish(result)


def _of_supernet(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return how good the whole mixture was on the validation data, by the first metric of the task."""
    prefix = "validation_"
    names = [name for name in row if name.startswith(prefix) and name != f"{prefix}loss"] or [f"{prefix}accuracy"]
    return {f"supernet_{names[0].removeprefix(prefix)}": row.get(names[0])}


# On the command line


def run(command: Command) -> int:
    """Run `ramify search`."""
    command.take_classes()
    if names := _levels_in(command):
        from ramify.verbs.search import levels

        return levels.run(command, names)
    add_space(command, "what to search", required=True, files=True)
    add_restriction(command)
    text = f"how: {', '.join(STRATEGIES)}; options as --strategy.epochs N"
    command.add("--strategy", Strategy, text, required=True)
    add_data(command)
    add_task(command)
    add_network(command, "layout of the supernet or of the trained networks, as --network.channels 16")
    add_init(command, "weights that the supernet starts from: run folder of a search, or a state dict of its supernet")
    command.add("--init_alphas", bool, "whether architecture parameters start as those of --init, too", flag=True)
    command.add("--table", str | None, "table of the space, or its CSV file: its values go into progress and history")
    command.add(
        "--executor",
        Executor | None,
        "where architectures are evaluated one by one: local (the default), processes, as --executor.processes 2, or "
        "ray, as --executor.address HOST:PORT",
    )
    command.short_for("--address", "executor.address")
    add_recipe(command, "search")
    add_run(command)
    add_seeds(command)
    add_plan(command)
    recall_proof(next((item.value for item in command.given() if item.option == "out"), None))
    options = command.parse()
    space = restricted(options)
    chosen = {name: options[name] for name in ("task", "network", "init", "init_alphas", "table", "executor")}

    def searched(**changed: Any) -> SearchResult:
        return search(space, options.strategy, options.data, **chosen, **(of_run(options) | changed))

    if options.plan:
        return say_plan(searched)
    if options.seeds:

        def figures(seed: int, folder: Path) -> dict[str, float]:
            found = searched(seed=seed, out=folder)
            print(printed(found.notation))
            return _figures(folder)

        with_seeds(options, Path(options.out), figures)
        return 0
    found = searched()
    print(printed(found.notation))
    say_end(found.out, "ramify retrain {}", "ramify report {}", enabled=options.progress)
    return 0


def _figures(folder: Path) -> dict[str, float]:
    """Return what a search came to, as figures: its score, and what a table says of its result."""
    result = RunFolder(folder).read_json("result.json")
    names = ("score", *(name for name in result if name.startswith("supernet_")))
    figures = {name: result[name] for name in names if isinstance(result.get(name), float)}
    of_table = (result.get("table") or {}).get("values", {})
    return figures | {f"table {name}": value for name, value in of_table.items() if value is not None}


def _levels_in(command: Command) -> list[str]:
    """Return the names of the levels that a recipe or a configuration consists of; none for a single search."""
    names: dict[str, None] = {}
    for item in command.given():
        if item.option == "recipe" and item.value in (one.name for one in recipes.entries("search")):
            names |= dict.fromkeys(recipes.get(item.value).options.get("levels", ()))
        elif item.option == "levels" and item.file:
            if not isinstance(item.value, dict):
                raise RamifyError(f"{item.file}: `levels` must be names with options, got {shown(item.value)}")
            names |= dict.fromkeys(item.value)
    if wrong := next((name for name in names if not re.fullmatch(r"[\w-]+", name)), None):
        raise RamifyError(f"--config: level {shown(wrong)!r}: a name is letters, digits, `-` and `_`")
    return list(names)
