"""The distribution level of H-DAS: lengths of stages, the released penalty, budgets."""

import json
import math
import random

import pytest
import torch

from ramify import spaces, zoo
from ramify.errors import ArchitectureError, ConfigurationError
from space_cases import SMALL_CELL

SPACE = spaces.CellDistribution()
SMALL = spaces.CellDistribution(SMALL_CELL, cells=5)
STAGES = ("stage1", "stage2", "stage3")
CIFAR = zoo.get("HS_DAS_cifar").notation["DAG"]


def zeros(space=SPACE):
    return {
        name: torch.zeros(choice.shape, dtype=torch.float64, requires_grad=True)
        for name, choice in space.choices.items()
    }


def with_lengths(arch, *lengths):
    space = spaces.space_of(arch)
    ends = {f"{stage}.lengths": length for stage, length in zip(STAGES, lengths, strict=True)}
    return space.architecture({**arch.choices, **ends})


class TestSize:
    def test_it_is_exact(self):
        """The cells behind the end of a stage are decided as well."""
        assert SPACE.size == (9 * 27**7 * 5) ** 3
        assert spaces.CellDistribution(cells=3, lengths=[3]).size == spaces.StageGraph(cells=3).size

    def test_architecture_parameters(self):
        shapes = {name: choice.shape for name, choice in SPACE.choices.items()}
        assert shapes == {**dict.fromkeys(STAGES, (23, 4)), "lengths": (3, 5)}
        assert sum(math.prod(shape) for shape in shapes.values()) == 276 + 15

    @pytest.mark.parametrize(
        ("arguments", "lengths"),
        [
            ({}, "45678"),
            ({"cells": 6}, "23456"),
            ({"cells": 3}, "23"),
            ({"cells": 8, "lengths": [2, 8]}, "28"),
        ],
    )
    def test_lengths(self, arguments, lengths):
        space = spaces.CellDistribution(**arguments)
        assert "".join(space.choices["lengths"].ops) == lengths
        assert {space.sample(random.Random(seed))["stage2.lengths"] for seed in range(60)} == set(map(int, lengths))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"cells": 1}, "`cells` must be at least 2, got 1"),
            ({"cells": [4, 4, 4]}, "`cells` must be at least 2, got"),
            ({"lengths": [1, 8]}, "`lengths` must be ascending numbers from 2 to 8, its last, got"),
            ({"lengths": [4, 6]}, "`lengths` must be ascending numbers from 2 to 8, its last, got"),
            ({"lengths": []}, "`lengths` must be ascending"),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises(ConfigurationError, match=message):
            spaces.CellDistribution(**arguments)

    def test_the_search_network(self):
        v1 = zoo.get("DARTS_V1").notation
        for space, weights in ((spaces.CellDistribution(v1), 1_097_610), (SPACE, 1_150_474)):
            with torch.device("meta"):
                sup = space.supernet()
            assert sum(p.numel() for p in sup.parameters()) == weights


class TestDerivation:
    @pytest.mark.parametrize("index", range(5))
    def test_the_largest_parameter_is_the_length(self, index):
        scores = zeros()
        with torch.no_grad():
            scores["lengths"][:, index] = 1.0
        arch = SPACE.discretize(scores)
        length = index + 4
        assert SPACE.lengths_of(arch) == (length,) * 3
        assert SPACE.format(arch)["DAG2_concat"] == [length, length + 1]
        with torch.device("meta"):
            pruned, whole = (SPACE.build(arch, channels=2, prune_dead=on) for on in (True, False))
        for stage, all_cells in zip(pruned.cells[::2], whole.cells[::2], strict=True):
            assert max(map(int, stage.graph.nodes)) == length + 1
            assert len(all_cells.graph.nodes) == 8

    def test_stages_are_independent(self):
        scores = zeros()
        with torch.no_grad():
            for stage, index in enumerate((3, 0, 1)):
                scores["lengths"][stage, index] = 0.1
            scores["stage3"][SPACE.choices["stage3"].incoming(2), 2] = 0.1
        arch = SPACE.discretize(scores)
        assert SPACE.lengths_of(arch) == (7, 4, 5)
        assert arch["stage3.2"] == (("skip_connect", 0), ("skip_connect", 1))

    def test_the_result_is_a_stage_graph_of_these_lengths(self):
        arch = with_lengths(SMALL.sample(random.Random(1)), 2, 5, 3)
        space, same = SMALL.stage_graph(arch)
        assert space.cells == [2, 5, 3] and same in space
        network, twin = SMALL.build(arch, channels=2), space.build(same, channels=2)
        twin.load_state_dict(network.state_dict())
        x = torch.randn(3, 3, 8, 8)
        assert torch.equal(network.eval()(x), twin.eval()(x))

    def test_an_extracted_member_has_the_cells_of_its_length(self):
        sup = SMALL.supernet(channels=2).double()
        x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
        for lengths in ((2, 3, 4), (5, 5, 5)):
            arch = with_lengths(SMALL.chain(), *lengths)
            network = SMALL.extract(sup, arch)
            assert tuple(len(stage.graph.nodes) for stage in network.cells[::2]) == lengths
            torch.testing.assert_close(network(x), sup(x, SMALL.mix(arch)), rtol=1e-12, atol=1e-12)

    def test_the_chain_is_as_long_as_can_be(self):
        assert SPACE.lengths_of(SPACE.chain()) == (8, 8, 8)
        drawn = SPACE.sample(random.Random(2))
        assert SPACE.lengths_of(SPACE.all_skip(drawn)) == SPACE.lengths_of(drawn)


