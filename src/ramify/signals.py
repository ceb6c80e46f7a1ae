"""Ending a program by a signal with one line, at any moment, including its start and its end.

A run at work answers them itself (`run/runner.py`). Otherwise, the first raises `KeyboardInterrupt` where the program
is, and a second one ends it there: what it writes appears as a whole or not at all, and its processes end with it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:  # until the handlers are set, little else is to be loaded
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

INTERRUPTED = "interrupted; the same command continues"
EXIT_INTERRUPTED = 130
_ENDING = (signal.SIGINT, signal.SIGTERM)


def answered(run: Callable[[], int]) -> int:
    """Run a program to its exit code; from then on, signals have no effect."""
    asked = False

    def interrupt(number: int, frame: Any) -> None:
        nonlocal asked
        if asked or _importing(frame):
            _leave(INTERRUPTED)
        asked = True
        raise KeyboardInterrupt

    atexit.register(_ignore)  # the first is called last: after it, Python takes the handlers away
    _swallow_none()
    for number in _ENDING:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):  # else, as with nohup, nobody asks
            signal.signal(number, interrupt)
    try:
        code = run()
    except SystemExit:
        _ended(0)
        raise
    except BaseException as error:
        if not (asked or isinstance(error, KeyboardInterrupt)):
            raise  # what is imported may have made another error of the interrupt
        print(f"ramify: {INTERRUPTED}", file=sys.stderr)
        code = EXIT_INTERRUPTED
    _ended(code)
    return code


def _swallow_none() -> None:
    """End the program where Python would only report an interrupt, as in the callback of a weak reference."""
    before = sys.unraisablehook

    def report(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            _leave(str(unraisable.exc_value or "") or INTERRUPTED)
        before(unraisable)

    sys.unraisablehook = report


def _importing(frame: Any) -> bool:
    """Return whether a module is being loaded; what loads it, as PyTorch does NumPy, may swallow any exception."""
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _leave(why: str) -> NoReturn:
    os.write(2, f"ramify: {why}\n".encode())  # a stream may be in use just now
    os._exit(EXIT_INTERRUPTED)


def _ended(code: int) -> None:
    """Let a signal end what is left to be cleared away, with the exit code that is known."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `ramify … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(code))


def _ignore() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def held_back() -> Iterator[None]:
    """Block SIGINT within the block; processes started there ignore it until they call `let_through`."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # the first process starts it, which lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_through() -> None:
    """Unblock the SIGINT that `held_back` blocked in the parent process."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
