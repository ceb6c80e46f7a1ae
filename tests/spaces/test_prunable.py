"""PrunableResNet: the numbers of the original programs, members and their costs, what is refused."""

import random

import pytest
import torch
from reference import alphas, assert_close, cases, image, set_weights

import ramify
from ramify import spaces, zoo
from ramify.costs import Inputs, Networks, Target, expected_cost, member_costs
from ramify.costs.prunable import ESTIMATE
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.spaces.prunable import PrunableResNet
from ramify.supernet.mixture import mixtures
from ramify.supernet.widths import Candidates
from ramify.testing import check_space

LONG = {7, 33, 29}  # of tas-infer, whose logits take longest
SMALL = PrunableResNet(depth=14)


def networks_of(space, size=(3, 32, 32), classes=10):
    return Networks(space, Inputs({"num_classes": classes, "in_channels": size[0]}, size))


def searched(case):
    """The space of a case of tas-search."""
    arch = case["arch"]
    keys = ("network", "block", "depth", "layers", "deep_stem", "searched")
    return PrunableResNet(**{key: arch[key] for key in keys if key in arch})


def formula(text, shape):
    """A tensor by a formula such as `1.1*sin(2.3*i + 0.5)`."""
    factor, rest = text.split("*", 1)
    function, inner = rest[:3], rest[4:-1]
    slope, shift = inner.split("*i + ")
    i = torch.arange(shape[0] * shape[1], dtype=torch.float64)
    return (float(factor) * getattr(torch, function)(float(slope) * i + float(shift))).reshape(shape)


def mixed(case, space):
    """Raw parameters, mixing weights and active candidates of a case of tas-search, by the strategy's own functions."""
    from ramify.strategies.tas import perturbed

    draw, rules = case["config"]["draw"], case["config"]["alphas"]
    raw, mix, active = {}, {}, {}
    for name, choice in space.choices.items():
        raw[name] = alphas(choice.shape, rules[name])
        gumbel = draw.get(f"{name}_gumbel")
        noise = torch.zeros(choice.shape) if gumbel is None else formula(gumbel, choice.shape)
        logits = perturbed(choice, raw[name], noise, draw["tau"])
        live = choice.mask
        if name == "width":
            live = torch.zeros_like(choice.mask)
            for row, pair in enumerate(draw["width_indices"]):
                live[row, pair] = True
        active[name] = live
        mix[name] = logits.masked_fill(~live, -torch.inf).softmax(dim=1)
    return raw, mix, active


