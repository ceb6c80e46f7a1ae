"""The export formats: how each file is written, and read back to be compared with the network."""

from __future__ import annotations

import copy
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

Function = Callable[[Tensor], Any]


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
    """Runs the model, with the export as the current folder; `{size}` stands for the size of a batch of one."""

    packages: tuple[str, ...] = ()
    """What it needs from the extra `onnx`."""


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own deprecations
        torch.onnx.export(
            program,
            (),
            path,
            input_names=["images"],
            output_names=_names(program),
            external_data=False,
            verbose=False,
        )


def _names(program: ExportedProgram) -> list[str]:
    """Return the names of the outputs: `outputs`, or `outputs0` and so on of several."""
    count = len(program.graph_signature.user_outputs)
    return ["outputs"] if count == 1 else [f"outputs{number}" for number in range(count)]


def _read_onnx(subject: Subject, path: Path) -> Function:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> list[Tensor]:
        found = session.run(None, {"images": images.float().numpy()})
        return [torch.from_numpy(each) for each in found]

    return run


FORMATS: dict[str, Format] = {
    "model.py": Format("model.py", _write_source, _read_source, "python model.py"),
    "torch.export": Format(
        "model.pt2",
        _write_program,
        _read_program,
        "python -c \"import torch; print(torch.export.load('model.pt2').module()(torch.zeros({size})))\"",
    ),
    "onnx": Format(
        "model.onnx",
        _write_onnx,
        _read_onnx,
        "python -c \"import numpy, onnxruntime; print(onnxruntime.InferenceSession('model.onnx')"
        ".run(None, {{'images': numpy.zeros({size}, 'float32')}}))\"",
        packages=("onnx", "onnxscript", "onnxruntime"),
    ),
    "safetensors": Format(
        "model.safetensors",
        _write_weights,
        _read_weights,
        "python -c \"from safetensors.torch import load_file; print(load_file('model.safetensors').keys())\"",
    ),
}
"""By name, the one that is easiest to run first."""
