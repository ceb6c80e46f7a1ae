"""The stage level of H-DAS: windows, counts, wiring, derivation, depth, notations, baselines."""

import json
import math
import random

import pytest
import torch
from reference import cases
from torch import nn

import ramify
from ramify import spaces, zoo
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.exporting import export_network
from ramify.ops import Operation
from ramify.ops.operations import Prelude
from ramify.spaces.stage_graph import DARTS_V2
from ramify.supernet import mixtures
from space_cases import SMALL_CELL, STAGE_CELLS

SPACE = spaces.StageGraph()
STAGES = ("stage1", "stage2", "stage3")
CIFAR = zoo.get("HS_DAS_cifar").notation["DAG"]
IMAGENET = zoo.get("HS_DAS_imagenet").notation["DAG"]
CELLS = {name: zoo.get(name).notation for name in ("DARTS_V1", "DARTS_V2", "PDARTS", "PC_DARTS_cifar")}
CELLS["PC_DARTS"] = CELLS.pop("PC_DARTS_cifar")


def on_meta(build, *arguments, **layout):
    with torch.device("meta"):  # shapes only: nothing is initialized
        return build(*arguments, **layout)


def member(dag, cell=None):
    space = spaces.StageGraph.covering(dag, cell)
    return space, space.parse(dag)


def full(space, value):
    return {
        name: torch.full(choice.shape, value, dtype=torch.float64, requires_grad=True)
        for name, choice in space.choices.items()
    }


class TestSize:
    @pytest.mark.parametrize(
        ("arguments", "size"),
        [
            ({}, (9 * 27**5) ** 3),
            ({"cells": 4}, (9 * 27**3) ** 3),
            ({"cells": [1, 2, 3]}, 9 * (9 * 27) * (9 * 27**2)),
            ({"cells": 3, "window": 2}, (9**3) ** 3),
            ({"cells": 3, "window": 9}, (9 * 27 * 54) ** 3),
            ({"cells": 2, "operations": ("skip_connect", "none")}, 3**3),
            ({"cells": 1, "repeat": True}, (9 + 2 * 6) ** 3),
            ({"concat": [5, 6, 7]}, (9 * 27**5) ** 3),
        ],
    )
    def test_it_is_exact(self, arguments, size):
        assert spaces.StageGraph(**arguments).size == size

    @pytest.mark.parametrize(("cells", "edges", "scalars"), [(6, 17, 204), (4, 11, 132)])
    def test_architecture_parameters(self, cells, edges, scalars):
        choices = spaces.StageGraph(cells=cells).choices
        assert {name: choice.shape for name, choice in choices.items()} == dict.fromkeys(STAGES, (edges, 4))
        assert sum(math.prod(choice.shape) for choice in choices.values()) == scalars

    def test_a_cell_sees_the_three_latest_states(self):
        choice = SPACE.choices["stage2"]
        assert choice.ops == ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "none")
        for state, sources in {2: [0, 1], 3: [0, 1, 2], 4: [1, 2, 3], 7: [4, 5, 6]}.items():
            assert [choice.edges[e][0] for e in choice.incoming(state)] == sources

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"cells": 0}, "`cells` must be a number from 1, or one for each of 3 stages, got 0"),
            ({"cells": [4, 4]}, r"`cells` must be .*, got \[4, 4\]"),
            ({"window": 1}, "`window` must be at least 2, got 1"),
            ({"concat": [1, 2]}, "`concat` must be ascending states from 2 to 7"),
            ({"concat": {"stage1": [7]}}, r"`concat` as a mapping needs the keys \['stage1', "),
            ({"operations": ("skip_connect", "sep_conv_3x3")}, r"poolings and skips, \['sep_conv_3x3'\] have weights"),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises(ConfigurationError, match=message):
            spaces.StageGraph(**arguments)


