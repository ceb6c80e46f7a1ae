"""Measuring a trained network on a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import nn

from ramify import parallel
from ramify.errors import ConfigurationError, RunError
from ramify.tasks import Batch, Portion, Task
from ramify.tasks.batch import tensors
from ramify.training.session import DIVERGED, lost, parted
from ramify.training.single_images import is_lonely

MEASURED_BATCH = 256
"""Images at a time."""


@dataclass(frozen=True)
class Measurement:
    """The metrics of a network on a split.

    An output that is not all finite leaves a loss of NaN.

    Args:
        items: Number of inputs.
        loss: Of the task, on average.
        metrics: The task's metrics, by name.
        score: The first of them, negative where less of it is better.
        details: What there is beside them, as plain JSON values.
    """

    items: int
    loss: float
    metrics: Mapping[str, float]
    score: float
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def checked(self, split: Portion) -> Measurement:
        """Return this measurement, having checked that the network has not diverged.

        Raises:
            RunError: If the loss is not finite.
        """
        if not math.isfinite(self.loss):
            raise RunError(f"the loss on {split.name} is {self.loss}: {DIVERGED}")
        return self


def measure(
    network: nn.Module,
    split: Portion,
    *,
    device: torch.device,
    batch_size: int = MEASURED_BATCH,
    batches: int = 0,
    forward: Callable[[Any], Any] | None = None,
    watch: Callable[[Any, Batch, int], None] | None = None,
) -> Measurement:
    """Evaluate a network on a split of a task, without augmentation; processes share its batches.

    Args:
        network: Put into evaluation mode for the time being.
        split: What to evaluate on.
        device: Where the network is.
        batch_size: Inputs at a time, if the task has no fewer.
        batches: Stop after so many; 0 for all.
        forward: What to call instead of the network, for instance a supernet with fixed weights.
        watch: Sees all outputs, with their batch and the position of its first item in the split.

    Raises:
        ConfigurationError: If a single input is left for the last batch, and a norm on a 1×1 map has nothing else.
    """
    task, forward = split.task, forward or network
    batch_size = min(batch_size, task.at_once)
    was_training = network.training
    network.eval()
    meter = task.evaluation_meter()
    sums = torch.zeros(3, dtype=torch.float64).to(device)
    count = split.num_batches(batch_size)
    count = min(count, batches) if batches else count
    first, step = parallel.part()  # batches stay whole, because norms may use their statistics
    try:
        with torch.no_grad():
            own = split.batches(batch_size, seed=0, start=first, every=step, device=device)
            for number, batch in enumerate(islice(own, -(-(count - first) // step))):
                output = parted(task, forward(batch.inputs))[0]
                loss = lost(task, output, batch, alone=True)
                finite = torch.stack([each.isfinite().all() for each in tensors(output)]).all()
                sums += torch.stack(
                    [
                        torch.where(finite, loss.mean * loss.weight, math.nan).double(),
                        loss.weight.double(),
                        loss.weight.new_full((), len(batch)).double(),
                    ]
                ).to(device)
                meter.update(output, batch)
                if watch is not None:
                    watch(output, batch, (first + number * step) * batch_size)
    except ValueError as error:
        if not is_lonely(error):
            raise
        raise single_image(split, batch_size) from None
    finally:
        network.train(was_training)
    meter.merge()
    loss_sum, weight, items = parallel.total(sums).tolist()
    metrics = meter.compute()
    return Measurement(int(items), loss_sum / (weight or 1), metrics, task.score(metrics), meter.details())


def scored(task: Task, outputs: Iterable[tuple[Any, Batch]]) -> float:
    """Return the score of a network on some batches, of which every process may have its share."""
    meter = task.evaluation_meter()
    for output, batch in outputs:
        meter.update(output, batch)
    meter.merge()
    return task.score(meter.compute())


def single_image(split: Portion, batch_size: int = MEASURED_BATCH) -> ConfigurationError:
    """Return the error for a split whose last batch is a single image, which a norm cannot process."""
    return ConfigurationError(
        f"{split.name} has {len(split)} images, which leaves 1 for its last batch of {batch_size}, and a norm without "
        "running statistics needs 2 on a 1×1 map; take another number of images, or the layout "
        "`track_running_stats=True`"
    )
