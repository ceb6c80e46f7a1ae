"""Running an export without running its code: by its ONNX file, which says itself what it takes and knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired

import torch
from torch import Tensor
from typing_extensions import TypedDict

from ramify import files, reading
from ramify.errors import MissingExtraError, RunError, shown
from ramify.exporting.formats import ONNX, ONNX_BYTES

MANIFEST = "manifest.json"


class Told(TypedDict):
    """What the metadata of an ONNX file say, as `Card.told` writes them."""

    input_size: tuple[int, ...]
    classes: list[str]
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]
    task: NotRequired[dict[str, Any] | None]
    shape: NotRequired[dict[str, int]]
    target_names: NotRequired[list[str]]
    scale: NotRequired[dict[str, Any] | None]
    whole: NotRequired[bool]


def is_export(source: str | Path) -> bool:
    """Return whether a path is the folder of an export, or its ONNX file."""
    path = files.expanded(source)
    return files.is_file(path / MANIFEST) or (path.suffix == ".onnx" and files.is_file(path))


def read_export(source: str | Path) -> tuple[Callable[[Tensor], Any], dict[str, Any]]:
    """Return an exported network, images (B, C, H, W) → outputs, and what it knows of inputs and classes.

    Outputs are one tensor, or a list of several.

    Its ONNX file is run; neither `model.py` nor a pickle is.

    Raises:
        RunError: If there is no such file, it is damaged, or was written before it said what it knows.
        MissingExtraError: If onnxruntime is not installed.
    """
    path = files.expanded(source)
    file = path / ONNX if path.is_dir() else path
    if file.name == ONNX_BYTES:
        raise RunError(f"{shown(file)} is for programs that have no other way to prepare images; give {ONNX} beside it")
    if not file.is_file():
        raise RunError(
            f"{shown(path)} has no {ONNX}, and code is not run from here; `python {shown(path / 'model.py')} IMAGE` "
            "predicts, or export anew with the format onnx"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx", "predicting with an export") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        name = session.get_inputs()[0].name
    except Exception as error:  # whatever a damaged file makes of the reader
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"{shown(file)} cannot be read ({reason:.100}); export the network anew") from None
    if "input_size" not in metadata:
        raise RunError(f"{shown(file)} does not say what it takes, as files of older versions; export the network anew")
    known = Told.__required_keys__ | Told.__optional_keys__
    told: dict[str, Any] = {
        key: reading.json_value(metadata[key], where=f"{file}: {key}", error=RunError)
        for key in known & metadata.keys()
    }

    def forward(images: Tensor) -> Any:
        found = [torch.from_numpy(each) for each in session.run(None, {name: images.float().contiguous().numpy()})]
        return found if len(found) > 1 else found[0]

    return forward, dict(reading.checked(told, Told, where=str(file), error=RunError))
