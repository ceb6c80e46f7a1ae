"""What is not finite is no result: such a trial has failed, in every strategy, and its search goes on without it."""

import itertools
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import ramify
from ramify.cli import main
from ramify.costs import counted
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators import InheritedWeights, TrainFromScratch
from ramify.spaces import NASBench201
from ramify.strategies import (
    BOHB,
    DARTS,
    ENAS,
    RSPS,
    SETN,
    BayesianOptimization,
    Evolution,
    LocalSearch,
    OptunaSampler,
    RandomSearch,
    RegularizedEvolution,
    Reinforce,
)
from ramify.strategies.trials import fault, plain
from ramify.training import Recipe, descent, measure, retraining
from small_runs import DATA, Guess, Guessing, differences, finish, restored, saved, session_of, timeless
from tasks.toys import Scripted

SPACE, LAYOUT = NASBench201(), {"channels": 4, "cells": 1}
PLAIN = SPACE.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
WILD = 1e8
"""A learning rate at which every training diverges."""


@dataclass(frozen=True, kw_only=True)
class Partly(Guess):
    """`Guess`, but about a third of the members have a value that is not finite, and a score that would win.

    Args:
        wrong: Name of that value.
        value: What it is.
    """

    wrong: str = "loss"
    value: float = math.nan

    def start(self, space, task):
        return _Partly(self, space, task)


class _Partly(Guessing):
    def __init__(self, settings, space, task):
        super().__init__(settings.epochs, task)
        self.settings, self.space = settings, space

    def __call__(self, arch, epochs=None):
        found = super().__call__(arch, epochs)
        if is_bad(self.space, arch):
            found |= {"score": 5.0, self.settings.wrong: self.settings.value}
        return found


def is_bad(space, arch):
    return sum(space.format(arch).encode()) % 3 == 0


def searches(evaluator, leveled):
    return {
        "random": RandomSearch(evaluations=20, evaluator=evaluator),
        "regularized": RegularizedEvolution(evaluations=30, population=5, tournament=2, evaluator=evaluator),
        "without-replacement": RegularizedEvolution(
            evaluations=30, population=4, tournament=4, replacement=False, evaluator=evaluator
        ),
        "evolution": Evolution(evaluations=20, population=5, parents=3, crossovers=2, evaluator=evaluator),
        "local": LocalSearch(evaluations=30, evaluator=evaluator),
        "reinforce": Reinforce(evaluations=20, lr=0.3, evaluator=evaluator),
        "bohb": BOHB(evaluations=26, startup=3, evaluator=leveled),
        "bayesian": BayesianOptimization(evaluations=20, startup=6, candidates=20, evaluator=evaluator),
        "tpe": OptunaSampler(evaluations=20, settings={"n_startup_trials": 4}, evaluator=evaluator),
        "nsga2": OptunaSampler(
            sampler="NSGAII",
            settings={"population_size": 4},
            objectives=("error", "loss"),
            reference=(1.0, 2.0),
            evaluations=20,
            evaluator=evaluator,
        ),
    }


NAMES = list(searches(None, None))


def search(name, **settings):
    return searches(Partly(**settings), Partly(epochs=9, **settings))[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("wrong", "value"), [("loss", math.nan), ("seconds", math.inf), ("score", math.nan)])
def test_what_is_not_finite_fails_and_the_search_goes_on(name, wrong, value):
    session = session_of("nasbench201", search(name, wrong=wrong, value=value))
    rows = finish(session)
    bad = [row for row in rows if is_bad(SPACE, SPACE.parse(row["architecture"]["notation"]))]
    assert 0 < len(bad) < len(rows)
    for row in rows:
        json.dumps(row, allow_nan=False)
        assert ("failed" in row) == (row in bad) != ("score" in row)
        assert row.get("best", 0) < 5
    assert all(row["failed"].startswith(f"{wrong} is {value}") for row in bad)
    assert session.summary()["failed"] == len(bad)
    assert not is_bad(SPACE, session.architecture())
    assert not any(session.trials[number].failed for number in session.front.members)


