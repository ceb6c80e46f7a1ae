"""A user's own network as a space: decisions, counting, weights, costs, names, refusals."""

from __future__ import annotations

import gc
import math
import pickle
import subprocess
import sys
from itertools import product
from pathlib import Path
from random import Random

import pytest
import torch
from torch import nn

import ramify
from networks_of_users import Even, Joining, Net, Numbered, Rows, Transformer
from ramify import spaces, strategies
from ramify.costs import Inputs as Sizes
from ramify.costs import MemberCosts, Networks, expected_cost
from ramify.data import load
from ramify.errors import ArchitectureError, ConfigurationError, RamifyError
from ramify.evaluators import InheritedWeights, TrainFromScratch
from ramify.points import Inputs, OneOf, Repeat, number
from ramify.seeding import stream
from ramify.strategies import STRATEGIES
from ramify.supernet import existing
from ramify.testing import check_space
from ramify.testing.small import SETTINGS, digits, instance

HERE = Path(__file__).parents[1]
SIZE = (3, 8, 8)
SMALL = {
    "epochs": 1,
    "batch_size": 10,
    "population": 4,
    "parents": 2,
    "crossovers": 1,
    "evaluations": 4,
    "recalibrate": 0,
}


def space_of(network=Net, size=SIZE, **keywords):
    return spaces.AnyNetwork(network, input_size=size, **keywords)


@pytest.fixture(scope="module")
def space():
    return space_of()


def members(space):
    names = [decision.name for decision in space.decisions]
    for values in product(*(decision.choices for decision in space.decisions)):
        yield space.architecture(dict(zip(names, values, strict=True)))


# Decisions


def test_decisions_have_the_names_of_points_or_of_their_paths(space):
    found = {decision.name: decision.choices for decision in space.decisions}
    assert found == {
        "body": (1, 2, 3),
        **dict.fromkeys(("body.0", "body.1", "body.2"), ("k3", "k5", "skip")),
        "act": ("relu", "silu"),
        "down": ("conv", "none"),
        "down.conv.1": ("plain", "norm"),
        "merge": ((0, 1), (0, 2), (1, 2)),
    }
    assert space.choices["act"].shape == (1, 2) and space.choices["merge"].shape == (3, 2)
    assert space.choices["merge"].ops == ("off", "on")


def test_what_is_not_read_has_zero_rows_and_its_first_value(space):
    arch = space.architecture(
        {
            "body": 1,
            "body.0": "skip",
            "body.1": "k5",
            "body.2": "k5",
            "act": "silu",
            "down": "none",
            "down.conv.1": "norm",
            "merge": (1, 2),
        }
    )
    assert list(space.reads(arch)) == ["body", "body.0", "act", "down", "merge"]
    canonical = space.canonical(arch)
    assert canonical["body.1"] == canonical["body.2"] == "k3" and canonical["down.conv.1"] == "plain"
    assert canonical["act"] == "silu"  # read where it lies in no candidate
    mix = space.mix(arch)
    assert not any(mix[name].any() for name in ("body.1", "body.2", "down.conv.1"))
    assert mix["merge"].tolist() == [[0, 0], [0, 1], [0, 1]]
    assert space.discretize(mix)["merge"] == (1, 2)
    assert space.canonical(canonical) == canonical and mix.keys() == space.mix(canonical).keys()


@pytest.mark.parametrize("network", [Net, Even, Rows, Transformer, Numbered], ids=lambda kind: kind.__name__)
def test_size_and_networks_are_exact(network):
    space = space_of(network, size=(4,) if network is Rows else SIZE)
    every = list(members(space))
    assert space.size == len(every)
    assert space.networks == len({space.canonical(arch) for arch in every})


def shared_below(seed):
    """Return a random tree of points, in which names are shared everywhere."""
    rng = Random(seed)

    def tree(depth):
        if depth == 0 or rng.random() < 0.2:
            return nn.Identity()
        if rng.random() < 0.3:
            return nn.Sequential(tree(depth - 1), tree(depth - 1))
        return OneOf({"a": tree(depth - 1), "b": tree(depth - 1)}, name=rng.choice("wxyz"))

    return nn.Sequential(tree(3), tree(3), OneOf({"a": nn.Identity(), "b": nn.ReLU()}))


@pytest.mark.parametrize("seed", range(12))
def test_networks_are_counted_where_decisions_are_shared(seed):
    space = space_of(shared_below(seed), size=(2,))
    assert space.networks == len({space.canonical(arch) for arch in members(space)})


