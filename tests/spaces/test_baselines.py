"""Baselines: the numbers of the original programs, names and records, and images of any kind."""

import pytest
import torch
from reference import cases
from test_reference import check_network

import ramify
from ramify import spaces, strategies
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.spaces.baselines import NETWORKS, Dense, Pooled, ResNet, Torchvision, Wide
from small_runs import DATA

SPACE = spaces.Baselines()
DEEP = {7, 13}  # which take longest

TORCHVISION = [name for name, network in NETWORKS.items() if isinstance(network, Torchvision)]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["id"], marks=[pytest.mark.slow] if int(case["id"][-3:]) in DEEP else [])
        for case in cases("resnet-cifar")
    ],
)
def test_networks_reproduce_the_reference(case):
    config = case["config"]
    config.setdefault("input", config.get("counts", {}).get("input"))
    space = spaces.recognize(case["arch"])
    arch = space.parse(case["arch"])
    check_network(lambda: space.build(arch, num_classes=config["num_classes"]), {"logits_train": None, **case})
    assert space.record(arch) == case["arch"]


@pytest.mark.parametrize(
    ("name", "params", "macs"), [("ResNet1001", 10_327_834, 1_490_995_712), ("WRN-28-10", 36_479_194, 5_243_328_768)]
)
def test_counts_of_the_largest(name, params, macs):
    with torch.device("meta"):
        cost = ramify.profile(SPACE.build(SPACE.parse(name)), (3, 32, 32))
    assert (cost.params, cost.macs) == (params, macs)


class TestNames:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_every_network_goes_by_its_name_and_by_its_record(self, name):
        arch = SPACE.parse(name)
        assert SPACE.format(arch) == name == arch["network"]
        assert SPACE.parse(SPACE.record(arch)) == SPACE.parse(f" {name}\n") == arch
        assert isinstance(spaces.recognize(name), spaces.Baselines) and spaces.recognize(name).arguments == {}

    @pytest.mark.parametrize(
        ("name", "network"),
        [
            ("ResNet-basic-14", ResNet("basic", 14)),
            ("ResNet-bottleneck-11", ResNet("bottleneck", 11)),
            ("WRN-10-1", Wide(10, 1)),
            ("DenseNet-BC-40-24-0.75", Dense(40, 24, 0.75)),
            ("DenseNet-40-12", Dense(40, 12, 1, False)),
            ("DenseNet-13-5-0.7", Dense(13, 5, 0.7, False)),
            ("ResNet-basic-1-1-1-1", Pooled("basic", (1, 1, 1, 1))),
            ("ResNet-bottleneck-1-2-1-1-deep", Pooled("bottleneck", (1, 2, 1, 1), True)),
        ],
    )
    def test_other_networks_of_a_family_are_named_by_their_numbers(self, name, network):
        space = spaces.recognize(name)
        arch = space.parse(name)
        assert network.name == space.format(arch) == name
        assert space.arguments == {"networks": [name]}
        assert spaces.space_of(ramify.Architecture.from_json(arch.to_json())).parse(network.record) == arch
        with pytest.raises(ArchitectureError, match=f"^{name} is not among the networks"):
            SPACE.parse(name)

    def test_numbers_that_have_a_name_of_their_own_go_by_it(self):
        assert SPACE.format(SPACE.parse("ResNet-basic-20")) == "ResNet20"
        assert SPACE.format(SPACE.parse("ResNet-basic-2-2-2-2")) == "ResNet18-avg"
        assert SPACE.format(SPACE.parse("DenseNet-BC-100-12-0.5")) == "DenseNet-BC-100-12"

    @pytest.mark.parametrize(
        ("notation", "message"),
        [
            ("ResNet21", "^'ResNet21' is no baseline; did you mean"),
            ("ResNet-basic-21", r"`depth` must be 6n \+ 2, at most 2000, got 21"),
            ("ResNet-bottleneck-20000", r"`depth` must be 9n \+ 2, at most 2000, got 20000"),
            ("WRN-28-100", "`widen` must be 1 to 64, got 100"),
            ("DenseNet-BC-100-0", "`growth` must be 1 to 256, got 0"),
            ("DenseNet-BC-100-12-1.5", r"`reduction` must be in \(0, 1\], got 1.5"),
            ("DenseNet-BC-99-12", r"`depth` must be 6n \+ 4"),
            ({"network": "resnet", "block": "wide", "depth": 20}, "`block` must be basic or bottleneck, got 'wide'"),
            ({"network": "resnet", "depth": 20}, "takes `block`, `depth`, got"),
            ({"network": "resnet", "block": "basic", "depth": "20"}, "`depth` must be"),
            ({"network": "imagenet", "block": "basic", "layers": [2, 2]}, "`layers` must be the blocks of four stages"),
            ({"network": "densenet", "depth": 13, "growth": 5, "bottleneck": 1}, "`bottleneck` must be true or false"),
            ({"network": "vgg"}, "'vgg' is no family of baselines"),
            ({"network": "torchvision", "model": "vgg11"}, "torchvision's 'vgg11' is no baseline"),
            (20, "a baseline is a name such as 'ResNet20'"),
        ],
    )
    def test_what_is_wrong_is_said(self, notation, message):
        with pytest.raises(ArchitectureError, match=message) as raised:
            SPACE.parse(notation)
        assert len(str(raised.value)) < 300

    @pytest.mark.parametrize(
        ("networks", "message"),
        [
            ([], "must be names of baselines"),
            ("ResNet20", "must be names of baselines"),
            ([20], "must be names of baselines"),
            (["ResNet9"], "`networks`: 'ResNet9' is no baseline"),
            (["ResNet-basic-20"], "ResNet-basic-20 goes by the name ResNet20"),
            (["ResNet8", "ResNet8"], "names a network twice"),
        ],
    )
    def test_members_are_checked(self, networks, message):
        with pytest.raises(ConfigurationError, match=message):
            spaces.Baselines(networks)


