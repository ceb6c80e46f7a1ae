"""The size space of NATS-Bench: notation, exact counts, and the supernet of masks."""

import random

import pytest
import torch

import ramify
from ramify import spaces, strategies
from ramify.benchmarks import ORDERS
from ramify.errors import ArchitectureError, ConfigurationError

SPACE = spaces.NATSBenchSize()
SMALL = spaces.NATSBenchSize(widths=(2, 3, 6))


def supernet(space=SMALL, **layout):
    torch.manual_seed(0)
    return space.supernet(**layout).double()


def images(batch=3, size=(8, 8)):
    torch.manual_seed(1)
    return torch.randn(batch, 3, *size, dtype=torch.float64)


class TestMembers:
    def test_the_benchmark_has_32768(self):
        assert SPACE.size == 32_768
        assert [decision.name for decision in SPACE.decisions] == ["c0", "c1", "c2", "c3", "c4"]
        assert {decision.choices for decision in SPACE.decisions} == {(8, 16, 24, 32, 40, 48, 56, 64)}

    def test_a_text_of_the_benchmark(self):
        arch = SPACE.parse(" 8:16 : 24:32:40\n")
        assert SPACE.format(arch) == "8:16:24:32:40"
        assert [arch[name] for name in arch] == [8, 16, 24, 32, 40]
        assert isinstance(spaces.recognize("8:16:24:32:40"), spaces.NATSBenchSize)

    def test_the_index_of_the_benchmark(self):
        sizes = ORDERS["nats-size"].notations()
        assert SPACE.parse(sizes[12]) == SPACE.architecture([8, 8, 8, 16, 40])
        rng = random.Random(0)
        for index in (0, 32_767, *(rng.randrange(32_768) for _ in range(50))):
            arch = SPACE.parse(sizes[index])
            digits = [decision.index[arch[decision.name]] for decision in SPACE.decisions]
            assert index == sum(digit * 8 ** (4 - place) for place, digit in enumerate(digits))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("8:8:8:8", "'8:8:8:8' has 4 numbers, a NATS-Bench size has 5"),
            ("8:8:8:8:8:8", "has 6 numbers"),
            ("8:8:12:8:8", r"c2: '12' is not among the widths \[8, 16, 24, 32, 40, 48, 56, 64\]"),
            ("8:8:8:8:", "c4: '' is not among"),
            ("8:8:8:8:008", "c4: '008' is not among"),
            ("8:8:8:8:-8", "c4: '-8' is not among"),
            ([8, 8, 8, 8], "'8:8:8:8' has 4 numbers"),
            (8, "is a text such as '8:8:40:32:64', got int"),
        ],
    )
    def test_what_is_wrong_is_said(self, text, message):
        with pytest.raises(ArchitectureError, match=message):
            SPACE.parse(text)

    @pytest.mark.parametrize("widths", [(), (8, 8), (16, 8), (0, 8), (8, 16.0), (True, 2)])
    def test_widths_ascend_from_one(self, widths):
        with pytest.raises(ConfigurationError, match="`widths` must be ascending whole numbers from 1"):
            spaces.NATSBenchSize(widths)

    def test_the_picture_tells_the_widths(self):
        (graph,) = SPACE.graphs(SPACE.parse("8:16:24:32:40")).values()
        assert [label for _, _, label in graph.edges] == [f"{width} channels" for width in (8, 16, 24, 32, 40)]

    def test_it_is_derived_by_argmax(self):
        scores = torch.zeros(5, 8)
        scores[torch.arange(5), torch.tensor([7, 0, 3, 3, 1])] = 1.0
        assert SPACE.format(SPACE.discretize({"channels": scores})) == "64:8:32:32:16"


