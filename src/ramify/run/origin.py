"""The origin of a run's result, from its folder: the data, the table, and the network that it stands for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, cast

from typing_extensions import TypedDict

from ramify import files, imports, reading
from ramify.architecture import Architecture
from ramify.data import DataSpec, Scale
from ramify.data import load as load_data
from ramify.data.source import is_name
from ramify.errors import ConfigurationError, DataError, RamifyError, RunError
from ramify.evaluators import TableLookup
from ramify.run.folder import RunFolder
from ramify.run.records import Images, Layout, Provenance, levels_of
from ramify.spaces import Space, space_of
from ramify.spaces.layout import Kind
from ramify.tasks import TASKS, Classification, Task


class NetworkFile(TypedDict):
    """The content of `network.json`: how a trained network is built, and the inputs that it takes."""

    architecture: dict[str, Any]
    layout: Layout
    num_classes: NotRequired[int]
    in_channels: NotRequired[int]
    shape: NotRequired[dict[str, int]]
    task: NotRequired[dict[str, Any] | None]
    input_size: tuple[int, ...]
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]
    classes: NotRequired[list[str]]
    features: NotRequired[list[str]]
    target_names: NotRequired[list[str]]
    sha256: str
    best_sha256: NotRequired[str]


SUPERNET = "supernet.safetensors"
"""The weights of a search that has some."""
_TOLD = ("data", "split", "says", "measured", "members", "classes", "input_size", "network", "sha256")


def lookup_of(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the metadata of the table in which a run looked scores up; None where networks were measured.

    There are `table` and `column` at least; older runs say no more.
    """
    section: Any = config
    for key in ("strategy", "init_args", "evaluator"):
        section = section.get(key) if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping) or str(section.get("class_path")).rpartition(".")[2] != TableLookup.__name__:
        return None
    settings, lookup = section.get("init_args"), provenance.get("lookup")
    settings = settings if isinstance(settings, Mapping) else {}
    metadata = {key: value for key, value in lookup.items() if key in _TOLD} if isinstance(lookup, Mapping) else {}
    return {**metadata, "table": settings.get("table"), "column": {"name": settings.get("column")}}


def in_words(lookup: Mapping[str, Any]) -> str:
    """Return where scores were looked up, for instance `nb.table, column valid: cifar10 (valid), 12 epochs, seed 0`."""
    words = f"{lookup['table']}, column {lookup['column']['name']}"
    if {"data", "split", "says"} <= lookup.keys():
        words += f": {lookup['data']} ({lookup['split']}), {lookup['says']}"
    if {"measured", "members"} <= lookup.keys() and lookup["measured"] != lookup["members"]:
        words += f"; it holds {lookup['measured']:,} of the {lookup['members']:,} members"
    return words


