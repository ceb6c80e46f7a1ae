"""Colors tell operations apart, and can be read on both backgrounds."""

import re

import pytest
from synthetic_runs import DARTS_OPS, NB201_OPS

from ramify.report.palette import HEAT, LEVELS, PAPER, on_dark, operation_color, shades

NAMES = [*DARTS_OPS, *NB201_OPS, "sep_conv_7x7", "conv_7x1_1x7", "conv_3x3", "mb_k3_e6", "shuffle_7x7", "mystery"]


def luminance(color: str) -> float:
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_operations_stand_out_on_both_themes(name: str) -> None:
    color = operation_color(name)
    assert re.fullmatch("#[0-9a-f]{6}", color)
    assert contrast(color, PAPER) >= 3
    assert contrast(on_dark(color), on_dark(PAPER)) >= 4.5


def test_operations_of_one_space_differ() -> None:
    for ops in (DARTS_OPS, NB201_OPS):
        assert len(set(map(operation_color, ops))) == len(ops)


def test_families_share_a_hue_and_kernels_a_shade() -> None:
    assert luminance(operation_color("sep_conv_3x3")) > luminance(operation_color("sep_conv_7x7"))
    assert operation_color("skip_connect") == operation_color("identity")
    assert operation_color("mystery") == operation_color("mystery") != operation_color("mystery_2")


def test_shades_go_from_the_first_color_to_the_last() -> None:
    found = shades(HEAT)
    assert (found[0], found[-1], len(found)) == (HEAT[0], HEAT[-1], LEVELS)
    darkness = [luminance(color) for color in found]
    assert darkness == sorted(darkness, reverse=True)
