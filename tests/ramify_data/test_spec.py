"""A specification is plain data, and refuses what cannot be meant."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from ramify.data import DataSpec
from ramify.errors import DataError


def test_round_trip_through_json():
    spec = DataSpec(source="cifar10", subset=100, split="nasbench201")
    assert DataSpec(**json.loads(json.dumps(asdict(spec)))) == spec


def test_the_command_line_parser_takes_it():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=DataSpec, default=DataSpec())
    parsed = parser.parse_args(["--data.source", "cifar10", "--data.subset", "64"])
    assert parser.instantiate(parsed).data == DataSpec(source="cifar10", subset=64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "nasbench"}, "unknown split 'nasbench': did you mean 'nasbench201'"),
        ({"split": "random", "split_file": "x"}, "`split_file` gives the split"),
        ({"test_fraction": 1.0}, "`test_fraction` must be at least 0 and below 1, got 1.0"),
        ({"validation_fraction": -0.1}, "`validation_fraction` must be"),
        ({"image_size": 0}, "`image_size` must be at least 1, got 0"),
        ({"subset": -5}, "`subset` must be at least 1, got -5"),
    ],
)
def test_impossible_values(values, message):
    with pytest.raises(DataError, match=message):
        DataSpec(**values)