class TestCells:
    def test_the_default_is_darts_v2(self):
        assert (
            spaces.StageGraph(CELLS["DARTS_V2"]).to_dict()
            == SPACE.to_dict()
            == {
                "space": "StageGraph",
                "arguments": {},
            }
        )

    @pytest.mark.parametrize("given", ["nested", "text", "json", "architecture", "its file"])
    def test_all_ways_to_give_them_are_one_space(self, given):
        cells = spaces.DARTSCells()
        arch = cells.parse(CELLS["PDARTS"])
        ways = {
            "nested": cells.format(arch, "nested"),
            "text": cells.format(arch, "text"),
            "json": json.dumps(CELLS["PDARTS"]),
            "architecture": arch,
            "its file": json.loads(arch.to_json()),
        }
        space = spaces.StageGraph(ways[given])
        assert space.arguments == {"cell": cells.format(arch)}
        assert space.sample(random.Random(0)) in spaces.create(json.loads(json.dumps(space.to_dict())))

    def test_what_a_cell_search_found_can_be_wired(self):
        found = spaces.StageCells(nodes=2).sample(random.Random(0))
        space = spaces.StageGraph(found, cells=2)
        network = space.build(space.chain(), channels=2)
        cells = [cell for place in network.cells for cell in (place.graph.nodes.values() or [place])]
        kinds = ["normal1", "normal1", "reduce1", "normal2", "normal2", "reduce2", "normal3", "normal3"]
        for cell, kind in zip(cells, kinds, strict=True):
            wanted = {(f"{source}-{state}", op) for state in (2, 3) for op, source in found[f"{kind}.{state}"]}
            assert {(edge, op) for edge, ops in cell.graph.edges.items() for op in ops} == wanted

    def test_of_any_width(self):
        """The widths of the stages follow from how many states the cells join: 1, 2 and 1 here."""
        space = spaces.StageGraph(STAGE_CELLS, cells=2)
        network = on_meta(space.build, space.chain(), channels=4)
        widths = [place.inputs.newer.norm.num_features for place in network.cells]
        assert widths == [1 * 4, 8, 2 * 8, 16, 1 * 16]
        assert network.classifier.in_features == 2 * 16

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            (CIFAR, "must be a genotype of cells, got the graphs of stages"),
            (7, "must be a genotype or an architecture, got int"),
            (spaces.NASBench201().sample(random.Random(0)), "of DARTSCells or StageCells, got one of NASBench201"),
            ({"normal": CELLS["DARTS_V1"]["normal"]}, r"genotype lacks \['reduce'\]"),
        ],
    )
    def test_what_is_no_cell_is_refused(self, cell, message):
        with pytest.raises(ArchitectureError, match=message):
            spaces.StageGraph(cell)


class TestCounts:
    """With the cells that `tests/zoo` has no counts for."""

    @pytest.mark.parametrize(
        ("name", "channels", "params", "head", "macs"),
        [
            ("DARTS_V1", 36, 4_221_370, 476_426, 681_147_648),
            ("PC_DARTS", 36, 4_687_930, 476_426, 736_830_720),
            ("DARTS_V1", 32, 3_355_530, 468_234, 542.0),
            ("PDARTS", 32, 3_568_906, 468_234, 567.7),
        ],
    )
    def test_cifar(self, name, channels, params, head, macs):
        space, arch = member(CIFAR, CELLS[name])
        cost = ramify.profile(on_meta(space.build, arch, channels=channels, auxiliary=True))
        assert (cost.params - cost.auxiliary_params, cost.auxiliary_params) == (params, head)
        assert cost.macs == macs or round(cost.macs / 1e6, 1) == macs

    @pytest.mark.parametrize(
        ("name", "channels", "params", "head", "macs"),
        [
            ("DARTS_V1", 39, 5_010_906, 1_242_344, 539_155_104),
            ("PDARTS", 39, 5_305_902, 1_242_344, 564_777_792),
            ("PC_DARTS", 39, 5_530_542, 1_242_344, 584_484_024),
        ],
    )
    def test_imagenet(self, name, channels, params, head, macs):
        space, arch = member(IMAGENET, CELLS[name])
        network = on_meta(space.build, arch, num_classes=1000, layout="imagenet", channels=channels, auxiliary=True)
        cost = ramify.profile(network, (3, 224, 224))
        assert (cost.params - cost.auxiliary_params, cost.auxiliary_params, cost.macs) == (params, head, macs)

    def test_the_parts_of_a_network(self):
        space, arch = member(CIFAR)
        network = on_meta(space.build, arch)

        def count(module):
            return sum(p.numel() for p in module.parameters())

        assert count(network.stem) == 4_176 and count(network.classifier) == 11_530
        stages = network.cells[::2]
        assert [count(stage.inputs) for stage in stages] == [42_048, 167_040, 665_856]
        assert [count(stage.graph.edges) for stage in stages] == [1_152, 2_880, 4_608]
        assert count(stages[0].graph.nodes["2"]) == 29_124 and count(network.cells[1]) == 42_480
        cells = sum(count(stage.graph.nodes) for stage in stages) + count(network.cells[1]) + count(network.cells[3])
        assert cells == 3_502_008

    @pytest.mark.parametrize(
        ("name", "cells", "weights"), [("DARTS_V1", 6, 878_538), ("DARTS_V2", 6, 918_186), ("DARTS_V1", 4, 659_466)]
    )
    def test_search_networks(self, name, cells, weights):
        sup = on_meta(spaces.StageGraph(CELLS[name], cells=cells).supernet)
        assert sum(p.numel() for p in sup.parameters()) == weights

    def test_every_parameter_is_held_once(self):
        for network in (SPACE.build(SPACE.chain(), channels=2), SPACE.supernet(channels=2)):
            state = network.state_dict()
            assert len(state) == len({tensor.data_ptr() for tensor in state.values()})


