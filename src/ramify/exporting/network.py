"""Writing a network in several formats, after verifying that all of them compute the same."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ramify.errors import ConfigurationError, MissingExtraError, RamifyError, nearest
from ramify.exporting.card import Card
from ramify.exporting.formats import FORMATS, Format, Function, Subject, outputs_of
from ramify.exporting.placing import replacing
from ramify.exporting.reading import MANIFEST
from ramify.exporting.readme import README, readme
from ramify.exporting.source import write_source
from ramify.exporting.tracing import reason, trace
from ramify.files import expanded

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest accepted difference from the network, relative to its largest output."""


@dataclass(frozen=True)
class ExportResult:
    """The files that `export_network` wrote."""

    folder: Path

    files: tuple[Path, ...]
    """In the order of `formats`, then `README.md` and the manifest."""

    differences: dict[str, float]
    """Format → largest absolute difference between its outputs and the network's, on random images."""


def export_network(
    network: nn.Module,
    folder: str | Path,
    *,
    input_size: tuple[int, ...],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] = (),
    task: Mapping[str, Any] | None = None,
    target_names: Sequence[str] = (),
    scale: Mapping[str, Any] | None = None,
    whole: bool = False,
    name: str = "Network",
    formats: Sequence[str] = ("model.py", "safetensors", "torch.export", "onnx"),
) -> ExportResult:
    """Write `network`, as it is in evaluation mode, into `folder`, for use without Ramify.

    Every file is read back and compared with the network, on random images in batches of 1 and 3, before
    anything appears in `folder`. An earlier export there is replaced as a whole, or stays untouched.

    Args:
        network: Maps images (B, C, H, W) to one tensor, or to a list of them, as a `Backbone` does; its parameters are
            float32 or float64. It is not changed.
        folder: New, empty, or holding an earlier export.
        input_size: Channels, height and width of an image, or what else the shape of one input is.
        mean: Per channel, of the training images scaled to 0..1; written down for whoever prepares images.
        std: As `mean`.
        classes: The names of the outputs, in order.
        task: What was learned, as a configuration records it; classification when None.
        target_names: Names of the values that are predicted, in order; empty for classes.
        scale: How images deeper than bytes became bytes in training: `bits` of integers, `white` of floats.
        whole: Whether pictures are resized to fit in as a whole, black right or below, instead of being cut to the
            center, as those with boxes are.
        name: The class in `model.py`.
        formats: `model.py` is plain PyTorch code; it reads its weights from `safetensors`, and brings it along.
            With it, parameters that never influence the output (auxiliary heads) are left out of all files.
            `torch.export` is a program with weights. `onnx` is always float32, for the sake of onnxruntime, and says
            in its metadata what the network takes and knows. `onnx-uint8` takes images (B, H, W, C) uint8 and returns
            probabilities. A `README.md` shows how each is used.

    Returns:
        The files, and how far the outputs of each format are from the network's.

    Raises:
        RamifyError: If the network cannot be exported, a file does not agree with it, or `folder` cannot be used.

    Example:
        >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> result = export_network(linear, "exports/linear", input_size=(1, 8, 8))  # doctest: +SKIP
        >>> result.differences["model.py"]  # doctest: +SKIP
        0.0
    """
    wanted = _select(formats)
    card = Card(
        name=name,
        input_size=tuple(input_size),
        mean=None if mean is None else tuple(map(float, mean)),
        std=None if std is None else tuple(map(float, std)),
        classes=tuple(classes),
        task=task,
        target_names=tuple(target_names),
        scale=scale,
        whole=whole,
    )
    if "onnx-uint8" in wanted and not card.of_images:
        raise ConfigurationError(
            "`onnx-uint8` normalizes grey or colored images, and this network takes none, or their `mean` and `std` "
            "are not known; leave it out"
        )
    folder = expanded(folder).resolve()
    expected = [README, *(form.file for form in FORMATS.values())]
    with replacing(folder, mark=MANIFEST, known=expected) as staging:
        with _explained("the network cannot be copied to the CPU"):
            network = copy.deepcopy(network).cpu().eval()
        cases = _cases(network, card)
        subject = _subject(network, card, cases[-1][0], flat="model.py" in wanted)
        for form in wanted.values():
            with _explained(f"`{form.file}` cannot be written"):
                form.write(subject, staging / form.file)
        differences = {}
        for key, form in wanted.items():
            with _explained(f"`{form.file}` cannot be read back"):
                differences[key] = _difference(
                    form.read(subject, staging / form.file), form.cases(subject, cases), form.file
                )
        (staging / README).write_text(readme(card, subject, wanted), encoding="utf-8")
        manifest = _manifest(subject, card, wanted, staging) | {"differences": differences}
        text = json.dumps(manifest, indent=2, ensure_ascii=False)
        (staging / MANIFEST).write_text(text + "\n", encoding="utf-8")
    files = [*(form.file for form in wanted.values()), README, MANIFEST]
    return ExportResult(folder, tuple(folder / file for file in files), differences)


def _select(formats: Sequence[str]) -> dict[str, Format]:
    """Look the formats up, and import what they need before any work is done."""
    names = [formats] if isinstance(formats, str) else list(formats)
    for name in names:
        if name not in FORMATS:
            raise ConfigurationError(f"unknown format {name!r}: {nearest(name, FORMATS)}")
    if not names:
        raise ConfigurationError(f"`formats` is empty: choose from {', '.join(FORMATS)}")
    if "model.py" in names:
        names.append("safetensors")
    for package in chain.from_iterable(FORMATS[name].packages for name in names):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtraError(package, "onnx", "the ONNX export") from error
    return {name: FORMATS[name] for name in names}


