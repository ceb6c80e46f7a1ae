"""The contract of operations: the library's keep it, a user's do, and every fault is named."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import NONE, OPERATIONS, operation
from ramify.testing import ContractError, check_operation


@pytest.mark.parametrize("name", [name for name in OPERATIONS.own if name != NONE])
def test_the_librarys_operations(name):
    check_operation(name)


def gelu(channels, stride, norm):
    return nn.Sequential(nn.GELU(), nn.Conv2d(channels, channels, 3, stride, 1, bias=False), norm(channels))


class Block(nn.Module):
    """A class whose constructor takes what a maker takes."""

    def __init__(self, channels, stride, norm):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.norm = norm(channels)

    def forward(self, x):
        return self.norm(self.conv(self.changed(x)))

    def changed(self, x):
        return F.relu(x)


@pytest.mark.parametrize("make", [gelu, Block])
def test_operations_of_users_in_one_line(make):
    check_operation(make)


def test_a_registered_one_by_its_name_or_itself():
    registered = operation("gelu_for_the_suite", paper="ours")(gelu)
    check_operation("gelu_for_the_suite")
    check_operation(registered)


def unpadded(c, stride, norm):
    return nn.Sequential(nn.ReLU(), nn.Conv2d(c, c, 3, stride, bias=False), norm(c))


def wide(c, stride, norm):
    return nn.Sequential(nn.ReLU(), nn.Conv2d(c, 2 * c, 3, stride, 1, bias=False), norm(2 * c))


def of_its_own_norm(c, stride, norm):
    return nn.Sequential(nn.ReLU(), nn.Conv2d(c, c, 3, stride, 1, bias=False), nn.BatchNorm2d(c))


def in_place(c, stride, norm):
    return nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(c, c, 3, stride, 1, bias=False), norm(c))


def nothing(c, stride, norm):
    return None


def picky(c, stride, norm):
    raise ValueError("only 16 channels")


class Single(Block):
    def changed(self, x):
        return x.float()


class Detached(Block):
    def changed(self, x):
        return x.detach()


class Noisy(Block):
    def changed(self, x):
        return x + torch.randn_like(x)


class Unseeded(Block):
    def __init__(self, channels, stride, norm):
        super().__init__(channels, stride, norm)
        generator = torch.Generator()
        generator.seed()
        nn.init.uniform_(self.conv.weight, generator=generator)


class Idle(Block):
    def __init__(self, channels, stride, norm):
        super().__init__(channels, stride, norm)
        self.scale = nn.Parameter(torch.ones(()))


class Viewing(Block):
    def changed(self, x):
        return x.view(-1).view(x.shape)


FAULTS = {
    unpadded: "(3, 6, 8, 8) becomes (3, 6, 6, 6) instead of (3, 6, 8, 8)",
    wide: "(3, 6, 8, 8) becomes (3, 12, 8, 8)",
    of_its_own_norm: "with track_running_stats=False the norm '2' has track_running_stats=True",
    in_place: "it changes its input in place",
    nothing: "with stride 1 it returns None",
    picky: "it raised ValueError: only 16 channels",
    Single: "computes in the type of its inputs and weights",
    Detached: "its input gets no gradient",
    Noisy: "draws from the global generator of torch",
    Unseeded: "have other weights",
    Idle: "the weight 'scale' gets no gradient",
    Viewing: "does not care how its input lies in memory, but it raised RuntimeError",
}


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__)
def test_a_fault_is_named(make):
    with pytest.raises(ContractError) as raised:
        check_operation(make)
    assert FAULTS[make] in str(raised.value)
    assert str(raised.value).startswith(f"{make.__name__}: an operation ")


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ConfigurationError, match="'none' contributes nothing and has no module"):
        check_operation("none")
    with pytest.raises(ArchitectureError, match="unknown operation 'sep_conv3x3'"):
        check_operation("sep_conv3x3")
    with pytest.raises(ConfigurationError, match=r"an operation is a name, or makes a module of .* got 3"):
        check_operation(3)
