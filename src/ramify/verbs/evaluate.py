"""Measure a retrained network, or published weights, on the test split."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ramify import files
from ramify.architecture import Architecture
from ramify.commandline.options import add_checkpoint, add_data, add_json, add_machine, add_network, add_space
from ramify.costs import latency_ms, profile
from ramify.data import Data, DataSpec, arranged, colored, data_set_names, numbered, spec_of, targeted
from ramify.data import load as load_data
from ramify.data.part_names import told_by
from ramify.errors import ConfigurationError, DataError, OptionError
from ramify.run import RunFolder, make_fabric, say
from ramify.run.environment import check_precision
from ramify.run.initial import from_file
from ramify.run.opening import bound
from ramify.run.origin import check_told, data_of, located, named_data, network_shape, scale_told, task_told
from ramify.run.sources import find
from ramify.run.trained import network_of
from ramify.spaces import Space, space_of
from ramify.tasks import TASKS, Classification, Portion, Task
from ramify.training import measure
from ramify.training.views import WAYS, averaged
from ramify.training.worst import WorstImages
from ramify.verbs.retrain import RetrainResult
from ramify.verbs.search import SearchResult

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ramify.commandline import Command
    from ramify.run.opening import AnyData


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The metrics and the cost of a trained network.

    The metrics of the task are attributes, too; of classification `top1`, the share of correct predictions, `top5`,
    that of images whose class is among the best five, and `balanced_accuracy`, the mean accuracy of the classes.

    Args:
        split: Name of the split it was measured on.
        images: Number of images, or of what else the inputs are.
        loss: That of the task, on average; of classification the cross-entropy in nats.
        params: Parameters, without an auxiliary head.
        macs: Multiply-adds of one image.
        latency_ms: Median time of one image on this device.
        device: What it was measured on.
        precision: What it computed in.
        views: What the class scores are averaged over.
    """

    split: str
    images: int
    loss: float
    params: int
    macs: int
    latency_ms: float
    device: str
    precision: str
    views: str = "none"

    @classmethod
    def of(cls, metrics: Mapping[str, float], **values: Any) -> EvaluationResult:
        """Return a result with these metrics of the task as attributes."""
        result = cls(**values)
        vars(result).update(metrics)
        return result

    def __repr__(self) -> str:
        told = {name: f"{value:.6g}" for name, value in self.metrics.items()}
        told |= {one.name: repr(getattr(self, one.name)) for one in fields(self)}
        return f"EvaluationResult({', '.join(f'{name}={value}' for name, value in told.items())})"

    def __getattr__(self, name: str) -> float:
        raise AttributeError(f"no metric {name!r} was measured; there are {', '.join(self.metrics)}")

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the task, by name."""
        own = {item.name for item in fields(self)}
        return {name: value for name, value in vars(self).items() if name not in own}

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain values, the task's metrics last."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"split": values.pop("split"), "images": values.pop("images"), **self.metrics, **values}


DETAILS = "evaluation-details.json"
"""What there is beside the metrics, in the run folder: accuracy and confusions of classes, or metrics of each value."""

PREDICTIONS = "predictions.png"
"""What the network says of a few inputs beside the truth, in the run folder, for tasks that can be drawn."""
DRAWN = 6
"""How many inputs that are."""
WORST = "evaluation-worst.json"
"""The images on which the network is most wrong, small, in the run folder, where inputs are images with classes."""


def evaluate(
    source: RetrainResult | SearchResult | Architecture | Mapping[str, Any] | str | Path,
    data: AnyData | None = None,
    *,
    weights: str | Path | None = None,
    space: Space | None = None,
    network: Mapping[str, Any] | None = None,
    split: str = "test",
    checkpoint: str = "last",
    device: str = "auto",
    precision: str = "32-true",
    threads: int | None = None,
    views: str = "none",
) -> EvaluationResult:
    """Measure a retrained network, or weights from elsewhere; reads of the test split are in the run's `reads.jsonl`.

    Args:
        source: What `retrain` returned, or the run folder of a retraining or of its search; with `weights`, whatever
            stands for the architecture: a run folder, a file, a notation, `zoo:NAME`.
        data: What to measure on; the data set of the retraining when None. Of other data without a part for testing,
            all images are measured. Classes are matched by their names, where both sides have names. `image_size` and
            columns are those of the retraining where none are named, and deep images are scaled as they were there.
        weights: A state dict, also of a published program (docs/weights.md), or the folder of an export, for the
            architecture. Images are normalized as their own data set is, and classes are numbered as there; nothing is
            recorded in a run.
        space: What a notation is a member of; recognized from the notation when None. Only with `weights`.
        network: Layout keywords of `build`; what the shapes of the weights say of them when None. Only with `weights`.
        split: `test`, `train`, `search_train` or `search_validation`.
        checkpoint: The `last` weights of the training, or the `best` by the validation of its recipe.
        device: `auto`, `cpu`, `cuda`, …
        precision: `32-true`, `64-true`, `bf16-mixed` (`bf16` for short) or `16-mixed`, however it was trained.
        threads: Threads of CPU operations.
        views: Average the class scores of each image over itself and its mirror image (`mirror`), or over six views of
            it (`shifts`, see `ramify.training.views`), which takes so many times as long; the cost remains that of one.

    Raises:
        RamifyError: If there is no retrained network, the weights do not fit the architecture, or the data do not.
    """
    fabric = make_fabric(device, precision, threads)
    if weights is not None:
        found = find(source, space)
        task = bound(None, "digits" if data is None else data, fabric, space_of(found.architecture))
        built = from_file(weights, found, task, network)
        return _measured(built, task, split, fabric, precision, views, None)
    if space is not None or network is not None:
        raise ConfigurationError(
            "`space` and `network` are for `weights` from elsewhere; a retrained network has its own"
        )
    if isinstance(source, Architecture | Mapping):
        raise ConfigurationError("an architecture has no trained network; `weights` says where its weights are")
    built, shape, path = network_of(source, checkpoint)
    task = source.task if isinstance(source, RetrainResult) else task_told(shape)
    if task.needs_data:
        task = task.on(_measured_data(source, data, path, shape, fabric, split, task.targets))
        if task.shape != (wanted := network_shape(shape)):
            needed, given = (_in_words(each, task.targets) for each in (wanted, task.shape))
            raise ConfigurationError(f"the network is for {needed}, but {task.title} has {given}")
    elif data is not None:
        raise ConfigurationError(f"{task.name} makes its own batches, so it takes no data; leave them out")
    return _measured(built, task, split, fabric, precision, views, path)


def _measured(
    network: nn.Module, task: Task, split: str, fabric: Fabric, precision: str, views: str, path: Path | None
) -> EvaluationResult:
    """Measure a network, and record that in its run folder, if it has one."""
    forward = averaged(fabric.setup_module(network), views, task)
    before = len(task.data.reads) if task.needs_data else 0
    inputs = task.split(split, "evaluate")
    if path is not None and task.needs_data:
        RunFolder(path).record_reads(task.data.reads[before:])
    worst = _worst_images(task)
    watch = None if worst is None else worst.update
    measurement = measure(network, inputs, device=fabric.device, forward=forward, watch=watch).checked(inputs)
    size = task.input_size if task.needs_data else task.example(1, "cpu").inputs
    cost = profile(network, size)
    with fabric.autocast():
        latency = latency_ms(network, size)
    result = EvaluationResult.of(
        measurement.metrics,
        split=split,
        images=measurement.items,
        loss=measurement.loss,
        params=cost.params - cost.auxiliary_params,
        macs=cost.macs,
        latency_ms=round(latency, 4),
        device=str(fabric.device),
        precision=check_precision(precision),
        views=views,
    )
    if path is not None:
        if measurement.details:
            RunFolder(path).write_json(DETAILS, dict(measurement.details))
        if worst is not None:
            worst.merge()
            RunFolder(path).write_json(WORST, worst.as_dict(task.data.classes))
        RunFolder(path).write_json("evaluation.json", result.as_dict())
        if (picture := _picture(network, inputs, forward, fabric)) is not None:
            RunFolder(path).write(PREDICTIONS, picture)
    return result


def _picture(network: nn.Module, inputs: Portion, forward: Callable[[Any], Any], fabric: Fabric) -> bytes | None:
    """Return a picture of what the network says of the first inputs, as PNG; None where a task draws nothing."""
    if type(inputs.task).picture is Task.picture:
        return None
    from PIL import Image

    batch = next(inputs.batches(DRAWN, seed=0, device=fabric.device))
    network.eval()
    with torch.no_grad():
        picture = inputs.task.picture(forward(batch.inputs), batch)
    if picture is None:
        return None
    buffer = io.BytesIO()
    Image.fromarray(picture.numpy()).save(buffer, format="PNG")
    return buffer.getvalue()


def _worst_images(task: Task) -> WorstImages | None:
    """Return what keeps the images on which a network is most wrong; None where inputs are no images with classes."""
    if not (isinstance(task, Classification) and task.needs_data and len(task.input_size) == 3):
        return None
    return WorstImages(task.data.mean, task.data.std)


def _measured_data(
    source: Any,
    data: AnyData | None,
    path: Path | None,
    shape: Mapping[str, Any],
    fabric: Fabric,
    split: str,
    targets: str,
) -> Data:
    """Return the data to measure a network on, as the network knows inputs and classes."""
    check_told(shape, path, targets)
    if data is None:
        data = source.data if isinstance(source, RetrainResult) else _retrained_data(source, cast(Path, path))
        loaded = load_data(data, device=fabric.device, scale=scale_told(shape, path), targets=targets)
        known: Mapping[str, Any] = {} if path is None else RunFolder(path).provenance().get("data") or {}
        if known.get("fingerprint", loaded.fingerprint) != loaded.fingerprint:
            say(f"{loaded.name} has changed since the network was trained on it: other images, labels or splits")
    else:
        loaded = _data_to_evaluate(data, source, path, shape, fabric, split, targets)
    wanted = network_shape(shape)
    if features := shape.get("features"):
        loaded = arranged(loaded, features)
    if targets != "values":
        loaded = _numbered(loaded, shape["classes"])
    elif len(names := shape.get("target_names", ())) > 1:
        loaded = targeted(loaded, names)
    if loaded.shape.get("in_channels") == 1 and wanted.get("in_channels") == 3:
        say(f"{loaded.name} is grey: its images get three equal channels, as the network was trained on colors")
        loaded = colored(loaded)
    # The network knows inputs as its own training data were normalized, whatever these are like.
    return replace(loaded, mean=tuple(shape["mean"]), std=tuple(shape["std"]))


def _in_words(shape: Mapping[str, int], targets: str) -> str:
    """Say what a shape is for people: `3 channels and 10 classes`."""
    units = {"num_classes": targets, "in_channels": "channels"}
    return " and ".join(f"{shape[name]} {units.get(name, name)}" for name in sorted(shape) if shape[name])


def _retrained_data(source: Any, path: Path) -> AnyData:
    """Return the data of the retraining at `path`: as the search holds it, if that is the same."""
    if isinstance(source, SearchResult) and source.data is not None:
        images = RunFolder(path).provenance().get("data")
        if images is not None and images.get("fingerprint") == source.data.fingerprint:
            return source.data
    return located(data_of(path), path)


def _data_to_evaluate(
    data: AnyData,
    source: Any,
    path: Path | None,
    shape: Mapping[str, Any],
    fabric: Fabric,
    split: str,
    targets: str,
) -> Data:
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
        options = {"device": fabric.device, "measured": measured, "targets": targets}
        return _as_trained(data, trained, shape, path, **options)

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
        if data.source in data_set_names():
            return read(data)
        alike = replace(trained, source=data.source, test=held.test)
    try:
        own = load_data(alike, device=fabric.device, quiet=True, targets=targets).fingerprint == fingerprint
    except DataError:  # such as images that nothing can be trained on
        own = False
    if not own and isinstance(data, DataSpec) and _is_inside(data.source, trained):
        say(f"{data.source} lies in {trained.source}: the network may have been trained on these images")
    return read(held) if own else read(data, measured=True)


def _as_trained(data: AnyData, trained: DataSpec, shape: Mapping[str, Any], path: Path | None, **options: Any) -> Data:
    """Load data as those of a training were loaded, as far as they name nothing else: columns, size and depth.

    Columns that are not there are left to the data, and images of many sizes, or of another shape than the network's
    images, get the size of these.
    """
    options["scale"] = scale_told(shape, path)
    if isinstance(data, Data):
        return load_data(data, device=options["device"], scale=options["scale"])
    as_trained = {
        name: getattr(trained, name) for name in ("image_size", "channel_axis", "image_column", "label_column")
    }
    named = data if isinstance(data, DataSpec) else DataSpec()
    as_trained = {
        name: value for name, value in as_trained.items() if value is not None and getattr(named, name) is None
    }
    size = tuple(shape["input_size"][1:])  # height and width, if the network takes images
    while True:
        try:
            loaded = load_data(data, **options, **as_trained)
            if named.image_size or "image_size" in as_trained or _same_ratio(loaded.input_size[1:], size):
                return loaded
        except OptionError as error:
            if error.option in as_trained:
                del as_trained[error.option]
                continue
            if error.option != "image_size" or named.image_size or len(size) != 2:
                raise
        as_trained["image_size"] = size
        say(f"the images are brought to {'x'.join(map(str, size))} pixels, as those the network was trained on")


def _same_ratio(one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether sizes (H, W) are alike but for their scale, or one of them is not of images."""
    return not len(one) == len(other) == 2 or one[0] * other[1] == one[1] * other[0]


