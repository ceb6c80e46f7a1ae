"""The parts of `model.py` that are the same for every network."""

from __future__ import annotations

from string import Template

RESERVED = frozenset(
    {"Any", "CLASSES", "DTYPE", "F", "INPUT_SIZE", "MEAN", "Path", "STD", "Tensor"}
    | {"json", "load", "main", "math", "nn", "read_safetensors", "reduce", "torch"}
)
"""Names that `model.py` uses itself, so that no network can be called so."""

MODEL = Template('''\
"""$name: a network in plain PyTorch, written by Ramify from the operations of the original.

    python model.py                  # build it, read its weights, run a blank image

    import model
    network = model.load()           # in evaluation mode; the weights from model.safetensors, beside this file
    $call # $shapes

Only PyTorch is needed. `network[path]` is the layer whose parameters `state_dict()` calls `path.weight` and so on.
"""

import json
${math}from functools import reduce
from pathlib import Path
from typing import Any

import torch
${functional}from torch import Tensor, nn

$constants


class $name(nn.Module):
    def __init__(self) -> None:
        super().__init__()$layers

    def forward(self, x: Tensor) -> $kind:
$operations

    def __setitem__(self, path: str, layer: nn.Module | Tensor) -> None:
        *parents, name = path.split(".")
        parent: nn.Module = self
        for part in parents:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = getattr(parent, part)
        setattr(parent, name, layer)

    def __getitem__(self, path: str) -> Any:
        return reduce(getattr, path.split("."), self)


def load(path: str | Path = Path(__file__).with_name("model.safetensors")) -> $name:
    """Return the network in evaluation mode, with the weights in the file `path`."""
    network = $name().to(DTYPE)
    network.load_state_dict(read_safetensors(path))
    return network.eval()


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Do as `safetensors.torch.load_file`: eight bytes of length, a JSON header, then the bytes of all tensors."""
    dtypes = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    dtypes |= {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8}
    dtypes |= {"U8": torch.uint8, "BOOL": torch.bool}
    content = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    content += b"\\0"  # PyTorch refuses an empty buffer
    raw = torch.frombuffer(content, dtype=torch.uint8, offset=start)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = raw[begin:end].clone().view(dtypes[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def main() -> None:
    """Check that code and weights belong together: run a blank image."""
    network = load()
    images = torch.zeros(1, *INPUT_SIZE, dtype=DTYPE)
    with torch.inference_mode():
        $result = network(images)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"$name: {count:,} parameters, {tuple(images.shape)} -> {$sizes}")
$report

if __name__ == "__main__":
    main()
''')

REPORT = """\
    shares, places = logits[0].softmax(0).topk(min(5, logits.shape[1]))
    for share, place in zip(shares.tolist(), places.tolist()):
        print(f"{share:8.2%}  {CLASSES[place] if CLASSES else f'class {place}'}")
"""
