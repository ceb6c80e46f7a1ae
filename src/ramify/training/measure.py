"""Measuring a trained network on a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.data import Split
from ramify.training.session import cross_entropy


@dataclass(frozen=True)
class Measurement:
    """What a network does on a split.

    Args:
        images: Number of images.
        top1: Share of images whose class has the highest logit.
        top5: Share of images whose class is among the five highest (all classes, where there are fewer).
        loss: Mean cross-entropy in nats.
    """

    images: int
    top1: float
    top5: float
    loss: float

    def as_dict(self) -> dict[str, float]:
        """Return the plain values."""
        return asdict(self)


def measure(
    network: nn.Module,
    split: Split,
    *,
    device: torch.device,
    batch_size: int = 256,
    batches: int = 0,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Measurement:
    """Evaluate a network on the images of a split, without augmentation; several processes divide its batches.

    Args:
        network: Put into evaluation mode for the time being.
        split: What to evaluate on.
        device: Where the network is.
        batch_size: Images at a time.
        batches: Stop after so many; 0 for all.
        forward: What to call instead of the network, for instance a supernet with fixed weights.
    """
    forward = forward or network
    was_training = network.training
    network.eval()
    sums = torch.zeros(4, dtype=torch.float64).to(device)
    count = split.num_batches(batch_size)
    count = min(count, batches) if batches else count
    first, step = parallel.part()  # batches stay whole, because norms may use their statistics
    try:
        with torch.no_grad():
            own = split.batches(batch_size, seed=0, start=first, every=step, device=device)
            for x, y in islice(own, -(-(count - first) // step)):
                logits = forward(x)
                ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]
                loss = cross_entropy(logits, y) * len(y)
                correct = [ranked[:, 0].sum().double(), ranked.any(dim=1).sum().double()]
                sums += torch.stack([*correct, loss.double(), loss.new_full((), len(y)).double()])
    finally:
        network.train(was_training)
    top1, top5, loss_sum, images = parallel.total(sums).tolist()
    return Measurement(int(images), top1 / images, top5 / images, loss_sum / images)
