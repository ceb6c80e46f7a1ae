"""Images that nobody has labeled, to be predicted: files, folders, patterns, and images in Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ramify import files
from ramify.data.dataset import Split
from ramify.data.depth import Scale, UnmeasuredError
from ramify.data.encoded import COLORS, IMAGE_SUFFIXES, Encoded, Files, Form, Items, Joined, decode, extent, probe
from ramify.data.parts import is_hidden
from ramify.data.pixels import pixels_of
from ramify.errors import DataError, shown

if TYPE_CHECKING:
    from PIL.Image import Image

_MARKS = "*?["


def unlabeled(
    sources: Any,
    *,
    input_size: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    scale: Scale | None = None,
    whole: bool = False,
    device: torch.device | str = "cpu",
) -> tuple[Split, Encoded]:
    """Read images as a network takes them, by the reader of training images; return them, and what they are read from.

    They become upright, and are brought to the network's size: resized to cover it, the center cut out, or to fit into
    it as a `whole`.

    Args:
        sources: A file, a folder, a pattern such as `new/*.jpg`, an image in Python (PIL, array or tensor), or a
            sequence of such.
        input_size: (C, H, W) of the network.
        mean: Per channel, for inputs in 0..1.
        std: Per channel, for inputs in 0..1.
        scale: How images deeper than bytes became bytes in training; by what these reach when None.
        whole: Whether nothing is cut off, as of images with boxes.
        device: Where batches are wanted.

    Raises:
        DataError: If there is no image, or one cannot be read.
    """
    given = list(sources) if isinstance(sources, list | tuple) else [sources]
    if not given:
        raise DataError("no images were named; give files, folders or patterns")
    parts: list[Encoded] = []
    for of_files, some in groupby(given, lambda one: isinstance(one, str | Path)):
        items = list(some)
        if of_files:
            parts.append(Files([path for one in items for path in image_files(one)]))
        else:
            parts.append(Items(items, "images", lambda image: image))
    images: Encoded = parts[0] if len(parts) == 1 else Joined(parts)
    channels, height, width = input_size
    form = Form(height, width, channels, resized=True, whole=whole)
    pixels = pixels_of(images, form, torch.device(device), scale)
    rows, nobody = torch.arange(len(images)), torch.zeros(len(images), dtype=torch.int64, device=device)
    return Split("unlabeled", pixels, nobody, rows, tuple(mean), tuple(std)), images


def as_it_was(images: Encoded, row: int, scale: Scale | None = None) -> Image:
    """Return image `row` in colors, upright and in its own size; of other channels than grey or colored the first."""
    from PIL import Image as factory

    form = probe(images, [row], None)
    if form.channels in COLORS:
        form = replace(form, channels=3)
    try:
        pixels = decode(images, row, form, scale)
    except UnmeasuredError:
        pixels = decode(images, row, form, extent(images, [row]).scale(scale))
    return factory.fromarray(pixels if form.channels == 3 else np.repeat(pixels[..., :1], 3, axis=2))


def image_files(source: str | Path) -> list[Path]:
    """Return the images that a file, a folder (at any depth), or a pattern stands for, in sorted order.

    Raises:
        DataError: If there are none.
    """
    path = files.expanded(source)
    if files.is_file(path):
        return [path]
    if files.is_folder(path):
        found = [one for one in sorted(path.rglob("*")) if _is_image(one, path)]
        if not found:
            raise DataError(f"{shown(path)}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return found
    base = next((parent for parent in path.parents if not any(mark in str(parent) for mark in _MARKS)), Path())
    if any(mark in str(path) for mark in _MARKS):
        found = [one for one in files.matching(base, str(path.relative_to(base))) if _is_image(one, base)]
        if found:
            return found
        raise DataError(f"no image matches {shown(str(source))}; put the pattern in quotes, or name files or folders")
    raise DataError(f"there is no file or folder {shown(path)}; give images, folders of them, or a pattern")


def _is_image(path: Path, top: Path) -> bool:
    known = path.suffix.lower() in IMAGE_SUFFIXES and not any(map(is_hidden, path.relative_to(top).parts))
    return known and path.is_file()
