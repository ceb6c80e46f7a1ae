"""Jobs in this process, or in processes of this machine."""

# No postponed annotations: the command line reads the types of the fields.

import math
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from ramify import imports, signals
from ramify.errors import ConfigurationError, RamifyError, RunError
from ramify.executors.base import (
    Deadline,
    Done,
    Executor,
    Ledger,
    Outcome,
    Settings,
    Setup,
    Work,
    Workers,
    WorkersElsewhere,
    attempt,
    log,
    threads,
)
from ramify.interruption import request
from ramify.parallel import usable_cores


@dataclass(frozen=True, kw_only=True)
class InProcess(Settings, Executor):
    """This process does one job after the other."""

    short = "local"

    def check(self, device: torch.device) -> None:
        """Raise nothing: every setting can run in this process."""

    def start(
        self,
        begin: Callable[..., Work],
        pack: Callable[[], Sequence[Any]],
        *,
        here: Work | None = None,
        device: torch.device | None = None,
    ) -> Workers:
        """Return the single worker, this process."""
        return _Here(self, begin, pack, here)


class _Here(Workers):
    ahead = ready = 1

    def __init__(
        self, settings: InProcess, begin: Callable[..., Work], pack: Callable[[], Sequence[Any]], here: Work | None
    ) -> None:
        self.settings, self.begin, self.pack, self.work = settings, begin, pack, here
        self.ledger = Ledger(settings.retries)

    def submit(self, number: int, job: Any) -> None:
        self.ledger.add(number, job)

    def next(self) -> Done:
        with threads(self.settings.threads):
            self.work = self.work or self.begin(*self.pack())
            done = None
            while done is None:
                job = self.ledger.take()
                if job is None:
                    raise ValueError("there is no job to wait for")
                done = self.ledger.settle(job[0], attempt(self.work, job[1]))
        return done

    def close(self) -> None:
        self.work = None