class TestReference:
    @pytest.mark.parametrize(
        "case",
        [
            pytest.param(c, id=c["id"], marks=[pytest.mark.slow] if int(c["id"][-3:]) in LONG else [])
            for c in cases("tas-infer")
        ],
    )
    def test_networks_of_members(self, case):
        space = spaces.recognize(case["arch"])
        arch = space.parse(case["arch"])
        assert space.parse(space.format(arch)) == arch
        counts = case["config"]["counts"]
        with torch.device("meta"):
            network = space.build(arch, num_classes=counts["num_classes"])
        cost = ramify.profile(network, counts["input"][1:])
        assert (cost.params, cost.macs) == (case["params"]["total"], case["macs"]["total"])
        inputs = Inputs({"num_classes": counts["num_classes"], "in_channels": 3}, tuple(counts["input"][1:]))
        exact = member_costs(space, inputs)(arch)
        assert exact == {"params": case["params"]["total"], "macs": case["macs"]["total"]}
        if "stored_estimate" in case:
            (estimate,) = member_costs(space, inputs, names=[ESTIMATE]).of(arch)
            assert estimate == round(case["stored_estimate"] * 1e6)
        if case["logits_train"] is None:
            return
        config = case["config"]["logits"]
        for training in (True, False):
            network = space.build(arch, num_classes=config["num_classes"]).double().train(training)
            set_weights(network)
            mode = "train" if training else "eval"
            with torch.no_grad():
                logits = network(image(config["input"]))
            assert_close(logits, case[f"logits_{mode}"], case["amplification"][mode])

    @pytest.mark.parametrize("case", [c for c in cases("tas-search") if "network" in c["arch"]], ids=lambda c: c["id"])
    def test_search_networks(self, case):
        space, config = searched(case), case["config"]
        raw, mix, active = mixed(case, space)
        for name in ("width", "depth"):
            if f"{name}_probs" in config["draw"]:
                probs = config["draw"][f"{name}_probs"]
                indices = config["draw"].get(f"{name}_indices") if name == "width" else None
                taken = mix[name] if indices is None else mix[name].gather(1, torch.tensor(indices))
                torch.testing.assert_close(taken.detach(), torch.tensor(probs, dtype=torch.float64), rtol=0, atol=1e-9)
        x = image(config["input"])
        sup = space.supernet(num_classes=config["num_classes"]).double().train()
        set_weights(sup)
        assert sum(p.numel() for p in sup.parameters()) == case["params"]["total"]
        logits = sup(x, mix, active=active)
        assert_close(logits, case["logits_train"], case["amplification"]["train"])
        loss = logits.square().sum() / 2
        loss.backward()
        for name in raw:
            grown = case["amplification"]["grad"]
            assert_close(raw[name].grad, case[f"grad_{name}"], grown, gradient=True)
        fresh = space.supernet(num_classes=config["num_classes"]).double().eval()
        set_weights(fresh)
        with torch.no_grad():
            assert_close(fresh(x, mix, active=active), case["logits_eval"], case["amplification"]["eval"])

    @pytest.mark.parametrize("case", [c for c in cases("tas-search") if "network" in c["arch"]], ids=lambda c: c["id"])
    def test_estimates_of_the_original(self, case):
        space, config = searched(case), case["config"]
        networks = networks_of(space, tuple(config["input"][1:]), config["num_classes"])
        expected = expected_cost(networks, ESTIMATE)
        raw = {n: alphas(choice.shape, config["alphas"][n]) for n, choice in space.choices.items()}
        millions = expected({name: value.softmax(dim=1) for name, value in raw.items()}) / 1e6
        assert float(millions.detach()) == pytest.approx(case["expected_flops"], rel=1e-9)
        millions.log().backward()
        for name, value in raw.items():
            wanted = torch.tensor(case[f"grad_log_flops_{name}"], dtype=torch.float64)
            torch.testing.assert_close(value.grad, wanted, rtol=0, atol=2e-9 * float(wanted.abs().max()))
        derived = space.discretize({name: value.detach() for name, value in raw.items()})
        found = case["argmax"]
        if found is not None:
            record = space.format(derived)
            assert record["channels"] == found.get("xchannels", record["channels"])
            assert record["blocks"] == found.get("xblocks", record["blocks"])
            assert expected.of(derived) == round(found["flops"] * 1e6)
        for line in case["flops_loss"]:
            target = Target.__new__(Target)
            target.target, target.tolerance = line["target"] * 1e6, line["tolerance"] * 1e6
            cost = expected.of(derived) if found is not None else float(millions.detach()) * 1e6
            assert float(target.term(millions.detach() * 1e6, cost)) == pytest.approx(line["loss"], rel=1e-9, abs=1e-12)


def test_candidates_are_as_published():
    assert PrunableResNet().widths[:8:7] == ((4, 6, 8, 9, 11, 12, 14, 16), (9, 12, 16, 19, 22, 25, 28, 32))
    assert PrunableResNet().widths[-1] == (19, 25, 32, 38, 44, 51, 57, 64)
    depths = {2: (1, 2), 3: (1, 2, 3), 5: (1, 3, 5), 9: (1, 3, 5, 7, 9), 18: (*range(1, 18, 2), 18)}
    for blocks, wanted in depths.items():
        assert PrunableResNet(depth=6 * blocks + 2).plan.depths == (wanted,) * 3
    fifty = PrunableResNet("imagenet", "bottleneck", layers=(3, 4, 6, 3))
    assert fifty.plan.depths == ((1, 2, 3), (1, 2, 4), (2, 4, 6), (1, 2, 3))
    assert [choice.shape for choice in PrunableResNet().choices.values()] == [(19, 8), (3, 3)]
    assert PrunableResNet().size == 8**19 * 27


