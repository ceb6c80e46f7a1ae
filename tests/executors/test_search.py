"""Searches whose evaluations run elsewhere: the result is that of this process, whatever happens there."""

import itertools
import json
import os
import signal
import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import yaml
from small_evaluators import Broken, Erring

import ramify
from ramify import strategies
from ramify.cli import main
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators import TrainFromScratch
from ramify.executors import Executor, InProcess, LocalProcesses, RayCluster, Workers
from ramify.executors.base import Ledger, Outcome, attempt
from ramify.seeding import rng
from ramify.spaces import NASBench201
from ramify.strategies import AskTell, RandomSearch, RegularizedEvolution
from small_runs import DATA, SPACES, STRATEGIES, Guess, differences, finish, process, restored, saved, timeless, work_of

LAYOUT = {"channels": 4, "cells": 1}
SEVERAL = {
    name: strategy
    for name, strategy in STRATEGIES.items()
    if isinstance(strategy, AskTell) and isinstance(strategy.evaluator, Guess)
}


class Scrambled(Executor):
    """Many workers, without processes: jobs are done in an order of chance, and some workers die at their first try."""

    threads_per_evaluation, retries = 1, 2

    def __init__(self, seed, ahead=8, deaths=0.0):
        self.seed, self.ahead, self.deaths, self.largest = seed, ahead, deaths, 0

    def check(self, device):
        pass

    def start(self, begin, pack, *, here=None, device=None):
        return _Scrambled(self, begin(*pack()))  # what travels, does

    def __eq__(self, other):
        return self is other


class _Scrambled(Workers):
    def __init__(self, executor, work):
        self.executor, self.work, self.ahead = executor, work, executor.ahead
        self.ledger, self.under_way, self.rng = Ledger(2), [], rng(executor.seed, "scrambled")

    def submit(self, number, job):
        self.ledger.add(number, job)
        self.executor.largest = max(self.executor.largest, len(self.ledger))

    def next(self):
        while True:
            while (taken := self.ledger.take()) is not None:
                self.under_way.append(taken)
            number, job = self.under_way.pop(self.rng.randrange(len(self.under_way)))
            died = self.rng.random() < self.executor.deaths
            done = self.ledger.settle(number, Outcome(error="died", died=True) if died else attempt(self.work, job))
            if done is not None:
                return done

    def close(self):
        pass


def session_of(strategy, executor=None, space="nasbench201", **work):
    space, layout = SPACES[space]
    return strategy.session(space, work_of(layout, executor=executor, **work))


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("name", SEVERAL)
def test_the_order_of_completion_does_not_matter(name, parallel):
    strategy = replace(SEVERAL[name], parallel=parallel)
    here = session_of(strategy)
    expected = finish(here)
    for seed in range(2):
        there = session_of(strategy, Scrambled(seed))
        assert finish(there) == expected
        assert there.architecture() == here.architecture()
        assert not differences(restored(saved(there)), restored(saved(here)))


@pytest.mark.parametrize("name", SEVERAL)
def test_a_search_in_parallel_is_continued_with_what_was_under_way(name):
    strategy = replace(SEVERAL[name], parallel=4)
    whole = session_of(strategy)
    points = [dict(metrics.values) for metrics in whole.run()]
    for at in (1, rng(1, name).randrange(2, len(points)), len(points) - 1):
        session = session_of(strategy, Scrambled(at))
        rows = [dict(m.values) for m in itertools.islice(session.run(), at)]
        asked = [p.architecture for p in session._pending]
        continued = session_of(strategy, Scrambled(at + 100))
        continued.load_state_dict(restored(saved(session)))
        rows += finish(continued)
        assert rows == points
        drawn = [trial.architecture for trial in continued.trials[at:]]
        assert drawn[: len(asked)] == asked[: len(drawn)]  # the same again, under the same numbers
        assert not differences(restored(saved(continued)), restored(saved(whole)))


