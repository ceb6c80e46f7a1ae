"""Searching on a table: what an architecture is worth, what it costs, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import ramify
from ramify.benchmarks import Column, Table
from ramify.cli import main
from ramify.data import SOURCES
from ramify.errors import ConfigurationError, RunError, TableError
from ramify.evaluators import EVALUATORS, TableLookup
from ramify.run.origin import data_of
from ramify.spaces import DARTSCells
from ramify.strategies import LocalSearch, RandomSearch, RegularizedEvolution
from small_runs import DATA, finish, restored, saved, work_of
from small_tables import SPACE, cells, small, sub_space


@pytest.fixture
def path(tmp_path):
    small().save(tmp_path / "small.table")
    return str(tmp_path / "small.table")


def started(path, space=None, **settings):
    return TableLookup(**({"table": path, "column": "valid"} | settings)).start(space or sub_space(), work_of({}))


def test_scores_are_fractions_with_the_column_s_own_value_and_cost(path):
    evaluation = started(path)
    assert EVALUATORS["TableLookup"] is TableLookup
    assert list(evaluation.prepare()) == []
    assert evaluation(SPACE.parse(cells()[4])) == {"score": pytest.approx(0.34), "valid": 34.0, "seconds": 6.0}
    assert started(path, seed=5)(SPACE.parse(cells()[4]))["valid"] == 33.0


def test_every_recorded_epoch_is_a_fidelity(path):
    evaluation = started(path)
    assert evaluation.fidelities == (1, 3)
    arch = SPACE.parse(cells()[4])
    assert evaluation(arch, epochs=1) == {"score": pytest.approx(0.14), "valid": 14.0, "seconds": 2.0}
    with pytest.raises(TableError, match="no values after epoch 2; it has those of 1, 3"):
        evaluation(arch, epochs=2)


def test_it_says_what_its_numbers_are(path):
    metadata = json.loads(json.dumps(started(path).metadata))
    assert metadata["says"] == "3 epochs, mean of seeds 5 and 7"
    assert metadata["column"]["split"] == "valid" and metadata["sha256"] == small().digest
    assert started(path, seed=7).metadata["says"] == "3 epochs, seed 7"


def test_what_cannot_be_searched_is_refused_before_the_search(path, tmp_path):
    with pytest.raises(TableError, match=r"the table is of NASBench201\(\), not of DARTSCells"):
        started(path, DARTSCells())
    with pytest.raises(TableError, match="holds no value of a member of NASBench201"):
        started(path, SPACE.restrict({"cell": [[op == "none" for op in SPACE.operations]] * 5 + [[True] * 5]}))
    with pytest.raises(ConfigurationError, match="'valid_loss' holds loss, a search needs accuracies: valid"):
        started(path, column="valid_loss")
    with pytest.raises(TableError, match="no column 'test'; it has valid"):
        started(path, column="test")
    with pytest.raises(TableError, match="no seed 6"):
        started(path, seed=6)
    with pytest.raises(TableError, match="there is no table"):
        started(str(tmp_path / "none.table"))


def test_a_search_is_continued_on_the_same_table_only(path):
    strategy = RandomSearch(evaluations=6, evaluator=TableLookup(table=path, column="valid"))
    whole = strategy.session(sub_space(), work_of({}))
    rows = finish(whole)
    assert len(rows) == 6 and {row["metrics"]["seconds"] for row in rows} == {6.0}

    half = strategy.session(sub_space(), work_of({}))
    running = half.run()
    for _ in range(3):
        next(running)
    resumed = strategy.session(sub_space(), work_of({}))
    resumed.load_state_dict(restored(saved(half)))
    assert [row["score"] for row in finish(resumed)] == [row["score"] for row in rows[3:]]

    other = small()
    other.origin["note"] = "another"
    other.save(path)
    changed = strategy.session(sub_space(), work_of({}))
    with pytest.raises(RunError, match="is not the table that the search began with"):
        changed.load_state_dict(restored(saved(half)))


def write(path, held, name="valid", scale=1.0, **further):
    """Write a table of the first cells of the small sub-space, whose values are their index + 10."""
    about = {"metric": "accuracy", "data": "mine", "split": "valid", "schedule": 3} | further
    values = {name: scale * np.arange(10.0, 10 + held)}
    Table({"space": "NASBench201"}, cells()[:held], [Column(name=name, **about)], values).save(path)
    return str(path)


@pytest.mark.parametrize("name", ["score", "error", "seconds", "macs", "own"])
@pytest.mark.parametrize("metric", ["accuracy", "error"])
def test_a_column_s_name_and_unit_do_not_change_what_is_searched_for(name, metric, tmp_path):
    found = []
    for unit, scale in (("percent", 1.0), ("fraction", 0.01)):
        path = write(tmp_path / f"{unit}.table", 27, name, scale, metric=metric, unit=unit)
        strategy = RandomSearch(evaluations=60, evaluator=TableLookup(table=path, column=name))
        session = strategy.session(sub_space(), work_of({}))
        rows = finish(session)
        best = 0.36 if metric == "accuracy" else 0.9
        assert rows[-1]["best"] == pytest.approx(best) and session.trials.best.values == pytest.approx((1 - best,))
        found.append([row["architecture"]["notation"] for row in rows])
    assert found[0] == found[1]


def test_a_partial_table_can_be_searched(tmp_path):
    path = write(tmp_path / "part.table", 9)
    assert started(path)(SPACE.parse(cells()[8]))["score"] == pytest.approx(0.18)
    with pytest.raises(TableError, match=r"missing: .* is not among the 9 .* of the table; the table holds 9 of 27"):
        started(path)(SPACE.parse(cells()[9]))
    for strategy in (RandomSearch(), RegularizedEvolution(population=4), LocalSearch()):
        settings = {"evaluations": 40, "evaluator": TableLookup(table=path, column="valid")}
        session = replace(strategy, **settings).session(sub_space(), work_of({}, seed=4))
        rows = finish(session)
        failed = [row for row in rows if "failed" in row]
        assert 0 < len(failed) < 40 and all("missing: " in row["failed"] and "score" not in row for row in failed)
        assert all(row["metrics"] == {} for row in failed)
        assert session.summary()["failed"] == len(failed)
        assert cells().index(SPACE.format(session.architecture())) < 9


def test_where_every_member_asked_for_is_missing_one_line_says_so(tmp_path):
    path = write(tmp_path / "part.table", 1)
    strategy = RandomSearch(evaluations=8, evaluator=TableLookup(table=path, column="valid"))
    with pytest.raises(RunError, match=r"all 8 evaluations failed; the last: missing: .*holds 1 of 15,625 members"):
        finish(strategy.session(SPACE, work_of({})))


def test_a_budget_that_failures_do_not_spend_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("ramify.strategies.ask_tell._FRUITLESS", 30)
    columns = [
        Column(name="a", metric="accuracy", data="mine", split="valid", schedule=3, cost="s"),
        Column(name="s", metric="seconds", data="mine", split="valid", schedule=3),
    ]
    path = tmp_path / "one.table"
    Table({"space": "NASBench201"}, cells()[:1], columns, {"a": [10.0], "s": [1.0]}).save(path)
    strategy = RandomSearch(seconds=10, evaluator=TableLookup(table=str(path), column="a"))
    with pytest.raises(RunError, match="30 evaluations in a row failed"):
        finish(strategy.session(SPACE, work_of({})))


class TestWithoutImages:
    def searched(self, path, out=None, **options):
        strategy = RandomSearch(evaluations=4, evaluator=TableLookup(table=path, column="valid"))
        settings = {"threads": 1, "progress": False, "out": out} | options
        return ramify.search(sub_space(), strategy, **settings)

    def test_a_run_names_the_table_and_its_data(self, tmp_path, monkeypatch, capsys):
        path, out = write(tmp_path / "small.table", 27), tmp_path / "run"
        others = {name: entry for name, entry in SOURCES.own.items() if name != "digits"}
        monkeypatch.setattr(SOURCES, "_own", others)  # digits are not even loaded
        found = self.searched(path, out, progress=True)
        said = f"{path}, column valid: mine (valid), 3 epochs, seeds unknown"
        assert capsys.readouterr().err.splitlines()[0] == f"scores are looked up in {said}"
        provenance = json.loads((out / "provenance.json").read_text())
        assert provenance["data"] == {"name": "mine", "of": "the table"}
        assert provenance["lookup"]["data"] == "mine" and provenance["lookup"]["members"] == 27
        assert yaml.safe_load((out / "config.yaml").read_text())["data"] is None
        assert found.data is None and "digits" not in (out / "config.yaml").read_text()
        assert f"looked up in <strong>{said}</strong>" in ramify.write_report(out).read_text()

    def test_retraining_asks_for_images(self, path, tmp_path, capsys):
        found = self.searched(path, tmp_path / "run")
        for source in (found, self.searched(path), tmp_path / "run"):
            with pytest.raises(
                ConfigurationError, match=r"column valid: digits \(valid\), 3 epochs.*name the data with"
            ):
                ramify.retrain(source, out=tmp_path / "trained")
        assert main(["retrain", str(tmp_path / "run")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "trained").exists() and not (tmp_path / "run" / "retrain").exists()

    def test_images_that_are_handed_over_are_kept(self, path, tmp_path):
        self.searched(path, tmp_path / "run", data=DATA)
        assert data_of(tmp_path / "run") == DATA

    def test_a_run_of_before_asks_as_well_and_continues(self, path, tmp_path):
        out = tmp_path / "run"
        self.searched(path, out)
        config = yaml.safe_load((out / "config.yaml").read_text()) | {"data": {"source": "digits"}}
        (out / "config.yaml").write_text(yaml.safe_dump(config))
        provenance = json.loads((out / "provenance.json").read_text())
        del provenance["lookup"]
        provenance["data"] = {"name": "digits", "fingerprint": "0", "classes": 10}
        (out / "provenance.json").write_text(json.dumps(provenance))
        with pytest.raises(ConfigurationError, match=r"looked its scores up in .*small.table, column valid; name the"):
            ramify.retrain(out)
        assert "digits" not in ramify.write_report(out).read_text().partition('class="story"')[2].partition("</p>")[0]
        self.searched(path, out)
        assert json.loads((out / "provenance.json").read_text())["data"]["name"] == "digits"  # that of the table
        with pytest.raises(ConfigurationError, match="3 epochs, mean of seeds 5 and 7"):
            ramify.retrain(out)

    def test_costs_need_to_know_the_images(self, tmp_path):
        path = write(tmp_path / "small.table", 27)
        strategy = RandomSearch(evaluations=4, limits={"macs": 1e9}, evaluator=TableLookup(table=path, column="valid"))
        with pytest.raises(ConfigurationError, match="of what size and in how many classes those of 'mine' are: name"):
            ramify.search(sub_space(), strategy, progress=False)
        network = {"channels": 4, "cells": 1}
        assert ramify.search(sub_space(), strategy, DATA, network=network, progress=False).history


def test_the_real_table_finds_what_chance_finds():

    real = Path(__file__).parents[2] / "../shared/data/nasbench201.csv.gz"
    if not real.exists():
        pytest.skip(f"{real} is not here")
    evaluation = started(str(real), SPACE, column="cifar10_valid")
    assert "12 epochs" in evaluation.metadata["says"]
    assert evaluation.fidelities == (12,)
    strategy = RandomSearch(evaluations=100, evaluator=TableLookup(table=str(real), column="cifar10_valid"))
    best = [finish(strategy.session(SPACE, work_of({}, seed=seed)))[-1]["best"] for seed in range(20)]
    assert 100 * sum(best) / len(best) == pytest.approx(83.70, abs=3 * 0.572 / 20**0.5)


def test_from_the_command_line(path, tmp_path, capsys):
    words = ["search", "--space", "NASBench201", "--restriction", json.dumps(sub_space().restriction)]
    words += ["--strategy", "RandomSearch", "--strategy.evaluations", "5", "--strategy.evaluator", "TableLookup"]
    words += ["--strategy.evaluator.table", path, "--out", str(tmp_path / "run"), "--progress", "false"]
    assert main([*words, "--strategy.evaluator.column", "vald"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "no column 'vald'; it has valid (3 epochs, mean" in err
    assert not (tmp_path / "run").exists()
    assert main([*words, "--strategy.evaluator.column", "valid"]) == 0
    assert capsys.readouterr().out.strip() in cells()
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["metrics"]["valid"] / 100 for row in rows] == [pytest.approx(row["score"]) for row in rows]
