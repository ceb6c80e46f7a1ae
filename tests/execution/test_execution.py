"""Every execution computes what modules define, with the same parameters and the same call."""

import random
from copy import deepcopy

import pytest
import torch
from torch import nn

from executions import HERE
from ramify import parallel, spaces
from ramify.errors import ConfigurationError
from ramify.execution import Form, definition_of, executed, prepare
from ramify.execution.shared import SharedMixedGraph
from ramify.ops import PointwiseConv2d
from ramify.supernet import Choice, FixedGraph, MixedGraph, mixtures
from space_cases import CASES

EVERY = pytest.mark.parametrize("case", CASES, ids=repr)


def every_other_way(name):
    """Mark a test to run on every case with a flag; in a short run it is on for every second one alone."""
    return pytest.mark.parametrize(
        ("case", name),
        [
            pytest.param(case, on, marks=[pytest.mark.slow] if (number % 2 == 0) == on else [], id=f"{case}-{on}")
            for number, case in enumerate(CASES)
            for on in (False, True)
        ],
    )


OTHERS = sorted(set(HERE) - {"plain"})


def random_mix(space):
    torch.manual_seed(3)
    return {name: choice.softmax(torch.randn(choice.shape).double()) for name, choice in space.choices.items()}


def two_members(space):
    """Return which candidates two members use, for every choice."""
    first, second = (space.mix(space.sample(random.Random(seed))) for seed in (1, 2))
    return {name: (first[name] + second[name]) > 0 for name in first}


def images(case, number=2):
    torch.manual_seed(4)
    return case.images(number, size=(9, 8)).requires_grad_()


def outcome(network, *inputs, wanted, **options):
    """Return outputs, gradients, and what the network has noted of its inputs."""
    torch.manual_seed(5)
    found = network(*inputs, **options)
    output, taps = found if isinstance(found, tuple) else (found, {})
    outputs = [output, *taps.values()]
    torch.manual_seed(6)
    loss = sum((y * torch.randn_like(y)).sum() for y in outputs)
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    return outputs, [g if g is None else g.clone() for g in gradients], [b.clone() for b in network.buffers()]