@pytest.mark.parametrize(
    ("text", "params", "macs"),
    [
        ("8:8:8:8:8", (11_714, 12_524, 12_704), (4_481_104, 4_481_824, 1_121_216)),
        ("8:8:8:16:32", (49_202, 52_172, 52_832), (6_840_640, 6_843_520, 1_713_920)),
        ("8:8:8:16:40", (67_378, 71_068, 71_888), (7_991_696, 7_995_296, 2_002_624)),
        ("8:8:40:32:40", (144_834, 148_524, 149_344), (21_827_984, 21_831_584, 5_461_696)),
        ("8:16:24:32:40", (115_490, 119_180, 120_000), (15_339_920, 15_343_520, 3_839_680)),
        ("16:16:32:32:64", (225_466, 231_316, 232_616), (33_866_368, 33_872_128, 8_474_112)),
        ("32:32:32:32:32", (179_690, 182_660, 183_320), (69_042_496, 69_045_376, 17_264_384)),
        ("64:48:32:16:8", (307_530, 308_340, 308_520), (218_976_336, 218_977_056, 54_745_024)),
        ("56:64:40:48:64", (519_218, 525_068, 526_368), (201_548_416, 201_554_176, 50_394_624)),
        ("64:64:64:64:64", (713_674, 719_524, 720_824), (274_399_872, 274_405_632, 68_607_488)),
    ],
)
def test_counts_of_the_released_benchmark(text, params, macs):
    for classes, size, wanted in zip((10, 100, 120), (32, 32, 16), zip(params, macs, strict=True), strict=True):
        with torch.device("meta"):  # shapes only: nothing is initialized
            network = SPACE.build(SPACE.parse(text), num_classes=classes)
        cost = ramify.profile(network, (3, size, size))
        assert (cost.params, cost.macs) == wanted


