"""`Strike`: a process sends a signal, to itself or to its parent, at an exact moment of its work.

A moment is an import, or an operation on a file; Python reports both to audit hooks. It is written `before OPERATION`
or `after OPERATION`; an operation is `import MODULE`, or `append`, `create`, `open`, `rename` or `remove` with the name
of a file; a temporary file has the name of the one whose place it will take. `exit import MODULE` is before, and
`gone` after the handlers that are called at the exit, in a process that comes to import the module.
"""

# Little is imported, since what is imported later may be the moment.

import atexit
import os
import signal
import sys
from dataclasses import dataclass

VARIABLE = "RAMIFY_STRIKE"
"""Of the environment, by which a Python process is told to strike."""


@dataclass(frozen=True)
class Strike:
    """A signal at a moment.

    Args:
        moment: When, for instance `after append history.jsonl`.
        number: Of the signal.
        count: How often the moment comes until then.
        whom: `self`, the process that comes to the moment, or `parent`, the one that started it.
    """

    moment: str
    number: int = signal.SIGKILL
    count: int = 1
    whom: str = "self"

    def __str__(self) -> str:
        times = f" ({self.count})" if self.count > 1 else ""
        return f"{signal.Signals(self.number).name} {self.moment}{times}"

    @property
    def told(self) -> str:
        """What the variable of the environment says."""
        return f"{self.moment};{self.number:d};{self.count};{self.whom}"

    def arm(self) -> None:
        """Let this process strike."""
        when, _, operation = self.moment.partition(" ")
        left, due = self.count, False

        def send() -> None:
            nonlocal left, due
            left, due = 0, False
            os.kill(os.getpid() if self.whom == "self" else os.getppid(), self.number)

        if self.moment == "gone":
            atexit.register(send)  # as early as this, and so called late
            return

        def hook(event: str, arguments: tuple) -> None:
            nonlocal left, due
            if not left and not due:
                return
            found = _operation(event, arguments)
            if due and found and event != "import":
                send()
            elif left and found == operation:
                left -= 1
                if left:
                    return
                if when == "exit":
                    atexit.register(send)
                elif when == "before":
                    send()
                else:
                    due = True

        sys.addaudithook(hook)


def strike_as_told() -> None:
    """Strike as the environment says, if it does."""
    if VARIABLE in os.environ:
        moment, number, count, whom = os.environ[VARIABLE].split(";")
        Strike(moment, signal.Signals(int(number)), int(count), whom).arm()


def _operation(event: str, arguments: tuple) -> str:
    """Return the operation that an audit event reports, as moments name it; empty for any other event."""
    if event == "import":
        return f"import {arguments[0]}"
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int) or not isinstance(flags, int):
            return ""
        kind = "append" if flags & os.O_APPEND else "create" if flags & os.O_EXCL else "open"
        return f"{kind} {_name(path)}"
    if event == "ramify.append":  # to a file that is open
        return f"append {_name(arguments[0])}"
    if event == "os.rename":
        return f"rename {_name(arguments[1])}"
    return f"remove {_name(arguments[0])}" if event == "os.remove" else ""


def _name(path: str | bytes) -> str:
    name = os.fsdecode(path).rpartition("/")[2]
    return name[1:].rsplit(".", 2)[0] if name.endswith(".unfinished") else name