def test_what_follows_from_no_result_is_evaluated_in_parallel_anyway():
    for strategy, largest in (
        (RandomSearch(evaluations=20, evaluator=Guess()), 8),
        (RegularizedEvolution(evaluations=20, population=6, evaluator=Guess()), 6),
        (RegularizedEvolution(evaluations=20, population=2, parallel=5, evaluator=Guess()), 5),
        (strategies.BOHB(epochs=60, startup=4, evaluator=Guess(epochs=9)), 3),  # the middle rung of the first bracket
        (strategies.LocalSearch(evaluations=20, evaluator=Guess()), 1),
    ):
        executor = Scrambled(0)
        finish(session_of(strategy, executor))
        assert executor.largest == largest


def test_parallel_decides_before_it_knows():
    one, four = (
        [trial.architecture for trial in session.trials]
        for session in (
            session_of(RegularizedEvolution(evaluations=30, population=4, parallel=n, evaluator=Guess()))
            for n in (1, 4)
        )
        if finish(session)
    )
    assert one[:4] == four[:4] != []
    assert one != four
    with pytest.raises(ConfigurationError, match="`parallel` must be at least 1, got 0"):
        RandomSearch(parallel=0)


def test_a_budget_ends_the_search_at_the_same_evaluation():
    for settings in ({"epochs": 25}, {"seconds": 25.0}, {"evaluations": 7}):
        strategy = RandomSearch(**settings, evaluator=Guess(epochs=4))
        here, there = session_of(strategy), session_of(strategy, Scrambled(1))
        assert finish(there) == finish(here)
        assert len(here.trials) == 7
        assert not there.trials.pending


def members_of(seed, count):
    """Return the notations of the first different members that `RandomSearch` draws on `SPACES["nasbench201"]`."""
    session = session_of(RandomSearch(evaluations=4 * count, evaluator=Guess()), seed=seed)
    finish(session)
    return list(dict.fromkeys(session.space.format(trial.architecture) for trial in session.trials))[:count]


@pytest.mark.parametrize("name", SEVERAL)
def test_failures_are_recorded_and_the_search_goes_on(name, tmp_path):
    start = finish(session_of(SEVERAL[name]))
    notations = [row["architecture"]["notation"] for row in start]
    bad = {"raising": tuple(notations[1:2]), "diverging": tuple(notations[3:4])}
    settings = {item.name: getattr(SEVERAL[name].evaluator, item.name) for item in fields(Guess)}
    strategy = replace(SEVERAL[name], evaluator=Erring(folder=str(tmp_path), **bad, **settings))
    here, there = session_of(strategy), session_of(strategy, Scrambled(3, deaths=0.1))
    expected = finish(here)
    assert len(expected) == len(here.trials)
    reasons = {row["architecture"]["notation"]: row["failed"] for row in expected if "failed" in row}
    assert reasons.get(notations[1]) == "KeyError: 'lost' (3 tries)"
    assert reasons.get(notations[3]) in ("training has diverged", None)  # the search may have gone another way
    for row in expected:
        assert ("failed" in row) != ("score" in row)
        assert "score" not in row["metrics"] or "failed" not in row
        json.dumps(row, allow_nan=False)
    assert here.summary()["failed"] == sum("failed" in row for row in expected)
    assert not here.trials.best.failed
    assert all(not here.trials[number].failed for number in here.front.members)
    rows = finish(there)
    if not any("died" in row.get("failed", "") for row in rows):
        assert [timeless([row]) for row in rows if row.get("failed") not in reasons.values()] == [
            timeless([row]) for row in expected if row.get("failed") not in reasons.values()
        ]
    at = len(expected) // 2
    stopped = session_of(strategy)
    before = [dict(metrics.values) for metrics in itertools.islice(stopped.run(), at)]
    continued = session_of(strategy)
    continued.load_state_dict(restored(saved(stopped)))
    assert before + finish(continued) == expected
    assert not differences(restored(saved(continued)), restored(saved(here)))