class TestNetworks:
    @pytest.mark.parametrize(
        ("dag", "layout", "size", "shapes"),
        [
            (CIFAR, "cifar", 32, [(144, 32), (288, 32), (288, 16), (576, 16), (576, 8), (1152, 8)]),
            (IMAGENET, "imagenet", 224, [(39, 56), (156, 28), (312, 28), (312, 14), (624, 14), (624, 7), (1248, 7)]),
        ],
        ids=["cifar", "imagenet"],
    )
    def test_shapes(self, dag, layout, size, shapes):
        space, arch = member(dag)
        network = on_meta(space.build, arch, layout=layout)
        seen = []
        places = [network.stem, *filter(None, [network.second_stem]), *network.cells]
        for place in places:
            place.register_forward_hook(lambda _, __, output: seen.append((output.shape[1], output.shape[2])))
        network.eval()(torch.empty(1, 3, size, size, device="meta"))
        assert seen == shapes
        assert network.classifier.in_features == shapes[-1][0]

    def test_the_auxiliary_head_reads_what_enters_the_third_stage(self):
        space, arch = member(CIFAR, SMALL_CELL)
        network = space.build(arch, num_classes=7, channels=4, auxiliary=True)
        assert network.auxiliary.first.in_channels == 4 * 4
        logits, auxiliary = network(torch.randn(2, 3, 32, 32))
        assert logits.shape == auxiliary.shape == (2, 7)
        assert network.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 7)

    def test_cells_that_nothing_reads_are_left_out(self):
        """Without them nothing else changes."""
        case = next(case for case in cases("h-das-stage") if case["id"] == "h-das-stage-009")  # stage 1 joins (4, 5)
        space, arch = member(case["arch"]["DAG"], SMALL_CELL)
        whole, pruned = (space.build(arch, channels=2, prune_dead=on).double().eval() for on in (False, True))
        assert [len(stage.graph.nodes) for stage in whole.cells[::2]] == [6, 6, 6]
        # stage 2 joins 5 and 6, which read 2, 3 and 5; in stage 3 the cells 4 and 6 read 2 and 4, and none reads 3
        assert ["".join(sorted(stage.graph.nodes)) for stage in pruned.cells[::2]] == ["2345", "2356", "24567"]
        assert set(pruned.state_dict()) < set(whole.state_dict())
        pruned.load_state_dict({name: whole.state_dict()[name] for name in pruned.state_dict()})
        x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
        assert torch.equal(pruned(x), whole(x))
        pruned.train()(x).sum().backward()
        assert all(p.grad is not None for p in pruned.parameters())

    def test_the_published_graphs_have_no_dead_cells(self):
        for dag in (CIFAR, IMAGENET):
            space, arch = member(dag, SMALL_CELL)
            stages = on_meta(space.build, arch, channels=2).cells[::2]
            assert [len(stage.graph.nodes) for stage in stages] == [len(CIFAR["DAG1"]) if dag is CIFAR else 4] * 3

    @pytest.mark.parametrize(
        ("dag", "pairs"),
        [
            (CIFAR, [(7, 10), (6, 9), (8, 10)]),
            (IMAGENET, [(5, 7), (5, 8), (5, 5)]),
            (SPACE.format(SPACE.chain()), [(13, 21)] * 3),
        ],
        ids=["cifar", "imagenet", "chain"],
    )
    def test_wiring(self, dag, pairs):
        """With identities for cells and operations, a stage of ones counts its paths."""
        space, arch = member(dag, SMALL_CELL)
        network = space.build(arch, channels=2)
        for stage, pair in zip(network.cells[::2], pairs, strict=True):
            stage.inputs = Twice()
            for name in stage.graph.nodes:
                stage.graph.nodes[name] = nn.Identity()
            for operations in stage.graph.edges.values():
                for op in operations:
                    operations[op] = Operation(Prelude("identity"))
            joined = stage(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
            assert [tuple(channel.unique().tolist()) for channel in joined[0]] == [(n,) for n in pair]

    def test_a_mixed_operation(self):
        """Poolings of ones are ones, borders included, and go through fresh norms; `none` adds nothing."""
        space = spaces.StageGraph(SMALL_CELL, cells=1)
        sup = space.supernet(channels=2, track_running_stats=True).double().eval()
        graph = sup.cells[0].graph
        graph.nodes["2"] = nn.Identity()
        mix = {name: torch.zeros(choice.shape) for name, choice in space.choices.items()}
        mix["stage1"][0] = torch.tensor([0.1, 0.2, 0.3, 0.4])
        ones = torch.ones(1, 2, 5, 5, dtype=torch.float64)
        state = graph([ones, ones], mixtures(space.choices, mix, ones)["stage1"])[2]
        torch.testing.assert_close(state, torch.full_like(ones, 0.5999985), atol=1e-7, rtol=0)

    def test_the_loss_reaches_every_parameter_and_a_weight_step_moves_its_gradient(self):
        space = spaces.StageGraph(SMALL_CELL, cells=4)
        sup = space.supernet(channels=4).double()
        torch.manual_seed(0)
        alphas = {name: (1e-3 * torch.randn(c.shape).double()).requires_grad_() for name, c in space.choices.items()}
        x, y = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.arange(4)

        def gradients(inputs):
            logits = sup(x, {name: choice.softmax(alphas[name]) for name, choice in space.choices.items()})
            return torch.autograd.grad(nn.functional.cross_entropy(logits, y), inputs)

        weights = list(sup.parameters())
        first = gradients([*alphas.values(), *weights])
        assert all((g.abs().sum(dim=1) > 0).all() for g in first[:3])
        with torch.no_grad():
            for weight, g in zip(weights, first[3:], strict=True):
                weight -= 0.1 * g
        for before, after in zip(first, gradients(list(alphas.values())), strict=False):
            assert not torch.allclose(before, after)

    def test_partial_channels_must_fit_the_widths(self):
        space = spaces.StageGraph(SMALL_CELL, cells=2)
        with pytest.raises(ConfigurationError, match="the width of stage 1 must be divisible by `partial_channels`"):
            space.supernet(channels=3, partial_channels=2)

    def test_only_what_a_path_needs_is_computed(self):
        """A cell behind which nothing is drawn does not run."""
        space = spaces.StageGraph(SMALL_CELL, cells=4, concat=[5])
        sup = space.supernet(channels=2)
        ran = []
        for state, cell in sup.cells[0].graph.nodes.items():
            cell.register_forward_hook(lambda *_, state=state: ran.append(state))
        without_four = {f"{stage}.5": (("skip_connect", 2), ("skip_connect", 3)) for stage in STAGES}
        mix = space.mix(space.architecture({**space.chain().choices, **without_four}))
        sup(torch.randn(2, 3, 8, 8), mix, active={name: weights > 0 for name, weights in mix.items()})
        assert ran == ["2", "3", "5"]


class Twice(nn.Module):
    def forward(self, older, newer):
        return [older, newer]


class TestDerivation:
    def test_none_does_not_win_and_sources_follow_the_window(self):
        scores = {name: torch.zeros(choice.shape) for name, choice in SPACE.choices.items()}
        table = torch.tensor([[0, 0, 0.5, 9], [0, 0.4, 0, 0], [0.3, 0, 0, 0]])
        for state in (3, 4, 5):
            scores["stage1"][SPACE.choices["stage1"].incoming(state)] = table
        arch = SPACE.discretize(scores)
        for state, sources in ((3, (0, 1)), (4, (1, 2)), (5, (2, 3))):
            assert arch[f"stage1.{state}"] == (("skip_connect", sources[0]), ("avg_pool_3x3", sources[1]))

    def test_raw_and_softmax(self):
        scores = {name: torch.zeros(choice.shape) for name, choice in SPACE.choices.items()}
        scores["stage3"][SPACE.choices["stage3"].incoming(3)] = torch.tensor(
            [[1.0, 1.1, 0.9, 3.0], [0.2, 0.1, 0.6, 0], [0.3, 0.7, 0.2, 0.1]]
        )
        softmax = {name: choice.softmax(scores[name]) for name, choice in SPACE.choices.items()}
        assert SPACE.discretize(scores)["stage3.3"] == (("avg_pool_3x3", 0), ("avg_pool_3x3", 2))
        assert SPACE.discretize(softmax)["stage3.3"] == (("skip_connect", 1), ("avg_pool_3x3", 2))


class TestDepth:
    @pytest.mark.parametrize(
        ("cells", "value", "depth"),
        [(6, 0.25, 1.188995654), (6, 1.0, 8.422496571), (4, 0.25, 1.132089120), (4, 1.0, 6.481481481)],
    )
    def test_values(self, cells, value, depth):
        space = spaces.StageGraph(cells=cells)
        scores = full(space, value)
        torch.testing.assert_close(
            space.depths(scores), torch.full((3,), depth, dtype=torch.float64), atol=1e-8, rtol=0
        )
        torch.testing.assert_close(
            space.depth_loss(scores), torch.tensor(-3 * depth, dtype=torch.float64), atol=1e-7, rtol=0
        )

    def test_without_none(self):
        """Three of the four columns."""
        scores = full(SPACE, 1.0)
        torch.testing.assert_close(SPACE.depths(scores, none=False), 0.75 * SPACE.depths(scores))

    def test_gradients(self):
        scores = full(SPACE, 1.0)
        SPACE.depth_loss(scores).backward()
        nodes = {2: [0.277092] * 2, 3: [0.157064, 0.157064, 0.314129], 4: [0.131687, 0.263374, 0.307270]}
        for stage, choice in SPACE.choices.items():
            for state, expected in (nodes | {7: [0.154321, 0.187243, 0.212620]}).items():
                found = -scores[stage].grad[choice.incoming(state)]
                wanted = torch.tensor(expected).double()[:, None].expand(-1, 4)
                torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)

    def test_gradients_at_zero(self):
        scores = full(SPACE, 0.0)
        SPACE.depth_loss(scores).backward()
        first = SPACE.choices["stage1"].incoming(2)
        gradient = -scores["stage1"].grad
        others = [edge for edge in range(len(gradient)) if edge not in first]
        torch.testing.assert_close(gradient[first], torch.full((2, 4), 1 / 12).double())
        torch.testing.assert_close(gradient[others], torch.full((15, 4), 1 / 18).double())

    def test_shifting_a_row_changes_the_depth_but_not_the_mixture(self):
        scores = full(SPACE, 0.1)
        shifted = {name: score.detach().clone() for name, score in scores.items()}
        shifted["stage2"][5] += 1
        choice = SPACE.choices["stage2"]
        torch.testing.assert_close(choice.softmax(shifted["stage2"]), choice.softmax(scores["stage2"]))
        assert SPACE.depths(shifted)[1] > SPACE.depths(scores)[1]
        assert torch.equal(SPACE.depths(shifted)[::2], SPACE.depths(scores)[::2])

    def test_candidates_that_do_not_exist_do_not_count(self):
        mask = SPACE.choices["stage1"].mask.clone()
        mask[:, -1] = False
        restricted = SPACE.restrict({"stage1": mask})
        scores = full(SPACE, 1.0)
        torch.testing.assert_close(restricted.depths(scores)[0], SPACE.depths(scores, none=False)[0])

    def test_it_is_offered_by_name(self):
        scores = full(SPACE, 0.3)
        assert list(SPACE.regularizers) == ["depth"]
        assert torch.equal(SPACE.regularizers["depth"](scores), SPACE.depth_loss(scores))
        assert spaces.NASBench201().regularizers == {}


