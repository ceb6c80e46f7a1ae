"""Jobs in processes: all of them are done, and the processes end with whoever started them."""

import multiprocessing
import os
import time
from contextlib import closing

import pytest
import torch

from ramify.errors import RunError
from ramify.executors import run_jobs


class Adder:
    """Adds, says in which process, and can be told to wait or to die."""

    def __init__(self, amount):
        self.amount = amount

    def __call__(self, job):
        if job == "die":
            os._exit(3)
        if job == "wait":
            time.sleep(60)
        return job + self.amount, os.getpid(), torch.get_num_threads()


@pytest.mark.parametrize("processes", [0, 2])
def test_every_job_is_done_once(processes):
    found = dict(run_jobs(range(12), Adder, (100,), processes=processes))
    assert {job: result[0] for job, result in found.items()} == {job: job + 100 for job in range(12)}
    pids = {result[1] for result in found.values()}
    assert pids == {os.getpid()} if processes == 0 else os.getpid() not in pids
    assert {result[2] for result in found.values()} == {1}


def test_no_jobs_need_no_process():
    assert list(run_jobs([], Adder, (1,), processes=2)) == []


def test_processes_end_when_nobody_waits_for_them():
    with closing(run_jobs([1, "wait", "wait"], Adder, (1,), processes=2)) as results:
        assert next(results)[0] == 1
        assert multiprocessing.active_children()
    deadline = time.monotonic() + 20
    while multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_process_that_dies_is_reported():
    with pytest.raises(RunError, match="a process has died"):
        list(run_jobs(["die"], Adder, (1,), processes=1))
