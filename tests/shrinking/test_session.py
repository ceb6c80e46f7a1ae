"""Spaces that shrink: real supernets, small ones."""

import json
import pickle
import shlex
from dataclasses import replace
from itertools import islice, product

import pytest
import torch

import ramify
from killing import forked
from ramify import spaces
from ramify.cli import main
from ramify.costs import ChainCosts
from ramify.data import DataSpec
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators import InheritedWeights
from ramify.seeding import rng
from ramify.shrinking import Shrinking, ShrinkSession, convert
from ramify.strategies import RandomSearch
from small_runs import differences, images, restored, saved, timeless, work_of

SMALL = Shrinking(
    first_epochs=1, next_epochs=1, batch_size=16, threshold=100, drop=4, samples=60, min_samples=2, iterations=9
)
CASES = {
    "nasbench201": (spaces.NASBench201(), {"channels": 4, "cells": 1}, SMALL),
    "darts": (spaces.DARTSCells(nodes=2), {"channels": 4, "layers": 3}, replace(SMALL, rule="layer", reset_after=0)),
    "mobile": (
        spaces.MobileChain(blocks=(1, 2, 1, 1, 1, 1)),
        {"channels": 4, "last_channels": 16, "resolution": 8},
        replace(SMALL, reset_after=6, warmup_epochs=1),
    ),
}


def session_of(name, **changed):
    space, layout, settings = CASES[name]
    return ShrinkSession(replace(settings, **changed), space, work_of(layout))


def run(session):
    return [(metrics.phase, dict(metrics.values)) for metrics in session.run() if metrics.values]


def iterations(rows):
    return [values for phase, values in rows if phase == "shrink"]


@pytest.mark.parametrize("name", CASES)
def test_a_space_becomes_small(name):
    session = session_of(name)
    found = iterations(run(session))
    assert session.is_small
    sizes = [row["size"] for row in found]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] <= 100 < sizes[-2]
    space, whole = session.space(), CASES[name][0]
    assert type(space) is type(whole)
    assert space.size == found[-1]["members"] < whole.size
    assert space.sample(rng(0)) in whole
    for row in found:
        scored = [value for table in row["angles"].values() for line in table for value in line if value is not None]
        assert scored and all(0 < angle < 3.2 for angle in scored)
    assert session.summary()["size"] == sizes[-1]


def test_a_space_that_is_small_already_is_refused_before_anything_is_written(tmp_path, capsys):
    words = ["--space", "NASBench201", "--network.channels", "4", "--network.cells", "1", "--data", "digits"]
    for plan in ([], ["--plan"]):
        assert main(["shrink", *words, "--out", str(tmp_path / "run"), *plan]) == 2
        said = capsys.readouterr().err
        assert "nothing to shrink" in said and "15,625 combinations" in said and "lower `threshold`" in said
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_the_smallest_angles_go():
    row = iterations(run(session_of("nasbench201", iterations=1)))[0]
    table, ops = row["angles"]["cell"], spaces.NASBench201().operations
    edges = list(spaces.NASBench201().choices["cell"].edges)
    gone = {(edges.index(tuple(it["edge"])), ops.index(it["operation"])) for it in row["dropped"]}
    assert len(gone) == 4
    ranked = sorted((angle, edge, op) for edge, line in enumerate(table) for op, angle in enumerate(line))
    assert {(edge, op) for _, edge, op in ranked[:4]} == gone


def test_one_operation_of_every_edge_goes_from_both_kinds_of_cells():
    row = iterations(run(session_of("darts", iterations=1)))[0]
    assert [it["choices"] for it in row["dropped"]] == [["normal", "reduce"]] * 5
    assert row["size"] == 7**5
    assert row["angles"]["normal"] == row["angles"]["reduce"]


def test_an_edge_that_a_decision_needs_keeps_something_to_carry():
    """`none` may be the last operation left on an edge only as long as two others lead to the node."""
    session = session_of("darts", threshold=1, iterations=30)
    run(session)
    assert session.space().size >= 1
    assert all(len(left) == 1 for left in session.lists)


def test_unused_operations_do_not_move():
    session = session_of("nasbench201", weight_decay=0.1)
    session.lists = [[0, 1, 4] if layer else [3] for layer in range(6)]  # only edge 0 has a convolution
    before = {name: value.clone() for name, value in session.supernet.state_dict().items()}
    for _ in islice(session.run(), 2):
        pass
    after = session.supernet.state_dict()
    moved = {name for name in before if name.endswith("weight") and not torch.equal(before[name], after[name])}
    inside = {name for name in moved if ".edges." in name}
    assert inside and all(".edges.0-1.nor_conv_3x3." in name for name in inside)


def test_angles_are_measured_anew_once_after_enough_has_gone():
    session = session_of("mobile")
    base = None
    resets = []
    for metrics in session.run():
        if metrics.phase == "shrink":
            resets.append(metrics.values["base_reset"])
            if resets[-1]:
                base = {name: value.clone() for name, value in session.supernet.state_dict().items()}
    assert resets == [False, True, *[False] * (len(resets) - 2)]
    assert session.summary()["base_reset_after"] == 2
    assert all(torch.equal(session.base[name], base[name]) for name in session.base)


