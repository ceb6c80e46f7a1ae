"""Segmentation: the class of every pixel, from the maps of a network at several strides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.capabilities import SAME_WIDTHS
from ramify.data import IGNORED, Augmentation, Distortion
from ramify.errors import ConfigurationError, nearest
from ramify.seeding import stream
from ramify.supernet import FeatureMap, feature_maps, featured, without_end
from ramify.tasks.base import Metric
from ramify.tasks.batch import Batch, tensors
from ramify.tasks.decoder import AttentionDecoder, enlarged
from ramify.tasks.from_maps import FromMaps
from ramify.tasks.meter import SumMeter
from ramify.tasks.overlay import side_by_side
from ramify.tasks.prediction import Prediction, Regions
from ramify.tasks.scaling import rescaled

STRIDES = (4, 8, 16, 32)
"""Of the maps that the decoder reads."""
MOST_CLASSES = 255
"""A class more would be the number of pixels that do not count."""


@dataclass(frozen=True, kw_only=True)
class Segmentation(FromMaps):
    """The class of every pixel, learned by cross-entropy of logits (B, K, H, W); pixels of no class do not count.

    Args:
        head: What reads the maps: `attention`, the decoder of CDARTS (Yu et al., TPAMI 2022), over maps of strides 4,
            8, 16 and 32; `lraspp` (Howard et al., ICCV 2019), over two maps; or `deeplabv3` (Chen et al., 2017,
            arXiv:1706.05587), over the coarsest.
        factor: F, the width of the decoder of CDARTS in units of 8 channels: 6 for Cityscapes, 16 for ADE20K.
        auxiliary: Factor of the losses of its two further heads, which learn beside it; 0 for none.
        hardest: k, the least number of pixels of a batch that count, the hardest ones: those whose class gets a
            probability up to `threshold`, or up to the k-th smallest; 0 for all pixels.
        threshold: Probability up to which a pixel is hard in any case.
        smallest, largest: Factors between which training images are scaled at random.
        crop: Height and width of the window of a training image; that of the images when None.
        classes: K; that of the data when 0.
    """

    head: str = "attention"
    factor: int = 6
    auxiliary: float = 0.2
    hardest: int = 0
    threshold: float = 0.7
    smallest: float = 1.0
    largest: float = 1.0
    crop: tuple[int, int] | None = None
    classes: int = 0

    targets = "masks"
    short = "segmentation"
    metrics = (Metric("miou", "fraction"), Metric("pixel_accuracy", "fraction"))
    cuts_out = False
    pixels_at_once = 2**24
    needs = frozenset({SAME_WIDTHS})
    source = "Yu et al., Cyclic Differentiable Architecture Search, TPAMI 2022, arXiv:2006.10724, section 5"

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ConfigurationError(f"unknown head {self.head!r:.40}; {nearest(str(self.head), HEADS)}")
        if not 1 <= self.factor <= 256:
            raise ConfigurationError(f"`factor` must be in [1, 256], got {self.factor}")
        for name in ("auxiliary", "hardest"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if not 0 < self.threshold <= 1:
            raise ConfigurationError(f"`threshold` must be a probability above 0, got {self.threshold}")
        if not 0.1 <= self.smallest <= self.largest <= 10:
            raise ConfigurationError(
                f"0.1 <= `smallest` <= `largest` <= 10 must hold, got {self.smallest} and {self.largest}"
            )
        if self.crop is not None:
            sides = tuple(self.crop)
            if len(sides) != 2 or not all(type(side) is int and 32 <= side <= 8192 for side in sides):
                raise ConfigurationError(f"`crop` must be height and width, 32 to 8192 pixels, got {self.crop!r:.40}")
            object.__setattr__(self, "crop", sides)
        if self.classes and not 2 <= self.classes <= MOST_CLASSES:
            raise ConfigurationError(f"`classes` must be in [2, {MOST_CLASSES}], got {self.classes}")

    # What is learned from

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        """Whether the loss selects the hardest pixels of a batch."""
        return self.hardest > 0

    def example(self, size: int, device: torch.device | str = "meta") -> Batch:
        """Return a batch of zeros of the right shapes."""
        inputs = torch.zeros((size, *self.data.input_size), device=device)
        return Batch(inputs, torch.zeros((size, *self.data.input_size[1:]), dtype=torch.int64, device=device))

    @property
    def input_size(self) -> tuple[int, ...]:
        """(C, H, W) of an image."""
        return self.data.input_size

    def distorted(self, distortion: Distortion) -> bool | Augmentation:
        """Return the augmentation of training inputs; whatever would move pixels and not their classes is refused."""
        if distortion.resized or distortion.policy != "none":
            raise ConfigurationError(
                "`resized` and `policy` of a distortion would move pixels away from their classes: leave them out; "
                "--task.smallest and --task.largest scale both"
            )
        return super().distorted(distortion)

    def batches(
        self, split: str, size: int, *, seed: int, augmented: bool | Augmentation = False, **options: Any
    ) -> Iterator[Batch]:
        """Return an iterator over the batches of a pass, as `Task.batches`; training images are scaled and cropped."""
        batches = super().batches(split, size, seed=seed, augmented=augmented, **options)
        if not augmented or (self.smallest == self.largest == 1 and self.crop is None):
            return batches
        numbers = range(options.get("start", 0), 2**62, options.get("every", 1))
        of, step = options.get("part", (0, 1))

        def changed(number: int, batch: Batch) -> Batch:
            generator = stream(seed, "scale", split, options.get("epoch", 0), number)
            draws = torch.rand(3, size, dtype=torch.float64, generator=generator)[:, of::step][:, : len(batch)]
            scales, window = (self.smallest, self.largest), self.crop or self.input_size[1:]
            return Batch(*rescaled(batch.inputs, batch.targets, draws, scales, window))

        return (changed(number, batch) for number, batch in zip(numbers, batches, strict=False))

    # The network

    def network(self, backbone: nn.Module) -> nn.Module:
        """Return the backbone, without what follows its last stage, and the head.

        Raises:
            ConfigurationError: If the backbone lacks maps that the head reads, or nothing says which classes there are.
        """
        if not self.classes:
            raise ConfigurationError(f"{self.name} knows its classes from data: `on(data)`, or `classes` of a number")
        maps = feature_maps(backbone)
        chosen, head = HEADS[self.head](self, maps, type(backbone).__name__)
        supernet = hasattr(backbone, "choices")  # whole, so that its members can be taken out
        return Segmenter(backbone if supernet else without_end(backbone), head, tuple(each.name for each in chosen))

    # Loss and metrics

    def weight(self, batch: Batch) -> Tensor:
        """Return the number of pixels that count."""
        return (batch.targets != IGNORED).sum().float()

    def loss(self, output: Any, batch: Batch, *, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy in nats times the number of pixels that count, and that number.

        It is the mean over the pixels that are selected (`hardest`), of the logits (B, K, H, W), and `auxiliary` times
        that of each further head.
        """
        each = [one if one.dtype == torch.float64 else one.float() for one in tensors(output)]
        means = [hard_cross_entropy(one, batch.targets, self.hardest, self.threshold) for one in each]
        weight = self.weight(batch).to(each[0])
        return (means[0] + self.auxiliary * sum(means[1:], each[0].new_zeros(()))) * weight, weight

    def meter(self) -> SumMeter:
        """Return a meter of the overlaps of classes."""
        return Overlaps(self.data.classes)

    def predictions(self, output: Any, names: Sequence[str], top: int = 5) -> list[Prediction]:
        """Return the class of every pixel of each image, of logits (B, K, H, W); of equals the first."""
        found = tensors(output)[0].argmax(dim=1).to("cpu", torch.uint8).numpy()
        return [Regions(tuple(names), numbers) for numbers in found]

    def picture(self, output: Any, batch: Batch) -> Tensor:
        """Return images, their true classes and the predicted ones beside each other, (H, W, 3) uint8."""
        found = tensors(output)[0].argmax(dim=1)
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.data.mean, self.data.std))
        images = (batch.inputs.cpu().float() * std + mean).clamp(0, 1)
        return side_by_side(images, [batch.targets.cpu(), found.cpu()], IGNORED)


