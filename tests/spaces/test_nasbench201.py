"""The topology space of NAS-Bench-201: notation, exact counts, discretization."""

import itertools
import random

import pytest
import torch

import ramify
from ramify import spaces
from ramify.errors import ArchitectureError, ConfigurationError, DataError

SPACE = spaces.NASBench201()
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
INDEX_0 = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
INDEX_13714 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
INDEX_10676 = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
INDEX_857 = "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def everywhere(op):
    return ALL_SKIP.replace("skip_connect", op)


def profile(cell, classes=10, size=(3, 32, 32)):
    with torch.device("meta"):  # shapes only: nothing is initialized
        network = SPACE.build(SPACE.parse(cell), num_classes=classes)
    return ramify.profile(network, size)


class TestMembers:
    def test_the_benchmark_has_15625(self):
        assert SPACE.size == 15_625
        assert [decision.name for decision in SPACE.decisions] == ["1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"]
        assert {decision.choices for decision in SPACE.decisions} == {OPS}

    def test_every_string_is_read_and_written_back(self):
        strings = [
            f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in itertools.product(OPS, repeat=6)
        ]
        members = [SPACE.parse(string) for string in strings]
        assert len(set(members)) == len(strings) == 15_625
        assert [SPACE.format(arch) for arch in members] == strings

    @pytest.mark.parametrize(("nodes", "size"), [(2, 5), (3, 5**3), (5, 5**10), (6, 5**15)])
    def test_other_numbers_of_nodes(self, nodes, size):
        space = spaces.NASBench201(nodes=nodes)
        assert space.size == size
        assert space.arguments == ({} if nodes == 4 else {"nodes": nodes})

    def test_a_dozen_nodes_keep_their_edges_apart(self):
        space = spaces.NASBench201(nodes=12)
        arch = space.sample(random.Random(0))
        assert space.parse(space.format(arch)) == arch
        assert space.discretize(space.mix(arch)) == arch

    def test_edges_are_in_the_order_of_the_strings(self):
        choice = SPACE.choices["cell"]
        assert choice.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
        assert choice.ops == OPS

    def test_a_subset_of_the_operations(self):
        space = spaces.NASBench201(operations=("skip_connect", "nor_conv_3x3"))
        assert space.size == 2**6
        with pytest.raises(ArchitectureError, match=r"node 2: 'nor_conv_1x1' is not among \['skip_connect', "):
            space.parse(INDEX_10676)
        with pytest.raises(ArchitectureError, match="leaves edges out, but this space has no `none`"):
            space.parse("|skip_connect~0|+|skip_connect~1|+|skip_connect~2|")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"nodes": 1}, "`nodes` must be at least 2 .*, got 1"),
            ({"operations": ()}, "`operations` must be different names, at least one"),
            ({"operations": ("none", "none")}, "`operations` must be different names"),
            ({"operations": ("nor_conv3x3",)}, "unknown operation 'nor_conv3x3'; did you mean 'nor_conv_3x3'"),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises((ConfigurationError, ArchitectureError), match=message):
            spaces.NASBench201(**arguments)


