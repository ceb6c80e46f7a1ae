"""The export formats: how each file is written, and read back to be compared with the network."""

from __future__ import annotations

import copy
import json
import runpy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.func import functional_call

from ramify.data.augmentation import normalize
from ramify.exporting.card import Card

Function = Callable[[Tensor], Any]
Cases = list[tuple[Tensor, list[Tensor]]]

ONNX, ONNX_BYTES = "model.onnx", "model-uint8.onnx"


def outputs_of(found: Any) -> list[Tensor]:
    """Return what a network gives as a list of tensors: the only one, or several."""
    return list(found) if isinstance(found, list | tuple) else [found]


@dataclass(frozen=True)
class Subject:
    """The network to export with its example inputs, on the CPU and in evaluation mode."""

    network: nn.Module
    """The network as it was handed in."""

    plain: nn.Module
    """What programs are made of: the class in `model.py` if that is written, else the network itself."""

    weights: dict[str, Tensor]
    """The parameters and buffers of `plain`."""

    source: str
    """The text of `model.py`."""

    images: Tensor
    """An example (B, C, H, W), of several images: PyTorch takes a batch of one for a constant."""

    card: Card
    """What goes with the network."""

    @property
    def has_classes(self) -> bool:
        """Whether the outputs for an image are logits of classes."""
        outputs = self.example_outputs
        return not self.card.target_names and len(outputs) == 1 and outputs[0].ndim == 2

    @cached_property
    def example_outputs(self) -> list[Tensor]:
        """What the network returns for the example."""
        with torch.no_grad():
            return outputs_of(self.plain(self.images.clone()))

    @cached_property
    def program(self) -> ExportedProgram:
        """The exported graph of PyTorch's elementary operations."""
        return _program(self.plain, self.images)


@dataclass(frozen=True)
class Format:
    """An export format."""

    file: str

    write: Callable[[Subject, Path], None]

    read: Callable[[Subject, Path], Function]
    """Returns what maps images (B, C, H, W) to outputs; to be compared with the network."""

    command: str
    """Runs the model, with the export as the current folder; `{size}` is the size of a batch of one, `{pixels}` that
    of images with their channels last."""

    use: str
    """How Python uses the file, with the export as the current folder."""

    packages: tuple[str, ...] = ()
    """What it needs from the extra `onnx`."""

    cases: Callable[[Subject, Cases], Cases] = lambda subject, cases: cases
    """Returns the inputs that the file takes and what it has to return, from those of the network."""


def _program(network: nn.Module, images: Tensor) -> ExportedProgram:
    with torch.no_grad():
        return torch.export.export(network, (images,), dynamic_shapes=({0: Dim("batch")},))


def _write_source(subject: Subject, path: Path) -> None:
    path.write_text(subject.source, encoding="utf-8")


def _read_source(subject: Subject, path: Path) -> Function:
    return runpy.run_path(str(path))["load"]()


def _write_weights(subject: Subject, path: Path) -> None:
    # Clones, since the format has no shared memory; and bytes, since `save_file` hides the file from other users.
    weights = {key: tensor.detach().clone().contiguous() for key, tensor in subject.weights.items()}
    path.write_bytes(save(weights, metadata={"format": "pt"}))


def _read_weights(subject: Subject, path: Path) -> Function:
    # A missing tensor fails here, an additional one is a constant that the network makes itself.
    stored = load_file(path)
    weights = {key: stored[key] for key in subject.network.state_dict() if key in subject.weights}
    return lambda images: functional_call(subject.network, weights, (images,))


def _write_program(subject: Subject, path: Path) -> None:
    torch.export.save(subject.program, path)


def _read_program(subject: Subject, path: Path) -> Function:
    return torch.export.load(path).module()


def _write_onnx(subject: Subject, path: Path) -> None:
    if subject.images.dtype == torch.float32:
        program = subject.program
    else:  # onnxruntime convolves 32-bit numbers only
        program = _program(copy.deepcopy(subject.plain).float(), subject.images.float())
    _write_onnx_program(program, path, "outputs", subject.card)


def _write_onnx_bytes(subject: Subject, path: Path) -> None:
    network = _OfBytes(copy.deepcopy(subject.plain).float(), subject.card, probabilities=subject.has_classes)
    count, channels, height, width = subject.images.shape
    images = torch.zeros(count, height, width, channels, dtype=torch.uint8)
    program = _program(network.eval(), images)
    _write_onnx_program(program, path, "probabilities" if subject.has_classes else "outputs", subject.card)


def _write_onnx_program(program: ExportedProgram, path: Path, output: str, card: Card) -> None:
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own deprecations
        torch.onnx.export(
            program,
            (),
            path,
            input_names=["images"],
            output_names=_names(program, output),
            external_data=False,
            verbose=False,
        )
    model = onnx.load(str(path))
    told = {name: json.dumps(value, ensure_ascii=False) for name, value in card.told().items()}
    onnx.helper.set_model_props(model, told)
    onnx.save(model, str(path))


