"""Labels of every type that is a number or a name, and what is said of others."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from ramify.data.labels import read_label, read_value, values_of
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


@pytest.mark.parametrize(
    ("label", "read"),
    [
        (3, (3.0,)),
        (-0.5, (-0.5,)),
        (True, (1.0,)),
        (np.float16(0.5), (0.5,)),
        (torch.tensor(0.5, dtype=torch.bfloat16), (0.5,)),
        (torch.tensor([[1.5]]), (1.5,)),
        (torch.tensor([1.0, 2.0], requires_grad=True), (1.0, 2.0)),
        (np.array([1, 2, 3]), (1.0, 2.0, 3.0)),
        ([1, 2.5], (1.0, 2.5)),
        (Decimal("1.25"), (1.25,)),
        (Fraction(1, 4), (0.25,)),
        (None, None),
    ],
)
def test_values(label, read):
    assert read_value(label, "x") == read


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("3", r"the target is '3' \(str\); with targets='values' it is a number, or a vector of numbers"),
        (1j, r"the target is 1j \(complex\)"),
        (torch.tensor(1j), r"\(Tensor\)"),
        (["1", "2"], r"the target is \['1', '2'\] \(list\)"),
        ([[1], [1, 2]], r"\(list\)"),
        ({"price": 3}, r"\(dict\)"),
        (np.datetime64("2020-01-01"), r"\(datetime64\)"),
        (np.zeros((2, 2)), r"the target has shape \(2, 2\); wanted is a number, or a vector"),
        ([], r"the target has shape \(0,\)"),
    ],
)
def test_what_is_no_value(label, message):
    with pytest.raises(DataError, match=f"^x: .*{message}") as caught:
        read_value(label, "x")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_values_that_miss_some_are_refused_by_row_and_name():
    assert values_of([(1.0, 2.0), (3.0, 4.0)], str, ("a", "b")).dtype == np.float32
    with pytest.raises(DataError, match=r"^1: the target 'b' is missing, or NaN"):
        values_of([(1.0, 2.0), (3.0, float("nan"))], str, ("a", "b"))
