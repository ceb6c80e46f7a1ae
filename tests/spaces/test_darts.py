"""The DARTS cells and their relatives: exact sizes and counts, published genotypes, discretization, heads."""

import math
import random

import pytest
import torch
from torch import nn

import ramify
from ramify import spaces
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.spaces.cell_network import AuxiliaryHead
from space_cases import GENOTYPES, NASP

SPACE = spaces.DARTSCells()


def cost(name, num_classes=10, size=32, **layout):
    space = spaces.DARTSCells.covering(GENOTYPES[name])
    arch = space.parse(GENOTYPES[name])
    with torch.device("meta"):  # shapes only: nothing is initialized
        network = space.build(arch, num_classes=num_classes, **layout)
    return ramify.profile(network, (3, size, size))


class TestSize:
    def test_the_cells_of_darts(self):
        assert [len(decision.choices) for decision in SPACE.decisions] == [49, 147, 294, 490] * 2
        assert SPACE.size == (49 * 147 * 294 * 490) ** 2 == (180 * 49**4) ** 2

    @pytest.mark.parametrize(
        ("arguments", "size"),
        [
            ({"nodes": 1}, 49**2),
            ({"nodes": 2}, (49 * 147) ** 2),
            ({"nodes": 5}, (180 * 15 * 49**5) ** 2),
            ({"nodes": {"normal": 2, "reduce": 1}}, 49 * 147 * 49),
            ({"reduction": "frc"}, 180 * 49**4),
            ({"operations": NASP}, 180 * 64**4 * 180 * 25**4),
            ({"operations": ("skip_connect", "sep_conv_3x3")}, (180 * 4**4) ** 2),
            # read twice: unordered pairs of operations on one state, beside ordered ones on two
            ({"nodes": 2, "repeat": True}, ((49 + 2 * 28) * (3 * 49 + 3 * 28)) ** 2),
            ({"concat": (4, 5)}, (180 * 49**4) ** 2),
        ],
    )
    def test_relatives(self, arguments, size):
        assert spaces.DARTSCells(**arguments).size == size

    def test_fourteen_edges_and_eight_operations_twice(self):
        assert list(SPACE.choices) == ["normal", "reduce"]
        for choice in SPACE.choices.values():
            assert choice.shape == (14, 8)
            assert choice.edges == tuple((source, target) for target in range(2, 6) for source in range(target))
        assert SPACE.choices["normal"].ops == (
            "none",
            "max_pool_3x3",
            "avg_pool_3x3",
            "skip_connect",
            "sep_conv_3x3",
            "sep_conv_5x5",
            "dil_conv_3x3",
            "dil_conv_5x5",
        )

    def test_operations_of_each_kind_of_cell(self):
        space = spaces.DARTSCells(operations=NASP)
        assert {kind: choice.ops for kind, choice in space.choices.items()} == NASP
        assert len({*NASP["normal"], *NASP["reduce"]}) == 12

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"nodes": 0}, "`nodes` must be at least 1, got 0"),
            ({"nodes": {"normal": 4}}, r"`nodes` as a mapping needs the keys \['normal', 'reduce'\]"),
            ({"operations": ("none",)}, "one besides `none`"),
            ({"operations": ("skip_connect", "skip_connect")}, "must be different names"),
            ({"concat": (5, 4)}, "ascending states from 2 to 5"),
            ({"concat": (1, 2)}, "ascending states from 2 to 5"),
            ({"concat": ()}, "ascending states from 2 to 5"),
            ({"reduction": "fixed"}, "`reduction` must be 'searched' or 'frc', got 'fixed'"),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises(ConfigurationError, match=message):
            spaces.DARTSCells(**arguments)

    def test_an_unknown_operation_is_answered_with_the_nearest(self):
        with pytest.raises(ArchitectureError, match="did you mean 'sep_conv_3x3'"):
            spaces.DARTSCells(operations=("sepconv_3x3",))


