"""Measuring a trained network on a split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.data import Split
from ramify.errors import ConfigurationError, RunError
from ramify.training.session import DIVERGED, cross_entropy
from ramify.training.single_images import is_lonely

MEASURED_BATCH = 256
"""Images at a time."""


@dataclass(frozen=True)
class Measurement:
    """What a network does on a split.

    An image whose logits are not all finite is never counted as correct, and leaves a loss of NaN.

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

    def checked(self, split: Split) -> Measurement:
        """Return this if it is one of a network that has not diverged.

        Raises:
            RunError: If the loss is not finite.
        """
        if not math.isfinite(self.loss):
            raise RunError(f"the loss on {split.name} is {self.loss}: {DIVERGED}")
        return self


def measure(
    network: nn.Module,
    split: Split,
    *,
    device: torch.device,
    batch_size: int = MEASURED_BATCH,
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

    Raises:
        ConfigurationError: If a single image is left for the last batch, and a norm on a 1×1 map has nothing else.
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
                finite = logits.isfinite().all(dim=1, keepdim=True)
                ranked = (logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]) & finite
                loss = torch.where(finite.all(), cross_entropy(logits, y) * len(y), math.nan)
                correct = [ranked[:, 0].sum().double(), ranked.any(dim=1).sum().double()]
                sums += torch.stack([*correct, loss.double(), loss.new_full((), len(y)).double()])
    except ValueError as error:
        if not is_lonely(error):
            raise
        raise single_image(split, batch_size) from None
    finally:
        network.train(was_training)
    top1, top5, loss_sum, images = parallel.total(sums).tolist()
    return Measurement(int(images), top1 / images, top5 / images, loss_sum / images)


def single_image(split: Split, batch_size: int = MEASURED_BATCH) -> ConfigurationError:
    """Return the error of a split whose last batch is a single image, which a norm cannot do with."""
    return ConfigurationError(
        f"{split.name} has {len(split)} images, which leaves 1 for its last batch of {batch_size}, and a norm without "
        "running statistics needs 2 on a 1×1 map; take another number of images, or the layout "
        "`track_running_stats=True`"
    )