class TestNetworks:
    @pytest.mark.parametrize("name", ["ResNet8", "ResNet-bottleneck-11", "WRN-10-1", "ResNet-basic-1-1-1-1-deep"])
    @pytest.mark.parametrize("size", [(1, 8, 8), (4, 7, 9), (3, 32, 30), (2, 1, 1)])
    def test_images_of_any_size_and_any_channels(self, name, size):
        space = spaces.recognize(name)
        network = space.build(space.parse(name), in_channels=size[0], num_classes=7).eval()
        assert network(torch.randn(2, *size)).shape == (2, 7)

    def test_a_dense_network_needs_something_to_average(self):
        space = spaces.recognize("DenseNet-13-5-0.7")
        network = space.build(space.parse("DenseNet-13-5-0.7"), in_channels=1)
        assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)

    @pytest.mark.parametrize("name", TORCHVISION)
    def test_networks_of_torchvision_with_other_channels_and_classes(self, name):
        with torch.device("meta"):
            network = SPACE.build(SPACE.parse(name), in_channels=5, num_classes=3)
            assert network(torch.empty(2, 5, 64, 64)).shape == (2, 3)
            features = SPACE.build(SPACE.parse(name), num_classes=0)
            assert features(torch.empty(2, 3, 64, 64)).ndim == 2

    @pytest.mark.parametrize("name", ["ResNet18", "MobileNetV3-Small"])
    def test_networks_of_torchvision_are_those(self, name):
        from torchvision.models import get_model

        torch.manual_seed(0)
        known = get_model(NETWORKS[name].model, num_classes=4).eval()
        network = SPACE.build(SPACE.parse(name), num_classes=4).eval()
        head = NETWORKS[name].head
        state = {
            key.replace(f"{head}.", "classifier.") if key.startswith(f"{head}.") else f"features.{key}": value
            for key, value in known.state_dict().items()
        }
        network.load_state_dict(state)
        x = torch.randn(2, 3, 64, 64)
        assert torch.equal(network(x), known(x))


class TestSearch:
    def test_the_networks_of_a_space_are_searched_one_by_one(self, tmp_path):
        space = spaces.Baselines(["ResNet8", "ResNet-basic-14", "WRN-10-1"])
        evaluator = ramify.evaluators.TrainFromScratch(epochs=1, batch_size=32)
        strategy = strategies.RandomSearch(evaluations=3, evaluator=evaluator)
        result = ramify.search(space, strategy, data=DATA, out=tmp_path / "run", progress=False)
        assert result.architecture in space

    def test_what_needs_a_supernet_is_refused_with_the_reason(self):
        verdict = ramify.compatible(SPACE, strategies.DARTS)
        assert not verdict and verdict.reason.startswith(
            "Baselines lacks `supernet` (and `mixtures`), a network of all"
        )
        with pytest.raises(ArchitectureError, match=r"^Baselines has no supernet"):
            SPACE.supernet()

    def test_one_is_derived_by_argmax(self):
        scores = {"network": torch.zeros(1, len(NETWORKS))}
        scores["network"][0, 3] = 1
        assert SPACE.format(SPACE.discretize(scores)) == list(NETWORKS)[3]
        assert SPACE.restrict(SPACE.mix(SPACE.parse("ResNet8"))).size == 1

    def test_the_picture_tells_the_stages(self):
        (graph,) = SPACE.graphs(SPACE.parse("ResNet20")).values()
        assert [label for *_, label in graph.edges] == [
            "3×3, 16 channels",
            "3 × basic, 16 channels",
            "3 × basic, 32 channels",
            "3 × basic, 64 channels",
        ]
