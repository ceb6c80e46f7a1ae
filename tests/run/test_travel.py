"""Runs travel: a folder that was moved, its data with it, continues, evaluates and reports."""

import json

import numpy as np
import pytest
from PIL import Image
from verb_runs import RECIPE, SMALL

import ramify
from ramify.benchmarks import Column, Table
from ramify.data import DataSpec
from ramify.errors import RamifyError, RunError
from ramify.evaluators import TableLookup
from ramify.orders import ORDERS
from ramify.spaces import NASBench201
from ramify.strategies import RandomSearch
from small_runs import SPACES, STRATEGIES

CELL = "|skip_connect~0|+|nor_conv_1x1~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
NETWORK = {"channels": 4, "cells": 1}


def pictures(folder, colors=0):
    for number in range(32):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number + colors).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(place / f"{number:02}.png")
    return folder


def search(data, out, **options):
    space, layout = SPACES["nasbench201"]
    return ramify.search(space, STRATEGIES["GDAS"], data, network=layout, out=out, **(SMALL | options))


def test_a_run_that_was_moved_with_its_data_goes_on(tmp_path, monkeypatch):
    home = tmp_path / "first"
    data = str(pictures(home / "pets"))
    found = search(data, home / "runs" / "a")
    trained = ramify.retrain(found, recipe=RECIPE, network={"channels": 4, "cells": 1}, **SMALL)
    places = json.loads((home / "runs" / "a" / "provenance.json").read_text())["data"]["places"]
    assert places == {"source": {"absolute": data, "relative": "../../pets"}}

    moved = tmp_path / "second"
    home.rename(moved)
    monkeypatch.chdir(tmp_path)
    run = moved / "runs" / "a"
    before = json.loads((run / "result.json").read_text())
    (run / "result.json").unlink()
    again = search(str(moved / "pets"), run)  # the same data elsewhere is the same run
    assert again.architecture == found.architecture
    assert json.loads((run / "result.json").read_text())["notation"] == before["notation"]
    assert ramify.evaluate(run, threads=1).images == 6
    assert ramify.retrain(run, recipe=RECIPE, network={"channels": 4, "cells": 1}, **SMALL).history == trained.history
    assert ramify.write_report(run).is_file()


def test_other_data_are_no_continuation(tmp_path):
    search(str(pictures(tmp_path / "pets")), tmp_path / "run")
    with pytest.raises(RunError, match=r"data.source is '.+/pets' there and '.+/other' now"):
        search(str(pictures(tmp_path / "other", colors=100)), tmp_path / "run")


def test_data_that_are_gone_are_answered_with_the_option(tmp_path):
    data = pictures(tmp_path / "pets")
    found = search(str(data), tmp_path / "run")
    ramify.retrain(found, recipe=RECIPE, network={"channels": 4, "cells": 1}, **SMALL)
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(RamifyError, match=r"its data \S+/pets is gone, .* name it with --data"):
        ramify.evaluate(tmp_path / "run")
    assert ramify.evaluate(tmp_path / "run", str(tmp_path / "elsewhere"), threads=1).images == 6


def test_data_that_have_changed_are_noticed(tmp_path, capsys):
    data = pictures(tmp_path / "pets")
    ramify.retrain(search(str(data), tmp_path / "run"), recipe=RECIPE, network={"channels": 4, "cells": 1}, **SMALL)
    pictures(data, colors=100)
    ramify.evaluate(tmp_path / "run", threads=1)
    assert "pets has changed since the network was trained on it" in capsys.readouterr().err


def test_another_number_of_threads_is_answered_with_the_option(tmp_path):
    search(DataSpec(subset=64), tmp_path / "run")
    with pytest.raises(RunError, match="threads is 1 there and 2 now; go on with --threads 1, or choose another --out"):
        search(DataSpec(subset=64), tmp_path / "run", threads=2)
    with pytest.raises(RunError, match="go on with --seed 0 --threads 1, or choose another --out"):
        search(DataSpec(subset=64), tmp_path / "run", threads=2, seed=1)


def table(path, shift=0.0):
    """Write a table of all cells, whose values are made up."""
    column = Column(
        name="valid", metric="accuracy", unit="percent", data="cifar10", split="valid", schedule=12, seeds=(0,)
    )
    values = {"valid": np.linspace(10, 90, len(ORDERS["nasbench201"].notations())) + shift}
    Table({"space": "NASBench201"}, "nasbench201", [column], values, {"source": "made up"}).save(path)
    return path


def test_a_table_may_lie_elsewhere_if_it_is_the_same(tmp_path):
    first = table(tmp_path / "first.npz")

    def searched(path, **options):
        lookup = TableLookup(table=str(path), column="valid")
        strategy = RandomSearch(evaluator=lookup, evaluations=4)
        return ramify.search(NASBench201(), strategy, out=tmp_path / "run", progress=False, threads=1, **options)

    found = searched(first)
    moved = first.rename(tmp_path / "moved.npz")
    (tmp_path / "run" / "result.json").unlink()
    assert searched(moved).history == found.history
    with pytest.raises(RunError, match="made with another table than is there now"):
        searched(table(tmp_path / "other.npz", shift=1.0))
    with pytest.raises(RunError, match="table is None there and"):  # no run has begun with one
        searched(moved, table=moved)


def test_weights_to_begin_with_may_lie_elsewhere_if_they_are_the_same(tmp_path):
    common = {"space": NASBench201(), "recipe": RECIPE, "network": NETWORK}

    def started(name, seed):
        ramify.retrain(CELL, "digits", out=tmp_path / name, **common, **(SMALL | {"seed": seed}))
        return tmp_path / name

    def trained(init):
        return ramify.retrain(CELL, "digits", out=tmp_path / "run", init=init, **common, **SMALL)

    first, other = started("first", 0), started("other", 1)
    found = trained(first)
    (tmp_path / "run" / "result.json").unlink()
    assert trained(first.rename(tmp_path / "moved")).history == found.history
    for finished in (True, False):
        if not finished:
            (tmp_path / "run" / "result.json").unlink()
        with pytest.raises(RunError, match="began with other weights"):
            trained(other)
