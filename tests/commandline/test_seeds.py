"""`--seeds`: a run for each seed, and their mean."""

import json

import pytest

from ramify.cli import main
from ramify.testing.runs import outcomes
from small_runs import differences

ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
COMMON = ["--data", "digits", "--data.subset", "64", "--network.channels", "4", "--network.cells", "1"]
COMMON += ["--threads", "1", "--progress", "false"]
RETRAIN = ["retrain", ARCH, "--recipe.epochs", "1", "--recipe.batch_size", "16", *COMMON]
SEARCH = ["search", "--space", "NASBench201", "--strategy", "RandomSearch", "--strategy.evaluations", "2"]
SEARCH += ["--strategy.evaluator", "TrainFromScratch", "--strategy.evaluator.epochs", "1", *COMMON]


@pytest.mark.parametrize(("words", "name"), [(RETRAIN, "loss"), (SEARCH, "score")], ids=["retrain", "search"])
def test_each_has_the_run_of_its_seed(words, name, tmp_path, capsys):
    out = tmp_path / "several"
    assert main([*words, "--seeds", "0,3,1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    summary = json.loads((out / "seeds.json").read_text())
    values = [summary["seeds"][seed][name] for seed in ("0", "3", "1")]
    together = summary["together"][name]
    assert together["mean"] == pytest.approx(sum(values) / 3)
    assert together["low"] <= together["mean"] <= together["high"]
    assert f"{name}: mean {together['mean']:.4f} over 3 seeds, 95% interval {together['low']:.4f} to" in said
    assert main([*words, "--seed", "3", "--out", str(tmp_path / "single")]) == 0
    assert not differences(outcomes(out / "seed-3"), outcomes(tmp_path / "single"))


def test_the_same_command_goes_on(tmp_path, capsys):
    assert main([*RETRAIN, "--seeds", "1", "--out", str(tmp_path)]) == 0
    alone = json.loads((tmp_path / "seeds.json").read_text())
    assert set(alone["together"]["loss"]) == {"mean"}
    before = outcomes(tmp_path / "seed-1")
    assert main([*RETRAIN, "--seeds", "1,2", "--out", str(tmp_path)]) == 0
    assert not differences(outcomes(tmp_path / "seed-1"), before) and (tmp_path / "seed-2" / "result.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1,2,1"], "--seeds 1,2,1: every seed counts once; leave out the repetition"),
        (["--seeds", "1,2", "--seed", "5"], "--seed 5 and --seeds 1,2 were both given; leave out one"),
        (["--seeds", "one"], "--seeds"),
        (["--seeds", ""], "--seeds"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(words, message, tmp_path, capsys):
    assert main([*RETRAIN, *words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_single_run_is_in_the_way(tmp_path, capsys):
    assert main([*RETRAIN, "--out", str(tmp_path)]) == 0
    assert main([*RETRAIN, "--seeds", "1,2", "--out", str(tmp_path)]) == 2
    assert "holds a single run; with --seeds, choose another --out" in capsys.readouterr().err
