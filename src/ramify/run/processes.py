"""Running a verb in several processes of this machine, as `torchrun` would start them.

The process that was called watches them: it tells them to stop when it is told so, ends all of them when one dies, and
says in one line why. They end with it, however that ends.
"""

from __future__ import annotations

import inspect
import os
import pickle
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from ramify import imports, parallel, signals
from ramify.errors import ConfigurationError, RamifyError, RunError
from ramify.run.runner import AT_ONCE, Interrupted

P = ParamSpec("P")
R = TypeVar("R")

GRACE_S = 10.0
"""Seconds in which the cause may be reported after a process has found another one gone."""

_scratch: Path | None = None


def scratch() -> Path | None:
    """Return the temporary run folder of work that keeps none; None if there is no such work."""
    return _scratch


def data_parallel(function: Callable[P, R]) -> Callable[P, R]:
    """Let a verb run in as many processes as its argument `devices` asks for.

    The function needs the arguments `devices`, `threads` and `progress`, and must return what its folder holds once the
    work is done. In a process that was started for it, it runs as it is, with `devices` the number of processes.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def verb(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        options = bound.arguments
        devices, running = options["devices"], parallel.started()
        if devices < 1:
            raise ConfigurationError(f"`devices` must be at least 1, got {devices}")
        if running > 1:
            if devices not in (1, running):
                raise ConfigurationError(f"`devices` is {devices}, but {running} processes were started; leave it out")
            options["devices"] = running
            with parallel.once():
                return function(*bound.args, **bound.kwargs)
        if devices == 1:
            with parallel.once():
                return function(*args, **kwargs)
        if options["threads"] is None:
            options["threads"] = max(1, torch.get_num_threads() // devices)
        with parallel.once(), _temporary() as path:
            spread(devices, verb, bound.args, bound.kwargs, scratch=path)
            options["progress"] = False
            return function(*bound.args, **bound.kwargs)  # finds the work done

    return verb


@contextmanager
def _temporary() -> Iterator[Path]:
    global _scratch
    _scratch = Path(tempfile.mkdtemp(prefix="ramify-"))
    try:
        yield _scratch
    finally:
        shutil.rmtree(_scratch, ignore_errors=True)
        _scratch = None


@dataclass(frozen=True)
class _Report:
    """How the work of a process has ended, `done`, `interrupted`, `wrong` or `crashed`, and what it said once."""

    outcome: str
    kind: str = ""
    message: str = ""
    said: tuple[str, ...] = ()


def spread(
    devices: int,
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    scratch: Path | None = None,
) -> None:
    """Call a function in several processes at once, and return when all have returned.

    Args:
        devices: How many.
        function: Of a module, so that it can travel; what it returns is dropped.
        args: Its arguments; they travel as well.
        kwargs: Its arguments by name.
        scratch: What `scratch` returns in the processes.

    Raises:
        Interrupted: If they were asked to stop, and did.
        RamifyError: If one of them raised it, or died.
    """
    work = pickle.dumps((function, args, kwargs or {}))  # apart: it is read once the imports are there
    context = get_context("spawn")
    store = _store()
    environments = [_environment(rank, devices, store.port) for rank in range(devices)]
    theirs, ours = context.Pipe(duplex=False)
    processes: list[Any] = []
    reports: list[Connection] = []
    try:
        with _passing_on(processes) as asked:
            with signals.held_back():  # what is typed here is passed on
                for environment in environments:
                    reading, writing = context.Pipe(duplex=False)
                    process = context.Process(
                        target=_work,
                        args=(
                            environment,
                            theirs,
                            writing,
                            list(sys.orig_argv),
                            scratch,
                            parallel.printed(),
                            imports.traveling(),
                            work,
                        ),
                    )
                    process.start()
                    writing.close()
                    processes.append(process)
                    reports.append(reading)
                    if asked:  # a process that was just starting has not heard of it
                        raise Interrupted(signals.INTERRUPTED)
            _watch(processes, reports, asked)
    finally:
        ours.close()
        for process in processes:
            process.kill()
            process.join()
        theirs.close()


def _store() -> torch.distributed.TCPStore:
    """Return the store where the processes find each other. By itself it would listen on all addresses."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    return torch.distributed.TCPStore(
        "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
    )


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    """Return what `torchrun` would tell a process."""
    variables = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "GROUP_RANK": 0,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "ramify",
        "TORCHELASTIC_RESTART_COUNT": 0,
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback is not None and "GLOO_SOCKET_IFNAME" not in os.environ:
        variables["GLOO_SOCKET_IFNAME"] = loopback  # a machine need not know its own name
    return {name: str(value) for name, value in variables.items()}