class TestCovering:
    @pytest.mark.parametrize("name", GENOTYPES)
    def test_the_covering_space_contains_the_genotype(self, name):
        space = spaces.DARTSCells.covering(GENOTYPES[name])
        arch = space.parse(GENOTYPES[name])
        assert arch in space
        assert space.parse(space.format(arch)) == arch
        assert spaces.space_of(ramify.Architecture.from_json(arch.to_json())).format(arch) == space.format(arch)

    @pytest.mark.parametrize("name", ["DARTS_V1", "DARTS_V2", "GDAS_V1", "PDARTS", "PC_DARTS_cifar", "PC_DARTS_image"])
    def test_what_fits_the_defaults_gives_the_default_space(self, name):
        assert spaces.DARTSCells.covering(GENOTYPES[name]).arguments == {}

    def test_relatives_differ_in_what_they_need(self):
        arguments = {name: spaces.DARTSCells.covering(genotype).arguments for name, genotype in GENOTYPES.items()}
        assert arguments["GDAS_F1"] == {"reduction": "frc"}
        assert set(arguments["NASNet"]) == {"nodes", "operations", "concat", "repeat"}
        assert arguments["NASNet"]["nodes"] == 5
        assert arguments["NASNet"]["concat"] == {"normal": [2, 3, 4, 5, 6], "reduce": [4, 5, 6]}
        assert set(arguments["NASP_12ops"]) == {"operations"}

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("NASNet", "normal has 5 nodes, this space has 4"),
            ("SETN", "normal, state 5: 'conv_3x1_1x3' is not among"),
            ("GDAS_F1", "reduce: this space has a searched reduction cell"),
        ],
    )
    def test_the_default_space_points_there(self, name, message):
        with pytest.raises(ArchitectureError, match=message) as caught:
            SPACE.parse(GENOTYPES[name])
        assert "DARTSCells.covering" in str(caught.value)

    def test_concat_and_repeated_reads_point_there_as_well(self):
        with pytest.raises(
            ArchitectureError, match=r"normal_concat is \[3, 5\], this space joins \[2, 3, 4, 5\]; DARTSC"
        ):
            SPACE.parse(GENOTYPES["DARTS_V2"] | {"normal_concat": [3, 5]})
        twice = [["skip_connect", 0], ["sep_conv_3x3", 0], *GENOTYPES["DARTS_V2"]["normal"][2:]]
        with pytest.raises(ArchitectureError, match=r"normal, state 2 reads state 0 twice; DARTSCells\.covering"):
            SPACE.parse(GENOTYPES["DARTS_V2"] | {"normal": twice})

    def test_a_state_that_is_read_twice_has_two_operations_of_its_own(self):
        space = spaces.DARTSCells.covering(GENOTYPES["NASNet"])
        network = space.build(space.parse(GENOTYPES["NASNet"]), channels=4, layers=3)
        # node 1 of the normal cell: sep_conv_5x5 and sep_conv_3x3 on state 0; node 3: avg_pool_3x3 on state 0, twice
        assert {"0-3", "0-3b", "0-5", "0-5b"} <= set(network.cells[0].graph.edges)
        mix = space.mix(space.parse(GENOTYPES["NASNet"]))["normal"]
        assert mix.sum() == 10


class TestCounts:
    """Of the published cells; `tests/zoo` holds the counts of all of them in their published networks."""

    def test_without_an_auxiliary_head(self):
        found = cost("NASNet")
        assert (found.params, found.auxiliary_params, found.macs) == (3_830_950, 0, 603_452_448)

    def test_other_classes(self):
        hundred = cost("DARTS_V2", 100, auxiliary=True)
        assert hundred.params - hundred.auxiliary_params == 3_349_342 + 51_930
        assert hundred.auxiliary_params == 545_636

    def test_darts_on_imagenet_with_an_auxiliary_head(self):
        assert cost("DARTS_V2", 1000, 224, layout="imagenet", auxiliary=True).auxiliary_params == 1_260_776

    def test_the_search_network(self):
        sup = SPACE.supernet()
        assert sum(p.numel() for p in sup.parameters()) == 1_930_618
        assert sum(math.prod(choice.shape) for choice in sup.choices.values()) == 2 * 14 * 8


