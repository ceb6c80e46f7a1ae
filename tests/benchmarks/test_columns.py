"""What a column states, and what is refused."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.benchmarks import Column
from ramify.errors import ConfigurationError

PLAIN = {"name": "valid", "metric": "accuracy", "data": "cifar10", "split": "valid", "schedule": 12}


@pytest.mark.parametrize(
    ("further", "arguments", "words"),
    [
        ({}, {}, "12 epochs, seeds unknown"),
        ({"seeds": (111,)}, {}, "12 epochs, seed 111"),
        ({"seeds": (111, 777)}, {}, "12 epochs, mean of seeds 111 and 777"),
        ({"seeds": (1, 2, 3)}, {"seed": 2}, "12 epochs, seed 2"),
        ({"seeds": (1, 2, 3)}, {}, "12 epochs, mean of seeds 1, 2 and 3"),
        ({"epochs": (6, 12)}, {"epochs": 6}, "epoch 6 of 12, seeds unknown"),
        ({"schedule": 1}, {}, "1 epoch, seeds unknown"),
        ({"approximate": True}, {}, "12 epochs, approximate"),
    ],
)
def test_a_value_is_put_in_words(further, arguments, words):
    assert Column(**(PLAIN | further)).says(**arguments) == words


def test_defaults_follow_from_the_rest():
    column = Column(**PLAIN)
    assert (column.unit, column.epochs, column.layers, column.higher_is_better) == ("", (12,), (1, 1), True)
    assert column.settled(np.array([0.5, np.nan, 1.5])).unit == "percent"
    loss = Column(**(PLAIN | {"metric": "loss", "seeds": (1, 2), "per_seed": True, "epochs": (1, 12)}))
    assert (loss.unit, loss.layers, loss.higher_is_better) == ("nats", (2, 2), False)


@pytest.mark.filterwarnings("error")
def test_values_that_are_too_large_have_a_unit_and_a_fault():
    values = np.array([60.0, 70.0, 1.7e308])
    column = Column(**PLAIN).settled(values)
    assert (column.unit, column.fault(values)[0]) == ("percent", 2)


@pytest.mark.parametrize(
    ("metric", "unit", "value", "score"),
    [
        ("accuracy", "percent", 81, 0.81),
        ("accuracy", "fraction", 0.81, 0.81),
        ("error", "percent", 19, 0.81),
        ("error", "fraction", 0.19, 0.81),
        ("score", "score", 0.81, 0.81),
        ("score", "score", -3.5, -3.5),
    ],
)
def test_a_score_is_an_accuracy_as_a_fraction_or_itself(metric, unit, value, score):
    assert Column(**(PLAIN | {"metric": metric, "unit": unit})).score(value) == pytest.approx(score)


@given(
    st.fixed_dictionaries(
        {
            "metric": st.sampled_from(["accuracy", "error", "score", "loss", "seconds"]),
            "schedule": st.integers(20, 200),
            "epochs": st.sets(st.integers(1, 20)).map(lambda found: tuple(sorted(found))),
            "seeds": st.lists(st.integers(0, 999), unique=True, min_size=1).map(tuple),
            "per_seed": st.booleans(),
            "source": st.text(),
        }
    )
)
def test_columns_travel(values):
    column = Column(**(PLAIN | values))
    assert Column.from_dict(json.loads(json.dumps(column.to_dict()))) == column


@pytest.mark.parametrize(
    ("metric", "values", "fault"),
    [
        ("score", [-3.5, 0.0, math.nan, 250.0], None),
        ("score", [0.0, -math.inf], (1, "-inf in column 'valid' cannot be: score is finite")),
        ("accuracy", [0.0, math.nan, 100.0], None),
        ("accuracy", [0.0, -0.5], (1, "-0.5 in column 'valid' cannot be: accuracy in percent is within 0 … 100")),
        ("loss", [-0.5, 3.0], (0, "-0.5 in column 'valid' cannot be: loss is 0 or more, and finite")),
    ],
)
def test_values_that_cannot_be_are_found(metric, values, fault):
    column = Column(**(PLAIN | {"metric": metric, "unit": "percent" if metric == "accuracy" else ""}))
    assert column.fault(np.array(values)) == fault
    assert column.has_score == (metric != "loss")


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"name": ""}, "needs a name without spaces, got ''"),
        ({"name": "a b"}, "needs a name without spaces"),
        ({"metric": "acc"}, "unknown metric 'acc'; did you mean 'accuracy'"),
        ({"unit": "nats"}, "the unit of accuracy is percent or fraction, got 'nats'"),
        ({"epochs": (2, 1)}, r"`epochs` must ascend within 1 … 12, got \[2, 1\]"),
        ({"epochs": (13,)}, "`epochs` must ascend within 1 … 12"),
        ({"schedule": 0}, "`epochs` must ascend within 1 … 0"),
        ({"seeds": (1, 1)}, "`seeds` must be different"),
        ({"per_seed": True}, "has values per seed, but names no `seeds`"),
    ],
)
def test_what_cannot_be_is_refused(further, message):
    with pytest.raises(ConfigurationError, match=message):
        Column(**(PLAIN | further))


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (PLAIN | {"sceds": [1]}, "unknown field 'sceds' of a column; did you mean 'seeds'"),
        (PLAIN | {"schedule": "12"}, "'schedule' of a column must be a whole number, got '12'"),
        (PLAIN | {"seeds": 3}, "'seeds' of a column must be a list of whole numbers, got 3"),
        (PLAIN | {"name": 3}, "'name' of a column must be a text, got 3"),
        ({k: v for k, v in PLAIN.items() if k != "split"}, "a column must state 'split'"),
    ],
)
def test_a_damaged_description_is_refused(plain, message):
    with pytest.raises(ConfigurationError, match=message):
        Column.from_dict(plain)