def test_the_example_of_the_specification():
    point = OneOf({"a": nn.Sequential(OneOf({"x": nn.Identity(), "y": nn.ReLU()})), "b": nn.Tanh(), "c": nn.Sigmoid()})
    space = space_of(nn.Sequential(point), size=(2,))
    assert (space.size, space.networks) == (6, 4)


def test_one_name_is_one_decision_wherever_it_stands():
    shared = OneOf({"a": nn.Linear(2, 2), "b": nn.Identity()})
    space = space_of(nn.Sequential(shared, nn.Linear(2, 2), shared), size=(2,))
    assert [decision.name for decision in space.decisions] == ["0"]
    found = space.build(space.architecture(["a"]))
    assert found[0] is found[2] and isinstance(found[0], nn.Linear)


def test_restrictions_may_leave_nothing_of_what_is_not_read(space):
    arch = space.architecture({d.name: d.choices[0] for d in space.decisions} | {"down": "none", "body": 1})
    left = space.restrict({name: weights > 0 for name, weights in space.mix(arch).items()})
    assert arch in left and left.networks == 1 and left.size == 3 * 3 * 2
    with pytest.raises(ArchitectureError, match="leaves decision 'body' of AnyNetwork without any choice"):
        space.restrict({"body": torch.zeros(1, 3)})
    with pytest.raises(ArchitectureError, match="unknown choice 'bodi' of AnyNetwork; did you mean 'body'"):
        space.restrict({"bodi": torch.zeros(1, 3)})


def test_the_notation_is_the_object_of_decisions(space):
    arch = space.sample(Random(3))
    assert space.parse(str(space.format(arch)).replace("'", '"')) == arch
    with pytest.raises(ArchitectureError, match="has no decision 'bodi'"):
        space.parse({"bodi": 1})
    with pytest.raises(ArchitectureError, match="is an object of decisions"):
        space.parse("3")


def test_it_says_what_is_decided(space):
    text = space.describe()
    assert "body.1       k3 k5 skip   OneOf where body = 2 or 3" in text
    assert "act          relu silu    OneOf at 4 places" in text
    assert text.endswith(f"members: {space.size:,}, of which {space.networks:,} are different networks")


# Networks


@pytest.mark.parametrize(
    ("network", "size"), [(Net, SIZE), (Even, SIZE), (Rows, (4,)), (Transformer, SIZE)], ids=lambda value: str(value)
)
def test_it_keeps_what_every_space_promises(network, size):
    check_space(space_of(network, size))


def test_numbers_keep_what_a_space_without_a_supernet_promises():
    check_space(space_of(Numbered))
    assert [m.stem.out_channels for m in map(space_of(Numbered).build, members(space_of(Numbered)))] == [4, 4, 8, 8]


def test_a_member_is_the_users_class_without_points(space):
    arch = space.parse({**space.format(space.sample(Random(0))), "body": 2, "body.0": "k3", "body.1": "skip"})
    network = space.build(arch, num_classes=7, in_channels=1)
    assert type(network) is Net and type(network.body) is nn.Sequential and len(network.body) == 2
    assert isinstance(network.body[1], nn.Identity)
    assert not [m for m in network.modules() if isinstance(m, OneOf | Repeat | Inputs)]
    assert network(torch.zeros(2, 1, 9, 7)).shape == (2, 7)


@pytest.mark.parametrize("norms", ["own", "batch"])
def test_a_single_path_is_the_member_to_the_bit(space, norms):
    torch.manual_seed(0)
    supernet = space.supernet(norms=norms).double()
    x = torch.randn(3, 3, 10, 6, dtype=torch.float64)
    for seed in range(8):
        arch = space.sample(Random(seed))
        mix = space.mix(arch)
        active = {name: weights > 0 for name, weights in mix.items()}
        member = space.extract(supernet.eval(), arch)
        assert torch.equal(member(x), supernet(x, mix, active=active))
        torch.testing.assert_close(member(x), supernet(x, mix), rtol=1e-12, atol=1e-12)


