"""Steps measured in turn: ratios of neighbors, and the number of threads that is fastest."""

import pytest
import torch

from ramify.run import speed
from ramify.run.speed import Ratio, by_threads, fastest_count, in_turn, thread_counts


def test_steps_are_taken_in_turn_and_equally_often(monkeypatch):
    clock, taken = iter(range(1000)), []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    times = in_turn({"a": lambda: taken.append("a"), "b": lambda: taken.append("b")}, seconds=12)
    assert times == {"a": [1, 1, 1], "b": [1, 1, 1]}
    assert taken == ["a", "b"] * 4, "the first of each is not counted"


def test_each_is_taken_once_however_long_it_takes():
    assert [len(times) for times in in_turn({1: lambda: None, 2: lambda: None}, seconds=0).values()] == [1, 1]


def test_a_ratio_has_its_quartiles():
    ratio = Ratio.of([2.0, 4.0, 6.0, 8.0, 10.0], [2.0] * 5)
    assert (ratio.low, ratio.median, ratio.high) == (1.5, 3.0, 4.5)
    assert str(ratio) == "3.00 [1.50–4.50]"
    assert Ratio.of([3.0], [2.0]) == Ratio(1.5, 1.5, 1.5)


@pytest.mark.parametrize(("usable", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_threads_worth_a_trial(usable, counts, monkeypatch):
    monkeypatch.setattr(speed, "usable_cores", lambda: usable)
    assert thread_counts() == counts


def test_a_step_by_threads():
    before, seen = torch.get_num_threads(), []
    times = by_threads(lambda: seen.append(torch.get_num_threads()), seconds=0, counts=[1, 2])
    assert seen == [1, 2, 1, 2] and list(times) == [1, 2]
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError):
        by_threads(lambda: torch.zeros(2) @ torch.zeros(3), seconds=0, counts=[2])
    assert torch.get_num_threads() == before


def test_more_threads_are_taken_only_where_they_gain():
    assert fastest_count({1: [1.0], 2: [0.97], 4: [0.96]}) == 1
    assert fastest_count({1: [1.0], 2: [0.6], 4: [0.59]}) == 2
    assert fastest_count({4: [0.2, 9.0, 0.2], 1: [1.0, 1.0, 1.0], 2: [0.6]}) == 4