class TestNotation:
    @pytest.mark.parametrize(
        "spelling",
        [
            "|nor_conv_3x3~0|+|nor_conv_3x3~1|+|skip_connect~0|skip_connect~2|",
            "|nor_conv_3x3~0|+|nor_conv_3x3~1|none~0|+|skip_connect~2|skip_connect~0|none~1|",
            "nor_conv_3x3~0+nor_conv_3x3~1+skip_connect~0|skip_connect~2",
            f"  {RESNET}\n",
            "|nor_conv_3x3~0|+|nor_conv_3x3~1||+||skip_connect~0|skip_connect~2|",
            "|nor_conv_3x3~0| + |nor_conv_3x3~1| + |skip_connect~0|skip_connect~2|",
        ],
        ids=["edges left out", "another order", "without outer bars", "white space", "empty tokens", "spaces"],
    )
    def test_other_spellings_become_the_canonical_one(self, spelling):
        assert SPACE.parse(spelling) == SPACE.parse(RESNET)
        assert SPACE.format(SPACE.parse(spelling)) == RESNET

    def test_a_cell_without_any_edge(self):
        assert SPACE.format(SPACE.parse("++")) == everywhere("none")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                RESNET.replace("skip_connect~2", "skip_connect~3"),
                "node 3: source 3 in 'skip_connect~3' is out of range",
            ),
            (RESNET.replace("~0|+|none", "|+|none"), "node 1: 'nor_conv_3x3' is not of the form operation~source"),
            (RESNET.replace("none~1", "none~x"), "node 3: 'none~x' is not of the form operation~source"),
            (RESNET.replace("none~1", "none~-1"), "node 3: 'none~-1' is not of the form operation~source"),
            (RESNET.replace("none~1", "zero~1"), "unknown operation 'zero'"),
            (RESNET.replace("skip_connect", "skip_conect"), "'skip_conect'; did you mean 'skip_connect'"),
            (RESNET.replace("none~1", "max_pool_3x3~1"), "node 3: 'max_pool_3x3' is not among"),
            (RESNET.replace("none~1", "none~0"), "node 3 reads source 0 twice"),
            (RESNET + "+|none~0|", "has 4 nodes, NASBench201 with nodes=4 needs 3"),
            ("|none~0|", "has 1 nodes, NASBench201 with nodes=4 needs 3"),
            ("", "has 1 nodes"),
            ({"cell": RESNET}, "is a string, got dict"),
            (None, "is a string, got NoneType"),
        ],
    )
    def test_what_is_wrong_is_said(self, text, message):
        with pytest.raises(ArchitectureError, match=message):
            SPACE.parse(text)

    def test_the_picture_has_every_edge(self):
        (graph,) = SPACE.graphs(SPACE.parse(RESNET)).values()
        assert graph.states == ("0 (input)", "1", "2", "3 (output)")
        assert graph.edges == (
            (0, 1, "nor_conv_3x3"),
            (0, 2, "none"),
            (1, 2, "nor_conv_3x3"),
            (0, 3, "skip_connect"),
            (1, 3, "none"),
            (2, 3, "skip_connect"),
        )


class TestCounts:
    """Parameters and multiply-adds of the released benchmark."""

    @pytest.mark.parametrize(
        ("cell", "params", "macs", "macs_16"),
        [
            (ALL_SKIP, 73_306, 7_783_040, 1_953_280),
            (everywhere("avg_pool_3x3"), 73_306, 7_783_040, 1_953_280),
            (everywhere("none"), 73_306, 7_783_040, 1_953_280),
            (INDEX_0, 129_306, 15_647_360, 3_919_360),
            (everywhere("nor_conv_1x1"), 241_306, 31_376_000, 7_851_520),
            (RESNET, 559_386, 78_561_920, 19_648_000),
            (INDEX_10676, 858_426, 121_815_680, 30_461_440),
            (INDEX_857, 858_426, 121_815_680, 30_461_440),
            (INDEX_13714, 1_073_466, 153_272_960, 38_325_760),
            (everywhere("nor_conv_3x3"), 1_531_546, 220_119_680, 55_037_440),
        ],
    )
    def test_known_cells(self, cell, params, macs, macs_16):
        cost = profile(cell)
        assert (cost.params, cost.macs) == (params, macs)
        small = profile(cell, 120, (3, 16, 16))
        assert (small.params, small.macs) == (params + 110 * 65, macs_16)

    def test_a_hundred_classes(self):
        cost = profile(INDEX_0, 100)
        assert (cost.params, cost.macs) == (135_156, 15_653_120)

    def test_the_closed_form_for_random_cells(self):
        rng = random.Random(0)
        for _ in range(50):
            cell = SPACE.format(SPACE.sample(rng))
            small, large = cell.count("nor_conv_1x1"), cell.count("nor_conv_3x3")
            cost = profile(cell)
            assert cost.params == 73_306 + 28_000 * small + 243_040 * large
            assert cost.macs == 7_783_040 + 3_932_160 * small + 35_389_440 * large
            assert cost.auxiliary_params == 0

    def test_fewer_channels_and_cells(self):
        arch = SPACE.parse(everywhere("nor_conv_1x1"))
        widths = (4, 8, 16)
        cost = ramify.profile(SPACE.build(arch, channels=4, cells=2))
        cells = sum(2 * 6 * (c * c + 2 * c) for c in widths)
        reductions = sum(9 * c * 2 * c + 9 * 4 * c * c + 2 * c * c + 2 * 2 * 2 * c for c in widths[:2])
        assert cost.params == (27 * 4 + 2 * 4) + cells + reductions + 2 * 16 + 16 * 10 + 10


