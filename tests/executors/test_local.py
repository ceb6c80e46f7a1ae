"""Executors on this machine: every job is handed back once, whatever becomes of the process that does it."""

import logging
import math
import multiprocessing
import os
import pickle
import random
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_work import Adder, Parcel, Unprepared

from ramify.errors import ConfigurationError, RunError
from ramify.executors import Done, InProcess, LocalProcesses, local
from ramify.executors.base import Ledger, Outcome
from ramify.interruption import WaitEnded, request
from ramify.testing.strikes import VARIABLE, Strike


def done_of(executor, jobs, *arguments):
    """Have jobs done by `Adder`; return what became of them, by number."""
    with executor.start(Adder, lambda: arguments or (100,)) as workers:
        for number, job in enumerate(jobs):
            workers.submit(number, job)
        found = [workers.next() for _ in jobs]
        with pytest.raises(ValueError, match="no job to wait for"):
            workers.next()
    assert sorted(done.number for done in found) == list(range(len(jobs)))
    return {done.number: done for done in found}


def test_a_mixed_lot_in_this_process_and_in_others(tmp_path, caplog):
    jobs = [1, "raise", 2, 3, 4]
    here = done_of(InProcess(retries=1), jobs)
    assert here[0].value["pid"] == os.getpid()
    with caplog.at_level(logging.WARNING, "ramify.executors"):
        there = done_of(
            LocalProcesses(processes=2, retries=1), [*jobs, "once 1", "twice 2", "unsendable"], 100, str(tmp_path)
        )
    for number in (0, 2, 3, 4):
        assert there[number].value["sum"] == here[number].value["sum"] == jobs[number] + 100
        assert there[number].value["pid"] != os.getpid()
    assert here[1].error == there[1].error == "ValueError: this job is wrong (2 tries)"
    assert "Traceback" in there[1].details
    assert not (here[1].died or there[1].died)
    assert there[5].value["sum"] == 6  # its process was killed, and another one did it
    assert there[6] == Done(6, error="its process has died (killed by signal 9) (2 tries)", died=True)
    assert "cannot be sent" in there[7].error
    assert "job 5: its process has died (killed by signal 9); it is tried again" in caplog.text
    assert not multiprocessing.active_children()


def test_threads_are_those_of_the_settings_and_only_for_the_job():
    before = torch.get_num_threads()
    assert done_of(InProcess(threads_per_evaluation=before + 1), [1])[0].value["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_a_process_has_its_threads_a_gpu_and_what_it_needs_once(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3,7")
    notes = tmp_path / "notes"
    executor = LocalProcesses(processes=2, threads_per_evaluation=2)
    needed = (1, None, Parcel(notes, b"x" * 1_000_000))
    with executor.start(Adder, lambda: needed, device=torch.device("cuda")) as workers:
        for number in range(20):
            workers.submit(number, number)
        found = [workers.next().value for _ in range(20)]
    unpacked = list(map(int, notes.read_text().split()))
    assert len(unpacked) == len(set(unpacked)) <= 2
    assert {value["pid"] for value in found} <= set(unpacked)
    assert {value["threads"] for value in found} == {2}
    leases = {(value["pid"], value["gpus"]) for value in found}
    assert len(leases) == len({pid for pid, _ in leases}) == len({gpu for _, gpu in leases})
    assert {gpu for _, gpu in leases} <= {"5", "3"}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "no worker can be set up: OSError: there is no such thing"),
        ("die", r"processes die before they are ready \(exit code 7\)"),
    ],
)
def test_workers_that_cannot_be_set_up_are_an_error(how, message):
    with LocalProcesses(processes=1, retries=0).start(Unprepared, lambda: (how,)) as workers:
        workers.submit(0, 1)
        with pytest.raises(RunError, match=message):
            workers.next()
    assert not multiprocessing.active_children()


def test_a_stopped_process_costs_its_time_limit_and_nothing_else(tmp_path, caplog):
    jobs = [1, "stopped 1 SIGSTOP", 2]
    with caplog.at_level(logging.WARNING, "ramify.executors"):
        found = done_of(LocalProcesses(processes=2, timeout=3.0), jobs, 100, str(tmp_path))
    assert found[0].value["sum"] == 101 and found[2].value["sum"] == 102
    assert found[1].value["sum"] == len(jobs[1])  # it was done by another one
    assert "job 1: its process has died (no answer within 3 s); it is tried again" in caplog.text
    assert not multiprocessing.active_children()


def test_a_process_that_starts_hears_no_interrupt_and_one_that_was_stopped_is_not_waited_for(monkeypatch, capfd):
    """Ctrl-C is for the whole group; and a process may be stopped before it has taken all that it is sent."""
    send, stopped = local._Process.send, []

    def stop_and_send(process, content):
        if not stopped:
            stopped.append(process.process.pid)
            os.kill(process.process.pid, signal.SIGSTOP)
            send(process, content)  # far more than a connection holds
            os.kill(process.process.pid, signal.SIGCONT)
        else:
            send(process, content)

    monkeypatch.setattr(local._Process, "send", stop_and_send)
    monkeypatch.setenv(VARIABLE, Strike("before import torch", signal.SIGINT).told)
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tests / "struck"), str(tests), *sys.path]))
    with LocalProcesses(processes=1, retries=0).start(Adder, lambda: (1, None, b"x" * 10_000_000)) as workers:
        workers.submit(0, 1)
        assert workers.next().value["pid"] == stopped[0]
    assert capfd.readouterr().err == ""