def hard_cross_entropy(logits: Tensor, labels: Tensor, hardest: int, threshold: float) -> Tensor:
    """Return the mean cross-entropy (scalar) of the hardest pixels of a batch (OHEM, Shrivastava et al., CVPR 2016).

    A pixel is kept if the probability of its class is at most `threshold`, or at most the k-th smallest of the whole
    batch, whichever is larger; pixels that do not count are no candidates, but have probability 1 among the k. Those
    equal to the bound are all kept. Fewer than k that count are all kept. Without any the loss is 0.

    Args:
        logits: (B, K, H, W).
        labels: (B, H, W) int64, `IGNORED` for pixels that do not count.
        hardest: k; 0 keeps all.
        threshold: Probability.
    """
    counts = labels != IGNORED
    if hardest and hardest <= int(counts.sum()):
        with torch.no_grad():
            classes = labels.masked_fill(~counts, 0)[:, None]
            probability = logits.softmax(dim=1).gather(1, classes)[:, 0].masked_fill(~counts, 1.0)
            bound = probability.flatten().kthvalue(hardest).values.clamp(min=threshold)
            labels = labels.masked_fill(probability > bound, IGNORED)
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


class Segmenter(nn.Module):
    """A backbone and a head over some of its maps: images (B, C, H, W) → logits (B, K, H, W).

    In training, logits of further heads follow, in a tuple. A supernet also takes its mixing weights.

    Args:
        backbone: Built by a space, or its supernet.
        head: Maps a list of maps to logits (B, K, H', W'), or a list of them.
        taps: Names of the backbone's maps that the head reads.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, taps: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone, self.head, self.taps = backbone, head, taps

    def forward(self, x: Tensor, *mix: Any, **options: Any) -> Any:
        _, features = featured(self.backbone, self.taps, x, *mix, **options)
        found = self.head(list(features.values()))
        logits = tuple(enlarged(each, x.shape[2:]) for each in found)
        return logits if len(logits) > 1 else logits[0]


class Overlaps(SumMeter):
    """How often pixels of a class are taken for each class.

    Args:
        classes: Names of the K classes.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classes = classes

    def count(self, output: Any, batch: Batch) -> Tensor:
        """Return the pixels of a class (row) that are taken for another (column), as one row (K·K,)."""
        K = len(self.classes)
        counts = batch.targets != IGNORED
        pairs = batch.targets * K + tensors(output)[0].detach().argmax(dim=1)
        return torch.zeros(K * K, dtype=torch.float64, device=pairs.device).index_add_(
            0, pairs.masked_fill(~counts, 0).flatten(), counts.flatten().double()
        )

    def computed(self, sums: list[float]) -> dict[str, float]:
        """Return `miou`, the mean over the classes that occur of shared pixels / pixels of either, and accuracy."""
        table = self._table(sums)
        shares = [share for share in _overlaps(table) if share is not None]
        right = sum(row[number] for number, row in enumerate(table))
        return {"miou": sum(shares) / max(len(shares), 1), "pixel_accuracy": right / max(sum(sums), 1.0)}

    def _table(self, sums: list[float]) -> list[list[float]]:
        K = len(self.classes)
        return [sums[row * K : (row + 1) * K] for row in range(K)]

    def details(self) -> dict[str, Any]:
        """Return the classes, the overlap and accuracy of each (None where it does not occur), and the confusions."""
        if self.sums is None:
            return {}
        table = self._table(self.sums.tolist())
        return {
            "classes": list(self.classes),
            "iou": _overlaps(table),
            "accuracy": [row[at] / sum(row) if sum(row) else None for at, row in enumerate(table)],
            "items": [int(sum(row)) for row in table],
            "confusion": [[int(count) for count in row] for row in table],
        }


