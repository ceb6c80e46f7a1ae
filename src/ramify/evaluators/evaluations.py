"""Evaluations on any executor: by the evaluator in this process, or by copies of it in workers.

What travels to a worker, once, is the evaluator's settings, the space, the images, and the evaluator's state, in which
the weights of a supernet are. A job is an architecture with its fidelity.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Self

import torch

from ramify.architecture import Architecture
from ramify.evaluators.base import Evaluation, Evaluator
from ramify.executors import Done, Executor, InProcess, Workers
from ramify.spaces import Space
from ramify.tasks import Task
from ramify.training import Work

Job = tuple[Architecture, int | None]
"""A member, and after how many epochs it is evaluated."""


class Evaluations:
    """An evaluator's evaluations, run by an executor. Workers start with the first of them.

    Args:
        evaluator: The settings.
        evaluation: The evaluator at work here, prepared by the time of the first job.
        space: What the architectures are members of.
        task: Data, seed, device, layout, and the executor; `InProcess` where it names none.
    """

    def __init__(self, evaluator: Evaluator, evaluation: Evaluation, space: Space, work: Work) -> None:
        self.executor: Executor = work.executor or InProcess()
        self._evaluator, self._evaluation, self._space, self._work = evaluator, evaluation, space, work
        self._workers: Workers | None = None

    @property
    def ahead(self) -> int:
        """The number of evaluations that keep all workers busy."""
        return self._started().ahead

    @property
    def ready(self) -> int:
        """The number of workers that are set up."""
        return 0 if self._workers is None else self._workers.ready

    def submit(self, number: int, arch: Architecture, epochs: int | None = None) -> None:
        """Submit the evaluation of a member under a unique number."""
        self._started().submit(number, (arch, epochs))

    def next(self) -> Done:
        """Wait for the next evaluation to finish, in any order; its value is the metrics."""
        return self._started().next()

    def close(self) -> None:
        """End the workers, even in the middle of a job."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _started(self) -> Workers:
        if self._workers is None:
            device = self._work.fabric.device
            self._workers = self.executor.start(Elsewhere, self._pack, here=self._here, device=device)
        return self._workers

    def _here(self, job: Job) -> dict[str, float]:
        return self._evaluation(job[0], epochs=job[1])

    def _pack(self) -> tuple[Any, ...]:
        work, state = self._work, io.BytesIO()
        torch.save(self._evaluation.state_dict(), state)
        fabric = {"accelerator": work.fabric.device.type, "precision": work.fabric.strategy.precision.precision}
        task = None if work.given is None else work.given.to("cpu")
        layout = dict(work.layout)
        return self._evaluator, self._space, task, work.seed, layout, fabric, work.execution, state.getvalue()


class Elsewhere:
    """A copy of the evaluator at work in a worker.

    Args:
        evaluator: The settings.
        space: What the architectures are members of.
        task: What is learned, with its data; None where the evaluator needs none.
        seed: The search's.
        network: The search's layout.
        fabric: Kind of device, and precision.
        execution: How networks are executed.
        state: That of the evaluator at work in the search, as `torch.save` writes it.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        space: Space,
        task: Task | None,
        seed: int,
        network: Mapping[str, Any],
        fabric: Mapping[str, Any],
        execution: str,
        state: bytes,
    ) -> None:
        from lightning_fabric import Fabric

        from ramify.training.precision import precise

        # A worker sees no GPU but its own.
        leased = Fabric(accelerator=fabric["accelerator"], devices=1, **precise(fabric["precision"]))
        work = Work(None if task is None else task.to(leased.device), seed, leased, network, None, execution)
        self._evaluation = evaluator.start(space, work)
        restored = torch.load(io.BytesIO(state), map_location=leased.device, weights_only=True)
        self._evaluation.load_state_dict(restored)

    def __call__(self, job: Job) -> dict[str, float]:
        return self._evaluation(job[0], epochs=job[1])