class TestNotation:
    def test_the_published_graphs(self):
        for dag in (CIFAR, IMAGENET):
            space, arch = member(dag)
            assert space.arguments == ({} if dag is CIFAR else {"cells": 4})
            assert space.format(arch) == dag
            for style in ("flat", "nested", "text"):
                written = space.format(arch, style)
                assert space.parse(written) == arch
                assert spaces.recognize(written).parse(written) == arch
            assert space.format(arch, "text").startswith("Genotype2(DAG1=[[('")

    def test_cells_are_written_where_they_are_not_the_default_ones(self):
        space, arch = member(CIFAR, CELLS["PDARTS"])
        written = space.format(arch)
        assert written["DAG"] == CIFAR
        assert spaces.recognize(written).parse(written) == arch
        assert space.parse(CIFAR) == space.parse(json.dumps(written)) == arch
        with pytest.raises(ArchitectureError, match="these are not the cells of this space; StageGraph"):
            SPACE.parse(written)

    def test_the_joined_states_default_to_the_two_latest(self):
        short = {key: value for key, value in CIFAR.items() if not key.endswith("concat")}
        assert SPACE.format(SPACE.parse(short)) == CIFAR

    @pytest.mark.parametrize(
        ("place", "read", "message"),
        [
            (("DAG2", 3, 0), ["max_pool_3x3", 1], "DAG2, state 5 reads state 1, but sees the 3 latest states only, 2 "),
            (("DAG2", 3, 0), ["max_pool_3x3", 5], r"DAG2, node 3 \(state 5\): source 5 is out of range"),
            (("DAG1", 0, 1), ["sep_conv_3x3", 1], "DAG1, state 2: 'sep_conv_3x3' has weights; a stage graph takes"),
            (("DAG1", 0, 1), ["max_pool_5x5", 1], "DAG1, state 2: 'max_pool_5x5' is not among"),
            (("DAG3", 5, 1), ["max_pool", 5], r"DAG3, node 5 \(state 7\): unknown operation 'max_pool'; did you mean"),
            (("DAG3", 5, 1), ["none", 5], "`none` cannot be an input"),
            (("DAG3", 5, 1), ["skip_connect", 4], "DAG3, state 7 reads state 4 twice; StageGraph.covering"),
        ],
    )
    def test_wrong_reads(self, place, read, message):
        wrong = json.loads(json.dumps(CIFAR))
        key, node, slot = place
        wrong[key][node][slot] = read
        with pytest.raises(ArchitectureError, match=message):
            SPACE.parse(wrong)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"DAG1_concat": [7, 8]}, "DAG1_concat must be different states from 2 to 7"),
            ({"DAG1_concat": [1, 7]}, "DAG1_concat must be different states from 2 to 7"),
            ({"DAG1_concat": [5, 6]}, r"DAG1_concat is \[5, 6\], this space joins \[6, 7\]; StageGraph\.covering"),
            ({"DAG3": CIFAR["DAG3"][:4], "DAG3_concat": [4, 5]}, "DAG3 has 4 nodes, this space has 6"),
            ({"DAG2": "fixed"}, "only the reduction cell can be 'fixed'"),
            ({"normal": []}, r"unknown keys \['normal'\]"),
        ],
    )
    def test_wrong_graphs(self, change, message):
        with pytest.raises(ArchitectureError, match=message):
            SPACE.parse(CIFAR | change)

    @pytest.mark.parametrize(
        ("notation", "message"),
        [
            ({"DAG": CIFAR, "cell": DARTS_V2}, r"unknown keys \['cell'\]; known: \['DAG', 'genotype', 'name'\]"),
            ("Genotype(DAG1=[])", r"genotype lacks \['DAG2', 'DAG3'\]"),
            ({"DAG1": CIFAR["DAG1"]}, r"genotype lacks \['DAG2', 'DAG3'\]"),
            ('{"DAG1": [', "is cut off"),
            (None, "a genotype is a JSON object or Genotype2"),
        ],
    )
    def test_what_is_no_graph(self, notation, message):
        with pytest.raises(ArchitectureError, match=message):
            SPACE.parse(notation)


