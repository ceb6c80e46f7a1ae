"""Decoded images: in memory as one tensor of bytes, or, where they do not fit, decoded batch by batch."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ramify.data.depth import Extent, Scale, UnmeasuredError
from ramify.data.encoded import Arrays, Encoded, Form, Items, Joined, decode, extent, is_deep, probe
from ramify.errors import DataError
from ramify.parallel import usable_cores
from ramify.seeding import stream

T = TypeVar("T")

memory_limit = 4 * 2**30
"""Bytes of decoded pixels above which a data set is streamed from where it lies."""

SAMPLE = 1024  # streamed images that are looked at, measured and fingerprinted for all
WORTH_WORKERS = 4096  # images; fewer are decoded sooner than worker processes start


class Pixels(Protocol):
    """N decoded images of `size` (H, W) and `channels` channels, on `device`."""

    size: tuple[int, int]
    channels: int
    device: torch.device

    def __len__(self) -> int: ...

    def padded(self, batches: Sequence[Tensor], crop: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch of row numbers, yield padded images and the positions of the batch's rows among them.

        Args:
            batches: int64 tensors of row numbers, on the CPU.
            crop: Least number of black pixels around every image.

        Yields:
            (M, P, Q, C) uint8 with equal padding on all sides, and the batch's (B,) int64 rows of it.
        """
        ...

    def to(self, device: torch.device) -> Pixels:
        """Return the same images on `device`."""
        ...

    def colored(self) -> Pixels:
        """Return the same grey images with three equal channels."""
        ...


