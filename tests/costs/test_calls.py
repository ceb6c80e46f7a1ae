"""Leaf calls: the same on the meta device and where they are computed, whichever way a network spells them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from networks_without_points import Heads, Residual
from ramify import spaces
from ramify.costs import Networks
from ramify.costs.calls import DENSE, DEPTHWISE, LONGEST, NORM, OTHER, POOL, Call, Clock, calls_of
from ramify.costs.measuring import seen_on_meta
from ramify.costs.profiling import profile, timed_inputs
from ramify.seeding import rng
from small_runs import SPACES, images

ANY = {
    "residual": (spaces.AnyNetwork(Residual, input_size=(3, 8, 8)), {}),
    "heads": (spaces.AnyNetwork(Heads, input_size=(3, 8, 8)), {}),
    "instance": (spaces.AnyNetwork(Residual(), input_size=(3, 8, 8)), {}),
}
SEEN = images(10, 3, 8, 8)


@pytest.mark.parametrize("name", ["nasbench201", "darts", "size", "stage-graph", "residual", "heads", "instance"])
def test_they_are_the_same_on_the_meta_device(name):
    space, layout = (SPACES | ANY)[name]
    networks = Networks(space, SEEN, layout)
    arch = space.sample(rng(0))
    network = networks.network(arch)
    there = calls_of(network, timed_inputs(network, networks.inputs.size))
    assert [call for call in there if call] == [call for call in seen_on_meta(networks, arch, 1) if call]
    works = sum(call.work for call in there if call is not None and call.family in (DENSE, DEPTHWISE))
    counted = profile(network, (3, 8, 8))
    assert works == counted.macs + counted.attention_macs


def test_the_clock_sees_the_same_calls_in_the_same_order():
    network, x = Heads().eval(), torch.zeros(1, 3, 8, 8)
    with torch.inference_mode(), Clock(lambda: None) as clock:
        network(x)
    assert len(clock.milliseconds) == len(calls_of(network, x))


class Spelled(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.depthwise = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.norm(self.depthwise(self.convolution(x)))
        y = F.max_pool2d(y, 2) + 1
        y = torch.cat([y, y[:, :2]], dim=1)
        return y.shape[0] * y.flatten(1)


def test_they_say_function_shapes_and_arguments():
    seen = [call for call in calls_of(Spelled().eval(), torch.zeros(2, 4, 10, 10)) if call is not None]
    assert seen[0] == Call("conv2d f32[2,4,10,10] f32[4,4,3,3] f32[4] (1,1) (0,0) (1,1) 1", 2 * 4 * 64 * 36)
    assert [call.family for call in seen[:4]] == [DENSE, DEPTHWISE, NORM, POOL]
    assert {call.family for call in seen[4:]} == {OTHER}
    assert seen[0].form == "conv2d f32[3] f32[3] f32[0] (1,1) (0,0) (1,1) 1"
    assert any(call.function == "cat" and "f32[2,4,3,3]" in call.text for call in seen)


def test_long_calls_are_cut():
    network = nn.Module()
    network.forward = lambda x: torch.cat([x] * 500)
    assert len(calls_of(network, torch.zeros(1, 2))[0].text) == LONGEST