class TestCovering:
    def test_other_lengths_joined_states_and_sources(self):
        dag = {
            "DAG1": [[["skip_connect", 0], ["skip_connect", 1]]],
            "DAG1_concat": [2],
            "DAG2": [[["skip_connect", 0], ["max_pool_5x5", 1]], [["skip_connect", 1], ["skip_connect", 1]]],
            "DAG2_concat": [2, 3],
            "DAG3": [*CIFAR["DAG3"][:4], [["skip_connect", 0], ["skip_connect", 5]]],
            "DAG3_concat": [3, 5, 6],
        }
        space, arch = member(dag, SMALL_CELL)
        assert space.cells == [1, 2, 5] and space.window == 6 and space.repeat
        assert space.concat["stage3"] == [3, 5, 6]
        assert space.operations[-1] == "max_pool_5x5"
        assert space.format(arch)["DAG"] == dag
        assert space.build(arch, channels=2)(torch.randn(2, 3, 8, 8)).shape == (2, 10)
        # what the default space refuses for its window only
        cascade = json.loads(json.dumps(CIFAR))
        cascade["DAG2"][5][0] = ["skip_connect", 0]
        assert spaces.StageGraph.covering(cascade).arguments == {"window": 7}

    def test_what_fits_the_defaults_gives_the_default_space(self):
        assert spaces.StageGraph.covering(CIFAR).arguments == {}

    def test_convolutions_are_refused(self):
        wrong = CIFAR | {"DAG1": [[["sep_conv_3x3", 0], ["skip_connect", 1]], *CIFAR["DAG1"][1:]]}
        with pytest.raises(ArchitectureError, match=r"poolings and skips only, got \['sep_conv_3x3'\]"):
            spaces.StageGraph.covering(wrong)

    def test_the_cells_of_the_notation_unless_others_are_asked_for(self):
        both = {"genotype": CELLS["PDARTS"], "DAG": CIFAR}
        assert spaces.StageGraph.covering(both).arguments == spaces.StageGraph(CELLS["PDARTS"]).arguments
        assert spaces.StageGraph.covering(both, cell=CELLS["DARTS_V2"]).arguments == {}


