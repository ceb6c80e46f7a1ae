"""Which cells of NAS-Bench-201 compute the same function."""

import itertools

import pytest

from ramify import spaces
from ramify.errors import ConfigurationError

SPACE = spaces.NASBench201()


def members():
    return [SPACE.architecture(values) for values in itertools.product(SPACE.operations, repeat=6)]


def test_the_published_numbers_of_classes():
    cells = members()
    assert len({SPACE.expression(cell, none="operation") for cell in cells}) == 12_751
    assert len({SPACE.expression(cell) for cell in cells}) == 6_466
    shortest = [SPACE.expression(cell, none="absent") for cell in cells]
    assert len(set(shortest)) == 5_390
    assert shortest.count("") == 341


@pytest.mark.parametrize(
    ("cell", "expression"),
    [
        ("|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|", "0"),
        ("|none~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_1x1~2|", ""),
        ("|avg_pool_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_1x1~2|",
         "((0)@avg_pool_3x3)@nor_conv_1x1+(0)@nor_conv_1x1"),
    ],
)  # fmt: skip
def test_expressions(cell, expression):
    assert SPACE.expression(SPACE.parse(cell), none="absent") == expression


def test_zeros_stay_in_sums_as_published():
    cell = SPACE.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    assert SPACE.expression(cell) == "#+(#+#)@nor_conv_1x1+0"
    with pytest.raises(ConfigurationError, match="`none` must be 'operation', 'zero' or 'absent', got 'gone'"):
        SPACE.expression(cell, none="gone")