def test_members_that_differ_in_what_is_left_out_are_one_network():
    space = PrunableResNet(depth=14, shares=(0.5, 1))
    shallow = space.restrict({"depth": [[True, False]] * 3})
    assert (shallow.size, shallow.networks) == (2**13, 2**7)
    assert space.networks == 2 * (4 + 16) ** 3
    arch = shallow.sample(random.Random(0))
    other = space.architecture(dict(arch.choices) | {"stage2.1.conv_a": 32})
    assert space.canonical(arch) == space.canonical(other)
    alone = space.restrict({name: weights > 0 for name, weights in space.mix(arch).items()})
    assert alone.networks == 1 and arch in alone


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (SMALL, (3, 32, 32)),
        (PrunableResNet(block="bottleneck", depth=20), (1, 9, 11)),
        (PrunableResNet("imagenet", deep_stem=True), (3, 47, 64)),
        (PrunableResNet("imagenet", "bottleneck", layers=(1, 2, 1, 1)), (3, 64, 64)),
        (PrunableResNet(depth=20, searched="width"), (3, 8, 8)),
        (PrunableResNet(depth=20, block="bottleneck", searched="depth"), (3, 8, 8)),
        (PrunableResNet(depth=14, shares=(0.01, 0.05, 0.5, 1)), (3, 8, 8)),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_expected_cost_of_a_member_is_that_of_its_network(space, size):
    networks = networks_of(space, size, 7)
    rng = random.Random(0)
    for arch in [space.full, *(space.sample(rng) for _ in range(4))]:
        with torch.device("meta"):
            found = ramify.profile(space.build(arch, num_classes=7, in_channels=size[0]), size)
        for name, wanted in (("params", found.params), ("macs", found.macs)):
            cost = expected_cost(networks, name)
            assert cost.of(arch) == float(cost(space.mix(arch))) == wanted
            assert cost.least <= wanted <= cost.most


@pytest.mark.parametrize("name", ["params", "macs"])
def test_the_expectation_is_the_mean_over_members(name):
    space = PrunableResNet(depth=8, block="basic", shares=(0.5, 0.75, 1))
    space = space.restrict({"width": [[True, True, row % 2 == 0] for row in range(7)]})
    generator = torch.Generator().manual_seed(0)
    shares = {n: c.softmax(torch.randn(c.shape, generator=generator).double()) for n, c in space.choices.items()}
    cost = expected_cost(networks_of(space), name)
    total = least = 0
    members = [space.architecture({})] if not space.decisions else list(members_of(space))
    for arch in members:
        probability = 1.0
        for decision in arch:
            for choice, row, column in space.candidates(decision, arch[decision]):
                probability *= float(shares[choice][row, column])
        total += probability * cost.of(arch)
        least = min(least or cost.of(arch), cost.of(arch))
    assert float(cost(shares)) == pytest.approx(total, rel=1e-10)
    assert cost.least == least
    assert cost.most == max(cost.of(arch) for arch in members)


def members_of(space):
    from itertools import product

    names = [decision.name for decision in space.decisions]
    for values in product(*(decision.choices for decision in space.decisions)):
        yield space.architecture(dict(zip(names, values, strict=True)))


