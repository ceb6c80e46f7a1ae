"""Nested searches, each inside the result of another, and a final training: all of H-DAS in one command.

The folder of a pipeline looks like that of a search: `architecture.json` and `result.json` are those of the last
level, `retrain` holds its training, so the other verbs take it. Every level is a run of its own below it, which
continues where it was stopped.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify import files
from ramify.architecture import Architecture
from ramify.commandline.command import printed
from ramify.commandline.ending import say_end
from ramify.commandline.options import add_data, add_network, add_recipe, add_run, add_space, add_task, of_run
from ramify.errors import ConfigurationError, nearest
from ramify.loggers import Logger, loggers_of
from ramify.run import RunFolder, data_parallel, make_fabric, say
from ramify.run.configuration import described, fields_of
from ramify.run.opening import bound, common_settings, data_settings, execution_of, is_place, task_settings
from ramify.run.origin import without_images
from ramify.spaces import Space, create, space_of
from ramify.strategies import Strategy, compatible
from ramify.tasks import Task
from ramify.training import Recipe
from ramify.verbs.retrain import RetrainResult, retrain
from ramify.verbs.search import SearchResult, search

if TYPE_CHECKING:
    from ramify.commandline import Command
    from ramify.run.opening import AnyData

TRAINING = "retrain"


@dataclass(frozen=True)
class Level:
    """One search of a pipeline.

    Args:
        space: What is searched; None where one space is named for all levels.
        strategy: How.
        network: Layout keywords of the supernet, or of the networks that are trained.
        around: Name of an earlier level whose result becomes the space's `cell`; None where the space is complete.
        after: Name of an earlier level whose supernet's weights this one's begins with; None for new ones.
        largest: Choice → how many of the last candidates are left in each of its rows, of those that exist; what is not
            named stays whole. So a search is about small kernels first, then depth, then width (Once-for-All).
    """

    space: Space | None
    strategy: Strategy
    network: Mapping[str, Any] = field(default_factory=dict)
    around: str | None = None
    after: str | None = None
    largest: Mapping[str, int] | None = None

    @property
    def searched(self) -> Space:
        """What is searched of the space.

        Raises:
            ConfigurationError: If there is no space, or it has no such choice.
        """
        if self.space is None:
            raise ConfigurationError("no space is named; name one for each level, or --space for all of them")
        if not self.largest:
            return self.space
        choices = self.space.choices
        if unknown := next((name for name in self.largest if name not in choices), None):
            raise ConfigurationError(f"{self.space.title} has no choice {unknown!r}; {nearest(unknown, choices)}")
        if wrong := next((name for name, count in self.largest.items() if count < 1), None):
            raise ConfigurationError(f"of {wrong!r} at least 1 candidate is left, got {self.largest[wrong]}")
        masks = {}
        for name, count in self.largest.items():
            mask = choices[name].mask
            masks[name] = mask & (mask.flip(1).cumsum(1).flip(1) <= count)
        return self.space.restrict(masks)


@dataclass(frozen=True)
class PipelineResult:
    """The result of a pipeline.

    Args:
        levels: What each level found.
        trained: The network of the last level's architecture; None where nothing was to be trained.
        out: The run folder.
    """

    levels: Mapping[str, SearchResult]
    trained: RetrainResult | None
    out: Path

    @property
    def architecture(self) -> Architecture:
        """The architecture of the last level."""
        return list(self.levels.values())[-1].architecture


@data_parallel
def search_levels(
    levels: Mapping[str, Level | Mapping[str, Any]],
    data: AnyData | Task | None = None,
    *,
    task: Task | None = None,
    out: str | Path,
    space: Space | None = None,
    recipe: Recipe | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    execution: str | None = None,
    threads: int | None = None,
    progress: bool = True,
    loggers: str | Sequence[Logger] | None = None,
) -> PipelineResult:
    """Search level by level and train the result, or continue what `out` holds.

    Args:
        levels: Name → level, or its arguments, in the order of the work.
        data: As for `search`; what the last level's architecture is trained on, too.
        task: What is learned; classification when None.
        out: The run folder; each level gets a folder of its name in it.
        space: What levels search that name no space of their own.
        recipe: How the last level's architecture is trained; it is not trained when None.
        network: Layout keywords of the trained network.
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
    named = {
        name: level if isinstance(level, Level) else Level(**{"space": None, **level}) for name, level in levels.items()
    }
    named = {name: level if level.space else replace(level, space=space) for name, level in named.items()}
    _check(named)
    last = list(named.values())[-1].searched
    fabric = make_fabric(device, precision, threads)
    if data is None and task is None and any(level.strategy.needs_data for level in named.values()):
        data = "digits"
    learned = None if data is None and task is None else bound(task, data, fabric, last)
    if recipe is not None:  # what cannot work at the end is refused at the beginning
        if learned is None:
            raise without_images("the training at the end", None)
        last.layout(network)
        recipe.augmented(learned)
    settings = None if data is None else data_settings(data)
    execution = execution_of(execution, out, learned, fabric, precision, progress)
    common = common_settings(settings, network, seed, fabric, precision, execution, threads, devices)
    training = None if recipe is None else {"recipe": fields_of(recipe), "network": common.pop("network")}
    config = {"levels": {name: _described(level) for name, level in named.items()}, TRAINING: training, **common}
    config["task"] = task_settings(learned)
    machine: dict[str, Any] = {"seed": seed, "device": device, "devices": devices}
    machine |= {"precision": precision, "execution": execution, "threads": threads}
    machine |= {"progress": progress, "loggers": loggers_of(loggers)}
    results: dict[str, SearchResult] = {}
    with RunFolder(out) as folder:
        folder.open(config, seed, free=is_place)  # every level compares the data themselves
        for number, (name, level) in enumerate(named.items(), start=1):
            say(f"level {number} of {len(levels)}: {name}", enabled=progress)
            searched = level.searched
            if level.around is not None:
                searched = with_cell(searched, results[level.around].architecture)
            results[name] = search(
                searched,
                level.strategy,
                data,
                task=task,
                network=dict(level.network),
                init=None if level.after is None else results[level.after].out,
                out=files.inner(folder.path, name),
                **machine,
            )
        result = results[name]
        if not folder.finished:
            folder.write_json("architecture.json", result.architecture.to_dict())
        trained = None
        if recipe is not None:
            trained = retrain(
                result.architecture,
                data,
                task=task,
                recipe=recipe,
                network=network,
                out=files.inner(folder.path, TRAINING),
                **machine,
            )
        if not folder.finished:
            notations = {name: level.notation for name, level in results.items()}
            folder.finish({"notation": result.notation, "levels": notations})
    return PipelineResult(results, trained, Path(out))