def test_after_the_warm_up_angles_are_measured_from_its_end():
    session = session_of("mobile", iterations=1, reset_after=0)
    start = {name: value.clone() for name, value in session.base.items()}
    steps = session.weights.steps_per_epoch
    for _ in islice(session.run(), steps):
        pass
    assert not session.weights.optimizer.state, "momenta of the warm-up do not go on"
    assert any(not torch.equal(start[name], session.base[name]) for name in start)
    rows = run(session)
    assert [phase for phase, _ in rows] == ["prepare", "shrink"]
    assert session.summary()["base_reset_after"] is None


@pytest.mark.parametrize("name", CASES)
def test_it_continues_from_any_safe_point(name):
    whole = session_of(name)
    rows, states = [], []
    for metrics in whole.run():
        rows.append((metrics.phase, dict(metrics.values)))
        states.append(saved(whole))
    draw = rng(7, name)
    for at in {draw.randrange(len(states)) for _ in range(3)} | {len(states) - 1}:
        again = session_of(name)
        again.load_state_dict(restored(states[at]))
        rest = [(metrics.phase, dict(metrics.values)) for metrics in again.run()]
        assert rest == rows[at + 1 :]
        assert not differences(restored(saved(again)), restored(states[-1]))
        assert again.space().to_dict() == whole.space().to_dict()


def test_scores_are_those_of_the_angle():
    """With all children looked at, a score is the mean of `ramify.angle` over the members that use the operator."""
    session = session_of("mobile", samples=0, threshold=1, warmup_epochs=0)
    session.lists = [[0, 2], [3], [1, 6], [4], [5], [0], [2]]
    for _ in islice(session.run(), 2):
        pass
    now = session.supernet.state_dict()
    small = session.space()
    members = [small.architecture(values) for values in product(*(decision.choices for decision in small.decisions))]
    angles = [ramify.angle(session.supernet, member, session.base, now) for member in members]
    scores = session.scores()
    assert scores[0, 0].angle == pytest.approx(sum(angles[:2]) / 2, abs=1e-12)
    assert scores[2, 6].angle == pytest.approx((angles[1] + angles[3]) / 2, abs=1e-12)
    assert scores[0, 0].error == 0


FAIR = spaces.FairMobileChain(blocks=(1, 1, 1, 1, 1, 1))
FAIR_LAYOUT = {"channels": 4, "last_channels": 16, "resolution": 8}


class TestLimits:
    def session(self, **settings):
        return ShrinkSession(replace(SMALL, rule="layer", **settings), FAIR, work_of(FAIR_LAYOUT))

    def costs(self):
        return ChainCosts(FAIR, images(10, 1, 8, 8), FAIR_LAYOUT)

    @pytest.mark.parametrize("drawing", ["auto", "below-limit"])
    def test_children_above_it_do_not_count(self, drawing):
        costs = self.costs()
        spent = sorted(costs(FAIR.sample(rng(0, at)))["macs"] for at in range(100))
        limit = int(spent[30])
        session = self.session(at_most=limit, drawing=drawing, samples=100)
        seen = []
        drawn = session._drawing()(300, torch.Generator().manual_seed(0), (0, 3))
        allowed = session._limit.allows(drawn)
        for child, fits in zip(drawn.tolist(), allowed.tolist(), strict=True):
            member = FAIR.architecture([FAIR.operations[op] for op in child])
            assert (costs(member)["macs"] <= limit) == fits
            seen.append(fits)
        assert {int(op) for op in drawn[:, 0]} == {3}
        assert all(seen) if drawing == "below-limit" else 0 < sum(seen) < len(seen)
        assert max(score.samples for score in session.scores().values()) == 100

    def test_operators_without_a_cheap_child_stay(self):
        """Just above the cheapest member no large operator finds any child, so none of them is scored or dropped."""
        costs = self.costs()
        cheapest = costs.fixed["macs"] + int(costs.tables["macs"].min(dim=1).values.sum())
        session = self.session(at_most=int(cheapest * 1.02), iterations=1, min_samples=5, drawing="below-limit")
        with pytest.raises(RunError, match=r"no operator can go: of 36, 3\d have fewer than 5 children"):
            run(session)

    def test_refusals(self):
        with pytest.raises(ConfigurationError, match="no member of FairMobileChain has macs"):
            self.session(at_most=10)
        with pytest.raises(ConfigurationError, match="DARTSCells cannot be shrunk: DARTSCells lacks `layer costs`"):
            session_of("darts", at_most=10**6)


def test_supernets_without_angles_are_refused():
    with pytest.raises(ConfigurationError, match="NATSBenchSize cannot be shrunk: NATSBenchSize lacks `angle`"):
        ShrinkSession(SMALL, spaces.NATSBenchSize(widths=(2, 3)), work_of({}))


# From Python


DATA = DataSpec(subset=64)


def shrunk(out, **options):
    space, layout, settings = CASES["nasbench201"]
    return ramify.shrink(
        space, DATA, shrinking=settings, network=layout, out=out, threads=1, device="cpu", progress=False, **options
    )


