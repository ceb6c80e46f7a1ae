"""A search that prints and keeps what a table says of the architectures it passes through."""

import json

import numpy as np
import pytest

import ramify
from ramify.benchmarks import Annotation, Column, Table
from ramify.cli import main
from ramify.errors import RunError, TableError
from ramify.spaces import DARTSCells
from ramify.strategies import DARTS, RandomSearch
from small_runs import DATA, words_of
from small_tables import SPACE, cells, columns, small, sub_space, values

LAYOUT = {"channels": 4, "cells": 1}
STRATEGY = DARTS(epochs=3, batch_size=16)


def row_of(arch):
    return {"phase": "search", "architecture": {"notation": SPACE.format(arch), **arch.to_dict()}}


class TestAnnotation:
    def test_every_column_says_what_it_is(self, small_table):
        further, note = Annotation(small_table, SPACE)(row_of(SPACE.parse(cells()[4])))
        assert further == {
            "table": {
                "index": 4,
                "values": {"valid": 34.0, "valid_loss": 3 - 4 / 27},
                "units": {"valid": "percent", "valid_loss": "nats"},
                "says": {"valid": "3 epochs, mean of seeds 5 and 7", "valid_loss": "3 epochs, mean of seeds 5 and 7"},
            }
        }
        assert note == "valid 34.00 % (3 epochs)"

    def test_columns_of_the_searched_data_are_shown(self):
        both = [Column(name=n, metric="accuracy", data=n, split="valid", schedule=12) for n in ("cifar10", "digits")]
        values = {"cifar10": [83.118], "digits": [97.5]}
        annotation = Annotation(Table({"space": "NASBench201"}, cells()[:1], both, values), SPACE, "digits")
        assert annotation(row_of(SPACE.parse(cells()[0])))[1] == "digits 97.50 % (12 epochs)"

    def test_fractions_are_shown_in_per_cent(self):
        column = Column(name="a", metric="accuracy", unit="fraction", data="d", split="valid", schedule=12)
        annotation = Annotation(Table({"space": "NASBench201"}, cells()[:1], [column], {"a": [0.81]}), SPACE)
        further, note = annotation(row_of(SPACE.parse(cells()[0])))
        assert note == "a 81.00 % (12 epochs)"
        assert (further["table"]["values"], further["table"]["units"]) == ({"a": 0.81}, {"a": "fraction"})

    def test_rows_without_an_architecture_and_strangers(self, small_table):
        annotation = Annotation(small_table, SPACE)
        assert annotation({"phase": "prepare", "epoch": 1}) == ({}, "")
        stranger = SPACE.parse("+".join(["|none~0|"] * 3))
        assert annotation(row_of(stranger)) == ({"table": None}, "not in the table")

    def test_missing_values(self):
        data = values()
        data["valid"][0, 1, 4] = np.nan
        table = Table({"space": "NASBench201"}, cells(), columns(), data)
        further, note = Annotation(table, SPACE)(row_of(SPACE.parse(cells()[4])))
        assert further["table"]["values"]["valid"] is None and note == "valid missing (3 epochs)"

    def test_what_cannot_be_looked_up_is_refused(self, small_table):
        with pytest.raises(TableError, match="not of DARTSCells"):
            Annotation(small_table, DARTSCells())
        times = Table({"space": "NASBench201"}, cells(), columns()[2:], {"valid_seconds": values()["valid_seconds"]})
        with pytest.raises(TableError, match="holds neither accuracies nor losses"):
            Annotation(times, SPACE)


class TestSearch:
    def test_history_progress_and_result(self, tmp_path, capsys):
        small().save(tmp_path / "small.table")
        found = ramify.search(
            sub_space(), STRATEGY, DATA, network=LAYOUT, table=tmp_path / "small.table", out=tmp_path / "run", threads=1
        )
        lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("undecided")]
        assert len(found.history) == len(lines) == 3
        for row, line in zip(found.history, lines, strict=True):
            index = cells().index(row["architecture"]["notation"])
            assert row["table"]["index"] == index
            assert row["table"]["values"]["valid"] == 30 + index
            assert row["table"]["says"]["valid"] == "3 epochs, mean of seeds 5 and 7"
            assert line.endswith(f"valid {30 + index}.00 % (3 epochs)")
        result = json.loads((tmp_path / "run" / "result.json").read_text())
        assert result["table"] == found.history[-1]["table"]
        config = (tmp_path / "run" / "config.yaml").read_text()
        assert f"table: {tmp_path / 'small.table'}" in config

    def test_the_search_itself_is_not_changed(self, small_table):
        with_table = ramify.search(SPACE, STRATEGY, DATA, network=LAYOUT, table=small_table, threads=1, progress=False)
        without = ramify.search(SPACE, STRATEGY, DATA, network=LAYOUT, threads=1, progress=False)
        rows = [{k: v for k, v in row.items() if k not in ("table", "seconds")} for row in with_table.history]
        assert rows == [{k: v for k, v in row.items() if k != "seconds"} for row in without.history]
        assert all("table" in row for row in with_table.history)

    def test_a_run_keeps_to_its_table(self, tmp_path):
        path, out = tmp_path / "small.table", tmp_path / "run"
        small().save(path)
        strategy = RandomSearch(evaluations=2, evaluator=ramify.evaluators.TableLookup(table=str(path), column="valid"))
        arguments = {"out": out, "threads": 1, "progress": False}
        ramify.search(sub_space(), strategy, DATA, table=path, **arguments)
        with pytest.raises(RunError, match=r"holds another run: table is '.*small.table' there and None now"):
            ramify.search(sub_space(), strategy, DATA, **arguments)
        other = small()
        other.origin["note"] = "another"
        other.save(path)
        with pytest.raises(RunError, match="was made with another table than is there now"):
            ramify.search(sub_space(), strategy, DATA, table=path, **arguments)

    def test_another_space_is_refused_before_anything_is_written(self, small_table, tmp_path):
        with pytest.raises(TableError, match=r"the table is of NASBench201\(\), not of DARTSCells"):
            ramify.search(DARTSCells(), STRATEGY, DATA, table=small_table, out=tmp_path / "run")
        assert list(tmp_path.iterdir()) == []

    def test_from_the_command_line(self, tmp_path, capsys):
        small().save(tmp_path / "small.table")
        words = words_of("nasbench201", "DARTS", tmp_path / "run")
        words[words.index("--progress") + 1] = "true"
        assert main(["search", *words, "--table", str(tmp_path / "none.table")]) == 2
        assert "there is no table" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
        assert main(["search", *words, "--table", str(tmp_path / "small.table")]) == 0
        assert " (3 epochs)" in (said := capsys.readouterr().err) or "not in the table" in said
        assert all("table" in json.loads(row) for row in (tmp_path / "run" / "history.jsonl").read_text().splitlines())
        again = ["search", "--config", str(tmp_path / "run" / "config.yaml"), "--out", str(tmp_path / "again")]
        assert main(again) == 0
        assert (tmp_path / "again" / "architecture.json").read_text() == (
            tmp_path / "run" / "architecture.json"
        ).read_text()

    def test_the_real_table_says_12_epochs(self, real_csv, capsys):
        found = ramify.search(SPACE, DARTS(epochs=1, batch_size=16), DATA, network=LAYOUT, table=real_csv, threads=1)
        (row,) = found.history
        accuracy = row["table"]["values"]["cifar10_valid"]
        assert f"cifar10_valid {accuracy:.2f} % (12 epochs)" in capsys.readouterr().err
        assert row["table"]["says"]["cifar10_valid"] == "12 epochs, mean of seeds 111 and 777"
