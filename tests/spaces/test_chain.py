"""Chains: notations, layouts, supernets, and sampling by depth."""

import collections
import itertools
import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import ramify
from ramify import spaces
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.exporting import export_network
from ramify.ops.inverted_residual import squeezed_width
from ramify.ops.weights import count_weights
from ramify.spaces.chain import kept_strides
from ramify.supernet import existing

CHAINS = [spaces.CDARTSChain(), spaces.MobileChain(), spaces.FairMobileChain(), spaces.ShuffleChain()]
every_chain = pytest.mark.parametrize("space", CHAINS, ids=lambda space: space.name)

PUBLISHED = (2, 2, 2, 2, 1, 2)
"""The strides of CDARTS-a: stem and five stages."""


def test_sizes():
    assert [space.size for space in CHAINS] == [6**5 * 7**16, 6**6 * 7**15, 6**19, 4**20]
    assert spaces.CDARTSChain(absent=False).size == 6**21
    assert spaces.MobileChain(blocks=(1, 2, 1, 1, 1, 1)).size == 6**6 * 7


class TestNotation:
    @every_chain
    def test_only_blocks_that_are_not_the_first_can_be_left_out(self, space):
        for layer, (_, block) in enumerate(space.places):
            codes = [0] * len(space.places)
            codes[layer] = -1
            if "skip_connect" in space.operations and block:
                assert space.codes(_flat(space, codes)) == codes
            else:
                with pytest.raises(ArchitectureError, match=f"layer {layer} cannot be left out"):
                    _flat(space, codes)

    @every_chain
    def test_names_and_json_text_are_taken_too(self, space):
        codes = [number % 3 for number in range(len(space.places))]
        arch = _flat(space, codes)
        assert _flat(space, [space.operations[code] for code in codes]) == arch
        assert space.parse(json.dumps(codes)) == arch
        assert space.parse(json.dumps(space.format(arch))) == arch

    @pytest.mark.parametrize(
        ("codes", "message"),
        [
            ([0] * 20, "MobileChain has 21 layers, got 20 codes"),
            ([0] * 20 + [6], "layer 20: 6 is no code; there are 0 to 5"),
            ([0, 7] + [0] * 19, "layer 1: 7 is no code; there are 0 to 5, and -1 for a layer left out"),
            ([0, True] + [0] * 19, "layer 1: True is no code"),
            ([0, 1.0] + [0] * 19, "layer 1: 1.0 is no code"),
            ([0, -2] + [0] * 19, "layer 1: -2 is no code"),
            ([0, None] + [0] * 19, "layer 1: None is no code"),
            (["k3e4"] + [0] * 20, "layer 0: unknown operation 'k3e4'; did you mean 'k3e[36]'"),
            ([-1] + [0] * 20, "layer 0 cannot be left out: it is the first of its stage"),
            ("[0, 1", "is cut off"),
            ("__import__('os')", "is no list of codes"),
            (5, "is a list of codes, got int"),
        ],
    )
    def test_what_is_wrong_is_said(self, codes, message):
        with pytest.raises(ArchitectureError, match=message) as found:
            spaces.MobileChain().parse(codes)
        assert "\n" not in str(found.value)

    def test_an_identity_is_a_layer_left_out(self):
        space = spaces.MobileChain()
        assert space.parse(["k3e3", "identity"] + [0] * 19) == space.parse([0, -1] + [0] * 19)

    def test_evident_notations_find_their_space(self):
        assert [spaces.recognize([0] * count).name for count in (19, 20, 21)] == [
            "FairMobileChain",
            "ShuffleChain",
            "MobileChain",
        ]
        assert spaces.recognize([[0], [3], [3], [3], [3], [3], [0]]).name == "CDARTSChain"
        with pytest.raises(ArchitectureError, match="is no genotype, and no other notation"):
            spaces.recognize([[0], [1]])
        with pytest.raises(ArchitectureError, match="a list of 5 codes belongs to no known chain"):
            spaces.recognize([0] * 5)

    @pytest.mark.parametrize("blocks", [(4, 4), (4, 4, 0, 4, 4), (4, 4, True, 4, 4), (4, 4, 1.5, 4, 4), ()])
    def test_blocks_are_checked(self, blocks):
        with pytest.raises(ConfigurationError, match="`blocks` must be 5 whole numbers from 1, one for each stage"):
            spaces.CDARTSChain(blocks=blocks)

    @pytest.mark.parametrize("scales", [[1.0] * 19, [1.0] * 19 + [0], [1.0] * 19 + [-1.0]])
    def test_scales_are_checked(self, scales):
        with pytest.raises(ConfigurationError, match="`scales` must be 20 numbers above 0"):
            spaces.ShuffleChain(scales=scales)


