"""What the files of a run folder hold, as far as the verbs read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired

from typing_extensions import TypedDict


class Row(TypedDict):
    """A row of the history, with further fields of each session's own."""

    phase: str
    step: int
    steps: NotRequired[int]
    seconds: NotRequired[float]


class Setting(TypedDict):
    """An object of a configuration, as `run.configuration.described` writes it."""

    class_path: str
    init_args: NotRequired[dict[str, Any]]


Layout = dict[str, int | float | bool | str | None]
"""Layout keywords of a network."""


class Level(TypedDict, total=False):
    """One search of a pipeline; `network` is a layout, of an adaptation it is what is adapted."""

    space: Setting | str | None
    strategy: Setting | str | None
    network: Layout | Setting | str | None
    around: str | None


class Config(Level, total=False):
    """A configuration, as far as the verbs read it; searches, trainings and tables each use some of the keys."""

    restriction: dict[str, list[Any]] | None
    architecture: dict[str, Any] | str | None
    recipe: dict[str, Any] | str | None
    shrinking: dict[str, Any] | None
    data: dict[str, Any] | str | None
    levels: dict[str, Level] | None
    retrain: Level | None


def levels_of(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the searches that a run consists of, each in a folder of that name; none of a single one."""
    return ["search"] if "limits" in config else list(config.get("levels") or ())


class Images(TypedDict):
    """What the provenance records of the data; a search in a table has no images, and names the table's data."""

    name: str | None
    of: NotRequired[str]
    fingerprint: NotRequired[str]
    classes: NotRequired[int]
    input_size: NotRequired[tuple[int, ...]]
    shape: NotRequired[dict[str, int]]
    directory: NotRequired[str]
    places: NotRequired[dict[str, dict[str, str]]]


class Provenance(TypedDict):
    """The provenance of a run, as far as continuing it and the other verbs need it."""

    sessions: list[dict[str, Any]]
    directory: NotRequired[str]
    executors: NotRequired[list[Any]]
    extended: NotRequired[list[dict[str, Any]]]
    data: NotRequired[Images]
    table: NotRequired[str | None]
    lookup: NotRequired[dict[str, Any]]


class Result(TypedDict, total=False):
    """The fields that all results have."""

    architecture: dict[str, Any]
    history_rows: int
