"""The origin of a run's result, from its folder: the data, the table, and the network that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, cast

from typing_extensions import TypedDict

from ramify import files, imports, reading
from ramify.architecture import Architecture
from ramify.data import DataSpec
from ramify.data import load as load_data
from ramify.data.source import is_name
from ramify.errors import ConfigurationError, RamifyError, RunError
from ramify.evaluators import TableLookup
from ramify.run.folder import RunFolder
from ramify.run.records import Images, Layout, Provenance
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


def located(spec: DataSpec, path: Path | None, there: bool = True) -> DataSpec:
    """Return data with relative paths resolved from the run's directory, else from the current one.

    Raises:
        ConfigurationError: If one has to be `there`, and is not.
    """
    if path is None:
        return spec
    directory = directory_of(path)
    places: dict[str, Any] = {}
    for name in ("source", "test", "split_file", "root"):
        value = getattr(spec, name)
        if value is None or (name != "root" and is_name(value)) or files.expanded(value).is_absolute():
            continue
        pattern = any(mark in value for mark in "*?[")
        bases = [Path(directory), Path.cwd()]
        existing = [
            base for base in bases if (base / value).exists() or (pattern and bool(files.matching(base, value)))
        ]
        if there and not existing and name != "root":  # where there may be nothing yet
            raise ConfigurationError(
                f"{path}: its data {value} was given relative to {directory}, and is neither there nor here; name it "
                "with --data or `data=`"
            )
        places[name] = str((existing or bases)[0] / value)
    return replace(spec, **places)


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


def layout_of(path: Path, space: Space) -> dict[str, Any]:
    """Return the layout keywords of a run for networks built of its result, as far as they are recorded.

    Args:
        path: The run folder, of a search, a pipeline, or a retraining.
        space: That of its architecture.
    """
    return cast("dict[str, Any]", _recorded(path, space)[-1]["layout"])


def _recorded(path: Path, space: Space) -> tuple[Path, Mapping[str, Any], Provenance, dict[str, Any]]:
    """Return the folder that knows the images of a run, its configuration, its provenance, and what these come to."""
    config, trained = RunFolder(path).config(), None
    if levels := config.get("levels"):
        trained, path = config.get("retrain"), path / list(levels)[-1]
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