def _flat(space, codes):
    return space.parse(codes)


ONE = [[0], [3], [3], [0], [0], [0], [0]]
"""A chain of CDARTS with a single code in every stage."""


class TestNotationOfCDARTS:
    def test_a_stage_of_a_single_code_ignores_it(self):
        space = spaces.CDARTSChain()
        for codes in itertools.product((0, 5), repeat=2):
            arch = space.parse([[0], [codes[0]], [codes[1]], *ONE[3:]])
            assert [arch[f"layer{space.places.index((stage, 0))}"] for stage in range(1, 6)] == [
                "k3e4",
                "k5e4",
                "k3e6",
                "k3e6",
                "k5e6",
            ]

    def test_minus_one_makes_the_code_count(self):
        space = spaces.CDARTSChain()
        assert space.parse([[0], [3, -1], *ONE[2:]])["layer0"] == "k5e6"

    def test_four_codes_in_the_third_stage_are_five_blocks(self):
        space = spaces.CDARTSChain()
        rest = [[0], [0], [0]]
        repeated = space.parse([[0], [0], [0], [1, 2, 3, 4], *rest])
        assert [repeated[f"layer{n}"] for n in range(8, 13)] == ["k3e6", "k5e4", "k5e6", "k7e4", "k7e4"]
        as_written = space.parse([[0], [0], [0], [1, 2, 3, 4, -1], *rest])
        assert as_written["layer12"] == "skip_connect"
        four = spaces.CDARTSChain(blocks=(4, 4, 4, 4, 4))
        assert four.format(four.parse([[0], [0, 0], [0, 0], [1, 2, 3, 4], [0, 0], [0, 0], [0]]))[3] == [1, 2, 3, 4]

    @settings(max_examples=60)
    @given(st.lists(st.integers(1, 5), min_size=5, max_size=5), st.booleans(), st.integers(0, 2**32))
    def test_what_is_written_is_read_again_in_every_instance(self, blocks, absent, seed):
        space = spaces.CDARTSChain(blocks=blocks, absent=absent)
        arch = space.sample(random.Random(seed))
        assert space.parse(space.format(arch)) == arch
        assert space.parse(json.dumps(space.format(arch))) == arch
        assert space.parse(space.codes(arch)) == arch

    @pytest.mark.parametrize(
        ("codes", "message"),
        [
            ([[0], [3]], "is written as 7 lists of codes"),
            ([[1], [3], [3], [3], [3], [3], [0]], r"the first and the last list of CDARTSChain must be \[0\]"),
            ([[0], [3], [3], [3], [3], [3], [2]], r"the first and the last list of CDARTSChain must be \[0\]"),
            ([[0], [], [3], [3], [3], [3], [0]], "stage 1 of CDARTSChain has 1 to 4 blocks, got 0 codes"),
            ([[0], [3] * 5, [3], [3], [3], [3], [0]], "stage 1 of CDARTSChain has 1 to 4 blocks, got 5 codes"),
            ([[0], [9, 9], [3], [3], [3], [3], [0]], "layer 0: 9 is no code"),
            ([[0], [[3], [3]], [3], [3], [3], [3], [0]], r"layer 0: \[3\] is no code"),
            ([[0], 3, [3], [3], [3], [3], [0]], "is written as 7 lists of codes"),
        ],
    )
    def test_what_is_wrong_is_said(self, codes, message):
        with pytest.raises(ArchitectureError, match=message):
            spaces.CDARTSChain().parse(codes)


