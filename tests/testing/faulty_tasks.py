"""A good task of a user, an ordinal one, and the same with one fault each."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ramify.tasks import Batch, Classification, Meter, Metric, SumMeter, Task


@dataclass(frozen=True, kw_only=True)
class Ordinal(Task):
    """Which of K ordered classes an input is of, by K − 1 questions."""

    metrics = (Metric("distance", "classes", higher_is_better=False),)

    @property
    def shape(self):
        return {**super().shape, "num_classes": super().shape["num_classes"] - 1}

    def each(self, output, batch):
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        more = batch.targets[:, None] > torch.arange(output.shape[1], device=output.device)
        return F.binary_cross_entropy_with_logits(output, more.to(output.dtype), reduction="none").mean(dim=1)

    def loss(self, output, batch, *, smoothing=0.0):
        total = self.each(output, batch).sum()
        return total, total.new_tensor(float(len(batch)))

    def meter(self):
        return Distance()


class Distance(SumMeter):
    def count(self, output, batch):
        grade = (output > 0).sum(dim=1)
        return torch.stack([(grade - batch.targets).abs().sum(), grade.new_full((), len(batch))])

    def computed(self, sums):
        return {"distance": sums[0] / max(sums[1], 1)}


@dataclass(kw_only=True)
class Loose(Ordinal.__base__):
    """Not frozen."""

    metrics = (Metric("top1"),)
    loss = Classification.loss
    meter = Classification.meter
    weight = Classification.weight


class Nameless(Ordinal):
    metrics = ("distance",)


class Fractional(Ordinal):
    @property
    def shape(self):
        return {**super().shape, "num_classes": 4.5}


class Miscounts(Ordinal):
    def steps(self, split, size, *, drop_last):
        return super().steps(split, size, drop_last=drop_last) + (size > 1)


class Reshuffles(Ordinal):
    def batches(self, split, size, **options):
        found = list(super().batches(split, size, **options))
        return iter([batch.taken(torch.randperm(len(batch))) for batch in found])


class Ignores(Ordinal):
    """Knows no start, as it was never stopped."""

    def batches(self, split, size, *, start=0, **options):
        return super().batches(split, size, **options)


class Narrow(Ordinal):
    def example(self, size, device="meta"):
        batch = super().example(size, device)
        return Batch(batch.inputs[:, :, :4], batch.targets)


class Averages(Ordinal):
    def loss(self, output, batch, *, smoothing=0.0):
        return self.each(output, batch).mean(), torch.tensor(float(len(batch)))


class Half(Ordinal):
    def each(self, output, batch):
        return super().each(output, batch).to(output.dtype)


class Vector(Ordinal):
    def loss(self, output, batch, *, smoothing=0.0):
        return self.each(output, batch), torch.tensor(float(len(batch)))


class Unweighed(Ordinal):
    def loss(self, output, batch, *, smoothing=0.0):
        weights = 1.0 + batch.targets
        return (self.each(output, batch) * weights).sum(), weights.sum()


class Unsmoothed(Ordinal):
    def loss(self, output, batch):
        return super().loss(output, batch)


class Detached(Ordinal):
    def each(self, output, batch):
        return super().each(output.detach(), batch)


class MeanMeter(Distance):
    def count(self, output, batch):
        return super().count(output, batch) / len(batch)


class Means(Ordinal):
    def meter(self):
        return MeanMeter()


class LastMeter(Meter):
    def __init__(self):
        self.found = 0.0

    def update(self, output, batch):
        self.found = float(output.sum())

    def merge(self):
        pass

    def compute(self):
        return {"distance": self.found}


class Last(Ordinal):
    def meter(self):
        return LastMeter()


class Unmeasured(Ordinal):
    metrics = (*Ordinal.metrics, Metric("kappa"))


FAULTS = {  # a task → what its message says
    Loose: "its settings can be changed while something learns",
    Nameless: "`metrics` are ('distance',)",
    Fractional: "`shape` says num_classes=4.5",
    Miscounts: "batches of 7 and `steps` says",
    Reshuffles: "draws from the global generator of torch",
    Ignores: "with `start=2` the batches are not the third and the following",
    Narrow: "its inputs are [((7, 1, 4, 8)",
    Averages: "the sum of two parts is",
    Half: "the sum of outputs in torch.bfloat16 is in torch.bfloat16",
    Vector: "the sum has the shape (7,) instead of ()",
    Unweighed: "`weight` says 3 of a batch that `loss` weighs as",
    Unsmoothed: "it raised TypeError",
    Detached: "the sum has no gradient",
    Means: "has meters that come to the same by parts as by the whole",
    Last: "'distance' of `meter` is",
    Unmeasured: "it measures ['distance'] and not 'kappa'",
}
