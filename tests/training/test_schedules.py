"""Learning rates: the published tables, to the last digit that they print."""

import pytest

from ramify import recipes
from ramify.errors import ConfigurationError
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


# Published trainings at given steps, by the formulas of their programs

IMAGENET = 1_281_167


def rates(name, steps_per_epoch, *steps):
    return [recipes.load(name)["recipe"].lr_at(step, steps_per_epoch) for step in steps]


@pytest.mark.parametrize("name", ["spos-retrain-mobile", "fairnas-retrain", "proxylessnas-retrain"])
def test_chains_fall_with_every_step(name):
    """0.5·(1 - t/T), where T is 240 epochs of 1251 steps: 300,240, not the 300,000 of the program."""
    found = rates(f"{name}-imagenet", IMAGENET // 1024, 0, 1, 1251, 150_120, 300_239)
    assert found == pytest.approx([0.5, 0.4999983347, 0.4979166667, 0.25, 1.6653344e-6], rel=1e-8)
    published = [0.5 * (1 - step / 300_000) for step in (1, 1251, 150_120)]
    assert found[1:4] == pytest.approx(published, abs=3e-4)


@pytest.mark.parametrize(("name", "lr"), [("abs", 0.25), ("p-darts", 0.5), ("pc-darts", 0.5)])
def test_the_last_five_epochs_of_p_darts(name, lr):
    """lr·(245 - e)/245, then lr·(250 - e)/(245·5); with 1024 images, the first five epochs take fifths of it."""
    epochs = (5, 100, 200, 244, 245, 246, 249)
    falling = [lr * (245 - epoch) / 245 for epoch in epochs[:4]]
    slow = [lr * (250 - epoch) / (245 * 5) for epoch in epochs[4:]]
    assert rates(f"{name}-retrain-imagenet", 3, *(3 * e for e in epochs)) == pytest.approx(falling + slow)
    assert slow == pytest.approx([lr / 245, lr * 4 / 1225, lr / 1225])
    first = [1, 244 / 245] if name == "abs" else [1 / 5, 2 / 5 * 244 / 245]
    assert rates(f"{name}-retrain-imagenet", 3, 0, 5) == pytest.approx([lr * share for share in first])


def test_several_devices_of_h_das():
    """Its example: 8·105 images, 0.8 at most, 15,251 of 381,299 steps to warm up, 0.0008 first, 0.003951 last."""
    steps, warm = 1_525_000, 61_000  # an epoch of 1525.2 steps, a thousandth each
    released = recipes.load("h-das-retrain-stage-imagenet-distributed-released")["recipe"]
    found = [released.lr_at(step, steps // 250) for step in (0, warm // 2, warm, steps // 2, steps - 1)]
    assert found == pytest.approx([0.0008, 0.4004, 0.8, 0.4505, 0.003951], abs=5e-5)
    mended = recipes.load("h-das-retrain-stage-imagenet-distributed")["recipe"]
    found = [mended.lr_at(step, steps // 250) for step in (0, warm // 2, warm, steps - 1)]
    assert found == pytest.approx([0.0008, 0.4004, 0.8, 0.0008], abs=1e-6)


def test_chains_of_cdarts_warm_up_from_a_rate():
    """timm: 1e-6 + (0.064 - 1e-6)·e/3 in the first three epochs, then the cosine of all 500."""
    found = rates("cdarts-retrain-chain-imagenet", 2, 0, 1, 2, 4, 6, 500)
    assert found == pytest.approx([1e-6, 1e-6, 0.021334, 0.042667, cosine(3 / 500, 0.064, 0), 0.032], rel=1e-4)


def test_the_last_epochs_of_autodl_projects():
    """The cosine of 295 epochs, cut off where the last five are left, whose rate is 0."""
    recipe = Recipe(epochs=300, lr=0.025, warmup_epochs=5, last_epochs=5, ending="lowest")
    found = [recipe.lr_at(epoch * 4, 4) for epoch in (5, 152, 294, 295, 299)]
    assert found == pytest.approx([0.025, cosine(147 / 295, 0.025, 0), cosine(289 / 295, 0.025, 0), 0, 0])
    whole = Recipe(epochs=300, lr=0.025, warmup_epochs=5)
    assert whole.lr_at(294 * 4, 4) == found[2] and whole.lr_at(299 * 4, 4) > 0
    assert recipes.load("autodl-retrain-cifar10")["recipe"].last_epochs == 0  # as meant


def test_nats_bench_is_one_cosine_for_every_length():
    for epochs in (1, 12, 90):
        found = rates(f"natsbench-size-retrain-{epochs}", 2, *(2 * epoch for epoch in range(epochs)))
        assert found == pytest.approx([cosine(epoch / epochs, 0.1, 0) for epoch in range(epochs)])


def test_the_last_epochs_fall_step_by_step_where_the_schedule_does():
    recipe = Recipe(epochs=6, lr=1.0, schedule="linear", stepwise=True, last_epochs=2)
    found = [recipe.lr_at(step, 2) for step in range(12)]
    assert found == pytest.approx([1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 1 / 8, 3 / 32, 2 / 32, 1 / 32])


def test_segmentation_of_cdarts():
    """Check 17 of its specification: exponential warm-up of 1000 steps, then polynomial, 4000 epochs of 93 steps."""
    recipe = Recipe(
        epochs=4000,
        lr=0.05,
        schedule="polynomial",
        stepwise=True,
        warmup="exponential",
        warmup_lr=5e-6,
        warmup_steps=1000,
    )
    found = [recipe.lr_at(step, 93) for step in (0, 500, 1000, 186_000)]
    assert found == pytest.approx([5e-6, 5e-4, 0.05, 0.026859], rel=2e-5)
    assert 0 < recipe.lr_at(371_999, 93) < 1e-5
    plain = Recipe(epochs=10, lr=1.0, schedule="polynomial", power=1.0)
    assert [plain.lr_at(step, 1) for step in (0, 5)] == pytest.approx([1.0, 0.5])


def test_detection_of_cdarts():
    """12 epochs of 7330 steps: from a third in 500 steps, a tenth from epochs 8 and 11 on."""
    found = rates("cdarts-detect-coco", 7330, 0, 250, 500, 8 * 7330 - 1, 8 * 7330, 11 * 7330, 12 * 7330 - 1)
    assert found == pytest.approx([0.02 / 3, 0.04 / 3, 0.02, 0.02, 0.002, 0.0002, 0.0002])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"warmup": "exponential"}, "needs a `warmup_lr` above 0"),
        ({"schedule": "steps"}, "need each other"),
        ({"milestones": (2,)}, "need each other"),
        ({"schedule": "steps", "milestones": (3, 2)}, "must ascend"),
        ({"schedule": "steps", "milestones": (600,)}, "must ascend"),
        ({"warmup_steps": 3, "warmup_epochs": 1}, "the same in two ways"),
        ({"warmup_steps": 3, "warmup": "epoch"}, "the same in two ways"),
        ({"power": -1.0}, "`power`"),
    ],
)
def test_warm_ups_that_cannot_be(options, says):
    with pytest.raises(ConfigurationError, match=says):
        Recipe(**options)
