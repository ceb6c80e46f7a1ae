"""Targets for costs, from both sides."""

import math
import random

import pytest
import torch

from ramify.costs import Inputs, Networks, Target
from ramify.errors import ConfigurationError
from ramify.seeding import stream
from ramify.spaces import NASBench201, PrunableResNet

SPACE = PrunableResNet(depth=14)


def aimed(share, of="macs"):
    networks = Networks(SPACE, Inputs({"num_classes": 10, "in_channels": 1}, (1, 8, 8)))
    return Target(networks, of, share, 0.05, 2.0)


def test_the_sign_rule():
    target = aimed(0.5)
    expected = torch.tensor(3e6)
    for share, sign in ((0.51, 1), (0.5, 0), (0.46, 0), (0.44, -1)):
        assert float(target.term(expected, share * target.whole)) == pytest.approx(sign * math.log(3), rel=1e-6)


@pytest.mark.parametrize("of", ["macs", "params"])
@pytest.mark.parametrize("share", [0.15, 0.3, 0.5, 0.9])
def test_what_is_derived_meets_it(share, of):
    target = aimed(share, of=of)
    for seed in range(3):
        generator = stream(seed, "scores")
        scores = {n: c.softmax(torch.randn(c.shape, generator=generator)) for n, c in SPACE.choices.items()}
        arch = target.derive(scores, SPACE)
        assert target.met(arch)
        assert share - 0.05 <= target.cost(arch) / target.whole <= share
        preferred = SPACE.discretize(scores)
        assert not target.met(preferred) or arch == preferred


def test_a_number_is_taken_as_it_is():
    whole = aimed(1.0).whole
    assert aimed(whole / 2).target == whole / 2 == aimed(0.5).target


@pytest.mark.parametrize("share", [0.01, 5e9])
def test_a_target_that_nobody_meets_is_refused_with_the_range(share):
    with pytest.raises(ConfigurationError, match=r"no member of PrunableResNet has .* macs: they have .* to ") as e:
        aimed(share)
    assert len(str(e.value)) < 300


def test_on_other_spaces_it_is_a_share_of_the_dearest_member():
    space = NASBench201()
    networks = Networks(space, Inputs({"num_classes": 10, "in_channels": 3}, (3, 32, 32)))
    target = Target(networks, "macs", 0.5, 0.1, 2.0)  # nothing costs 0.45 to 0.5 of it
    assert target.whole == 220_119_680
    scores = space.mix(space.sample(random.Random(0)))
    assert target.met(target.derive({name: s + 0.01 for name, s in scores.items()}, space))