def test_a_job_that_always_hangs_is_handed_back():
    with LocalProcesses(processes=1, timeout=0.5, retries=1).start(Adder, lambda: (1,)) as workers:
        workers.submit(0, "sleep")
        assert workers.next() == Done(0, error="its process has died (no answer within 0.5 s) (2 tries)", died=True)
    assert not multiprocessing.active_children()


def test_a_request_to_stop_ends_a_wait():
    def ask(*_):
        request.make()

    before = signal.signal(signal.SIGUSR1, ask)
    try:
        with LocalProcesses(processes=1).start(Adder, lambda: (1,)) as workers:
            workers.submit(0, 1)
            workers.next()  # the process is up
            workers.submit(1, "sleep")
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            with pytest.raises(WaitEnded):
                workers.next()
            with pytest.raises(WaitEnded):  # a request from before the wait
                workers.next()
    finally:
        request.made = False
        signal.signal(signal.SIGUSR1, before)


def test_what_cannot_travel_is_refused():
    with pytest.raises(ConfigurationError, match="what jobs need cannot be sent to another process"):
        LocalProcesses(processes=1).start(Adder, lambda: (lambda: None,))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (InProcess, {"threads_per_evaluation": 0}, "`threads_per_evaluation` must be at least 1, got 0"),
        (LocalProcesses, {"retries": -1}, "`retries` must be at least 0, got -1"),
        (LocalProcesses, {"processes": 0}, "`processes` must be at least 1, got 0"),
        (LocalProcesses, {"timeout": 0.0}, "`timeout` must be above 0 seconds, got 0"),
        (LocalProcesses, {"timeout": math.inf}, "`timeout` must be above 0 seconds, got inf"),
    ],
)
def test_settings_out_of_range(kind, settings, message):
    with pytest.raises(ConfigurationError, match=message):
        kind(**settings)


def test_processes_without_a_gpu_of_their_own_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigurationError, match="2 processes need a GPU each, and there are 1 here"):
        LocalProcesses(processes=2).check(torch.device("cuda"))
    LocalProcesses(processes=2).check(torch.device("cpu"))


OUTCOMES = {
    "done": Outcome(1),
    "wrong": Outcome(error="wrong"),
    "again": Outcome(error="again", again=True),
    "died": Outcome(error="died", died=True),
}


@given(st.integers(0, 3), st.integers(1, 6), st.integers(1, 3), st.randoms(use_true_random=False))
def test_every_job_leaves_the_ledger_once(retries, jobs, workers, rng: random.Random):
    ledger, left, tries = Ledger(retries), [], Counter()
    for number in range(jobs):
        ledger.add(number, f"job {number}")
    busy = {}
    while ledger:
        for worker in range(workers):
            if worker not in busy and (taken := ledger.take(worker, others=workers > 1)):
                assert taken[1] == f"job {taken[0]}"
                assert taken[0] not in busy.values()
                busy[worker] = taken[0]
        worker = rng.choice(sorted(busy))
        number, kind = busy.pop(worker), rng.choice(sorted(OUTCOMES))
        tries[number, kind] += 1
        done = ledger.settle(number, OUTCOMES[kind], worker)
        final = kind in ("done", "wrong") or tries[number, kind] > retries
        assert (done is not None) == final
        if done is not None:
            left.append(done.number)
            assert bool(done.error) == (kind != "done")
            assert done.died == (kind == "died")
    assert sorted(left) == list(range(jobs))
    assert max(tries.values()) <= retries + 1


def test_a_job_is_submitted_once():
    with InProcess().start(Adder, lambda: (1,)) as workers:
        workers.submit(0, 1)
        with pytest.raises(ValueError, match="job 0 was submitted before"):
            workers.submit(0, 2)


def test_another_worker_takes_what_failed_if_there_is_one():
    ledger = Ledger(2)
    ledger.add(0, "a")
    ledger.take(1)
    ledger.settle(0, OUTCOMES["again"], 1)
    assert ledger.take(1, others=True) is None
    assert ledger.take(2, others=True) == (0, "a")


def test_what_a_job_says_of_itself_does_not_depend_on_workers_that_die():
    ledger = Ledger(1)
    ledger.add(0, "a")
    for kind in ("again", "died"):
        ledger.take()
        assert ledger.settle(0, OUTCOMES[kind]) is None
    ledger.take()
    assert ledger.settle(0, OUTCOMES["again"]).error == "again (2 tries)"


def test_settings_travel():
    for executor in (InProcess(), LocalProcesses(processes=3)):
        assert pickle.loads(pickle.dumps(executor)) == executor
