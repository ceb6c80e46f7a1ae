"""Costs of many members: the same numbers as a profile, from few of them."""

import itertools

import pytest
import torch

from ramify.costs import MemberCosts, Networks, member_costs, profile
from ramify.errors import ConfigurationError, RunError
from ramify.seeding import rng
from ramify.spaces import NATSBenchSize, Space
from small_runs import SPACES, images


@pytest.mark.parametrize("name", SPACES)
def test_costs_are_those_of_a_profile(name):
    space, layout = SPACES[name]
    costs = MemberCosts(Networks(space, images(7, 3, 16, 16), layout))
    for number in range(3):
        arch = space.sample(rng(number))
        network = space.build(arch, num_classes=7, in_channels=3, **layout)
        found = profile(network, (3, 16, 16))
        assert costs(arch) == {"params": found.params - found.auxiliary_params, "macs": found.macs}


def test_twenty_five_profiles_say_what_all_cells_of_nas_bench_201_cost():
    space, layout = SPACES["nasbench201"]
    costs = MemberCosts(Networks(space, images(10, 3, 8, 8), layout))
    drawn = [space.sample(rng(number)) for number in range(400)]
    found = [costs(arch) for arch in drawn]
    assert costs.additive
    assert costs.looked == 25 + 16  # the sums that are checked
    for arch, cost in itertools.islice(zip(drawn, found, strict=True), 300, 310):
        exact = profile(space.build(arch, channels=4, cells=1), (3, 8, 8))
        assert cost == {"params": exact.params, "macs": exact.macs}


def test_the_closed_form_of_nas_bench_201():
    """params = 73,306 + 28,000 n₁ₓ₁ + 243,040 n₃ₓ₃, and multiply-adds alike, for 10 classes and 32 × 32 pixels."""
    space = SPACES["nasbench201"][0]
    costs = member_costs(space, images(10, 3, 32, 32))
    for number in range(3):
        arch = space.sample(rng(number, "closed form"))
        ones, threes = (space.format(arch).count(f"|nor_conv_{side}~") for side in ("1x1", "3x3"))
        assert costs(arch) == {
            "params": 73_306 + 28_000 * ones + 243_040 * threes,
            "macs": 7_783_040 + 3_932_160 * ones + 35_389_440 * threes,
        }


@pytest.mark.parametrize(("name", "looks"), [("size", 43), ("stage-graph", 20), ("distribution", 23)])
def test_a_space_says_what_its_networks_consist_of(name, looks):
    space, layout = SPACES[name]
    costs = MemberCosts(Networks(space, images(10, 3, 8, 8), layout))
    drawn = [space.sample(rng(number)) for number in range(200)]
    found = [costs(arch) for arch in drawn]
    assert costs.additive and costs.looked <= looks
    for arch, cost in zip(drawn[-3:], found[-3:], strict=True):
        costs.verify(arch, cost)


def test_a_space_whose_costs_are_no_sums_is_found_out():
    class Plain(NATSBenchSize):  # what a width costs depends on its neighbors, and this space does not say so
        parts = Space.parts

    space, layout = Plain((2, 3, 5)), {}
    costs = MemberCosts(Networks(space, images(10, 3, 8, 8), layout))
    for number in range(20):
        costs(space.sample(rng(number)))
    assert not costs.additive
    arch = space.sample(rng(1000))
    assert costs(arch)["macs"] == profile(space.build(arch, **layout), (3, 8, 8)).macs


def test_counting_leaves_random_numbers_alone():
    space, layout = SPACES["nasbench201"]
    before = torch.get_rng_state()
    MemberCosts(Networks(space, images(10, 3, 8, 8), layout))(space.sample(rng(0)))
    assert torch.equal(before, torch.get_rng_state())


def test_a_wrong_sum_is_not_believed():
    space, layout = SPACES["nasbench201"]
    costs = MemberCosts(Networks(space, images(10, 3, 8, 8), layout))
    arch = space.sample(rng(0))
    found = costs(arch)
    costs.verify(arch, found)
    costs.verify(arch, {"macs": found["macs"]})
    with pytest.raises(RunError, match="costs of NASBench201 are no sums"):
        costs.verify(arch, {**found, "params": found["params"] + 1})


def test_searches_of_one_process_share_what_they_learnt():
    space, layout = SPACES["nasbench201"]
    costs = member_costs(space, images(10, 3, 8, 8), layout)
    assert member_costs(type(space)(), images(10, 3, 8, 8), layout) is costs
    assert member_costs(space, images(10, 3, 8, 8), {**layout, "cells": 2}) is not costs
    assert member_costs(space, images(100, 3, 8, 8), layout) is not costs


def test_wrong_layouts_are_refused():
    with pytest.raises(ConfigurationError, match="chanels"):
        MemberCosts(Networks(SPACES["nasbench201"][0], images(10, 3, 8, 8), {"chanels": 4}))