class InMemory:
    """All images as one tensor (N, H, W, C) uint8."""

    def __init__(self, pixels: Tensor) -> None:
        self.size, self.channels, self.device = (pixels.shape[1], pixels.shape[2]), pixels.shape[3], pixels.device
        self._pixels = pixels.contiguous()

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows: slice) -> Tensor:
        """Return images without padding, (n, H, W, C) uint8."""
        margin, (height, width) = self._margin, self.size
        return self._pixels[rows, margin : margin + height, margin : margin + width]

    @property
    def _margin(self) -> int:
        return (self._pixels.shape[1] - self.size[0]) // 2

    def padded(self, batches: Sequence[Tensor], crop: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the whole padded tensor and the rows of each batch; see `Pixels.padded`."""
        for rows in batches:
            # The padded copy replaces the images, so only one is in memory; a larger one serves smaller crops.
            if self._margin < crop:
                self._pixels = _pad(self[:], crop)
            yield self._pixels, rows.to(self.device, non_blocking=True)

    def to(self, device: torch.device) -> InMemory:
        """Return the same images on `device`."""
        return self if device == self.device else InMemory(self[:].to(device))

    def colored(self) -> InMemory:
        """Return the same grey images with three equal channels."""
        return InMemory(self[:].expand(-1, -1, -1, 3))


class Streamed:
    """Images decoded by worker processes while earlier batches are used."""

    def __init__(
        self,
        images: Encoded,
        rows: Tensor,
        form: Form,
        device: torch.device | None = None,
        scale: Scale | None = None,
    ) -> None:
        self.size, self.channels, self.device = form.size, form.channels, device or torch.device("cpu")
        self._decode = _Decoder(images, rows, form, scale)
        self._rows = rows

    @property
    def images(self) -> Encoded:
        """The encoded images, of which these are some."""
        return self._decode.images

    def changed(self, images: Encoded) -> Streamed:
        """Return the same rows of other images of this form."""
        return Streamed(images, self._rows, self._decode.form, self.device, self._decode.scale)

    def __len__(self) -> int:
        return len(self._rows)

    def padded(self, batches: Sequence[Tensor], crop: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the padded images of each batch alone; see `Pixels.padded`."""
        for pixels in _in_workers(self._decode, [rows.tolist() for rows in batches]):
            yield _pad(pixels.to(self.device, non_blocking=True), crop), torch.arange(len(pixels), device=self.device)

    def to(self, device: torch.device) -> Streamed:
        """Return the same images on `device`."""
        decoder = self._decode
        return Streamed(decoder.images, self._rows, decoder.form, device, decoder.scale)

    def colored(self) -> Streamed:
        """Return the same grey images with three equal channels."""
        decoder = self._decode
        form = replace(decoder.form, channels=3)
        return Streamed(decoder.images, self._rows, form, self.device, decoder.scale)


class _Decoder(torch.utils.data.Dataset[Any]):
    """Rows of a split → (B, H, W, C) uint8, or the error that says what went wrong.

    It is returned, because the loader wraps exceptions of its workers in pages of traceback.
    """

    def __init__(self, images: Encoded, rows: Tensor, form: Form, scale: Scale | None) -> None:
        self.images, self.rows, self.form, self.scale = images, rows, form, scale

    def __getitem__(self, batch: list[int]) -> Tensor | DataError:
        try:
            return _decode_some(self.images, self.rows[batch], self.form, self.scale)
        except DataError as error:
            return error.with_traceback(None)


class _Measurer(torch.utils.data.Dataset[Any]):
    """Images → from where to where they reach, or the error that says what went wrong."""

    def __init__(self, images: Encoded) -> None:
        self.images = images

    def __getitem__(self, rows: list[int]) -> Extent | DataError:
        try:
            return extent(self.images, rows)
        except DataError as error:
            return error.with_traceback(None)


def _in_workers(work: torch.utils.data.Dataset[Any], batches: Sequence[list[int]]) -> Iterator[Any]:
    """Yield what `work` gives for each batch, in order, while worker processes are ahead; raise errors it gives."""
    # Daemonic processes (executors use them) may not have children.
    workers = 0 if multiprocessing.current_process().daemon else min(8, usable_cores(), len(batches))
    loader: Any = torch.utils.data.DataLoader(
        work,
        batch_size=None,  # the items of the sampler are batches already
        sampler=batches,
        num_workers=workers,
        generator=torch.Generator(),  # else the loader draws its seed from the global one
    )
    for result in loader:
        if isinstance(result, DataError):
            raise result
        yield result


def _pad(pixels: Tensor, margin: int) -> Tensor:
    """Surround (N, H, W, C) images with `margin` black pixels."""
    return pad(pixels, (0, 0, margin, margin, margin, margin)) if margin else pixels.contiguous()


def load_pixels(
    images: Encoded,
    pool: Tensor,
    test: Tensor,
    size: tuple[int, int] | None,
    device: torch.device,
    known: Scale | None = None,
    whole: bool = False,
) -> tuple[Pixels, Pixels, Scale | None]:
    """Decode the training images `pool` (n,) and the `test` images (m,), or set up streaming them.

    Size, unless it is given, and channels are those of the training images. Deep images are scaled by a scale that is
    `known` from others, where there is one; what they were scaled by is returned, None where all images are bytes.
    Images of other sizes fit into the size as a `whole`, or cover it.
    """
    form = replace(probe(images, pool.tolist(), size), whole=whole)
    streamed = (len(pool) + len(test)) * math.prod(form.shape) > memory_limit

    def arranged(scale: Scale | None) -> tuple[Pixels, Pixels, Scale | None]:
        if streamed:
            first, second = (Streamed(images, rows, form, device, scale) for rows in (pool, test))
            return first, second, scale
        both = [arranged_pixels(images, rows, form, scale) for rows in (pool, test)]
        return InMemory(both[0].to(device)), InMemory(both[1].to(device)), scale

    loaded = _scaled(images, arranged, known, streamed)
    _refuse_constant(loaded[0], images.where(int(pool[0])), loaded[2])
    return (*loaded[:2], None if loaded[2] == Scale() else loaded[2])


def pixels_of(images: Encoded, form: Form, device: torch.device, known: Scale | None = None) -> Pixels:
    """Decode all images to a form that is known already, or set up streaming them.

    Deep images are scaled by the scale that is `known` from others, where there is one.
    """
    rows = torch.arange(len(images))
    streamed = len(images) * math.prod(form.shape) > memory_limit

    def arranged(scale: Scale | None) -> Pixels:
        if streamed:
            return Streamed(images, rows, form, device, scale)
        return InMemory(arranged_pixels(images, rows, form, scale).to(device))

    return _scaled(images, arranged, known, streamed)


def _scaled(images: Encoded, arranged: Callable[[Scale | None], T], known: Scale | None, streamed: bool) -> T:
    """Return what is arranged with the scale that deep images among these need; with None where all are bytes."""
    try:
        if streamed and any(is_deep(images, row) for row in sample(images).tolist()):
            return arranged(_extent(images).scale(known))
        return arranged(None)
    except UnmeasuredError:  # met on the way, so that images of bytes are read only once
        return arranged(_extent(images).scale(known))


def sample(images: Sized) -> Tensor:
    """Return fixed rows (n,) that represent all images where these are too many, on the CPU."""
    return torch.randperm(len(images), generator=stream(0, "sample"))[:SAMPLE].sort().values


def _extent(images: Encoded) -> Extent:
    """Measure all images, used or not, so that every subset has the same scale."""
    whole = Extent()
    for part in images.parts if isinstance(images, Joined) else (images,):
        if isinstance(part, Items) and part.extent is not None:
            whole.join(part.extent)
        elif len(part) < WORTH_WORKERS:
            whole.join(extent(part, range(len(part))))
        else:
            for some in _in_workers(_Measurer(part), [rows.tolist() for rows in torch.arange(len(part)).split(256)]):
                whole.join(some)
    return whole


def _refuse_constant(pixels: Pixels, where: str, scale: Scale | None) -> None:
    """Refuse training images of which none shows anything; a single pixel cannot."""
    if pixels.size == (1, 1):
        return
    if isinstance(pixels, InMemory):
        some: Iterator[Tensor] = (pixels[first : first + 256] for first in range(0, len(pixels), 256))
    else:
        some = (images for images, _ in pixels.padded(sample(pixels).split(64), 0))
    if all(bool((images == images[:, :1, :1]).all()) for images in some):
        scaled = f", once {scale} are brought to bytes" if scale is not None and str(scale) else ""
        raise DataError(
            f"every training image is of one color throughout{scaled}, such as {where}; there is nothing to learn from "
            f"them: {'stretch their contrast' if scaled else 'were they written as they should be?'}"
        )


def arranged_pixels(images: Encoded, rows: Tensor, form: Form, scale: Scale | None = None) -> Tensor:
    """Decode `rows` to one tensor (n, H, W, C) uint8, with worker processes where they are worth their start."""
    if isinstance(images, Arrays) or len(rows) < WORTH_WORKERS:
        return _decode_some(images, rows, form, scale)
    chunk = max(1, 2**20 // math.prod(form.shape))  # about a megabyte, for containers with little shared memory
    streamed = Streamed(images, rows, form, scale=scale)
    out = torch.empty(len(rows), *form.shape, dtype=torch.uint8)
    parts = streamed.padded(torch.arange(len(rows)).split(chunk), 0)
    for target, (pixels, _) in zip(out.split(chunk), parts, strict=True):
        target.copy_(pixels)
    return out


def _decode_some(images: Encoded, rows: Tensor, form: Form, scale: Scale | None) -> Tensor:
    """Decode `rows` to one tensor (n, H, W, C) uint8, here."""
    if isinstance(images, Arrays) and (*images.pixels.shape[1:], 1)[:3] == form.shape:
        return torch.from_numpy(images.pixels[rows.numpy()]).view(-1, *form.shape)
    out = np.empty((len(rows), *form.shape), dtype=np.uint8)
    for position, row in enumerate(rows.tolist()):
        out[position] = decode(images, row, form, scale)
    return torch.from_numpy(out)
