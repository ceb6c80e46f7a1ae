"""Toys for tests of tasks: a space of chains without norms, a segmentation, masked and weighted losses, a few inputs.

Nothing here looks at a whole batch but the losses that say so, so that parts of a batch add up to the whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.architecture import Decision
from ramify.capabilities import SAME_WIDTHS, TAPS
from ramify.seeding import stream
from ramify.spaces import Space
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.layout import Layout
from ramify.supernet import Built, Choice, Skeleton, Supernet, tapped
from ramify.tasks import Batch, Classification, Headed, Metric, SumMeter, Task
from ramify.tasks.classification import Confusion

LAYERS = 3
OPERATIONS = ("conv_1x1", "conv_3x3", "skip")


def _operation(name, channels):
    if name == "skip":
        return nn.Identity()
    kernel = int(name[-1])
    return nn.Sequential(nn.Tanh(), nn.Conv2d(channels, channels, kernel, padding=kernel // 2))


class _Mixed(nn.ModuleDict):
    """All candidates of a layer."""

    kind = "layers"

    def __init__(self, number, channels):
        super().__init__({name: _operation(name, channels) for name in OPERATIONS})
        self.number = number

    def forward(self, x, mixture):
        weights, active = mixture.weights[self.number], mixture.active[self.number]
        return sum(weights[index] * self[OPERATIONS[index]](x) for index in active)


class _Chain(Skeleton):
    stages = LAYERS

    def __init__(self, layers, channels, shape):
        super().__init__()
        self.stem = nn.Conv2d(shape["in_channels"], channels, 1)
        self.layers = nn.ModuleList(layers)
        self.classifier = nn.Linear(channels, shape["num_classes"])

    def run(self, x, run_cell, taps):
        self.check_taps(taps)
        x, features = self.stem(x), {}
        for number, layer in enumerate(self.layers):
            x = features[f"stage{number + 1}"] = run_cell(layer, x)
        return tapped(self.classifier(x.mean(dim=(2, 3))), features, taps)


class _Network(Built, _Chain):
    pass


class _Supernet(Supernet, _Chain):
    pass


class Unnormed(Space):
    """Chains of three layers without norms."""

    source = "a test"

    @dataclass(frozen=True, kw_only=True)
    class Layout(Layout):
        """How wide they are.

        Args:
            channels: Of every layer.
        """

        channels: int = 4

    def _all_choices(self):
        edges = tuple((number, number + 1) for number in range(LAYERS))
        mask = torch.ones(LAYERS, len(OPERATIONS), dtype=torch.bool)
        return {"layers": Choice(edges, OPERATIONS, mask)}

    def _all_decisions(self):
        return [Decision(str(number), OPERATIONS) for number in range(LAYERS)]

    def candidates(self, decision, value):
        return [("layers", int(decision), OPERATIONS.index(value))]

    def discretize(self, scores):
        found = scores["layers"].masked_fill(~self.choices["layers"].mask, float("-inf")).argmax(dim=1)
        return self.architecture([OPERATIONS[index] for index in found.tolist()])

    def parse(self, notation):
        return self.architecture(notation.split("-"))

    def format(self, arch):
        return "-".join(str(arch[name]) for name in arch)

    def graphs(self, arch):
        states = tuple(map(str, range(LAYERS + 1)))
        edges = tuple((number, number + 1, str(arch[str(number)])) for number in range(LAYERS))
        return {"layers": CellGraph(states, edges, (0,), LAYERS)}

    def _build(self, arch, layout, shape):
        return _Network([_Only(arch[name], layout.channels) for name in arch], layout.channels, shape)

    def _supernet(self, layout, shape):
        return _Supernet([_Mixed(number, layout.channels) for number in range(LAYERS)], layout.channels, shape)


class _Only(nn.ModuleDict):
    """One candidate, under the name that it has in the supernet."""

    def __init__(self, name, channels):
        super().__init__({name: _operation(name, channels)})

    def forward(self, x):
        (operation,) = self.values()
        return operation(x)


IGNORED = 255
SIDES = (6, 10)
CLASSES = 3
SIZES = {"search_train": 32, "search_validation": 32, "train": 64, "test": 24}


class _Head(nn.Module):
    """Logits (B, K, H, W) from two stages."""

    def __init__(self, channels):
        super().__init__()
        self.last, self.middle = nn.Conv2d(channels, CLASSES, 1), nn.Conv2d(channels, CLASSES, 1)

    def forward(self, output, features):
        return self.last(features["stage3"]) + self.middle(features["stage2"])


@dataclass(frozen=True, kw_only=True)
class Segmentation(Task):
    """Which of three kinds of stripes a pixel shows; some pixels do not count.

    Args:
        unknown: Share of the pixels that do not count, more of them in some images than in others.
        channels: Of the maps that the head reads.
    """

    unknown: float = 0.3
    channels: int = 4

    needs_data = False
    needs = frozenset({TAPS, SAME_WIDTHS})
    metrics = (Metric("iou"),)

    @property
    def fingerprint(self):
        return hashlib.sha256(f"{self.unknown}".encode()).hexdigest()

    @property
    def shape(self):
        return {"num_classes": 0, "in_channels": 2}

    def announce(self, split, purpose):
        pass

    def steps(self, split, size, *, drop_last):
        return SIZES[split] // size if drop_last else -(-SIZES[split] // size)

    def batches(self, split, size, *, seed, epoch=0, start=0, every=1, part=(0, 1), shuffle=False, drop_last=False,
                augmented=False, device=None, dtype=torch.float32, purpose=""):  # fmt: skip
        order = torch.arange(SIZES[split])
        if shuffle:
            order = torch.randperm(SIZES[split], generator=stream(seed, "order", split, epoch))
        for number in range(start, self.steps(split, size, drop_last=drop_last), every):
            rows = order[number * size : (number + 1) * size][part[0] :: part[1]]
            items = [self._item(split, row) for row in rows.tolist()]
            inputs, targets = (torch.stack(values) for values in zip(*items, strict=True))
            yield Batch(inputs, targets).to(device or "cpu", dtype)

    def _item(self, split, number):
        generator = stream(1, "toy", split, number)
        kind = torch.randint(CLASSES, SIDES, generator=generator)
        image = torch.stack([kind.float() - 1, kind.float().square() - 1]) + torch.randn(2, *SIDES, generator=generator)
        share = min(1.0, 2 * self.unknown * float(torch.rand((), generator=generator)))
        unknown = torch.rand(SIDES, generator=generator) < share
        return image, kind.masked_fill(unknown, IGNORED)

    def example(self, size, device="meta"):
        inputs = torch.zeros(size, 2, *SIDES, device=device)
        return Batch(inputs, torch.zeros(size, *SIDES, dtype=torch.int64, device=device))

    def network(self, backbone):
        return Headed(backbone, _Head(self.channels), ("stage2", "stage3"))

    def weight(self, batch):
        return (batch.targets != IGNORED).sum().float()

    def loss(self, output, batch, *, smoothing=0.0):
        wide = _wide(output)
        total = F.cross_entropy(wide, batch.targets, ignore_index=IGNORED, reduction="sum")
        return total, self.weight(batch).to(wide)

    def meter(self):
        return _Overlap()


def _wide(output):
    return output if output.dtype == torch.float64 else output.float()


class _Overlap(SumMeter):
    def count(self, output: Any, batch: Batch):
        known = batch.targets != IGNORED
        found, wanted = output.detach().argmax(dim=1)[known], batch.targets[known]
        kinds = range(CLASSES)
        both = [((found == kind) & (wanted == kind)).sum() for kind in kinds]
        either = [((found == kind) | (wanted == kind)).sum() for kind in kinds]
        return torch.stack([*both, *either])

    def computed(self, sums):
        shares = [both / max(either, 1) for both, either in zip(sums[:CLASSES], sums[CLASSES:], strict=True)]
        return {"iou": sum(shares) / CLASSES}


@dataclass(frozen=True, kw_only=True)
class Hardest(Segmentation):
    """The same with a loss that counts the harder half of the pixels of a batch."""

    whole_batch = True

    def weight(self, batch):
        return torch.tensor(float((batch.targets != IGNORED).sum() // 2))

    def loss(self, output, batch, *, smoothing=0.0):
        each = F.cross_entropy(_wide(output), batch.targets, ignore_index=IGNORED, reduction="none").flatten()
        count = int(self.weight(batch))
        return each.topk(count).values.sum(), self.weight(batch)


@dataclass(frozen=True, kw_only=True)
class Silent(Segmentation):
    """The same, but it does not say beforehand what a batch weighs."""

    weight = Task.weight

    def loss(self, output, batch, *, smoothing=0.0):
        total = F.cross_entropy(_wide(output), batch.targets, ignore_index=IGNORED, reduction="sum")
        return total, (batch.targets != IGNORED).sum().to(total)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scripted(Classification):
    """A classification whose splits all have these few inputs, in their order.

    Args:
        inputs: Of the network (N, …).
        labels: Their classes (N,).
        count: How many classes there are.
    """

    inputs: Tensor
    labels: Tensor
    count: int

    needs_data = False

    def steps(self, split, size, *, drop_last):
        return len(self.labels) // size if drop_last else -(-len(self.labels) // size)

    def batches(self, split, size, *, seed, start=0, every=1, device=None, purpose=""):
        for rows in torch.arange(len(self.labels)).split(size)[start::every]:
            yield Batch(self.inputs, self.labels).taken(rows)

    def evaluation_meter(self):
        return Confusion(tuple(map(str, range(self.count))))
