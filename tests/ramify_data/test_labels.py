"""Labels of every type that is a number or a name, and what is said of others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ramify.data.labels import read_label
from ramify.errors import DataError


@pytest.mark.parametrize(
    ("label", "read"),
    [
        (3, 3),
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (torch.tensor(3), 3),
        (np.array([3]), 3),
        (torch.tensor([[3]]), 3),
        (3.0, 3),
        (np.float32(3), 3),
        (torch.tensor(3.0), 3),
        (-1, -1),
        (True, True),
        (np.bool_(True), True),
        (torch.tensor(False), False),
        ("cat", "cat"),
        (np.str_("cat"), "cat"),
        (None, None),
    ],
)
def test_labels(label, read):
    found = read_label(label, "x")
    assert found == read and type(found) in (int, bool, str, type(None))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (0.5, r"the label is 0\.5 \(float\), and wanted is a whole number or a name"),
        (float("nan"), r"the label is nan"),
        (float("inf"), r"the label is inf"),
        (b"cat", r"the label is b'cat' \(bytes\)"),
        (torch.eye(3)[1], r"the label has 3 values .*a class number, of a one-hot vector, label\.argmax\(\)"),
        ([0, 1], r"the label has 2 values"),
        (np.zeros((3, 8, 8)), r"the label has 192 values .*a class number, after the image"),
        ({"name": "cat"}, r"the label is \{'name': 'cat'\} \(dict\)"),
    ],
)
def test_what_is_no_label(label, message):
    with pytest.raises(DataError, match=f"^x: .*{message}") as caught:
        read_label(label, "x")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
