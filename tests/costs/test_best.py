"""The best choices under limits, against all choices that there are."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.costs.best import best_choices

NUMBERS = st.integers(-3, 9).map(float)


@st.composite
def problems(draw):
    """Up to four decisions of up to four values, up to two limits, and how many choices are wanted."""
    bounds = draw(st.integers(0, 2))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    scores = [draw(st.lists(NUMBERS, min_size=size, max_size=size)) for size in sizes]
    row = st.lists(NUMBERS, min_size=bounds, max_size=bounds)
    costs = [np.array(draw(st.lists(row, min_size=size, max_size=size))).reshape(size, bounds) for size in sizes]
    limits = draw(st.lists(st.integers(-5, 25).map(float), min_size=bounds, max_size=bounds))
    return scores, costs, limits, draw(st.integers(1, 6))


def total(rows, picks):
    return sum(row[index] for row, index in zip(rows, picks, strict=True))


@given(problems())
@settings(max_examples=300, deadline=None)
def test_they_are_the_best_of_all_that_keep_the_limits(problem):
    scores, costs, limits, count = problem
    every = itertools.product(*(range(len(row)) for row in scores))
    allowed = [picks for picks in every if (total(costs, picks) <= np.array(limits)).all()]
    best = sorted((total(scores, picks) for picks in allowed), reverse=True)[:count]
    found = best_choices(scores, costs, limits, count)
    assert len(set(found)) == len(found) and set(found) <= set(allowed)
    assert [total(scores, picks) for picks in found] == pytest.approx(best)


def test_a_score_of_minus_infinity_is_taken_last():
    scores, costs = [[0.0, -np.inf], [1.0, 0.5]], [np.array([[5.0], [0.0]]), np.array([[1.0], [0.0]])]
    found = best_choices(scores, costs, [10.0], 4)
    assert found[:2] == [(0, 0), (0, 1)] and set(found[2:]) == {(1, 0), (1, 1)}
    assert best_choices(scores, costs, [1.0]) == [(1, 0)]
