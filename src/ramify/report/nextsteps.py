"""What to do next with a run: commands to copy, which are correct in the folder of the run, wherever that lies."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ramify import files
from ramify.imports import unrepeatable
from ramify.report.folder import RunFolder
from ramify.run.origin import lookup_of, saw_images
from ramify.spaces.naming import INSTANCE

_VERBS = {"limits": "adapt", "problem": "tune", "shrinking": "shrink", "recipe": "retrain"}
"""What a configuration says that has these."""


def next_steps(run: RunFolder, *, late: bool = False) -> Iterator[tuple[str, str]]:
    """Yield what may be done next, and the command.

    Args:
        run: The run.
        late: Whether its search still changed what it derives when it ended.
    """
    config = run.config
    if unrepeatable(config.get("import") or ()):
        return
    imported = [word for words in imports(config, run.provenance) for word in words]
    final = run.retrain or run
    if not run.result:
        if is_repeatable(config):
            yield "Go on where it stopped.", _line(again(config, run.provenance.get("directory"), out="."))
        return
    if config.get("problem") or config.get("shrinking") or "architectures" in config:
        if config.get("shrinking"):
            words = ["search", *imported, "--space", "space.json", "--strategy", "SPOS"]
            yield (
                "Search what is left, with a strategy of your choice.",
                _line([*words, *_data(run), "--out", "../found"]),
            )
        return
    searched = bool(config.get("strategy"))
    if late and _has_epochs(config):
        epochs = 2 * int(config["strategy"]["init_args"]["epochs"])
        words = again(config, run.provenance.get("directory"), out="../longer")
        yield "Search longer: the result was still changing.", _line([*words, "--strategy.epochs", str(epochs)])
    if searched and run.retrain is None and not run.levels:
        images = [] if saw_images(config, run.provenance) and not lookup_of(config, run.provenance) else _DATA
        yield "Train the architecture found from scratch.", _line(["retrain", ".", *imported, *images])
    elif not final.evaluation and (final.path / "model.safetensors").exists():
        yield "Measure the trained network on test images.", _line(["evaluate", ".", *imported])
    elif final.evaluation and not final.manifest:
        yield "Take the trained network away, with or without Ramify.", _line(["export", ".", *imported])
    beside = final.evaluation and final.baseline is None and final.config.get("recipe") and not run.levels
    if beside and is_repeatable(final.config):
        where = final.provenance.get("directory")
        words = again(final.config, where, out="../beside", within="retrain/" if run.retrain else "")
        yield (
            "See what the search is worth: train a random member of like cost beside it.",
            _line([*words, "--baseline", "random"]),
        )


_DATA = ["--data", "YOUR_DATA"]


def _data(run: RunFolder) -> list[str]:
    """Return the words that name the data of a run."""
    settings = run.config.get("data")
    source = settings.get("source") if isinstance(settings, Mapping) else None
    if source is None or str(source).startswith("python:"):
        return _DATA
    return ["--data", _located(source, run.provenance.get("directory"))]


def _line(words: list[str]) -> str:
    return shlex.join(["ramify", *words])


def _has_epochs(config: Mapping[str, Any]) -> bool:
    strategy = config.get("strategy")
    settings = strategy.get("init_args") if isinstance(strategy, Mapping) else None
    return isinstance(settings, Mapping) and isinstance(settings.get("epochs"), int) and is_repeatable(config)


def is_repeatable(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration says all that a run needs; what a program hands in is known to it alone."""
    data = config.get("data")
    source = data.get("source") if isinstance(data, Mapping) else None
    if not isinstance(config.get("network") or {}, Mapping | str) or config.get("network") == INSTANCE:
        return False
    return "data" in config and "architectures" not in config and not str(source).startswith("python:")


def again(config: Mapping[str, Any], directory: Any, *, out: str = "../again", within: str = "") -> list[str]:
    """Return the command words that repeat a run with its configuration, from its folder.

    Args:
        config: The configuration.
        directory: Where the run was made, which its relative paths begin at.
        out: Where the result goes; in the folder itself, the run is continued.
        within: The way to the configuration from the folder.
    """
    verb = next((verb for key, verb in _VERBS.items() if key in config), "search")
    words = [verb, "--config", f"{within}config.yaml"]
    for pair in imports(config, {"directory": directory}):
        words += pair
    source = config["data"].get("source") if isinstance(config["data"], Mapping) else None
    if source is not None and _located(source, directory) != source:
        words += ["--data", _located(source, directory)]
    return [*words, "--out", out]


def imports(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the words that import the classes which a run needs."""
    for record in config.get("import") or ():
        where = provenance.get("directory")
        yield ["--import", _located(record["file"], where) if "file" in record else str(record.get("module"))]


def _located(path: Any, directory: Any) -> str:
    """Return a path of a run, from where the run was made if it is there."""
    place = Path(str(directory), str(path))
    return str(place) if files.is_there(place) else str(path)


def name_of(setting: Any) -> str:
    """Return a class's or setting's name in the configuration, without its module."""
    if isinstance(setting, Mapping):
        if source := setting.get("source"):
            return Path(str(source)).name
        setting = setting.get("class_path") or setting.get("space") or ""
    return re.split("[.:]", str(setting or ""))[-1]
