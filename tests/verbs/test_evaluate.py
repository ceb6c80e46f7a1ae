"""Evaluating: every reading of the test split is recorded, and what is measured is a network with its cost."""

import json
import sys

import pytest
import torch
from verb_runs import retrained, searched

import ramify
from ramify.cli import main
from ramify.data import DataSpec, load
from ramify.errors import RunError
from ramify.report.intervals import wilson
from ramify.training import measure
from small_runs import DATA, differences, task_of


def test_every_reading_of_the_test_split_is_recorded(tmp_path):
    trained = retrained(searched(out=tmp_path))
    reads = tmp_path / "retrain" / "reads.jsonl"
    for count in (1, 2):
        found = ramify.evaluate(trained, threads=1)
        records = [json.loads(line) for line in reads.read_text().splitlines()]
        assert len(records) == count
        assert records[-1].items() >= {"split": "test", "purpose": "evaluate", "images": 64}.items()
        assert records[-1]["time"].endswith("+00:00")
    ramify.evaluate(tmp_path, split="search_validation", threads=1)
    assert len(reads.read_text().splitlines()) == 2
    with pytest.raises(ramify.RamifyError, match="no split 'tset'"):
        ramify.evaluate(tmp_path, split="tset")
    assert (found.split, found.images) == ("test", 64)


def test_an_evaluation_is_a_measurement_with_its_cost(tmp_path):
    trained = retrained(searched(out=tmp_path))
    found = ramify.evaluate(tmp_path, threads=1)
    expected = measure(trained.network, task_of(load(DATA)).split("test"), device=torch.device("cpu"))
    assert (found.images, found.metrics) == (expected.items, expected.metrics)
    assert (found.top1, found.top5) == (expected.metrics["top1"], expected.metrics["top5"])
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    cost = ramify.profile(trained.network, (1, 8, 8))
    assert (found.params, found.macs) == (cost.params, cost.macs)
    assert found.latency_ms > 0
    assert json.loads((tmp_path / "retrain" / "evaluation.json").read_text()) == found.as_dict()
    assert json.loads((tmp_path / "retrain" / "evaluation-details.json").read_text()) == expected.details
    elsewhere = ramify.evaluate(tmp_path, DataSpec(subset=200), threads=1)
    assert elsewhere.images == 200
    assert ramify.evaluate(trained, split="train", threads=1).images == 64


def test_scores_are_averaged_over_views(tmp_path):
    trained = retrained(searched(out=tmp_path))
    one, two = (ramify.evaluate(trained, threads=1, views=views) for views in ("none", "mirror"))
    assert (one.views, two.views) == ("none", "mirror")
    assert one.loss != two.loss and one.macs == two.macs
    assert json.loads((tmp_path / "retrain" / "evaluation.json").read_text())["views"] == "mirror"
    with pytest.raises(ramify.RamifyError, match="views must be one of"):
        ramify.evaluate(trained, views="flip")


def test_evaluating_leaves_the_result_alone():
    trained = retrained(searched())
    before = {name: value.clone() for name, value in trained.network.state_dict().items()}
    ramify.evaluate(trained, threads=1)
    assert not differences(trained.network.state_dict(), before)


def test_what_a_network_knows_of_its_inputs_must_be_there(tmp_path):
    retrained(searched(out=tmp_path))
    place = tmp_path / "retrain" / "network.json"
    whole = json.loads(place.read_text())
    for name in ("mean", "std", "classes"):
        place.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        with pytest.raises(RunError, match=rf"network\.json is damaged \(`{name}` is missing\)"):
            ramify.evaluate(tmp_path, threads=1)
    for further in ({"mean": whole["mean"] * 2}, {"std": []}, {"input_size": []}):
        place.write_text(json.dumps({**whole, **further}))
        with pytest.raises(RunError, match=r"network\.json is damaged \(`mean` and `std` are not of \d each\)"):
            ramify.evaluate(tmp_path, threads=1)


def test_people_get_words_and_programs_json(tmp_path, capsys, monkeypatch):
    retrained(searched(out=tmp_path / "a run"))
    words = ["evaluate", str(tmp_path / "a run"), "--threads", "1"]
    assert main([*words, "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert told.err == ""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    low, high = wilson(round(found["top1"] * 64), 64)
    assert lines[0] == f"test top1: {found['top1']:.2%} ({low:.2%} to {high:.2%} with 95 % confidence)"
    assert lines[3] == f"loss {found['loss']:.4f} on 64 inputs, computed in 32-true"
    assert lines[4].startswith(f"{found['params']:,} parameters, ")
    assert lines[5] == f"next: ramify export '{tmp_path / 'a run'}'"
