"""`Data`, a data set with its fixed splits, and `Split`, which gives batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import torch
from torch import Tensor

from ramify.data.augmentation import ALTERNATING, Augmentation, cut_out, normalize, windows
from ramify.data.depth import Scale
from ramify.data.distortion import Distortion
from ramify.data.parts import listed
from ramify.data.pixels import Pixels
from ramify.data.splits import stratified
from ramify.errors import DataError, nearest
from ramify.seeding import derive, stream

Store = Pixels | Tensor
"""Images, or the features of rows (N, F) float32."""

SPLIT_NAMES = ("train", "search_train", "search_validation", "test")


class Split:
    """A fixed list of images, or rows, of a data set."""

    def __init__(
        self,
        name: str,
        inputs: Store,
        labels: Tensor,
        rows: Tensor,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self.name = name
        self._inputs, self._labels, self._rows = inputs, labels, rows
        self._mean, self._std = mean, std

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> Tensor:
        """The class of each image, (N,)."""
        return self._labels[self._rows]

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {len(self)} {'rows' if isinstance(self._inputs, Tensor) else 'images'})"

    def num_batches(self, batch_size: int, drop_last: bool = False) -> int:
        """Return how many batches a pass has."""
        return len(self) // batch_size if drop_last else -(-len(self) // batch_size)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int,
        epoch: int = 0,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        start: int = 0,
        every: int = 1,
        part: tuple[int, int] = (0, 1),
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over the batches of one pass, a function of the arguments alone.

        Args:
            batch_size: B, images per batch; the last batch is smaller where it does not divide.
            seed: Seed of order and augmentation, the run's.
            epoch: Number of the pass; another one has another order and augmentation.
            augmentation: What happens to the images; nothing by default, and to rows never.
            shuffle: Whether the order is random.
            drop_last: Whether a smaller last batch is left out.
            start: First batch to give. It and the following are what the full pass would have given.
            every: Distance from one batch to give to the next.
            part: First image to give of every batch, and the distance to the next; all by default. The images are
                what the full batch would have had.
            device: Where batches are wanted; default: where the data is.
            dtype: Floating type of the images or rows.

        Returns:
            Batches of images (B, C, H, W), normalized, in `torch.channels_last`, or of rows (B, F), standardized, and
            classes (B,) int64 or values (B, K) float32, as they are.

        Raises:
            ValueError: If `batch_size` or `every` is below 1, `start` is negative, `part` is none, or `dtype` is not a
                floating type.
            ConfigurationError: If the distortion is for other channels.
            DataError: If rows of a table shall be augmented.
        """
        if batch_size < 1 or start < 0:
            raise ValueError(f"`batch_size` >= 1 and `start` >= 0 must hold, got {batch_size} and {start}")
        if every < 1 or not 0 <= part[0] < part[1]:
            raise ValueError(f"`every` >= 1 and 0 <= `part[0]` < `part[1]` must hold, got {every} and {part}")
        if not dtype.is_floating_point:
            raise ValueError(f"`dtype` must be a floating type, got {dtype}")
        augmentation = augmentation or Augmentation()
        rows = self._rows
        if shuffle:
            rows = rows[torch.randperm(len(rows), generator=stream(seed, "order", self.name, epoch))]
        numbers = range(start, self.num_batches(batch_size, drop_last), every)
        chunks = [(number, rows[number * batch_size : (number + 1) * batch_size]) for number in numbers]
        if isinstance(self._inputs, Tensor):
            augmentation.check_rows(self.name)
            return self._of_rows(self._inputs, [chunk[part[0] :: part[1]] for _, chunk in chunks], device, dtype)
        augmentation.distortion.check(self._inputs.channels)
        return self._generate(self._inputs, chunks, seed, epoch, augmentation, part, device, dtype)

    def _of_rows(
        self, values: Tensor, chunks: Sequence[Tensor], device: torch.device | str | None, dtype: torch.dtype
    ) -> Iterator[tuple[Tensor, Tensor]]:
        here, exact = values.device, _exact(dtype)
        mean, std = (torch.tensor(each, dtype=exact, device=here) for each in (self._mean, self._std))
        for chunk in chunks:
            rows = chunk.to(here, non_blocking=True)
            x = (values[rows].to(exact) - mean) / std
            yield x.to(device or here, dtype, non_blocking=True), self._labels[rows].to(device or here)

    def _generate(
        self,
        pixels: Pixels,
        chunks: Sequence[tuple[int, Tensor]],
        seed: int,
        epoch: int,
        augmentation: Augmentation,
        part: tuple[int, int],
        device: torch.device | str | None,
        dtype: torch.dtype,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        here, exact = pixels.device, _exact(dtype)
        mean, std = (torch.tensor(values, dtype=exact, device=here) for values in (self._mean, self._std))
        mine = [chunk[part[0] :: part[1]] for _, chunk in chunks]
        first = None  # who is mirrored in even passes
        if augmentation.flip == ALTERNATING:
            first = torch.randint(2, (len(pixels),), generator=stream(seed, "flip", self.name))
        images_of, targets_of = pixels.padded(mine, augmentation.crop), self._targets(mine, augmentation)
        batches = zip(chunks, mine, images_of, targets_of, strict=True)
        for (number, whole), chunk, (images, rows), targets in batches:
            # Drawn on the CPU, and in one tensor, so that a GPU gets one small copy and never waits.
            generator = stream(seed, "augment", self.name, epoch, number)
            draws = augmentation.draw(len(whole), pixels.size, generator)[:, part[0] :: part[1]]
            if first is not None:
                draws[2] = first[chunk] ^ (epoch % 2)
            draws = draws.to(here, non_blocking=True)
            fill = augmentation.distortion.fill
            cropped = windows(images, rows, draws, size=pixels.size, crop=augmentation.crop, fill=fill)
            distort, light, finish = self._distorting(augmentation.distortion, len(whole), seed, epoch, number, part)
            x = light(normalize(distort(cropped), mean, std), std)
            if augmentation.cutout:
                x = cut_out(x, draws, augmentation.cutout)
            x = finish(x)
            y = targets(draws)
            # (B, H, W, C) in memory is (B, C, H, W) in channels_last: the permutation moves nothing.
            yield x.permute(0, 3, 1, 2).to(device or here, dtype, non_blocking=True), y.to(device or here)

    def _targets(self, chunks: Sequence[Tensor], augmentation: Augmentation) -> Iterator[Callable[[Tensor], Tensor]]:
        """Yield for every batch a function from the draws of its augmentation to its targets."""
        here = self._labels.device

        def of(rows: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda draws: self._labels[rows.to(here, non_blocking=True)]

        return map(of, chunks)

    def _distorting(
        self, distortion: Distortion, count: int, seed: int, epoch: int, number: int, part: tuple[int, int]
    ) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Return what happens to a batch, or to a part of it, before it is normalized, right after, and at the end."""
        if not distortion.distorts:
            return (lambda x: x), (lambda x, _: x), (lambda x: x)
        draws = distortion.draw(count, stream(seed, "distort", self.name, epoch, number))[:, part[0] :: part[1]]
        keys = [derive(seed, "distort", self.name, epoch, number, image) for image in range(part[0], count, part[1])]
        return (
            lambda x: distortion.before(x, draws, keys),
            lambda x, std: distortion.light(x, draws, std),
            lambda x: distortion.after(x, draws, keys),
        )


def _exact(dtype: torch.dtype) -> torch.dtype:
    """Return in which type inputs are computed; half precision comes last, for one rounding."""
    return dtype if dtype == torch.float64 else torch.float32


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """A data set: its metadata, default augmentation and splits.

    Args:
        name: For people.
        classes: Names of the classes, in the order of their numbers; empty where targets are values.
        input_size: (C, H, W) of one image, or (F,) of one row.
        mean: Of each channel, for inputs in 0..1, or of each feature, in its own unit.
        std: Of each channel, for inputs in 0..1, or of each feature; 1 where it is constant.
        fingerprint: SHA-256, in hexadecimal, of images or rows, labels and split. Where images are streamed, a fixed
            sample of them stands for all.
        augmentation: What training on such images usually takes; None for rows, which are not augmented.
        features: Names of the features of rows; empty for images.
        target_names: Names of the values to be learned; empty where targets are classes.
        target_mean: Of each of these values, on the training images or rows.
        target_std: Of each of these values, on the training images or rows; 1 where it is constant.
        reads: One record for each time that the test images were asked for.
    """

    name: str
    classes: tuple[str, ...]
    input_size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    augmentation: Augmentation | None
    features: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    reads: list[dict[str, str | int]] = field(default_factory=list)
    _stores: Mapping[str, tuple[Store, Any]] = field(repr=False)
    _rows: Mapping[str, Tensor] = field(repr=False)
    _scale: Scale | None = field(default=None, repr=False)

    @property
    def targets(self) -> str:
        """The kind of targets: `classes`, `values`, or of a subclass `masks` or `boxes`."""
        return "values" if self.target_names else "classes"

    @property
    def num_classes(self) -> int:
        """Number of classes, or of values K to predict: the width of the last layer."""
        return len(self.target_names or self.classes)

    @property
    def in_channels(self) -> int:
        """C, the channels of an image.

        Raises:
            DataError: If these are rows of a table.
        """
        if self.features:
            raise DataError(f"{self.name} holds rows of a table, which have features instead of channels; give images")
        return self.input_size[0]

    @property
    def shape(self) -> dict[str, int]:
        """The arguments that `build` and `supernet` of a space take from the data."""
        inputs = {"features": len(self.features)} if self.features else {"in_channels": self.in_channels}
        return {"num_classes": self.num_classes, **inputs}

    def split(self, name: str, purpose: str = "") -> Split:
        """Return a split; reading the test images is recorded in `reads`.

        Args:
            name: `search_train` (weights learn from it during a search), `search_validation` (architectures do),
                `train` (both together, for retraining), or `test`.
            purpose: Why it is read, for the record of test reads.

        Raises:
            DataError: If there is no such split, or it is empty.
        """
        if name not in SPLIT_NAMES:
            raise DataError(f"no split {name!r}: {nearest(name, SPLIT_NAMES)}")
        rows = self._rows[name]
        if not len(rows):
            raise DataError(f"{self.name}: the split {name!r} is empty; see test_fraction and validation_fraction")
        if name == "test":
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.reads.append({"split": name, "purpose": purpose, "images": len(rows), "time": now})
        inputs, labels = self._stores["test" if name == "test" else "pool"]
        return self._split(name, inputs, labels, rows)

    def _split(self, name: str, inputs: Store, labels: Any, rows: Tensor) -> Split:
        return Split(name, inputs, labels, rows, self.mean, self.std)

    def holding_out(self, share: float) -> Data:
        """Return the same data with another `search_validation`: a share of `train`, drawn by class, the same always.

        Args:
            share: In (0, 1).

        Raises:
            DataError: If one of the parts would be empty.
        """
        rows, (_, labels) = self._rows["train"], self._stores["pool"]
        strata = labels.cpu()[rows] if self.targets == "classes" else torch.zeros(len(rows), dtype=torch.int64)
        kept, held = stratified(strata, share, stream(0, "held-out validation"))
        if not (len(kept) and len(held)):
            raise DataError(f"{self.name}: a share of {share:g} of {len(rows)} leaves nothing to learn or to measure")
        divided = {**self._rows, "search_train": rows[kept], "search_validation": rows[held]}
        return replace(self, _rows=divided)

    def to(self, device: torch.device | str) -> Data:
        """Return the same data with its images or rows on `device`; both share one record of test reads."""
        place = torch.device(device)
        stores = {name: (inputs.to(place), labels.to(place)) for name, (inputs, labels) in self._stores.items()}
        return replace(self, _stores=stores)


def scale_of(data: Data) -> Scale | None:
    """Return the scale by which images deeper than 8 bits became bytes; None where all of them are bytes."""
    return data._scale


def colored(data: Data) -> Data:
    """Return the grey images with three equal channels, for a network that was trained on colors."""
    size = (3 * data.in_channels, *data.input_size[1:])
    stores = {name: (cast(Pixels, pixels).colored(), labels) for name, (pixels, labels) in data._stores.items()}
    return replace(data, input_size=size, mean=data.mean * 3, std=data.std * 3, _stores=stores)


def arranged(data: Data, features: Sequence[str]) -> Data:
    """Return the same rows with their features in the order that a network was trained on.

    Raises:
        DataError: If one is missing; others are left out.
    """
    if missing := [name for name in features if name not in data.features]:
        raise DataError(
            f"{data.name} lacks the features {listed(missing)}, which the network was trained on; it has "
            f"{listed(list(data.features)) or 'none'}"
        )
    places = [data.features.index(name) for name in features]
    stores = {name: (cast(Tensor, values)[:, places], labels) for name, (values, labels) in data._stores.items()}
    mean, std = (tuple(each[place] for place in places) for each in (data.mean, data.std))
    return replace(data, features=tuple(features), input_size=(len(places),), mean=mean, std=std, _stores=stores)


def targeted(data: Data, names: Sequence[str]) -> Data:
    """Return the same data with the values to predict in the order that a network was trained on.

    Raises:
        DataError: If one is missing; others are left out.
    """
    if missing := [name for name in names if name not in data.target_names]:
        raise DataError(
            f"{data.name} lacks the values {listed(missing)}, which the network was trained on; it has "
            f"{listed(list(data.target_names)) or 'none'}"
        )
    places = [data.target_names.index(name) for name in names]
    stores = {name: (inputs, values[:, places]) for name, (inputs, values) in data._stores.items()}
    mean, std = (tuple(each[place] for place in places) for each in (data.target_mean, data.target_std))
    return replace(data, target_names=tuple(names), target_mean=mean, target_std=std, _stores=stores)


def numbered(data: Data, classes: Sequence[str]) -> Data:
    """Return the same images with classes numbered as for a network, which was trained on all of them.

    Raises:
        DataError: If a class has another name, or targets are values, and the network knows classes.
    """
    if data.targets == "values":
        if classes:
            raise DataError(
                f"{data.name} has values as targets, but the network knows the classes {listed(list(classes))}"
            )
        return data
    if strange := [name for name in data.classes if name not in classes]:
        raise DataError(
            f"{data.name} has the classes {listed(strange)}, but the network knows {listed(list(classes))}; "
            "classes are matched by their names"
        )
    if data.targets in ("masks", "boxes"):
        return cast(Any, data).numbered(classes)
    numbers = torch.tensor([classes.index(name) for name in data.classes], dtype=torch.int64)
    stores = {name: (inputs, numbers.to(y.device)[y]) for name, (inputs, y) in data._stores.items()}
    return replace(data, classes=tuple(classes), _stores=stores)
