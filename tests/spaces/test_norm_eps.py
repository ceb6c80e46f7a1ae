"""ε of norms: in every one of a network and of a supernet, and in what is taken out of it."""

import pytest
import torch
from torch import nn

from ramify.errors import ConfigurationError
from ramify.seeding import rng, seeded
from ramify.spaces import CDARTSChain, FairMobileChain, MobileChain, ShuffleChain
from ramify.training import single_path
from small_runs import SMALL_CHAIN

SPACES = [
    CDARTSChain(blocks=(1, 2, 1, 1, 1)),
    FairMobileChain(blocks=(1, 2, 1, 1, 1, 1)),
    MobileChain(blocks=(1, 2, 1, 1, 1, 1)),
    ShuffleChain(blocks=(1, 2, 1, 1)),
]


def epsilons(network):
    found = [module.eps for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(found) > 10
    return set(found)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@pytest.mark.parametrize("layout", [{}, {"affine": True, "track_running_stats": True}])
def test_all_norms_have_it(space, layout):
    arch = space.sample(rng(0))
    for eps in ({}, {"norm_eps": 1e-3}):
        supernet = space.supernet(**SMALL_CHAIN, **layout, **eps)
        networks = [supernet, space.build(arch, **SMALL_CHAIN, **layout, **eps), space.extract(supernet, arch)]
        assert [epsilons(network) for network in networks] == [{eps.get("norm_eps", 1e-5)}] * 3


def test_it_is_what_the_norms_use():
    """The supernet and the member that is taken out of it agree, and differ from those of another ε."""
    space = SPACES[2]
    arch, x = space.sample(rng(1)), torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    outputs = []
    for eps in (1e-5, 1e-1):
        with seeded(0, "supernet"):
            supernet = space.supernet(**SMALL_CHAIN, affine=True, track_running_stats=True, norm_eps=eps).double()
        mix, active = single_path(space, arch)
        with torch.no_grad():
            member = space.extract(supernet, arch)
            outputs.append(supernet.train()(x.double(), mix, active=active))
            torch.testing.assert_close(member.train()(x.double()), outputs[-1])
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize("eps", [0.0, -1e-3, float("nan"), float("inf")])
def test_an_impossible_one_is_refused(eps):
    with pytest.raises(ConfigurationError, match="layout keyword `norm_eps` must be a number above 0, got"):
        SPACES[1].build(SPACES[1].sample(rng(0)), **SMALL_CHAIN, norm_eps=eps)
