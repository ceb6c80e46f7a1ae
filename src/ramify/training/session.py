"""The interface of long work for the runner: a `Session` that yields at safe points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.costs import Inputs
from ramify.data import Augmentation
from ramify.errors import ConfigurationError, RunError
from ramify.execution import DEFAULT
from ramify.executors import Executor
from ramify.parallel import say_once
from ramify.tasks import Batch, Meter, Portion, SumMeter, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Work:
    """The task, resources and randomness that a session works with.

    Args:
        given: The task; a search takes its search splits only. None where nothing has to be trained or measured.
        seed: All randomness follows from it.
        fabric: Device and precision.
        layout: Layout keywords of the space's `supernet` or `build`.
        executor: Where architectures are evaluated, by strategies that evaluate one by one; in this process when None.
        execution: How networks are executed, by its name in `ramify.execution`.
    """

    given: Task | None
    seed: int
    fabric: Fabric
    layout: Mapping[str, Any] = field(default_factory=dict)
    executor: Executor | None = None
    execution: str = DEFAULT

    @property
    def task(self) -> Task:
        """The task, which the session must have.

        Raises:
            ConfigurationError: If there is none.
        """
        if self.given is None:
            raise ConfigurationError("this needs data, and none were named; name them with --data or `data=`")
        return self.given

    @property
    def dtype(self) -> torch.dtype:
        """Precision of tensors on the host, such as architecture parameters."""
        return torch.float64 if self.fabric.strategy.precision.precision == "64-true" else torch.float32

    @property
    def shape(self) -> dict[str, int]:
        """The arguments of `build` and `supernet` that follow from the task."""
        return self.task.shape

    @property
    def inputs(self) -> Inputs:
        """The inputs and the shape of networks."""
        return Inputs(self.shape, self.task.input_size)


@dataclass(frozen=True)
class Metrics:
    """A session's report at a safe point.

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
    """Running means of the loss and of the task's training metrics over the inputs of all processes.

    They are kept on the device, so that no step waits for it. Meters that are no sums are left to measurements.

    Args:
        task: Whose.
        device: Where what is counted lies.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self._meter: Callable[[], Meter] = task.meter
        self._device = device
        self.sums = torch.zeros(0, dtype=torch.float64)

    def add(self, output: Any, batch: Batch, loss: Loss) -> None:
        """Add a batch, or this process' share of it: the network's output, and the loss."""
        meter = self._meter()
        counted: list[Tensor] = []
        if isinstance(meter, SumMeter):
            with torch.no_grad():
                counted = [meter.count(output, batch).to(self._device, torch.float64)]
        weight = loss.weight.detach().to(self._device, torch.float64)
        sums = torch.cat([torch.stack([loss.mean.detach().double() * weight, weight]), *counted])
        sums = parallel.total(sums)
        self.sums = sums if not len(self.sums) else self.sums + sums.to(self.sums)

    @contextmanager
    def divided(self) -> Iterator[None]:
        """Let every process count whole batches of its own within a block, and sum them after it."""
        before, self.sums = self.sums, torch.zeros(0, dtype=torch.float64)
        yield
        own, self.sums = self.sums, before
        if size := max(parallel.counted(len(own))):
            own = parallel.total(own if len(own) else torch.zeros(size, dtype=torch.float64, device=self._device))
            self.sums = own if not len(before) else before + own

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been added."""
        return not len(self.sums)

    def take(self, prefix: str = "") -> dict[str, float]:
        """Return `loss` and the task's metrics so far and reset them; zeros if nothing was added.

        Raises:
            RunError: If the loss is not finite.
        """
        loss, weight, *counted = self.sums.tolist() or (0.0, 0.0)
        self.sums = torch.zeros(0, dtype=torch.float64)
        if not math.isfinite(loss):
            raise RunError(f"the {prefix}loss is {loss}: {DIVERGED}")
        meter = self._meter()
        metrics = meter.computed(counted) if isinstance(meter, SumMeter) and counted else {}
        return {f"{prefix}loss": loss / (weight or 1)} | {f"{prefix}{name}": value for name, value in metrics.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums."""
        return {"sums": self.sums}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state`."""
        self.sums = state["sums"].to(self._device)


def fitting(batch_size: int, split: Portion) -> int:
    """Return the batch size of a split over all processes: smaller than wanted if the split is small.

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


def leaves_out(split: Portion, size: int, *, drop_last: bool, whole: bool = False) -> bool:
    """Return whether a pass drops its last batch, if that is smaller than `size`.

    It does if it is told to, and also where this batch has a single image, whose statistics no norm could take, or,
    unless every process gets the `whole` of it, fewer images than there are processes.
    """
    left = len(split) % size
    return drop_last or left < max(2, 1 if whole else parallel.world())


def uneven(split: Portion, size: int, *, drop_last: bool) -> bool:
    """Return whether processes hold different numbers of images of the last batch of a pass."""
    return len(split) % size % parallel.world() > 0 and not leaves_out(split, size, drop_last=drop_last)


def endless(
    split: Portion,
    batch_size: int,
    *,
    seed: int,
    augmented: bool | Augmentation,
    device: torch.device,
    start: int,
    drop_last: bool = True,
    whole: bool = False,
) -> Iterator[Batch]:
    """Yield shuffled batches endlessly, from batch number `start` of the whole training.

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
            augmented=augmented,
            shuffle=True,
            drop_last=drop_last,
            start=first,
            part=(0, 1) if whole else parallel.part(),
            device=device,
        )
        epoch, first = epoch + 1, 0


