"""Searching on a table: what an architecture is worth, what it costs, and what is refused."""

import json
from pathlib import Path

import pytest

from ramify.cli import main
from ramify.errors import ConfigurationError, RunError, TableError
from ramify.evaluators import EVALUATORS, TableLookup
from ramify.spaces import DARTSCells
from ramify.strategies import RandomSearch
from small_runs import finish, restored, saved, task_of
from small_tables import SPACE, cells, small, sub_space


@pytest.fixture
def path(tmp_path):
    small().save(tmp_path / "small.table")
    return str(tmp_path / "small.table")


def started(path, space=None, **settings):
    return TableLookup(**({"table": path, "column": "valid"} | settings)).start(space or sub_space(), task_of({}))


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
    whole = strategy.session(sub_space(), task_of({}))
    rows = finish(whole)
    assert len(rows) == 6 and {row["metrics"]["seconds"] for row in rows} == {6.0}

    half = strategy.session(sub_space(), task_of({}))
    running = half.run()
    for _ in range(3):
        next(running)
    resumed = strategy.session(sub_space(), task_of({}))
    resumed.load_state_dict(restored(saved(half)))
    assert [row["score"] for row in finish(resumed)] == [row["score"] for row in rows[3:]]

    other = small()
    other.origin["note"] = "another"
    other.save(path)
    changed = strategy.session(sub_space(), task_of({}))
    with pytest.raises(RunError, match="is not the table that the search began with"):
        changed.load_state_dict(restored(saved(half)))


def test_the_real_table_finds_what_chance_finds():

    real = Path(__file__).parents[2] / "../shared/data/nasbench201.csv.gz"
    if not real.exists():
        pytest.skip(f"{real} is not here")
    evaluation = started(str(real), SPACE, column="cifar10_valid")
    assert "12 epochs" in evaluation.metadata["says"]
    assert evaluation.fidelities == (12,)
    strategy = RandomSearch(evaluations=100, evaluator=TableLookup(table=str(real), column="cifar10_valid"))
    best = [finish(strategy.session(SPACE, task_of({}, seed=seed)))[-1]["best"] for seed in range(20)]
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
