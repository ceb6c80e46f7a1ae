"""Regression: standardized losses, metrics in the units of the targets, networks that speak in these units."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score
from torch import nn

import ramify
from dense import Dense
from ramify.data import load
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.strategies import GDAS, RandomSearch
from ramify.tasks import Batch, Regression
from ramify.tasks.regression import Deviations
from ramify.training import Recipe

OPTIONS = {"device": "cpu", "threads": 1, "progress": False}


@pytest.fixture(scope="module")
def diabetes():
    return load("diabetes", targets="values")


@pytest.mark.parametrize("of", ["squared", "absolute", "huber"])
def test_losses_are_of_standardized_deviations(of, diabetes):
    task = Regression(of=of).on(diabetes)
    values, targets = torch.randn(7, 1, dtype=torch.float64) * 80, torch.randn(7, 1) * 80
    total, weight = task.loss(values, Batch(torch.zeros(7, 10), targets))
    apart = (values - targets.double()) / diabetes.target_std[0]
    each = {
        "squared": apart**2,
        "absolute": apart.abs(),
        "huber": torch.where(apart.abs() < 1, apart**2 / 2, apart.abs() - 0.5),
    }[of]
    torch.testing.assert_close(total, each.sum())
    assert weight == 7 and task.weight(Batch(values, targets)) == 7


def test_networks_speak_in_the_units_of_the_targets(diabetes):
    task = Regression().on(diabetes)
    network = task.network(nn.Linear(10, 1))
    nn.init.zeros_(network.backbone.weight)
    nn.init.ones_(network.backbone.bias)
    said = network(torch.randn(3, 10))
    torch.testing.assert_close(said, torch.full((3, 1), diabetes.target_mean[0] + diabetes.target_std[0]))
    recalled = Regression().shaped(task.shape).network(nn.Linear(10, 1))  # from a run folder, without the data
    recalled.load_state_dict(network.state_dict())
    torch.testing.assert_close(recalled(torch.zeros(3, 10)), said)


@settings(max_examples=30)
@given(st.integers(2, 30), st.integers(1, 3), st.integers(1, 4), st.floats(-1e4, 1e4))
def test_metrics_are_those_of_scikit_learn(count, values, parts, around):
    generator = torch.Generator().manual_seed(count * 7 + values)
    targets = around + torch.randn(count, values, generator=generator, dtype=torch.float64)
    said = targets + torch.randn(count, values, generator=generator, dtype=torch.float64)
    meter = Deviations(tuple(map(str, range(values))), (around,) * values)
    for part in Batch(said, targets).parts(min(parts, count)):
        meter.update(part.inputs, part)
    meter.merge()
    found = meter.compute()
    assert found["r2"] == pytest.approx(r2_score(targets, said), abs=1e-6)
    assert found["mae"] == pytest.approx(mean_absolute_error(targets, said))
    assert found["rmse"] == pytest.approx(float(((said - targets) ** 2).mean(0).sqrt().mean()))
    assert set(meter.details()["values"]) == set(map(str, range(values)))


def test_an_unknown_loss_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"`of` must be one of \['squared', 'absolute', 'huber'\], got 'cubic'"
    ):
        Regression(of="cubic")


def test_classes_are_no_values():
    with pytest.raises(
        ConfigurationError, match="Regression learns values, but digits was loaded with numbers of classes"
    ):
        Regression().on(load("digits"))


def test_it_learns(tmp_path):
    strategy = GDAS(epochs=2, batch_size=32)
    result = ramify.search(Dense(), strategy, "diabetes", task=Regression(), out=tmp_path / "run", **OPTIONS)
    assert {"r2", "validation_r2", "rmse"} <= result.history[-1].keys()
    trained = ramify.retrain(result, recipe=Recipe(epochs=10, batch_size=32), **OPTIONS)
    found = ramify.evaluate(trained, device="cpu", threads=1)
    assert found.r2 > 0.3 and 30 < found.rmse < 75  # the targets deviate by 77
    again = ramify.evaluate(tmp_path / "run", device="cpu", threads=1)
    assert again.metrics == found.metrics


def test_multi_trial_searches_score_by_the_first_metric():
    result = ramify.search(Dense(), RandomSearch(evaluations=2), "diabetes", task=Regression(), **OPTIONS)
    row = result.history[-1]
    assert {"score", "loss", "rmse", "mae"} <= row["metrics"].keys() and row["metrics"]["score"] <= 1


def test_values_that_data_say_are_learned_by_regression():
    data = load("diabetes", targets="values")
    arch = Dense().sample(rng(0))
    trained = ramify.retrain(arch, data, recipe=Recipe(epochs=1, batch_size=64), **OPTIONS)
    assert isinstance(trained.task, Regression)
