"""Kills that cost little: the command line runs in a process that is forked where everything is imported already."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import torch

from ramify.__main__ import main
from small_runs import _PATHS

torch.set_num_threads(1)


def context():
    """Return the context whose processes are forked from one that has imported `warm`."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["warm"])
    os.environ |= {"PYTHONPATH": os.pathsep.join(_PATHS), "OMP_NUM_THREADS": "1"}  # threads do not survive a fork
    return found


def forked(words, folder, strike=None):
    """Run `ramify` in a forked process; return its exit code, negative for a signal, and standard error.

    Args:
        words: Behind `ramify`.
        folder: For the streams.
        strike: When it sends itself a signal.
    """
    running = context().Process(target=_run, args=([*map(str, words)], str(folder), strike))
    running.start()
    running.join()
    return running.exitcode, (Path(folder) / "stderr").read_text()


def _run(words, folder, strike):
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["RAMIFY_SAVE_EVERY_S"] = "0"
    sys.argv = ["ramify", *words]
    if strike is not None:
        strike.arm()
    code = main()
    sys.stderr.flush()
    os._exit(code)
