"""Jobs in processes of this machine, one thread each."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

from ramify.errors import RunError

Job = TypeVar("Job")

_worker: Callable[[Any], Any] | None = None
"""What works in this process, where it is one of a pool."""


def run_jobs(
    jobs: Sequence[Job], begin: Callable[..., Callable[[Job], Any]], arguments: Sequence[Any], *, processes: int
) -> Generator[tuple[Job, Any]]:
    """Yield every job with its result, in the order in which they are finished.

    The processes are spawned, and end with this generator, or with this process, however that ends.

    Args:
        jobs: What is to be done; they travel to the processes.
        begin: Called once in every process; returns what does a job. A function of a module, so that it can travel.
        arguments: Of `begin`.
        processes: How many; with 0 this process does it alone.

    Raises:
        RunError: If a process dies.
    """
    if not jobs:
        return
    if processes < 1:
        yield from _here(jobs, begin, arguments)
        return
    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(
        min(processes, len(jobs)), context, initializer=_begin, initargs=(theirs, begin, tuple(arguments))
    )
    try:
        futures = {executor.submit(_work, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool:
        raise RunError(
            "a process has died, perhaps for lack of memory; the same command continues, with fewer --processes if "
            "need be"
        ) from None
    finally:
        ours.close()  # what still works ends now
        executor.shutdown(wait=False, cancel_futures=True)
        theirs.close()


def _here(
    jobs: Sequence[Job], begin: Callable[..., Callable[[Job], Any]], arguments: Sequence[Any]
) -> Generator[tuple[Job, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work = begin(*arguments)
        for job in jobs:
            yield job, work(job)
    finally:
        torch.set_num_threads(threads)


def _begin(parent: Connection, begin: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """Set a process of the pool up."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then lets go

    def follow() -> None:
        try:
            parent.recv()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    torch.set_num_threads(1)
    _worker = begin(*arguments)


def _work(job: Any) -> Any:
    assert _worker is not None
    return _worker(job)