class TestBaselines:
    def test_a_chain_reads_the_two_latest_states(self):
        for space in (SPACE, spaces.StageGraph(cells=[2, 3, 4], window=2)):
            for name, value in space.chain("max_pool_3x3").choices.items():
                state = int(name.partition(".")[2])
                assert value == (("max_pool_3x3", state - 2), ("max_pool_3x3", state - 1))

    def test_all_skip_keeps_the_sources(self):
        arch = SPACE.parse(CIFAR)
        plain = SPACE.all_skip(arch)
        assert {op for value in plain.choices.values() for op, _ in value} == {"skip_connect"}
        for name in arch:
            assert [source for _, source in plain[name]] == [source for _, source in arch[name]]

    def test_a_shared_graph(self):
        shared = SPACE.genotype(SPACE.shared(SPACE.parse(CIFAR), stage=2))
        assert shared["DAG1"] == shared["DAG2"] == shared["DAG3"] == SPACE.genotype(SPACE.parse(CIFAR))["DAG2"]
        uneven = spaces.StageGraph(cells=[1, 2, 2])
        with pytest.raises(ArchitectureError, match=r"stages of \[1, 2, 2\] cells cannot share the graph of stage 2"):
            uneven.shared(uneven.chain(), stage=2)


def test_pictures_show_cells_and_joined_states():
    picture = SPACE.graphs(SPACE.parse(CIFAR))["stage2"]
    assert picture.states[:3] == ("input 0", "input 1", "cell 0") and picture.states[-1] == "output"
    assert [edge for edge in picture.edges if edge[1] == 8] == [(6, 8, ""), (7, 8, "")]
    assert (4, 7, "avg_pool_3x3") in picture.edges


@pytest.mark.parametrize(
    "space",
    [spaces.StageCells(nodes=1), spaces.StageGraph(STAGE_CELLS, cells=3), spaces.CellDistribution(SMALL_CELL, cells=3)],
    ids=lambda space: space.name,
)
def test_members_leave_as_a_program_of_their_own(space, tmp_path):
    layout = {"layers": 5} if space.name == "StageCells" else {}
    network = space.build(space.sample(random.Random(3)), channels=4, auxiliary=True, **layout).eval()
    formats = ("model.py", "safetensors")
    result = export_network(network, tmp_path, input_size=(3, 16, 16), mean=(0.5,) * 3, std=(0.5,) * 3, formats=formats)
    assert set(result.differences) == set(formats) and max(result.differences.values()) < 1e-5
    assert (tmp_path / "model.py").exists()
