"""Work for the tests of executors: quick, and able to go wrong where it is told to. Workers import this module."""

import os
import signal
import time
from pathlib import Path

import torch


class Adder:
    """Adds, and says where; a job can be a word that says what shall go wrong."""

    def __init__(self, amount, folder=None, parcel=None):
        self.amount, self.folder, self.parcel = amount, folder, parcel

    def __call__(self, job):
        if job == "raise":
            raise ValueError("this job\nis wrong")
        if job == "sleep":
            time.sleep(600)
        if job == "unsendable":
            return lambda: None
        if isinstance(job, str):
            die(self.folder, *job.split())
        return {
            "sum": len(job) if isinstance(job, str) else job + self.amount,
            "pid": os.getpid(),
            "threads": torch.get_num_threads(),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }


def die(folder, name, times, how="SIGKILL"):
    """Send this process a signal, unless that was done so many times for this name."""
    for number in range(int(times)):
        mark = Path(folder) / f"{name}-{number}"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), getattr(signal, how))


class Parcel:
    """Notes in a file that it was unpacked."""

    def __init__(self, file, content):
        self.file, self.content = str(file), content

    def __reduce__(self):
        return _unpack, (self.file, self.content)


def _unpack(file, content):
    with Path(file).open("a") as notes:
        notes.write(f"{os.getpid()}\n")
    return Parcel(file, content)


class Unprepared:
    """Cannot be set up."""

    def __init__(self, how):
        if how == "die":
            os._exit(7)
        raise OSError("there is no such thing")
