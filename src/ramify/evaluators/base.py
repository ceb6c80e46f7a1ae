"""The two faces of an evaluator: its settings, and the evaluator at work on a space and data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ramify.architecture import Architecture
from ramify.spaces import Space
from ramify.training import Metrics, Task


class Evaluation(Protocol):
    """An evaluator at work. Deterministic: the same architecture always gets the same metrics."""

    def prepare(self) -> Iterator[Metrics]:
        """Do what must come before the first evaluation; every yield is a safe point."""

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Return the metrics of a member; `score` is what a search maximises."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a continuation needs."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""


class Evaluator(ABC):
    """The settings of an evaluator."""

    @abstractmethod
    def start(self, space: Space, task: Task) -> Evaluation:
        """Return the evaluator at work on a space and data."""
