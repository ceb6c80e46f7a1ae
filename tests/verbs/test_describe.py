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


@pytest.mark.parametrize("size", [(8, 8), (3, 8, 8, 8, 8), (3, 2**63, 8), (3, 2**62, 2**62)])
def test_inputs_that_no_network_takes_are_named(size):
    with pytest.raises(ConfigurationError) as caught:
        ramify.describe("|none~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|", input_size=size)
    said = str(caught.value)
    assert said.startswith("this network of NASBench201 takes no inputs of ") and said.endswith("by --input_size")
    assert len(said) < 300 and "\n" not in said