def test_what_is_left_is_searched(tmp_path):
    result = shrunk(tmp_path / "small")
    assert result.space.size == result.summary["members"] <= 100
    assert spaces.create(tmp_path / "small" / "space.json").to_dict() == result.space.to_dict()
    assert spaces.create(json.loads((tmp_path / "small" / "space.json").read_text())).size == result.space.size
    assert spaces.create(tmp_path / "small").size == result.space.size
    again = shrunk(tmp_path / "small")  # finished: nothing is done again
    assert again.history == result.history
    strategy = RandomSearch(evaluations=4, evaluator=InheritedWeights(epochs=1, batch_size=16))
    search = ramify.search(result.space, strategy, DATA, network={"channels": 4, "cells": 1}, threads=1, progress=False)
    assert search.architecture in result.space
    page = ramify.write_report(result).read_text()
    assert "How the space shrank" in page and "was shrunk by the angles" in page
    assert "Preparing the supernet" in page
    assert (tmp_path / "small" / "pictures" / "shrinking.svg").stat().st_size > 10_000


def test_a_seed_of_its_own_gives_another_space(tmp_path):
    assert shrunk(None).space.to_dict() == shrunk(None).space.to_dict()
    assert shrunk(None, seed=1).space.to_dict() != shrunk(None).space.to_dict()


# The command line


def words(out, **options):
    found = ["shrink", "--space", "NASBench201", "--data", "digits", "--data.subset", "64"]
    given = {"batch_size": 16, "first_epochs": 1, "next_epochs": 1, "threshold": 100, "drop": 4, "samples": 60}
    for name, value in (given | {"min_samples": 2, "iterations": 9} | options).items():
        found += [f"--shrinking.{name}", str(value)]
    return [*found, "--network.channels", "4", "--network.cells", "1", "--threads", "1", "--out", str(out)]


def test_shrink_and_search_in_processes(tmp_path):
    code, err = forked([*words(tmp_path / "small"), "--progress", "false"], tmp_path)
    out = (tmp_path / "stdout").read_text()
    assert code == 0, err
    assert out.startswith(f"{tmp_path}/small/space.json: ") and out.endswith("of 15,625 members are left\n")
    history = [json.loads(line) for line in (tmp_path / "small" / "history.jsonl").read_text().splitlines()]
    here = shrunk(tmp_path / "here")
    assert timeless(row for row in history if row["phase"] == "shrink") == timeless(
        row for row in here.history if row["phase"] == "shrink"
    )
    search = ["search", "--space", str(tmp_path / "small" / "space.json"), "--strategy", "RandomSearch"]
    search += ["--strategy.evaluations", "3", "--strategy.evaluator", "InheritedWeights"]
    search += ["--strategy.evaluator.epochs", "1", "--strategy.evaluator.batch_size", "16", "--data", "digits"]
    search += ["--data.subset", "64", "--network.channels", "4", "--network.cells", "1", "--threads", "1"]
    code, err = forked([*search, "--progress", "false", "--out", str(tmp_path / "found")], tmp_path)
    out = (tmp_path / "stdout").read_text()
    assert code == 0, err
    assert here.space.parse(out.strip()) in here.space


def test_wrong_files_are_named_in_one_line(tmp_path, capsys):
    damaged = tmp_path / "space.json"
    damaged.write_text('{"space": "NASBench2')
    other = tmp_path / "other.json"
    other.write_text('{"space": "NASBench202", "arguments": {}}')
    lists = tmp_path / "lists.pt"
    lists.write_bytes(b"hello")
    for extra, said in (
        (["--space", str(damaged)], "not valid JSON"),
        (["--space", str(other)], "did you mean 'NASBench201'?"),
        (["--space", str(tmp_path / "none.json")], "none.json: no such file"),
        (["--restriction", str(lists)], "lists.pt: not valid JSON"),
        (["--shrinking.rule", "leyer"], "`rule` must be one of"),
        (["--shrinking.drops", "3"], "--shrinking: unknown option 'drops'; did you mean 'drop'?"),
    ):
        assert main([*words(tmp_path / "out"), *extra]) == 2
        err = capsys.readouterr().err
        assert err.startswith("ramify: ") and said in err and len(err.splitlines()) == 1, err
    assert not (tmp_path / "out").exists()


def test_lists_of_the_released_code_restrict_a_space(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "the operations.pt"
    file.write_bytes(pickle.dumps([[1, 3]] * 6))
    out = tmp_path / "out"
    options = [*words(out, threshold=16), "--progress", "false", "--restriction"]
    assert main([*options, file.name]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and not out.exists()
    command = shlex.split(err.partition("executing nothing: ")[2])
    assert command == ["python", "-m", "ramify.shrinking.convert", "the operations.pt", "the operations.json"]
    assert convert.main(command[3:]) == 0
    assert capsys.readouterr().out == "the operations.json: 6 lists of operators\n"
    assert main([*options, command[-1]]) == 0
    assert "of 64 members are left" in capsys.readouterr().out
    assert ramify.spaces.create(out).size <= 16
