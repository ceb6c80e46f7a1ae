"""The verbs: search, shrink, retrain, evaluate, export, report, describe. The command line calls the same functions."""

from __future__ import annotations

import copy
import os
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ramify import files, parallel, reading, zoo
from ramify.architecture import Architecture
from ramify.benchmarks import Annotation, Table, open_table
from ramify.data import NAMED, Data, DataSpec, Scale, colored, numbered, scale_of, spec_of
from ramify.data import load as load_data
from ramify.data.part_names import told_by
from ramify.errors import ArchitectureError, ConfigurationError, DataError, OptionError, RamifyError, RunError
from ramify.executors import Executor, InProcess
from ramify.profiling import latency_ms, profile
from ramify.run import RunFolder, data_parallel, drive, make_fabric, say, scratch
from ramify.run.configuration import described, fields_of
from ramify.run.origin import (
    SUPERNET,
    NetworkFile,
    data_of,
    directory_of,
    images_of,
    in_words,
    layout_of,
    located,
    named_data,
    network_of,
    shape_of,
    without_images,
)
from ramify.seeding import seeded
from ramify.shrinking import Shrinking, ShrinkSession
from ramify.shrinking.session import Shrunk
from ramify.spaces import Space, create, notation, recognise, space_of
from ramify.spaces.layout import Kind
from ramify.strategies import Strategy, compatible
from ramify.training import Recipe, Task, TrainingSession, measure
from ramify.training.session import DIVERGED
from ramify.wording import bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning_fabric import Fabric
    from torch.utils.data import Dataset

    from ramify.exporting import ExportResult

    AnyData = str | Path | DataSpec | Data | Dataset[Any] | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        architecture: The member it stands for at the end.
        history: The rows of `history.jsonl`.
        space: What was searched.
        out: The run folder; None where nothing was kept.
        data: What it searched on, for the verbs that follow; None where it needed no images.
        data_settings: How the configuration names that data.
        network: The layout keywords of the search.
        lookup: Where its scores come from, as in `provenance.json`, if they were looked up in a table.
        laid_out: What the layout keywords are of: the `supernet`, or every `member` that was evaluated.
    """

    architecture: Architecture
    history: list[dict[str, Any]] = field(repr=False)
    space: Space
    out: Path | None
    data: Data | None = field(repr=False)
    data_settings: dict[str, Any] | None = field(repr=False)
    network: Mapping[str, Any] = field(default_factory=dict, repr=False)
    lookup: Mapping[str, Any] | None = field(default=None, repr=False)
    laid_out: Kind = field(default="member", repr=False)

    @property
    def notation(self) -> Any:
        """The architecture in the native notation of its space."""
        return self.space.format(self.architecture)

    @property
    def shape(self) -> dict[str, Any]:
        """Layout, classes and size of the images of the network that the architecture stands for, where known."""
        images = self.lookup or (images_of(self.data) if self.data else {})
        return shape_of(self.space, self.network, images, self.laid_out)


@dataclass(frozen=True)
class RetrainResult:
    """A trained network.

    Args:
        architecture: What was built.
        network: With its trained weights, in evaluation mode, on the CPU.
        shape: What `network.json` says: layout, classes, size and normalisation of the images.
        history: The rows of `history.jsonl`.
        out: The run folder; None where nothing was kept.
        data: What it was trained on.
        data_settings: How the configuration names that data.
    """

    architecture: Architecture
    network: nn.Module = field(repr=False)
    shape: dict[str, Any] = field(repr=False)
    history: list[dict[str, Any]] = field(repr=False)
    out: Path | None
    data: Data = field(repr=False)
    data_settings: dict[str, Any] = field(repr=False)


@data_parallel
def search(
    space: Space,
    strategy: Strategy,
    data: AnyData | None = None,
    *,
    out: str | Path | None = None,
    network: Mapping[str, Any] | None = None,
    table: str | Path | Table | None = None,
    executor: Executor | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    threads: int | None = None,
    progress: bool = True,
) -> SearchResult:
    """Search a space, or continue the search that `out` holds.

    The same call continues a search that was stopped anywhere, with the result of an undisturbed one.

    Args:
        space: What to search.
        strategy: How.
        data: A name, a path, a `DataSpec`, a data set in Python, or what `ramify.data.load` made of one; its test
            split is not touched. Default: digits, and none where scores are looked up in a table.
        out: The run folder; None keeps nothing.
        network: Layout keywords of the supernet, or of the networks that are trained, such as `channels`.
        table: A table of the space, or its file: its values of the architecture of every row go into the history and
            the progress, and change nothing about the search.
        executor: Where architectures are evaluated, by a strategy that does so one by one: `InProcess` when None. The
            result does not depend on it, and another one may continue the search, with the same
            `threads_per_evaluation`, which is `threads` unless the executor names another number.
        seed: All randomness follows from it.
        device: `auto`, `cpu`, `cuda`, …
        devices: How many of them share every batch, each in a process of its own (docs/distributed.md).
        precision: `32-true`, `64-true`, `bf16-mixed` or `16-mixed`.
        threads: Threads of CPU operations.
        progress: Whether to show progress on standard error.

    Raises:
        RamifyError: If anything handed in cannot work; nothing has been trained or written then.
    """
    if not (isinstance(space, Space) and isinstance(strategy, Strategy)):
        raise ConfigurationError(f"search takes a space and a strategy, got {space!r:.60} and {strategy!r:.60}")
    verdict = compatible(space, strategy)
    if not verdict:
        raise ConfigurationError(f"{type(strategy).__name__} cannot search {space.name}: {verdict.reason}")
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
    fabric = make_fabric(device, precision, threads)
    if data is None and strategy.needs_data:
        data = "digits"
    loaded = None if data is None else _loaded(data, fabric)
    task = Task(loaded, seed, fabric, dict(network or {}), executor)
    settings = None if data is None else data_settings(data)
    session = strategy.session(space, task)  # before anything is written: settings that cannot work end here
    lookup: dict[str, Any] | None = getattr(session, "lookup", None)
    annotate = None
    if table is not None:
        name = loaded.name if loaded is not None else lookup["data"] if lookup else ""
        annotate = Annotation(table if isinstance(table, Table) else open_table(table), space, name)
    config = {
        "space": described(space),
        "restriction": space.restriction or None,
        "strategy": described(strategy),
        "table": f"python:{table.digest}" if isinstance(table, Table) else described(table),
        "executor": described(executor),
        **common_settings(settings, network, seed, fabric, precision, threads, devices),
    }
    with _folder(out) as path, RunFolder(path) as folder:
        if executor is not None and not folder.finished:
            executor.check(fabric.device)
        if lookup:
            say(f"scores are looked up in {in_words(lookup)}", enabled=progress)
        if _open(folder, config, seed, loaded, progress, None if annotate is None else annotate.table, lookup):
            title = type(strategy).__name__
            seconds = drive(session, folder, fabric.device, title=title, progress=progress, annotate=annotate)
            _write_search(folder, space, session, seconds, annotate)
            parallel.wait()
        arch = space.checked(Architecture.from_json(folder.architecture()))
        kept = None if out is None else folder.path
        laid_out: Kind = "member" if session.supernet is None else "supernet"
        given = dict(network or {})
        return SearchResult(arch, folder.history(), space, kept, loaded, settings, given, lookup, laid_out)


def _write_search(folder: RunFolder, space: Space, session: Any, seconds: float, annotate: Annotation | None) -> None:
    arch = session.architecture()
    last = folder.history()[-1]
    if session.supernet is not None:
        state = {name: value.contiguous() for name, value in session.supernet.state_dict().items()}
        if "best" not in last:  # else members were evaluated with these weights, and the best of them is sound
            _check_finite(state, "the supernet")
        folder.write(SUPERNET, save(state))
    folder.write_json("architecture.json", arch.to_dict())
    result = {
        "notation": space.format(arch),
        # of the architecture found, or of the whole mixture: two things that must not go by one name
        **({"score": last["best"]} if "best" in last else {"supernet_accuracy": last.get("validation_accuracy")}),
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
        say(f"the budget is missed: {budget['cost']:,} {budget['of']}, where {budget['target']:,.0f} were asked for")
    for number, member in enumerate(result.get("front", ())):
        folder.write_json(f"front/{number:02}.json", member["architecture"])
    folder.finish(result)


def _check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise `RunError` if the last steps of a training have left something that is not finite, which no loss shows."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise RunError(f"{what} ends with weights that are not finite ({name}): {DIVERGED}")


@dataclass(frozen=True)
class ShrinkResult:
    """A space that was shrunk.

    Args:
        space: What is left, of the same kind as the space before.
        history: The rows of `history.jsonl`; those of the phase `shrink` say which operators went, and all scores.
        summary: What `result.json` says: sizes before and after, iterations.
        out: The run folder, with the space as `space.json`; None where nothing was kept.
    """

    space: Space
    history: list[dict[str, Any]] = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    out: Path | None


@data_parallel
def shrink(
    space: Space,
    data: AnyData = "digits",
    *,
    shrinking: Shrinking | None = None,
    out: str | Path | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    threads: int | None = None,
    progress: bool = True,
) -> ShrinkResult:
    """Shrink a space by the angles of a supernet (ABS), or continue the shrinking that `out` holds.

    Whatever searches the space searches what is left of it as well.

    Args:
        space: A space of cells, or a chain of layers; it may be restricted already.
        data: A name, a path, a `DataSpec`, or a data set in Python; the supernet learns on `search_train` alone.
        shrinking: How; the published settings for the mobile space of SPOS when None.
        out: The run folder; None keeps nothing.
        network: Layout keywords of the supernet, such as `channels`.
        seed: All randomness follows from it.
        device: `auto`, `cpu`, `cuda`, …
        devices: How many of them share every batch, each in a process of its own (docs/distributed.md).
        precision: `32-true`, `64-true`, `bf16-mixed` or `16-mixed`.
        threads: Threads of CPU operations.
        progress: Whether to show progress on standard error.

    Raises:
        RamifyError: If anything handed in cannot work.
    """
    shrinking = shrinking or Shrinking()
    if not (isinstance(space, Space) and isinstance(shrinking, Shrinking)):
        raise ConfigurationError(f"shrink takes a space and settings, got {space!r:.60} and {shrinking!r:.60}")
    fabric = make_fabric(device, precision, threads)
    loaded = _loaded(data, fabric)
    task = Task(loaded, seed, fabric, dict(network or {}))
    config = {
        "space": described(space),
        "restriction": space.restriction or None,
        "shrinking": fields_of(shrinking),
        **common_settings(data_settings(data), network, seed, fabric, precision, threads, devices),
    }
    with _folder(out) as path, RunFolder(path) as folder:
        session = ShrinkSession(shrinking, space, task)  # before anything is written
        if _open(folder, config, seed, loaded, progress):
            seconds = drive(session, folder, fabric.device, title="shrink", progress=progress, annotate=_left)
            left = session.space()
            folder.write_json("space.json", _space_file(left))
            folder.finish({**session.summary(), "seconds": round(seconds, 3)})
            parallel.wait()
        summary = folder.read_json("result.json", Shrunk)
        if not summary["is_small"]:
            say(
                f"{summary['iterations']} iterations leave {summary['size']:,} combinations, more than the threshold "
                f"of {shrinking.threshold:,}",
                enabled=progress,
            )
        left = create(folder.read_json("space.json"))
        return ShrinkResult(left, folder.history(), summary, None if out is None else folder.path)


def _left(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return nothing to add to a row, and for the progress what an iteration leaves."""
    dropped = row.get("dropped", ())
    return {}, f"{len(dropped)} operators go, {row['size']:,} combinations are left" if dropped else ""