class TestPaths:
    def test_a_one_hot_mix_is_one_path(self):
        space = SMALL
        sup = space.supernet().double()
        arch, x = space.sample(random.Random(1)), torch.randn(4, 3, 8, 8, dtype=torch.float64)
        mix = space.mix(arch)
        active = {name: weights > 0 for name, weights in mix.items()}
        torch.testing.assert_close(sup(x, mix, active=active), sup(x, mix), rtol=1e-12, atol=1e-12)

    def test_without_shortcuts_of_its_own_a_path_is_the_member(self):
        space = PrunableResNet(depth=8, searched="width")
        sup = space.supernet().double()
        arch = space.full
        member = space.build(arch).double()
        state = sup.state_dict()
        with torch.no_grad():
            for name, value in member.state_dict().items():
                home, _, last = name.rpartition(".")
                width = member.get_submodule(home.removesuffix(".norm")).conv.out_channels if ".norm" in name else 0
                value.copy_(state[name if not width else f"{home.removesuffix('norm')}norms.{width}.{last}"])
        x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
        inner = member.layers[1](member.layers[0](x))  # behind them shortcuts have a norm in the supernet
        rows = Candidates.alone(len(space.shares) - 1, x)
        outer = sup.layers[1](sup.layers[0](x, rows), [rows, rows])
        torch.testing.assert_close(inner, outer, rtol=1e-12, atol=1e-12)

    def test_every_candidate_of_a_one_hot_mix_has_a_gradient(self):
        sup = SMALL.supernet().double()
        mix = {name: w.double().requires_grad_() for name, w in SMALL.mix(SMALL.full).items()}
        sup(torch.randn(4, 3, 8, 8, dtype=torch.float64), mix).square().sum().backward()
        assert all(bool((weights.grad != 0).all()) for weights in mix.values())

    def test_nothing_behind_the_deepest_active_block_is_computed(self):
        space = PrunableResNet(depth=20)
        sup, calls = space.supernet(), []
        for number, layer in enumerate(sup.layers):
            layer.register_forward_hook(lambda *_, number=number: calls.append(number))
        shallow = space.architecture(dict(space.full.choices) | {"stage1": 1, "stage2": 2, "stage3": 1})
        mix = space.mix(shallow)
        sup(torch.randn(2, 3, 8, 8), mix, active={name: weights > 0 for name, weights in mix.items()})
        assert calls == [0, 1, 4, 5, 7]

    def test_what_is_counted_is_told_on_request(self):
        mix = {"width": torch.tensor([[0.0, 1.0]])}
        choices = {"width": ramify.supernet.Choice(((0, 1),), ("a", "b"))}
        assert mixtures(choices, mix, mix["width"])["width"].counted == ()
        assert mixtures(choices, mix, mix["width"], counted=True)["width"].counted == ((1,),)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"network": "mnist"}, "`network` must be 'cifar', 'imagenet'"),
            ({"depth": 21}, r"`depth` of a ResNet of basic blocks must be 6n \+ 2"),
            ({"depth": 20, "layers": (1, 1, 1, 1)}, "`layers` and `deep_stem` are of the network for ImageNet"),
            ({"network": "imagenet", "layers": (1, 1)}, "blocks of four stages"),
            ({"network": "imagenet", "depth": 26}, "`depth` is of the network for CIFAR"),
            ({"shares": (0.5, 0.25, 1)}, "`shares` must be ascending"),
            ({"shares": (0.5,)}, "the last 1"),
            ({"searched": "kernel"}, "`searched` must be"),
            ({"depth": 60_002}, "`depth` must be at most"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(ConfigurationError, match=message):
            PrunableResNet(**arguments)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"channels": [3, 16]}, "`channels` must be 20 whole numbers"),
            ({"blocks": [3, 3, 4]}, "stage3 cannot have 4 blocks, only '1', '2', '3'"),
            ({"channels": [3, 5, *[16] * 6, *[32] * 6, *[64] * 6]}, "stem cannot have 5 channels"),
            ({"growth": 4}, "has no 'growth'"),
            ({"depth": 26}, "this is a network of"),
            ({"depth": "20"}, "`depth` of a ResNet"),
        ],
    )
    def test_records(self, changed, message):
        record = {"network": "cifar", "block": "basic", "depth": 20} | changed
        with pytest.raises(ArchitectureError, match=message):
            PrunableResNet().parse(record)

    def test_members_take_over_no_weights(self):
        with pytest.raises(ArchitectureError, match="take over no weights"):
            SMALL.extract(SMALL.supernet(), SMALL.full)

    def test_the_estimate_is_of_these_networks_alone(self):
        space = spaces.NASBench201()
        with pytest.raises(ConfigurationError, match="estimate for members of PrunableResNet"):
            member_costs(space, Inputs({"num_classes": 10, "in_channels": 3}, (3, 32, 32)), names=[ESTIMATE]).of(
                space.sample(random.Random(0))
            )


@pytest.mark.parametrize(
    "space",
    [SMALL, PrunableResNet(block="bottleneck", depth=11, searched="width"), PrunableResNet(searched="depth")],
    ids=["shape", "width", "depth"],
)
def test_it_keeps_the_contract_of_spaces(space):
    check_space(space, inheritance=False)


@pytest.mark.parametrize("depths", [(1, 2, 2), (2, 2, 2)])
def test_the_picture_begins_no_row_with_its_last_state(depths):
    stages = {f"stage{number}": depth for number, depth in enumerate(depths, start=1)}
    (graph,) = SMALL.graphs(SMALL.architecture(dict(SMALL.full.choices) | stages)).values()
    assert len(graph.states) == 2 + sum(depths) and graph.passes
    assert all(0 < row < graph.output for row in graph.rows)


def test_published_networks_are_in_the_zoo():
    entries = [entry for entry in zoo.entries() if isinstance(entry.space, PrunableResNet)]
    assert len(entries) == 6
    for entry in entries:
        for name, network in entry.networks.items():
            with torch.device("meta"):
                cost = ramify.profile(entry.build(name), network.input_size)
            assert (cost.params, cost.macs) == (network.params, network.macs)
