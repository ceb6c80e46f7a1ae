"""A network that was trained on rows of a table is measured on tables whose columns stand otherwise."""

import csv
import random

import pytest

import ramify
from dense import Dense
from ramify.data import DataSpec
from ramify.errors import RamifyError
from ramify.tasks import Regression
from ramify.training import Recipe

COLUMNS = ("width", "height", "weight", "price", "age")


def table(path, columns, seed, count=60):
    """Write a table whose two values follow from its three features."""
    rng = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for _ in range(count):
            width, height, weight = (rng.gauss(0, 1) for _ in range(3))
            values = {"price": 1000 + 50 * width - 20 * height, "age": 3 * weight + height}
            writer.writerow({"width": width, "height": height, "weight": weight, **values})
    return DataSpec(source=str(path), label_column=("price", "age"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    data = table(folder / "train.csv", COLUMNS, 0)
    arch = Dense().sample(random.Random(0))
    recipe = Recipe(epochs=4, batch_size=16, lr=0.05)
    options = {"device": "cpu", "threads": 1, "progress": False}
    ramify.retrain(arch, data, task=Regression(), out=folder / "run", recipe=recipe, **options)
    return folder / "run"


def measured(run, data):
    return ramify.evaluate(run, data, device="cpu", threads=1)


def test_columns_are_known_by_their_names(trained, tmp_path):
    found = measured(trained, table(tmp_path / "same.csv", COLUMNS, 1))
    assert found.metrics.keys() == {"r2", "rmse", "mae"} and found.images == 60
    moved = ("age", "weight", "price", "width", "height")
    again = measured(trained, table(tmp_path / "moved.csv", moved, 1))
    assert again.metrics == pytest.approx(found.metrics, rel=1e-6)
    assert again.loss == pytest.approx(found.loss, rel=1e-6)


def test_a_missing_feature_is_named(trained, tmp_path):
    with pytest.raises(RamifyError, match="lacks the features weight, which the network was trained on"):
        measured(trained, table(tmp_path / "short.csv", ("width", "height", "price", "age"), 1))


def test_a_missing_value_is_named(trained, tmp_path):
    table(tmp_path / "one.csv", ("width", "height", "weight", "price"), 1)
    with pytest.raises(RamifyError, match="lacks the values age, which the network was trained on"):
        measured(trained, DataSpec(source=str(tmp_path / "one.csv"), label_column="price"))
