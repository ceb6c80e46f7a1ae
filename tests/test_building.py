"""Building a table on handwritten digits: what is in it, and that nothing disturbs it."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import ramify
from ramify import building, campaign, recipes
from ramify.benchmarks import ORDERS, open_table
from ramify.building import TABLE, build_table
from ramify.cli import main
from ramify.data import DataSpec
from ramify.errors import ArchitectureError, ConfigurationError, RunError, TableError
from ramify.evaluators import TableLookup, TrainFromScratch
from ramify.run import Interrupted
from ramify.spaces import DARTSCells, NATSBenchSize
from ramify.strategies import RandomSearch
from small_runs import DATA, process, work_of
from small_tables import SPACE, cells, sub_space

TRAINING = TrainFromScratch(epochs=2, batch_size=16)
LAYOUT = {"channels": 4, "cells": 1}
SETTINGS = {"seeds": (0, 3), "recipe": TRAINING.recipe(), "network": LAYOUT, "test": True, "progress": False}
WORDS = ["--space", "NASBench201", "--restriction", json.dumps(sub_space().restriction), "--architectures", "5"]
WORDS += ["--data", "digits", "--data.subset", "64", "--seeds", "[0,3]", "--recipe.epochs", "2"]
WORDS += ["--recipe.batch_size", "16", "--network.channels", "4", "--network.cells", "1", "--test", "true"]
ROWS = 10


def build(out, **settings):
    return build_table(sub_space(), DATA, out=out, **({"architectures": 5, "processes": 0} | SETTINGS | settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A build that nothing has disturbed."""
    out = tmp_path_factory.mktemp("build") / "whole"
    build(out, processes=1)
    return out


@pytest.fixture
def unfinished(folder, tmp_path):
    """The same build before its table was written."""
    shutil.copytree(folder, tmp_path / "again")
    for name in ("result.json", TABLE):
        (tmp_path / "again" / name).unlink()
    return tmp_path / "again"


