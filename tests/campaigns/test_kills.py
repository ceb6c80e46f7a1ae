"""Ended at exact moments, again and again, and continued: every strategy, every kind of run, bit for bit undisturbed.

RAMIFY_KILLS is the number of chains for each command: the first goes through `CHOSEN`, the others are drawn.
"""

import json
import os
import signal
import time
from itertools import islice
from pathlib import Path

import pytest

from killing import forked
from ramify import compatible
from ramify.evaluators import TrainFromScratch
from ramify.seeding import derive, rng
from ramify.strategies import RandomSearch
from ramify.testing.kills import CHOSEN, INT, KILL, MOMENTS, TERM, Strike, chaos, drawn
from ramify.testing.runs import outcomes, timeless
from small_runs import SPACES, STRATEGIES, differences, process, words_of
from small_tables import small, sub_space

pytestmark = pytest.mark.slow

CHAINS = int(os.environ.get("RAMIFY_KILLS", "2"))
ROWS = [
    Strike("after append history.jsonl", KILL, 2),
    Strike("after append history.jsonl", TERM),
    Strike("after append history.jsonl", INT, 2),
    Strike("before rename result.json", KILL),
]
"""Of commands that make no checkpoints, but rows."""

DIGITS = ["--data", "digits", "--data.subset", "64"]
NETWORK = ["--network.channels", "4", "--network.cells", "1"]
QUIET = ["--threads", "1", "--progress", "false"]
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"

_DARTS = {"class_path": "DARTS", "init_args": {"epochs": 1, "batch_size": 16}}
LEVELS = {
    "levels": {
        "cells": {"space": "StageCells", "strategy": _DARTS, "network": {"channels": 4, "layers": 3}},
        "stages": {
            "space": {"class_path": "StageGraph", "init_args": {"cells": 2}},
            "strategy": _DARTS,
            "network": {"channels": 4},
            "around": "cells",
        },
    },
    "retrain": {"recipe": {"epochs": 2, "batch_size": 16, "auxiliary": False}, "network": {"channels": 4}},
}


def space_for(name):
    return next(space for space in SPACES if compatible(SPACES[space][0], STRATEGIES[name]))


def searching(name):
    return lambda out: ["search", *words_of(space_for(name), name, out)]


def shrinking(out):
    settings = {"batch_size": 16, "first_epochs": 1, "next_epochs": 1, "threshold": 100, "drop": 4, "samples": 60}
    words = [f"--shrinking.{name}={value}" for name, value in (settings | {"min_samples": 2, "iterations": 9}).items()]
    return ["shrink", "--space", "NASBench201", *words, *DIGITS, *NETWORK, *QUIET, "--out", str(out)]


def building(out):
    masks = ["--restriction", json.dumps(sub_space().restriction), "--architectures", "4", "--seeds", "[0,3]"]
    recipe = ["--recipe.epochs", "2", "--recipe.batch_size", "16", "--processes", "0"]
    return ["bench", "build", "--space", "NASBench201", *masks, *DIGITS, *recipe, *NETWORK, *QUIET, "--out", str(out)]


def comparing(out):
    table = out.parents[1] / "small.table"  # the same for all
    if not table.exists():
        small().save(table)
    words = ["--columns", "valid", "--strategies", "RegularizedEvolution,Reinforce", "--evaluations", "30"]
    words += ["--seeds", "4", "--processes", "0", "--progress", "false", "--out", str(out)]
    return ["bench", "compare", "--table", str(table), *words]


