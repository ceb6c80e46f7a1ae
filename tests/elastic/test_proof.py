import dataclasses

import pytest
import torch
from torch import Tensor, nn

from ramify.elastic import find_elastic
from ramify.elastic.proof import apart, failing, permute_units, unsettled


class Gated(nn.Module):
    """A residual stream with squeeze and excitation, and a norm."""

    def __init__(self):
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.b = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.n(self.a(x)).relu()
        x = x + self.b(x) * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.head(self.norm(x.mean((2, 3))))


@pytest.fixture(scope="module")
def elastic():
    torch.manual_seed(0)
    return find_elastic(Gated(), torch.randn(1, 3, 6, 6), multiple=1)


def permuted(elastic, plan) -> float:
    generator = torch.Generator().manual_seed(0)
    network = unsettled(elastic.network, generator).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.double, generator=generator)
    with torch.no_grad():
        before = network(x)
        permute_units(network, plan, range(len(plan.groups)), generator)
        return apart(network(x), before)


def test_shuffled_units_are_the_same_function(elastic):
    assert permuted(elastic, elastic.plan) <= 1e-12


def test_any_slice_that_is_forgotten_is_seen(elastic):
    assert len(elastic.plan.axes) == 17
    for place in elastic.plan.axes:
        axes = {other: units for other, units in elastic.plan.axes.items() if other != place}
        assert permuted(elastic, dataclasses.replace(elastic.plan, axes=axes)) > 1e-6, place


def test_groups_are_asked_alone_only_where_some_fail():
    asked = []

    def check(numbers):
        asked.append(list(numbers))
        return "it fails" if 5 in numbers else ""

    assert failing(range(8), check) == {5: "it fails"}
    assert len(asked) <= 8
    assert failing([0, 1, 2], check) == {}


def test_groups_that_fail_only_together_are_parted():
    wrong = failing(range(4), lambda numbers: "not these two" if {1, 2} <= set(numbers) else "")
    assert wrong == {2: "not these two", 3: "not these two"}


class Contrary(nn.Module):
    """Its second block cannot be left out: what follows it asks for it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 1), Add(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x))
        return self.head(x.mean((2, 3))) + self.body[1].conv.bias.sum()


class Add(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


def test_a_stage_that_fails_is_no_stage():
    elastic = find_elastic(Contrary(), torch.randn(1, 3, 6, 6), multiple=1)
    assert elastic.stages == ()
    assert "'Identity' object has no attribute 'conv'" in elastic.whole["stage body"]


def test_outputs_of_zero_are_alike():
    zero = torch.zeros(1, 5)
    assert apart(zero, zero) == 0.0
    assert apart(zero + 1e-3, zero) > 1
    assert apart(zero * float("nan"), zero) == apart(zero, zero * float("nan")) == float("inf")