def rows_of(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def write_rows(folder, rows, half=""):
    (folder / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + half)


def assert_same(table, other):
    """All but the measured seconds is equal, bit for bit."""
    assert table.notations == other.notations
    assert table.columns == other.columns
    assert table.origin == other.origin
    for column in table.columns.values():
        if column.metric != "seconds":
            assert np.array_equal(table._values[column.name], other._values[column.name])


class TestTheTable:
    def test_its_columns_state_what_was_done(self, folder):
        table = open_table(folder / TABLE)
        assert len(table) == 5 and table.space_description == {"space": "NASBench201", "arguments": {}}
        assert set(table.notations) < set(cells())
        says = {name: column.says() for name, column in table.columns.items()}
        both = "2 epochs, mean of seeds 0 and 3"
        names = ("train", "train_loss", "valid", "valid_loss", "valid_seconds", "test", "test_loss")
        assert says == dict.fromkeys(names, both)
        valid = table.column("valid")
        assert (valid.metric, valid.unit, valid.epochs, valid.cost) == ("accuracy", "fraction", (1, 2), "valid_seconds")
        assert valid.source == "trained on search_train, measured on: search_validation"
        assert table.column("test").epochs == (2,)
        assert table.origin["recipe"]["epochs"] == 2 and table.origin["network"] == {"drop_path": 0.0, **LAYOUT}
        assert table.origin["threads"] == 1 and table.origin["failed"] == {}

    def test_its_values_are_those_of_an_evaluation(self, folder):
        table = open_table(folder / TABLE)
        for seed in (0, 3):
            evaluation = TRAINING.start(sub_space(), work_of(LAYOUT, seed=seed))
            for epochs in (1, 2):
                arch = table.architecture(epochs)
                found = evaluation(arch, epochs=epochs)
                assert table.value("valid", arch, epochs=epochs, seed=seed) == found["score"]
                assert table.value("valid_loss", arch, epochs=epochs, seed=seed) == found["loss"]
                assert table.value("train_loss", arch, epochs=epochs, seed=seed) == found["train_loss"]

    def test_costs_add_up(self, folder):
        table = open_table(folder / TABLE)
        for index in range(5):
            assert 0 < table.seconds("valid", index, epochs=1) < table.seconds("valid", index, epochs=2)

    def test_the_folder_says_all(self, folder):
        assert sorted(row["step"] for row in rows_of(folder)) == list(range(1, ROWS + 1))
        (read,) = map(json.loads, (folder / "reads.jsonl").read_text().splitlines())
        assert (read["split"], read["purpose"]) == ("test", "bench build")
        assert "threads: 1" in (folder / "config.yaml").read_text()
        result = json.loads((folder / "result.json").read_text())
        digest = open_table(folder / TABLE).digest
        assert result == {"architectures": 5, "failed": {}, "sha256": digest, "history_rows": ROWS}


class TestContinuing:
    def test_whatever_was_finished_is_kept_in_whatever_order(self, folder, unfinished):
        rows = rows_of(folder)
        kept = [row | {"values": row["values"] | {"valid_seconds": [1.0, 2.0]}} for row in rows[6:1:-1]]
        write_rows(unfinished, kept, half=json.dumps(rows[8])[:200])
        table = build(unfinished)
        assert_same(table, open_table(folder / TABLE))
        assert len(rows_of(unfinished)) == ROWS
        first = kept[0]
        assert table.value("valid_seconds", first["architecture"], seed=first["seed"]) == 2.0

    def test_a_finished_build_is_read(self, folder, monkeypatch):
        monkeypatch.setattr(campaign, "run_jobs", lambda *_, **__: pytest.fail("something was trained again"))
        assert_same(build(folder), open_table(folder / TABLE))

    def test_other_settings_are_refused(self, folder):
        with pytest.raises(RunError, match=r"holds another run: recipe.epochs is 2 there and 3 now"):
            build(folder, recipe=TrainFromScratch(epochs=3, batch_size=16).recipe())
        with pytest.raises(RunError, match="holds another run: architectures is 5 there and 4 now"):
            build(folder, architectures=4)

    def test_ctrl_c_keeps_what_is_there(self, unfinished, monkeypatch):
        write_rows(unfinished, rows_of(unfinished)[:7])
        trained = []

        def interrupted(trainer, arch, seed):
            if trained:
                raise KeyboardInterrupt
            trained.append(arch)
            return {"values": {"valid": [0.5]}}

        monkeypatch.setattr(building, "_outcome", interrupted)
        threads = torch.get_num_threads()
        with pytest.raises(Interrupted, match="stopped after 8 of 10 architectures; the same command continues"):
            build(unfinished)
        assert len(rows_of(unfinished)) == 8 and torch.get_num_threads() == threads


def test_threads_are_those_that_were_asked_for(tmp_path, monkeypatch):
    seen = []
    original = building._Trainer.__call__
    monkeypatch.setattr(
        building._Trainer, "__call__", lambda *a: (seen.append(torch.get_num_threads()), original(*a))[1]
    )
    before = torch.get_num_threads()
    table = build(tmp_path / "two", architectures=1, seeds=(0,), test=False, threads=before + 1)
    assert seen == [before + 1] and torch.get_num_threads() == before
    assert table.origin["threads"] == before + 1
    assert f"threads: {before + 1}\n" in (tmp_path / "two" / "config.yaml").read_text()
    with pytest.raises(RunError, match=f"threads is {before + 1} there and {before} now"):
        build(tmp_path / "two", architectures=1, seeds=(0,), test=False, threads=before)


class TestFailures:
    def test_one_architecture_does_not_stop_the_others(self, folder, unfinished, capsys):
        rows = rows_of(folder)
        name = rows[4]["architecture"]
        broken = {key: value for key, value in rows[4].items() if key != "values"} | {"error": "the loss is nan"}
        write_rows(unfinished, [*rows[:4], broken, *rows[5:]])
        table = build(unfinished, progress=True)
        assert table.origin["failed"] == {name: "the loss is nan"}
        assert len(table) == 4 and name not in table.notations
        assert f"{name} is not in the table: the loss is nan" in capsys.readouterr().err
        whole = open_table(folder / TABLE)
        assert np.array_equal(table.values("valid"), whole.values("valid", whole.indices(table.notations)))
        # and once more, with what failed
        for left in ("result.json", TABLE):
            (unfinished / left).unlink()
        assert_same(build(unfinished, retry=True), whole)

    def test_an_error_becomes_a_line(self):
        def fail(arch, seed):
            raise RuntimeError("CUDA error:\n out of memory")

        found = building._outcome(fail, SPACE.parse(cells()[0]), 0)
        assert found == {"error": "RuntimeError: CUDA error: out of memory"}

    def test_divergence_is_an_error_of_the_architecture(self):
        work = work_of(LAYOUT)
        recipe = TrainFromScratch(epochs=4, batch_size=16, lr=1e30).recipe()
        plan = building._Plan(sub_space(), DATA, work.task, recipe, LAYOUT, "cpu", "32-true", False)
        trainer = building._Trainer(plan, work.fabric, work.task)
        assert "training has diverged" in building._outcome(trainer, SPACE.parse(cells()[0]), 0)["error"]

    def test_a_table_of_nothing_is_none(self, unfinished):
        rows = [{k: v for k, v in row.items() if k != "values"} | {"error": "no"} for row in rows_of(unfinished)]
        write_rows(unfinished, rows)
        with pytest.raises(TableError, match=r"none of 5 architectures could be trained; the first, .*: no"):
            build(unfinished)
        assert not (unfinished / TABLE).exists()


class TestWhich:
    def test_drawn_ones_are_different_members(self):
        for count in (1, 5, 20, 27):
            members, named = building._members(sub_space(), count, seed=0)
            assert len(set(members)) == len(members) == named == count
            assert all(arch in sub_space() for arch in members)
        assert building._members(SPACE, 5, 0) == building._members(SPACE, 5, 0) != building._members(SPACE, 5, 1)

    def test_all_of_them_in_the_benchmark_s_order(self):
        space = NATSBenchSize()
        members, named = building._members(space, None, 0)
        assert named is None
        assert [space.format(arch) for arch in members[:1000]] == ORDERS["nats-size"].notations()[:1000]
        assert [SPACE.format(arch) for arch in building._members(sub_space(), None, 0)[0]] == cells()

    def test_named_ones_keep_their_order(self, tmp_path):
        wanted = [cells()[3], cells()[1], cells()[3].replace("|none~0", "|")]
        for given in (wanted, [SPACE.parse(cell) for cell in wanted]):
            members, named = building._members(SPACE, given, 0)
            assert named == [cells()[3], cells()[1]] == [SPACE.format(arch) for arch in members]
        path = tmp_path / "some.txt"
        path.write_text("\n".join(wanted) + "\n\n")
        assert building._members(SPACE, path, 0)[1] == named

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"architectures": 0}, "`architectures` must be 1 to 27, the size of the space, got 0"),
            ({"architectures": 28}, "must be 1 to 27, the size of the space, got 28"),
            ({"architectures": []}, "`architectures` names none"),
            ({"architectures": "none.txt"}, r"none.txt: no such file"),
            ({"architectures": ["|conv~0|++"]}, "unknown operation 'conv'"),
            ({"seeds": ()}, "`seeds` must be different numbers, at least one"),
            ({"seeds": (1, 1)}, "`seeds` must be different numbers"),
            ({"processes": -1}, "`processes` must not be negative, got -1"),
            ({"network": {"chanels": 4}}, "unknown layout keyword 'chanels'.*did you mean 'channels'"),
            ({"recipe": TrainFromScratch(batch_size=16, cutout=20).recipe()}, "`cutout` must be below the side"),
        ],
    )
    def test_what_cannot_work_is_said_before_anything_is_written(self, tmp_path, settings, message):
        with pytest.raises((ConfigurationError, ArchitectureError), match=message):
            build(tmp_path / "run", **settings)
        assert list(tmp_path.iterdir()) == []

    def test_too_large_a_space_is_not_trained_whole(self, tmp_path):
        with pytest.raises(ConfigurationError, match="too many to train them all; say how many to draw with --arch"):
            build_table(DARTSCells(), DATA, out=tmp_path / "run")


