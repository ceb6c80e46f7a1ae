"""Write a retrained network as model.py, safetensors, torch.export and ONNX."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ramify import files
from ramify.commandline.options import add_checkpoint, add_machine
from ramify.errors import ConfigurationError
from ramify.run import say
from ramify.run.origin import task_told
from ramify.run.trained import network_of
from ramify.verbs.retrain import RetrainResult
from ramify.verbs.search import SearchResult

if TYPE_CHECKING:
    from ramify.commandline import Command
    from ramify.exporting import ExportResult


USUAL = ("model.py", "safetensors", "torch.export", "onnx")
"""The formats of an export that names none."""


def export(
    source: RetrainResult | SearchResult | str | Path,
    out: str | Path | None = None,
    *,
    checkpoint: str = "last",
    formats: Sequence[str] = USUAL,
) -> ExportResult:
    """Export a retrained network as files that need no Ramify, compared numerically before they are kept.

    Args:
        source: What `retrain` returned, or the run folder of a retraining or of its search.
        out: Where to; `export` inside the run folder when None.
        checkpoint: The `last` weights of the training, or the `best` by the validation of its recipe.
        formats: What to write: `model.py`, `safetensors`, `torch.export`, `onnx`, and `onnx-uint8`, which takes images
            as they are and returns probabilities.
    """
    from ramify.exporting import export_network

    network, shape, path = network_of(source, checkpoint)
    if out is None and path is None:
        raise ConfigurationError("export needs `out`, because the network has no run folder")
    return export_network(
        network,
        out or files.inner(cast(Path, path), "export"),
        input_size=tuple(shape["input_size"]),
        mean=shape.get("mean"),
        std=shape.get("std"),
        classes=shape.get("classes", ()),
        task=shape.get("task"),
        target_names=shape.get("target_names", ()),
        scale=shape.get("scale"),
        whole=task_told(shape).targets == "boxes",
        formats=formats,
    )


# On the command line


def run(command: Command) -> int:
    """Run `ramify export`."""
    command.take_classes()
    command.add("source", str, "run folder of a retraining, or of its search")
    add_machine(command, "out", kind=str | None, text="where to; default: `export` inside the run folder")
    add_checkpoint(command)
    text = "what to write, of model.py, safetensors, torch.export, onnx, and onnx-uint8: bytes in, probabilities out"
    command.add("--formats", list[str], text, default=list(USUAL))
    options = command.parse()
    result = export(options.source, options.out, checkpoint=options.checkpoint, formats=options.formats)
    for name, difference in result.differences.items():
        print(f"{name}: largest difference {difference:.1e}", file=sys.stderr)
    print(result.folder)
    say(f"how to use each file: {result.folder / 'README.md'}")
    return 0