class TestNetworks:
    def test_layouts(self):
        assert len(SPACE.build(SPACE.sample(random.Random(0)), channels=2).cells) == 20
        network = SPACE.build(SPACE.parse(GENOTYPES["DARTS_V2"]), channels=4, layers=6, layout="imagenet")
        assert network.reductions == (2, 4)
        _, features = network(torch.randn(2, 3, 64, 64), taps=("stage1", "stage2", "stage3"))
        assert [tuple(feature.shape[1:]) for feature in features.values()] == [(32, 4, 4), (64, 2, 2), (64, 2, 2)]

    @pytest.mark.parametrize(
        ("layers", "reductions"), [(20, (6, 13)), (14, (4, 9)), (8, (2, 5)), (6, (2, 4)), (5, (1, 3))]
    )
    def test_reductions_are_after_each_third(self, layers, reductions):
        with torch.device("meta"):
            network = SPACE.build(SPACE.sample(random.Random(0)), channels=2, layers=layers)
        assert network.reductions == reductions

    @pytest.mark.parametrize("layers", [1, 2])
    def test_even_very_short_networks_work(self, layers):
        network = SPACE.build(SPACE.sample(random.Random(0)), channels=4, layers=layers)
        assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)

    @pytest.mark.parametrize(
        ("layout", "message"),
        [
            ({"layout": "svhn"}, r"`layout` must be one of \['cifar', 'imagenet'\], got 'svhn'"),
            ({"layout": "imagnet"}, "got 'imagnet'; did you mean 'imagenet'?"),
            ({"layers": -1}, "layout keyword `layers` must be a whole number, 1 or more, got -1"),
            ({"channels": -4}, "layout keyword `channels` must be a whole number, 1 or more, got -4"),
        ],
    )
    def test_wrong_layouts(self, layout, message):
        with pytest.raises(ConfigurationError, match=message):
            SPACE.build(SPACE.sample(random.Random(0)), **layout)

    def test_the_fixed_reduction_cell_needs_eight_groups(self):
        space = spaces.DARTSCells(reduction="frc")
        with pytest.raises(ConfigurationError, match="channels divisible by 8, got 20"):
            space.build(space.sample(random.Random(0)), channels=10, layers=3)

    def test_pool_norm_adds_norms_without_parameters(self):
        arch = SPACE.parse(GENOTYPES["DARTS_V1"])
        plain, normed = (SPACE.build(arch, channels=4, layers=3, pool_norm=on) for on in (False, True))

        def norms(network):
            return sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())

        poolings = sum("pool" in op for op, _ in GENOTYPES["DARTS_V1"]["reduce"])
        assert norms(normed) - norms(plain) == 2 * poolings
        assert len(list(normed.parameters())) == len(list(plain.parameters()))

    def test_a_supernet_norms_its_poolings_by_default(self):
        cell = SPACE.supernet(channels=2, layers=3).cells[0]
        assert isinstance(cell.graph.edges["0-2"]["max_pool_3x3"].norm, nn.BatchNorm2d)
        cell = SPACE.supernet(channels=2, layers=3, pool_norm=False).cells[0]
        assert isinstance(cell.graph.edges["0-2"]["max_pool_3x3"].norm, nn.Identity)


class TestAuxiliaryHead:
    def test_it_is_there_in_training_only(self):
        network = SPACE.build(SPACE.parse(GENOTYPES["DARTS_V2"]), num_classes=7, channels=4, layers=3, auxiliary=True)
        x = torch.randn(3, 3, 32, 32)
        logits, auxiliary = network(x)
        assert logits.shape == auxiliary.shape == (3, 7)
        assert network.eval()(x).shape == (3, 7)

    def test_with_taps(self):
        network = SPACE.build(SPACE.parse(GENOTYPES["DARTS_V2"]), channels=4, layers=3, auxiliary=True)
        (logits, auxiliary), features = network(torch.randn(3, 3, 32, 32), taps=("stage1",))
        assert logits.shape == auxiliary.shape and list(features) == ["stage1"]

    @pytest.mark.parametrize("second_norm", [True, False])
    @pytest.mark.parametrize("size", [*((side, side) for side in range(2, 10)), (2, 9), (7, 3)], ids=str)
    def test_it_takes_any_map_from_2x2_on(self, size, second_norm):
        head = AuxiliaryHead(6, 5, second_norm=second_norm)
        assert head(torch.randn(2, 6, *size)).shape == (2, 5)

    @pytest.mark.parametrize("size", [(1, 1), (1, 8), (8, 1)], ids=str)
    def test_a_smaller_one_is_refused_with_advice(self, size):
        with pytest.raises(
            ConfigurationError, match=f"at least 2×2, but receives {size[0]}×{size[1]}; use larger images"
        ):
            AuxiliaryHead(6, 5, second_norm=True)(torch.randn(2, 6, *size))

    @pytest.mark.parametrize(("side", "stride"), [(8, 3), (7, 2)])
    def test_on_the_published_maps_it_is_the_published_head(self, side, stride):
        head, x = AuxiliaryHead(6, 5, second_norm=side == 8).eval(), torch.randn(2, 6, side, side)
        pooled = nn.functional.avg_pool2d(x.relu(), 5, stride=stride)
        y = head.second_norm(head.second(head.first_norm(head.first(pooled)).relu())).relu()
        torch.testing.assert_close(head(x), head.classifier(y.flatten(1)))
        assert pooled.shape[2:] == (2, 2)

    @pytest.mark.parametrize("side", range(2, 20))
    def test_the_whole_map_is_averaged_to_2x2(self, side):
        seen = []
        head = AuxiliaryHead(1, 2, second_norm=False)
        head.first.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        head.eval()(torch.randn(1, 1, side, side))
        assert seen[0].shape[2:] == (2, 2)


