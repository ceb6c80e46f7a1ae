"""The parts of `model.py` that are the same for every network."""

from __future__ import annotations

from string import Template

RESERVED = frozenset(
    {"Any", "BITS", "CLASSES", "DTYPE", "F", "INPUT_SIZE", "MEAN", "Path", "STD", "Tensor", "VALUES", "WHITE"}
    | {"json", "load", "main", "math", "nn", "read", "read_safetensors", "reduce", "shallow", "suppress", "sys"}
    | {"torch"}
)
"""Names that `model.py` uses itself, so that no network can be called so."""

MODEL = Template('''\
"""$name: a network in plain PyTorch, written by Ramify from the operations of the original.

$usage

    import model
    network = model.load()           # in evaluation mode; the weights from model.safetensors, beside this file
    $call # $shapes

Only PyTorch is needed$beside.
`network[path]` is the layer whose parameters `state_dict()` calls `path.weight` and so on.
"""

import json
${math}import sys
${suppress}from functools import reduce
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


${reader}def main(*inputs: str) -> None:
$main

if __name__ == "__main__":
    main(*sys.argv[1:])
''')

READER = '''\
def read(path: str | Path) -> Tensor:
    """Return a picture as the network takes it, $size: upright, $framed, normalized."""
    from PIL import Image, ImageOps

    channels, height, width = INPUT_SIZE
    with Image.open(path) as picture:
        picture.load()
        with suppress(Exception):  # damaged metadata; the pixels are whole
            picture = ImageOps.exif_transpose(picture)
        if picture.mode[0] in "IF":
            picture = shallow(picture)
        elif "transparency" in picture.info:
            picture = picture.convert("RGBA")
        picture = picture.convert("RGB" if channels == 3 else "L")
    if picture.size != (width, height):
$resized    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(1, height, width, channels)
    mean, std = torch.tensor(MEAN, dtype=DTYPE), torch.tensor(STD, dtype=DTYPE)
    return (pixels * (1 / (255 * std)) - mean / std).permute(0, 3, 1, 2)


def shallow(picture: Any) -> Any:
    """Return a grey picture of 16 or 32 bits, or of floats, with bytes for values, as training images were brought to.

    BITS of integers and WHITE of floats are those of training; None: what this picture reaches decides.
    """
    if picture.mode == "F":
        most = picture.getextrema()[1]
        steps = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
        white = WHITE or max(most, next((step for step in steps if most <= 1.01 * step), most)) or 1.0
        return picture.point(lambda value: value * (255 / white) + 0.5).convert("L")
    picture = picture.convert("I")
    bits = BITS or max(8, int(picture.getextrema()[1]).bit_length())
    bits += bits % 2
    return picture.point(lambda value: value * 2.0 ** (8 - bits)).convert("L")


'''
"""How `model.py` reads pictures: as `ramify.data` does, with Pillow and PyTorch alone."""

COVERED = """\
        ratio = max(width / picture.width, height / picture.height)
        wide, high = max(width, round(picture.width * ratio)), max(height, round(picture.height * ratio))
        left, top = (wide - width) // 2, (high - height) // 2
        picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
        picture = picture.crop((left, top, left + width, top + height))
"""

CONTAINED = """\
        ratio = min(width / picture.width, height / picture.height)
        wide, high = (max(1, round(side * ratio)) for side in picture.size)
        whole = Image.new(picture.mode, (width, height))
        whole.paste(picture.resize((min(width, wide), min(height, high)), Image.Resampling.BILINEAR))
        picture = whole
"""

CHECK = """\
    images = torch.zeros(1, *INPUT_SIZE, dtype=DTYPE)
    with torch.inference_mode():
        $result = network(images)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"$name: {count:,} parameters, {tuple(images.shape)} -> {$sizes}")
"""

MAIN_OF_PICTURES = '''\
    """Say what pictures show; without any, check that code and weights belong together, and say how to."""
    network = load()
    for path in inputs:
        try:
            picture = read(path)
        except OSError as error:
            sys.exit(f"{path}: {error.strerror or 'not a picture that Pillow can read'}")
        with torch.inference_mode():
            $result = network(picture)
        print(path)
$report    if inputs:
        return
$check    print("what pictures show: python model.py IMAGE ...")
'''

MAIN = '''\
    """Check that code and weights belong together: run a blank input."""
    if inputs:
        sys.exit("model.py reads no inputs of this kind; in Python: model.load()(inputs), inputs (B, *INPUT_SIZE)")
    network = load()
$check'''

REPORT = """\
        shares, places = logits[0].softmax(0).topk(min(5, logits.shape[1]))
        for share, place in zip(shares.tolist(), places.tolist()):
            print(f"{share:8.2%}  {CLASSES[place] if CLASSES else f'class {place}'}")
"""

REPORT_OF_VALUES = """\
        for name, value in zip(VALUES, $result[0].tolist()):
            print(f"{name}: {value:.6g}")
"""

REPORT_OF_PIXELS = """\
        shares = $result[0].argmax(0).flatten().bincount(minlength=len(CLASSES)) / $result[0, 0].numel()
        for share, name in sorted(zip(shares.tolist(), CLASSES), reverse=True):
            print(f"{share:8.2%}  {name}")
"""

REPORT_OF_BOXES = """\
        scores, classes = $result[0][0].sigmoid().max(0)
        size = " x ".join(map(str, INPUT_SIZE[:0:-1]))
        found = []  # the surest first; of two that overlap by half, the surer
        for place in scores.argsort(descending=True).tolist():
            box = $result[2][0, place]
            sides = [(box[2:] - box[:2]).prod() + (one[2:] - one[:2]).prod() for one in found]
            common = [(torch.min(box[2:], one[2:]) - torch.max(box[:2], one[:2])).clamp(min=0).prod() for one in found]
            if all(shared < 0.5 * (side - shared) for shared, side in zip(common, sides)):
                found.append(box)
                place_in_words = ", ".join(f"{side:.0f}" for side in box.tolist())
                print(f"{scores[place]:8.2%}  {CLASSES[classes[place]]} at {place_in_words}, of {size}")
            if len(found) == 5:
                break
"""

REPORT_OF_SHAPE = """\
        print(f"an output of shape {$sizes}")
"""