class TestReleasedPenalty:
    def test_at_zero(self):
        scores = zeros()
        torch.testing.assert_close(
            SPACE.depths(scores), torch.full((3,), 0.9119363, dtype=torch.float64), atol=1e-7, rtol=0
        )
        assert SPACE.expected_cells(scores).item() == pytest.approx(18)
        assert list(SPACE.regularizers) == ["depth", "cells"]
        penalty = SPACE.regularizers["depth"](scores) + 0.4 * SPACE.regularizers["cells"](scores)
        assert abs(penalty.item() - 4.464191231) < 1e-8
        penalty.backward()
        expected = torch.tensor([-0.127076, -0.071669, -0.005482, 0.063631, 0.140595], dtype=torch.float64)
        torch.testing.assert_close(scores["lengths"].grad, expected.expand(3, 5), atol=1e-6, rtol=0)

    @pytest.mark.parametrize(("index", "depth"), [*enumerate([0.723942, 0.797313, 0.845916, 0.881183, 0.903114])])
    def test_at_one_length(self, index, depth):
        scores = zeros()
        with torch.no_grad():
            scores["lengths"][:] = -1e9
            scores["lengths"][:, index] = 0
        torch.testing.assert_close(
            SPACE.depths(scores), torch.full((3,), depth, dtype=torch.float64), atol=1e-6, rtol=0
        )
        assert SPACE.expected_cells(scores).item() == pytest.approx(3 * (index + 4))

    def test_none_takes_no_part(self):
        scores = zeros()
        before = SPACE.depths(scores)
        with torch.no_grad():
            for stage in STAGES:
                scores[stage][::2, -1] = 5.0
        torch.testing.assert_close(SPACE.depths(scores), before)
        assert not torch.allclose(SPACE.depths(scores, none=True), before)

    @pytest.mark.slow
    def test_alone_it_shortens_every_stage(self):
        """Adam takes a step for the loss, which has no gradient here, and one for the penalty: 5 epochs of 391."""
        torch.manual_seed(0)
        scores = {name: (1e-3 * torch.randn(c.shape)).requires_grad_() for name, c in SPACE.choices.items()}
        adam = torch.optim.Adam(list(scores.values()), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
        for _ in range(1955):
            adam.zero_grad(set_to_none=False)
            adam.step()
            (SPACE.depth_loss(scores) + 0.4 * SPACE.expected_cells(scores)).backward()
            adam.step()
        assert SPACE.lengths_of(SPACE.discretize(scores)) == (4, 4, 4)
        expected = torch.tensor([0.40, 0.37, 0.07, 0.08, 0.08]).expand(3, 5)
        torch.testing.assert_close(SPACE.probabilities(scores).detach(), expected, atol=0.02, rtol=0)


class TestNotation:
    def test_published_graphs_are_members(self):
        arch = SPACE.parse(CIFAR)
        assert SPACE.lengths_of(arch) == (6, 6, 6)
        assert SPACE.format(arch)["DAG1"][:6] == CIFAR["DAG1"]
        assert SPACE.format(arch)["DAG1_concat"] == [6, 7]

    def test_cells_behind_the_end_may_be_left_out(self):
        arch = with_lengths(SPACE.chain(), 4, 6, 8)
        written = SPACE.format(arch)
        short = {**written, "DAG1": written["DAG1"][:4], "DAG2": written["DAG2"][:7]}
        again = SPACE.parse(short)
        assert SPACE.lengths_of(again) == (4, 6, 8)
        assert SPACE.stage_graph(again)[1] == SPACE.stage_graph(arch)[1]
        assert SPACE.parse(json.dumps(SPACE.format(again))) == again

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"DAG1_concat": [5, 7]}, r"DAG1_concat is \[5, 7\], this space joins the states n and n\+1"),
            ({"DAG1_concat": [3, 4]}, r"DAG1_concat is \[3, 4\], .*n among \[4, 5, 6, 7, 8\]; CellDistribution\.cov"),
            ({"DAG1_concat": [8, 9]}, "DAG1_concat must be different states from 2 to 7"),
            ({"DAG2": CIFAR["DAG2"] * 2, "DAG2_concat": [6, 7]}, "DAG2 has 12 nodes, this space has 8"),
        ],
    )
    def test_what_is_wrong_is_said(self, change, message):
        with pytest.raises(ArchitectureError, match=message):
            SPACE.parse(CIFAR | change)

    def test_covering(self):
        assert spaces.CellDistribution.covering(CIFAR).arguments == {}
        short = SMALL.format(with_lengths(SMALL.chain(), 2, 3, 5))
        space = spaces.CellDistribution.covering(short)
        assert space.to_dict() == SMALL.to_dict()
        assert space.lengths_of(space.parse(short)) == (2, 3, 5)


def test_pictures_end_where_the_stages_do():
    pictures = SPACE.graphs(with_lengths(SPACE.chain(), 4, 5, 8))
    assert [len(pictures[stage].states) for stage in STAGES] == [7, 8, 11]
    assert pictures["lengths"].edges == ((0, 1, "4"), (1, 2, "5"), (2, 3, "8"))
