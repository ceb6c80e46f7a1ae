"""BOHB: rungs and brackets as published, the best of a rung go on, and the winner comes from the highest fidelity."""

from dataclasses import replace

import pytest

from ramify.errors import ConfigurationError, RamifyError
from ramify.spaces import NASBench201
from ramify.strategies import BOHB
from ramify.strategies.bohb import brackets, rungs
from small_runs import Guess, Guessing, finish, session_of


@pytest.mark.parametrize(
    ("fidelities", "least", "eta", "expected"),
    [
        (range(1, 13), 1, 3, [1, 4, 12]),
        (range(1, 13), 2, 3, [4, 12]),
        (range(1, 13), 1, 4, [3, 12]),
        (range(1, 13), 1, 2, [1, 3, 6, 12]),
        (range(1, 82), 1, 3, [1, 3, 9, 27, 81]),
        ((12,), 1, 3, [12]),
        ((1, 12, 200), 1, 3, [1, 12, 200]),
        ((12, 200), 1, 3, [12, 200]),
        ((), 1, 3, [None]),
    ],
    ids=str,
)
def test_rungs(fidelities, least, eta, expected):
    assert rungs(fidelities, least, eta) == expected


@pytest.mark.parametrize(
    ("levels", "eta", "expected"),
    [
        (3, 3, [[9, 3, 1], [3, 1], [3]]),
        (1, 3, [[1]]),
        (2, 3, [[3, 1], [2]]),
        (4, 2, [[8, 4, 2, 1], [4, 2, 1], [4, 2], [4]]),
        (5, 3, [[81, 27, 9, 3, 1], [27, 9, 3, 1], [9, 3, 1], [6, 2], [5]]),
    ],
    ids=str,
)
def test_brackets(levels, eta, expected):
    assert brackets(levels, eta) == expected


def finished(strategy=None, seed=0):
    session = session_of("nasbench201", strategy or BOHB(evaluations=60, evaluator=Guess(epochs=12)), seed=seed)
    finish(session)
    return session


def test_the_best_of_a_rung_go_on():
    trials = finished().trials
    epochs = [trial.epochs for trial in trials]
    assert epochs == [*[1] * 9, *[4] * 3, 12, *[4] * 3, 12, *[12] * 3] * 3
    for cycle in range(0, 60, 20):
        for below, above in ((range(9), range(9, 12)), (range(9, 12), range(12, 13)), (range(13, 16), range(16, 17))):
            ranked = sorted((trials[cycle + n] for n in below), key=lambda t: (-t.score, t.number))
            promoted = [trials[cycle + n].architecture for n in above]
            assert promoted == [trial.architecture for trial in ranked[: len(promoted)]]


def test_the_winner_was_evaluated_at_the_highest_fidelity():
    class Optimistic(Guessing):
        def __call__(self, arch, epochs=None):
            found = super().__call__(arch, epochs)
            return {**found, "score": found["score"] + (0.5 if epochs < 12 else 0)}

    class Evaluator(Guess):
        def start(self, space, task):
            return Optimistic(12, task)

    session = finished(BOHB(evaluations=60, evaluator=Evaluator()))
    winner = session.trials.best
    assert winner.epochs == 12
    assert winner.score == max(trial.score for trial in session.trials if trial.epochs == 12)
    assert winner.score < max(trial.score for trial in session.trials)
    assert session.architecture() == winner.architecture


def test_the_model_finds_better_architectures_than_chance():
    model = BOHB(evaluations=60, evaluator=Guess(epochs=1))
    chance = replace(model, random_fraction=1.0)
    late = [
        sum(trial.score for seed in range(3) for trial in finished(strategy, seed).trials[30:]) / 90
        for strategy in (model, chance)
    ]
    assert late[0] > late[1] + 0.15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta": 1}, "`eta` must be at least 2, got 1"),
        ({"min_epochs": 0}, "`min_epochs` must be at least 1"),
        ({"startup": 0}, "`startup` must be at least 1"),
        ({"random_fraction": 1.5}, r"`random_fraction` must be in \[0, 1\]"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        BOHB(**options)


def test_a_member_that_failed_is_not_proposed_for_ever():
    class Half(Guessing):
        def __call__(self, arch, epochs=None):
            if "none" in NASBench201().format(arch):
                raise RamifyError("missing")
            return super().__call__(arch, epochs)

    class Evaluator(Guess):
        def start(self, space, task):
            return Half(1, task)

    trials = finished(BOHB(evaluations=60, evaluator=Evaluator(), startup=3)).trials
    failed = [trial.architecture for trial in trials if trial.failed]
    assert failed and len(set(failed)) == len(failed)
