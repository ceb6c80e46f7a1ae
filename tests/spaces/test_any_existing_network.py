"""Widths, depth and kernels of a network that exists, as a space."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
import torch

import ramify
from networks_of_users import Net, Wide
from networks_without_points import Heads, Residual
from ramify import spaces, strategies
from ramify.costs import Inputs, MemberCosts, Networks, PolynomialCost, expected_cost, member_costs
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.evaluators import TrainFromScratch
from ramify.testing import check_space
from ramify.testing.small import digits

SIZE = (3, 8, 8)


@pytest.fixture(scope="module")
def space():
    return spaces.AnyNetwork(Residual, input_size=SIZE, widths=(0.25, 0.5, 1.0), kernels=(3,))


@pytest.fixture(scope="module")
def heads():
    return spaces.AnyNetwork(Heads, input_size=SIZE, widths=(0.5, 1.0))


def test_groups_stages_and_kernels_are_decisions(space):
    assert {decision.name: decision.choices for decision in space.decisions} == {
        "stem": (8, 16),
        "layers.0.one": (8, 16),
        "layers.1.one": (8, 16, 24),
        "layers.2.one": (8, 16),
        "layers": (1, 2, 3),
        "stem.kernel_size": (3, 5),
    }
    choices = space.choices
    assert {name: choice.shape for name, choice in choices.items()} == {
        "width": (4, 3),
        "depth": (1, 3),
        "kernel": (1, 2),
    }
    assert choices["width"].ops == ("0.25", "0.5", "1")
    assert choices["width"].mask[:2].tolist() == [[True, False, True]] * 2  # two shares come to one number


def test_size_and_networks_are_exact(space):
    names = [decision.name for decision in space.decisions]
    every = [
        space.architecture(dict(zip(names, values, strict=True)))
        for values in product(*(decision.choices for decision in space.decisions))
    ]
    assert (space.size, space.networks) == (len(every), len({space.canonical(arch) for arch in every})) == (144, 80)
    arch = space.architecture({**every[-1].choices, "layers": 1})
    assert list(space.reads(arch)) == ["stem", "layers.0.one", "layers", "stem.kernel_size"]
    assert not space.mix(arch)["width"][2:].any() and space.canonical(arch)["layers.2.one"] == 8


def test_heads_are_units(heads):
    found = {decision.name: decision.choices for decision in heads.decisions}
    assert found["blocks.0.attention.qkv"] == (2, 4) and found["blocks.0.mlp.1"] == (16, 32)
    network = heads.build(heads.architecture({name: values[0] for name, values in found.items()}))
    assert network.blocks[0].attention.num_heads == 2


@pytest.mark.parametrize("name", ["space", "heads"])
def test_it_keeps_what_every_space_promises(name, request):
    check_space(request.getfixturevalue(name))


@pytest.mark.parametrize("name", ["space", "heads"])
def test_masked_sliced_and_extracted_agree(name, request):
    space = request.getfixturevalue(name)
    torch.manual_seed(0)
    supernet, x = space.supernet().double(), torch.randn(2, *SIZE, dtype=torch.float64)
    for seed in range(5):
        arch = space.sample(Random(seed))
        mix = space.mix(arch)
        for training in (False, True):
            member = space.extract(supernet.train(training), arch)
            wanted = member(x)
            torch.testing.assert_close(supernet(x, mix), wanted, rtol=1e-9, atol=1e-9)
            sliced = supernet(x, mix, active={kind: weights > 0 for kind, weights in mix.items()})
            torch.testing.assert_close(sliced, wanted, rtol=1e-9, atol=1e-9)
    assert not [name for name in supernet.state_dict() if "template" in name]


def test_an_instance_at_full_width_is_itself_bit_for_bit():
    torch.manual_seed(0)
    network, x = Residual().eval(), torch.randn(2, *SIZE)
    space = spaces.AnyNetwork(network, input_size=SIZE)
    full = space.architecture({decision.name: decision.choices[-1] for decision in space.decisions})
    assert torch.equal(space.build(full).eval()(x), network(x))
    assert torch.equal(space.supernet().eval()(x, space.mix(full)), network(x))
    assert spaces.space_of(full).decisions == space.decisions


def test_costs_are_polynomials_that_looks_at_networks_confirm(space):
    networks = Networks(space, Inputs({"num_classes": 7, "in_channels": 1}, (1, 12, 10)))
    exact, looks = member_costs(space, networks.inputs), MemberCosts(networks)
    for seed in range(4):
        arch = space.sample(Random(seed))
        wanted = looks.look(arch)
        assert exact.of(arch) == wanted
        for name, cost in zip(("params", "macs"), wanted, strict=True):
            expected = expected_cost(networks, name)
            assert isinstance(expected, PolynomialCost)
            assert float(expected(space.mix(arch))) == cost
            assert expected.least <= cost <= expected.most


SMALL = {
    "epochs": 1,
    "batch_size": 16,
    "population": 4,
    "parents": 2,
    "crossovers": 1,
    "evaluations": 4,
    "recalibrate": 16,
}


@pytest.mark.parametrize(
    "strategy",
    [
        strategies.GDAS(epochs=1, batch_size=16),
        strategies.DARTS(epochs=1, batch_size=16, limits={"macs": 3e5}),
        strategies.SPOS(**SMALL),
        strategies.ProxylessNAS(epochs=1, batch_size=16),
        strategies.RegularizedEvolution(evaluations=2, evaluator=TrainFromScratch(epochs=1, batch_size=16)),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_strategies_search_it(space, strategy, tmp_path):
    result = ramify.search(space, strategy, digits(), out=tmp_path / "run", progress=False)
    assert result.architecture in space
    if isinstance(strategy, strategies.SPOS):
        recipe = ramify.Recipe(epochs=1, batch_size=16)
        trained = ramify.retrain(result, start="inherited", recipe=recipe, progress=False)
        assert trained.architecture == result.architecture


def test_limits_out_of_reach_are_refused_with_the_range(space):
    with pytest.raises(ConfigurationError, match=r"keeps the limit 1 of macs: they have [\d,]+ to [\d,]+"):
        strategy = strategies.DARTS(epochs=1, batch_size=16, limits={"macs": 1.0})
        ramify.search(space, strategy, digits(), progress=False)


def test_it_says_what_can_be_searched(space):
    text = space.describe()
    assert "layers.1.one  24     8 16 24" in text and "whole       classifier (output)" in text
    assert "depth       layers 1-3 blocks" in text and "full width bit for bit" in text
    assert "144, of which 80 are different networks; 1,498 to 17,730 params" in text


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"widths": (), "depth": False},
            "AnyNetwork(Residual) has no choice point, and widths, depth, kernels are empty: there is nothing to "
            "search; try widths=(0.5, 0.75, 1.0)",
        ),
        ({"widths": (0.5,)}, "widths must ascend from above 0 to 1"),
        ({"only": ("layer*s.9",)}, "no module matches 'layer*s.9'"),
        ({"kernels": (2,)}, "kernels must be odd sides"),
    ],
)
def test_what_cannot_be_searched_is_refused(keywords, message):
    with pytest.raises(ConfigurationError) as caught:
        spaces.AnyNetwork(Residual, input_size=SIZE, **keywords)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_points_and_widths_are_searched_in_one_supernet():
    space = spaces.AnyNetwork(Wide, input_size=SIZE, widths=(0.5, 1.0))
    assert list(space.choices)[-1] == "width" and space.place("down.conv.0").values == (16, 32)
    supernet, x = space.supernet().double().eval(), torch.randn(2, *SIZE, dtype=torch.float64)
    for seed in range(4):
        arch = space.sample(Random(seed))
        mix, wanted = space.mix(arch), space.extract(supernet, arch)(x)
        torch.testing.assert_close(supernet(x, mix), wanted, rtol=1e-9, atol=1e-9)
        sliced = supernet(x, mix, active={name: weights > 0 for name, weights in mix.items()})
        torch.testing.assert_close(sliced, wanted, rtol=1e-9, atol=1e-9)
    with pytest.raises(ConfigurationError, match="down has a candidate that is None"):
        spaces.AnyNetwork(Net, input_size=SIZE, widths=(0.5, 1.0))


def test_members_of_other_spaces_are_none_of_it(space):
    with pytest.raises(ArchitectureError):
        space.architecture({decision.name: 5 for decision in space.decisions})


def test_what_limits_call_multiply_adds_includes_attention(heads):
    sizes = Inputs({"num_classes": 10, "in_channels": 3}, SIZE)
    counted = member_costs(heads, sizes)
    arch = heads.sample(Random(3))
    cost = ramify.profile(heads.build(arch), SIZE)
    assert cost.attention_macs > 0
    assert counted(arch) == {"params": cost.params, "macs": cost.macs + cost.attention_macs}
