"""A specification is plain data, and refuses what cannot be meant."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from ramify.data import DataSpec
from ramify.errors import DataError


def test_round_trip_through_json():
    spec = DataSpec(source="cifar10", subset=100, split="nasbench201", image_size=(24, 16))
    assert DataSpec(**json.loads(json.dumps(asdict(spec)))) == spec


def test_the_command_line_parser_takes_it():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=DataSpec, default=DataSpec())
    parsed = parser.parse_args(["--data.source", "cifar10", "--data.subset", "64", "--data.image_size", "[24,16]"])
    assert parser.instantiate(parsed).data == DataSpec(source="cifar10", subset=64, image_size=(24, 16))


@pytest.mark.parametrize(
    ("given", "size"),
    [(None, None), (8, (8, 8)), ((24, 16), (24, 16)), ([24, 16], (24, 16)), ([8, 8], (8, 8)), ((8192, 1), (8192, 1))],
)
def test_a_size_is_a_side_or_height_and_width(given, size):
    spec = DataSpec(image_size=given)
    assert spec.size == size and (size is None or len(set(size)) == 2 or spec == DataSpec(image_size=8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "nasbench"}, "unknown split 'nasbench': did you mean 'nasbench201'"),
        ({"split": "random", "split_file": "x"}, "`split_file` gives the split"),
        ({"test_fraction": 1.0}, "`test_fraction` must be at least 0 and below 1, got 1.0"),
        ({"validation_fraction": -0.1}, "`validation_fraction` must be"),
        ({"image_size": 0}, "`image_size` must be at least 1, got 0"),
        ({"image_size": (24, 0)}, "`image_size` must be at least 1, got 0"),
        ({"image_size": 9000}, "`image_size` must be at most 8192, got 9000"),
        ({"image_size": (8, 8, 8)}, "`image_size` must be a side, or height and width as 24,16, got "),
        ({"image_size": []}, "`image_size` must be a side, or height and width"),
        ({"image_size": "24x16"}, "`image_size` must be a whole number, got '24x16'"),
        ({"image_size": (8.5, 8)}, "`image_size` must be a whole number, got 8.5"),
        ({"channel_axis": "lost"}, "unknown channel_axis 'lost': did you mean 'last'"),
        ({"subset": -5}, "`subset` must be at least 1, got -5"),
    ],
)
def test_impossible_values(values, message):
    with pytest.raises(DataError, match=message):
        DataSpec(**values)