@contextmanager
def _passing_on(processes: Sequence[Any]) -> Iterator[list[int]]:
    """Pass the first SIGINT or SIGTERM on to the processes, end them by a second; yield the list of those that came."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals belong to the main thread
        return

    def pass_on(number: int, frame: Any) -> None:
        asked.append(number)
        for process in processes:
            if len(asked) > 1:
                process.kill()
            elif process.is_alive():
                process.terminate()

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(processes: Sequence[Any], reports: Sequence[Connection], asked: Sequence[int]) -> None:
    """Return when all processes are done; raise what ended them otherwise, as soon as that is known."""
    ended: dict[int, _Report] = {}
    deadline, worst = None, []
    while len(ended) < len(processes):
        left = {rank: process for rank, process in enumerate(processes) if rank not in ended}
        connection.wait([process.sentinel for process in left.values()], timeout=0.2 if deadline else None)
        for rank, process in left.items():
            if not process.is_alive():
                ended[rank] = _ended(process, reports[rank], rank, len(processes), asked)
                parallel.remember(ended[rank].said)
        worst = [report for report in ended.values() if report.outcome in ("wrong", "crashed")]
        causes = [report for report in worst if report.kind != parallel.LostError.__name__]
        if causes:
            _raise(causes[0])
        if worst and not asked:
            deadline = deadline or time.monotonic() + GRACE_S
            if time.monotonic() > deadline or len(ended) == len(processes):
                _raise(worst[0])
    interrupted = [report.message for _, report in sorted(ended.items()) if report.outcome == "interrupted"]
    if interrupted or worst:  # asked to stop at once, one may find the others gone
        raise Interrupted(next(filter(None, interrupted), signals.INTERRUPTED))


def _ended(process: Any, report: Connection, rank: int, count: int, asked: Sequence[int]) -> _Report:
    """Return what a process that has ended has said, or what there is to say of it."""
    try:
        if report.poll():
            return _Report(*report.recv())
    except (EOFError, OSError):
        pass
    code = process.exitcode
    if asked:
        return _Report("interrupted", message=AT_ONCE if len(asked) > 1 else "")
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    reason = ", perhaps for lack of memory" if code == -signal.SIGKILL else ""
    message = f"process {rank} of {count} {how}{reason}; the same command continues from the last checkpoint"
    return _Report("wrong", RunError.__name__, message)


def _raise(report: _Report) -> None:
    if report.outcome == "crashed":
        raise RuntimeError(report.message)
    raise parallel.error_of(report.kind, report.message) from None


def _work(
    environment: Mapping[str, str],
    parent: Connection,
    report: Connection,
    command: list[str],
    folder: Path | None,
    lines: Sequence[str],
    imported: Sequence[imports.Imported],
    work: bytes,
) -> None:
    """Be one of the processes."""
    global _scratch
    os.setsid()  # Ctrl-C is for the parent
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    os.environ |= environment
    sys.orig_argv = command
    _scratch = folder
    result = _Report("done")
    with parallel.once():
        parallel.remember(lines)
        try:
            signals.let_through()
            imports.repeat(imported)
            function, args, kwargs = pickle.loads(work)  # noqa: S301 -- of the process that started this one
            function(*args, **kwargs)
        except KeyboardInterrupt as interruption:
            result = _Report("interrupted", message=str(interruption))
        except RamifyError as error:
            result = _Report("wrong", type(error).__name__, str(error))
        except BaseException as error:
            traceback.print_exc()
            result = _Report("crashed", type(error).__name__, f"process {environment['RANK']}: {error}")
        report.send((result.outcome, result.kind, result.message, parallel.printed()))
    report.close()
    if result.outcome != "done":
        os._exit(1)  # the others may be waiting for this process, and a proper end would wait for them


def _follow(parent: Connection) -> None:
    """End this process when the one that watches it has ended."""
    try:
        parent.recv()
    except (EOFError, OSError):
        os._exit(1)
