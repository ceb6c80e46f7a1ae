"""No network of any space asks PyTorch for the gradient that corrupts memory on the CPU (`ops/pointwise.py`)."""

import random

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ramify import spaces
from ramify.ops import OPERATIONS, channels_last
from space_cases import CASES, CELLS, Case

IMAGENET = {"layout": "imagenet", "channels": 4, "layers": 3}
NETWORKS = [
    *CASES,
    Case("DARTSCells for ImageNet", spaces.DARTSCells(nodes=2), IMAGENET),
    Case("DARTSCells for ImageNet FRC", spaces.DARTSCells(nodes=2, reduction="frc"), IMAGENET | {"channels": 16}),
    Case("DARTSCells of all operations", spaces.DARTSCells(nodes=2, operations=tuple(OPERATIONS)), CELLS),
]


class Gradients(TorchDispatchMode):
    """Keeps (kernel, stride) of every convolution that is differentiated on the CPU."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            _, x, weight, _, stride, *_ = args
            assert x.device.type == "cpu"
            self.seen.add((tuple(weight.shape[2:]), tuple(stride)))
        return func(*args, **(kwargs or {}))

    @property
    def harmful(self):
        """Whatever the layout, the width, and the size of the maps."""
        return {(kernel, stride) for kernel, stride in self.seen if kernel == (1, 1) and stride != (1, 1)}


def differentiated(network, images, *mix):
    """The convolutions whose gradients a step of training asks for, in the layout of training."""
    network = channels_last(network.float()).train()
    x = images.float().contiguous(memory_format=torch.channels_last)
    outputs = network(x, *mix)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    with Gradients() as calls:
        sum(output.square().sum() for output in outputs).backward()
    return calls


sizes = pytest.mark.parametrize("size", [8, *(pytest.param(size, marks=pytest.mark.slow) for size in (32, 64, 224))])
every_network = pytest.mark.parametrize("case", NETWORKS, ids=repr)


@sizes
@every_network
def test_supernets(case, size):
    mix = {name: choice.softmax(torch.zeros(choice.shape)) for name, choice in case.space.choices.items()}
    calls = differentiated(case.supernet(), case.images(size=(size, size)), mix)
    assert calls.seen and not calls.harmful


@sizes
@every_network
def test_built_networks(case, size):
    draw = random.Random(size)
    for _ in range(2):
        calls = differentiated(case.build(case.space.sample(draw)), case.images(size=(size, size)))
        assert calls.seen and not calls.harmful


def test_the_call_would_be_seen():
    network = nn.Sequential(nn.Conv2d(3, 2, 1, stride=2), nn.Flatten())
    images = torch.randn(2, 3, 4, 4)
    with Gradients() as calls:
        network(images).sum().backward()
    assert calls.harmful == {((1, 1), (2, 2))}
    assert not differentiated(network, images).harmful  # a stranger's space, in the layout of training
