"""Killed anywhere and continued: the result is that of an undisturbed run, bit by bit."""

import time

import pytest

from ramify.cli import main
from ramify.evaluators import InheritedWeights, TrainFromScratch
from ramify.seeding import derive, rng
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
    TAS,
    DARTSPlus,
    FairNAS,
    ProxylessNAS,
    RandomSearch,
    TuNAS,
)
from ramify.testing.kills import INT, KILL, MOMENTS, Strike, chaos, drawn, started
from ramify.testing.runs import outcomes
from small_runs import differences, words_of

ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


def retraining(out):
    words = ["--recipe.epochs", "60", "--recipe.batch_size", "16", "--recipe.drop_path", "0.2"]
    words += ["--data", "digits", "--data.subset", "64", "--network.channels", "4", "--network.cells", "1"]
    return ["retrain", ARCH, *words, "--threads", "1", "--progress", "false", "--out", str(out)]


CHAIN = "[[0], [0, -1, -1, -1], [1, -1, -1, -1], [0, -1, -1, -1, -1], [0, -1, -1, -1], [1, -1, -1, -1], [0]]"


def segmenting(out):
    words = ["--task", "segmentation", "--task.factor", "1", "--data", "shapes", "--data.subset", "32"]
    words += ["--recipe.epochs", "12", "--recipe.batch_size", "16", "--network.channels", "4"]
    words += ["--threads", "1", "--progress", "false", "--out", str(out)]
    return ["retrain", CHAIN, "--space", "CDARTSChain", *words]


def detecting(out):
    words = ["--task", "detection", "--task.width", "8", "--task.base", "2", "--data", "shapes", "--data.subset", "32"]
    words += ["--recipe.epochs", "12", "--recipe.batch_size", "16", "--network.channels", "4"]
    words += ["--threads", "1", "--progress", "false", "--out", str(out)]
    return ["retrain", CHAIN, "--space", "CDARTSChain", *words]


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
    "segmentation": segmenting,
    "detection": detecting,
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
    "TAS": searching("prunable", TAS(epochs=15, batch_size=16, target=0.4)),
    "TuNAS": searching("size", TuNAS(epochs=40, batch_size=16)),
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
            known[name] = outcomes(folder)
        return known[name]

    return run


def struck(name, folder, undisturbed, strikes):
    return chaos(RUNS[name](folder / "run"), strikes=strikes, folder=folder, whole=undisturbed(name))


def within(rows, number, seed):
    """Return a strike at a drawn moment of the first half of the work, counted in rows of the history."""
    return Strike("after append history.jsonl", number, rng(seed).randrange(1, max(2, rows // 2)))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "retrain" else pytest.mark.slow) for name in QUICK]
)
def test_killed_at_a_random_moment(name, tmp_path, undisturbed):
    rows = len(undisturbed(name)["."]["history"])
    found = struck(name, tmp_path, undisturbed, [within(rows, KILL, time.time_ns())])
    assert [code for _, code in found.ended] == [-KILL]


def test_interrupted_from_the_keyboard(tmp_path, undisturbed):
    code, err = started(RUNS["DARTS"](tmp_path), tmp_path, Strike("after append history.jsonl", INT, 5))
    assert code == 130
    assert err.startswith("ramify: stopped at step ")
    assert err.endswith(" of 80; the same command continues\n")
    assert len(err.splitlines()) == 1
    assert main(RUNS["DARTS"](tmp_path)) == 0
    assert not differences(outcomes(tmp_path), undisturbed("DARTS"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(3))
@pytest.mark.parametrize("name", RUNS)
def test_random_moments(name, moment, tmp_path, undisturbed):
    """While it starts, works, saves or writes its results."""
    starting = ("before import ramify.cli", "after import torch", "after create config.yaml")
    seed = derive(time.time_ns(), name, moment)
    first = drawn(seed, 1, moments=starting, most=1)  # these come once
    struck(name, tmp_path, undisturbed, [*first, *drawn(derive(seed, "work"), 3, moments=MOMENTS, most=20)])


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_killed_again_and_again(name, tmp_path, undisturbed):
    rows = len(undisturbed(name)["."]["history"])
    strikes = [within(max(2, rows // 8), KILL, derive(time.time_ns(), kill)) for kill in range(10)]
    assert len(struck(name, tmp_path, undisturbed, strikes).ended) > 1