class TestLayout:
    @pytest.mark.parametrize(
        ("resolution", "strides"),
        [
            (1, (1, 1, 1, 1, 1, 1)),
            (8, (1, 1, 1, 1, 1, 2)),
            (15, (1, 1, 1, 1, 1, 2)),
            (16, (1, 1, 1, 2, 1, 2)),
            (32, (1, 1, 2, 2, 1, 2)),
            (64, (1, 2, 2, 2, 1, 2)),
            (127, (1, 2, 2, 2, 1, 2)),
            (128, PUBLISHED),
            (224, PUBLISHED),
            (10_000, PUBLISHED),
        ],
    )
    def test_the_last_strides_are_kept(self, resolution, strides):
        assert kept_strides(PUBLISHED, resolution) == strides

    @every_chain
    @pytest.mark.parametrize(("resolution", "last"), [(8, 4), (32, 4), (64, 4), (224, 7)])
    def test_last_maps(self, space, resolution, last):
        arch = space.sample(random.Random(0))
        with torch.device("meta"):
            network = space.build(arch, resolution=resolution).eval()
            tap = f"stage{network.stages}"
            _, features = network(torch.empty(1, 3, resolution, resolution), taps=(tap,))
        assert features[tap].shape[2:] == (last, last)

    @every_chain
    def test_distilled_features_and_stems(self, space):
        with torch.device("meta"):
            network = space.build(space.sample(random.Random(0))).eval()
            _, features = network(torch.empty(1, 3, 224, 224), taps=network.distilled)
        assert [feature.shape[2] for feature in features.values()] == [28, 14]
        assert all(isinstance(network.get_submodule(name), nn.Module) for name in network.stems)
        assert network.stems == (("stem",) if space.name == "ShuffleChain" else ("stem", "first"))

    def test_other_skeletons_have_stems_and_distilled_stages(self):
        cifar = spaces.DARTSCells().supernet(channels=4, layers=3)
        assert (cifar.stems, cifar.distilled) == (("stem",), ("stage1", "stage2"))
        imagenet = spaces.DARTSCells().supernet(channels=4, layers=3, layout="imagenet")
        assert imagenet.stems == ("stem", "second_stem")
        bench = spaces.NASBench201().supernet(channels=4, cells=1)
        assert (bench.stems, bench.distilled) == (("stem",), ("stage1", "stage2"))

    @every_chain
    def test_all_widths_are_scaled_together(self, space):
        arch = space.sample(random.Random(1))

        def widths(**layout):
            with torch.device("meta"):
                network = space.build(arch, **layout)
            convs = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
            return [conv.out_channels for conv in convs if conv.bias is None]

        assert widths(channels=space.channels) == widths()
        double = widths(channels=2 * space.channels)
        assert double == [2 * width for width in widths()]
        assert all(width % 2 == 0 for width in widths(channels=2))

    def test_width_of_squeezing(self):
        published = {16: 8, 64: 16, 96: 24, 144: 40, 160: 40, 240: 64, 320: 80, 384: 96, 480: 120, 576: 144, 1152: 288}
        assert {width: squeezed_width(width) for width in published} == published
        assert squeezed_width(43) == 16  # 8 would be below nine tenths of a quarter

    @every_chain
    def test_partial_channels_are_refused(self, space):
        with pytest.raises(ConfigurationError, match="unknown layout keyword 'partial_channels'"):
            space.layout({"partial_channels": 2}, kind="supernet")
        found = ramify.compatible(space, ramify.strategies.PCDARTS())
        assert not found and "lacks `partial channels`" in found.reason

    def test_shortcuts_do_not_depend_on_scale_or_resolution(self):
        space = spaces.MobileChain()
        plain = [layer.residual for layer in space.plan(space.widths(space.layout()))]
        small = space.plan(space.widths(space.layout(channels=2, resolution=8)))
        assert [layer.residual for layer in small] == plain == [block > 0 for _, block in space.places]
        assert any(layer.c_in == layer.c_out and layer.first for layer in small)

    def test_dropout_acts_in_training_only(self):
        space = spaces.MobileChain(blocks=(1,) * 6)
        arch, x = space.sample(random.Random(0)), torch.randn(4, 3, 8, 8)
        network = space.build(arch, channels=4, resolution=8, dropout=0.5).train()
        assert not torch.allclose(network(x), network(x))
        network.eval()
        assert torch.equal(network(x), network(x))


TINY = {"channels": 4, "resolution": 8}


