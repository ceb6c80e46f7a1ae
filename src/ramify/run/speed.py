"""How long steps take on this machine under one setting and under another, measured in turn.

Whatever else runs there slows neighbors alike, so that what is stated are ratios of neighbors, with their quartiles.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ramify.execution import prepare
from ramify.kernels import kernels
from ramify.ops import make_operation
from ramify.parallel import usable_cores
from ramify.seeding import seeded
from ramify.spaces import DARTSCells, NASBench201, Space

Key = TypeVar("Key")
Step = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """How many times faster one step is than another.

    Args:
        median: Of all pairs of neighbors.
        low, high: Quartiles.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, slower: Sequence[float], faster: Sequence[float]) -> Ratio:
        """Return the ratio of times that were measured in turn."""
        ratios = sorted(a / b for a, b in zip(slower, faster, strict=True))
        low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}–{self.high:.2f}]"


def in_turn(steps: Mapping[Key, Step], seconds: float) -> dict[Key, list[float]]:
    """Return the seconds of steps that were taken in turn, each as often: once at least, and until the time is used up.

    Args:
        steps: By whatever tells them apart. Each is taken once before, which is not counted.
        seconds: For all of it.
    """
    end = time.perf_counter() + seconds
    for step in steps.values():
        step()
    taken: dict[Key, list[float]] = {key: [] for key in steps}
    while True:
        for key, step in steps.items():
            start = time.perf_counter()
            step()
            taken[key].append(time.perf_counter() - start)
        if time.perf_counter() >= end:
            return taken


def thread_counts() -> list[int]:
    """Return numbers of threads worth a trial: powers of two, and all cores that this process may use."""
    most = usable_cores()
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})


def by_threads(step: Step, seconds: float, counts: Sequence[int] | None = None) -> dict[int, list[float]]:
    """Return the seconds of a step with different numbers of threads; the number is afterwards what it was."""

    def taken_with(count: int) -> Step:
        def taken() -> None:
            torch.set_num_threads(count)
            step()

        return taken

    with _threads_kept():
        return in_turn({count: taken_with(count) for count in counts or thread_counts()}, seconds)


def fastest_count(times: Mapping[int, Sequence[float]], gain: float = 1.05) -> int:
    """Return the number of threads whose steps are fastest; a larger one counts only where it gains."""
    best, *others = sorted(times)
    for count in others:
        if statistics.median(times[best]) > gain * statistics.median(times[count]):
            best = count
    return best


@contextmanager
def _threads_kept() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


# Networks of two kinds on this processor


@dataclass(frozen=True)
class Speed:
    """How fast this processor trains networks of one kind.

    Args:
        kind: `dense` or `depthwise`, by the convolutions that nearly all of the time goes into.
        example: The space whose members are measured.
        milliseconds: Threads → what a single candidate takes, forwards and backwards.
        threads: With how many it is fastest.
        bf16: How many times faster a training step is in `bf16-mixed` than in `32-true`, with that many threads.
        kernels: How many times faster it is with the execution `compiled` than with `shared`; None without kernels.
    """

    kind: str
    example: str
    milliseconds: dict[int, float]
    threads: int
    bf16: Ratio
    kernels: Ratio | None = None


_SEPARABLE = [[f"{kind}_conv_{size}x{size}", source] for kind in ("sep", "dil") for size in (3, 5) for source in (0, 1)]
_KINDS: Mapping[str, tuple[str, Space, Any, Mapping[str, int]]] = {
    "dense": (
        "nor_conv_3x3",
        NASBench201(),
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
        {"cells": 1},
    ),
    "depthwise": ("sep_conv_5x5", DARTSCells(), {"normal": _SEPARABLE, "reduce": _SEPARABLE}, {"layers": 2}),
}
"""Kind → a candidate, its space, a member, and its layout; all with 16 channels, on 16 images of 32×32."""


def speeds(seconds: float) -> Iterator[Speed]:
    """Measure this processor on networks of every kind, within about so many seconds."""
    found = kernels()
    share = seconds / ((3 if found else 2) * len(_KINDS))
    for kind, (candidate, space, member, layout) in _KINDS.items():
        with seeded(0, "speed", kind):
            operation = _last(make_operation(candidate, 16))
            maps = _last(torch.randn(16, 16, 32, 32)).requires_grad_()
            network = space.build(space.parse(member), {"channels": 16, **layout}).train()
            images = _last(torch.randn(16, 3, 32, 32))
        times = by_threads(lambda: operation(maps).sum().backward(), share)  # noqa: B023
        threads = fastest_count(times)
        with _threads_kept():
            torch.set_num_threads(threads)
            steps = {enabled: _training_step(network, images, bf16=enabled) for enabled in (False, True)}
            full, half = in_turn(steps, share).values()
            executions = ("shared", "compiled") if found else ()
            by_execution = {name: _training_step(network, images, execution=name) for name in executions}
            ratio = Ratio.of(*in_turn(by_execution, share).values()) if found else None
        milliseconds = {count: round(1000 * statistics.median(each), 3) for count, each in times.items()}
        yield Speed(kind, space.name, milliseconds, threads, Ratio.of(full, half), ratio)


def _last(value: Any) -> Any:
    return value.to(memory_format=torch.channels_last)


def _training_step(network: nn.Module, images: Tensor, *, bf16: bool = False, execution: str = "shared") -> Step:
    labels = torch.arange(len(images)) % 10
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        prepare(network, execution)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(images)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step
