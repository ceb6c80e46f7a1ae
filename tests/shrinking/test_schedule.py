"""When operators go and how the learning rate falls: the published settings, which are recipes."""

import pytest

from ramify import recipes
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.shrinking import Candidates, Score, Shrinking, drop_from_each, drop_lowest, size_of
from ramify.shrinking.candidates import without


def replay(name, seed=0):
    """Shrink with random scores, without any training: sizes before every iteration and the iteration of the reset."""
    loaded = recipes.load(name)
    settings, candidates = loaded["shrinking"], Candidates(loaded["space"])
    lists, sizes, reset, iteration = [list(left) for left in candidates.start], [], None, 0
    draw = rng(seed, name)
    while size_of(lists) > settings.threshold and iteration < settings.iterations:
        sizes.append(size_of(lists))
        scores = {
            (at, op): Score(draw.random(), 0.0, 1000) for at, left in enumerate(lists) for op in left if len(left) > 1
        }
        drop = drop_lowest(lists, scores, settings.drop) if settings.rule == "global" else drop_from_each(lists, scores)
        lists = without(lists, drop)
        if reset is None and settings.resets(iteration, len(lists)):
            reset = iteration + 1
        iteration += 1
    epochs = settings.epochs_before(iteration - 1)
    return {"sizes": [*sizes, size_of(lists)], "iterations": iteration, "epochs": epochs, "reset": reset} | {
        "left": sum(map(len, lists))
    }


def test_fairnas():
    found = replay("abs-fairnas")
    assert found["sizes"] == [6**19, 5**19, 4**19, 3**19, 524_288]
    assert (found["iterations"], found["epochs"], found["reset"]) == (4, 115, 3)


def test_darts():
    found = replay("abs-darts")
    assert found["sizes"] == [ops**14 for ops in (8, 7, 6, 5, 4, 3, 2)]
    assert (found["iterations"], found["epochs"], found["reset"]) == (6, 150 + 5 * 20, None)
    assert recipes.load("abs-darts")["shrinking"].warmup_epochs == 55


def test_mobile():
    for seed in range(20):
        found = replay("abs-mobile", seed)
        assert 12 <= found["iterations"] <= 15
        assert found["reset"] == 8
        if found["iterations"] == 14:
            assert (found["epochs"], found["left"]) == (165, 43)
    assert found["sizes"][0] == 221_502_229_807_900_608


def test_nasbench201_drops_20_of_30_at_once():
    found = replay("abs-nasbench201")
    assert (found["iterations"], found["epochs"], found["left"]) == (1, 100, 10)


def rates(name, *epochs):
    settings = recipes.load(name)["shrinking"]
    warmup = settings.warmup_epochs
    return [settings.lr_at((warmup + epoch) * 2404, 2404) for epoch in epochs]


def test_learning_rates():
    assert rates("abs-mobile", 0, 100, 165, 250) == pytest.approx([0.25, 0.15020, 0.08533, 0.0005], abs=5e-6)
    assert rates("abs-darts", 150, 250, 400) == pytest.approx([0.12519, 0.07531, 0.0005], abs=5e-6)
    assert rates("abs-mobile", 400) == pytest.approx([0.0005])
    assert rates("abs-nasbench201", 0, 50, 100) == pytest.approx([0.025, 0.013, 0.001])


def test_the_warm_up_has_a_line_of_its_own():
    settings = Shrinking(warmup_epochs=10, lr=0.2, min_lr=0.0, epochs=100)
    assert [settings.lr_at(step, 1) for step in (0, 5, 10, 60)] == pytest.approx([0.2, 0.1, 0.2, 0.1])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"first_epochs": 0}, "`first_epochs` must be at least 1"),
        ({"rule": "layers"}, "`rule` must be one of"),
        ({"pools": "all"}, "`pools` must be one of"),
        ({"drawing": "depth"}, "`drawing` must be one of"),
        ({"vector": "edges"}, "`vector` must be one of"),
        ({"samples": 10}, "`min_samples` must be at most `samples`"),
        ({"cost": "flops"}, "unknown `cost` 'flops'"),
        ({"drawing": "below-limit"}, "needs a limit"),
        ({"reset_after": -1}, "`reset_after` must not be negative"),
        ({"lr": -1.0}, "`lr` must be a number from 0"),
    ],
)
def test_settings_that_cannot_work(settings, match):
    with pytest.raises(ConfigurationError, match=match) as error:
        Shrinking(**settings)
    assert "\n" not in str(error.value)