def _same_path(one: str, other: str) -> bool:
    return files.expanded(one).resolve() == files.expanded(other).resolve()


def _is_inside(source: str, trained: DataSpec) -> bool:
    """Return whether a path lies in the folder of the training data, and not among its test images."""
    place, whole = (files.expanded(one).resolve() for one in (source, trained.source))
    test = None if trained.test is None else files.expanded(trained.test).resolve()
    steps = [told_by(name) for name in place.relative_to(whole).parts] if place.is_relative_to(whole) else []
    apart = any(one is not None and one.part == "test" for one in steps) or (test and place.is_relative_to(test))
    return bool(steps) and not apart


def _numbered(data: Data, known: Sequence[str]) -> Data:
    """Number classes as a network knows them: by their names, or as they are where one side has only numbers."""
    nameless = any(all(name.lstrip("-").isdecimal() for name in names) for names in (data.classes, known))
    return data if nameless and not set(data.classes) <= set(known) else numbered(data, known)


# On the command line


def run(command: Command) -> int:
    """Run `ramify evaluate`."""
    command.take_classes()
    command.add("source", str | None, "run folder of a retraining, or of its search; with --weights, an architecture")
    command.add(
        "--architecture", str | None, "the same as an option: run folder, notation, zoo:NAME, or a file with one"
    )
    command.add(
        "--weights", str | None, "a state dict, also of a published program, or an export, for the architecture"
    )
    add_space(command, "what a notation belongs to, if it is not evident", files=True)
    add_network(command, "layout of the network of --weights, where their shapes do not say it")
    add_data(command, more="; default: that of the retraining")
    command.add("--split", str, "test, train, search_train or search_validation", default="test")
    add_machine(command, "device", "precision", "threads")
    add_checkpoint(command)
    add_json(command)
    command.add("--views", str, f"average class scores over views of an image: {', '.join(WAYS)}", default="none")
    options = command.parse()
    source = options.source or options.architecture
    if source is None:
        raise ConfigurationError("evaluate needs the run folder of a retraining, or --weights and their architecture")
    chosen = {
        name: options[name]
        for name in ("weights", "space", "network", "split", "checkpoint", "device", "precision", "threads", "views")
    }
    result = evaluate(source, options.data, **chosen)
    words = [] if options.json else lines_of(result)
    words += [f"next: ramify export {shlex.quote(str(source))}"] if words and options.weights is None else []
    to_people = sys.stdout.isatty() and not options.json
    if not to_people:
        print(json.dumps(result.as_dict(), indent=2))
    for line in words:
        print(line, file=sys.stdout if to_people else sys.stderr)
    return 0


def lines_of(result: EvaluationResult) -> list[str]:
    """Return a result for people: each metric, a share of inputs with its interval, then what the network costs."""
    from ramify.report.intervals import wilson

    shares = {metric.name for kind in TASKS.values() for metric in kind.metrics if metric.unit == "fraction"}
    lines = []
    for name, value in result.metrics.items():
        text = f"{value:.2%}" if name in shares else f"{value:.6g}"
        if name in _COUNTED:
            low, high = wilson(round(value * result.images), result.images)
            text += f" ({low:.2%} to {high:.2%} with 95 % confidence)"
        lines.append(f"{result.split} {name.replace('_', ' ')}: {text}")
    views = "" if result.views == "none" else f", averaged over views ({result.views})"
    lines.append(f"loss {result.loss:.4f} on {result.images:,} inputs, computed in {result.precision}{views}")
    lines.append(
        f"{result.params:,} parameters, {result.macs:,} multiply-adds, {result.latency_ms:.3g} ms for one input on "
        f"this {result.device}"
    )
    return lines


_COUNTED = ("top1", "top5")
"""Metrics that count inputs, each right or wrong."""