class TestSupernet:
    def test_it_is_as_wide_as_the_widest_candidates(self):
        mask = SPACE.choices["channels"].mask.clone()
        mask[0, 2:] = mask[4, 5:] = False
        sup = SPACE.restrict({"channels": mask}).supernet()
        assert sup.stem.conv.out_channels == 16
        assert sup.head.classifier.in_features == 40
        assert SPACE.supernet().head.classifier.in_features == 64

    def test_channels_behind_a_mask_are_zero_and_their_weights_do_not_matter(self):
        sup, x = supernet(track_running_stats=True, affine=True), images()
        mix = SMALL.mix(SMALL.parse("3:2:3:6:3"))
        before, features = sup(x, mix, taps=("stage1", "stage2", "stage3"))
        for name, width in (("stage1", 2), ("stage2", 6), ("stage3", 3)):
            assert features[name][:, :width].any() and not features[name][:, width:].any()
        with torch.no_grad():
            sup.stem.conv.weight[3:] = 7.0
            sup.layers[2].graph.edges["0-1"]["nor_conv_3x3"].body.weight[:, 2:] = 7.0
            sup.head.norm.bias[3:] = 7.0
            sup.head.classifier.weight[:, 3:] = 7.0
        torch.testing.assert_close(sup(x, mix), before)

    def test_nothing_is_computed_beyond_the_widest_active_candidate(self):
        sup, x = supernet(SPACE), images(1)
        arch = SPACE.parse("8:16:8:24:16")
        mix = SPACE.mix(arch)
        active = {"channels": mix["channels"].bool()}
        _, narrow = sup(x, mix, active=active, taps=("stage1", "stage2", "stage3"))
        assert [feature.shape[1] for feature in narrow.values()] == [16, 24, 16]
        active["channels"][1, 4] = True  # 40 channels are computed, and weigh nothing
        logits, wider = sup(x, mix, active=active, taps=("stage1",))
        assert wider["stage1"].shape[1] == 40
        torch.testing.assert_close(logits, sup(x, mix))

    def test_the_mask_is_a_weighted_sum_of_masks(self):
        """The stem alone, against the definition."""
        sup, x = supernet(), images()
        weights = torch.tensor([[0.2, 0.3, 0.5]] * 5, dtype=torch.float64)
        seen = []
        sup.stem.register_forward_hook(lambda module, args, output: seen.append(output))
        sup(x, {"channels": weights})
        plain = sup.stem.norm(sup.stem.conv(x))
        masks = torch.tensor([[1.0, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]], dtype=torch.float64)
        torch.testing.assert_close(seen[0], plain * (weights[0] @ masks).reshape(1, 6, 1, 1))

    def test_the_skip_is_weighed_by_how_likely_the_widths_are_equal(self):
        sup, x = supernet(), images()
        mix = SMALL.mix(SMALL.parse("3:2:3:6:3"))["channels"].double()
        seen = []
        sup.layers[2].register_forward_hook(lambda module, args, output: seen.extend((args[0], output)))
        projection = sup.layers[2].graph.edges["0-3"]["skip_connect"]
        with torch.no_grad():  # the other edges end in zeros
            for edge in ("1-3", "2-3"):
                sup.layers[2].graph.edges[edge]["nor_conv_3x3"].body.weight.zero_()
        mix[1] = torch.tensor([0.5, 0.4, 0.1])
        mix[2] = torch.tensor([0.0, 1.0, 0.0])
        sup(x, {"channels": mix})
        state, output = seen
        projected = projection.norm(projection.body(state))
        expected = torch.zeros_like(state)
        expected[:, :3] = 0.4 * state[:, :3] + 0.6 * projected[:, :3]
        torch.testing.assert_close(output, expected)

    def test_members_go_back_where_they_came_from(self):
        sup, arch = supernet(), SMALL.parse("3:2:3:6:3")
        network = SMALL.extract(sup, arch)
        with torch.no_grad():
            for value in network.state_dict().values():
                value.add_(1)
        before = {name: value.clone() for name, value in sup.state_dict().items()}
        SMALL.absorb(sup, network)
        for name, value in SMALL.extract(sup, arch).state_dict().items():
            assert torch.equal(value, network.state_dict()[name])
        name = "layers.2.graph.edges.0-1.nor_conv_3x3.body.weight"
        after = sup.state_dict()[name]
        assert torch.equal(after[:3, :2], before[name][:3, :2] + 1)
        assert torch.equal(after[3:], before[name][3:]) and torch.equal(after[:, 2:], before[name][:, 2:])

    def test_wider_members_are_refused(self):
        other = spaces.NATSBenchSize(widths=(2, 7))
        sup = supernet()
        before = {name: value.clone() for name, value in sup.state_dict().items()}
        with pytest.raises(ArchitectureError, match=r"has no parameter 'stem.conv.weight' of shape \(7, 3, 3, 3\)"):
            SMALL.absorb(sup, other.build(other.parse("7:2:2:2:2")))
        assert all(torch.equal(value, before[name]) for name, value in sup.state_dict().items())

    def test_norms_are_those_of_supernets(self):
        def norms(module):
            return [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]

        sup = supernet()
        for layer in (0, 2, 4):
            assert not any(norm.affine or norm.track_running_stats for norm in norms(sup.layers[layer]))
        for module in (sup.stem, sup.layers[1], sup.layers[3], sup.head):
            assert all(norm.affine and norm.track_running_stats for norm in norms(module))

    def test_what_a_supernet_of_masks_cannot_do(self):
        sup, x, mix = supernet(), images(), SMALL.mix(SMALL.parse("3:2:3:6:3"))
        with pytest.raises(ArchitectureError, match="numbers of channels cannot be dropped"):
            sup(x, mix, dropout={"6": 0.5})
        active = {"channels": torch.zeros(5, 3, dtype=torch.bool)}
        with pytest.raises(ArchitectureError, match="active: no width of layer c0 is left"):
            sup(x, mix, active=active)


@pytest.mark.parametrize("name", ["PCDARTS", "PDARTS", "DARTSPlus"])
def test_strategies_that_need_operations_say_so(name):
    verdict = ramify.compatible(SPACE, getattr(strategies, name)())
    assert not verdict and "NATSBenchSize" in verdict.reason