@pytest.mark.parametrize("name", NAMES)
def test_a_continued_search_with_failures_is_the_same(name):
    whole, stopped, continued = (session_of("nasbench201", search(name)) for _ in range(3))
    rows = finish(whole)
    before = [dict(metrics.values) for metrics in itertools.islice(stopped.run(), len(rows) // 2)]
    continued.load_state_dict(restored(saved(stopped)))
    assert timeless(before + finish(continued)) == timeless(rows)
    assert not differences(restored(saved(continued)), restored(saved(whole)))


@pytest.mark.parametrize("name", ["regularized", "without-replacement", "evolution", "local", "bohb"])
def test_a_failure_is_no_parent(name, monkeypatch):
    used = []
    for method in ("mutate", "crossover"):
        original = getattr(NASBench201, method)
        monkeypatch.setattr(NASBench201, method, lambda self, *a, _o=original: (used.extend(a[:-1]), _o(self, *a))[1])
    strategy = search(name)
    session = session_of("nasbench201", strategy)
    finish(session)
    assert not any(is_bad(SPACE, arch) for arch in used)
    if name == "bohb":
        assert not [t for t in session.trials if (t.epochs or 0) > 1 and t.failed and _before(session.trials, t)]
    if name == "local":
        climb = session.trials.fold("climb", pytest.fail, lambda state, trial: state)
        assert not is_bad(SPACE, SPACE.architecture(climb.standing))
    if name == "evolution":
        lineage = session.trials.fold("lineage", pytest.fail, lambda state, trial: state)
        parents = [SPACE.architecture(values) for values in lineage.parents(-1)]
        assert parents and not any(is_bad(SPACE, parent) for parent in parents)


def _before(trials, trial):
    return [t for t in trials[: trial.number] if t.architecture == trial.architecture]


@pytest.mark.parametrize("name", ["bayesian", "reinforce", "tpe", "bohb"])
def test_a_failure_teaches_no_model(name):
    session = session_of("nasbench201", search(name))
    finish(session)
    key = {"bayesian": "measured", "reinforce": "policy", "tpe": "study", "bohb": "studies"}[name]
    count, state = session.trials._folded[key]
    trials = session.trials[:count]
    good = [trial for trial in trials if not trial.failed]
    assert 0 < len(good) < len(trials)
    if name == "bayesian":
        assert len(state) == len({trial.architecture for trial in good})
        assert len(state.seen) == len({trial.architecture for trial in trials})  # none is asked for again
    elif name == "reinforce":
        assert state._steps == len(good)
    else:
        studies = [study for study, _ in state.values()] if name == "bohb" else [state[0]]
        values = [t.values for study in studies for t in study._study.trials if t.state.name == "COMPLETE"]
        assert sorted(values) == sorted([*trial.values] for trial in good)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_cost_that_is_not_finite_is_refused(value, monkeypatch):
    monkeypatch.setattr(counted, "latency_ms", lambda *_: value)
    strategy = RandomSearch(evaluations=6, objectives=("error", "latency_ms"), reference=(1.0, 9.0), evaluator=Guess())
    with pytest.raises(ConfigurationError, match="cost 'latency_ms' must be a finite number, its `measure` returned"):
        finish(session_of("nasbench201", strategy))


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"score": 0.5, "loss": 1}, ""),
        ({"score": np.float32(0.5), "loss": torch.tensor(1.0)}, ""),
        ({"score": np.float64("nan")}, "score is nan"),
        ({"score": 0.5, "train_loss": torch.tensor(torch.inf)}, "train_loss is inf: training has diverged; lower"),
        ({"score": 0.5, "odd": None}, "odd is None, which is no number"),
        ({"score": "high"}, "score is 'high', which is no number"),
        ({"accuracy": 0.5}, "the evaluator returned no `score`, but accuracy"),
        ([0.5], "the evaluator returned list, not metrics by name"),
    ],
)
def test_a_fault_is_said_in_words(metrics, reason):
    assert fault(plain(metrics)).startswith(reason)
    assert bool(fault(plain(metrics))) == bool(reason)
    assert "\n" not in fault(plain(metrics))


def test_a_state_of_before_does_not_let_a_diverged_trial_win():
    strategy = RandomSearch(evaluations=4, evaluator=Guess())
    session = session_of("nasbench201", strategy)
    finish(session)
    state = restored(saved(session))
    state["trials"] = json.loads(state["trials"])  # earlier states held a list
    state["trials"][1][1] |= {"score": 5.0, "loss": math.nan}
    continued = session_of("nasbench201", strategy)
    continued.load_state_dict(state)
    assert continued.trials[1].failed.startswith("loss is nan")
    assert continued.trials.best.number != 1


# Networks