def _cases(network: nn.Module, card: Card) -> list[tuple[Tensor, list[Tensor]]]:
    """Return random images, and what the network makes of them."""
    floating = (t for t in chain(network.parameters(), network.buffers()) if t.is_floating_point())
    dtype = next((tensor.dtype for tensor in floating), torch.float32)
    if dtype not in TOLERANCE:
        raise RamifyError(f"a network of type {dtype} cannot be verified on the CPU: export network.float()")
    generator = torch.Generator().manual_seed(0)
    cases = []
    for batch in (1, 3):
        images = torch.randn(batch, *card.input_size, generator=generator, dtype=dtype)
        with _explained(f"the network cannot process images of size {tuple(images.shape)}"), torch.no_grad():
            found = network(images.clone())
        outputs = outputs_of(found) if not isinstance(found, tuple) else []  # a pair is of training
        if not outputs or not all(isinstance(each, Tensor) and each.is_floating_point() for each in outputs):
            raise RamifyError(f"the network must return one floating-point tensor, not {_kind(found)}")
        if not all(bool(each.isfinite().all()) for each in outputs):
            raise RamifyError("the network's own outputs on random images are not finite")
        cases.append((images, outputs))
    if card.classes and outputs[0].shape[1:2] != (len(card.classes),):
        size = tuple(outputs[0].shape[1:])
        raise ConfigurationError(
            f"`classes` has {len(card.classes)} names, but the output for an image has size {size}"
        )
    return cases


def _subject(network: nn.Module, card: Card, images: Tensor, *, flat: bool) -> Subject:
    """Gather what the formats are written from; `flat`: from the class in `model.py` instead of the network."""
    if not flat:
        return Subject(network, network, network.state_dict(), "", images, card)
    with _explained("`model.py` cannot be written"):
        operations = trace(network, images.clone())
        source = write_source(operations, card, images.dtype)
    with _explained("`model.py` does not run"):
        plain: nn.Module = getattr(_imported(source), card.name)().to(images.dtype)
        # Not from network.state_dict(), since constants become buffers.
        weights = {key: operations.tensor(key) for key in plain.state_dict()}
        plain.load_state_dict(weights)
    return Subject(network, plain.eval(), weights, source, images, card)


def _imported(source: str) -> ModuleType:
    """Import `model.py` as its users will, from a file."""
    with tempfile.TemporaryDirectory(prefix="ramify-") as folder:
        path = Path(folder) / "model.py"
        path.write_text(source)
        specification = importlib.util.spec_from_file_location("model", path)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    return module


def _difference(run: Function, cases: list[tuple[Tensor, list[Tensor]]], file: str) -> float:
    """Return the largest absolute difference from the network's outputs.

    Raises:
        RamifyError: If it is larger than `TOLERANCE` allows.
    """
    differences = []
    for images, expected in cases:
        with torch.no_grad():
            outputs = outputs_of(run(images.clone()))
        found, wanted = ([tuple(each.shape) for each in several] for several in (outputs, expected))
        if found != wanted:
            raise RamifyError(
                f"`{file}` returns size {', '.join(map(str, found))}, the network {', '.join(map(str, wanted))}"
            )
        for output, told in zip(outputs, expected, strict=True):
            differences.append((output.to(told.dtype) - told).abs().max().item())
            allowed = TOLERANCE[output.dtype] * (told.abs().max().item() or 1.0)
            if not differences[-1] <= allowed:  # nor NaN
                raise RamifyError(
                    f"`{file}` does not agree with the network: largest difference {differences[-1]:.2g}, "
                    f"allowed {allowed:.2g}"
                )
    return max(differences)


def _manifest(subject: Subject, card: Card, wanted: dict[str, Format], folder: Path) -> dict[str, Any]:
    command = next(form.command for key, form in FORMATS.items() if key in wanted)
    stored, own = subject.weights.keys(), subject.network.state_dict().keys()
    packages = ["ramify", "torch", "safetensors", *chain.from_iterable(form.packages for form in wanted.values())]
    return {
        **asdict(card),
        "command": command.format(size=(1, *card.input_size), pixels=(1, *card.input_size[1:], card.input_size[0])),
        "dtype": str(subject.images.dtype).removeprefix("torch."),
        "parameters": sum(parameter.numel() for parameter in subject.plain.parameters()),
        "unused": sorted(own - stored),
        "constants": sorted(stored - own),
        "warnings": _warnings(subject.plain),
        "versions": {"python": platform.python_version()} | {package: _version(package) for package in packages},
        "files": {file: _fingerprint(folder / file) for file in [*(form.file for form in wanted.values()), README]},
    }


def _warnings(network: nn.Module) -> list[str]:
    norms = [
        path
        for path, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is None
    ]
    if not norms:
        return []
    return [
        f"batch norms without running statistics ({len(norms)}, such as `{norms[0]}`): "
        "the output for an image depends on the other images in its batch"
    ]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"


def _kind(value: object) -> str:
    return f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _fingerprint(file: Path) -> dict[str, int | str]:
    content = file.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@contextmanager
def _explained(problem: str) -> Iterator[None]:
    """Turn whatever goes wrong in other libraries into one line."""
    try:
        yield
    except RamifyError:
        raise
    except Exception as error:
        raise RamifyError(f"{problem}: {reason(error)}") from error
