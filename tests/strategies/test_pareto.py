"""Fronts and their hypervolume, against definitions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import ConfigurationError
from ramify.strategies.pareto import Front, dominates, front, hypervolume, normalized_hypervolume


def points(objectives, most=12):
    value = st.integers(0, 5).map(float)
    return st.lists(st.tuples(*[value] * objectives), max_size=most)


def counted(found, reference):
    """The hypervolume of points with whole coordinates: unit cells that are dominated."""
    cells = itertools.product(*(range(int(end)) for end in reference))
    return float(sum(any(all(x <= c for x, c in zip(p, cell, strict=True)) for p in found) for cell in cells))


@given(points(2))
def test_hypervolume_of_two_objectives(found):
    assert hypervolume(found, (4, 5)) == counted(found, (4, 5))


@given(points(3))
def test_hypervolume_of_three_objectives(found):
    assert hypervolume(found, (4, 5, 6)) == counted(found, (4, 5, 6))


@given(points(4, 8))
def test_hypervolume_of_four_objectives(found):
    assert hypervolume(found, (4, 3, 5, 4)) == counted(found, (4, 3, 5, 4))


def test_hypervolume_by_hand():
    assert hypervolume([(1, 3), (2, 1)], (4, 4)) == 3 + 2 * 2
    assert hypervolume([(0.5,)], (2,)) == 1.5
    assert hypervolume([], (1, 1)) == hypervolume([(1, 0)], (1, 1)) == hypervolume([(2, 2)], (1, 1)) == 0
    assert normalized_hypervolume([(0.1, 50), (0.2, 10)], (0.4, 100)) == pytest.approx((0.3 * 50 + 0.2 * 40) / 40)
    assert normalized_hypervolume([(0, 0)], (0.2, 3)) == 1.0


@given(points(3))
def test_the_front_is_what_nothing_dominates(found):
    chosen = front(found)
    first = {found.index(point) for point in found if not any(dominates(other, point) for other in found)}
    assert set(chosen) == first
    assert [found[at] for at in chosen] == sorted(found[at] for at in chosen)


@given(points(2))
def test_a_front_that_grows_is_the_front_of_all(found):
    grown = Front((4.0, 5.0))
    for number, point in enumerate(found):
        before = len(grown), grown.hypervolume
        if not grown.add(point, number):
            assert (len(grown), grown.hypervolume) == before
    assert grown.members == front(found)
    assert len(grown) == len(grown.members)
    assert grown.hypervolume == pytest.approx(counted(found, (4, 5)) / 20)


def test_without_a_reference_there_is_no_hypervolume():
    grown = Front()
    assert grown.add((1.0, 2.0), 7)
    assert (grown.members, grown.hypervolume) == ([7], None)


def test_domination():
    assert dominates((1, 2), (1, 3))
    assert not dominates((1, 2), (1, 2))
    assert not dominates((1, 4), (2, 3))


def test_a_reference_point_is_positive():
    with pytest.raises(ConfigurationError, match="positive values"):
        normalized_hypervolume([(0, 0)], (1, 0))
