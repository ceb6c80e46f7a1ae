"""Jobs in processes: all of them are done, and the processes end with whoever started them."""

import itertools
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


def test_this_process_does_every_job_once():
    found = dict(run_jobs(range(12), Adder, (100,), processes=0))
    assert found == {job: (job + 100, os.getpid(), 1) for job in range(12)}


def test_no_jobs_need_no_process():
    assert list(run_jobs([], Adder, (1,), processes=2)) == []


def test_processes_do_every_job_once_and_end_when_nobody_waits_for_them():
    with closing(run_jobs([*range(12), "wait", "wait"], Adder, (100,), processes=2)) as results:
        found = dict(itertools.islice(results, 12))
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()
    assert {job: result[0] for job, result in found.items()} == {job: job + 100 for job in range(12)}
    pids = {result[1] for result in found.values()}
    assert os.getpid() not in pids
    assert {result[2] for result in found.values()} == {1}


@pytest.mark.slow
def test_a_job_that_kills_every_process_is_reported():
    with pytest.raises(RunError, match=r"its process has died \(exit code 3\) \(3 tries\), perhaps for lack of memory"):
        list(run_jobs(["die"], Adder, (1,), processes=1))
    assert not multiprocessing.active_children()
