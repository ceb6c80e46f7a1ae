"""Random search: uniform draws, repetitions for free, the best one wins."""

import itertools
from collections import Counter
from dataclasses import dataclass

import pytest

from ramify import Architecture
from ramify.errors import ConfigurationError
from ramify.evaluators import Evaluator
from ramify.spaces import NASBench201
from ramify.strategies import RandomSearch
from small_runs import finish, images, restored, saved, work_of

SPACE = NASBench201(nodes=2)  # five members
SCORES = {"none": 0.1, "skip_connect": 0.7, "nor_conv_1x1": 0.7, "nor_conv_3x3": 0.3, "avg_pool_3x3": 0.2}


@dataclass(frozen=True, kw_only=True)
class Table(Evaluator):
    """Look up `SCORES` and count how often."""

    def start(self, space, task):
        return _Reading()


class _Reading:
    fidelities = ()
    metrics = ("score", "asked")
    inputs = images(10, 1, 8, 8)

    def __init__(self):
        self.asked = Counter()

    def prepare(self):
        yield from ()

    def __call__(self, arch, epochs=None):
        self.asked[arch] += 1
        return {"score": SCORES[arch["1<-0"]], "asked": float(self.asked.total())}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def searching(evaluations=40, seed=0):
    return RandomSearch(evaluations=evaluations, evaluator=Table()).session(SPACE, work_of({}, seed=seed))


def test_an_architecture_is_evaluated_once():
    session = searching()
    rows = finish(session)
    assert len(rows) == len(session.trials) == 40
    assert set(session.evaluation.asked.values()) == {1}
    assert len(session.evaluation.asked) == 5
    first = {}
    for trial in session.trials:
        assert trial.metrics == first.setdefault(trial.architecture, trial.metrics)


@pytest.mark.parametrize("seed", range(4))
def test_the_first_of_the_best_wins(seed):
    session = searching(seed=seed)
    rows = finish(session)
    scores = [trial.score for trial in session.trials]
    assert scores.count(max(scores)) > 1
    assert session.architecture() == session.trials[scores.index(max(scores))].architecture
    assert [row["best"] for row in rows] == [max(scores[: number + 1]) for number in range(40)]
    assert [row["score"] for row in rows] == scores
    assert [row["trial"] for row in rows] == list(range(40))
    assert Architecture.from_json(rows[3]["architecture"]) == session.trials[3].architecture
    assert rows[3]["architecture"]["notation"] == SPACE.format(session.trials[3].architecture)


def test_draws_are_uniform_and_follow_from_the_seed():
    session, same, other = (searching(1000, seed) for seed in (0, 0, 1))
    drawn = [[trial.architecture for trial in s.trials] for s in (session, same, other) if finish(s)]
    assert drawn[0] == drawn[1] != drawn[2]
    counts = Counter(drawn[0])
    assert len(counts) == 5
    assert all(150 < count < 250 for count in counts.values())  # 200 ± 4 standard deviations


def test_a_continuation_remembers_what_is_known():
    session = searching()
    rows = [metrics.values for metrics in itertools.islice(session.run(), 17)]
    known = {trial.architecture for trial in session.trials}
    continued = searching()
    continued.load_state_dict(restored(saved(session)))
    rows += finish(continued)
    undisturbed = searching()
    expected = finish(undisturbed)
    for row in (*rows, *expected):
        row["metrics"].pop("asked")  # this evaluator counts from the continuation
    assert rows == expected
    assert continued.architecture() == undisturbed.architecture()
    assert not known & set(continued.evaluation.asked)


def test_at_least_one_evaluation():
    with pytest.raises(ConfigurationError, match="`evaluations` must be at least 1, got 0"):
        RandomSearch(evaluations=0)
