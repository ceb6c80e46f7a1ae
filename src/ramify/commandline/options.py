"""Options that several verbs share, and how their values are interpreted."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify import files as paths
from ramify.commandline.classes import path_of
from ramify.commandline.layouts import listing_of
from ramify.commandline.words import Given, Place, Word
from ramify.errors import ConfigurationError, RamifyError

if TYPE_CHECKING:
    from ramify.commandline.command import Command, Options
    from ramify.spaces import Space

LAYOUT = dict[str, int | float | bool | str | None] | None

_MACHINE: dict[str, tuple[Any, str, Any]] = {
    "out": (str, "the run folder", None),
    "seed": (int, "all randomness follows from it", 0),
    "device": (str, "auto, cpu, cuda, cuda:1 or mps", "auto"),
    "threads": (int | None, "threads of CPU operations", None),
    "devices": (int, "how many devices share every batch, each in a process of its own", 1),
    "precision": (str, "32-true, 64-true, bf16-mixed (bf16 for short) or 16-mixed", "32-true"),
    "execution": (
        str | None,
        "how networks are executed: compiled, shared, or plain, every candidate on its own; default: as the run in "
        "--out, or the fastest of this machine",
        None,
    ),
    "progress": (bool, "whether to show progress", True),
}
"""Option → type, what it is, default."""


def add_machine(command: Command, *names: str, text: str = "", **changed: Any) -> None:
    """Declare options of the machine, such as device and precision, by their names.

    Args:
        command: Of the verb.
        names: Of options.
        text: What they are there, if that is something else.
        changed: What else is different there, as `Command.add` takes it.
    """
    for name in names:
        kind, usual, default = _MACHINE[name]
        command.add(
            f"--{name}",
            **{"kind": kind, "text": text or usual, "default": default, "title": "run and machine", **changed},
        )


def add_run(command: Command, out: str = "") -> None:
    """Declare the options of every verb that leaves a run folder.

    Args:
        command: Of the verb.
        out: Where the folder is by default; it must be given if that is empty.
    """
    if out:
        add_machine(command, "out", text=f"the run folder; default: {out}", kind=str | None)
    else:
        add_machine(command, "out", required=True)
    add_machine(command, "seed", "device", "threads", "devices", "precision", "execution", "progress")
    add_loggers(command)


def add_loggers(command: Command) -> None:
    """Declare `--loggers`."""
    from ramify.loggers import Logger

    text = "who else gets the rows of the history: names of your own loggers, as --import mine.py --loggers MLflow"
    command.add("--loggers", list[Logger] | str | None, text)


def of_run(options: Options) -> dict[str, Any]:
    """Return the values of the options that `add_run` declares, as keyword arguments of a verb."""
    return {name: options[name] for name in (*_MACHINE, "loggers")}


def add_checkpoint(command: Command) -> None:
    """Declare `--checkpoint`."""
    command.add("--checkpoint", str, "`last` weights, or the `best` by the recipe's validation", default="last")


def add_json(command: Command) -> None:
    """Declare `--json`."""
    command.add("--json", bool, "whether to print JSON", flag=True)


def add_network(command: Command, text: str, name: str = "--network") -> None:
    """Declare the layout of networks, whose keywords depend on the chosen space."""
    space = name.removeprefix("--").removesuffix("network") + "space"
    text = f"{text}; {name}.help SPACE lists all keywords"
    command.add(name, LAYOUT, text, explain=lambda asked, items: _keywords(name, space, asked, items))


def _keywords(option: str, space: str, asked: str | None, items: Sequence[Given]) -> str:
    """Return the layout keywords of a space for people: the one that is asked for, else the one that was given."""
    named = asked or next((item.value for item in reversed(items) if item.option == space), None)
    if isinstance(named, dict):
        named = named.get("class_path")
    if named is None and asked is None:
        raise ConfigurationError(f"{option}.help needs the name of a space, as {option}.help NASBench201")
    if named is None:
        return ""
    from ramify.spaces import Space

    kind: Any = path_of(Space, str(named), Place(f"{option.removeprefix('--')}.help"))[1]
    return f"layout of {kind.__name__}, as {option}.KEYWORD VALUE:\n{listing_of(kind.Layout)}"


def add_init(command: Command, text: str) -> None:
    """Declare `--init`, the weights to start from."""
    command.add("--init", str | None, text)


# Data


def add_data(command: Command, text: str = "", more: str = "") -> None:
    """Declare `--data`, the source of a data set, and the options below it."""
    from ramify.data import DataSpec, in_words

    text = text or f"{in_words()}; further options as --data.subset N and so on"
    command.add("--data", DataSpec | str | None, f"{text}{more}", readers={"": _source, "image_size": _sides})


def _sides(text: str) -> str:
    if sides := re.fullmatch(r"(\d+)\s*[x×]\s*(\d+)", text):
        raise ConfigurationError(f"--data.image_size: height and width are written {sides[1]},{sides[2]}, got {text}")
    return text


def _source(text: str) -> Any:
    return text if text.lstrip().startswith("{") or text == "null" else {"source": str(text)}


def _source_in(items: Sequence[Given]) -> str | None:
    """Return the source of the data that is given last."""
    named = None
    for item in items:
        if item.option == "data.source":
            named = item.value
        elif item.option == "data":
            source = item.value.get("source") if isinstance(item.value, dict) else item.value
            named = named if source is None else source
    return None if named is None else str(named)


def add_task(command: Command) -> None:
    """Declare `--task`."""
    from ramify.tasks import TASKS, Task

    text = f"what is learned: {', '.join(TASKS)}; default: Classification; options as --task.class_weights balanced"
    command.add("--task", Task | None, text)


# Spaces


def add_space(
    command: Command, text: str, name: str = "--space", *, required: bool = False, files: bool = False
) -> None:
    """Declare a space; its `cell` may be anything that stands for an architecture.

    Args:
        command: Of the verb.
        text: What the space is for.
        name: Of the option.
        required: Whether it must be given.
        files: Whether the file, or the run folder, of a shrinking stands for the space of which something is left; what
            is left is the restriction, where the verb has that option.
    """
    from ramify.spaces import SPACES, Space

    command.add(
        name,
        Space if required else Space | None,
        f"{text}: {', '.join(SPACES)}{', or the file of a space' if files else ''}",
        required=required,
        readers={"cell": as_architecture, "network": as_network},
        expand=(lambda text, items: _shrunk(text, items, command)) if files else None,
    )


def as_network(text: str) -> str:
    """Return the name of a network, having imported a user's file if a word of the command line names it."""
    from ramify.spaces.naming import brought

    return brought(str(text)) if isinstance(text, Word) else text