def test_logits_that_are_not_finite_are_never_right():
    logits = torch.eye(4)
    logits[1] = torch.nan
    logits[2, 0] = torch.inf
    logits[3, 0] = -torch.inf
    split = Scripted(inputs=logits, labels=torch.arange(4), count=4).split("test")
    found = measure(torch.nn.Identity(), split, device=torch.device("cpu"))
    assert (found.metrics["top1"], found.metrics["top5"], found.items) == (0.25, 0.25, 4)
    assert math.isnan(found.loss)
    with pytest.raises(RunError, match="the loss on test is nan: training has diverged; lower the learning rate"):
        found.checked(split)


@pytest.mark.parametrize(
    "strategy",
    [
        RandomSearch(evaluations=3, evaluator=TrainFromScratch(epochs=1, batch_size=16, lr=WILD)),
        RandomSearch(evaluations=3, evaluator=InheritedWeights(epochs=1, batch_size=32, lr=1e38, clip=0.0)),
        RSPS(epochs=1, batch_size=32, lr=1e38, clip=0.0, candidates=3),
        ENAS(epochs=1, batch_size=32, lr=1e38, clip=0.0, controller_updates=1, samples=1, selected=2),
        SETN(epochs=1, batch_size=32, lr=1e38, clip=0.0, selected=2),
        DARTS(epochs=2, batch_size=32, lr=1e38, clip=0.0),
    ],
    ids=["trained", "inherited", "rsps", "enas", "setn", "darts"],
)
def test_a_search_in_which_everything_diverges_ends_with_an_error(strategy, tmp_path):
    with pytest.raises(RunError, match="diverged; lower the learning rate or clip gradients"):
        ramify.search(SPACE, strategy, DATA, network=LAYOUT, out=tmp_path / "run", progress=False, threads=1)
    assert not (tmp_path / "run" / "result.json").exists()
    history = tmp_path / "run" / "history.jsonl"
    for line in history.read_text().splitlines() if history.exists() else ():
        row = json.loads(line, parse_constant=pytest.fail)
        assert "score" not in row and "best" not in row


def test_the_command_line_says_it_in_one_line(tmp_path, capsys):
    words = "search --space NASBench201 --strategy RandomSearch --strategy.evaluations 3 --data digits --data.subset 64"
    words += " --strategy.evaluator TrainFromScratch --strategy.evaluator.epochs 2 --strategy.evaluator.lr 1e8"
    words += " --network.channels 4 --network.cells 1 --threads 1 --progress false"
    assert main([*words.split(), "--out", str(tmp_path / "run")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "all 3 evaluations failed; the last: " in err and "lower the learning rate or clip gradients" in err
    rows = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "run/history.jsonl").open()]
    assert len(rows) == 3 and all("failed" in row and "score" not in row for row in rows)
    assert main(["describe", str(tmp_path / "run")]) == 2
    assert "all of its evaluations failed, so there is none; history.jsonl says why" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["network", "supernet"])
def test_a_last_step_that_diverges_leaves_no_result(kind, tmp_path, monkeypatch):
    """No loss shows it."""
    module = {"network": retraining, "supernet": descent}[kind]
    descend = module.descend

    def last(fabric, network, *arguments, **options):
        descend(fabric, network, *arguments, **options)
        with torch.no_grad():
            next(network.parameters()).view(-1)[0] = torch.nan

    monkeypatch.setattr(module, "descend", last)
    settings = {"network": LAYOUT, "out": tmp_path / "run", "progress": False, "threads": 1}
    with pytest.raises(RunError, match=rf"the {kind} ends with weights that are not finite \(.*\): training has div"):
        if kind == "network":
            recipe = Recipe(epochs=1, batch_size=64, auxiliary=False, drop_path=0.0)
            ramify.retrain(PLAIN, DATA, recipe=recipe, **settings)
        else:
            ramify.search(SPACE, DARTS(epochs=1, batch_size=32), DATA, **settings)
    assert not {"model.safetensors", "supernet.safetensors", "result.json"} & {
        path.name for path in (tmp_path / "run").iterdir()
    }


def test_a_diverged_network_is_not_evaluated(tmp_path):
    recipe = Recipe(epochs=1, batch_size=32, auxiliary=False, drop_path=0.0)
    found = ramify.retrain(PLAIN, DATA, recipe=recipe, network=LAYOUT, out=tmp_path, progress=False, threads=1)
    with torch.no_grad():
        found.network.classifier.weight.fill_(torch.nan)
    with pytest.raises(RunError, match="the loss on test is nan: training has diverged"):
        ramify.evaluate(found, DATA, threads=1)
    assert not (tmp_path / "evaluation.json").exists()
