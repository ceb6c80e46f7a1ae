"""The expected cost: exact for members, for independent decisions, and in the published space."""

import itertools

import pytest
import torch

from ramify.costs import ChainCosts, EstimatedCosts, ExpectedCost, MemberCosts, Networks, member_costs
from ramify.seeding import rng
from ramify.spaces import MobileChain
from small_runs import SPACES, images


def made_up(space):
    """Return a cost that is a sum over candidates."""

    def cost(arch):
        used = [c for name in arch for c in space.candidates(name, arch[name])]
        return 7.0 + sum(rng(0, *candidate).random() for candidate in used)

    return cost


@pytest.mark.parametrize("name", ["nasbench201", "darts", "stage-cells", "stage-graph"])
def test_the_expectation_of_a_certainty_is_the_cost(name):
    space = SPACES[name][0]
    cost = made_up(space)
    expected = ExpectedCost.of(space, cost)
    for number in range(3):
        arch = space.sample(rng(number))
        assert float(expected(space.mix(arch))) == pytest.approx(cost(arch), rel=1e-12)


@pytest.mark.parametrize("name", ["stage-cells", "nasbench201"])
def test_it_is_the_mean_over_members_with_the_product_of_their_probabilities(name):
    space = SPACES[name][0]
    if name == "nasbench201":
        space = space.restrict({"cell": [[1, 1, 0, 1, 0]] * 3 + [[0, 0, 1, 1, 0]] * 3})
    else:  # one kind of cell is enough, and few operations
        masks = {n: torch.zeros(c.shape, dtype=torch.bool) for n, c in space.choices.items()}
        for n, mask in masks.items():
            mask[:, :2] = n in ("normal1", "reduce2")
            mask[:, 1] = True
        space = space.restrict(masks)
    generator = torch.Generator().manual_seed(0)
    p = {n: c.softmax(torch.randn(c.shape, generator=generator).double()) for n, c in space.choices.items()}
    cost = made_up(space)
    total = mass = 0.0
    for values in itertools.product(*(d.choices for d in space.decisions)):
        arch = space.architecture(values)
        weight = 1.0
        for decision in arch:
            for choice, edge, op in space.candidates(decision, arch[decision]):
                weight *= float(p[choice][edge, op])
        total, mass = total + weight * cost(arch), mass + weight
    assert float(ExpectedCost.of(space, cost)(p)) == pytest.approx(total / mass, rel=1e-9)


def test_the_published_space_with_equal_probabilities():
    """654,299,456 in single precision; and a network as a certainty."""
    space = MobileChain()
    table = ChainCosts(space)
    expected = ExpectedCost.of(space, lambda arch: table(arch)["macs"])
    equal = {name: choice.softmax(torch.zeros(choice.shape)) for name, choice in space.choices.items()}
    assert float(expected(equal).float()) == 654_299_456
    arch = space.parse([2, 2, -1, 0, 0, -1, -1, 0, 5, -1, 4, 4, 0, 0, 4, 2, 3, 4, 4, 4, 3])
    assert float(expected(space.mix(arch))) == 470_792_064


def test_the_gradient_is_what_a_candidate_costs_more_than_the_average():
    space, layout = SPACES["nasbench201"]
    costs = member_costs(space, images(10, 1, 8, 8), layout)
    expected = ExpectedCost.of(space, lambda arch: costs(arch)["macs"])
    alpha = torch.zeros(6, 5, requires_grad=True)
    expected({"cell": alpha.softmax(1)}).backward()
    arch = {op: space.architecture([op] * 6) for op in space.choices["cell"].ops}
    single = torch.tensor([costs(arch[op])["macs"] for op in space.choices["cell"].ops])
    torch.testing.assert_close(alpha.grad.sum(0), (single - single.mean()) / 5, rtol=1e-5, atol=1e-3)


def test_a_decision_without_any_probability_has_no_gradient_that_is_not_a_number():
    space = SPACES["nasbench201"][0]
    expected = ExpectedCost.of(space, made_up(space))
    p = torch.zeros(6, 5, requires_grad=True)
    found = expected({"cell": p})
    found.backward()
    assert float(found.detach()) == expected.base
    assert bool(torch.isfinite(p.grad).all())


def test_measured_costs_are_estimated_from_few_members():
    space = SPACES["nasbench201"][0]
    measured = []
    cost = made_up(space)

    def measure(arch):
        measured.append(arch)
        return cost(arch)

    estimated = EstimatedCosts(space, measure)
    expected = ExpectedCost.of(space, lambda arch: estimated.of(arch)[0])
    assert len(measured) == 25
    for number in range(5):
        arch = space.sample(rng(number))
        assert float(expected(space.mix(arch))) == pytest.approx(cost(arch), rel=1e-9)
    assert len(measured) == 25


def test_costs_of_chains_come_from_their_table():
    space = MobileChain(blocks=(2, 1, 1, 1, 1, 1))
    layout = {"channels": 8, "resolution": 16}
    seen = images(7, 3, 16, 16)
    quick, slow = member_costs(space, seen, layout), MemberCosts(Networks(space, seen, layout))
    for number in range(3):
        arch = space.sample(rng(number))
        assert quick(arch) == slow(arch)
    assert quick.looked == 0
    quick.verify(arch, slow(arch))
