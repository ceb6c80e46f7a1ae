"""Measuring a trained network on a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice

import torch
from torch import Tensor, nn

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
    """Evaluate a network on the images of a split, without augmentation.

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
    sums = torch.zeros(3, dtype=torch.float64).to(device)
    images = 0
    try:
        with torch.no_grad():
            for x, y in islice(split.batches(batch_size, seed=0, device=device), batches or None):
                logits = forward(x)
                ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]
                loss = cross_entropy(logits, y) * len(y)
                images += len(y)
                sums += torch.stack([ranked[:, 0].sum().double(), ranked.any(dim=1).sum().double(), loss.double()])
    finally:
        network.train(was_training)
    top1, top5, mean_loss = (value / images for value in sums.tolist())
    return Measurement(images, top1, top5, mean_loss)