@dataclass(frozen=True, kw_only=True)
class LocalProcesses(WorkersElsewhere, Executor):
    """Spawned processes of this machine. One that dies is replaced.

    On GPUs every process leases one of its own and sees no other. A script that uses this needs the usual
    `if __name__ == "__main__":`, because every process imports it.

    Args:
        processes: How many; when None one for each GPU where GPUs are searched on, else one for each
            `threads_per_evaluation` processors.
    """

    short = "processes"

    processes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes is not None and self.processes < 1:
            raise ConfigurationError(f"`processes` must be at least 1, got {self.processes}")

    def check(self, device: torch.device) -> None:
        """Raise `ConfigurationError` if there are fewer GPUs than processes."""
        if device.type == "cuda" and (self.processes or 0) > torch.cuda.device_count():
            raise ConfigurationError(
                f"{self.processes} processes need a GPU each, and there are {torch.cuda.device_count()} here"
            )

    def start(
        self,
        begin: Callable[..., Work],
        pack: Callable[[], Sequence[Any]],
        *,
        here: Work | None = None,
        device: torch.device | None = None,
    ) -> Workers:
        """Return the workers; each process starts when there is a job for it."""
        leases: list[str | None] = []
        if device is not None and device.type == "cuda":
            self.check(device)
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            leases += visible.split(",") if visible else map(str, range(torch.cuda.device_count()))
        else:
            leases += [None] * (self.processes or max(1, usable_cores() // self.threads))
        setup = _packed(Setup(begin, tuple(pack()), self.threads))
        return _Processes(setup, leases[: self.processes], self)


def _packed(setup: Setup) -> bytes:
    try:
        return pickle.dumps(setup)  # once for all processes; their connection reads it
    except Exception as error:  # whatever the objects of others raise
        raise ConfigurationError(
            f"what jobs need cannot be sent to another process ({type(error).__name__}: {' '.join(str(error).split())}"
            "); run them in this one"
        ) from None


@dataclass(eq=False)
class _Process:
    """A process, seen from here."""

    number: int
    process: Any
    connection: Connection
    lease: str | None
    deadline: Deadline
    ready: bool = False
    job: int | None = None

    def send(self, content: bytes) -> None:
        """Send something pickled, without waiting: a process that was stopped takes nothing."""

        def send() -> None:
            with suppress(OSError, TypeError):  # it has died, as is heard elsewhere, or the connection is closed
                self.connection.send_bytes(content)

        threading.Thread(target=send, daemon=True).start()

    def end(self) -> str:
        """Close the connection, wait for the end of the process, and return how it ended."""
        self.connection.close()
        self.process.join(5)
        if self.process.exitcode is None:  # it cannot be heard any more, whatever it does
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        self.process.close()
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


class _Processes(Workers):
    def __init__(self, setup: bytes, leases: Sequence[str | None], settings: LocalProcesses) -> None:
        self.setup, self.settings, self.ledger = setup, settings, Ledger(settings.retries)
        self.ahead = 2 * len(leases)
        self._free = deque(leases)
        self._processes: list[_Process] = []
        self._done: deque[Done] = deque()
        self._started = self._stillborn = 0
        self._context = get_context("spawn")
        self._theirs, self._ours = self._context.Pipe(duplex=False)

    @property
    def ready(self) -> int:  # type: ignore[override]
        return sum(process.ready for process in self._processes)

    def submit(self, number: int, job: Any) -> None:
        self.ledger.add(number, job)
        self._assign()

    def next(self) -> Done:
        while not self._done:
            if not self.ledger:
                raise ValueError("there is no job to wait for")
            self._assign()
            heard = {process.connection: process for process in self._processes}
            left = min(process.deadline.left for process in self._processes)
            with request.ends_wait():
                answered = wait(list(heard), None if left == math.inf else max(0.0, left))
            for connection in answered:
                self._hear(heard[connection])  # type: ignore[index]
            for process in [process for process in self._processes if process.deadline.left <= 0]:
                process.process.kill()  # also one that was stopped
                self._bury(process, process.deadline.missed)
        return self._done.popleft()

    def _assign(self) -> None:
        """Give jobs to processes that have none, and start as many processes as there are jobs left for."""
        for process in [process for process in self._processes if process.ready and process.job is None]:
            job = self.ledger.take(process.number, others=len(self._processes) > 1)
            if job is not None:
                process.job = job[0]
                process.deadline.begin()
                process.send(pickle.dumps(job[1]))
        idle = sum(process.job is None for process in self._processes)
        for _ in range(min(len(self._free), self.ledger.waiting - idle)):
            self._start()

    def _start(self) -> None:
        lease = self._free.popleft()
        ours, theirs = self._context.Pipe()
        # Daemonic, so that they end with this process even where nobody closes these workers.
        started = self._context.Process(
            target=_serve, args=(theirs, self._theirs, lease, imports.traveling()), daemon=True
        )
        with signals.held_back():
            started.start()
        theirs.close()  # so that the end of the process ends the connection
        self._started += 1
        self._processes.append(_Process(self._started, started, ours, lease, Deadline(self.settings.timeout)))

    def _hear(self, process: _Process) -> None:
        try:
            with request.ends_wait():  # if it was stopped while it answered
                answer = process.connection.recv()
            if answer == _HELLO:
                process.send(self.setup)
                return
        except (EOFError, ConnectionResetError, BrokenPipeError):
            self._bury(process)
            return
        process.deadline.clear()
        if not process.ready:
            if answer.error:
                raise _unprepared(answer)
            process.ready, self._stillborn = True, 0
        elif process.job is not None:
            number, process.job = process.job, None
            self._settle(number, answer, process)

    def _settle(self, number: int, outcome: Outcome, process: _Process) -> None:
        done = self.ledger.settle(number, outcome, process.number)
        if done is not None:
            self._done.append(done)

    def _bury(self, process: _Process, why: str = "") -> None:
        """Give the job of a process that died, or was ended, to another, and its lease to the next."""
        self._processes.remove(process)
        how = process.end()
        how = why or how
        self._free.append(process.lease)
        if process.job is not None:
            self._settle(process.job, Outcome(error=f"its process has died ({how})", died=True), process)
        elif not process.ready:
            self._stillborn += 1
            if self._stillborn > self.settings.retries:
                raise RunError(f"processes die before they are ready ({how}), perhaps for lack of memory")
            log.warning("a process has died before it was ready (%s); another one is started", how)

    def close(self) -> None:
        self._ours.close()  # whatever they do, it ends now
        self._theirs.close()
        for process in self._processes:
            process.process.kill()
            process.end()
        self._processes.clear()


def _unprepared(outcome: Outcome) -> RamifyError:
    error = RunError(f"no worker can be set up: {outcome.error}")
    if outcome.details:
        error.add_note(outcome.details)
    return error


_HELLO = "hello"


def _serve(connection: Connection, parent: Connection, lease: str | None, imported: Sequence[imports.Imported]) -> None:
    """Do jobs until the process that started this one ends, or has no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then lets go
    signals.let_through()

    def follow() -> None:
        try:
            parent.recv()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    if lease is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = lease  # before CUDA is initialized

    def prepare(receive: Callable[[], Setup]) -> Work:
        imports.repeat(imported)  # before anything is unpickled
        return receive().work()

    try:
        connection.send(_HELLO)
        prepared = attempt(prepare, _alive(connection.recv))
        connection.send(Outcome(error=prepared.error, details=prepared.details))
        while not prepared.error:
            connection.send(_sendable(attempt(lambda receive: prepared.value(receive()), _alive(connection.recv))))
    except (BrokenPipeError, ConnectionResetError):
        return


def _alive(receive: Callable[[], Any]) -> Callable[[], Any]:
    """Return the same, but for the end of this process where there is nobody to receive from."""

    def received() -> Any:
        try:
            return receive()
        except (EOFError, ConnectionResetError):
            os._exit(1)

    return received


def _sendable(outcome: Outcome) -> Outcome:
    """Return the outcome, or one that says why its value cannot travel."""
    try:
        pickle.dumps(outcome)
    except Exception as error:  # whatever the objects of others raise
        return Outcome(error=f"what it returned cannot be sent: {' '.join(str(error).split())[:200]}")
    return outcome