class TestSupernet:
    def setup_method(self):
        torch.manual_seed(0)
        self.space = spaces.MobileChain(blocks=(1, 3, 1, 1, 1, 1))
        self.sup = self.space.supernet(**TINY).double()
        self.x = torch.randn(3, 3, 8, 8, dtype=torch.float64)

    def calls(self, mix, active):
        ran = []
        handles = [
            operation.body.register_forward_hook(lambda *_, key=(int(layer), op): ran.append(key))
            for layer, module in self.sup.layers.items()
            for op, operation in module.ops.items()
        ]
        try:
            logits = self.sup(self.x, mix, active=active)
        finally:
            for handle in handles:
                handle.remove()
        return logits, ran

    def test_a_single_path_computes_nothing_else(self):
        arch = self.space.parse([0, 1, -1, 3, 4, 5, 0, 1])
        mix = self.space.mix(arch)
        path, ran = self.calls(mix, {name: weights > 0 for name, weights in mix.items()})
        assert ran == [(layer, op) for layer, op in self.space.present(arch).items()]
        full, ran = self.calls(mix, None)
        assert len(ran) == 8 * 6
        torch.testing.assert_close(path, full, rtol=1e-12, atol=1e-12)

    def test_a_layer_of_nothing_is_refused(self):
        mix = existing(self.space.choices)
        with pytest.raises(ArchitectureError, match="active: no candidate of layer 0 is left"):
            self.sup(self.x, mix, active={"layers": torch.zeros(8, 7, dtype=torch.bool)})

    def test_a_mixture_is_the_weighted_sum_of_whole_operators(self):
        """In which leaving the layer out adds its weight times the input, and shortcuts count as parts of operators."""
        layer = self.sup.layers["2"]
        weights = torch.rand(7, dtype=torch.float64)
        x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
        assert layer.residual
        mix = {"layers": torch.zeros(8, 7, dtype=torch.float64)}
        mix["layers"][2] = weights
        mixture = ramify.supernet.mixtures(self.sup.choices, mix, x)["layers"]
        expected = weights[6] * x
        for index, op in enumerate(self.space.operations[:6]):
            expected = expected + weights[index] * (x + layer.ops[op](x))
        torch.testing.assert_close(layer(x, mixture), expected, rtol=1e-12, atol=1e-12)
        without = mix["layers"].clone()
        without[2, :6] = 0
        alone = ramify.supernet.mixtures(self.sup.choices, {"layers": without}, x, active={"layers": without > 0})[
            "layers"
        ]
        torch.testing.assert_close(layer(x, alone), weights[6] * x)

    def test_dropout_acts_in_training_only_and_where_the_resolution_is_kept(self):
        mix = existing(self.space.choices)
        plain = self.sup(self.x, mix)
        assert not torch.allclose(self.sup(self.x, mix, dropout={"skip_connect": 0.5}), plain)
        assert torch.allclose(self.sup(self.x, mix, dropout={"skip_connect": 0.0}), plain)
        self.sup.eval()
        assert torch.equal(self.sup(self.x, mix, dropout={"skip_connect": 0.5}), self.sup(self.x, mix))

    def test_parameter_paths_name_layer_and_operator(self):
        names = set(self.sup.state_dict())
        assert "layers.2.ops.k5e3.body.0.weight" in names
        arch = self.space.parse([0, 1, -1, 3, 4, 5, 0, 1])
        held = set(self.space.extract(self.sup, arch).state_dict())
        assert held < names
        assert not any(name.startswith("layers.2.") for name in held)

    def test_a_restricted_supernet_builds_what_is_left(self):
        mask = torch.ones(8, 7, dtype=torch.bool)
        mask[:, :4] = False
        small = self.space.restrict({"layers": mask}).supernet(**TINY)
        assert all(set(layer.ops) == {"k7e3", "k7e6"} for layer in small.layers.values())


