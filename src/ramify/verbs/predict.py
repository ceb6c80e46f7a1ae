"""Predict what pictures show, with a retrained network or an export."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ramify import files
from ramify.commandline.options import add_checkpoint, add_json, add_machine
from ramify.data import as_it_was, unlabeled
from ramify.data.depth import Scale
from ramify.data.encoded import Encoded, upright_size
from ramify.errors import ConfigurationError, RunError
from ramify.run import make_fabric, say
from ramify.run.origin import check_told, scale_told, task_told
from ramify.run.trained import network_of
from ramify.tasks import Prediction
from ramify.tasks.batch import tensors
from ramify.tasks.from_maps import FromMaps, at_most
from ramify.training.measure import MEASURED_BATCH
from ramify.training.single_images import is_lonely
from ramify.verbs.retrain import RetrainResult
from ramify.verbs.search import SearchResult

if TYPE_CHECKING:
    from ramify.commandline import Command


@dataclass(frozen=True)
class PredictionResult:
    """What a network says of images.

    Iterating gives pairs of an image's name and its `Prediction`: a `Ranking` of classes, `Values` of a regression, the
    `Objects` that are found, or the `Regions` of a segmentation.

    Args:
        images: Where each image is from: its file, or its number.
        predictions: Of each.
        sources: What the images are read from again, for pictures.
        scale: How images deeper than bytes became bytes in training.
    """

    images: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    sources: Encoded = field(repr=False, compare=False)
    scale: Scale | None = field(default=None, repr=False, compare=False)

    def __iter__(self) -> Iterator[tuple[str, Prediction]]:
        return zip(self.images, self.predictions, strict=True)

    def __len__(self) -> int:
        return len(self.images)

    def rows(self) -> list[dict[str, str | float]]:
        """Return all predictions as the rows of one table, column → value; `image` is the first column."""
        return [{"image": image, **row} for image, prediction in self for row in prediction.rows()]

    @property
    def drawable(self) -> bool:
        """Whether there are pictures of the predictions."""
        return any(type(one).pictures is not Prediction.pictures for one in self.predictions)

    def write_csv(self, path: str | Path) -> None:
        """Write the rows as a CSV file."""
        rows, text = self.rows(), io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
        files.write(path, text.getvalue())

    def write_pictures(self, folder: str | Path) -> list[Path]:
        """Write pictures of the predictions, named as the images, and return their paths.

        Of objects: `NAME-objects.png`, the image with a frame around each. Of regions: `NAME-mask.png`, whose values
        are the numbers of the classes, in the order in which the network knows them, and `NAME-classes.png`, the image
        with their colors over it. All in the image's own size. Of what has no place in an image there are none.
        """
        if not self.drawable:
            return []
        written: dict[Path, None] = {}
        for row, (image, prediction) in enumerate(self):
            stem = Path(image).stem if Path(image).suffix else f"{row + 1}"
            for kind, picture in prediction.pictures(as_it_was(self.sources, row, self.scale)).items():
                content = io.BytesIO()
                picture.save(content, "png")
                path = _free(Path(folder) / f"{stem}-{kind}.png", written)
                files.write(path, content.getvalue())
                written[path] = None
        return list(written)


def predict(
    source: RetrainResult | SearchResult | str | Path,
    images: Any,
    *,
    top: int = 5,
    checkpoint: str = "last",
    device: str = "auto",
    precision: str = "32-true",
    threads: int | None = None,
) -> PredictionResult:
    """Predict what images show that nobody has labeled.

    They are read as training images are: turned upright by their EXIF orientation, palettes and deep images brought to
    bytes, resized to cover the network's size and cut to its center; of a network that finds objects, to fit into it.

    Args:
        source: What `retrain` returned, the run folder of a retraining or of its search, the folder of an export, or
            its ONNX file.
        images: A file, a folder, a pattern such as `new/*.jpg`, an image in Python (PIL, array or tensor), or a list of
            such.
        top: How many classes, or objects, are given of each image.
        checkpoint: The `last` weights of the training, or the `best` by the validation of its recipe.
        device: `auto`, `cpu`, `cuda`, …
        precision: `32-true`, `64-true`, `bf16-mixed` (`bf16` for short) or `16-mixed`, however it was trained.
        threads: Threads of CPU operations.

    Raises:
        RamifyError: If there is no network, it takes no images, or an image cannot be read.

    Example:
        >>> for name, found in ramify.predict("runs/first", "new/*.jpg"):  # doctest: +SKIP
        ...     print(name, found.best, found.probabilities[0])
    """
    from ramify.exporting import is_export, read_export

    if top < 1:
        raise ConfigurationError(f"`top` must be at least 1, got {top}")
    fabric = make_fabric(device, precision, threads)
    path: Path | None = None
    if isinstance(source, str | Path) and is_export(source):
        if (checkpoint, precision) != ("last", "32-true") or fabric.device.type != "cpu":
            raise ConfigurationError(
                f"{source} is an export, which computes as it was written, on the CPU; leave out --checkpoint, "
                "--precision and --device"
            )
        forward, shape = read_export(source)
    else:
        network, shape, path = network_of(source, checkpoint)
        set_up = fabric.setup_module(network)
        forward = set_up.eval()
        if _depends_on_others(network):
            say("norms of this network have no running statistics: what it says of an image depends on those beside it")
    task = task_told(shape)
    size = shape["input_size"]
    if len(size) != 3 or "mean" not in shape:
        what = "batches that its task makes" if "mean" not in shape else f"rows of {size[0]} features"
        raise ConfigurationError(f"predict is for images, and this network takes {what}; `ramify evaluate` measures it")
    check_told(shape, path, task.targets)
    known = {"input_size": size, "mean": shape["mean"], "std": shape["std"], "scale": scale_told(shape, path)}
    split, sources = unlabeled(images, **known, whole=task.targets == "boxes", device=fabric.device)
    names = tuple(sources.where(row) for row in range(len(sources)))
    called = shape.get("target_names", ()) if task.targets == "values" else shape["classes"]
    found: list[Prediction] = []
    at_once = MEASURED_BATCH
    if isinstance(task, FromMaps):
        at_once = at_most(at_once, task.pixels_at_once, size)
    for x, _ in split.batches(at_once, seed=0):
        output = _said(forward, x)
        if not all(bool(each.isfinite().all()) for each in tensors(output)):
            raise RunError(f"what the network says of {names[len(found)]} and what follows is not finite")
        said = task.predictions(output, called, top)
        if any(type(one).placed is not Prediction.placed for one in said):
            said = [one.placed(size[1:], upright_size(sources, len(found) + at)) for at, one in enumerate(said)]
        found += said
    return PredictionResult(names, tuple(found), sources, known["scale"])


def _free(path: Path, taken: Collection[Path]) -> Path:
    """Return a path, with a number where it is taken: images of several folders may have one name."""
    number, first = 1, path
    while path in taken:
        number += 1
        path = first.with_stem(f"{first.stem}-{number}")
    return path


def _said(forward: Callable[[Any], Any], images: torch.Tensor) -> Any:
    """Return the network's output for a batch.

    Raises:
        ConfigurationError: If a norm has nothing but a single image.
    """
    try:
        with torch.no_grad():
            return forward(images)
    except ValueError as error:
        if not is_lonely(error):
            raise
        raise ConfigurationError(
            "a norm of this network has no running statistics, and nothing but one image: predict several at a time, "
            "or retrain with the layout `track_running_stats=True`"
        ) from None


def _depends_on_others(network: torch.nn.Module) -> bool:
    norms = (torch.nn.modules.batchnorm._BatchNorm,)
    return any(isinstance(module, norms) and module.running_mean is None for module in network.modules())


# On the command line


def run(command: Command) -> int:
    """Run `ramify predict`."""
    command.take_classes()
    command.add("source", str, "run folder of a retraining or of its search, folder of an export, or its ONNX file")
    command.add("images", list[str], "images: files, folders, or patterns in quotes", several=True)
    command.add("--csv", str | None, "file for a table: a row for each image and class, or each image and its values")
    command.add("--out", str | None, "folder for pictures of what is found: framed objects, masks, colored classes")
    command.add("--top", int, "classes of each image", default=5)
    add_checkpoint(command)
    add_json(command)
    add_machine(command, "device", "precision", "threads")
    options = command.parse()
    chosen = {name: options[name] for name in ("top", "checkpoint", "device", "precision", "threads")}
    result = predict(options.source, options.images, **chosen)
    if options.out is not None and not result.drawable:
        raise ConfigurationError(f"what {options.source} says of an image has no place in it; leave out --out")
    if options.csv is not None:
        result.write_csv(options.csv)
    pictures = [] if options.out is None else result.write_pictures(options.out)
    if options.json:
        print(files.to_json(_grouped(result), indent=2, ascii_only=False))
    elif options.csv is None:
        for name, found in result:
            print(f"{name}: {found}")
    if options.csv is not None and not options.json:
        print(f"{options.csv}: {len(result)} images")
    if options.out is not None and not options.json:
        print(f"{options.out}: {len(pictures)} pictures of {len(result)} images")
    return 0


def _grouped(result: PredictionResult) -> list[Mapping[str, Any]]:
    return [{"image": name, "predicted": found.rows()} for name, found in result]