def assert_same(found, expected):
    for these, those in zip(found, expected, strict=True):
        for a, b in zip(these, those, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def compared(network, *inputs, wanted=(), **options):
    """Compare what a network does as it is defined with what all other executions do."""
    plain = executed(deepcopy(network), "plain")
    expected = outcome(plain, *inputs, wanted=(*wanted, *plain.parameters()), **options)
    for execution in OTHERS:
        other = executed(deepcopy(network), execution)
        found = outcome(other, *inputs, wanted=(*wanted, *other.parameters()), **options)
        assert_same(found, expected)


class TestEquality:
    @every_other_way("affine")
    def test_of_mixtures(self, case, affine):
        supernet, x = case.supernet(affine=affine), images(case)
        mix = {name: weights.requires_grad_() for name, weights in random_mix(case.space).items()}
        for training in (True, False):
            compared(supernet.train(training), x, mix, wanted=(x, *mix.values()))

    @every_other_way("constants")
    def test_of_active_candidates(self, case, constants):
        supernet, x = case.supernet(), images(case)
        mix = {name: weights.requires_grad_() for name, weights in random_mix(case.space).items()}
        options = {"active": two_members(case.space), "constants": constants}
        compared(supernet, x, mix, wanted=(x, *mix.values()), **options)

    @EVERY
    def test_of_paths_with_taps(self, case):
        supernet, arch = case.supernet(), case.space.sample(random.Random(0))
        mix = case.space.mix(arch)
        active = {name: weights > 0 for name, weights in mix.items()}
        compared(supernet, images(case), mix, active=active, taps=supernet.distilled)

    @pytest.mark.parametrize(
        "case", [case for case in CASES if not isinstance(case.space, spaces.NATSBenchSize)], ids=repr
    )
    def test_of_dropout(self, case):
        names = {op: 0.3 for choice in case.space.choices.values() for op in choice.ops}
        mix = {name: weights.requires_grad_() for name, weights in random_mix(case.space).items()}
        compared(case.supernet(), images(case), mix, wanted=tuple(mix.values()), dropout=names)

    @pytest.mark.parametrize(
        "case", [case for case in CASES if hasattr(case.space.Layout, "partial_channels")], ids=repr
    )
    def test_of_partial_channels(self, case):
        supernet = case.supernet(partial_channels=2, channels=max(4, case.layout["channels"]))
        mix = {name: weights.requires_grad_() for name, weights in random_mix(case.space).items()}
        compared(supernet, images(case), mix, wanted=tuple(mix.values()))

    @EVERY
    def test_of_built_networks(self, case):
        paths = {"drop_path": 0.2} if hasattr(case.space.Layout, "drop_path") else {}
        x = images(case)
        for seed in range(2):
            network = case.build(case.space.sample(random.Random(seed)), **paths)
            for training in (True, False):
                compared(network.train(training), x, wanted=(x,))


class TestTheSeam:
    @EVERY
    def test_parameters_keep_their_names_and_shapes(self, case):
        supernet = case.supernet()
        before = {name: (id(value), value.shape) for name, value in supernet.named_parameters()}
        for execution in HERE:
            executed(supernet, execution)
            assert {name: (id(value), value.shape) for name, value in supernet.named_parameters()} == before

    @EVERY
    def test_parameters_are_read_at_every_call(self, case):
        supernet, mix, x = case.supernet(), random_mix(case.space), case.images()
        others = {name: value + 0.1 * torch.randn_like(value) for name, value in supernet.named_parameters()}
        found = []
        for execution in HERE:
            executed(supernet, execution)
            before = supernet(x, mix)
            found.append(torch.func.functional_call(supernet, others, (x, mix)))
            assert not torch.equal(found[-1], before)
        for other in found[1:]:
            torch.testing.assert_close(other, found[0], rtol=1e-8, atol=1e-10)

    def test_networks_of_spaces_are_shared_until_they_are_told_otherwise(self):
        case = CASES[0]
        supernet = case.supernet()
        graph = next(module for module in supernet.modules() if isinstance(module, MixedGraph))
        assert type(graph) is SharedMixedGraph and definition_of(graph) is MixedGraph
        assert type(graph) is not type(executed(graph, "plain")) is MixedGraph
        member = case.build(case.space.sample(random.Random(0)))
        graphs = [module for module in member.modules() if isinstance(module, FixedGraph)]
        assert graphs and all(isinstance(graph, Form) for graph in graphs)
        prepare(member, "plain")
        assert not any(isinstance(module, Form) for module in member.modules())

    def test_preparing_brings_into_channels_last(self):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1, stride=2))
        prepare(network)
        assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
        assert type(network[1]) is PointwiseConv2d

    def test_an_unknown_execution_is_refused_with_the_nearest(self):
        with pytest.raises(ConfigurationError, match="unknown execution 'shard'; did you mean 'shared'"):
            prepare(nn.Linear(1, 1), "shard")


class Mine(nn.Module):
    """A supernet of somebody's own: two scalings."""

    choices, layout, shape = {"which": Choice(((0, 1),), ("single", "double"))}, None, {}

    def forward(self, x, mix):
        return mix["which"][0, 0] * x + mix["which"][0, 1] * 2 * x


class Watched(MixedGraph):
    def forward(self, inputs, mixture, outputs=None):
        return super().forward(inputs, mixture, outputs)


class TestWhatIsNotKnown:
    def test_a_supernet_of_a_user_runs_as_it_is_with_one_line(self, capsys):
        with parallel.once():
            supernet = prepare(prepare(Mine()))
        assert capsys.readouterr().err.count("execution `shared` does not know Mine, which runs as it is written") == 1
        assert type(supernet) is Mine
        assert supernet(torch.ones(1), {"which": torch.tensor([[0.5, 0.25]])}).item() == 1.0

    def test_so_does_a_class_of_a_user_that_extends_ours(self, capsys):
        choice = Choice(((0, 1),), ("skip_connect", "none"))
        graph = prepare(
            nn.ModuleList([Watched(choice, 1, lambda *_: spaces.nasbench201.make_operation("skip_connect", 2))])
        )
        assert type(graph[0]) is Watched and "Watched" in capsys.readouterr().err
        x = torch.randn(1, 2, 3, 3)
        mixture = mixtures({"cell": choice}, {"cell": torch.tensor([[0.5, 0.5]])}, x)["cell"]
        torch.testing.assert_close(graph[0]([x], mixture)[1], x / 2)

    def test_nothing_is_said_of_what_is_plain_or_built(self, capsys):
        prepare(Mine(), "plain")
        case = CASES[0]
        prepare(case.supernet())
        prepare(case.build(case.space.sample(random.Random(0))))
        prepare(nn.Linear(2, 2))
        assert capsys.readouterr().err == ""
