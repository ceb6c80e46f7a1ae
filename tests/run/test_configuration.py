"""Settings as plain values: what is written can be read back, and what differs is named."""

from dataclasses import make_dataclass
from pathlib import Path

import numpy as np
import pytest

from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.evaluators import TrainFromScratch
from ramify.run.configuration import described, differences, fields_of
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import GDAS, SPOS, RandomSearch
from ramify.training import Recipe


def test_objects_are_described_by_class_and_arguments():
    assert described(NASBench201(nodes=3)) == {
        "class_path": "ramify.spaces.NASBench201",
        "init_args": {
            "nodes": 3,
            "operations": ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"],
        },
    }
    found = described(RandomSearch(evaluator=TrainFromScratch(epochs=3)))
    assert found["class_path"] == "ramify.strategies.RandomSearch"
    assert found["init_args"]["evaluator"]["class_path"] == "ramify.evaluators.TrainFromScratch"
    assert found["init_args"]["evaluator"]["init_args"]["epochs"] == 3
    assert described(GDAS())["init_args"]["arch_betas"] == [0.5, 0.999]
    assert described(DARTSCells(reduction="frc"))["init_args"]["reduction"] == "frc"
    assert described({1: Path("a"), "b": (None, True)}) == {"1": "a", "b": [None, True]}


def test_a_settings_dataclass_without_its_class():
    assert fields_of(DataSpec(subset=3))["subset"] == 3


def test_differences_are_phrases():
    one = {"strategy": {"class_path": "A", "init_args": {"x": 1, "y": 2}}, "seed": 0}
    other = {"strategy": {"class_path": "A", "init_args": {"x": 1, "y": 3}}, "seed": 0, "new": [1]}
    assert list(differences(one, other)) == ["strategy.y is 2 there and 3 now", "new is None there and [1] now"]
    assert list(differences(one, one)) == []


class Forgetful:
    def __init__(self, rate=1):
        self._rate = rate


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "Mine.rate is nan; settings are plain values"),
        (-np.inf, "Mine.rate is -inf; "),
        ([1.0, {"a": float("inf")}], r"Mine.rate\[1\]\['a'\] is inf; "),
        (np.float64(0.5), "Mine.rate is of the type numpy.float64; "),
        (np.int64(3), "Mine.rate is of the type numpy.int64; "),
        (np.arange(3), "Mine.rate is of the type numpy.ndarray; "),
        ({1, 2}, "Mine.rate is of the type builtins.set; "),
        (len, "Mine.rate is of the type builtins.builtin_function_or_method; "),
        (Forgetful(), "Forgetful.rate is an argument that the object does not keep under this name; "),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else type(value).__name__,
)
def test_settings_that_no_configuration_can_hold_are_refused(value, message):
    mine = make_dataclass("Mine", [("rate", object)])
    with pytest.raises(ConfigurationError, match=message) as error:
        described(mine(value))
    assert len(str(error.value)) < 300
    assert described(mine(0.5))["init_args"] == {"rate": 0.5}


def test_fields_that_are_younger_than_configurations_are_left_out_while_they_hold_their_defaults():
    assert "paths" not in described(SPOS())["init_args"]
    assert described(SPOS(paths="sandwich"))["init_args"]["paths"] == "sandwich"
    assert "whiten" not in fields_of(Recipe()) and fields_of(Recipe(whiten=9))["whiten"] == 9