def test_only_what_is_active_runs(space):
    supernet = space.supernet()
    ran = []
    for path, module in supernet.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, path=path: ran.append(path))
    arch = space.parse(
        {**space.format(space.sample(Random(1))), "body": 2, "body.0": "k5", "body.1": "skip", "down": "none"}
    )
    mix = space.mix(arch)
    supernet(torch.zeros(1, *SIZE), mix, active={name: weights > 0 for name, weights in mix.items()})
    assert ran == ["network.stem", "network.body.0.k5.0.0", *(f"network.paths.{number}" for number in range(3))]


def test_gradients_of_unread_rows_are_zero(space):
    supernet = space.supernet()
    arch = space.parse({**space.format(space.sample(Random(1))), "body": 2, "body.0": "k3", "down": "conv"})
    mix = {name: weights.requires_grad_() for name, weights in space.mix(arch).items()}
    active = {name: weights > 0 for name, weights in mix.items()}
    supernet(torch.randn(2, *SIZE), mix, active=active).square().sum().backward()
    for name, weights in mix.items():
        read = name in space.reads(arch)
        assert (weights.grad is not None and bool(weights.grad.any())) is read
        assert not read or not weights.grad[weights == 0].any()


def test_a_block_counts_by_the_weights_of_the_depths_that_have_it():
    network = nn.Sequential(Repeat(lambda i: nn.Linear(2, 2), depths=(1, 2, 3)))
    space = space_of(network, size=(2,))
    x, weights = torch.randn(3, 2), torch.tensor([[0.2, 0.3, 0.5]])
    one, two, three = network[0]
    y = one(x)
    y = y + 0.8 * (two(y) - y)
    y = y + 0.5 * (three(y) - y)
    torch.testing.assert_close(space.supernet()(x, {"0": weights}), y)


