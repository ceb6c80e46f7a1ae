"""What a task promises: batches that repeat, and losses and meters that add up over parts and processes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from ramify.errors import ConfigurationError
from ramify.seeding import seeded
from ramify.spaces import NASBench201, Space
from ramify.tasks import Batch, Meter, Metric, SumMeter, Task
from ramify.tasks.batch import tensors
from ramify.testing.bits import differences, drawn_from, watched
from ramify.testing.contract import Contract, called, unfrozen
from ramify.testing.small import bound, instance, small_layout
from ramify.wording import excerpt

CONTRACT: Contract[Lesson] = Contract("a task")

SPLITS = ("search_train", "search_validation", "train", "test")
SIZE = 7


@dataclass(frozen=True, eq=False)
class Lesson:
    """A task with data, and networks that learn it.

    Args:
        task: The task.
        space: Whose members learn.
        layout: Of these networks.
    """

    task: Task
    space: Space
    layout: Mapping[str, Any]

    def batches(self, split: str = "search_train", **options: Any) -> list[Batch]:
        """Return the batches of a pass."""
        return list(self.task.split(split, "a check of the task").batches(SIZE, **{"seed": 0, **options}))

    @cached_property
    def batch(self) -> Batch:
        """Some items to learn from."""
        return self.batches()[0]

    @cached_property
    def network(self) -> nn.Module:
        """A network with its head, in evaluation mode."""
        with seeded(1, "network"):
            backbone = self.space.build(self.space.sample(Random(0)), shape=self.task.shape, **self.layout)
            return self.task.network(backbone).eval()

    @cached_property
    def output(self) -> Any:
        """What the network says of the batch."""
        with torch.no_grad():
            return self.network(self.batch.inputs)


def check_task(
    task: Task | type[Task], space: Space | type[Space] | None = None, layout: Mapping[str, Any] | None = None
) -> None:
    """Check that a task keeps what sessions, processes and evaluators build on.

    Args:
        task: A task or a class of which one is made without arguments; one that is bound to no data gets digits.
        space: Whose networks learn it; NAS-Bench-201 when None.
        layout: Layout keywords of small networks, as in `check_space`.

    Raises:
        ContractError: If it breaks a promise.
        ConfigurationError: If networks of the space cannot learn it.
    """
    __tracebackhide__ = True
    made: Task = instance(task, Task, "a task")
    searched: Space = NASBench201() if space is None else instance(space, Space, "a space")
    if lacking := searched.lacks(made.needs):
        raise ConfigurationError(f"{called(type(made))}: {lacking}; name another space: `space=`")
    laid_out = small_layout(searched) if layout is None else dict(layout)
    CONTRACT.check(Lesson(bound(made), searched, laid_out), called(type(made)))


def _same(a: Batch, b: Batch) -> bool:
    return not differences((a.inputs, a.targets), (b.inputs, b.targets))


def _halves(lesson: Lesson) -> list[tuple[Any, Batch]]:
    """Return the batch in two parts of different lengths, each with what the network says of it."""
    cut = len(lesson.batch) // 2
    ends = (slice(cut), slice(cut, len(lesson.batch)))
    said = Batch(lesson.output, ())
    return [(said.taken(at).inputs, lesson.batch.taken(at)) for at in ends]


# What it says of itself


@CONTRACT.promise("holds its settings in a frozen dataclass", mend="@dataclass(frozen=True, kw_only=True)")
def _frozen(lesson: Lesson) -> Iterator[str]:
    if unfrozen(lesson.task):
        yield "its settings can be changed while something learns"


@CONTRACT.promise("names what is measured, its score first, in a tuple of Metric", mend="metrics = (Metric(…), …)")
def _metrics(lesson: Lesson) -> Iterator[str]:
    metrics = lesson.task.metrics
    if not isinstance(metrics, tuple) or not metrics or not all(isinstance(each, Metric) for each in metrics):
        yield f"`metrics` are {excerpt(metrics)}"


@CONTRACT.promise(
    "says what builders need, as whole numbers by the names of the space's shape, and a fingerprint",
    mend="`shape` and `fingerprint`",
)
def _shape(lesson: Lesson) -> Iterator[str]:
    shape, task = lesson.task.shape, lesson.task
    for name, value in shape.items():
        if type(value) is not int:
            yield f"`shape` says {name}={excerpt(value)}"
        elif name not in lesson.space.shape:
            yield f"`shape` says {name!r}, and {lesson.space.name} knows {sorted(lesson.space.shape)}"
    if not isinstance(task.fingerprint, str) or not task.fingerprint:
        yield f"`fingerprint` is {excerpt(task.fingerprint)}"


# Batches


@CONTRACT.promise("has as many batches, and items in them, as `steps` says", mend="`steps(split, size, drop_last=…)`")
def _steps(lesson: Lesson) -> Iterator[str]:
    for split in SPLITS:
        portion = lesson.task.split(split, "a check of the task")
        for drop_last in (False, True):
            found = lesson.batches(split, drop_last=drop_last)
            wanted = lesson.task.steps(split, SIZE, drop_last=drop_last)
            if len(found) != wanted:
                yield f"{split!r} has {len(found)} batches of {SIZE} and `steps` says {wanted} (drop_last={drop_last})"
        items = sum(len(batch) for batch in lesson.batches(split))
        if items != len(portion):
            yield f"{split!r} has {items} items in its batches, and `steps` of size 1 says {len(portion)}"


@CONTRACT.promise(
    "gives batches that follow from the arguments alone, anew and from any start, in full or in part",
    mend="`batches(…)`: randomness from `ramify.seeding.stream(seed, …, epoch, number)`",
)
def _batches(lesson: Lesson) -> Iterator[str]:
    options: dict[str, Any] = {"shuffle": True, "augmented": True, "epoch": 1}
    with watched(1) as before:
        whole = lesson.batches(**options)
        if moved := drawn_from(before):
            yield f"it draws from the global generator of {moved[0]}"
    with watched(2):
        if not all(map(_same, whole, lesson.batches(**options))):
            yield "the same arguments give other batches the second time"
    if not all(map(_same, whole[2:], lesson.batches(**options, start=2))):
        yield "with `start=2` the batches are not the third and the following"
    if not all(map(_same, whole[::2], lesson.batches(**options, every=2))):
        yield "with `every=2` the batches are not every second"
    items = torch.arange(1, SIZE, 3)
    if not _same(whole[0].taken(items), lesson.batches(**options, part=(1, 3))[0]):
        yield "with `part=(1, 3)` a batch has not every third item of the full one, from the second"
    if len(whole) > 1 and _same(whole[0], lesson.batches(**{**options, "epoch": 2})[0]):
        yield "another epoch has the same shuffled batches"
    double = lesson.batches(dtype=torch.float64)[0]
    if any(value.is_floating_point() and value.dtype != torch.float64 for value in tensors(double.inputs)):
        yield "with `dtype=torch.float64` inputs have another type"


@CONTRACT.promise("has an example like its batches, on any device", mend="`example(size, device)`")
def _example(lesson: Lesson) -> Iterator[str]:
    for device in ("meta", "cpu"):
        example = lesson.task.example(len(lesson.batch), device)
        for what in ("inputs", "targets"):
            found, wanted = tensors(getattr(example, what)), tensors(getattr(lesson.batch, what))
            shapes = [[(tuple(value.shape), value.dtype) for value in each] for each in (found, wanted)]
            if shapes[0] != shapes[1]:
                yield f"its {what} are {shapes[0]} and those of batches {shapes[1]}"
            elif any(value.device.type != device for value in found):
                yield f"its {what} are not on {device!r}"


# Learning


@CONTRACT.promise(
    "has a loss that is a sum and its weight, two scalars in float32 at least, whatever the precision of the outputs",
    mend="`loss(output, batch, smoothing=…)` returns (sum, weight)",
)
def _loss(lesson: Lesson) -> Iterator[str]:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        said = Batch(lesson.output, ()).to("cpu", dtype).inputs
        found = lesson.task.loss(said, lesson.batch)
        if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(each, Tensor) for each in found)):
            yield f"it returns {excerpt(found)}"
            return
        for name, value in zip(("sum", "weight"), found, strict=True):
            if value.dim():
                yield f"the {name} has the shape {tuple(value.shape)} instead of ()"
            elif not bool(value.isfinite()):
                yield f"the {name} is {float(value)}"
        if not found[0].dtype.is_floating_point or found[0].dtype.itemsize < 4:
            yield f"the sum of outputs in {dtype} is in {found[0].dtype}"
    lesson.task.loss(lesson.output, lesson.batch, smoothing=0.1)  # published settings smooth, whatever is learned


@CONTRACT.promise("knows the weight of a loss before there is an output", mend="`weight(batch)`, as `loss` says it")
def _weight(lesson: Lesson) -> Iterator[str]:
    for said, part in _halves(lesson):
        found, wanted = float(lesson.task.weight(part)), float(lesson.task.loss(said, part)[1])
        if not math.isclose(found, wanted, rel_tol=1e-5):
            yield f"`weight` says {found:g} of a batch that `loss` weighs as {wanted:g}"


@CONTRACT.promise(
    "has a loss whose sums and weights add up over the parts of a batch",
    mend="`loss`: no means inside; or `whole_batch = True` for one that selects",
)
def _parts(lesson: Lesson) -> Iterator[str]:
    if lesson.task.whole_batch:
        return
    whole = lesson.task.loss(lesson.output, lesson.batch)
    parts = [lesson.task.loss(said, part) for said, part in _halves(lesson)]
    for index, name in enumerate(("sum", "weight")):
        together = float(parts[0][index]) + float(parts[1][index])
        if not math.isclose(together, float(whole[index]), rel_tol=1e-4, abs_tol=1e-6):
            yield f"the {name} of two parts is {together:g}, that of the whole {float(whole[index]):g}"


@CONTRACT.promise("has a loss from which the whole network learns", mend="`loss` and `network(backbone)`")
def _learns(lesson: Lesson) -> Iterator[str]:
    lesson.network.zero_grad()
    total, weight = lesson.task.loss(lesson.network(lesson.batch.inputs), lesson.batch)
    if not total.requires_grad:
        yield "the sum has no gradient"
        return
    (total / weight.clamp(min=1e-9)).backward()
    if not any(p.grad is not None and bool(p.grad.any()) for p in lesson.network.parameters()):
        yield "no weight has a gradient"
    for name, parameter in lesson.network.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            yield f"the gradient of {name!r} is not finite"


# Measuring


def _metered(meter: Meter, said: list[tuple[Any, Batch]]) -> dict[str, float]:
    for output, batch in said:
        meter.update(output, batch)
    meter.merge()
    return meter.compute()


@CONTRACT.promise(
    "has meters that come to the same by parts as by the whole, in finite numbers",
    mend="`update` and `compute` of the meter: count sums, divide at the end",
)
def _meters(lesson: Lesson) -> Iterator[str]:
    for make in (lesson.task.meter, lesson.task.evaluation_meter):
        whole = _metered(make(), [(lesson.output, lesson.batch)])
        if not isinstance(whole, dict) or not all(
            isinstance(value, int | float) and math.isfinite(value) for value in whole.values()
        ):
            yield f"`{make.__name__}` computes {excerpt(whole)}"
            return
        parts = _metered(make(), _halves(lesson))
        for name, value in whole.items():
            if not math.isclose(parts.get(name, math.nan), value, rel_tol=1e-6, abs_tol=1e-9):
                yield f"{name!r} of `{make.__name__}` is {value:g} of the whole and {parts.get(name)} of its parts"


@CONTRACT.promise("has sums that add up over processes", mend="`count(output, batch)` of the meter: sums, no means")
def _sums(lesson: Lesson) -> Iterator[str]:
    for make in (lesson.task.meter, lesson.task.evaluation_meter):
        meter = make()
        if not isinstance(meter, SumMeter):
            continue
        whole = meter.count(lesson.output, lesson.batch)
        if whole.dim() != 1:
            yield f"`count` of `{make.__name__}` has the shape {tuple(whole.shape)} instead of (n,)"
            return
        parts = [meter.count(said, part).double() for said, part in _halves(lesson)]
        if not torch.allclose(sum(parts, torch.zeros(())), whole.double(), rtol=1e-6, atol=1e-9):
            yield f"`count` of `{make.__name__}` of its parts does not add up to {excerpt(whole.tolist(), 40)}"


@CONTRACT.promise("measures in an evaluation all that `metrics` name", mend="`evaluation_meter()`")
def _evaluated(lesson: Lesson) -> Iterator[str]:
    meter = lesson.task.evaluation_meter()
    found = _metered(meter, [(lesson.output, lesson.batch)])
    names = [metric.name for metric in lesson.task.metrics]
    if missing := [name for name in names if name not in found]:
        yield f"it measures {sorted(found)} and not {missing[0]!r}"
        return
    if not math.isfinite(lesson.task.score(found)):
        yield f"the score is {lesson.task.score(found)}"
    try:
        json.dumps(meter.details())
    except (TypeError, ValueError):
        yield f"`details()` are no JSON values: {excerpt(meter.details())}"
