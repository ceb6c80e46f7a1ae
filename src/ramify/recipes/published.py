"""Reading the recipes. A further one is a further file NAME.yaml, a configuration for one verb as `--config` takes it:

    # title: what it is, in a line
    # verb: search, shrink, retrain, or tune
    # source: paper and arXiv number

    # Where it differs from what is published, and other remarks.

    space: …

What the file is about is a comment, the first block of the file, so that it stays a plain configuration file. It gives
every value that is published, those that are defaults as well.

With other data than its own, a recipe keeps what it says of the method and gives up what means its data alone: the
options in `BOUND`, and sizes in pixels. Where its source is only a word for what everybody has to fetch (`imagenet`),
a folder, a file or `hf:NAME` is taken to be that data set, and everything stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ramify.errors import ConfigurationError, nearest
from ramify.registry import registries

BOUND = (
    *("test", "validation_is_test", "image_column", "label_column", "feature_columns"),
    *("channel_axis", "image_size", "subset", "split", "split_file"),
)
"""Options of the data that mean one data set only."""

PIXELS = ("crop", "cutout")
"""Options of a training in pixels; without them they follow from the images."""


@dataclass(frozen=True, kw_only=True)
class PublishedSetting:
    """A published setting of a search or a training.

    Args:
        name: Of its file.
        title: What it is, in a line.
        verb: What it configures, `search`, `shrink`, `retrain` or `tune`.
        source: The paper.
        text: The file.
    """

    name: str
    title: str
    verb: str
    source: str
    text: str = field(repr=False)

    @property
    def options(self) -> dict[str, Any]:
        """The configuration as plain values, as read from a `--config` file."""
        return yaml.safe_load(self.text)

    def options_for(self, source: str | Path | None) -> dict[str, Any]:
        """Return the configuration with data from `source`, or with the recipe's own when None."""
        from ramify.data import data_set_names
        from ramify.data.named import BY_FOLDER

        options = self.options
        data = options.get("data", {})
        own = data.get("source")
        if source is None or str(source) == own:
            return options
        data["source"] = str(source)
        if own in BY_FOLDER and str(source) not in data_set_names():
            return options
        for name in BOUND:
            data.pop(name, None)
        training = options.get("retrain", options).get("recipe", {})
        for name in PIXELS:
            if training.get(name):  # 0 is none, whatever the images are
                del training[name]
        return options

    def check_data(self, source: str | Path | None) -> None:
        """Raise `ConfigurationError` if the recipe's data cannot be loaded by name and no other is given."""
        from ramify.data.named import BY_FOLDER

        own = self.options.get("data", {}).get("source")
        wanted = own if source is None else str(source)
        if own in BY_FOLDER and wanted.lower() == own and not Path(wanted).exists():
            raise ConfigurationError(
                f"the recipe {self.name} is for {BY_FOLDER[own].title}; {BY_FOLDER[own].wanted(own)}"
            )

    def arguments(self, source: str | Path | None = None) -> dict[str, Any]:
        """Return the configuration as keyword arguments of its verb, with levels of `search_levels`."""
        options = self.options_for(source)
        levels, training = options.pop("levels", None), options.pop("retrain", {})
        keywords = _objects({**options, **training})
        if levels is not None:
            keywords["levels"] = {name: _objects(level) for name, level in levels.items()}
        return keywords


def _objects(options: dict[str, Any]) -> dict[str, Any]:
    """Return plain values as the objects they describe."""
    from jsonargparse import ArgumentParser

    from ramify.data import DataSpec
    from ramify.hypergradient import HOAG, Against, Problem
    from ramify.shrinking import Shrinking
    from ramify.spaces import Space
    from ramify.strategies import Strategy
    from ramify.tasks import Task
    from ramify.training import Recipe

    kinds = {"space": Space, "strategy": Strategy, "data": DataSpec, "network": dict, "recipe": Recipe, "around": str}
    kinds |= {
        "shrinking": Shrinking,
        "problem": Problem,
        "hoag": HOAG,
        "against": Against,
        "precision": str,
        "task": Task,
    }
    kinds |= {"after": str, "largest": dict}
    parser = ArgumentParser(exit_on_error=False)
    for name in options:
        parser.add_argument(f"--{name}", type=kinds[name])
    objects = parser.instantiate(parser.parse_object(_with_paths(options, "")))
    return {name: objects[name] for name in options}


def _with_paths(value: Any, kind: str) -> Any:
    """Return plain values with the paths of classes in the place of their names, which others may have as well."""
    if isinstance(value, str):
        return registries[kind].own[value].path if kind in registries and value in registries[kind].own else value
    if isinstance(value, dict):
        return {key: _with_paths(item, kind if key == "class_path" else key) for key, item in value.items()}
    return value


@cache
def _catalog() -> dict[str, PublishedSetting]:
    settings = {}
    for file in sorted(files("ramify.recipes").iterdir(), key=lambda file: file.name.removesuffix(".yaml")):
        name, dot, ending = file.name.rpartition(".")
        if (dot, ending) == (".", "yaml"):
            text = file.read_text(encoding="utf-8")
            head = "\n".join(line.removeprefix("# ") for line in text.partition("\n\n")[0].splitlines())
            settings[name] = PublishedSetting(name=name, text=text, **yaml.safe_load(head))
    return settings


def entries(verb: str | None = None) -> tuple[PublishedSetting, ...]:
    """Return all recipes, or those for one verb."""
    return tuple(recipe for recipe in _catalog().values() if verb in (None, recipe.verb))


def get(name: str, verb: str | None = None) -> PublishedSetting:
    """Return the recipe of a name.

    Args:
        name: Of its file, without the ending.
        verb: What it must be for, such as `search`; None for any.

    Raises:
        ConfigurationError: If there is none, or it is for another verb; the message suggests the nearest name.
    """
    names = [recipe.name for recipe in entries(verb)]
    if name in names:
        return _catalog()[name]
    problem = f"unknown recipe {name!r}"
    if name in _catalog():
        problem = f"recipe {name!r} is for `ramify {_catalog()[name].verb}`"
    raise ConfigurationError(f"{problem}; {nearest(name, names)}")


def load(name: str, data: str | Path | None = None) -> dict[str, Any]:
    """Return a recipe as keyword arguments of its verb: `search`, `search_levels`, `shrink`, `retrain`
    or `tune`.

    Args:
        name: Of the recipe.
        data: The source of other data than the recipe's own, such as the folder of ImageNet.

    Example:
        >>> from ramify import recipes
        >>> settings = recipes.load("gdas-cifar10")
        >>> list(settings), settings["strategy"].tau_start
        (['space', 'strategy', 'data', 'network'], 10.0)
    """
    return get(name).arguments(data)