def test_inputs_are_weighed_by_their_rows():
    class Merging(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = Inputs(3, name="one"), Inputs(3, choose=2, join="mean", name="two")
            self.last = nn.Linear(2, 2)

        def forward(self, x):
            return self.last(self.one([x, 2 * x, 3 * x]) + self.two([x, 10 * x, 100 * x]))

    network = Merging()
    space = space_of(network, size=(2,))
    x, mix = (
        torch.randn(2, 2),
        {"one": torch.tensor([[0.5, 0.25, 0.25]]), "two": torch.tensor([[1, 0.0], [0.5, 0.5], [0, 1]])},
    )
    torch.testing.assert_close(space.supernet()(x, mix), network.last((1.75 + 105 / 2) * x))


def test_what_is_overwritten_in_place_is_not_seen_by_other_candidates():
    space = space_of(nn.Sequential(OneOf({"relu": nn.ReLU(inplace=True), "skip": nn.Identity()})), size=(2,))
    x = torch.tensor([[-1.0, 1.0]])
    assert space.supernet()(x, {"0": torch.tensor([[0.5, 0.5]])}).tolist() == [[-0.5, 1.0]]


def test_none_is_zeros_of_the_shape_of_the_others():
    point = OneOf({"none": None, "conv": nn.Conv2d(3, 5, 3, stride=2, padding=1)})
    space = space_of(nn.Sequential(point))
    network = space.build(space.architecture(["none"]))
    for side in (8, 7, 12):
        wanted = nn.Conv2d(3, 5, 3, stride=2, padding=1)(torch.randn(2, 3, side, side))
        assert torch.equal(network(torch.randn(2, 3, side, side)), torch.zeros_like(wanted))


def test_an_instance_brings_its_weights_and_stays_as_it_is():
    network = Net().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    space = space_of(network)
    supernet = space.supernet()
    assert torch.equal(supernet.network.stem.weight, network.stem.weight)
    arch = space.sample(Random(0))
    assert torch.equal(space.build(arch).stem.weight, network.stem.weight)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert isinstance(network.body, Repeat) and not network.training


# Costs


@pytest.mark.parametrize("network", [Net, Even, Transformer], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("cost", ["params", "macs"])
def test_expected_costs_are_those_of_all_members(network, cost):
    space = space_of(network)
    networks = Networks(space, Sizes({"num_classes": 10, "in_channels": 3}, SIZE))
    costs = MemberCosts(networks, [cost])
    expected = expected_cost(networks, cost)
    draw = {
        name: choice.softmax(torch.randn(choice.shape, dtype=torch.float64, generator=stream(0, name)))
        for name, choice in space.choices.items()
    }
    if network is Net:
        draw["merge"] = draw["merge"] * 0 + 0.5  # costs nothing
    total, least, most = 0.0, math.inf, 0.0
    for index, arch in enumerate(members(space)):
        (value,) = costs.look(arch) if index % 50 == 0 else costs.of(arch)
        assert (value,) == costs.of(arch)
        least, most = min(least, value), max(most, value)
        rows = {name: draw[name][0, space.choices[name].ops.index(str(arch[name]))] for name in arch if name != "merge"}
        total += value * math.prod(map(float, rows.values())) / (3 if network is Net else 1)
        if index % 40 == 0:
            assert math.isclose(float(expected(space.mix(arch))), value, rel_tol=1e-9)
    assert math.isclose(float(expected(draw)), total, rel_tol=1e-9)
    assert (expected.least, expected.most) == pytest.approx((least, most))


def test_limits_out_of_reach_are_refused_with_the_range(space):
    with pytest.raises(ConfigurationError, match=r"keeps the limit 1 of macs: they have [\d,]+ to [\d,]+"):
        ramify.search(space, strategies.DARTS(epochs=1, batch_size=16, limits={"macs": 1.0}), digits(), progress=False)


# Searches


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_searches_it_or_says_why_not(space, name):
    strategy = instance(STRATEGIES[name], strategies.Strategy, "a strategy", SETTINGS)
    verdict = ramify.compatible(space, strategy)
    if name in ("CDARTS", "DARTSPlus", "FairNAS", "PCDARTS", "PDARTS"):
        assert not verdict and verdict.reason.startswith("AnyNetwork lacks")
        return
    assert verdict
    result = ramify.search(space, strategy, digits(), progress=False, threads=1)
    assert result.architecture in space


def test_fair_paths_need_as_many_candidates_everywhere():
    fair = strategies.FairNAS(**SMALL)
    assert ramify.search(space_of(Even), fair, digits(), progress=False).architecture in space_of(Even)


def test_rows_of_a_table_are_searched():
    data = load("iris", subset=60, quiet=True)
    for strategy in (
        strategies.GDAS(epochs=1, batch_size=10),
        strategies.SPOS(**SMALL),
        strategies.RegularizedEvolution(evaluations=2, evaluator=TrainFromScratch(epochs=1)),
    ):
        assert ramify.search(space_of(Rows, (4,)), strategy, data, progress=False).architecture in space_of(Rows, (4,))
    with pytest.raises(ConfigurationError, match="AnyNetwork is for rows of a table, not for images"):
        ramify.search(space_of(Rows, (4,)), strategies.GDAS(epochs=1), digits(), progress=False)


def test_no_network_is_trained_twice(monkeypatch):
    seen = []
    strategy = strategies.RandomSearch(evaluations=12, evaluator=TrainFromScratch(epochs=1, batch_size=16))
    start = TrainFromScratch.start

    def watched(self, space, work):
        evaluation = start(self, space, work)

        class Watched(type(evaluation)):
            def __call__(self, arch, epochs=None):
                seen.append(arch)
                return super().__call__(arch, epochs)

        evaluation.__class__ = Watched
        return evaluation

    monkeypatch.setattr(TrainFromScratch, "start", watched)
    network = space_of(Even)
    ramify.search(network, strategy, digits(), progress=False)
    assert len(seen) == len(set(seen)) <= network.networks
    assert all(network.canonical(arch) == arch for arch in seen)


def test_numbers_are_searched_one_by_one_only():
    space = space_of(Numbered)
    verdict = ramify.compatible(space, strategies.DARTS())
    assert verdict.reason == (
        "hidden is a number that the constructor reads, so no supernet holds all of its values; search widths=…, or "
        "use RegularizedEvolution"
    )
    with pytest.raises(ConfigurationError, match=r"DARTS cannot search AnyNetwork\(Numbered\): hidden is a number"):
        ramify.search(space, strategies.DARTS(), digits(), progress=False)
    inherited = strategies.RandomSearch(evaluations=2, evaluator=InheritedWeights(epochs=1))
    assert "hidden is a number" in ramify.compatible(space, inherited).reason
    found = strategies.RegularizedEvolution(evaluations=2, evaluator=TrainFromScratch(epochs=1, batch_size=16))
    assert ramify.search(space, found, digits(), progress=False).architecture["hidden"] in (4, 8)


def test_what_is_joined_has_no_mixture_but_single_paths():
    space = space_of(Joining)
    with pytest.raises(ConfigurationError) as caught:
        ramify.search(space, strategies.GDAS(epochs=1), digits(), progress=False)
    assert str(caught.value) == (
        "GDAS cannot search AnyNetwork(Joining): Inputs at merge joins by cat, which has no mixture; single paths "
        "(SPOS, RSPS, evolution) can"
    )
    spos = strategies.SPOS(**SMALL)
    arch = ramify.search(space, spos, digits(), progress=False).architecture
    supernet = space.supernet().double().eval()
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    mix = space.mix(arch)
    active = {name: weights > 0 for name, weights in mix.items()}
    assert torch.equal(space.extract(supernet, arch)(x), supernet(x, mix, active=active))


def test_a_search_is_continued_with_the_same_result(space, tmp_path):
    strategy = strategies.SPOS(**SMALL)
    first = ramify.search(space, strategy, digits(), out=tmp_path / "a", progress=False)
    again = ramify.search(space_of(), strategy, digits(), out=tmp_path / "a", progress=False)
    assert first.architecture == again.architecture
    trained = ramify.retrain(first, start="inherited", recipe=ramify.Recipe(epochs=1, batch_size=16), progress=False)
    assert type(trained.network) is Net or trained.network is not None


# Names


def test_an_object_is_known_by_its_fingerprint_where_it_is_at_hand():
    network = nn.Sequential(OneOf({"a": nn.Identity(), "b": nn.ReLU()}))
    space = space_of(network, size=(2,))
    arch = space.sample(Random(0))
    assert arch.arguments["network"] == "instance" and len(arch.arguments["fingerprint"]) == 64
    assert spaces.space_of(arch).decisions == space.decisions
    assert pickle.loads(pickle.dumps(space)).sample(Random(0)) == arch
    plain = arch.to_json()
    del space, network
    gc.collect()
    other = ramify.Architecture.from_json(plain)
    with pytest.raises(RamifyError, match="the network is an object of a program"):
        spaces.space_of(other)


def test_a_local_class_goes_by_its_fingerprint():
    class Local(nn.Sequential):
        def __init__(self):
            super().__init__(OneOf({"a": nn.Identity(), "b": nn.ReLU()}))

    space = space_of(Local, size=(2,))
    assert space.network.endswith("Local") and space.fingerprint
    assert spaces.space_of(space.sample(Random(0))).decisions == space.decisions


def test_classes_are_named_by_their_modules(space):
    assert space.arguments == {"network": "networks_of_users:Net", "input_size": [3, 8, 8]}
    assert spaces.create(space.to_dict()).decisions == space.decisions
    assert repr(space) == "AnyNetwork(network='networks_of_users:Net', input_size=[3, 8, 8])"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("resnet18", "must be torchvision:NAME, timm:NAME, FILE.py:NAME or PACKAGE.MODULE:NAME"),
        ("torchvision:resnet19", "torchvision has no network 'resnet19'; did you mean 'resnet18'"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision has no network"),
        ("timm:resnet19", "timm has no network 'resnet19'"),
        ("networks_of_users:Nett", "defines no network 'Nett'; did you mean 'Net'"),
        ("networks_of_users:torch", "defines no network 'torch'"),
        (3, "must be a class, a function, a module of PyTorch or a name, got 3"),
    ],
)
def test_unknown_names_are_refused(network, message):
    with pytest.raises(ConfigurationError, match=message):
        space_of(network)


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "builtins:eval", "torch.hub:load", "pickle:loads"])
def test_names_in_files_call_nothing_but_networks(name):
    with pytest.raises(RamifyError, match=r"defines no network|names import nothing"):
        spaces.create({"space": "AnyNetwork", "arguments": {"network": name, "keywords": {"command": "false"}}})


