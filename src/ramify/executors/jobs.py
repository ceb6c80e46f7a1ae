"""Running a list of jobs, in processes of this machine or in this one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from ramify.errors import RunError
from ramify.executors.base import Executor
from ramify.executors.local import InProcess, LocalProcesses

Job = TypeVar("Job")


def run_jobs(
    jobs: Sequence[Job],
    begin: Callable[..., Callable[[Job], Any]],
    arguments: Sequence[Any],
    *,
    processes: int,
    threads: int = 1,
) -> Generator[tuple[Job, Any]]:
    """Yield every job with its result, in the order in which they finish.

    The processes are spawned and end with this generator, or with this process, however that
    ends.

    Args:
        jobs: What is to be done; they travel to the processes.
        begin: Called once in every process; returns what does a job. A function of a module, so that it can travel.
        arguments: Of `begin`.
        processes: How many; with 0 this process does it alone.
        threads: Of the CPU operations of each.

    Raises:
        RunError: If a job fails, or loses every process that it is tried in.
    """
    if not jobs:
        return
    count, own = min(processes, len(jobs)), InProcess(threads_per_evaluation=threads)
    executor: Executor = LocalProcesses(processes=count, threads_per_evaluation=threads) if count > 0 else own
    with executor.start(begin, lambda: arguments) as workers:
        for number, job in enumerate(jobs):
            workers.submit(number, job)
        for _ in jobs:
            done = workers.next()
            if done.died:
                raise RunError(
                    f"{done.error}, perhaps for lack of memory; the same command continues, with fewer --processes "
                    "if need be"
                )
            yield jobs[done.number], done.result()
