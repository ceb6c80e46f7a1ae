"""How long steps take on this machine under one setting and under another, measured in turn.

Whatever else runs there slows neighbors alike, so that what is stated are ratios of neighbors, with their quartiles.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from ramify.executors.numerics import usable_cores

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


def fastest(times: Mapping[int, Sequence[float]], gain: float = 1.05) -> int:
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
