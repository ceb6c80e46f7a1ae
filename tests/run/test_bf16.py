"""16 bits on the CPU, in every verb that computes: recorded, and continued to the same bits."""

import json
import random

import pytest
import torch
import yaml

import ramify
from ramify.building import build_table
from ramify.cli import main
from ramify.errors import RunError
from ramify.evaluators import TrainFromScratch
from ramify.run import runner
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import DARTS, RandomSearch
from small_runs import DATA, SPACES, STRATEGIES, differences, outcome
from small_tables import sub_space

SMALL = {"threads": 1, "device": "cpu", "progress": False, "precision": "bf16"}
RECIPE = ramify.Recipe(epochs=2, batch_size=16, cutout=2, drop_path=0.1)
TRAINING = TrainFromScratch(epochs=1, batch_size=16)
SEARCHES = {
    "mixture": STRATEGIES["DARTS"],
    "second order": DARTS(epochs=1, batch_size=16, order=2),
    "path": STRATEGIES["GDAS"],
    "members": RandomSearch(evaluations=2, evaluator=TRAINING),
}


class Crash(Exception):
    pass


@pytest.fixture
def crashing(monkeypatch):
    """Let the next run break down after a number of steps, each of which is saved."""
    monkeypatch.setenv("RAMIFY_SAVE_EVERY_S", "0")

    def after(steps, work):
        left = iter(range(steps))

        class Breaking(runner.Progress):
            def update(self, *told):
                if next(left, None) is None:
                    raise Crash

        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(runner, "Progress", Breaking)
            work()

    return after


def searched(out, strategy, space="nasbench201", **options):
    kind, layout = SPACES[space]
    return ramify.search(kind, SEARCHES[strategy], DATA, network=layout, out=out, **(SMALL | options))


def differences_of(one, other):
    return differences(outcome(one), outcome(other))


@pytest.mark.parametrize("strategy", SEARCHES)
def test_a_search_is_continued_to_the_same_bits(strategy, tmp_path, crashing):
    whole = searched(tmp_path / "whole", strategy)
    crashing(1, lambda: searched(tmp_path / "again", strategy))
    again = searched(tmp_path / "again", strategy)
    assert not differences_of(tmp_path / "again", tmp_path / "whole")
    assert again.architecture == whole.architecture
    assert yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())["precision"] == "bf16-mixed"
    assert searched(tmp_path / "again", strategy, precision="bf16-mixed").history == again.history
    with pytest.raises(RunError, match="precision is 'bf16-mixed' there and '32-true' now"):
        searched(tmp_path / "again", strategy, precision="32-true")


@pytest.mark.parametrize("space", [NASBench201(), DARTSCells()], ids=["dense", "depthwise"])
def test_a_training_is_continued_to_the_same_bits_and_measured(space, tmp_path, crashing):
    arch = space.sample(random.Random(0))
    layout = {"channels": 8} | ({"cells": 1} if isinstance(space, NASBench201) else {"layers": 3})

    def trained(out, **options):
        chosen = {"recipe": RECIPE, "network": layout} | SMALL | options
        return ramify.retrain(arch, DATA, out=out, **chosen)

    whole = trained(tmp_path / "whole")
    crashing(5, lambda: trained(tmp_path / "again"))
    again = trained(tmp_path / "again")
    assert not differences_of(tmp_path / "again", tmp_path / "whole")
    assert {p.dtype for p in again.network.parameters()} == {torch.float32}
    assert whole.history != trained(tmp_path / "full", precision="32").history
    found = {name: ramify.evaluate(again, precision=name, device="cpu", threads=1) for name in ("32", "64", "bf16")}
    assert [result.precision for result in found.values()] == ["32-true", "64-true", "bf16-mixed"]
    assert found["64"].loss == pytest.approx(found["32"].loss, rel=1e-5)
    assert found["bf16"].loss == pytest.approx(found["32"].loss, rel=0.05)
    assert found["bf16"].loss != found["32"].loss
    assert {p.dtype for p in again.network.parameters()} == {torch.float32}


def test_a_table(tmp_path):
    settings = {"recipe": TRAINING.recipe(), "network": {"channels": 4, "cells": 1}, "architectures": 2}

    def built(out, processes):
        table = build_table(sub_space(), DATA, out=out, processes=processes, **settings, **SMALL)
        return table.origin, {name: table._values[name].tolist() for name in table.columns if "seconds" not in name}

    whole = built(tmp_path / "whole", 1)
    assert built(tmp_path / "here", 0) == whole
    assert yaml.safe_load((tmp_path / "here" / "config.yaml").read_text())["precision"] == "bf16-mixed"


def test_on_the_command_line(tmp_path, capsys):
    words = ["--precision", "bf16", "--device", "cpu", "--threads", "1"]
    small = ["--recipe.epochs", "1", "--recipe.batch_size", "16", "--network.channels", "4", "--network.cells", "1"]
    notation = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_1x1~2|"
    out = str(tmp_path / "out")
    assert main(["retrain", notation, "--data", "digits", "--data.subset", "64", *small, *words, "--out", out]) == 0
    capsys.readouterr()
    assert main(["evaluate", out, *words]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "bf16-mixed"
