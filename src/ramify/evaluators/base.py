"""The two faces of an evaluator: its settings, and the evaluator at work on a space and data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ramify.architecture import Architecture
from ramify.capabilities import Capability
from ramify.spaces import Space
from ramify.training import Metrics, Work


@dataclass(frozen=True)
class Images:
    """What the networks that are evaluated see.

    Args:
        num_classes: Of the data set.
        input_size: (C, H, W) of one image.
    """

    num_classes: int
    input_size: tuple[int, int, int]

    @classmethod
    def of(cls, work: Work) -> Images:
        """Return the images of a task."""
        return cls(work.task.data.num_classes, work.task.data.input_size)


class Evaluation(Protocol):
    """An evaluator at work. Deterministic: the same architecture always gets the same metrics.

    Attributes:
        fidelities: Epochs after which an architecture can be evaluated, ascending; empty where there is but one way.
        metrics: Names of what a call returns.
    """

    fidelities: tuple[int, ...]
    metrics: tuple[str, ...]

    @property
    def images(self) -> Images:
        """What the evaluated networks see."""

    def prepare(self) -> Iterator[Metrics]:
        """Do what must come before the first evaluation; every yield is a safe point."""

    def __call__(self, arch: Architecture, epochs: int | None = None) -> dict[str, float]:
        """Return the metrics of a member.

        `score`, an accuracy as a fraction, is what a search maximises; `seconds`, where known, is the simulated time
        that this evaluation took.

        Args:
            arch: The member.
            epochs: One of the fidelities; the highest when None.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a continuation needs."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""


class Evaluator(ABC):
    """The settings of an evaluator."""

    needs_data: ClassVar[bool] = True
    """Whether it needs the images of a data set; `Task.data` has them."""

    @property
    def needs(self) -> frozenset[Capability]:
        """What a space must offer (`ramify.capabilities`)."""
        return frozenset()

    @property
    def uses(self) -> frozenset[Capability]:
        """What saves work where a space offers it."""
        return frozenset()

    @abstractmethod
    def start(self, space: Space, work: Work) -> Evaluation:
        """Return the evaluator at work on a space and data."""