def test_names_in_files_import_nothing(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nNet = None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("evil.py:Net", f"{tmp_path}/evil.py:Net", "evil:Net"):
        arguments = {"network": name}
        with pytest.raises(RamifyError, match="names import nothing"):
            spaces.create({"space": "AnyNetwork", "arguments": arguments})
        arch = ramify.Architecture("AnyNetwork", {"0": "a"}, arguments)
        for read in (spaces.space_of, ramify.describe):
            with pytest.raises(RamifyError, match="names import nothing"):
                read(arch)
        config = tmp_path / "config.yaml"
        config.write_text(
            f"space: {{class_path: AnyNetwork, init_args: {{network: '{name}'}}}}\nstrategy: GDAS\nout: run\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "ramify", "search", "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2 and "names import nothing" in done.stderr
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "keywords"),
    [("torchvision:resnet18", {"weights": "DEFAULT"}), ("timm:resnet18", {"checkpoint_path": "evil.pth"})],
)
def test_names_load_no_weights(name, keywords):
    with pytest.raises(ConfigurationError, match="a name never loads weights, so `keywords` cannot hold"):
        space_of(name, keywords=keywords)


# Refusals, by their text


class Disagreeing(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = OneOf({"k3": nn.Conv2d(3, 32, 3, padding=1), "pool": nn.Conv2d(3, 32, 2, stride=2)})

    def forward(self, x):
        return self.body(x).mean((2, 3))


class TwoLists(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.ModuleDict({"op": OneOf({"k3": nn.Identity(), "k5": nn.ReLU()}, name="op")})
        self.b = nn.ModuleDict({"op": OneOf({"k3": nn.Identity(), "pool": nn.ReLU()}, name="op")})

    def forward(self, x):
        return self.b["op"](self.a["op"](x))


class Dictionary(nn.Module):
    def __init__(self):
        super().__init__()
        self.op = OneOf({"a": nn.Identity(), "b": nn.ReLU()})

    def forward(self, x):
        return {"logits": self.op(x)}


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(OneOf({"a": nn.Identity()}), nn.Sequential(nn.Conv2d(5, 3, 1)))

    def forward(self, x):
        return self.features(x)


class Sometimes(nn.Module):
    def __init__(self):
        super().__init__()
        self.size = number("more", 1, 2) if number("hidden", 4, 8) == 8 else 1
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        return self.last(x.mean((2, 3)))


class Shrinking(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Repeat(lambda i: nn.Conv2d(3, 3, 3, padding=1, stride=2 if i else 1), depths=(1, 2))

    def forward(self, x):
        return self.body(x).mean((2, 3))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Disagreeing,
            "body: candidates k3 and pool return (1, 32, 8, 8) and (1, 32, 4, 4); the candidates of one point must "
            "agree",
        ),
        (TwoLists, "points a.op and b.op share the name 'op' but offer k3, k5 and k3, pool"),
        (
            Dictionary,
            "the network returns a dict; AnyNetwork searches networks that return logits (B, classes), or (logits, "
            "auxiliary)",
        ),
        (Failing, "the network cannot run on an image of (3, 8, 8): features.1.0 (Conv2d): Given groups=1"),
        (Sometimes, "number 'more' is asked for by some members only"),
        (Shrinking, "body.1: the block maps (1, 3, 8, 8) to (1, 3, 4, 4)"),
        (lambda: nn.Linear(3), "cannot be made: TypeError"),
        (lambda: 3, "must make a module of PyTorch, got 3"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_searched_is_refused_by_its_text(network, message):
    with pytest.raises(ConfigurationError) as caught:
        space_of(network)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_nothing_to_search_is_refused():
    with pytest.raises(ConfigurationError) as caught:
        spaces.AnyNetwork("torchvision:resnet18", widths=(), depth=False)
    assert str(caught.value) == (
        "AnyNetwork(torchvision:resnet18) has no choice point, and widths, depth, kernels are empty: there is "
        "nothing to search; try widths=(0.5, 0.75, 1.0)"
    )


class Fixed(nn.Module):
    """A network of three channels and a thousand outputs."""

    def __init__(self):
        super().__init__()
        self.op = OneOf({"a": nn.Identity(), "b": nn.ReLU()})
        self.last = nn.Linear(3, 1000)

    def forward(self, x):
        return self.last(self.op(x).mean((2, 3)))


class OfThree(Fixed):
    def __init__(self, num_classes=10):
        super().__init__()
        self.last = nn.Linear(3, num_classes)


def test_classes_and_channels_must_be_those_of_the_data():
    strategy = strategies.GDAS(epochs=1, batch_size=16)
    with pytest.raises(ConfigurationError) as caught:
        ramify.search(space_of(Fixed), strategy, digits(), progress=False)
    assert str(caught.value) == (
        "the network has 1,000 outputs, digits has 10 classes: replace its last layer first, or hand in the constructor"
    )
    with pytest.raises(ConfigurationError, match="OfThree takes images of 3 channels, digits has 1"):
        ramify.search(space_of(OfThree), strategy, digits(), progress=False)


def test_a_uniform_mix_has_finite_outputs(space):
    assert space.supernet()(torch.randn(2, *SIZE), existing(space.choices)).isfinite().all()
