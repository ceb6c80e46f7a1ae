"""The contract of spaces: the library's keep it, a user's do, and every fault is named."""

from random import Random

import pytest
import torch

from dense import Dense
from mine import Mine
from plain_space import Plain
from ramify.errors import ConfigurationError
from ramify.spaces import SPACES, AnyNetwork, Baselines, CellDistribution, MobileChain, NASBench201, PrunableResNet
from ramify.testing import ContractError, check_space
from ramify.testing.small import small_layout
from space_cases import CASES
from tasks.toys import Unnormed
from testing.faulty_spaces import FAULTS, Renamed

SHORT = {"NASBench201", "DARTSCells with 2 nodes", "NATSBenchSize", "CellDistribution", "ShuffleChain"}
"""Cases of a short run; the tests of `spaces` go through all of them one by one."""


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[] if c.name in SHORT else [pytest.mark.slow], id=c.name) for c in CASES]
)
def test_the_librarys_spaces(case):
    check_space(case.space, case.layout)


def test_there_is_a_case_of_every_class():
    assert {type(case.space) for case in CASES} | {AnyNetwork, Baselines, PrunableResNet} == {
        entry.make for entry in SPACES.own.values()
    }


def test_networks_whose_shortcuts_the_supernet_lacks():
    check_space(PrunableResNet(depth=8, shares=(0.5, 1)), inheritance=False)


def test_a_space_without_a_supernet():
    check_space(Baselines(["ResNet8", "WRN-10-1", "DenseNet-13-5-0.7", "ResNet-bottleneck-11"]))


@pytest.mark.parametrize("space", [Plain, Dense, Unnormed, Mine, Dense(layers=2)], ids=str)
def test_spaces_of_users_in_one_line(space):
    check_space(space)


def test_inputs_of_another_kind():
    check_space(Plain, inputs=lambda count: torch.randn(count, 3, 5, 9))


def test_networks_that_are_not_meant_to_inherit():
    check_space(Renamed, inheritance=False)


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_is_named(kind):
    with pytest.raises(ContractError) as raised:
        check_space(kind, {"width": 4})
    message = str(raised.value)
    assert message.startswith(f"{kind.__name__}: a space ")
    assert FAULTS[kind] in message
    assert "; mend it: " in message and message.endswith(".") and "\n" not in message


def test_what_is_no_space_is_no_fault_of_one():
    with pytest.raises(ConfigurationError, match="a space is a subclass of Space"):
        check_space(dict)
    with pytest.raises(ConfigurationError, match="a space is a Space, got 3"):
        check_space(3)


@pytest.mark.parametrize("kind", [NASBench201, MobileChain, CellDistribution])
def test_the_layout_that_is_taken_by_default_is_small(kind):
    space = kind()
    network = space.build(space.sample(Random(0)), **small_layout(space))
    assert sum(p.numel() for p in network.parameters()) < 2e6
