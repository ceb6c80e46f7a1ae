"""What executors share: settings, workers, the ledger of jobs, and the setup of a worker.

A job has a number and is recorded once, whatever becomes of the workers. What raises an error or loses its worker is
tried again, elsewhere if it can be; when the tries are used up, it is handed back with the reason. Errors that Ramify
itself names follow from the job and are not tried again.
"""

# No postponed annotations: the command line reads the types of inherited fields in the modules of subclasses.

import logging
import math
import os
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch

from ramify import parallel
from ramify.errors import ConfigurationError, RamifyError, RunError
from ramify.executors.numerics import Numerics, check_threads

Work = Callable[[Any], Any]
"""What does a job."""

log = logging.getLogger("ramify.executors")


@dataclass(frozen=True)
class Done:
    """The outcome of a job.

    Args:
        number: Of the job.
        value: What it returned; None where it failed.
        error: Why it failed for good, in one line; empty where it did not.
        died: Whether it failed because its workers died.
        details: The traceback of an unexpected error.
    """

    number: int
    value: Any = None
    error: str = ""
    died: bool = False
    details: str = ""

    def result(self) -> Any:
        """Return the value, or raise the error.

        Raises:
            RunError: If the job failed.
        """
        if self.error:
            error = RunError(self.error)
            if self.details:
                error.add_note(self.details)
            raise error
        return self.value


class Workers(ABC):
    """Workers started for one kind of job.

    Attributes:
        ahead: How many jobs keep all of them busy.
        ready: How many are set up.
    """

    ahead: int
    ready: int

    @abstractmethod
    def submit(self, number: int, job: Any) -> None:
        """Submit a job under a unique number."""

    @abstractmethod
    def next(self) -> Done:
        """Wait for a submitted job to finish, in any order; each is returned once.

        Raises:
            RunError: If there are no workers that could do it.
        """

    @abstractmethod
    def close(self) -> None:
        """End the workers, even in the middle of a job."""

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Executor(ABC):
    """Where jobs run; results do not depend on it."""

    short: ClassVar[str] = ""
    """What the command line may call it, too."""

    retries: int

    def with_threads(self, count: int | None) -> "Executor":
        """Return an executor with `count` threads per job, 1 where that is None, unless it sets a number."""
        return self

    @abstractmethod
    def check(self, device: torch.device) -> None:
        """Raise `RamifyError`, before any work, if no job can run here.

        Args:
            device: What kind of device the jobs need.
        """

    @abstractmethod
    def start(
        self,
        begin: Callable[..., Work],
        pack: Callable[[], Sequence[Any]],
        *,
        here: Work | None = None,
        device: torch.device | None = None,
    ) -> Workers:
        """Return workers.

        Args:
            begin: Called once by every worker; returns what does a job. A function or class of a module, so that it
                can travel.
            pack: Returns the arguments of `begin`; they travel once to every worker.
            here: What does a job in this very process, where that exists already.
            device: What kind of device jobs need; every worker elsewhere leases a GPU of its own if that is `cuda`,
                and sees no other.
        """


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that all executors share.

    Args:
        threads_per_evaluation: Threads of the CPU operations of a job; as many as the `threads` of the search when
            None, and 1 where it names none. Another number gives other bits, so a run keeps to it, whatever executor
            continues it.
        retries: How often a job is tried again after it raised an unexpected error, and how often after its worker
            died; each is counted by itself.
    """

    threads_per_evaluation: int | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        check_threads(self.threads_per_evaluation, "threads_per_evaluation")
        if self.retries < 0:
            raise ConfigurationError(f"`retries` must be at least 0, got {self.retries}")

    @property
    def threads(self) -> int:
        """Threads per job."""
        return self.threads_per_evaluation or 1

    def with_threads(self, count: int | None) -> Self:
        """Return the settings with `count` threads per job, 1 where that is None, unless they set a number."""
        check_threads(count)
        return replace(self, threads_per_evaluation=self.threads_per_evaluation or count or 1)


@dataclass(frozen=True, kw_only=True)
class WorkersElsewhere(Settings):
    """Settings of executors whose workers are other processes.

    Args:
        timeout: Seconds after which a worker that is still at a job is ended and replaced, and the job is tried again
            as after a worker's death; a worker may take a minute more to get ready. No limit when None. What a job
            takes depends on the machine: allow several times as much, so that only what hangs is ended.
    """

    timeout: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise ConfigurationError(f"`timeout` must be above 0 seconds, got {self.timeout}")


SETUP_S = 60.0
"""Seconds that a worker has to get ready, beyond what it has for a job."""


class Deadline:
    """The time by which a worker must have answered.

    Args:
        timeout: Seconds for a job; None for ever.
    """

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._at = math.inf
        self.begin(SETUP_S)

    def begin(self, further: float = 0.0) -> None:
        """Start the clock for a job, or with `further` seconds."""
        if self.timeout is not None:
            self._at = time.monotonic() + self.timeout + further

    def clear(self) -> None:
        """Stop the clock when the worker has answered."""
        self._at = math.inf

    @property
    def left(self) -> float:
        """Seconds that are left; infinite while no answer is awaited."""
        return self._at - time.monotonic()

    @property
    def missed(self) -> str:
        """The message on a worker that has not answered in time."""
        return f"no answer within {self.timeout:g} s"


@dataclass(frozen=True)
class Setup:
    """All that a worker receives before its first job.

    Args:
        begin: Returns what does a job.
        arguments: Of `begin`.
        threads: Of CPU operations.
        numerics: Of the process that starts the workers.
        folder: Its working directory, to which relative paths refer.
    """

    begin: Callable[..., Work]
    arguments: Sequence[Any]
    threads: int
    numerics: Numerics = field(default_factory=Numerics.here)
    folder: str = field(default_factory=os.getcwd)

    def work(self) -> Work:
        """Prepare this worker process, and return the function that runs a job."""
        if os.path.isdir(self.folder):  # noqa: PTH112
            os.chdir(self.folder)
        torch.set_num_threads(self.threads)
        self.numerics.apply()
        return self.begin(*self.arguments)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt: a value, or an error, after which another attempt may or may not help."""

    value: Any = None
    error: str = ""
    again: bool = False
    died: bool = False
    details: str = ""


