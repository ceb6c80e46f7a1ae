"""Stop requests that also end a wait.

Work stops at its safe points. A process that computes nothing but waits for the work of others may be far from the next
one, and yet there is nothing to finish: it holds what it held at the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class WaitEnded(BaseException):
    """A stop was requested during a wait; the state of the work is that of the last safe point."""


class Request:
    """A stop request, made by signal handlers; a wait can be ended by it."""

    def __init__(self) -> None:
        self.made = False
        self._waiting = False

    def make(self) -> None:
        """Request a stop; a wait in progress in this thread raises `WaitEnded` here."""
        self.made = True
        if self._waiting:
            raise WaitEnded

    @contextmanager
    def ends_wait(self) -> Iterator[None]:
        """Let a stop request, even an earlier one, end the block, which waits and changes nothing.

        Raises:
            WaitEnded: If a stop is requested.
        """
        self._waiting = True  # before the look: a request after it finds this set
        try:
            if self.made:
                raise WaitEnded
            yield
        finally:
            self._waiting = False


request = Request()
"""The one of this process; signals are a process's, and so is this."""
