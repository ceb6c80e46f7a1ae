"""Choice points run by themselves, and refuse what cannot be one."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ramify.points import Inputs, OneOf, Repeat, deciding, number


def test_the_file_imports_nothing_but_torch():
    code = "import sys, ramify.points; print(sorted(name for name in sys.modules if name.startswith('ramify.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['ramify.points']"


def test_outside_a_search_a_point_takes_its_first_candidate():
    x = torch.randn(2, 4)
    linear = nn.Linear(4, 4)
    assert torch.equal(OneOf({"linear": linear, "skip": nn.Identity()})(x), linear(x))
    assert torch.equal(OneOf({"none": None, "wide": nn.Linear(4, 8)})(x), torch.zeros(2, 8))
    assert torch.equal(OneOf({"none": None})(x), torch.zeros(2, 4))
    repeat = Repeat(lambda i: nn.Linear(4, 4), depths=(1, 3))
    assert torch.equal(repeat(x), repeat[2](repeat[1](repeat[0](x))))
    assert number("hidden", 8, 16) == 8


@pytest.mark.parametrize(
    ("choose", "join", "wanted"), [(1, "sum", [1.0]), (2, "sum", [3.0]), (2, "mean", [1.5]), (2, "cat", [1.0, 2.0])]
)
def test_inputs_take_the_first_tensors(choose, join, wanted):
    tensors = [torch.full((1, 1), value) for value in (1.0, 2.0, 4.0)]
    assert Inputs(3, choose=choose, join=join)(tensors).tolist() == [wanted]


def test_a_module_with_points_learns_and_is_saved_as_any_other():
    network = nn.Sequential(OneOf({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)}), Repeat(lambda i: nn.Linear(3, 3)))
    network(torch.randn(2, 3)).sum().backward()
    assert list(network.state_dict())[:2] == ["0.a.weight", "0.a.bias"]
    assert network[0]["a"].weight.grad is not None and network[0]["b"].weight.grad is None


def test_numbers_are_what_is_decided():
    with deciding(lambda name, values: values[-1]):
        assert number("hidden", 8, 16) == 16
    assert number("hidden", 8, 16) == 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneOf({}), "takes a mapping of names to modules"),
        (lambda: OneOf([nn.Identity()]), "takes a mapping of names to modules"),
        (lambda: OneOf({"a.b": nn.Identity()}), "'a.b' cannot be the name of a candidate"),
        (lambda: OneOf({"keys": nn.Identity()}), "'keys' cannot be the name of a candidate"),
        (lambda: OneOf({"path": nn.Identity()}), "'path' cannot be the name of a candidate"),
        (lambda: OneOf({"none": nn.Identity()}), "'none' contributes nothing, so it must be None"),
        (lambda: Repeat(nn.Identity, depths=(2, 1)), "ascending whole numbers"),
        (lambda: Repeat(nn.Identity, depths=(0,)), "ascending whole numbers"),
        (lambda: Inputs(2, choose=3), "1 <= choose <= n"),
        (lambda: Inputs(30, choose=15), "at most 1,024 subsets"),
        (lambda: Inputs(2, join="max"), "`join` must be one of sum, mean, cat, got 'max'"),
        (lambda: number("hidden"), "must have different values"),
        (lambda: number("hidden", 1, 1), "must have different values"),
    ],
)
def test_what_is_no_point_is_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