def test_an_evaluator_that_never_works_ends_the_search():
    with pytest.raises(
        RunError, match=r"the first 5 evaluations all failed; the last: TypeError: this evaluator has a"
    ):
        finish(session_of(RandomSearch(evaluations=20, evaluator=Broken())))
    with pytest.raises(RunError, match=r"all 2 evaluations failed; the last: TypeError: this evaluator has a bug"):
        finish(session_of(RandomSearch(evaluations=2, evaluator=Broken())))


def test_evaluations_have_the_threads_that_the_executor_says(tmp_path):
    before = torch.get_num_threads()
    session = session_of(RandomSearch(evaluations=2, evaluator=Guess()), InProcess(threads_per_evaluation=before + 1))
    seen = []
    session.evaluation.__class__ = type("Seeing", (type(session.evaluation),), {"__call__": _seeing(seen)})
    finish(session)
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def _seeing(seen):
    def call(self, arch, epochs=None):
        seen.append(torch.get_num_threads())
        return {"score": 0.5, "loss": 1.0, "seconds": 1.0}

    return call


# In real processes


@pytest.mark.parametrize(
    "strategy",
    [
        RegularizedEvolution(evaluations=6, population=3, evaluator=TrainFromScratch(epochs=1, batch_size=16)),
        STRATEGIES["SPOS"],  # inherited weights, norms recalibrated
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_processes_give_the_bits_of_this_one(strategy):
    here, there = session_of(strategy), session_of(strategy, LocalProcesses(processes=2))
    assert finish(here) == finish(there)
    assert not differences(restored(saved(here)), restored(saved(there)))


def test_a_process_killed_in_a_search_loses_nothing_and_repeats_nothing_in_the_record(tmp_path):
    bad = members_of(0, 6)
    evaluator = Erring(folder=str(tmp_path), deadly={bad[2]: 1}, raising=(bad[4],), slow=0.01)
    strategy = RandomSearch(evaluations=16, evaluator=evaluator)
    (tmp_path / f"{bad[2].replace('|', '_')}-0").touch()  # nothing dies in this process
    expected = finish(session_of(strategy))
    (tmp_path / f"{bad[2].replace('|', '_')}-0").unlink()
    (tmp_path / "evaluated").unlink()
    assert finish(session_of(strategy, LocalProcesses(processes=2))) == expected
    assert (tmp_path / f"{bad[2].replace('|', '_')}-0").exists()
    counts = Counter((tmp_path / "evaluated").read_text().splitlines())
    assert {notation: n for notation, n in counts.items() if n > 1} == {f"{bad[4]} None": 3}
    assert len(counts) == len({row["architecture"]["notation"] for row in expected})


# The verbs


def searching(out, executor=None, **settings):
    strategy = settings.pop("strategy", RandomSearch(evaluations=3, evaluator=TrainFromScratch(epochs=1)))
    return ramify.search(
        NASBench201(), strategy, DATA, network=LAYOUT, out=out, executor=executor, threads=1, progress=False, **settings
    )


def test_another_executor_may_continue_a_search_with_the_same_threads(tmp_path):
    first = searching(tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["executor"]["init_args"] == {"threads_per_evaluation": 1, "retries": 2}
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "checkpoint.pt").unlink()
    again = searching(tmp_path / "run", LocalProcesses(processes=1))
    assert timeless(again.history) == timeless(first.history)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == config
    kinds = json.loads((tmp_path / "run" / "provenance.json").read_text())["executors"]
    assert [kind["class_path"] for kind in kinds] == [
        "ramify.executors.InProcess",
        "ramify.executors.LocalProcesses",
    ]
    with pytest.raises(RunError, match=r"executor\.threads_per_evaluation is 1 there and 2 now"):
        searching(tmp_path / "run", InProcess(threads_per_evaluation=2))


def test_an_executor_is_not_recorded_where_the_data_are_others(tmp_path):
    searching(tmp_path)
    about = tmp_path / "provenance.json"
    about.write_text(about.read_text().replace('"fingerprint": "', '"fingerprint": "another '))
    before = about.read_bytes()
    with pytest.raises(RunError, match="was made with other data than digits holds now"):
        searching(tmp_path, LocalProcesses(processes=1))
    assert about.read_bytes() == before


@pytest.mark.parametrize(
    ("executor", "threads", "expected"),
    [
        (None, 2, 2),
        (None, None, 1),
        (InProcess(retries=1), 2, 2),
        (InProcess(threads_per_evaluation=1), 2, 1),
        (LocalProcesses(processes=1), 2, 2),
        (RayCluster(address="127.0.0.1:1"), 3, 3),
        (RayCluster(threads_per_evaluation=2), 3, 2),
    ],
)
def test_evaluations_have_the_threads_of_the_search_unless_the_executor_names_others(
    executor, threads, expected, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        "ramify.verbs.search.drive", lambda session, *_, **__: seen.append(session.evaluations.executor) or 1 / 0
    )
    monkeypatch.setattr(RayCluster, "check", lambda *_: None)
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        ramify.search(
            NASBench201(),
            RandomSearch(evaluations=1, evaluator=Guess()),
            DATA,
            executor=executor,
            threads=threads,
            out=tmp_path,
            progress=False,
        )
    torch.set_num_threads(before)
    assert seen[0].threads == seen[0].threads_per_evaluation == expected
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["executor"]["init_args"]["threads_per_evaluation"] == expected


def test_what_evaluates_nothing_takes_no_executor(tmp_path):
    with pytest.raises(ConfigurationError, match="GDAS evaluates no architectures one by one, so an executor has"):
        searching(tmp_path / "run", InProcess(), strategy=strategies.GDAS(epochs=1))
    assert not (tmp_path / "run").exists()


WORDS = ["search", "--space", "NASBench201", "--strategy", "RandomSearch", "--data", "digits", "--data.subset", "64"]
WORDS += ["--strategy.evaluator", "TrainFromScratch", "--strategy.evaluator.epochs", "1"]
WORDS += ["--strategy.evaluator.batch_size", "16", "--strategy.evaluations", "12"]
WORDS += ["--network.channels", "4", "--network.cells", "1", "--threads", "1", "--progress", "false"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--executor", "rays"], "unknown executor 'rays'; did you mean 'RayCluster'? Known: InProcess,"),
        (["--executor", "processes", "--executor.processes", "0"], "`processes` must be at least 1, got 0"),
        (["--executor", "local", "--executor.processes", "2"], "processes"),
    ],
)
def test_wrong_words_are_one_line(words, message, tmp_path, capsys):
    assert main([*WORDS, "--out", str(tmp_path / "run"), *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_search_killed_with_its_processes_continues_on_the_command_line(tmp_path, capsys):
    words = [*WORDS, "--executor", "processes", "--executor.processes=2", "--out"]
    assert main([*WORDS, "--out", str(tmp_path / "whole")]) == 0
    notation = capsys.readouterr().out
    running = process(*words, tmp_path / "killed", RAMIFY_SAVE_EVERY_S="0")
    history, deadline = tmp_path / "killed" / "history.jsonl", time.monotonic() + 120
    while not history.exists() or len(history.read_text().splitlines()) < 3:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    started = children(running.pid)
    assert started
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    deadline = time.monotonic() + 20
    while any(map(alive, started)):  # nothing goes on for a search that is gone
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert main([*words, str(tmp_path / "killed")]) == 0
    assert capsys.readouterr().out == notation
    rows = [
        timeless(map(json.loads, (tmp_path / name / "history.jsonl").read_text().splitlines()))
        for name in ("whole", "killed")
    ]
    assert rows[0] == rows[1]
