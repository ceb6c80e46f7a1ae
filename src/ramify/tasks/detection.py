"""Detection: where the objects of an image are, and of which class, from the maps of a network at several strides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.capabilities import SAME_WIDTHS
from ramify.data import Augmentation, Distortion
from ramify.data.boxes import CLASS, CROWD
from ramify.errors import ConfigurationError, nearest
from ramify.supernet import FeatureMap, feature_maps, featured, without_end
from ramify.tasks.anchors import (
    BACKGROUND,
    NEITHER,
    Anchors,
    Level,
    anchors_of,
    counts_of,
    decoded,
    encoded,
    matched,
    retina_levels,
    ssdlite_levels,
)
from ramify.tasks.average_precision import AveragePrecision, Found
from ramify.tasks.base import Metric
from ramify.tasks.batch import Batch, tensors
from ramify.tasks.from_maps import FromMaps
from ramify.tasks.meter import SumMeter
from ramify.tasks.overlay import outlined
from ramify.tasks.prediction import Objects, Prediction

MOST_CLASSES = 10_000


@dataclass(frozen=True, kw_only=True)
class Detection(FromMaps):
    """Boxes around the objects of K classes, learned by the focal loss of classes and the distances of boxes.

    The settings are those of RetinaNet (Lin et al., ICCV 2017, arXiv:1708.02002) in the detectors of CDARTS.

    Args:
        head: What reads the maps: `retinanet`, a pyramid over those of strides 8, 16 and 32, or `ssdlite`, lighter,
            over those of strides 16 and 32 (Sandler et al., CVPR 2018), which learns by the focal loss, too.
        width: Channels of the levels that a head makes.
        base: Side of the smallest square anchor of a level, in strides: 4, or less for small objects.
        gamma: γ of the focal loss, the power by which what is sure already counts less.
        alpha: α of it, the weight of an object's class; that of what is none is 1 - α.
        beta: β, up to which the distances of boxes count squared (smooth L1).
        positive: Overlap with a box from which an anchor is of it.
        negative: Overlap below which it is of none; between the two it does not count.
        confidence: Least probability of what is found.
        candidates: The most anchors of a level, the surest, that are looked at.
        overlap: From which, of two boxes of a class, the less sure is dropped.
        most: The most objects that are found in an image.
        classes: K; that of the data when 0.
    """

    head: str = "retinanet"
    width: int = 256
    base: float = 4.0
    gamma: float = 2.0
    alpha: float = 0.25
    beta: float = 0.11
    positive: float = 0.5
    negative: float = 0.4
    confidence: float = 0.05
    candidates: int = 1000
    overlap: float = 0.5
    most: int = 100
    classes: int = 0

    targets = "boxes"
    pixels_at_once = 2**22
    short = "detection"
    metrics = (Metric("map", "fraction"), Metric("map50", "fraction"), Metric("map75", "fraction"))
    cuts_out = meters_score = False
    needs = frozenset({SAME_WIDTHS})
    source = "Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, arXiv:1708.02002"

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ConfigurationError(f"unknown head {self.head!r:.40}; {nearest(str(self.head), HEADS)}")
        for name, least, most in (("width", 2, 4096), ("candidates", 1, 10**6), ("most", 1, 10**4)):
            if not least <= getattr(self, name) <= most:
                raise ConfigurationError(f"`{name}` must be in [{least}, {most}], got {getattr(self, name)}")
        if not 0.1 <= self.base <= 64:
            raise ConfigurationError(f"`base` must be in [0.1, 64], got {self.base}")
        if not (0 <= self.gamma <= 10 and 0 < self.beta <= 100):
            raise ConfigurationError(f"0 <= `gamma` <= 10 and 0 < `beta` must hold, got {self.gamma} and {self.beta}")
        for name in ("alpha", "confidence", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"`{name}` must be in [0, 1], got {getattr(self, name)}")
        if not 0 < self.negative <= self.positive <= 1:
            raise ConfigurationError(
                f"0 < `negative` <= `positive` <= 1 must hold, got {self.negative} and {self.positive}"
            )
        if not 0 <= self.classes <= MOST_CLASSES:
            raise ConfigurationError(f"`classes` must be in [0, {MOST_CLASSES}], got {self.classes}")

    # What is learned from

    def example(self, size: int, device: torch.device | str = "meta") -> Batch:
        """Return a batch of zeros of the right shapes."""
        inputs = torch.zeros((size, *self.data.input_size), device=device)
        return Batch(inputs, torch.zeros((size, *self.data.boxes_shape), device=device))  # type: ignore[attr-defined]

    @property
    def input_size(self) -> tuple[int, ...]:
        """(C, H, W) of an image."""
        return self.data.input_size

    def distorted(self, distortion: Distortion) -> bool | Augmentation:
        """Return the augmentation of training inputs; whatever would move pixels and not the boxes is refused."""
        if distortion.resized or distortion.policy != "none":
            raise ConfigurationError(
                "`resized` and `policy` of a distortion would move objects away from their boxes: leave them out; "
                "`crop` and `flip` move both"
            )
        return super().distorted(distortion)

    # The network

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of the head, with their anchors."""
        return HEADS[self.head].levels(self.base)

    def network(self, backbone: nn.Module) -> nn.Module:
        """Return the backbone, without what follows its last stage, and the head.

        Raises:
            ConfigurationError: If the backbone lacks maps that the head reads, or nothing says which classes there are.
        """
        if not self.classes:
            raise ConfigurationError(f"{self.name} knows its classes from data: `on(data)`, or `classes` of a number")
        maps = feature_maps(backbone)
        style = HEADS[self.head]
        chosen = [each for each in maps if each.stride in style.strides]
        if len(chosen) < len(style.strides):
            known = ", ".join(str(each.stride) for each in maps)
            raise ConfigurationError(
                f"the head {self.head!r} reads maps of strides {', '.join(map(str, style.strides))}, and "
                f"{type(backbone).__name__} has those of {known}; take a layout for larger images "
                "(--network.resolution, --network.layout), or another space"
            )
        neck, head = style.make(self, chosen)
        supernet = hasattr(backbone, "choices")  # whole, so that its members can be taken out
        taps = tuple(each.name for each in chosen)
        return Detector(backbone if supernet else without_end(backbone), neck, head, Anchors(self.levels), taps)

    # Loss and metrics

    def _matches(self, batch: Batch) -> list[Tensor]:
        """Return for each image what its anchors are matched to, (A,) int64."""
        anchors = self._anchors(batch)
        each = (_counting(truth) for truth in batch.targets)
        return [matched(anchors, truth[:, :4].to(anchors), self.positive, self.negative) for truth in each]

    def _anchors(self, batch: Batch) -> Tensor:
        height, width = tensors(batch.inputs)[0].shape[2:]
        return anchors_of(self.levels, height, width).to(batch.targets.device)

    def weight(self, batch: Batch) -> Tensor:
        """Return how many anchors are of a box, of an image with none 1."""
        return torch.stack([(match >= 0).sum().clamp(min=1) for match in self._matches(batch)]).sum().float()

    def loss(self, output: Any, batch: Batch, *, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the focal loss of all anchors and the smooth L1 distances of those of a box, and how many these are.

        Raises:
            ConfigurationError: If the maps of the network are not of the sizes that its strides give.
        """
        from torchvision.ops import sigmoid_focal_loss

        logits, deltas = (one if one.dtype == torch.float64 else one.float() for one in tensors(output)[:2])
        anchors, total, weight = self._anchors(batch).to(deltas), logits.new_zeros(()), logits.new_zeros(())
        if logits.shape[2] != len(anchors):
            raise ConfigurationError(
                f"the network has {logits.shape[2]} anchors, and its strides give {len(anchors)}; take images whose "
                "sides are multiples of 32"
            )
        for scores, moves, truth, match in zip(logits, deltas, batch.targets, self._matches(batch), strict=True):
            counting = _counting(truth).to(deltas)
            of_box = match >= 0
            boxes = counting[match[of_box]]
            wanted = torch.zeros_like(scores)
            wanted[boxes[:, CLASS].long(), of_box.nonzero()[:, 0]] = 1
            known = match != NEITHER
            total = total + sigmoid_focal_loss(
                scores[:, known], wanted[:, known], alpha=self.alpha, gamma=self.gamma, reduction="sum"
            )
            told = encoded(anchors[of_box], boxes[:, :4])
            total = total + F.smooth_l1_loss(moves[of_box], told, beta=self.beta, reduction="sum")
            weight = weight + of_box.sum().clamp(min=1)
        return total, weight

    def meter(self) -> SumMeter:
        """Return a meter of the classes that are told of the anchors of boxes."""
        return AnchorAccuracy(self)

    def evaluation_meter(self) -> AveragePrecision:
        """Return a meter of average precision."""
        return AveragePrecision(self.data.classes, self.detected)

    @property
    def shown(self) -> tuple[str, ...]:
        """The names of the metrics to show with a row of the history."""
        return ("anchor_accuracy", *super().shown[:2])

    def detected(self, output: Any, batch: Batch) -> list[Found]:
        """Return what a network finds in each image.

        Of every level the `candidates` surest anchors, of these each class of a probability above `confidence`; of
        boxes of a class that overlap the surest, and `most` of an image.

        Args:
            output: Logits (B, K, A) and differences (B, A, 4) from anchors.
            batch: The images.
        """
        logits, deltas = (one.detach().float() for one in tensors(output)[:2])
        height, width = tensors(batch.inputs)[0].shape[2:]
        boxes = decoded(self._anchors(batch).to(deltas), deltas)
        boxes = torch.stack([boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)], dim=-1).flatten(2)
        return self._surest(logits, boxes, counts_of(self.levels, height, width))

    def predictions(self, output: Any, names: Sequence[str], top: int = 5) -> list[Prediction]:
        """Return the `top` objects of each image, boxes in pixels of the images as the network gets them."""
        logits, _, boxes = (one.detach().float() for one in tensors(output))
        found = []
        for each in self._surest(logits, boxes, [boxes.shape[1]]):
            classes = tuple(names[number] for number in each.classes[:top].tolist())
            rows = tuple((left, up, right, down) for left, up, right, down in each.boxes[:top].tolist())
            found.append(Objects(classes, tuple(each.scores[:top].tolist()), rows))
        return list[Prediction](found)

    def _surest(self, logits: Tensor, boxes: Tensor, counts: Sequence[int]) -> list[Found]:
        """Return what is found in each image, of logits (B, K, A) and boxes (B, A, 4), `counts` of them a level."""
        from torchvision.ops import batched_nms

        found = []
        for scores, places in zip(logits.sigmoid(), boxes, strict=True):
            kept, first = [], 0
            for count in counts:
                surest = scores[:, first : first + count].amax(dim=0)
                kept.append(first + surest.sort(descending=True, stable=True).indices[: self.candidates])
                first += count
            index = torch.cat(kept)
            classes, at = (scores[:, index] > self.confidence).nonzero(as_tuple=True)
            sure, where = scores[classes, index[at]], places[index[at]]
            best = batched_nms(where, sure, classes, self.overlap)[: self.most]
            found.append(Found(where[best], sure[best], classes[best]))
        return found

    def picture(self, output: Any, batch: Batch) -> Tensor:
        """Return images with their true boxes and with what is found, beside each other, (H, W, 3) uint8."""
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.data.mean, self.data.std))
        images = (batch.inputs.cpu().float() * std + mean).clamp(0, 1)
        true = [(each[:, :4].cpu(), each[:, CLASS].long().cpu()) for each in map(_counting, batch.targets)]
        found = [_drawn(each) for each in self.detected(output, batch)]
        return outlined(images, [true, found], self.classes)


DRAWN = 0.3
"""Least probability of what is found in a picture."""


def _drawn(found: Found) -> tuple[Tensor, Tensor]:
    sure = found.scores >= DRAWN
    return found.boxes[sure].cpu(), found.classes[sure].cpu()


def _counting(truth: Tensor) -> Tensor:
    """Return those of the rows (M, 8) of an image that are boxes, and count."""
    return truth[(truth[:, CLASS] >= 0) & (truth[:, CROWD] == 0)]


class AnchorAccuracy(SumMeter):
    """The share of the anchors of boxes whose most likely class is right.

    Args:
        task: Knows which anchors are of which box.
    """

    def __init__(self, task: Detection) -> None:
        super().__init__()
        self.task = task

    def count(self, output: Any, batch: Batch) -> Tensor:
        """Return how many anchors of boxes have the right class, and how many there are, (2,)."""
        likely = tensors(output)[0].detach().argmax(dim=1)  # (B, A)
        counts = torch.zeros(2, dtype=torch.float64, device=likely.device)
        for found, truth, match in zip(likely, batch.targets, self.task._matches(batch), strict=True):
            of_box = match > BACKGROUND
            classes = _counting(truth)[match[of_box], CLASS]
            counts += torch.stack([(found[of_box] == classes).sum(), of_box.sum()])
        return counts

    def computed(self, sums: list[float]) -> dict[str, float]:
        """Return `anchor_accuracy`."""
        return {"anchor_accuracy": sums[0] / max(sums[1], 1.0)}


class Detector(nn.Module):
    """A backbone, what makes levels of some of its maps, and a head over them.

    It maps images (B, C, H, W) to logits (B, K, A) of classes and differences (B, A, 4) from anchors. In evaluation,
    the boxes (B, A, 4) that these say follow: left, top, right, bottom, in pixels. A supernet also takes its mixing
    weights.

    Args:
        backbone: Built by a space, or its supernet.
        neck: Maps the backbone's maps to levels.
        head: Maps levels to logits (B, A, K) and differences (B, A, 4), by the names that torchvision gives them.
        anchors: Of the levels.
        taps: Names of the backbone's maps that the neck reads.
    """

    def __init__(
        self, backbone: nn.Module, neck: nn.Module, head: nn.Module, anchors: Anchors, taps: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.head, self.anchors, self.taps = backbone, neck, head, anchors, taps

    def forward(self, x: Tensor, *mix: Any, **options: Any) -> Any:
        _, features = featured(self.backbone, self.taps, x, *mix, **options)
        levels = self.neck(list(features.values()))
        found = self.head(levels)
        logits, deltas = found["cls_logits"].transpose(1, 2), found["bbox_regression"]
        if self.training:
            return logits, deltas
        anchors = self.anchors(levels)
        return [logits, deltas, decoded(anchors, deltas.to(anchors))]


# Heads


@dataclass(frozen=True)
class Head:
    """A way to detect.

    Args:
        strides: Of the maps that it reads.
        levels: Takes the side of the smallest anchor, in strides, and returns the levels.
        make: Takes the task and the maps, and returns neck and head.
    """

    strides: tuple[int, ...]
    levels: Callable[[float], tuple[Level, ...]]
    make: Callable[[Detection, Sequence[FeatureMap]], tuple[nn.Module, nn.Module]]


def _retinanet(task: Detection, maps: Sequence[FeatureMap]) -> tuple[nn.Module, nn.Module]:
    from ramify.tasks.pyramid import Pyramid, retina_head  # of torchvision's parts, slow to import

    return Pyramid([each.channels for each in maps], task.width), retina_head(task.classes, task.width)


def _ssdlite(task: Detection, maps: Sequence[FeatureMap]) -> tuple[nn.Module, nn.Module]:
    from ramify.tasks.pyramid import CoarserMaps, ssdlite_head

    channels = [*(each.channels for each in maps), task.width, task.width // 2]
    return CoarserMaps(maps[-1].channels, task.width), ssdlite_head(channels, task.classes)


HEADS: Mapping[str, Head] = {
    "retinanet": Head((8, 16, 32), retina_levels, _retinanet),
    "ssdlite": Head((16, 32), ssdlite_levels, _ssdlite),
}
