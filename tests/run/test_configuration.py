"""Settings as plain values: what is written can be read back, and what differs is named."""

from pathlib import Path

from ramify.data import DataSpec
from ramify.evaluators import TrainFromScratch
from ramify.run.configuration import described, differences, fields_of
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import GDAS, RandomSearch


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
