"""A problem whose best operation is known is solved by every strategy."""

import pytest
import torch

import planted
from planted import LAG, OPERATIONS, PLANTED, SIDE
from ramify.strategies import STRATEGIES


def windows(image, size):
    return image.unfold(0, size, 1).unfold(1, size, 1).reshape(-1, size * size)


@pytest.mark.parametrize("rows", [True, False], ids=planted.Textures.classes)
def test_no_window_of_the_lag_shows_a_toss_twice(rows):
    """So all tosses in it are independent, and it looks the same in both classes; one pixel more gives them away."""
    which = planted.texture(torch.arange(SIDE * LAG).view(SIDE, LAG), rows)
    assert all(len(window.unique()) == LAG * LAG for window in windows(which, LAG))
    assert all(len(window.unique()) < (LAG + 1) ** 2 for window in windows(which, LAG + 1))


def test_one_edge_is_searched_and_everything_else_is_fixed():
    space = planted.space()
    members = [
        space.architecture([value, *(d.choices[0] for d in space.decisions[1:])])
        for value in space.decisions[0].choices
    ]
    assert space.size == len(members) == len(OPERATIONS) - 1
    assert [planted.found(arch) for arch in members] == [op for op in OPERATIONS if op != "none"]


def member(op):
    space = planted.space()
    value = next(value for value in space.decisions[0].choices if value[1] == (op, 1))
    return space.architecture([value, *(d.choices[0] for d in space.decisions[1:])])


def test_the_planted_operation_tells_the_classes_apart_and_others_guess():
    assert planted.accuracy(member(PLANTED), seed=0) > 0.95
    assert planted.accuracy(member("nor_conv_3x3"), seed=0) < 0.58


@pytest.mark.slow
@pytest.mark.parametrize("op", [op for op in OPERATIONS if op not in ("none", PLANTED)])
def test_every_other_member_guesses(op):
    assert planted.accuracy(member(op), seed=1, epochs=8) < 0.58  # 5 standard deviations above one half


def test_every_strategy_has_its_settings():
    missing = STRATEGIES.keys() - {type(strategy).__name__ for strategy in planted.STRATEGIES.values()}
    assert not missing, (
        f"give {sorted(missing)} settings in planted.py, run it for them, and add them to docs/planted.md"
    )


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "RSPS" else pytest.mark.slow) for n in planted.QUICK]
)
def test_the_planted_operation_is_found_among_three(name):
    assert planted.search(planted.QUICK[name], seed=0, operations=planted.FEW) == PLANTED


@pytest.mark.slow
@pytest.mark.parametrize("name", planted.STRATEGIES)
def test_nine_of_ten_searches_find_the_planted_operation(name):
    found = [planted.search(planted.STRATEGIES[name], seed) for seed in range(10)]
    assert found.count(PLANTED) >= 9, found
