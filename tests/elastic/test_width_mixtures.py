"""Norms with a set for every width, and widths that are mixed by interpolation."""

from __future__ import annotations

import copy
import re
from random import Random

import pytest
import torch
from torch import nn

from networks_without_points import Heads, Residual
from ramify import spaces
from ramify.elastic import Active, find_elastic
from ramify.elastic.masking import ElasticNetwork
from ramify.errors import ConfigurationError
from ramify.ops.interpolation import interpolate_channels
from ramify.points import OneOf

SIZE = (3, 8, 8)
LAYOUTS = [
    {"norms": norms, "combine": combine}
    for norms in ("own", "per_width")
    for combine in ("mask", "interpolate")
    if (norms, combine) != ("own", "mask")
]


def plain():
    return nn.Sequential(nn.Conv2d(2, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.Flatten())


def elastic(network, size=(2, 3, 3), **settings):
    """Return a supernet of a network with three widths, in float64."""
    torch.manual_seed(0)
    settings = {"widths": (0.25, 0.5, 1.0), "multiple": 1, "depth": False, "order": "given"} | settings
    found = find_elastic(network, torch.zeros(1, *size), **settings)

    def supernet(**keywords):
        network = copy.deepcopy(found.network)
        parts = (found.plan, found.places, found.stages, found.convolutions, found.norms, found.graphs)
        return ElasticNetwork(network, *parts, **keywords).double()

    return supernet


def stirred(network):
    """Give sets other values than those of the full width."""
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if re.search(r"elastic_(weight|bias|running)", name):
                tensor.add_(torch.rand(tensor.shape, generator=draws, dtype=tensor.dtype))
    return network


@pytest.fixture(scope="module")
def residual():
    return spaces.AnyNetwork(Residual, input_size=SIZE, widths=(0.25, 0.5, 1.0), kernels=(3,))


@pytest.fixture(scope="module")
def heads():
    return spaces.AnyNetwork(Heads, input_size=SIZE, widths=(0.5, 1.0))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(layout.values()))
@pytest.mark.parametrize("name", ["residual", "heads"])
def test_members_are_what_the_supernet_computes_and_learns(name, layout, request):
    space = request.getfixturevalue(name)
    torch.manual_seed(0)
    supernet, x = stirred(space.supernet(**layout).double()), torch.randn(3, *SIZE, dtype=torch.float64)
    for seed in range(3):
        arch = space.sample(Random(seed))
        mix = space.mix(arch)
        for training in (False, True):
            member = space.extract(supernet.train(training), arch)
            wanted = member(x)
            sliced = supernet(x, mix, active={kind: weights > 0 for kind, weights in mix.items()})
            torch.testing.assert_close(sliced, wanted, rtol=1e-9, atol=1e-9)
            learned = space.extract(supernet, arch).state_dict()  # with the statistics of that pass
            for key, value in member.state_dict().items():
                torch.testing.assert_close(learned[key], value, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(supernet(x, mix), space.extract(supernet, arch)(x), rtol=1e-9, atol=1e-9)


def test_weights_of_members_return_to_their_own_sets(residual):
    torch.manual_seed(0)
    supernet = stirred(residual.supernet(norms="per_width"))
    arch, other = (residual.sample(Random(seed)) for seed in (1, 2))
    name = "layers.1.one"
    arch, other = (
        residual.architecture({**one.choices, name: width, "layers": 3}) for one, width in ((arch, 8), (other, 16))
    )
    before = residual.extract(supernet, other).layers[1].norm.state_dict()
    member = residual.extract(supernet, arch)
    with torch.no_grad():
        for tensor in (*member.parameters(), *member.buffers()):
            tensor.add_(1)
    residual.absorb(supernet, member)
    for key, value in residual.extract(supernet, arch).state_dict().items():
        assert torch.equal(value, member.state_dict()[key])
    for key, value in residual.extract(supernet, other).layers[1].norm.state_dict().items():
        assert key == "num_batches_tracked" or torch.equal(value, before[key])


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [False, True])
def test_a_mixture_of_norms_is_the_weighted_sum_of_what_they_put_out(training, affine):
    network = plain()
    network[1] = nn.BatchNorm2d(8, affine=affine)
    supernet = stirred(elastic(network)(sets=True)).train(training)
    weights = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    x, norm = torch.randn(4, 2, 3, 3, dtype=torch.float64), supernet.network[1]
    inside = supernet.network[0](x)
    sets = [copy.deepcopy(norm) for _ in range(3)]
    for k, one in enumerate(sets[:2]):
        for kind in ("weight", "bias", "running_mean", "running_var"):
            if getattr(one, kind) is not None:
                getattr(one, kind).data.copy_(getattr(one, f"elastic_{kind}").view(2, -1)[k])
    masks = torch.tensor([[n > place for place in range(8)] for n in (2, 4, 8)], dtype=torch.float64)
    mixed = sum(w * one(inside) for w, one in zip(weights[0], sets, strict=True)).relu()
    wanted = supernet.network[3](mixed * (weights @ masks).view(1, -1, 1, 1)).flatten(1)
    torch.testing.assert_close(supernet(x, widths=weights), wanted, rtol=1e-9, atol=1e-9)
    for k, one in enumerate(sets):
        for kind in ("running_mean", "running_var"):
            held = getattr(norm, kind) if k == 2 else getattr(norm, f"elastic_{kind}").view(2, -1)[k]
            torch.testing.assert_close(held, getattr(one, kind), rtol=1e-12, atol=1e-12)


