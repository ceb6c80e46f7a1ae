"""A process sends a signal, to itself or to its parent, at an exact moment: an import, or an operation on a file.

Python reports both to audit hooks. A moment is written `before OPERATION` or `after OPERATION`, where an operation is
`import MODULE`, or `append`, `create`, `open`, `rename` or `remove` with the name of a file; a temporary file has the
name of the one whose place it will take. `exit` is before, and `gone` after the handlers that are called at the exit.
"""

import atexit
import os
import signal
import sys

VARIABLE = "STRIKE"


def strike(moment, number, count=1, whom="self"):
    """Send a signal at the `count`-th time that a moment comes in this process."""
    when, _, operation = moment.partition(" ")
    left, due = count, False

    def send():
        nonlocal left, due
        left, due = 0, False
        os.kill(os.getpid() if whom == "self" else os.getppid(), number)

    if moment == "gone":
        atexit.register(send)  # as early as this, and so called late
        return

    def hook(event, arguments):
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


def _operation(event, arguments):
    if event == "import":
        return f"import {arguments[0]}"
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int) or not isinstance(flags, int):
            return ""
        kind = "append" if flags & os.O_APPEND else "create" if flags & os.O_EXCL else "open"
        return f"{kind} {_name(path)}"
    if event == "os.rename":
        return f"rename {_name(arguments[1])}"
    return f"remove {_name(arguments[0])}" if event == "os.remove" else ""


def _name(path):
    name = os.fsdecode(path).rpartition("/")[2]
    return name[1:].rsplit(".", 2)[0] if name.endswith(".unfinished") else name


def told(moment, number, count=1, whom="self"):
    """Return what to add to the environment of a Python process that is to strike."""
    return f"{moment};{number:d};{count};{whom}"


def strike_as_told():
    """Strike as the environment says, if it does."""
    if VARIABLE in os.environ:
        moment, number, count, whom = os.environ[VARIABLE].split(";")
        strike(moment, signal.Signals(int(number)), int(count), whom)