def _names(program: ExportedProgram, name: str) -> list[str]:
    """Return the names of the outputs: the name of a single one, or with numbers behind it of several."""
    count = len(program.graph_signature.user_outputs)
    return [name] if count == 1 else [f"{name}{number}" for number in range(count)]


def _read_onnx(subject: Subject, path: Path) -> Function:
    session = _session(path)

    def run(images: Tensor) -> list[Tensor]:
        found = session.run(None, {"images": images.float().numpy()})
        return [torch.from_numpy(each) for each in found]

    return run


def _read_onnx_bytes(subject: Subject, path: Path) -> Function:
    session = _session(path)
    return lambda images: [torch.from_numpy(each) for each in session.run(None, {"images": images.numpy()})]


def _session(path: Path) -> Any:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class _OfBytes(nn.Module):
    """A network that takes images (B, H, W, C) uint8, and returns probabilities where the network's are logits."""

    def __init__(self, network: nn.Module, card: Card, *, probabilities: bool) -> None:
        super().__init__()
        self.network, self.probabilities = network, probabilities
        mean, std = torch.tensor(card.mean), torch.tensor(card.std)
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, images: Tensor) -> Any:
        scale, shift = self.get_buffer("scale"), self.get_buffer("shift")
        output = self.network((images.float() * scale + shift).permute(0, 3, 1, 2))
        return output.softmax(dim=1) if self.probabilities else output


def _of_bytes(subject: Subject, cases: Cases) -> Cases:
    """Return images (B, H, W, C) uint8, and what the network makes of them once they are normalized."""
    generator, found = torch.Generator().manual_seed(1), []
    mean, std = (torch.tensor(each, dtype=subject.images.dtype) for each in (subject.card.mean, subject.card.std))
    for images, _ in cases:
        count, channels, height, width = images.shape
        pixels = torch.randint(0, 256, (count, height, width, channels), dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            outputs = outputs_of(subject.network(normalize(pixels, mean, std).permute(0, 3, 1, 2)))
        found.append((pixels, [outputs[0].softmax(dim=1)] if subject.has_classes else outputs))
    return found


_PYTHON = """\
The network in plain PyTorch. `python model.py IMAGE ...` says what pictures show. In Python:

```python
import model

network = model.load()  # in evaluation mode, with the weights of model.safetensors beside it
{inputs}
print(network(images))
```
"""
_PROGRAM = """\
A program of `torch.export`, with its weights; it needs PyTorch alone. Inputs are prepared as for `model.py`.

```python
import torch

network = torch.export.load("model.pt2").module()
print(network(torch.zeros({size}, dtype={dtype})))
```
"""
_ONNX = """\
ONNX, for onnxruntime and others. Inputs are normalized float32, (B, C, H, W) of images. The file itself says what it
takes and knows, as JSON: {told}.

```python
import json

import numpy
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
told = {{name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}}
print(told["input_size"], told["classes"])
print(session.run(None, {{"images": numpy.zeros({size}, numpy.float32)}}))
```
"""
_ONNX_BYTES = """\
ONNX that takes images as they are, (B, H, W, C) uint8 of the size above, normalizes them itself, and returns
{returned}.

```python
import numpy
import onnxruntime

session = onnxruntime.InferenceSession("model-uint8.onnx")
print(session.run(None, {{"images": numpy.zeros({pixels}, numpy.uint8)}}))
```
"""
_WEIGHTS = """\
The weights, by the names of the layers; `model.py` reads them.

```python
from safetensors.torch import load_file

print(load_file("model.safetensors").keys())
```
"""


FORMATS: dict[str, Format] = {
    "model.py": Format("model.py", _write_source, _read_source, "python model.py", _PYTHON),
    "torch.export": Format(
        "model.pt2",
        _write_program,
        _read_program,
        "python -c \"import torch; print(torch.export.load('model.pt2').module()(torch.zeros({size})))\"",
        _PROGRAM,
    ),
    "onnx": Format(
        ONNX,
        _write_onnx,
        _read_onnx,
        "python -c \"import numpy, onnxruntime; print(onnxruntime.InferenceSession('model.onnx')"
        ".run(None, {{'images': numpy.zeros({size}, 'float32')}}))\"",
        _ONNX,
        packages=("onnx", "onnxscript", "onnxruntime"),
    ),
    "onnx-uint8": Format(
        ONNX_BYTES,
        _write_onnx_bytes,
        _read_onnx_bytes,
        "python -c \"import numpy, onnxruntime; print(onnxruntime.InferenceSession('model-uint8.onnx')"
        ".run(None, {{'images': numpy.zeros({pixels}, 'uint8')}}))\"",
        _ONNX_BYTES,
        packages=("onnx", "onnxscript", "onnxruntime"),
        cases=_of_bytes,
    ),
    "safetensors": Format(
        "model.safetensors",
        _write_weights,
        _read_weights,
        "python -c \"from safetensors.torch import load_file; print(load_file('model.safetensors').keys())\"",
        _WEIGHTS,
    ),
}
"""By name, the one that is easiest to run first."""