def test_only_what_is_active_learns_statistics():
    supernet = elastic(plain())(sets=True).train()
    before, norm = copy.deepcopy(supernet.network[1]), supernet.network[1]
    weights = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    supernet(torch.randn(4, 2, 3, 3).double(), widths=weights, active=Active([[0, 1]]))
    assert torch.equal(norm.running_mean, before.running_mean)
    assert not torch.equal(norm.elastic_running_mean, before.elastic_running_mean)


def test_what_is_read_is_interpolated_to_the_widest():
    supernet = elastic(plain())(combine="interpolate").eval()
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    inside = supernet.network[:3](x)
    for weights, most in (([0.2, 0.5, 0.3], 8), ([0.4, 0.6, 0.0], 4)):
        rows = torch.tensor([weights], dtype=torch.float64, requires_grad=True)
        parts = [w * interpolate_channels(inside[:, :n], most) for w, n in zip(rows[0], (2, 4, 8), strict=True) if w]
        wanted = nn.functional.conv2d(sum(parts), supernet.network[3].weight[:, :most], supernet.network[3].bias)
        found = supernet(x, widths=rows)
        torch.testing.assert_close(found, wanted.flatten(1), rtol=1e-9, atol=1e-9)
        assert torch.autograd.grad(found.square().sum(), rows)[0].abs().min() > 0 or most < 8


def test_units_of_several_indices_are_interpolated_together():
    network = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Flatten(), nn.Linear(36, 3))
    supernet = elastic(network, widths=(0.5, 1.0))(combine="interpolate").eval()
    x, rows = torch.randn(4, 2, 3, 3, dtype=torch.float64), torch.tensor([[0.7, 0.3]], dtype=torch.float64)
    maps = supernet.network[0](x)
    mixed = 0.7 * interpolate_channels(maps[:, :2], 4) + 0.3 * maps
    torch.testing.assert_close(supernet(x, widths=rows), supernet.network[2](mixed.flatten(1)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(layout.values()))
def test_without_widths_there_is_nothing_to_mix(layout):
    space = spaces.AnyNetwork(
        nn.Sequential(OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2)), input_size=(4,)
    )
    with pytest.raises(ConfigurationError, match="searches no widths"):
        space.supernet(**layout)