def parts(
    task: Task, batch: Batch, count: int, *, size: int | None = None, uneven: bool = False
) -> Iterator[tuple[Batch, float]]:
    """Split a batch into `count` parts, at most one per item; yield each with its share of the loss.

    Weighed with these shares, the mean over processes of what they lose is what the items of all lose on average.

    Args:
        task: Says what the loss of a part weighs.
        batch: Items of this process.
        count: How many parts.
        size: Items of a full batch, of all processes together; this is one where it is None. A smaller one has no
            parts of a single item, whose statistics no norm could take.
        uneven: Whether the processes may hold different numbers of items; then they tell each other.
    """
    held = parallel.counted(len(batch)) if uneven else parallel.held(len(batch))
    total = sum(held)
    full = size is None or total == size
    count = min(count, min(held) if full else max(1, total // max(2, len(held))))
    divided = batch.parts(count)
    shares = [len(part) * len(held) / total for part in divided] if task.is_even else _shares(task, divided, len(held))
    for number, (part, share) in enumerate(zip(divided, shares, strict=True)):
        with parallel.holding([items // count + (number < items % count) for items in held]):
            yield part, share


def _shares(task: Task, parts: Sequence[Batch], processes: int) -> list[float]:
    """Return which share of the loss of all processes' parts each part has, times the number of processes."""
    if len(parts) == processes == 1:
        return [1.0]
    weights = torch.stack([task.weight(part).detach().to("cpu", torch.float64) for part in parts])
    total = float(parallel.total(weights.sum()))
    return [float(weight) * processes / total if total else 0.0 for weight in weights]


@dataclass(frozen=True)
class Loss:
    """The loss of a network on a batch, or on a part of one.

    Args:
        mean: The loss on average (scalar), with a gradient.
        weight: What it weighs among other batches (scalar).
        share: The part's share of the whole batch.
    """

    mean: Tensor
    weight: Tensor
    share: float = 1.0

    @property
    def part(self) -> Tensor:
        """The part's term in the loss of the whole batch (scalar)."""
        return self.mean * self.share


def check_smoothing(task: Task, smoothing: float) -> None:
    """Print a note if settings smooth labels but the task has none."""
    if smoothing and not task.smooths:
        say_once(f"label smoothing is for classes: {task.name} learns without it")


def parted(task: Task, output: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """Return what a network says, and what the auxiliary classifiers of a user's network say beside it."""
    return _first_and_others(output) if task.one_tensor else (output, ())


def without_auxiliary(supernet: nn.Module, inputs: Any, output: Any) -> Any:
    """Return what a supernet says without auxiliary classifiers: a forward hook, where the output is one tensor."""
    return _first_and_others(output)[0]


def _first_and_others(output: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """Part several tensors; what else a network returns, such as features at its taps, is left as it is."""
    if isinstance(output, tuple | list) and output and all(one is None or isinstance(one, Tensor) for one in output):
        return output[0], tuple(one for one in output[1:] if one is not None)
    return output, ()


def lost(
    task: Task, output: Any, batch: Batch, share: float = 1.0, *, smoothing: float = 0.0, alone: bool = False
) -> Loss:
    """Return the loss of a network's `output` on a batch; 0 where nothing of the batch counts.

    Args:
        task: Whose loss.
        output: What the network says.
        batch: A batch, or a part of one.
        share: The part's share of the whole batch.
        smoothing: Of class labels.
        alone: Whether this process has the whole batch, though others work beside it.

    Raises:
        ConfigurationError: If parts of batches were weighed before by other weights than the loss then has.
    """
    total, weight = task.loss(output, batch, smoothing=smoothing)
    divided = share != 1.0 or (parallel.world() > 1 and not alone)
    if divided and not torch.isclose(task.weight(batch).to(weight), weight):
        raise ConfigurationError(
            f"the loss of {task.name} weighs a part of a batch as {float(weight):g}, its `weight` as "
            f"{float(task.weight(batch)):g}; override `weight(batch)` to say the same before there is an output"
        )
    return Loss(total / weight.masked_fill(weight == 0, 1.0), weight, share)