class TestDiscretize:
    def test_each_node_keeps_the_two_best_sources(self):
        """Two inputs whose best operations tie in rank: one is taken from each, never two from the same."""
        space = spaces.DARTSCells(nodes=1, operations=("none", "skip_connect", "sep_conv_3x3"))
        rows = torch.tensor([[0.10, 0.50, 0.40], [0.45, 0.30, 0.25]])
        arch = space.discretize({"normal": rows, "reduce": rows})
        assert arch["normal.2"] == arch["reduce.2"] == (("skip_connect", 0), ("skip_connect", 1))

    def test_none_is_never_taken(self):
        scores = {name: torch.zeros(choice.shape) for name, choice in SPACE.choices.items()}
        for table in scores.values():
            table[:, 0] = 1.0
            table[:, 5] = 0.5
        reads = [read for value in SPACE.discretize(scores).choices.values() for read in value]
        assert {op for op, _ in reads} == {"sep_conv_5x5"}

    def test_the_strongest_sources_win(self):
        scores = {name: torch.zeros(choice.shape) for name, choice in SPACE.choices.items()}
        edges = SPACE.choices["normal"].edges
        scores["normal"][edges.index((3, 5)), 4] = 0.9
        scores["normal"][edges.index((1, 5)), 7] = 0.8
        scores["normal"][edges.index((1, 5)), 6] = 0.7
        assert SPACE.discretize(scores)["normal.5"] == (("dil_conv_5x5", 1), ("sep_conv_3x3", 3))

    def test_it_is_the_rule_of_the_paper_on_random_scores(self):
        """Best operation of every edge besides `none`; then the two strongest edges of every node."""
        torch.manual_seed(0)
        for _ in range(20):
            scores = {name: torch.randn(choice.shape).softmax(-1) for name, choice in SPACE.choices.items()}
            arch = SPACE.discretize(scores)
            for kind, choice in SPACE.choices.items():
                strength, best = scores[kind][:, 1:].max(1)
                for state in range(2, 6):
                    entering = sorted(choice.incoming(state), key=lambda e: -strength[e].item())[:2]
                    expected = {(choice.ops[1 + best[e]], choice.edges[e][0]) for e in entering}
                    assert set(arch[f"{kind}.{state}"]) == expected

    def test_equals_go_to_the_first(self):
        zeros = {name: torch.zeros(choice.shape) for name, choice in SPACE.choices.items()}
        first = (("max_pool_3x3", 0), ("max_pool_3x3", 1))
        assert set(SPACE.discretize(zeros).choices.values()) == {first}

    def test_a_state_may_win_twice_where_that_is_allowed(self):
        space = spaces.DARTSCells(nodes=1, operations=("skip_connect", "sep_conv_3x3"), repeat=True)
        # edges: 0-2, 0-2b, 1-2, 1-2b; the slots of a state are interchangeable
        table = torch.tensor([[0.1, 0.8], [0.7, 0.2], [0.3, 0.3], [0.3, 0.3]])
        arch = space.discretize({"normal": table, "reduce": table.flip(0)})
        assert arch["normal.2"] == (("skip_connect", 0), ("sep_conv_3x3", 0))
        assert arch["reduce.2"] == (("skip_connect", 1), ("sep_conv_3x3", 1))

    def test_a_restriction_is_respected(self):
        mask = torch.ones(14, 8, dtype=torch.bool)
        edges = SPACE.choices["normal"].edges
        mask[edges.index((0, 3))] = False
        mask[:, 4] = False
        space = SPACE.restrict({"normal": mask})
        table = torch.zeros(14, 8)
        table[edges.index((0, 3)), 5] = table[:, 4] = 1.0
        table[edges.index((2, 3)), 6] = 0.5
        arch = space.discretize({"normal": table, "reduce": table})
        assert arch["normal.3"] == (("max_pool_3x3", 1), ("dil_conv_3x3", 2))
        assert {op for op, _ in arch["reduce.3"]} == {"sep_conv_3x3"}


def test_mutation_changes_one_half_of_a_pair():
    rng = random.Random(0)
    arch = SPACE.parse(GENOTYPES["DARTS_V2"])
    for _ in range(200):
        child = SPACE.mutate(arch, rng)
        (name,) = (name for name in arch if arch[name] != child[name])
        assert len(set(arch[name]) & set(child[name])) == 1
        arch = child


def test_pictures_show_reads_and_joins():
    space = spaces.DARTSCells.covering(GENOTYPES["NASNet"])
    graphs = space.graphs(space.parse(GENOTYPES["NASNet"]))
    assert list(graphs) == ["normal", "reduce"]
    reduce = graphs["reduce"]
    assert reduce.states == ("input k−2", "input k−1", "0", "1", "2", "3", "4", "output")
    assert reduce.inputs == (0, 1) and reduce.output == 7
    assert [edge for edge in reduce.edges if edge[1] == 7] == [(4, 7, ""), (5, 7, ""), (6, 7, "")]
    assert sorted(edge for edge in reduce.edges if edge[1] == 2) == [(0, 2, "sep_conv_7x7"), (1, 2, "sep_conv_5x5")]
    frc = spaces.DARTSCells(reduction="frc")
    assert list(frc.graphs(frc.sample(random.Random(0)))) == ["normal"]