def attempt(work: Work, job: Any) -> Outcome:
    """Run a job once and return the outcome."""
    try:
        return Outcome(work(job))
    except parallel.LostError:
        raise
    except RamifyError as error:
        return Outcome(error=_line(str(error)))
    except Exception as error:
        if parallel.world() > 1:  # the others are in the middle of the same job
            raise
        message = _line(f"{type(error).__name__}: {error}")
        return Outcome(error=message, again=True, details=traceback.format_exc())


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


class Ledger:
    """The waiting jobs and their attempts so far. Every job leaves it once.

    Deaths of workers and errors of the job are counted apart: what a job says of itself must not depend on whether a
    machine was lost meanwhile.

    Args:
        retries: How often a job is tried again after an error, and how often after the death of its worker.
    """

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self._waiting: deque[int] = deque()
        self._jobs: dict[int, Any] = {}
        self._tries: dict[int, Counter[bool]] = {}  # by whether the worker died
        self._failed_at: dict[int, int] = {}
        self._taken: set[int] = set()

    def __len__(self) -> int:
        """Return how many jobs have not left."""
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """The number of jobs that no worker has taken."""
        return len(self._waiting)

    def add(self, number: int, job: Any) -> None:
        """Add a job."""
        if number in self._tries:
            raise ValueError(f"job {number} was submitted before")
        self._jobs[number], self._tries[number] = job, Counter()
        self._waiting.append(number)

    def take(self, worker: int = 0, *, others: bool = False) -> tuple[int, Any] | None:
        """Return the oldest job for a worker; if there are other workers, none that failed with this one."""
        for number in self._waiting:
            if not others or self._failed_at.get(number) != worker:
                self._waiting.remove(number)
                self._taken.add(number)
                return number, self._jobs[number]
        return None

    def settle(self, number: int, outcome: Outcome, worker: int = 0) -> Done | None:
        """Record the outcome of an attempt; return the job's outcome, or None if it waits for another attempt."""
        self._taken.remove(number)
        self._tries[number][outcome.died] += 1
        tries = self._tries[number][outcome.died]
        if outcome.error and (outcome.again or outcome.died) and tries <= self.retries:
            log.warning("job %d: %s; it is tried again", number, outcome.error)
            self._failed_at[number] = worker
            self._waiting.appendleft(number)
            return None
        del self._jobs[number]
        error = f"{outcome.error} ({tries} tries)" if outcome.error and tries > 1 else outcome.error
        return Done(number, outcome.value, error, outcome.died, outcome.details)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set the number of CPU threads of this process within a block."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
