"""Learning rates: the published tables, to the last digit that they print."""

import pytest

from ramify.strategies import DARTS
from ramify.training import Recipe
from ramify.training.schedules import cosine, learning_rate


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.025), (1, 0.0249763), (25, 0.013), (49, 0.0010237)])
def test_the_search_of_darts_over_50_epochs(epoch, rate):
    assert round(learning_rate(epoch, 1, 50, lr=0.025, min_lr=0.001), 7) == rate


def test_the_twelve_epochs_of_nas_bench_201():
    published = [0.1, 0.098296, 0.093301, 0.085355, 0.075, 0.062941]
    published += [0.05, 0.037059, 0.025, 0.014645, 0.006699, 0.001704]
    recipe = Recipe(epochs=12, lr=0.1)
    assert [round(recipe.lr_at(98 * epoch, 98), 6) for epoch in range(12)] == published


def test_the_rate_is_constant_inside_an_epoch():
    rates = [learning_rate(step, 10, 5, lr=1.0) for step in range(50)]
    assert len(set(rates)) == 5
    assert all(len(set(rates[10 * epoch : 10 * epoch + 10])) == 1 for epoch in range(5))


def test_warm_up_rises_step_by_step_and_the_cosine_spans_the_rest():
    rates = [learning_rate(step, 4, 12, lr=1.0, warmup_epochs=2) for step in range(48)]
    assert rates[:8] == pytest.approx([(step + 1) / 9 for step in range(8)])
    assert rates[8] == 1.0
    assert rates[8::4] == pytest.approx([cosine(epoch / 10, 1.0, 0.0) for epoch in range(10)])
    assert min(rates[8:]) > 0  # AutoDL-Projects ends with as many epochs of rate 0


def test_linear():
    rates = [learning_rate(epoch, 1, 5, schedule="linear", lr=0.25) for epoch in range(5)]
    assert rates == pytest.approx([0.25, 0.2, 0.15, 0.1, 0.05])
    warm = [learning_rate(epoch, 1, 6, schedule="linear", lr=1.0, min_lr=0.5, warmup_epochs=2) for epoch in range(6)]
    assert warm[1:] == pytest.approx([2 / 3, 1.0, 0.875, 0.75, 0.625])


def test_exponential_and_constant():
    assert [learning_rate(e, 1, 4, schedule="exponential", lr=0.1, decay=0.97) for e in range(3)] == pytest.approx(
        [0.1, 0.097, 0.09409]
    )
    assert learning_rate(100, 1, 200, schedule="exponential", lr=0.1, min_lr=0.05, decay=0.9) == 0.05
    assert learning_rate(1, 1, 3, schedule="exponential", lr=0.1, decay=0.5, warmup_epochs=1) == 0.1
    assert {learning_rate(e, 1, 9, schedule="constant", lr=0.1) for e in range(9)} == {0.1}


def test_a_search_starts_at_the_highest_rate_and_its_settings_are_the_papers():
    strategy = DARTS()
    assert (strategy.epochs, strategy.batch_size, strategy.lr, strategy.min_lr) == (50, 64, 0.025, 0.001)
    assert (strategy.momentum, strategy.weight_decay, strategy.clip, strategy.nesterov) == (0.9, 3e-4, 5.0, False)


def test_cdarts_warms_up_on_the_cosine_of_all_epochs():
    """Its setting for ImageNet, 250 epochs from 0.5 with 5 to warm up."""
    recipe = Recipe(epochs=250, lr=0.5, warmup_epochs=5, warmup="epoch")
    rates = [recipe.lr_at(epoch * 7, 7) for epoch in range(7)]
    published = [0.1, 0.199992, 0.299953, 0.399858, 0.499684, 0.499507, 0.499290]
    assert rates == pytest.approx(published, abs=5e-7)
    assert [recipe.lr_at(epoch * 7 + 6, 7) for epoch in range(7)] == rates  # constant inside an epoch
    assert Recipe(epochs=250, lr=0.5, warmup="epoch").lr_at(3, 7) == 0.5
