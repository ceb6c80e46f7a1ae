"""Budgets: what reaches one is kept, the first that is reached ends the search, and every row says what was spent."""

import itertools
import time
from dataclasses import dataclass, replace

import pytest

from ramify.errors import ConfigurationError
from ramify.evaluators import InheritedWeights, TrainFromScratch
from ramify.strategies import BOHB, RandomSearch, RegularizedEvolution
from ramify.strategies.budget import Budget, Spent
from small_runs import Guess, Guessing, finish, restored, saved, session_of


def rows_of(strategy, **task):
    session = session_of("nasbench201", strategy, **task)
    return session, finish(session)


@dataclass(frozen=True, kw_only=True)
class Priced(Guess):
    """Evaluations take 3, 4, 5, 3, 4, 5, … simulated seconds, and a little real time."""

    real: float = 0.0

    def start(self, space, task):
        time.sleep(5 * self.real)  # preparation does not count
        return _Pricing(task, self.real)


class _Pricing(Guessing):
    def __init__(self, task, real):
        super().__init__(0, task)
        self.real, self.calls = real, 0

    def __call__(self, arch, epochs=None):
        self.calls += 1
        time.sleep(self.real)
        return {**super().__call__(arch, epochs), "seconds": (3.0, 4.0, 5.0)[(self.calls - 1) % 3]}


@pytest.mark.parametrize(("seconds", "evaluations", "spent"), [(6.5, 2, 7), (7, 2, 7), (7.1, 3, 12), (0.1, 1, 3)])
def test_the_evaluation_that_reaches_a_budget_is_kept(seconds, evaluations, spent):
    session, rows = rows_of(RandomSearch(seconds=seconds, evaluator=Priced()))
    assert len(rows) == evaluations
    assert rows[-1]["seconds_spent"] == session.spent.seconds == spent
    assert session.summary()["spent"] == {"evaluations": evaluations, "seconds": spent}


def test_rows_say_what_was_spent_and_the_best_so_far():
    _, rows = rows_of(RegularizedEvolution(epochs=40, seconds=1000, evaluator=Guess(epochs=4)))
    assert [row["epochs_spent"] for row in rows] == list(range(4, 41, 4))
    assert [row["seconds_spent"] for row in rows] == [4.0 * n for n in range(1, 11)]
    assert [row["best"] for row in rows] == list(itertools.accumulate((row["score"] for row in rows), max))
    assert all(row["epochs"] == 4 for row in rows)


def test_epochs_are_those_of_the_rungs():
    _, rows = rows_of(BOHB(epochs=50, evaluator=Guess(epochs=9)))
    assert [row["epochs_spent"] for row in rows] == list(itertools.accumulate(row["epochs"] for row in rows))
    assert rows[-2]["epochs_spent"] < 50 <= rows[-1]["epochs_spent"]


@pytest.mark.parametrize(
    ("budget", "count"), [({"evaluations": 7, "epochs": 100}, 7), ({"evaluations": 70, "epochs": 17}, 5)]
)
def test_the_budget_that_is_reached_first_ends_the_search(budget, count):
    assert len(rows_of(RandomSearch(**budget, evaluator=Guess(epochs=4)))[1]) == count


def test_twenty_evaluations_where_nothing_else_is_said():
    assert RandomSearch().budgets == {"evaluations": 20}
    assert replace(RandomSearch(), seconds=5.0).budgets == {"seconds": 5.0}
    assert len(rows_of(RandomSearch(evaluator=Guess()))[1]) == 20


def test_repetitions_count_and_cost_again():
    @dataclass(frozen=True, kw_only=True)
    class Same(RandomSearch):
        def ask(self, space, trials, rng):
            return space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")

    session, rows = rows_of(Same(seconds=9.0, evaluator=Priced()))
    assert [row["seconds_spent"] for row in rows] == [3, 6, 9]
    assert session.evaluation.calls == 1


def test_real_time_ends_a_search_and_is_taken_along_when_it_continues():
    strategy = RandomSearch(wall_seconds=0.25, evaluator=Priced(real=0.05))
    session = session_of("nasbench201", strategy)
    first = list(itertools.islice(session.run(), 3))
    continued = session_of("nasbench201", strategy)
    continued.load_state_dict(restored(saved(session)))
    assert continued.spent.wall_seconds == session.spent.wall_seconds >= 0.15
    rest = finish(continued)
    assert 1 <= len(rest) <= 2
    assert first[0].step == 1


def test_steps_in_all_are_estimated_from_what_is_spent():
    session = session_of("nasbench201", RandomSearch(seconds=20.0, evaluator=Guess()))
    steps = [(metrics.step, metrics.steps) for metrics in session.run()]
    assert steps == [(n, 20) for n in range(1, 21)]


def test_shares_of_several_budgets():
    budget = Budget(evaluations=10, seconds=100.0)
    assert budget.share(Spent(evaluations=5, seconds=20.0)) == 0.5
    assert budget.share(Spent(evaluations=5, seconds=120.0)) == 1.2
    assert budget.budgets == {"evaluations": 10, "seconds": 100.0}


@pytest.mark.parametrize("name", ["evaluations", "epochs", "seconds", "wall_seconds"])
def test_a_budget_is_more_than_nothing(name):
    with pytest.raises(ConfigurationError, match=f"`{name}` must be at least 1, got 0"):
        RandomSearch(**{name: 0})
    with pytest.raises(ConfigurationError, match=f"`{name}` must be above 0, got -0.5"):
        RandomSearch(**{name: -0.5})


@pytest.mark.parametrize(
    ("budget", "evaluator", "message"),
    [
        ({"epochs": 5}, InheritedWeights(epochs=1, batch_size=16), "`epochs` is no budget here"),
        ({"seconds": 5.0}, TrainFromScratch(epochs=1, batch_size=16), "`wall_seconds` counts real time"),
    ],
)
def test_what_the_evaluator_does_not_say_is_no_budget(budget, evaluator, message):
    with pytest.raises(ConfigurationError, match=message):
        session_of("nasbench201", RandomSearch(**budget, evaluator=evaluator))
