"""What a search says of a result that passes no information, or that nothing has decided."""

import json
from dataclasses import replace
from random import Random

import pytest
import torch

import ramify
from ramify.report.folder import read_folder
from ramify.report.html import _Report
from ramify.report.verdict import verdict
from ramify.spaces import DARTSCells, NASBench201
from ramify.spaces.cell_graph import CellGraph
from ramify.strategies import CDARTS, DARTS, ENAS, GDAS, PDARTS, SETN, RandomSearch
from ramify.strategies.trials import Trial
from ramify.strategies.undecided import all_equal, has_moved
from ramify.supernet import Choice
from small_runs import DATA, SPACES, Guess, finish, session_of

SPACE, LAYOUT = NASBench201(), {"channels": 4, "cells": 1}
DEAD = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|none~2|"


def doubts(path):
    """Return what the report says against the result of a run."""
    report = _Report(read_folder(path), {}, None, {}, None, None)
    return verdict(report.run, report.mixing, report.trials, report.standing)


# Whether information passes


@pytest.mark.parametrize(
    ("notation", "passes"),
    [
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", False),
        (DEAD, False),
        ("|none~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|skip_connect~2|", False),  # nothing leaves the input
        ("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|", True),
        ("|avg_pool_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|", True),
    ],
)
def test_a_cell_is_disconnected_if_none_cuts_every_path(notation, passes):
    arch = SPACE.parse(notation)
    assert SPACE.disconnected(arch) == ([] if passes else ["cell"])
    network = SPACE.build(arch, **LAYOUT).double().eval()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(network(x), network(x.flip(0)).flip(0))
    assert torch.allclose(network(x), network(torch.zeros_like(x))) == (not passes)


def test_order_of_edges_does_not_matter():
    edges = ((2, 3, ""), (1, 2, "skip_connect"), (0, 1, "max_pool_3x3"))
    assert CellGraph(("a", "b", "c", "d"), edges, inputs=(0,), output=3).passes
    assert not CellGraph(("a", "b", "c", "d"), edges[:2], inputs=(0,), output=3).passes


@pytest.mark.parametrize("name", SPACES)
def test_members_without_none_pass_information_in_every_space(name):
    space = SPACES[name][0]
    for number in range(20):
        arch = space.sample(Random(number))
        uses = [op for graph in space.graphs(arch).values() for _, _, op in graph.edges]
        if "none" not in uses:
            assert space.disconnected(arch) == []


def test_the_graphs_that_pass_nothing_are_named(monkeypatch):
    space = DARTSCells()
    arch = space.sample(Random(0))
    graphs = space.graphs(arch)
    cut = tuple((source, target, op and "none") for source, target, op in graphs["reduce"].edges)
    monkeypatch.setattr(space, "graphs", lambda _: graphs | {"reduce": replace(graphs["reduce"], edges=cut)})
    assert space.disconnected(arch) == ["reduce"]


def test_a_search_says_that_its_result_passes_nothing(tmp_path, capsys):
    masks = {"cell": torch.zeros(SPACE.choices["cell"].shape, dtype=torch.bool)}
    for edge, row in enumerate(SPACE.mix(SPACE.parse(DEAD))["cell"]):
        masks["cell"][edge, int(row.argmax())] = True
    masks["cell"][0] = True  # the rest is decided
    found = ramify.search(
        SPACE.restrict(masks), DARTS(epochs=1, batch_size=16), DATA, network=LAYOUT, out=tmp_path, threads=1
    )
    assert json.loads((tmp_path / "result.json").read_text())["disconnected"] == ["cell"]
    assert "`none` cuts every path through cell: the architecture passes no" in capsys.readouterr().err
    assert "No information passes cell" in doubts(tmp_path)
    assert found.architecture in SPACE


# Whether anything was decided

CHOICE = {"cell": Choice(((0, 1), (0, 2)), ("a", "b", "c"), torch.tensor([[True, True, True], [True, False, False]]))}