class TestSamplingByDepth:
    def test_the_number_of_layers_left_out_is_uniform(self):
        space, rng, draws = spaces.MobileChain(), random.Random(0), 8000
        absent = collections.Counter(space.codes(space.sample_by_depth(rng)).count(-1) for _ in range(draws))
        assert set(absent) == set(range(16))
        squares = sum((absent[n] - draws / 16) ** 2 / (draws / 16) for n in range(16))
        assert squares < 30.58  # the 1 % point of χ² with 15 degrees of freedom

    def test_what_is_there_is_uniform(self):
        space, rng = spaces.MobileChain(), random.Random(1)
        drawn = collections.Counter(space.codes(space.sample_by_depth(rng))[0] for _ in range(6000))
        assert set(drawn) == set(range(6))
        assert all(abs(count - 1000) < 4.5 * (6000 * 5 / 36) ** 0.5 for count in drawn.values())

    def test_forced_choices_are_kept(self):
        space, rng = spaces.MobileChain(), random.Random(2)
        for value in ("skip_connect", "k7e6"):
            drawn = [space.sample_by_depth(rng, ("layer3", value)) for _ in range(300)]
            assert {arch["layer3"] for arch in drawn} == {value}
            depths = {space.codes(arch).count(-1) for arch in drawn}
            assert max(depths) == 14 + (value == "skip_connect")
        with pytest.raises(ArchitectureError, match="'skip_connect' is not a choice of decision 'layer0'"):
            space.sample_by_depth(rng, ("layer0", "skip_connect"))

    def test_restrictions_hold(self):
        space = spaces.MobileChain()
        mask = torch.ones(21, 7, dtype=torch.bool)
        mask[:, 2:6] = False
        mask[1] = torch.tensor([False] * 6 + [True])
        mask[2, 6] = False
        small = space.restrict({"layers": mask})
        for _ in range(200):
            arch = small.sample_by_depth(random.Random(3))
            assert arch in small and arch["layer1"] == "skip_connect" and arch["layer2"] != "skip_connect"


def test_weights_of_operators_by_name():
    assert count_weights("k3e3", 10) == 10 * 30 + 9 * 30 + 30 * 10
    assert count_weights("k7e6", 10) == 10 * 60 + 49 * 60 + 60 * 10
    assert count_weights("shuffle_5x5", 8) == 4 * 4 + 25 * 4 + 4 * 4
    assert count_weights("skip_connect", 8) == 0


def test_the_picture_has_a_row_for_every_stage():
    space = spaces.MobileChain()
    arch = space.parse([2, 2, -1, 0, 0, -1, -1, 0, 5, -1, 4, 4, 0, 0, 4, 2, 3, 4, 4, 4, 3])
    graph = space.graphs(arch)["layers"]
    assert graph.rows == (4, 8, 12, 16, 20)
    assert graph.states[:3] == ("24", "1.0: 32 ↓", "1.1: 32")
    assert [op for _, _, op in graph.edges[:4]] == ["k5e3", "k5e3", "skip_connect", "k3e3"]
    figure = ramify.report.draw_cell(graph)
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert len(figure.axes) == 6
    assert written.count("1.3: 32") == 2 and written.count("6.0: 432") == 1
    assert collections.Counter(text for text in written if text.startswith("k")) == collections.Counter(
        op for _, _, op in graph.edges if op.startswith("k")
    )
    tall = figure.get_figheight()
    assert figure.get_figwidth() < 10 and tall < 6


@every_chain
def test_built_networks_leave_as_code(space, tmp_path):
    """`export_network` compares what it writes with the network."""
    network = space.build(space.sample(random.Random(0)), channels=4, resolution=8).eval()
    written = export_network(network, tmp_path / "out", input_size=(3, 8, 8), formats=("model.py", "safetensors"))
    assert (written.folder / "model.py").exists()


@pytest.mark.parametrize("chain", [spaces.CDARTSChain(), spaces.MobileChain(), spaces.ShuffleChain()], ids=repr)
def test_weights_are_drawn_as_published(chain):
    torch.manual_seed(0)
    sup = chain.supernet(affine=True)
    layer = next(iter(sup.layers.values()))
    checked = 0
    for conv in (m for m in layer.modules() if isinstance(m, nn.Conv2d)):
        area = conv.kernel_size[0] ** 2
        spread = {
            "CDARTSChain": (2 * conv.groups / (area * conv.out_channels)) ** 0.5,
            "MobileChain": (2 / (area * conv.out_channels)) ** 0.5,
            "ShuffleChain": 1 / conv.weight.shape[1],
        }[chain.name]
        if conv.weight.numel() > 1000:
            assert abs(conv.weight.std().item() / spread - 1) < 5 / (2 * conv.weight.numel()) ** 0.5
            checked += 1
        assert conv.bias is None or not conv.bias.any()
    assert checked >= 4
    shifts = {m.bias.unique().item() for m in sup.modules() if isinstance(m, nn.BatchNorm2d)}
    assert [round(shift, 6) for shift in shifts] == [1e-4 if chain.name == "ShuffleChain" else 0.0]
