"""Validation of a final training: what is held out, the best weights beside the last, and early stopping."""

import json

import pytest
import torch

import ramify
from killing import forked
from ramify import Recipe
from ramify.cli import main
from ramify.data import DataSpec, load
from ramify.errors import ConfigurationError, DataError, RunError
from ramify.run import RunFolder, planning
from ramify.run.trained import load_network
from ramify.spaces import NASBench201
from ramify.tasks import Classification
from ramify.testing.kills import KILL, Strike
from ramify.testing.runs import outcomes
from ramify.training import TrainingSession, measure
from small_runs import differences, work_of

DATA = DataSpec(source="digits", subset=200)
ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
SMALL = {"network": {"channels": 4, "cells": 1}, "threads": 1, "device": "cpu", "progress": False}
RECIPE = {"batch_size": 32, "lr": 0.2, "drop_path": 0.0, "cutout": 0, "crop": 0, "flip": False}


def trained(out, epochs, **settings):
    return ramify.retrain(ARCH, DATA, recipe=Recipe(**RECIPE, epochs=epochs, **settings), out=out, **SMALL)


def test_a_share_is_held_out_by_class():
    data = load(DATA)
    held = data.holding_out(0.2)
    sizes = {name: len(held.split(name)) for name in ("train", "search_train", "search_validation")}
    assert sizes == {"train": 200, "search_train": 160, "search_validation": 40}
    labels = [torch.cat([y for _, y in held.split(name).batches(64, seed=0)]) for name in sizes if name != "train"]
    whole = torch.cat([y for _, y in data.split("train").batches(64, seed=0)])
    assert torch.equal(torch.cat(labels).bincount(), whole.bincount())
    assert (labels[1].bincount(minlength=10) - whole.bincount() * 0.2).abs().max() <= 1
    assert held.fingerprint == data.fingerprint
    with pytest.raises(DataError, match=r"a share of 0\.0001 of 200 leaves nothing"):
        data.holding_out(1e-4)


def test_the_best_weights_are_those_that_were_best(tmp_path):
    found = trained(tmp_path, 6, validation=0.25)
    scores = [row["validation_accuracy"] for row in found.history]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["best"] == {"epoch": scores.index(max(scores)), "score": max(scores)}
    held = Classification().on(load(DATA).holding_out(0.25)).split("search_validation")
    for checkpoint, score in (("best", max(scores)), ("last", scores[-1])):
        network, _ = load_network(tmp_path, checkpoint)
        assert measure(network, held, device=torch.device("cpu")).score == score
    assert ramify.evaluate(tmp_path, checkpoint="best").images > 0
    assert not [read for read in found.data.reads if read["split"] == "test"]


def test_the_search_has_a_part_of_its_own(tmp_path):
    found = trained(tmp_path, 1, validation="search")
    session = TrainingSession(
        NASBench201().build(NASBench201().parse(ARCH), channels=4, cells=1, in_channels=1, num_classes=10),
        Recipe(**RECIPE, validation="search"),
        work_of({}, data=load(DATA)),
    )
    assert (session.split.name, session.validation.name) == ("search_train", "search_validation")
    assert "validation_accuracy" in found.history[0]


def test_it_stops_when_patience_is_lost(tmp_path):
    found = trained(tmp_path / "stopped", 60, validation=0.25, patience=2, schedule="constant")
    scores = [row["validation_accuracy"] for row in found.history]
    assert len(scores) < 60 and max(scores[:-2]) >= max(scores[-2:]) and scores.index(max(scores)) == len(scores) - 3
    again = trained(tmp_path / "stopped", 60, validation=0.25, patience=2, schedule="constant")
    assert again.history == found.history


def test_killed_in_the_middle(tmp_path):
    def words(out):
        recipe = ["--recipe.epochs", "5", "--recipe.batch_size", "16", "--recipe.validation", "0.2"]
        recipe += ["--recipe.patience", "2", "--recipe.ema", "0.9", "--recipe.drop_path", "0"]
        network = ["--network.channels", "4", "--network.cells", "1", "--data", "digits", "--data.subset", "100"]
        return ["retrain", ARCH, *recipe, *network, "--threads", "1", "--progress", "false", "--out", str(out)]

    assert main(words(tmp_path / "whole")) == 0
    for count in (1, 2):
        strike = Strike("after append history.jsonl", KILL, count)
        assert forked(words(tmp_path / "killed"), tmp_path, strike)[0] == -KILL
    assert main(words(tmp_path / "killed")) == 0
    assert not differences(outcomes(tmp_path / "killed"), outcomes(tmp_path / "whole"))


def test_looking_at_the_time_changes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planning, "SOON_S", 0.0)  # or nothing is said of a run that is over so soon
    for name, progress in (("quiet", False), ("said", True)):
        options = {**SMALL, "progress": progress, "out": tmp_path / name}
        ramify.retrain(ARCH, DATA, recipe=Recipe(**RECIPE, epochs=1), **options)
    assert not differences(outcomes(tmp_path / "quiet"), outcomes(tmp_path / "said"))
    assert "the training takes about " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 1.0}, "`validation` must be a share in .0, 1. or 'search', got 1.0"),
        ({"validation": "half"}, "`validation` must be a share in .0, 1. or 'search', got 'half'"),
        ({"validation": True}, "`validation` must be a share"),
        ({"patience": 2}, "`patience` must be at least 0, and needs `validation`, got 2"),
    ],
    ids=str,
)
def test_what_cannot_be_validated_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Recipe(**settings)


def test_searches_measure_themselves():
    with pytest.raises(ConfigurationError, match="what trains on search_train is measured elsewhere"):
        TrainingSession(
            NASBench201().build(NASBench201().parse(ARCH), channels=4, cells=1, in_channels=1, num_classes=10),
            Recipe(**RECIPE, validation=0.2),
            work_of({}, data=load(DATA)),
            split="search_train",
        )


def test_no_best_weights_without_validation(tmp_path, capsys):
    trained(tmp_path, 1)
    with pytest.raises(RunError, match="has no best weights: its recipe had no `validation`"):
        load_network(tmp_path, "best")
    assert main(["evaluate", str(tmp_path), "--checkpoint", "bets"]) == 2
    assert "unknown checkpoint 'bets'; did you mean 'best'" in capsys.readouterr().err
    assert RunFolder(tmp_path).finished