def as_architecture(text: str) -> dict[str, Any]:
    """Return the JSON form of the architecture that a text stands for."""
    from ramify.run.sources import architecture_of

    return architecture_of(str(text)).to_dict()


def _shrunk(source: str, items: Sequence[Given], command: Command) -> list[Given] | None:
    """Return the space and the restriction that a file of `ramify shrink`, or its run folder, holds."""
    if not source or source.lstrip().startswith("{"):
        return None
    if not (source.endswith(".json") or os.sep in source or paths.is_file(Path(source, "space.json"))):
        return None
    from ramify.spaces import create, read_description

    if any(item.option == "restriction" and item.value is not None for item in items):
        raise RamifyError(f"--restriction: {source} restricts its space already")
    create(source)  # so that a wrong file is named
    description = read_description(source)
    space = {"class_path": str(description["space"]), "init_args": dict(description.get("arguments", {}))}
    restriction = description.get("restriction") if command.has("restriction") else None
    return [Given("space", space), *([Given("restriction", restriction)] if restriction else [])]


def add_restriction(command: Command, *, files: bool = True) -> None:
    """Declare `--restriction`, by masks, or by a file with candidate lists."""
    text = "choice → table of the candidates that exist (edges × operations)"
    kind: Any = dict | str | None if files else dict | None
    command.add("--restriction", kind, f"{text}, or a JSON file with candidate lists" if files else text)


def restricted(options: Options) -> Space:
    """Return the space of the options, restricted as `--restriction` says."""
    space: Space = options.space
    if not options.restriction:
        return space
    if isinstance(options.restriction, str):
        from ramify.shrinking.lists import read_lists, restricted_by

        if not paths.is_file(options.restriction):
            raise RamifyError(
                f"--restriction: there is no file {options.restriction}; give one with a list of operators for each "
                "edge, or masks by choice, as in a space.json"
            )
        return restricted_by(space, read_lists(options.restriction))
    return space.restrict(options.restriction)


# Recipes


def add_recipe(command: Command, verb: str, default: Any = None) -> None:
    """Declare `--recipe NAME`, whose options all others override.

    Args:
        command: Of the verb.
        verb: What the recipes are for.
        default: A training where that is an option of the same name, a group; it may be given as JSON or as a file.
    """
    from ramify import recipes

    def expand(name: str, items: Sequence[Given]) -> list[Given] | None:
        if default is not None and (name.lstrip().startswith("{") or Path(name).suffix):
            return None
        if not isinstance(name, Word):
            raise ConfigurationError(
                "`recipe` is an option of the command line; a configuration file gives the values themselves"
            )
        recipe = recipes.get(name, verb)
        source = _source_in(items)
        if not any(item.option == "help" or item.option.endswith(".help") for item in items):
            recipe.check_data(source)
        return [Given(option, value, f"--recipe {name}") for option, value in recipe.options_for(source).items()]

    if default is None:
        text = "a name from `ramify recipes`; other options override what it sets"
        command.add("--recipe", str | None, text, expand=expand, first=True)
    else:
        text = "how to train: a name from `ramify recipes`, as --recipe NAME, and single values, as --recipe.epochs 100"
        command.add("--recipe", type(default), text, default=default, expand=expand, first=True)
