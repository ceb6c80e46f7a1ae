"""Processes that end before their time, with as little to import as possible."""

import os
import signal

from ramify import parallel
from ramify.errors import ConfigurationError
from ramify.run import make_fabric


def fail_in_one(kind):
    """Let process 1 end in some way while the other waits for it."""
    make_fabric("cpu", threads=1)
    if parallel.rank() == 1:
        if kind == "wrong":
            raise ConfigurationError("process 1 has found something wrong")
        if kind == "crashed":
            raise ZeroDivisionError("a mistake")
        os.kill(os.getpid(), signal.SIGKILL)
    parallel.wait()
