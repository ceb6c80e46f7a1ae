"""Members that are moved to where they use up limits."""

import random
from itertools import product

import pytest

import ramify
from networks_without_points import Residual
from ramify import spaces
from ramify.costs import Costs, Inputs, Networks
from ramify.costs.filling import Filling
from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.strategies import SPOS, Evolution, RandomSearch
from small_runs import Guess

INPUTS = Inputs({"num_classes": 10, "in_channels": 1}, (1, 8, 8))


@pytest.fixture(scope="module")
def space():
    return spaces.AnyNetwork(Residual, input_size=(1, 8, 8), widths=[n / 8 for n in range(1, 9)], multiple=1)


@pytest.fixture(scope="module")
def costs(space):
    return Costs(Networks(space, INPUTS), ["params", "macs"])


def ends(space):
    return [space.architecture([pick(d.choices) for d in space.decisions]) for pick in (min, max)]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_members_are_moved_to_where_they_use_up_a_limit(space, costs, share):
    low, high = (costs(arch)["macs"] for arch in ends(space))
    most = low + share * (high - low)
    filling = Filling(space, costs, {"macs": most}, 0.98)
    filling.check()
    for seed in range(10):
        rng = random.Random(seed)
        begin = space.sample(rng)
        found = filling(begin, rng)
        assert found is not None and 0.98 * most <= costs(found)["macs"] <= most
        assert filling.fills(found) and filling(found, rng) == found


def test_of_several_limits_the_tightest_is_used(space, costs):
    whole = costs(ends(space)[1])
    most = {"params": 0.5 * whole["params"], "macs": 0.9 * whole["macs"]}
    found = Filling(space, costs, most, 0.98)(space.sample(random.Random(0)), random.Random(0))
    used = {name: costs(found)[name] / most[name] for name in most}
    assert 0.98 <= max(used.values()) <= 1


def test_what_no_member_uses_is_refused_with_the_nearest():
    space = spaces.AnyNetwork(Residual, input_size=(1, 8, 8), widths=(0.5, 1.0), depth=False)
    costs = Costs(Networks(space, INPUTS), ["macs"])
    low = costs(ends(space)[0])["macs"]
    with pytest.raises(ConfigurationError, match=f"the nearest that was found has {low:,.6g} macs") as refused:
        Filling(space, costs, {"macs": 1.05 * low}, 0.98).check()
    assert len(str(refused.value)) < 300


def test_the_variety_of_a_limit_says_how_many_members_use_it(space, costs):
    whole = costs(ends(space)[1])["macs"]
    assert Filling(space, costs, {"macs": 0.4 * whole}, 0.9).variety() > 16
    assert Filling(space, costs, {"macs": whole}, 0.999).variety() == 1
    small = spaces.AnyNetwork(Residual, input_size=(1, 8, 8), widths=(0.5, 0.75, 1.0), multiple=1, depth=False)
    counted = Costs(Networks(small, INPUTS), ["macs"])
    filling = Filling(small, counted, {"macs": 0.6 * whole}, 0.8)
    every = [small.architecture(values) for values in product(*(d.choices for d in small.decisions))]
    assert filling.variety() == sum(0.48 * whole <= counted(arch)["macs"] <= 0.6 * whole for arch in every) > 1


@pytest.mark.parametrize("strategy", [Evolution, RandomSearch])
def test_strategies_propose_members_that_use_the_limits(space, costs, strategy):
    most = 0.4 * costs(ends(space)[1])["macs"]
    settings = strategy(evaluator=Guess(), limits={"macs": most}, fill=0.98, evaluations=40)
    found = ramify.search(space, settings, DataSpec(source="digits", subset=64), progress=False)
    assert len(found.history) == 40
    assert all(0.98 * most <= row["metrics"]["macs"] <= most for row in found.history)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fill": 0.9}, "`fill` is a share of `limits`, and none are named"),
        ({"fill": 1.5, "limits": {"macs": 1e6}}, "`fill` must be a share from 0 to 1, got 1.5"),
        ({"fill": 0.9, "limits": {"latency_ms": 1.0}}, "`fill` must be a cost that is known without a device"),
    ],
)
def test_what_cannot_be_filled_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        SPOS(**settings)
