"""What every long piece of work looks like to the runner: a `Session` that yields at safe points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify import parallel
from ramify.costs import Inputs
from ramify.data import Augmentation, Data, Split
from ramify.errors import ConfigurationError, RunError
from ramify.executors import Executor

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Task:
    """What a session works on.

    Args:
        given: The data set; a search takes its search splits only. None where nothing has to be trained or measured.
        seed: All randomness follows from it.
        fabric: Device and precision.
        network: Layout keywords of the space's `supernet` or `build`.
        executor: Where architectures are evaluated, by strategies that evaluate one by one; in this process when None.
    """

    given: Data | None
    seed: int
    fabric: Fabric
    network: Mapping[str, Any] = field(default_factory=dict)
    executor: Executor | None = None

    @property
    def data(self) -> Data:
        """The data set.

        Raises:
            ConfigurationError: If there is none.
        """
        if self.given is None:
            raise ConfigurationError("this needs images, and no data was named; name it with --data or `data=`")
        return self.given

    @property
    def shape(self) -> dict[str, int]:
        """The arguments of `build` and `supernet` that follow from the data."""
        return {"num_classes": self.data.num_classes, "in_channels": self.data.in_channels}

    @property
    def inputs(self) -> Inputs:
        """What networks see, and what is demanded of them."""
        return Inputs(self.shape, self.data.input_size)


@dataclass(frozen=True)
class Metrics:
    """What a session reports at a safe point.

    Args:
        phase: `search`, `prepare`, `trial` or `train`.
        step: Steps done.
        steps: Steps in all.
        values: A row for the history, plain JSON values; empty where there is nothing to record.
    """

    phase: str
    step: int
    steps: int
    values: Mapping[str, Any] = field(default_factory=dict)


class Session(Protocol):
    """Work that can be stopped at any yield and continued from its state, with the same result."""

    def run(self) -> Iterator[Metrics]:
        """Continue the work; every yield is a safe point."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a continuation needs: tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""


DIVERGED = "training has diverged; lower the learning rate or clip gradients"
"""What a loss that is not finite says."""


class Averages:
    """Running means of loss and accuracy over the images of all processes.

    They are kept on the device, so that no step waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64).to(device)

    def add(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Count a batch, of which every process has its share: logits (B, K), labels (B,), its mean loss."""
        count = labels.new_full((), len(labels))
        correct = (logits.detach().argmax(dim=1) == labels).sum()
        sums = torch.stack([loss.detach().double() * count, correct.double(), count.double()])
        self.sums += parallel.total(sums).to(self.sums)

    @contextmanager
    def divided(self) -> Iterator[None]:
        """Let every process count whole batches of its own in the block, and add them up after it."""
        before = self.sums.clone()
        yield
        if parallel.world() > 1:
            self.sums.copy_(before + parallel.total(self.sums - before))

    def take(self, prefix: str = "") -> dict[str, float]:
        """Return `loss` and `accuracy` so far and start again.

        Raises:
            RunError: If the loss is not finite.
        """
        loss, correct, count = self.sums.tolist()
        self.sums.zero_()
        if not math.isfinite(loss):
            raise RunError(f"the {prefix}loss is {loss}: {DIVERGED}")
        return {f"{prefix}loss": loss / max(count, 1), f"{prefix}accuracy": correct / max(count, 1)}


def fitting(batch_size: int, split: Split) -> int:
    """Return how many images a batch of a split has, in all processes together: fewer than wanted in a small split.

    Raises:
        ConfigurationError: If they cannot be divided among the processes.
    """
    count = parallel.world()
    if batch_size % count:
        near = [size for size in (batch_size - batch_size % count, batch_size + count - batch_size % count) if size]
        raise ConfigurationError(
            f"`batch_size` {batch_size} cannot be divided among {count} devices; take {' or '.join(map(str, near))}"
        )
    size = min(batch_size, parallel.divisible(len(split)))
    if not size:
        raise ConfigurationError(f"the {len(split)} images of {split.name} are too few for {count} devices")
    return size


