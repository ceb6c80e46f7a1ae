"""A hyper-parameter is a tensor with a box."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import ConfigurationError
from ramify.hypergradient import HyperParameter, Losses
from ramify.hypergradient.hyperparameter import boxes, place, positions


def test_it_is_a_tensor():
    decay = HyperParameter([0.5, 2.0], name="decay", labels=("a", "b"), log=True)
    assert isinstance(decay, torch.nn.Parameter) and decay.requires_grad and decay.dtype == torch.float64
    (gradient,) = torch.autograd.grad((decay.log() * decay).sum(), [decay])
    assert torch.allclose(gradient, decay.detach().log() + 1)
    assert decay.numbers == {"a": 0.5, "b": 2.0}
    assert HyperParameter(1).numbers == [1.0] and HyperParameter(1).dtype == torch.float64
    assert HyperParameter(torch.zeros(2, dtype=torch.float32)).dtype == torch.float32


def test_a_copy_keeps_the_box():
    decay = HyperParameter(0.5, name="decay", lower=0.1, upper=3.0, log=True)
    other = copy.deepcopy(decay)
    assert other is not decay and (other.name, other.box, other.is_log) == (decay.name, decay.box, True)


@given(st.floats(-20, 20), st.booleans())
def test_it_is_placed_inside_of_its_box(position, log):
    value = HyperParameter(1.0, lower=0.2, upper=4.0, log=log)
    value.place(torch.tensor([position], dtype=torch.float64))
    assert 0.2 <= value.detach().item() <= 4.0
    low, high = value.box
    assert float(value.position) == pytest.approx(min(max(position, low), high), abs=1e-12)


def test_slopes_are_those_of_the_scale_of_the_steps():
    value = HyperParameter(3.0, log=True)
    (gradient,) = torch.autograd.grad(value**2, [value])
    assert float(value.slope(gradient)) == pytest.approx(18.0)  # d exp(2u) / du at u = ln 3


def test_several_are_one_vector():
    both = [HyperParameter(torch.ones(2)), HyperParameter(math.e, log=True)]
    assert positions(both).tolist() == [1, 1, 1]
    place(both, torch.tensor([2.0, 9.0, -1.0], dtype=torch.float64))
    assert both[0].tolist() == [2, 6] and float(both[1]) == pytest.approx(1 / math.e)
    assert boxes(both)[0].tolist() == [-6, -6, -6]


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (7.0, {}, r"starts at 7, outside of its box \[-6, 6\]"),
        (float("nan"), {}, "starts at nan, outside"),
        ([0.0, -8.0], {"name": "x"}, "the hyper-parameter 'x' starts at -8"),
        (0.0, {"lower": 1.0, "upper": 1.0}, "`lower` < `upper`"),
        (0.0, {"upper": float("inf")}, "both finite"),
        (0.5, {"lower": 0.0, "log": True}, "`lower` must be above 0"),
        (1000.0, {"log": True}, "outside of its box"),
        ([1.0, 2.0], {"labels": ("a",)}, "has 2 numbers, and 1 `labels`"),
    ],
)
def test_what_cannot_be(value, options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        HyperParameter(value, **options)
    assert len(str(caught.value)) < 300


def test_losses_need_weights_and_hyperparameters():
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(ConfigurationError, match="needs weights"):
        Losses([x.detach()], [HyperParameter(0.0)], sum, sum)
    with pytest.raises(ConfigurationError, match="at least one `HyperParameter`"):
        Losses([x], [torch.ones(1, requires_grad=True)], sum, sum)