def with_cell(space: Space, arch: Architecture) -> Space:
    """Return the same space with other cells."""
    cell = space_of(arch).format(arch)
    around = create({"space": space.name, "arguments": {**space.arguments, "cell": cell}})
    return around.restrict(space.restriction) if space.restriction else around


def _check(levels: Mapping[str, Level]) -> None:
    """Refuse, before any work, what cannot work."""
    if not levels:
        raise ConfigurationError("a pipeline needs at least one level")
    earlier: list[str] = []
    for name, level in levels.items():
        if not re.fullmatch(r"[A-Za-z][\w-]*", name) or name == TRAINING:
            raise ConfigurationError(f"level {name!r}: a name is letters, digits, `-` and `_`, and not `{TRAINING}`")
        space = level.searched
        if level.around is not None:
            if level.around not in earlier:
                raise ConfigurationError(f"level {name!r} is around {level.around!r}, which must be one of {earlier}")
            if "cell" not in inspect.signature(type(space)).parameters:
                raise ConfigurationError(f"level {name!r}: {space.name} has no `cell` to be around of")
        if level.after is not None and level.after not in earlier:
            raise ConfigurationError(f"level {name!r} begins after {level.after!r}, which must be one of {earlier}")
        verdict = compatible(space, level.strategy)
        if not verdict:
            kind = type(level.strategy).__name__
            raise ConfigurationError(f"level {name!r}: {kind} cannot search {space.name}: {verdict.reason}")
        earlier.append(name)


def _described(level: Level) -> dict[str, Any]:
    later = {"after": level.after, "largest": described(level.largest)}
    return {
        "space": described(level.space),
        "strategy": described(level.strategy),
        "network": described(dict(level.network)),
        "around": level.around,
        **{name: value for name, value in later.items() if value},
    }


# On the command line


def run(command: Command, names: Sequence[str]) -> int:
    """Run `ramify search` where a configuration gives levels."""
    add_space(command, "what levels search that name no space of their own")
    for name in names:
        add_space(command, f"what level {name} searches", f"--levels.{name}.space")
        command.add(f"--levels.{name}.strategy", Strategy, "how", required=True)
        add_network(command, "layout of its supernet", f"--levels.{name}.network")
        command.add(f"--levels.{name}.around", str | None, "the level whose result are its cells")
        command.add(f"--levels.{name}.after", str | None, "the level whose weights its supernet begins with")
        text = "choice → how many of the last candidates are left in each row"
        command.add(f"--levels.{name}.largest", dict[str, int] | None, text)
    command.add(f"--{TRAINING}.recipe", Recipe | None, "how the last level's architecture is trained")
    add_network(command, "layout of the trained network", f"--{TRAINING}.network")
    add_data(command)
    add_task(command)
    add_recipe(command, "search")
    add_run(command)
    options = command.parse()
    levels = {
        name: Level(
            given.space or options.space, given.strategy, given.network or {}, given.around, given.after, given.largest
        )
        for name, given in ((name, options.levels[name]) for name in names)
    }
    training = options[TRAINING]
    result = search_levels(
        levels,
        options.data,
        task=options.task,
        recipe=training.recipe,
        network=training.network,
        **of_run(options),
    )
    for name, level in result.levels.items():
        print(f"{name}: {printed(level.notation)}")
    following = "ramify retrain {}" if result.trained is None else "ramify evaluate {}"
    say_end(result.out, following, enabled=options.progress)
    return 0