def leaves_out(split: Split, size: int, *, drop_last: bool, whole: bool = False) -> bool:
    """Return whether a pass leaves out its last batch, where that is smaller than `size`.

    It does if it is told to, and also where this batch has a single image, whose statistics no norm could take, or,
    unless every process gets the `whole` of it, fewer images than there are processes.
    """
    left = len(split) % size
    return drop_last or left < max(2, 1 if whole else parallel.world())


def uneven(split: Split, size: int, *, drop_last: bool) -> bool:
    """Return whether processes hold different numbers of images of the last batch of a pass."""
    return len(split) % size % parallel.world() > 0 and not leaves_out(split, size, drop_last=drop_last)


def endless(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    augmentation: Augmentation | None,
    device: torch.device,
    start: int,
    drop_last: bool = True,
    whole: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled batches for ever, from batch number `start` counted from the very first one.

    Of several processes each gets its share of a batch, or the `whole` of it. Which smaller last batches are left out,
    `leaves_out` says.
    """
    size = fitting(batch_size, split)
    drop_last = leaves_out(split, size, drop_last=drop_last, whole=whole)
    count = split.num_batches(size, drop_last=drop_last)
    epoch, first = divmod(start, count)
    while True:
        yield from split.batches(
            size,
            seed=seed,
            epoch=epoch,
            augmentation=augmentation,
            shuffle=True,
            drop_last=drop_last,
            start=first,
            part=(0, 1) if whole else parallel.part(),
            device=device,
        )
        epoch, first = epoch + 1, 0


def parts(
    x: Tensor, y: Tensor, count: int, *, size: int | None = None, uneven: bool = False
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Split a batch into `count` parts, fewer where it has fewer images; yield each with its share of the images.

    Weighed with these shares, the mean over processes of what they lose is what the images of all lose on average.

    Args:
        x: Images of this process (B, C, H, W).
        y: Their classes (B,).
        count: How many parts.
        size: Images of a full batch, of all processes together; this is one where it is None. A smaller one has no
            parts of a single image, whose statistics no norm could take.
        uneven: Whether the processes may hold different numbers of images; then they tell each other.
    """
    held = parallel.counted(len(y)) if uneven else parallel.held(len(y))
    total = sum(held)
    full = size is None or total == size
    count = min(count, min(held) if full else max(1, total // max(2, len(held))))
    for number, (xs, ys) in enumerate(zip(x.tensor_split(count), y.tensor_split(count), strict=True)):
        with parallel.holding([images // count + (number < images % count) for images in held]):
            yield xs, ys, len(ys) * len(held) / total


def descend(
    fabric: Fabric,
    network: nn.Module,
    optimizer: Any,
    losses: Iterable[Tensor],
    *,
    lr: float,
    clip: float,
    clip_by: str = "norm",
    everything: bool = False,
    inputs: Sequence[Tensor] | None = None,
) -> None:
    """Take one step on the sum of `losses`, each of which is computed only when the one before has been dealt with.

    The gradient is the mean of those of all processes.

    Args:
        fabric: Scales the loss in half precision.
        network: Whose gradients are averaged and clipped.
        optimizer: Of its parameters.
        losses: Parts of a batch' mean loss; their gradients are accumulated.
        lr: Learning rate of this step.
        clip: Largest L2 norm of the gradient, or largest absolute value of its entries; 0 leaves it.
        clip_by: `norm` or `value`, what `clip` bounds.
        everything: Whether it bounds the norm of all gradients of `network`, and not only of what `optimizer` moves.
            Not for half precision, which scales these alone.
        inputs: What to differentiate with respect to; everything the losses depend on by default.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad()
    for loss in losses:
        fabric.backward(loss, inputs=inputs)
    parallel.average(p.grad for p in (network.parameters() if inputs is None else inputs))
    if clip and clip_by == "value":
        fabric.clip_gradients(network, optimizer, clip_val=clip)
    elif clip and everything:  # Fabric would look at the optimiser's parameters only
        nn.utils.clip_grad_norm_(network.parameters(), clip)
    elif clip:
        fabric.clip_gradients(network, optimizer, max_norm=clip, error_if_nonfinite=False)
    optimizer.step()


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits (B, K) in float32 at least, whatever the network's precision."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide, labels, label_smoothing=smoothing)