def test_any_strategy_searches_a_built_table(folder, tmp_path):
    table = open_table(folder / TABLE)
    masks = {name: weights > 0 for name, weights in SPACE.mix(table.architecture(0)).items()}
    masks = {name: mask | (SPACE.mix(table.architecture(0))[name] > 0) for name, mask in masks.items()}
    single = SPACE.restrict(masks)
    assert table.covers(single) and not table.covers(sub_space())
    lookup = TableLookup(table=str(folder / TABLE), column="valid", seed=3)
    session = RandomSearch(evaluations=27, evaluator=lookup).session(sub_space(), work_of({}))
    assert (session.lookup["measured"], session.lookup["members"], session.lookup["input_size"]) == (5, 27, [1, 8, 8])
    evaluation = lookup.start(single, work_of({}))
    assert evaluation.fidelities == (1, 2)
    arch = table.architecture(0)
    assert evaluation(arch, epochs=1)["score"] == table.value("valid", arch, epochs=1, seed=3)


def test_from_the_command_line(folder, tmp_path, capsys):
    assert main(["bench", "build", *WORDS, "--out", str(folder), "--progress", "false"]) == 0
    said = f"{folder / TABLE}: 5 architectures, SHA-256 {open_table(folder / TABLE).digest}\n"
    assert capsys.readouterr().out == said
    assert main(["bench", "build", "--config", str(folder / "config.yaml"), "--out", str(folder)]) == 0
    assert "is finished: this is its table" in capsys.readouterr().err
    for words, message in (
        (["--threads", "0"], "`threads` must be at least 1, got 0"),
        (["--architectures", "28"], "`architectures` must be 1 to 27"),
        (["--architectures", "['|skip_connect~0|+', "], "it is cut off: the text ends in the middle"),
        (["--architectures", "nofile.txt"], "nofile.txt: no such file"),
        (["--space", "NASBench202"], "unknown space 'NASBench202'; did you mean 'NASBench201'"),
    ):
        assert main(["bench", "build", *WORDS, "--out", str(tmp_path / "none"), *words]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
    assert not (tmp_path / "none").exists()


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_recipe_by_its_name(tmp_path):
    words = ["--space", "NASBench201", "--architectures", "1", "--data", "digits", "--data.subset", "64"]
    words += ["--recipe", "fast-table", "--recipe.epochs", "1", "--recipe.batch_size", "16", "--network.channels", "4"]
    words += ["--network.cells", "1", "--out", str(tmp_path / "table"), "--processes", "0", "--progress", "false"]
    assert main(["bench", "build", *words]) == 0
    table = open_table(tmp_path / "table" / "benchmark.table")
    published = recipes.load("fast-table")["recipe"]
    expected = {"optimizer": "muon", "rest_lr": published.rest_lr, "epochs": 1, "batch_size": 16}
    assert expected.items() <= table.origin["recipe"].items()
    assert table.origin["network"] == {"channels": 4, "cells": 1}


def test_killed_it_is_the_undisturbed_table(folder, tmp_path):
    out = tmp_path / "killed"
    words = ("bench", "build", *WORDS, "--out", out, "--processes", "2", "--progress", "false")
    running = process(*words)
    deadline = time.monotonic() + 120
    while not (out / "history.jsonl").exists() or len((out / "history.jsonl").read_text().splitlines()) < 3:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    started = children(running.pid)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert not (out / TABLE).exists()
    deadline = time.monotonic() + 20
    while any(map(alive, started)):  # nothing goes on training for a parent that is gone
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert main([*map(str, words[:-4]), "--processes", "0", "--progress", "false"]) == 0
    assert_same(open_table(out / TABLE), open_table(folder / TABLE))


def test_it_is_part_of_the_library():
    assert ramify.build_table is build_table
    assert DataSpec(source="digits", subset=64) == DATA
