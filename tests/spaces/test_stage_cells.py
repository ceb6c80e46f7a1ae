"""The cell level of H-DAS: sizes, roles, counts, derivation from raw parameters, notations."""

import json
import math
import random

import pytest
import torch
from torch import nn

import ramify
from ramify import spaces, zoo
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import make_operation, standard_norm
from ramify.spaces.cell_network import plan_cells

SPACE = spaces.StageCells()
PUBLISHED = zoo.get("HC_DAS").notation
KINDS = ("normal1", "reduce1", "normal2", "reduce2", "normal3")


def cost(num_classes=10, size=32, **layout):
    with torch.device("meta"):  # shapes only: nothing is initialized
        network = SPACE.build(SPACE.parse(PUBLISHED), num_classes=num_classes, **layout)
    return ramify.profile(network, (3, size, size))


def zeros(space):
    return {name: torch.zeros(choice.shape) for name, choice in space.choices.items()}


def rows(**values):
    """A row of parameters in the order of the operations."""
    return torch.tensor([float(values.get(op, 0.0)) for op in SPACE.choices["normal1"].ops])


class TestSize:
    def test_five_cells_of_darts(self):
        assert SPACE.size == (180 * 49**4) ** 5
        assert list(SPACE.choices) == list(KINDS)
        assert [choice.shape for choice in SPACE.choices.values()] == [(14, 8)] * 5
        assert sum(math.prod(choice.shape) for choice in SPACE.choices.values()) == 560

    def test_none_is_the_last_operation(self):
        ops = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3")
        assert SPACE.choices["reduce2"].ops == (*ops, "dil_conv_5x5", "none")

    @pytest.mark.parametrize(
        ("arguments", "size"),
        [
            ({"nodes": 1}, 49**5),
            ({"nodes": {"normal": 2, "reduce": 1}}, (49 * 147) ** 3 * 49**2),
            ({"nodes": dict.fromkeys(KINDS, 1) | {"normal2": 2}}, 49**4 * 49 * 147),
            ({"nodes": 1, "reduction": "frc"}, 49**3),
            ({"nodes": 1, "operations": {"normal": ("skip_connect", "none"), "reduce": ("max_pool_3x3",)}}, 1),
        ],
    )
    def test_relatives(self, arguments, size):
        assert spaces.StageCells(**arguments).size == size

    def test_a_mapping_names_roles_or_all_kinds(self):
        with pytest.raises(ConfigurationError, match=r"needs the keys \['normal', 'reduce'\] or \['normal1', "):
            spaces.StageCells(nodes={"normal1": 2})


class TestRoles:
    @pytest.mark.parametrize(
        ("layers", "roles"),
        [
            (8, "N1 N1 R1 N2 N2 R2 N3 N3"),
            (20, "N1 " * 6 + "R1 " + "N2 " * 6 + "R2 " + "N3 " * 6),
            (14, "N1 " * 4 + "R1 " + "N2 " * 4 + "R2 " + "N3 " * 4),
            (26, "N1 " * 8 + "R1 " + "N2 " * 8 + "R2 " + "N3 " * 8),
        ],
    )
    def test_cells_of_a_stage_are_of_one_kind(self, layers, roles):
        plans, _ = plan_cells(layers, 4, (12, 12), SPACE.width, older_is_larger=False)
        assert [SPACE.kind_at(plan) for plan in plans] == [
            role.replace("N", "normal").replace("R", "reduce") for role in roles.split()
        ]

    def test_the_auxiliary_head_reads_the_second_reduction_cell(self):
        with torch.device("meta"):
            network = SPACE.build(SPACE.parse(PUBLISHED), auxiliary=True)
        assert network.reductions == (6, 13)
        assert network.auxiliary.first.in_channels == 4 * 4 * 36

    def test_every_kind_has_its_own_operations_in_the_network(self):
        network = SPACE.build(SPACE.parse(PUBLISHED), channels=4, layers=8)
        for cell, kind in zip(network.cells, (KINDS[i] for i in (0, 0, 1, 2, 2, 3, 4, 4)), strict=True):
            wanted = {(f"{source}-{state}", op) for state, node in enumerate(PUBLISHED[kind], 2) for op, source in node}
            assert {(edge, op) for edge, ops in cell.graph.edges.items() for op in ops} == wanted