def _overlaps(table: Sequence[Sequence[float]]) -> list[float | None]:
    """Return for each class the pixels that are of it and taken for it, of those that are either; None without any."""
    shares: list[float | None] = []
    for at, row in enumerate(table):
        either = sum(row) + sum(other[at] for other in table) - row[at]
        shares.append(row[at] / either if either else None)
    return shares


# Heads: what each reads of the maps that there are, the finest first, and the module

Made = tuple[Sequence[FeatureMap], nn.Module]


def _attention(task: Segmentation, maps: Sequence[FeatureMap], name: str) -> Made:
    chosen = [each for each in maps if each.stride in STRIDES]
    if len(chosen) < len(STRIDES):
        strides = ", ".join(str(each.stride) for each in maps)
        raise ConfigurationError(
            f"the head 'attention' reads maps of strides 4, 8, 16 and 32, and {name} has those of {strides}; take "
            "--task.head lraspp or deeplabv3, or a layout for larger images (--network.resolution, --network.layout)"
        )
    channels = [each.channels for each in chosen]
    return chosen, AttentionDecoder(channels, task.classes, task.factor, task.auxiliary > 0)


class LRASPP(nn.Module):
    """torchvision's head of MobileNetV3 over a fine and a coarse map: [(B, C, H, W), …] → [(B, K, H, W)]."""

    def __init__(self, low: int, high: int, classes: int) -> None:
        from torchvision.models.segmentation.lraspp import LRASPPHead

        super().__init__()
        self.inner = LRASPPHead(low, high, classes, inter_channels=128)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [self.inner({"low": maps[0], "high": maps[-1]})]


def _lraspp(task: Segmentation, maps: Sequence[FeatureMap], name: str) -> Made:
    high = min(maps, key=lambda each: abs(each.stride - 16))
    low = min(maps, key=lambda each: abs(each.stride - high.stride / 2))
    return [low, high], LRASPP(low.channels, high.channels, task.classes)


class DeepLabV3(nn.Module):
    """torchvision's head of dilated convolutions over the coarsest map: [(B, C, H, W)] → [(B, K, H, W)]."""

    def __init__(self, channels: int, classes: int) -> None:
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead

        super().__init__()
        self.inner = DeepLabHead(channels, classes)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [self.inner(maps[-1])]


def _deeplab(task: Segmentation, maps: Sequence[FeatureMap], name: str) -> Made:
    return [maps[-1]], DeepLabV3(maps[-1].channels, task.classes)


HEADS: Mapping[str, Callable[[Segmentation, Sequence[FeatureMap], str], Made]] = {
    "attention": _attention,
    "lraspp": _lraspp,
    "deeplabv3": _deeplab,
}