def _space_file(space: Space) -> dict[str, Any]:
    """Return what `space.json` says: how to make the space, and for people what is left on every edge."""
    left = {
        name: {
            f"{source}-{target}": [op for op, exists in zip(choice.ops, row, strict=True) if exists]
            for (source, target), row in zip(choice.edges, choice.mask.tolist(), strict=True)
        }
        for name, choice in space.choices.items()
    }
    return {"format": "ramify.space", "version": 1, **space.to_dict(), "size": space.size, "left": left}


@data_parallel
def retrain(
    source: SearchResult | Architecture | Mapping[str, Any] | str | Path,
    data: AnyData | None = None,
    *,
    out: str | Path | None = None,
    recipe: Recipe | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    threads: int | None = None,
    progress: bool = True,
) -> RetrainResult:
    """Train a found architecture from scratch on search-train and search-validation together.

    Args:
        source: What a search returned, its run folder, an architecture, its file, a native notation, or `zoo:NAME`.
        data: What to train on; that of the search when None.
        out: The run folder; `retrain` inside the search's folder when None.
        recipe: How to train; the defaults of `Recipe` when None.
        network: Layout keywords of `build`, such as `channels`.
        seed: All randomness follows from it.
        device: `auto`, `cpu`, `cuda`, …
        devices: How many of them share every batch, each in a process of its own (docs/distributed.md).
        precision: `32-true`, `64-true`, `bf16-mixed` or `16-mixed`.
        threads: Threads of CPU operations.
        progress: Whether to show progress on standard error.

    Raises:
        RamifyError: If anything handed in cannot work.
    """
    arch, home = _architecture(source)
    space = space_of(arch)
    directory = directory_of(home if data is None else None)
    settings = None
    if data is None and isinstance(source, SearchResult):
        if source.data is None:
            raise without_images("the search", source.lookup)
        data, settings = source.data, source.data_settings
    elif data is None and home is None:
        say("no data was named: training on digits", enabled=progress)
        data = "digits"
    elif data is None:
        recorded = data_of(cast(Path, home))
        data, settings = located(recorded, home), data_settings(recorded)
    settings = settings or data_settings(data)
    recipe = recipe or Recipe()
    fabric = make_fabric(device, precision, threads)
    loaded = _loaded(data, fabric)
    of_recipe = recipe_keywords(space, recipe)
    handed = _handed_on(source, home, space, {*of_recipe, *(network or {})})
    if handed:
        said = ", ".join(f"{name} {value}" for name, value in handed.items())
        say(f"laid out as the search was: {said}; --network or `network=` overrides that", enabled=progress)
    network = {**handed, **(network or {})}
    keywords = {**of_recipe, **network}
    layout = space.layout(keywords)
    task = Task(loaded, seed, fabric, keywords)
    config = {
        "architecture": arch.to_dict(),
        "recipe": fields_of(recipe),
        **common_settings(settings, network, seed, fabric, precision, threads, devices),
    }
    if out is None and home is not None:
        out = files.inner(home, "retrain")
    with _folder(out) as path, RunFolder(path) as folder:
        with seeded(seed, "network"):
            built = space.build(arch, layout, shape=task.shape)
        session = TrainingSession(built, recipe, task)
        session.rehearse()  # before anything is written
        ruled = {name: getattr(session.recipe, name) for name in ("weight_decay", "drop_path")}
        if session.recipe != recipe:
            set_to = " and ".join(f"{name} {value}" for name, value in ruled.items())
            say(f"the size rule sets {set_to}", enabled=progress)
        if _open(folder, config, seed, loaded, progress, directory=directory):
            seconds = drive(session, folder, fabric.device, title="retrain", progress=progress)
            state = {name: value.cpu().contiguous() for name, value in session.trained.state_dict().items()}
            _check_finite(state, "the network")
            weights = save(state)
            folder.write("model.safetensors", weights)
            folder.write_json("architecture.json", arch.to_dict())
            shape = {"layout": keywords, **task.shape, "input_size": loaded.input_size}
            pixels = {"mean": loaded.mean, "std": loaded.std, "classes": loaded.classes}
            scale = scale_of(loaded)
            depth = {} if scale is None else {"scale": vars(scale)}
            network_file = {"architecture": arch.to_dict(), **shape, **pixels, **depth, "sha256": files.digest(weights)}
            folder.write_json("network.json", network_file)
            last = folder.history()[-1]
            cost = profile(built, loaded.input_size)
            result = {
                "notation": space.format(arch),
                "loss": last["loss"],
                "accuracy": last["accuracy"],
                "seconds": round(seconds, 3),
                "params": cost.params - cost.auxiliary_params,
                "macs": cost.macs,
                **(ruled if recipe.size_rule else {}),
            }
            folder.finish(result)
            parallel.wait()
        trained, shape = load_network(folder.path)
        kept = None if out is None else folder.path
        return RetrainResult(arch, trained, shape, folder.history(), kept, loaded, settings)