class TestCounts:
    @pytest.mark.parametrize(
        ("channels", "params", "head", "macs"),
        [(36, 3_707_326, 476_426, 578_282_112), (32, 2_958_378, 468_234, None)],
    )
    def test_cifar(self, channels, params, head, macs):
        found = cost(channels=channels, auxiliary=True)
        assert (found.params - found.auxiliary_params, found.auxiliary_params) == (params, head)
        assert macs is None or found.macs == macs

    def test_on_imagenet_the_layout_of_darts_comes_near_to_what_is_published(self):
        """578 M multiply-adds and 5.0 M parameters."""
        found = cost(1000, 224, layout="imagenet")
        assert round(found.macs / 1e6, 1) == 578.8
        assert round(found.params / 1e6, 2) == 5.18

    def test_the_search_network(self):
        with torch.device("meta"):
            sup = SPACE.supernet()
        assert sum(p.numel() for p in sup.parameters()) == 1_930_618

    @pytest.mark.parametrize(
        ("op", "affine", "plain"),
        [
            ("max_pool_3x3", (32, 32), (0, 0)),
            ("avg_pool_3x3", (32, 32), (0, 0)),
            ("skip_connect", (0, 288), (0, 256)),
            ("sep_conv_3x3", (864, 864), (800, 800)),
            ("sep_conv_5x5", (1376, 1376), (1312, 1312)),
            ("dil_conv_3x3", (432, 432), (400, 400)),
            ("dil_conv_5x5", (688, 688), (656, 656)),
        ],
    )
    def test_parameters_of_operations_at_16_channels(self, op, affine, plain):
        for norm, counts in ((standard_norm(), affine), (standard_norm(False), plain)):
            for stride, count in zip((1, 2), counts, strict=True):
                operation = make_operation(op, 16, stride, norm, pool_norm=True, pool_affine=True)
                assert sum(p.numel() for p in operation.parameters()) == count

    def test_poolings_keep_their_norm(self):
        arch = SPACE.parse(PUBLISHED)
        network = SPACE.build(arch, channels=4, layers=8)
        norm = network.cells[2].graph.edges["0-2"]["max_pool_3x3"].norm
        assert isinstance(norm, nn.BatchNorm2d) and norm.affine
        bare = SPACE.build(arch, channels=4, layers=8, pool_norm=False)
        assert isinstance(bare.cells[2].graph.edges["0-2"]["max_pool_3x3"].norm, nn.Identity)
        in_search = SPACE.supernet(channels=2, layers=8).cells[0].graph.edges["0-2"]["max_pool_3x3"].norm
        assert isinstance(in_search, nn.BatchNorm2d) and not in_search.affine

    def test_every_parameter_is_held_once(self):
        network = SPACE.build(SPACE.sample(random.Random(0)), channels=2, layers=8)
        state = network.state_dict()
        assert len(state) == len({tensor.data_ptr() for tensor in state.values()})


class TestDerivation:
    def test_raw_parameters(self):
        scores = zeros(SPACE)
        table, edges = scores["normal1"], SPACE.choices["normal1"].edges
        table[edges.index((0, 2))] = rows(skip_connect=0.1, sep_conv_3x3=0.5, none=2.0)
        table[edges.index((1, 2))] = rows(max_pool_3x3=0.3)
        table[edges.index((0, 3))] = rows(sep_conv_5x5=0.9)
        table[edges.index((1, 3))] = rows(skip_connect=0.2)
        table[edges.index((2, 3))] = rows(dil_conv_5x5=0.8)
        arch = SPACE.discretize(scores)
        assert set(arch["normal1.2"]) == {("sep_conv_3x3", 0), ("max_pool_3x3", 1)}
        assert set(arch["normal1.3"]) == {("sep_conv_5x5", 0), ("dil_conv_5x5", 2)}

    def test_none_takes_part_in_the_softmax_but_not_in_the_raw_rule(self):
        """An edge that is mostly `none` is weak as a softmax, however large its other parameters are."""
        scores = zeros(SPACE)
        edges = SPACE.choices["normal1"].edges
        scores["normal1"][edges.index((0, 3))] = rows(sep_conv_3x3=1.0, none=5.0)
        scores["normal1"][edges.index((1, 3))] = rows(sep_conv_5x5=0.5)
        scores["normal1"][edges.index((2, 3))] = rows(dil_conv_3x3=0.6)
        softmax = {name: choice.softmax(scores[name]) for name, choice in SPACE.choices.items()}
        assert SPACE.discretize(scores)["normal1.3"] == (("sep_conv_3x3", 0), ("dil_conv_3x3", 2))
        assert SPACE.discretize(softmax)["normal1.3"] == (("sep_conv_5x5", 1), ("dil_conv_3x3", 2))