COMMANDS = {name: searching(name) for name in STRATEGIES} | {
    "pipeline": lambda out: ["search", "--config", json.dumps(LEVELS), *DIGITS, *QUIET, "--out", str(out)],
    "shrink": shrinking,
    "retrain": lambda out: [
        *("retrain", CELL, "--recipe.epochs", "3", "--recipe.batch_size", "16", "--recipe.drop_path", "0.2"),
        *(*DIGITS, *NETWORK, *QUIET, "--out", str(out)),
    ],
    "build": building,
    "compare": comparing,
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a function that runs a command once, and says what came out."""
    known = {}

    def run(name):
        if name not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            code, err = forked(COMMANDS[name](folder / "run"), folder)
            assert code == 0, err
            known[name] = outcomes(folder / "run")
        return known[name]

    return run


def strikes_of(name, chain):
    """Return the strikes of a chain."""
    by_rows = name in ("build", "compare")
    if chain == 0:
        return ROWS if by_rows else CHOSEN
    sure = sorted({strike.moment for strike in ROWS})  # to which every command comes, even a short one
    first = drawn(derive(chain, name), 1, moments=sure, most=1)
    return [*first, *drawn(derive(chain, name, "further"), 8, moments=sure if by_rows else MOMENTS)]


@pytest.mark.parametrize("chain", range(CHAINS))
@pytest.mark.parametrize("name", COMMANDS)
def test_ended_and_continued(name, chain, tmp_path, undisturbed):
    words, whole = COMMANDS[name](tmp_path / "run"), undisturbed(name)
    found = chaos(words, strikes=strikes_of(name, chain), folder=tmp_path, whole=whole, start=forked)
    assert len(found.ended) >= (3 if chain == 0 else 1)


def assert_said(err):
    """The last line, the only one of its kind, says what happened and how to go on."""
    lines = [line for line in err.splitlines() if line.startswith("ramify: ")]
    assert len(lines) == 1 and err.endswith(f"{lines[0]}\n") and "the same command continues" in lines[0], err
    assert "Traceback" not in err


# Several processes


def rows_in(folder):
    path = folder / "history.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def until(condition, running):
    while not condition():
        assert running.poll() is None, running.communicate()
        time.sleep(0.002)


def workers_of(running):
    """Return the processes that a process has spawned, but for the one that only cleans up."""
    found = []
    for task in Path(f"/proc/{running.pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            command = Path(f"/proc/{child}/cmdline")
            if command.exists() and b"spawn_main" in command.read_bytes():
                found.append(child)
    return sorted(found)


def test_processes_with_a_share_of_the_batch(tmp_path):
    """One of them is killed, the one that watches them is, and each kind of signal stops them."""

    def words(out):
        return ["search", *words_of("nasbench201", "DARTS", out), "--strategy.epochs", "4", "--devices", "2"]

    whole = process(*words(tmp_path / "whole"))
    assert whole.communicate() and whole.returncode == 0
    plan = [
        ("after append history.jsonl", KILL, 1, "self", 2),
        ("before rename checkpoint.pt", KILL, 2, "parent", -KILL),
        ("after append history.jsonl", INT, 1, "parent", 130),
        ("after create checkpoint.pt", TERM, 1, "parent", 130),
    ]
    for *strike, expected in plan:
        running = process(*words(tmp_path / "run"), strike=strike, RAMIFY_SAVE_EVERY_S="0")
        _, err = running.communicate()  # the end of all processes
        assert running.returncode == expected, err
        if expected != -KILL:
            assert_said(err)
    running = process(*words(tmp_path / "run"))
    assert running.communicate() and running.returncode == 0
    assert not differences(outcomes(tmp_path / "run"), outcomes(tmp_path / "whole"))


def test_a_second_signal_ends_processes_that_cannot_answer_the_first(tmp_path):
    out = tmp_path / "run"
    words = ["search", *words_of("nasbench201", "DARTS", out), "--strategy.epochs", "400", "--devices", "2"]
    running = process(*words, RAMIFY_SAVE_EVERY_S="0")
    until(lambda: rows_in(out) > 0, running)
    for worker in workers_of(running):
        os.kill(worker, signal.SIGSTOP)
    running.send_signal(INT)
    running.send_signal(TERM)
    _, err = running.communicate()
    assert running.returncode == 130, err
    assert err == "ramify: stopped at once; the same command continues from the last checkpoint\n"


def test_workers_are_killed_and_stopped(tmp_path):
    strategy = RandomSearch(evaluations=14, evaluator=TrainFromScratch(epochs=1, batch_size=16))

    def words(out):
        return ["search", *words_of("nasbench201", strategy, out)]

    code, err = forked(words(tmp_path / "whole"), tmp_path)
    assert code == 0, err
    elsewhere = ["--executor", "processes", "--executor.processes", "2", "--executor.timeout", "20"]
    out, draw = tmp_path / "run", rng(0, "workers")
    for numbers in ((signal.SIGSTOP, TERM), (KILL, KILL), (INT,)):
        running = process(*words(out), *elsewhere, RAMIFY_SAVE_EVERY_S="0")
        for position, number in enumerate(numbers, start=1):
            before = rows_in(out)
            until(lambda before=before: rows_in(out) > before, running)
            if position < len(numbers):  # one of the workers; the last signal is for the search
                os.kill(draw.choice(workers_of(running)), number)
            else:
                running.send_signal(number)
        _, err = running.communicate()
        assert running.returncode == (-KILL if numbers[-1] == KILL else 130), err
        if numbers[-1] != KILL:
            assert_said(err)
    running = process(*words(out), *elsewhere)
    _, err = running.communicate()
    assert running.returncode == 0, err
    found, expected = outcomes(out)["."], outcomes(tmp_path / "whole")["."]
    assert not differences(found, {**expected, "config": found["config"]})  # which names the executor


WAITING = '''
import time
from dataclasses import dataclass
from pathlib import Path

from small_runs import Guess, Guessing


@dataclass(frozen=True, kw_only=True)
class Waiting(Guess):
    """Evaluates nothing before the file `go` is in its folder."""

    folder: str

    def start(self, space, task):
        return _Waiting(self, task)


class _Waiting(Guessing):
    def __init__(self, settings, task):
        super().__init__(settings.epochs, task)
        self.folder = Path(settings.folder)

    def __call__(self, arch, epochs=None):
        (self.folder / "at work").touch()
        while not (self.folder / "go").exists():
            time.sleep(0.01)
        return super().__call__(arch, epochs)
'''


@pytest.mark.parametrize("number", [TERM, INT])
def test_a_signal_is_answered_while_a_worker_takes_long(number, tmp_path):
    (tmp_path / "waiting.py").write_text(WAITING)
    words = ["search", "--space", "NASBench201", "--strategy", "RandomSearch", "--strategy.evaluations", "4"]
    words += ["--strategy.evaluator", "Waiting", "--strategy.evaluator.folder", tmp_path, *DIGITS, *NETWORK, *QUIET]
    words += ["--import", tmp_path / "waiting.py", "--executor", "processes", "--executor.processes", "1", "--out"]
    running = process(*words, tmp_path / "run")
    until((tmp_path / "at work").exists, running)
    running.send_signal(number)
    _, err = running.communicate()
    assert (running.returncode, err.count("\n")) == (130, 1)
    assert err.startswith("ramify: stopped at step 0 of ") and "the same command continues" in err
    (tmp_path / "go").touch()
    for out in ("run", "whole"):
        running = process(*words, tmp_path / out)
        assert running.communicate() and running.returncode == 0
    assert not differences(outcomes(tmp_path / "run"), outcomes(tmp_path / "whole"))
    rows = map(json.loads, (tmp_path / "run" / "history.jsonl").read_text().splitlines())
    assert len(list(islice(timeless(rows), 9))) == 4
