"""Describing: what an architecture is and costs."""

import pytest

import ramify
from ramify.errors import ConfigurationError


def test_a_description_needs_no_folder(tmp_path):
    notation = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    found = ramify.describe(notation)
    assert found.notation == notation
    assert (found.params, found.macs, found.pictures) == (1_531_546, 220_119_680, [])
    drawn = ramify.describe(notation, pictures=tmp_path).pictures
    assert sorted(path.rpartition(".")[2] for path in drawn) == ["png", "svg"]
    with pytest.raises(ConfigurationError, match="sizes must be at least 1"):
        ramify.describe(notation, num_classes=0)