class TestNetworks:
    def test_a_dead_cell_answers_every_image_alike(self):
        torch.manual_seed(0)
        dead = SPACE.parse("|none~0|+|nor_conv_3x3~0|none~1|+|none~0|nor_conv_3x3~1|none~2|")
        network = SPACE.build(dead, channels=4, cells=1).eval()
        logits = network(torch.randn(5, 3, 8, 8))
        assert torch.equal(logits, logits[:1].expand_as(logits))

    def test_classes_and_image_channels_are_free(self):
        arch = SPACE.parse(RESNET)
        network = SPACE.build(arch, num_classes=7, in_channels=1, channels=4, cells=1)
        assert network(torch.randn(2, 1, 9, 6)).shape == (2, 7)

    def test_the_layout_is_that_of_the_benchmark(self):
        network = SPACE.build(SPACE.parse(RESNET))
        assert len(network.cells) == 17
        _, features = network(torch.randn(1, 3, 32, 32), taps=("stage1", "stage2", "stage3"))
        shapes = {name: tuple(feature.shape[1:]) for name, feature in features.items()}
        assert shapes == {"stage1": (32, 16, 16), "stage2": (64, 8, 8), "stage3": (64, 8, 8)}

    @pytest.mark.parametrize("affine", [True, False])
    @pytest.mark.parametrize("tracked", [True, False])
    def test_stem_reductions_and_last_norm_are_always_affine_with_statistics(self, affine, tracked):
        sup = SPACE.supernet(channels=4, cells=1, affine=affine, track_running_stats=tracked)
        outside = [
            module
            for name, module in sup.named_modules()
            if isinstance(module, torch.nn.BatchNorm2d) and ".graph." not in name
        ]
        assert len(outside) == 6
        assert all(norm.affine and norm.track_running_stats for norm in outside)


class TestDiscretize:
    def test_none_can_win(self):
        scores = torch.zeros(6, 5)
        scores[:, 2] = 1.0
        scores[1, 0] = 2.0
        arch = SPACE.discretize({"cell": scores})
        assert [arch[decision.name] for decision in SPACE.decisions] == ["nor_conv_1x1", "none", *["nor_conv_1x1"] * 4]

    def test_a_restriction_is_respected(self):
        mask = torch.ones(6, 5, dtype=torch.bool)
        mask[:, 0] = mask[3, 4] = False
        scores = torch.arange(5.0).repeat(6, 1)
        scores[5, 0] = 9.0
        arch = SPACE.restrict({"cell": mask}).discretize({"cell": scores})
        expected = ["avg_pool_3x3"] * 3 + ["nor_conv_3x3"] + ["avg_pool_3x3"] * 2
        assert [arch[decision.name] for decision in SPACE.decisions] == expected


def test_errors_of_the_library_are_value_errors():
    assert issubclass(ArchitectureError, ValueError) and issubclass(DataError, ValueError)