@pytest.mark.parametrize(
    ("shift", "moved"),
    [
        ([[0.0, 0.0, 0.0], [0, 0, 0]], False),
        ([[5.0, 5.0, 5.0], [0, 0, 0]], False),  # a softmax does not see it
        ([[0.2, -0.2, 0.0], [0, 0, 0]], False),
        ([[0.5, -0.5, 0.0], [0, 0, 0]], True),
        ([[0.0, 0.0, 0.0], [9, 9, -9]], False),  # an edge with a single candidate decides nothing
    ],
)
def test_parameters_have_moved_further_than_the_start_had_spread_them(shift, moved):
    start = torch.tensor([[0.1, -0.2, 0.15], [0.1, 0.2, 0.3]])
    assert has_moved(CHOICE, {"cell": start}, {"cell": start + torch.tensor(shift)}) is moved
    assert has_moved({}, {"beta": start[0]}, {"beta": (start + torch.tensor(shift))[0]}) is moved


def test_without_noise_any_step_is_a_decision():
    start = torch.full((2, 3), 0.5)
    assert not has_moved(CHOICE, {"cell": start}, {"cell": start.clone()})
    assert has_moved(CHOICE, {"cell": start}, {"cell": start + torch.tensor([1e-6, 0.0, 0.0])})


@pytest.mark.parametrize(
    ("strategy", "undecided"),
    [
        (DARTS(epochs=1, batch_size=16, arch_lr=0.0), True),
        (DARTS(epochs=1, batch_size=16, arch_start=1), True),
        (DARTS(epochs=1, batch_size=16, arch_lr=0.1), False),
        (GDAS(epochs=1, batch_size=16, arch_lr=0.0), True),
        (
            PDARTS(epochs=1, batch_size=16, arch_lr=0.0, depth=1, added_depth=(0, 0), skip_dropout=(0, 0), kept=(5,)),
            True,
        ),
        (CDARTS(cycles=1, pretrain_epochs=0, batch_size=16, arch_lr=0.0), True),
        (CDARTS(cycles=1, pretrain_epochs=0, batch_size=16, arch_lr=0.1), False),
        (SETN(epochs=1, batch_size=16, arch_lr=0.0, selected=1), True),
        (ENAS(epochs=1, batch_size=16, controller_lr=0.0, controller_updates=1, samples=1, selected=1), True),
        (RandomSearch(evaluations=3, evaluator=Guess()), False),
    ],
)
def test_a_search_knows_whether_it_has_decided_anything(strategy, undecided):
    session = session_of("darts" if isinstance(strategy, PDARTS) else "nasbench201", strategy)
    finish(session)
    assert ("undecided" in session.summary()) is undecided


def trial(number, score, arch, epochs=None, failed=""):
    return Trial(number, arch, {"score": score}, epochs, failed=failed)


def test_equal_members_decide_nothing():
    a, b, c = (SPACE.sample(Random(number)) for number in range(3))
    assert "all 2 members that were evaluated scored 0.5" in all_equal([trial(0, 0.5, a), trial(1, 0.5, b)])
    assert all_equal([trial(0, 0.5, a), trial(1, 0.6, b)]) == ""
    assert all_equal([trial(0, 0.5, a), trial(1, 0.5, a)]) == ""
    assert all_equal([trial(0, 0.5, a), trial(1, 0.5, b), trial(2, 0.1, c, failed="loss is nan")]) != ""
    assert all_equal([trial(0, 0.1, c, 1), trial(1, 0.5, a, 3), trial(2, 0.5, b, 3)]) != ""


def test_a_run_says_that_it_is_undecided(tmp_path, capsys):
    strategy = DARTS(epochs=1, batch_size=32, arch_start=1)
    ramify.search(DARTSCells(), strategy, DATA, network={"channels": 4, "layers": 3}, out=tmp_path, threads=1)
    said = "no decision has moved since the random start"
    assert f"undecided: {said}" in capsys.readouterr().err
    assert json.loads((tmp_path / "result.json").read_text())["undecided"].startswith(said)
    assert f"Undecided: {said}" in doubts(tmp_path)
