"""The interface of evaluators: their settings, and the evaluator at work on a space and data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

from ramify.architecture import Architecture
from ramify.capabilities import Capability
from ramify.costs import Inputs
from ramify.spaces import Space
from ramify.tasks import Task
from ramify.training import Measurement, Metrics, Work


def names_of(task: Task) -> tuple[str, ...]:
    """Return the names of the values that `values_of` returns for a task."""
    smaller = [metric.name for metric in task.metrics if not metric.higher_is_better]
    return ("score", *(() if task.metrics[0].higher_is_better else ("error",)), "loss", *smaller)


def values_of(task: Task, measurement: Measurement) -> dict[str, float]:
    """Return the metrics of an evaluation from a measurement on a task.

    That is `score`, which is maximized; `error`, which is minimized, where it is not 1 − score; the loss; and metrics
    of which less is better, so that they can be objectives.
    """
    values = {"score": measurement.score, "error": -measurement.score, "loss": measurement.loss, **measurement.metrics}
    return {name: values[name] for name in names_of(task)}


class Evaluation(Protocol):
    """An evaluator at work. Deterministic: the same architecture always gets the same metrics.

    Attributes:
        fidelities: Epochs after which an architecture can be evaluated, ascending; empty where there is but one way.
        metrics: Names of what a call returns.
    """

    fidelities: tuple[int, ...]
    metrics: tuple[str, ...]

    @property
    def inputs(self) -> Inputs:
        """The inputs of the evaluated networks; `Task.inputs`, where they are those of the search."""

    def prepare(self) -> Iterator[Metrics]:
        """Prepare the first evaluation, for instance by training a supernet; every yield is a safe point."""

    def __call__(self, arch: Architecture, epochs: int | None = None) -> dict[str, float]:
        """Return the metrics of a member.

        `score` is what a search maximizes, an accuracy as a fraction unless the task is another one; `seconds`, where
        known, is the simulated time that this evaluation took.

        Args:
            arch: The member.
            epochs: One of the fidelities; the highest when None.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to continue."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state."""


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
        """Optional capabilities of a space that save work."""
        return frozenset()

    @abstractmethod
    def start(self, space: Space, work: Work) -> Evaluation:
        """Return the evaluator at work on a space and data."""
