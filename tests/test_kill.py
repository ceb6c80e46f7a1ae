"""Killed anywhere and continued: the result is that of an undisturbed run, bit by bit."""

import signal
import time

import pytest

from ramify.cli import main
from ramify.evaluators import InheritedWeights, TrainFromScratch
from ramify.seeding import rng
from ramify.strategies import (
    CDARTS,
    DARTS,
    ENAS,
    GDAS,
    NASP,
    PCDARTS,
    PDARTS,
    RSPS,
    SETN,
    SPOS,
    DARTSPlus,
    FairNAS,
    ProxylessNAS,
    RandomSearch,
)
from small_runs import differences, outcome, process, ramify, words_of

ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


def retraining(out):
    words = ["--recipe.epochs", "60", "--recipe.batch_size", "16", "--recipe.drop_path", "0.2"]
    words += ["--data", "digits", "--data.subset", "64", "--network.channels", "4", "--network.cells", "1"]
    return ["retrain", ARCH, *words, "--threads", "1", "--progress", "false", "--out", str(out)]


def searching(space, strategy):
    return lambda out: ["search", *words_of(space, strategy, out)]


PROGRESSIVE = {"added_depth": (0, 1), "skip_dropout": (0.1, 0.4), "kept": (5,)}

# Each works for some seconds where every safe point is saved.
RUNS = {
    "DARTS": searching("nasbench201", DARTS(epochs=40, batch_size=16)),
    "GDAS": searching("darts", GDAS(epochs=12, batch_size=16)),
    "trained": searching(
        "nasbench201", RandomSearch(evaluations=60, evaluator=TrainFromScratch(epochs=2, batch_size=16))
    ),
    "inherited": searching(
        "nasbench201", RandomSearch(evaluations=40, evaluator=InheritedWeights(epochs=100, batch_size=16))
    ),
    "retrain": retraining,
    "CDARTS": searching("darts", CDARTS(cycles=4, pretrain_epochs=2, batch_size=16)),
    "ENAS": searching("nasbench201", ENAS(epochs=12, batch_size=16, controller_updates=3, samples=4, selected=4)),
    "PDARTS": searching("nasbench201", PDARTS(**PROGRESSIVE, epochs=6, batch_size=16, arch_start=1, depth=1)),
    "DARTS-second-order": searching("nasbench201", DARTS(epochs=15, batch_size=16, order=2)),
    "DARTSPlus": searching("nasbench201", DARTSPlus(epochs=40, batch_size=16, max_skip=6, stable_epochs=0)),
    "NASP": searching("nasbench201", NASP(epochs=40, batch_size=16)),
    "PCDARTS": searching("nasbench201", PCDARTS(epochs=40, batch_size=16, partial_channels=2)),
    "RSPS": searching("nasbench201", RSPS(epochs=100, batch_size=16, candidates=20)),
    "SETN": searching("nasbench201", SETN(epochs=40, batch_size=16, selected=10)),
    "SPOS": searching(
        "nasbench201", SPOS(epochs=60, batch_size=16, recalibrate=16, evaluations=20, population=5, crossovers=2)
    ),
    "FairNAS": searching(
        "nasbench201", FairNAS(epochs=20, batch_size=16, recalibrate=16, evaluations=20, population=5, crossovers=2)
    ),
    "ProxylessNAS": searching("nasbench201", ProxylessNAS(epochs=30, warmup_epochs=5, batch_size=16, arch_every=1)),
}
QUICK = ("GDAS", "trained", "retrain", "CDARTS")  # slow tests take all


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a function that runs one of `RUNS` in this process, once, and says what came out."""
    known = {}

    def run(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            assert main(RUNS[name](folder)) == 0
            known[name] = outcome(folder)
        return known[name]

    return run


def rows_in(folder):
    path = folder / "history.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def interrupted(name, folder, number, rows):
    """Start a run, send it a signal at a random moment of its work, and return exit code and standard error.

    Moments are counted in rows of the history, `rows` in all, so that the machine's speed does not matter.
    """
    draw = rng(time.time_ns())
    running = process(*RUNS[name](folder), RAMIFY_SAVE_EVERY_S="0")
    wanted = draw.randrange(rows * 3 // 4)
    while running.poll() is None and rows_in(folder) < max(wanted, 1):
        time.sleep(0.002)
    time.sleep(draw.uniform(0.0, 0.05))
    running.send_signal(number)
    _, err = running.communicate(timeout=600)
    return running.returncode, err


def assert_continued(name, folder, undisturbed, in_this_process=True):
    words = RUNS[name](folder)
    assert main(words) == 0 if in_this_process else ramify(*words)[0] == 0
    assert not differences(outcome(folder), undisturbed(name))
    assert not list(folder.glob(".*.unfinished"))


@pytest.mark.parametrize("name", QUICK)
def test_killed_at_a_random_moment(name, tmp_path, undisturbed):
    code, _ = interrupted(name, tmp_path, signal.SIGKILL, len(undisturbed(name)["history"]))
    assert code == -signal.SIGKILL
    assert not (tmp_path / "result.json").exists(), "killed too late to say anything"
    assert_continued(name, tmp_path, undisturbed)


def test_interrupted_from_the_keyboard(tmp_path, undisturbed):
    code, err = interrupted("DARTS", tmp_path, signal.SIGINT, len(undisturbed("DARTS")["history"]))
    assert code == 130
    assert err.startswith("ramify: stopped at step ")
    assert err.endswith(" of 80; the same command continues\n")
    assert len(err.splitlines()) == 1
    assert_continued("DARTS", tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(10))
@pytest.mark.parametrize("name", RUNS)
def test_ten_random_moments(name, moment, tmp_path, undisturbed):
    """Any moment at all: while it starts, works, saves or writes its results."""
    running = process(*RUNS[name](tmp_path), RAMIFY_SAVE_EVERY_S="0")
    time.sleep(rng(time.time_ns(), moment).uniform(0.0, 9.0))
    running.kill()
    running.communicate()
    assert_continued(name, tmp_path, undisturbed, in_this_process=moment > 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_killed_again_and_again(name, tmp_path, undisturbed):
    kills = 0
    for _ in range(10):
        code, _ = interrupted(name, tmp_path, signal.SIGKILL, len(undisturbed(name)["history"]))
        kills += code == -signal.SIGKILL
    assert kills > 1
    assert_continued(name, tmp_path, undisturbed)