class TestNotation:
    def test_the_published_cells(self):
        arch = SPACE.parse(PUBLISHED)
        assert SPACE.format(arch) == PUBLISHED
        for style in ("flat", "nested", "text"):
            written = SPACE.format(arch, style)
            assert SPACE.parse(written) == arch
            assert spaces.recognize(written).parse(written) == arch
        assert SPACE.format(arch, "text").startswith("Genotype3(normal1=[[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], ")
        assert SPACE.parse(json.dumps(PUBLISHED | {"name": "HC_DAS"})) == arch

    def test_what_papers_print(self):
        text = (
            "Genotype3(normal1=[[('skip_connect', 0), ('skip_connect', 1)]], normal1_concat=range(2, 3), "
            "reduce1=[[('max_pool_3x3', 0), ('skip_connect', 1)]], reduce1_concat=range(2, 3), "
            "normal2=[[('skip_connect', 0), ('skip_connect', 1)]], normal2_concat=range(2, 3), "
            "reduce2=[[('max_pool_3x3', 0), ('skip_connect', 1)]], reduce2_concat=range(2, 3), "
            "normal3=[[('skip_connect', 1), ('sep_conv_3x3', 0)]], normal3_concat=range(2, 3))"
        )
        space = spaces.recognize(text)
        assert space.arguments == {"nodes": 1}
        assert space.parse(text)["normal3.2"] == (("sep_conv_3x3", 0), ("skip_connect", 1))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"normal2": [[["sep_conv_3x3", 0], ["sep_conv_3x3", 2]]]},
                r"normal2, node 0 \(state 2\): source 2 is out",
            ),
            (
                {"reduce2": [[["sepconv_3x3", 0], ["skip_connect", 1]]]},
                r"reduce2, node 0 .*did you mean 'sep_conv_3x3'",
            ),
            ({"normal3_concat": [6]}, "normal3_concat must be different states from 2 to 5"),
            ({"normal3_concat": [4, 5]}, r"normal3_concat is \[4, 5\], this space joins .*StageCells\.covering"),
            ({"normal1": "fixed"}, "only the reduction cell"),
            ({"reduce1": "fixed"}, "this space has a searched reduction cell; see StageCells.covering"),
            ({"DAG1": []}, r"unknown keys \['DAG1'\]"),
        ],
    )
    def test_what_is_wrong_is_said(self, change, message):
        with pytest.raises(ArchitectureError, match=message):
            SPACE.parse(PUBLISHED | change)

    def test_a_missing_cell(self):
        with pytest.raises(ArchitectureError, match=r"genotype lacks \['reduce2'\]"):
            SPACE.parse({key: value for key, value in PUBLISHED.items() if not key.startswith("reduce2")})


class TestCovering:
    def test_cells_of_different_sizes(self):
        genotype = PUBLISHED | {
            "normal2": [[["nor_conv_3x3", 0], ["skip_connect", 1]]],
            "normal2_concat": [2],
            "normal3": [*PUBLISHED["normal3"][:3], [["skip_connect", 0], ["sep_conv_3x3", 0]]],
            "normal3_concat": [4, 5],
        }
        space = spaces.StageCells.covering(genotype)
        assert space.arguments["nodes"] == {"normal1": 4, "reduce1": 4, "normal2": 1, "reduce2": 4, "normal3": 4}
        assert space.arguments["concat"]["normal3"] == [4, 5]
        assert space.arguments["operations"][-1] == "nor_conv_3x3" and space.repeat
        arch = space.parse(genotype)
        assert space.build(arch, channels=4, layers=8)(torch.randn(2, 3, 16, 16)).shape == (2, 10)

    def test_fixed_reduction_cells(self):
        genotype = PUBLISHED | {"reduce1": "fixed", "reduce2": "fixed"}
        space = spaces.StageCells.covering(genotype)
        assert space.arguments == {"reduction": "frc"}
        assert space.format(space.parse(genotype))["reduce2"] == "fixed"
        with pytest.raises(ArchitectureError, match=r"fixed all or none, here only \['reduce1'\] are"):
            spaces.StageCells.covering(PUBLISHED | {"reduce1": "fixed"})


def test_the_loss_reaches_every_parameter_and_a_weight_step_moves_its_gradient():
    sup = SPACE.supernet(channels=4).double()
    alphas = {
        name: (1e-3 * torch.randn(choice.shape, dtype=torch.float64)).requires_grad_()
        for name, choice in SPACE.choices.items()
    }
    x, y = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.arange(4)

    def gradients(inputs):
        logits = sup(x, {name: choice.softmax(alphas[name]) for name, choice in SPACE.choices.items()})
        return torch.autograd.grad(nn.functional.cross_entropy(logits, y), inputs)

    weights = list(sup.parameters())
    first = gradients([*alphas.values(), *weights])
    assert all((g.abs().sum(dim=1) > 0).all() for g in first[:5])
    with torch.no_grad():
        for weight, g in zip(weights, first[5:], strict=True):
            weight -= 0.1 * g
    for before, after in zip(first, gradients(list(alphas.values())), strict=False):
        assert not torch.allclose(before, after)