def saw_images(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> bool:
    """Return whether a run used images: to measure its scores, or because it was given some."""
    data = provenance.get("data")
    none = isinstance(data, Mapping) and "fingerprint" not in data
    older = lookup_of(config, provenance) is not None and "lookup" not in provenance  # digits were named unasked
    return not (none or older)


def without_images(who: str, lookup: Mapping[str, Any] | None) -> ConfigurationError:
    """Return the error for requesting the data of a search that had none."""
    why = f"looked its scores up in {in_words(lookup)}" if lookup else "needed none"
    return ConfigurationError(f"{who} has no images, because it {why}; name the data with --data or `data=`")


def data_of(path: Path) -> DataSpec:
    """Return the data of the run in a folder.

    Raises:
        ConfigurationError: If it had none, or data from Python.
        RunError: If its configuration is damaged.
    """
    folder = RunFolder(path)
    config = folder.config()
    settings = config.get("data")
    searched = settings is None or lookup_of(config, {}) is not None
    provenance: Mapping[str, Any] = folder.provenance() if searched else {}
    if not saw_images(config, provenance):
        raise without_images(str(path), lookup_of(config, provenance))
    spec = named_data(settings, path)
    if spec.source.startswith("python:"):
        raise ConfigurationError(f"{path} was made with a data set from Python; name one with --data or `data=`")
    return spec


def named_data(settings: Any, path: Path | None) -> DataSpec:
    """Return the data that a configuration names; only the name for a Python data set."""
    where = (path or Path()) / "config.yaml"
    try:
        return DataSpec(**reading.checked(settings, DataSpec, where="data", error=RunError))
    except (TypeError, RamifyError) as error:
        raise RunError(f"{where} is damaged ({error!s:.120}); name the data with --data or `data=`") from None


def directory_of(path: Path | None) -> str:
    """Return the directory that the relative data paths of the run at `path` start from."""
    if path is None:
        return str(Path.cwd())
    provenance: Mapping[str, Any] = RunFolder(path).provenance()
    return str((provenance.get("data") or {}).get("directory") or provenance.get("directory") or Path.cwd())


PLACES = ("source", "test", "split_file", "root")
"""Options of data that are paths."""


def located(spec: DataSpec, path: Path | None, there: bool = True) -> DataSpec:
    """Return data with the places where they are now: as the run at `path` named them, or as it found them.

    Relative paths begin in the run's directory, else in the current one. Where nothing is there any more, what the run
    recorded helps: the absolute place, and the one relative to its folder, for both may have been moved together.

    Raises:
        ConfigurationError: If one has to be `there`, and is not.
    """
    if path is None:
        return spec
    directory = directory_of(path)
    told_before: Mapping[str, Any] = RunFolder(path).provenance().get("data") or {}
    recorded = told_before.get("places", {})
    places: dict[str, Any] = {}
    for name in PLACES:
        value = getattr(spec, name)
        if value is None or (name != "root" and is_name(value)):
            continue
        told = recorded.get(name, {})
        beside = [path / told["relative"]] if "relative" in told else []
        possible = [*_possible(value, directory), *map(Path, [told["absolute"]] if "absolute" in told else []), *beside]
        existing = next((place for place in possible if _is_there(place)), None)
        if existing is None and there and name != "root":  # where there may be nothing yet
            option = "--data" if name == "source" else f"--data.{name}"
            relative = not files.expanded(value).is_absolute()
            gone = f"was given relative to {directory}, and is neither there nor here" if relative else "is gone"
            raise ConfigurationError(
                f"{path}: its data {value} {gone}, nor is it beside the run; name it with {option} or `data=`"
            )
        if existing is not None or not files.expanded(value).is_absolute():
            places[name] = str(existing or possible[0])
    return replace(spec, **places)


def _possible(value: str, directory: str | Path) -> list[Path]:
    """Return where a path of data may lead: from a directory, and from the current one."""
    whole = files.expanded(value)
    return [whole] if whole.is_absolute() else [Path(directory) / value, Path.cwd() / value]


def _is_there(place: Path) -> bool:
    if place.exists():
        return True
    marked = next((at for at, part in enumerate(place.parts) if any(mark in part for mark in "*?[")), 0)
    return bool(marked) and bool(files.matching(Path(*place.parts[:marked]), str(Path(*place.parts[marked:]))))


def places_of(settings: Mapping[str, Any] | None, path: Path, directory: str | None) -> dict[str, dict[str, str]]:
    """Return where the data of a run lie, by their options: absolute, and relative to the folder of the run.

    Args:
        settings: The data, as a configuration names them.
        path: The run folder.
        directory: Where relative paths begin; the current one when None.
    """
    places: dict[str, dict[str, str]] = {}
    for name in PLACES:
        value = (settings or {}).get(name)
        if not isinstance(value, str) or value.startswith("python:") or (name != "root" and is_name(value)):
            continue
        there = next((place for place in _possible(value, directory or Path.cwd()) if _is_there(place)), None)
        if there is not None:
            absolute = Path(os.path.abspath(there))  # noqa: PTH100 -- links stay as they were named
            places[name] = {"absolute": str(absolute)}
            with suppress(ValueError):  # on another drive
                places[name]["relative"] = os.path.relpath(absolute, path.absolute())
    return places


def told_of(task: Task) -> Images:
    """Return the provenance record of a task and its data."""
    record: Images = {"name": task.title, "fingerprint": task.fingerprint}
    if "num_classes" in task.shape:
        record["classes"] = task.shape["num_classes"]
    record["input_size"] = cast("tuple[int, ...]", list(task.input_size))  # as JSON gives it back
    return record if set(task.shape) == {"num_classes", "in_channels"} else {**record, "shape": task.shape}


def shape_told(images: Mapping[str, Any]) -> dict[str, int]:
    """Return the shape for builders of networks, as far as a provenance or a table records it."""
    if "shape" in images:
        return dict(images["shape"])
    if {"classes", "input_size"} <= images.keys():
        return {"num_classes": images["classes"], "in_channels": images["input_size"][0]}
    return {}


def shape_of(space: Space, network: Mapping[str, Any], images: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Return `layout`, `shape` and `input_size` of the networks of a run, as far as they are known.

    Args:
        space: What builds them.
        network: The run's layout keywords.
        images: What the provenance says of the data, or of the table in which scores were looked up.
        kind: What the keywords are of. Of those of a supernet, what it has for itself is left out.
    """
    built = space.Layout.keywords("member")
    own = space.Layout.lasting() if kind == "supernet" else built
    layout = {name: value for name, value in images.get("network", {}).items() if name in built}
    shapes: dict[str, Any] = {"layout": layout | {name: value for name, value in network.items() if name in own}}
    if "input_size" in images and (shape := shape_told(images)):
        shapes |= {**shape, "shape": shape, "input_size": images["input_size"]}
    return shapes


def network_shape(shape: Mapping[str, Any]) -> dict[str, int]:
    """Return the shape that a trained network was built with, from `network.json`."""
    older = {name: shape[name] for name in ("num_classes", "in_channels") if name in shape}
    return dict(shape.get("shape") or older)


def task_told(shape: Mapping[str, Any]) -> Task:
    """Return the task of a trained network, without its data, from `network.json`.

    Raises:
        RunError: If nothing goes by its name, or its settings cannot be.
    """
    record = shape.get("task") or {"class_path": Classification.__name__, "init_args": {}}
    try:
        name = str(record["class_path"])
        entry = TASKS.lookup(name)
        if entry is None:
            raise ConfigurationError(imports.unknown("task", name, TASKS))
        return entry.make(**record["init_args"]).shaped(network_shape(shape))
    except RamifyError:
        raise
    except Exception as error:  # whatever the constructor of a class makes of a damaged record
        raise RunError(f"network.json is damaged (task: {' '.join(str(error).split()):.120})") from None


def check_told(shape: Mapping[str, Any], path: Path | None, targets: str) -> None:
    """Raise `RunError` if a `network.json` does not say what its network knows of its inputs and classes."""
    for name in ("mean", "std") if targets == "values" else ("mean", "std", "classes"):
        if name not in shape:
            raise RunError(f"{(path or Path()) / 'network.json'} is damaged (`{name}` is missing)")
    known = (*shape["input_size"], 0)[0]
    if not len(shape["mean"]) == len(shape["std"]) == known:
        raise RunError(f"{(path or Path()) / 'network.json'} is damaged (`mean` and `std` are not of {known} each)")


def scale_told(shape: Mapping[str, Any], path: Path | None) -> Scale | None:
    """Return the scale of deep images that a `network.json` holds; None where the network was trained on bytes."""
    try:
        return None if shape.get("scale") is None else Scale(**shape["scale"])
    except (DataError, TypeError) as error:
        raise RunError(f"{(path or Path()) / 'network.json'} is damaged (scale: {error})") from None


def layout_of(path: Path, space: Space) -> dict[str, Any]:
    """Return the layout keywords of a run for networks built of its result, as far as they are recorded.

    Args:
        path: The run folder, of a search, a pipeline, or a retraining.
        space: That of its architecture.
    """
    return cast("dict[str, Any]", _recorded(path, space)[-1]["layout"])


def member_layout(network: Mapping[str, Any] | None, space: Space, *, of_supernet: bool) -> dict[str, Any]:
    """Return the layout keywords of the members of a search, without what its supernet had for itself."""
    return cast("dict[str, Any]", shape_of(space, network or {}, {}, "supernet" if of_supernet else "member")["layout"])


def _recorded(path: Path, space: Space) -> tuple[Path, Mapping[str, Any], Provenance, dict[str, Any]]:
    """Return the folder that knows the images of a run, its configuration, its provenance, and what these come to."""
    config, trained = RunFolder(path).config(), None
    if levels := levels_of(config):
        trained, path = config.get("retrain") if "levels" in config else {}, path / levels[-1]
        config = RunFolder(path).config()
    network = (trained or config).get("network") or {}
    kind: Kind = "supernet" if trained is None and (path / SUPERNET).exists() else "member"
    provenance = RunFolder(path).provenance()
    images = lookup_of(config, provenance) or provenance.get("data") or {}
    return path, config, provenance, shape_of(space, network, images, kind)


def network_of(path: Path, arch: Architecture, *, images: bool = True) -> dict[str, Any]:
    """Return `layout`, `shape` and `input_size` of the network that a run stands for, as far as they are known.

    That is the network which was trained in the end, if one was; else what the keywords of the search make of the
    architecture that it found, for its images.

    Args:
        path: The run folder, of a search, a pipeline, or a retraining.
        arch: Its architecture.
        images: Whether classes and size are wanted; where an older run does not say them, its data are loaded.
    """
    for place in (path, path / "retrain"):
        if (place / "network.json").exists():
            shape = RunFolder(place).read_json("network.json", NetworkFile)
            if Architecture.from_json(shape["architecture"]) == arch:
                return {**shape, "shape": network_shape(shape)}
    path, config, provenance, shapes = _recorded(path, space_of(arch))
    if images and "input_size" not in shapes and saw_images(config, provenance):
        try:
            data = load_data(located(data_of(path), path))
        except RamifyError as error:
            advice = "--input_size C,H,W and --num_classes say what its network is for"
            raise ConfigurationError(f"{path}: {error!s:.150}; {advice}") from None
        shapes |= {**data.shape, "shape": data.shape, "input_size": data.input_size}
    return shapes