def load_network(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network that a retraining left, in evaluation mode, and its `network.json`.

    Args:
        path: The run folder of a retraining, or of its search.

    Raises:
        RunError: If the folder holds no finished retraining or its weights do not fit.
    """
    folder = RunFolder(_retrained(Path(path)))
    shape = folder.read_json("network.json", NetworkFile)
    folder.check_imports()
    weights = folder.path / "model.safetensors"
    advice = "delete result.json beside it, and the same `ramify retrain` writes it anew"
    try:
        content = reading.bytes_of(weights, error=RunError)
        if files.digest(content) != shape["sha256"]:
            raise ValueError("its checksum is wrong")
        state = load(content)
    except Exception as error:  # whatever a damaged file makes of the reader
        raise RunError(f"{weights} is damaged ({str(error).strip().splitlines()[0]:.100}); {advice}") from None
    try:
        arch = Architecture.from_json(shape["architecture"])
        space = space_of(arch)
        with torch.device("meta"):  # nothing is allocated before the weights are known to have these sizes
            _check_shapes(_built(space, arch, shape), state)
    except RamifyError as error:
        raise RunError(f"{folder.path / 'network.json'} does not fit its weights ({error!s:.120}); {advice}") from None
    network = _built(space, arch, shape)
    network.load_state_dict(state)
    return network.eval(), dict(shape)


def _built(space: Space, arch: Architecture, shape: NetworkFile) -> nn.Module:
    demanded = {"num_classes": shape["num_classes"], "in_channels": shape["in_channels"]}
    return space.build(arch, shape["layout"], shape=demanded)


def _check_shapes(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise `RunError` unless a network has exactly the weights of `state`."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if wrong := next((name for name in (*wanted, *found) if wanted.get(name) != found.get(name)), None):
        raise RunError(f"{wrong} is {found.get(wrong)} there and {wanted.get(wrong)} in the network")


@dataclass(frozen=True)
class EvaluationResult:
    """What a trained network reaches and costs.

    Args:
        split: Name of the split it was measured on.
        images: Number of images.
        top1: Share of correct predictions.
        top5: Share of images whose class is among the best five.
        loss: Mean cross-entropy in nats.
        params: Parameters, without an auxiliary head.
        macs: Multiply-adds of one image.
        latency_ms: Median time of one image on this device.
        device: What it was measured on.
    """

    split: str
    images: int
    top1: float
    top5: float
    loss: float
    params: int
    macs: int
    latency_ms: float
    device: str


def evaluate(
    source: RetrainResult | SearchResult | str | Path,
    data: AnyData | None = None,
    *,
    split: str = "test",
    device: str = "auto",
    threads: int | None = None,
) -> EvaluationResult:
    """Measure a retrained network; reading the test split is recorded in the run's `reads.jsonl`.

    Args:
        source: What `retrain` returned, or the run folder of a retraining or of its search.
        data: What to measure on; the data set of the retraining when None. Of other data without a part for testing,
            all images are measured. Classes are matched by their names, where both sides have names. `image_size` and
            columns are those of the retraining where none are named, and deep images are scaled as they were there.
        split: `test`, `train`, `search_train` or `search_validation`.
        device: `auto`, `cpu`, `cuda`, …
        threads: Threads of CPU operations.

    Raises:
        RamifyError: If there is no retrained network, or the data do not fit it.
    """
    network, shape, path = _trained(source)
    fabric = make_fabric(device, threads=threads)
    if data is None:
        data = source.data if isinstance(source, RetrainResult) else _retrained_data(source, cast(Path, path))
        loaded = load_data(data, device=fabric.device, scale=_scale_of(shape, path))
    else:
        loaded = _given(data, source, path, shape, fabric, split)
    loaded = _numbered(loaded, shape["classes"])
    if loaded.in_channels == 1 and shape["in_channels"] == 3:
        say(f"{loaded.name} is grey: its images get three equal channels, as the network was trained on colors")
        loaded = colored(loaded)
    if loaded.num_classes != shape["num_classes"] or loaded.in_channels != shape["in_channels"]:
        raise ConfigurationError(
            f"the network takes {shape['in_channels']} channels and knows {shape['num_classes']} classes, "
            f"but {loaded.name} has {loaded.in_channels} channels and {loaded.num_classes} classes"
        )
    # The network knows images as its own training data were normalised, whatever these are like.
    loaded = replace(loaded, mean=tuple(shape["mean"]), std=tuple(shape["std"]))
    before = len(loaded.reads)
    images = loaded.split(split, "evaluate")
    if path is not None:
        RunFolder(path).record_reads(loaded.reads[before:])
    network = network.to(fabric.device)
    found = measure(network, images, device=fabric.device).checked(images)
    cost = profile(network, loaded.input_size)
    result = EvaluationResult(
        split=split,
        **found.as_dict(),  # type: ignore[arg-type]
        params=cost.params - cost.auxiliary_params,
        macs=cost.macs,
        latency_ms=round(latency_ms(network, loaded.input_size), 4),
        device=str(fabric.device),
    )
    if path is not None:
        RunFolder(path).write_json("evaluation.json", vars(result))
    return result


def export(
    source: RetrainResult | SearchResult | str | Path,
    out: str | Path | None = None,
    *,
    formats: Sequence[str] = ("model.py", "safetensors", "torch.export", "onnx"),
) -> ExportResult:
    """Write a retrained network as files that need no Ramify, compared numerically before they are kept.

    Args:
        source: What `retrain` returned, or the run folder of a retraining or of its search.
        out: Where to; `export` inside the run folder when None.
        formats: What to write.
    """
    from ramify.exporting import export_network

    network, shape, path = _trained(source)
    if out is None and path is None:
        raise ConfigurationError("export needs `out`, because the network was trained without a run folder")
    return export_network(
        network,
        out or files.inner(cast(Path, path), "export"),
        input_size=tuple(shape["input_size"]),
        mean=shape["mean"],
        std=shape["std"],
        classes=shape["classes"],
        formats=formats,
    )


def write_report(source: SearchResult | ShrinkResult | RetrainResult | str | Path) -> Path:
    """Write `report.html` and the pictures into a run folder and return the page's path."""
    from ramify import report

    path = Path(source) if isinstance(source, str | Path) else source.out
    if path is None:
        raise ConfigurationError("a report needs a run folder; search with `out`")
    RunFolder(path).check_imports()
    levels = {}
    for name in RunFolder(path).config().get("levels") or ():
        found, _ = _architecture(path / name)
        levels[name] = space_of(found).graphs(found), space_of(found).choices
    if "shrinking" in RunFolder(path).config():
        description = RunFolder(path).read_json("space.json")
        whole = create({name: value for name, value in description.items() if name != "restriction"})
        return report.write_report(path, graphs={}, choices=whole.choices)
    arch, _ = _architecture(path)
    space = space_of(arch)
    return report.write_report(path, graphs=space.graphs(arch), choices=space.choices, levels=levels)


@dataclass(frozen=True)
class Description:
    """What there is to say about an architecture.

    Args:
        notation: Native notation, canonical.
        space: Its space.
        params: Parameters of the network.
        macs: Multiply-adds of one image, of convolutions and linear layers.
        thop: The same as the thop package counts them, with batch norms and global poolings.
        network: Layout keywords of the network; the others have their defaults.
        input_size: (C, H, W) of one of its images.
        num_classes: Of its classifier.
        pictures: PNG and SVG files of the cells.
        published: What is published of it, for an architecture of the zoo.
    """

    notation: Any
    space: str
    params: int
    macs: int
    thop: int
    network: dict[str, Any]
    input_size: tuple[int, ...]
    num_classes: int
    pictures: list[str]
    published: zoo.Entry | None = None


def describe(
    source: Architecture | SearchResult | RetrainResult | str | Path,
    space: Space | None = None,
    *,
    network: Mapping[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
    num_classes: int | None = None,
    pictures: str | Path | None = None,
) -> Description:
    """Say what an architecture is and costs.

    Args:
        source: An architecture, a run folder, a file with an architecture or a notation (`FILE:NAME` where there are
            several), a notation, or `zoo:NAME`.
        space: What a notation is a member of; recognised from the notation when None.
        network: Layout keywords of `build`; they override those of the run.
        input_size: (C, H, W) of one image; as in the run, else (3, 32, 32), when None.
        num_classes: Width of the classifier; as in the run, else 10, when None.
        pictures: Folder for pictures of the cells; none are drawn when None.
    """
    if min(num_classes or 1, *(input_size or [1])) < 1 or num_classes == 0:
        raise ConfigurationError(f"sizes must be at least 1, got input_size={input_size}, num_classes={num_classes}")
    arch, home = _architecture(source, space)
    shape: Mapping[str, Any] = {}
    if isinstance(source, RetrainResult):
        shape = source.shape
    elif home is not None:
        shape = network_of(home, arch, images=input_size is None or num_classes is None)
    elif isinstance(source, SearchResult):
        shape = source.shape
    input_size = tuple(shape.get("input_size", (3, 32, 32)) if input_size is None else input_size)
    num_classes = shape.get("num_classes", 10) if num_classes is None else num_classes
    space = space_of(arch)
    keywords = {**shape.get("layout", {}), **(network or {})}
    with torch.device("meta"):  # its shapes are all that is looked at
        built = space.build(arch, keywords, shape={"num_classes": num_classes, "in_channels": input_size[0]})
    cost = profile(built, input_size)
    drawn: list[str] = []
    if pictures is not None:
        from ramify.report import save_cell

        for name, graph in space.graphs(arch).items():
            drawn += map(str, reversed(save_cell(graph, Path(pictures) / name, title=name)))
    params = cost.params - cost.auxiliary_params
    published = zoo.find(source) if isinstance(source, str | Path) else None
    return Description(
        space.format(arch),
        repr(space),
        params,
        cost.macs,
        cost.thop,
        keywords,
        input_size,
        num_classes,
        drawn,
        published,
    )


def architecture_of(source: SearchResult | RetrainResult | Mapping[str, Any] | str | Path) -> Architecture:
    """Return the architecture that a result, a run folder, a file, a notation or `zoo:NAME` stands for."""
    return _architecture(source)[0]


# Shared by the verbs


def _given(data: AnyData, source: Any, path: Path | None, shape: Mapping[str, Any], fabric: Fabric, split: str) -> Data:
    """Load data for the measuring of a network: all of it, where there is no part for testing.

    Named data sets keep their splits, and so does what the network was trained on, which its path or, elsewhere, its
    fingerprint tells.
    """
    if path is None:
        fingerprint, settings = source.data.fingerprint, source.data_settings
    else:
        images = RunFolder(path).provenance().get("data")
        fingerprint = None if images is None else images.get("fingerprint")
        settings = RunFolder(path).config().get("data")
    trained = located(named_data(settings, path), path, there=False)
    if isinstance(data, str | Path):
        data = spec_of(data)

    def read(data: AnyData, measured: bool = False) -> Data:
        return _as_trained(data, trained, shape, path, device=fabric.device, measured=measured)

    if split != "test" or isinstance(data, Data):
        return read(data)
    alike = held = data
    if isinstance(data, DataSpec):
        # What was held out then is held out now.
        held = replace(
            data,
            test_fraction=trained.test_fraction,
            test=data.test or trained.test,
            validation_is_test=data.validation_is_test or trained.validation_is_test,
        )
        if _same_path(data.source, trained.source):
            return read(held)
        if data.source in NAMED:
            return read(data)
        alike = replace(trained, source=data.source, test=held.test)
    try:
        own = load_data(alike, device=fabric.device, quiet=True).fingerprint == fingerprint
    except DataError:  # such as images that nothing can be trained on
        own = False
    if not own and isinstance(data, DataSpec) and _is_inside(data.source, trained):
        say(f"{data.source} lies in {trained.source}: the network may have been trained on these images")
    return read(held) if own else read(data, measured=True)


def _as_trained(data: AnyData, trained: DataSpec, shape: Mapping[str, Any], path: Path | None, **options: Any) -> Data:
    """Load data as those of a training were loaded, as far as they name nothing else: columns, size and depth.

    Columns that are not there are left to the data, and images of many sizes get that of the network's images.
    """
    options["scale"] = _scale_of(shape, path)
    if isinstance(data, Data):
        return load_data(data, device=options["device"], scale=options["scale"])
    taken = {name: getattr(trained, name) for name in ("image_size", "image_column", "label_column")}
    named = data if isinstance(data, DataSpec) else DataSpec()
    taken = {name: value for name, value in taken.items() if value is not None and getattr(named, name) is None}
    while True:
        try:
            return load_data(data, **options, **taken)
        except OptionError as error:
            if error.option in taken:
                del taken[error.option]
            elif error.option == "image_size" and named.image_size is None:
                side = taken["image_size"] = shape["input_size"][1]
                say(f"the images are brought to {side}x{side} pixels, as those the network was trained on")
            else:
                raise


def _scale_of(shape: Mapping[str, Any], path: Path | None) -> Scale | None:
    """Return the scale of deep images that a `network.json` holds; None where the network was trained on bytes."""
    try:
        return None if shape.get("scale") is None else Scale(**shape["scale"])
    except (DataError, TypeError) as error:
        raise RunError(f"{(path or Path()) / 'network.json'} is damaged (scale: {error})") from None


def _same_path(one: str, other: str) -> bool:
    return files.expanded(one).resolve() == files.expanded(other).resolve()


def _is_inside(source: str, trained: DataSpec) -> bool:
    """Return whether a path lies in the folder of the training data, and not among its test images."""
    place, whole = (files.expanded(one).resolve() for one in (source, trained.source))
    test = None if trained.test is None else files.expanded(trained.test).resolve()
    told = [told_by(name) for name in place.relative_to(whole).parts] if place.is_relative_to(whole) else []
    apart = any(one is not None and one.part == "test" for one in told) or (test and place.is_relative_to(test))
    return bool(told) and not apart


def _numbered(data: Data, known: Sequence[str]) -> Data:
    """Number classes as a network knows them: by their names, or as they are where one side has only numbers."""
    nameless = any(all(name.lstrip("-").isdecimal() for name in names) for names in (data.classes, known))
    return data if nameless and not set(data.classes) <= set(known) else numbered(data, known)


def common_settings(
    data: Mapping[str, Any] | None,
    network: Mapping[str, Any] | None,
    seed: int,
    fabric: Fabric,
    precision: str,
    threads: int | None,
    devices: int,
) -> dict[str, Any]:
    """Return what the configurations of all verbs that work on data have in common."""
    return {
        "data": data,
        "network": described(dict(network or {})),
        "seed": seed,
        "device": str(fabric.device),
        "devices": devices,  # another number gives other bits
        "precision": precision,
        "threads": torch.get_num_threads() if threads is None else threads,  # so does another number of these
    }


def data_settings(data: Any) -> dict[str, Any]:
    """Return how a configuration names this data."""
    if isinstance(data, str | Path | DataSpec):
        return fields_of(spec_of(data))
    name = data.name if isinstance(data, Data) else type(data).__name__
    return {"source": f"python:{name}"}


def _loaded(data: AnyData, fabric: Fabric) -> Data:
    with parallel.first_before_others():  # there may be something to download
        return load_data(data, device=fabric.device)


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    if out is not None:
        yield Path(out)
        return
    if scratch() is not None:
        yield cast(Path, scratch())
        return
    with tempfile.TemporaryDirectory(prefix="ramify-") as path:
        yield Path(parallel.text_of_first(path))


def _open(
    folder: RunFolder,
    config: Mapping[str, Any],
    seed: int,
    data: Data | None,
    progress: bool,
    table: Table | None = None,
    lookup: Mapping[str, Any] | None = None,
    directory: str | None = None,
) -> bool:
    """Open a run folder for this configuration, these very images and this very table; return whether work is left."""
    folder.open(config, seed, free=lambda name: _may_change(name) or (data is None and name == "data"))
    found: dict[str, Any] = {**folder.provenance()}
    if config.get("executor") is not None and found.get("executors", [])[-1:] != [config["executor"]]:
        found["executors"] = [*found.get("executors", ()), config["executor"]]
        folder.write_json("provenance.json", found)
    if lookup is not None:
        if "lookup" not in found:
            found["lookup"] = dict(lookup)
            folder.write_json("provenance.json", found)
        if found["lookup"].get("sha256") != lookup["sha256"]:
            raise RunError(f"{folder.path} was made with another table than is there now; choose another --out")
    if data is None:
        about = {"name": lookup["data"], "of": "the table"} if lookup else {"name": None}
        if found.get("data") != about:  # before, digits were recorded that played no part
            folder.write_json("provenance.json", {**found, "data": about})
    elif "data" not in found:
        found["data"] = images_of(data) | ({} if directory is None else {"directory": directory})
        folder.write_json("provenance.json", found)
    if data is not None and found["data"].get("fingerprint") != data.fingerprint:
        raise RunError(f"{folder.path} was made with other images than {data.name} holds now; choose another --out")
    if table is not None:
        if "table" not in found:
            found["table"] = table.digest
            folder.write_json("provenance.json", found)
        if found["table"] != table.digest:
            raise RunError(f"{folder.path} was made with another table than is there now; choose another --out")
    if folder.finished:
        say(f"{folder.path} is finished: this is its result, nothing is done again", enabled=progress)
    return not folder.finished


def _may_change(name: str) -> bool:
    """Return whether a value of the configuration may differ where a run is continued: how its jobs are done."""
    return name.startswith("executor.") and not name.endswith(".threads_per_evaluation")


def _architecture(source: Any, space: Space | None = None) -> tuple[Architecture, Path | None]:
    """Return the architecture that `source` stands for, and the run folder it comes from."""
    if isinstance(source, Architecture):
        return source, None
    if isinstance(source, SearchResult | RetrainResult):
        return source.architecture, source.out
    if isinstance(source, Mapping | list | tuple):
        return _read(source, space), None
    text = str(source)
    entry = zoo.find(text)
    if entry is not None:
        return (space or entry.space).checked(entry.architecture), None
    path = Path(text)
    if _is(path, Path.is_dir):
        return Architecture.from_json(RunFolder(path).architecture()), path
    if _is(path, Path.is_file):
        return _from_file(path, space), None
    head, _, name = text.rpartition(":")
    if _is(Path(head), Path.is_file):
        return _from_file(Path(head), space, name.strip() or None), None
    if not re.search(r"[|{\[(=]", text) and (path.suffix or os.sep in text):
        raise ArchitectureError(f"there is no file or folder {reading.shown(path)}")
    try:
        return _read(notation.read(text, tell=say), space), None
    except notation.UnknownNotationError as error:
        raise ArchitectureError(str(error).replace(" is no ", " is no run folder, no file, and no ")) from None
    except ArchitectureError as error:
        raise ArchitectureError(bounded(str(error))) from None


def _from_file(path: Path, space: Space | None, name: str | None = None) -> Architecture:
    """Return the architecture in a file; of several genotypes that of this name, or the last of a log."""
    text = reading.text_of(path, error=ArchitectureError, limit=notation.MAX_CHARACTERS)
    try:
        found = notation.read(text, name=name, python=path.suffix == ".py", tell=lambda note: say(f"{path}: {note}"))
        return _read(found, space)
    except ArchitectureError as error:
        raise ArchitectureError(bounded(f"{path}: {error}")) from None


def _read(content: Any, space: Space | None) -> Architecture:
    """Read an architecture's JSON object, a file of ours that holds one, or a native notation."""
    if isinstance(content, Mapping) and isinstance(content.get("architecture"), Mapping):
        content = content["architecture"]
    if isinstance(content, Mapping) and "format" in content:
        arch = Architecture.from_json(content)
        return (space or space_of(arch)).checked(arch)
    return (space or recognise(content)).parse(content)


def _is(path: Path, test: Any) -> bool:
    try:
        return test(path)
    except (OSError, ValueError):  # a long notation is no valid file name
        return False


def _trained(source: Any) -> tuple[nn.Module, dict[str, Any], Path | None]:
    """Return the network that `source` stands for, its `network.json`, and its run folder."""
    if isinstance(source, RetrainResult):
        return copy.deepcopy(source.network), source.shape, source.out
    path = source.out if isinstance(source, SearchResult) else Path(source)
    if path is None:
        raise RunError("the search was made without a run folder; hand over what `retrain` returned")
    found = _retrained(path)
    if found != path:
        files.inner(path, found.name)
    return *load_network(found), found


def _retrained(path: Path) -> Path:
    """Return the folder with the retrained network: the run folder itself, or `retrain` in that of a search.

    Raises:
        RunError: If there is none.
    """
    for candidate in (path, path / "retrain"):
        if (candidate / "network.json").exists():
            return candidate
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}")
    if "recipe" in RunFolder(path).config():
        raise RunError(f"the retraining in {path} is not finished; the same `ramify retrain` continues it")
    if (path / "architecture.json").exists():
        raise RunError(f"{path} is of a search and holds no retrained network; run `ramify retrain {path}` first")
    raise RunError(f"{path} holds no retrained network, and no finished search that could be retrained")


def _retrained_data(source: Any, path: Path) -> AnyData:
    """Return the data of the retraining at `path`: as the search holds it, if that is the same."""
    if isinstance(source, SearchResult) and source.data is not None:
        images = RunFolder(path).provenance().get("data")
        if images is not None and images.get("fingerprint") == source.data.fingerprint:
            return source.data
    return located(data_of(path), path)


def _handed_on(source: Any, home: Path | None, space: Space, decided: Collection[str]) -> dict[str, Any]:
    """Return the layout keywords of a run that hold for the networks built of its result, but those `decided`."""
    if home is not None:
        found = layout_of(home, space)
    elif isinstance(source, SearchResult):
        found = source.shape["layout"]
    else:
        found = {}
    return {name: value for name, value in found.items() if name not in decided}


def recipe_keywords(space: Space, recipe: Recipe) -> dict[str, Any]:
    """Return the layout keywords that a recipe sets, as far as the space's networks take them."""
    known = space.Layout.keywords("member")
    wanted = {"auxiliary": recipe.auxiliary and recipe.auxiliary_weight > 0, "drop_path": recipe.drop_path}
    return {name: value for name, value in wanted.items() if name in known}
