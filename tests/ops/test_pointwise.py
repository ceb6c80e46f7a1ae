"""The 1×1 convolution with a stride: the plain one's numbers, in another form where the CPU trains it."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ramify.exporting import spelling
from ramify.ops import PointwiseConv2d, channels_last

SETTINGS = [
    {},
    {"stride": (2, 1)},
    {"stride": 3, "bias": False},
    {"groups": 2},
    {"dilation": 2},
]


def pair(c_in=4, c_out=6, **settings):
    """The plain convolution and ours, with the same weights."""
    settings = {"stride": 2} | settings
    plain, ours = nn.Conv2d(c_in, c_out, 1, **settings).double(), PointwiseConv2d(c_in, c_out, 1, **settings).double()
    ours.load_state_dict(plain.state_dict())
    return plain, ours


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 1)])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_values_and_derivatives_are_those_of_the_plain_convolution(settings, size):
    images, direction = torch.randn(2, 3, 4, *size, dtype=torch.float64).requires_grad_()
    found = []
    for conv in pair(**settings):
        y = conv(images)
        inputs = [images, *conv.parameters()]
        first = torch.autograd.grad(y.pow(3).sum(), inputs, create_graph=True)
        second = torch.autograd.grad((first[0] * direction).sum() + first[1].square().sum(), inputs)
        found.append([y, *first, *second])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_without_gradients_it_is_the_plain_convolution():
    plain, ours = pair()
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(ours(x), plain(x))
        program = torch.export.export(ours, (x,))
    assert "pool" not in str(program.graph)
    assert spelling.layer(ours) == spelling.layer(plain) == "nn.Conv2d(4, 6, 1, stride=2)"


def test_what_is_traced_symbolically_trains_in_the_harmless_form():
    _, ours = pair()
    traced = torch.fx.symbolic_trace(ours)
    assert "avg_pool2d" in traced.code
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    assert torch.equal(traced(x), ours(x))


def test_convolutions_of_strangers_are_replaced_where_they_are():
    strided, valid = nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 1, stride=(1, 2), padding="valid")
    others = [nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, stride=2), nn.Conv2d(4, 4, 1, stride=2, padding=1)]
    network = nn.Sequential(strided, nn.Sequential(valid, strided), *others)
    before = dict(network.named_parameters())
    assert channels_last(network) is network
    assert type(strided) is type(valid) is PointwiseConv2d
    assert {type(conv) for conv in others} == {nn.Conv2d}
    assert all(value is before[name] for name, value in network.named_parameters())
    assert strided.weight.stride() == (4, 1, 4, 4)


HARMFUL = """
import torch
from ramify.ops import FactorizedReduce, channels_last

torch.set_num_threads(1)
for channels, size in [(4, 64), (8, 112), (2, 224)]:
    network = channels_last(FactorizedReduce(channels, channels))
    images = torch.randn(2, channels, size, size).contiguous(memory_format=torch.channels_last)
    exact = FactorizedReduce(channels, channels).double()
    exact.load_state_dict(network.state_dict())
    for _ in range(20):
        found = torch.autograd.grad(network(images).square().sum(), list(network.parameters()))
    expected = torch.autograd.grad(exact(images.double()).square().sum(), list(exact.parameters()))
    for one, other in zip(found, expected):
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
print("alive")
"""


def test_shapes_that_killed_the_process():
    done = subprocess.run([sys.executable, "-c", HARMFUL], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr
