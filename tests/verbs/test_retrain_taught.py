"""Distillation and baselines from the command line, killed and continued."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.models import squeezenet1_1

import ramify
from killing import forked
from ramify import Recipe
from ramify.cli import main
from ramify.run.configuration import fields_of
from ramify.testing.runs import outcomes
from ramify.testing.strikes import Strike
from small_runs import DATA, differences

MACHINE = ["--threads", "1", "--device", "cpu", "--progress", "false"]
SETTINGS = ["--data", "digits", "--data.subset", "64", "--recipe.epochs", "3", "--recipe.batch_size", "16"]


def words(out, *more):
    return ["retrain", "--architecture", "zoo:ResNet8", *SETTINGS, *more, "--out", str(out), *MACHINE]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    recipe = Recipe(epochs=1, batch_size=16)
    ramify.retrain("WRN-10-1", DATA, recipe=recipe, out=out, threads=1, progress=False)
    return out


def test_a_baseline_goes_the_whole_way(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(words(out)) == 0
    assert "distillation" not in yaml.safe_load((out / "config.yaml").read_text())["recipe"]
    assert main(["evaluate", str(out), "--threads", "1"]) == 0
    assert main(["export", str(out)]) == 0
    assert main(["report", str(out)]) == 0
    assert main(["describe", "zoo:ResNet8", "--pictures", "false"]) == 0
    assert "77,850 parameters" in capsys.readouterr().out
    assert json.loads((out / "result.json").read_text())["notation"] == "ResNet8"


@pytest.mark.parametrize("taught", [False, True])
def test_killed_and_continued(taught, tmp_path, teacher):
    more = ["--recipe.distillation.teacher", str(teacher), "--recipe.distillation.alpha", "0.5"] if taught else []
    assert main(words(tmp_path / "whole", *more)) == 0
    code, _ = forked(words(tmp_path / "run", *more), tmp_path, Strike("after append history.jsonl", count=2))
    assert code == -9
    assert main(words(tmp_path / "run", *more)) == 0
    assert not differences(outcomes(tmp_path / "run"), outcomes(tmp_path / "whole"))
    if taught:
        known = json.loads((tmp_path / "run" / "provenance.json").read_text())["teacher"]
        assert known["source"] == str(teacher) and len(known["sha256"]) == 64


def test_other_weights_of_the_teacher_are_refused(tmp_path, capsys):
    """The name is the same, the run in it another one."""
    for seed in (0, 1):
        recipe = Recipe(epochs=1, batch_size=16)
        ramify.retrain(
            "zoo:ResNet8", DATA, recipe=recipe, seed=seed, out=tmp_path / f"{seed}", threads=1, progress=False
        )
    more = ["--recipe.distillation.teacher", str(tmp_path / "teacher")]
    (tmp_path / "0").rename(tmp_path / "teacher")
    code, _ = forked(words(tmp_path / "run", *more), tmp_path, Strike("after append history.jsonl"))
    assert code == -9
    (tmp_path / "teacher").rename(tmp_path / "0")
    (tmp_path / "1").rename(tmp_path / "teacher")
    before = Path(tmp_path / "run" / "history.jsonl").read_bytes()
    assert main(words(tmp_path / "run", *more)) == 2
    assert "learned from other weights than the teacher" in capsys.readouterr().err
    assert Path(tmp_path / "run" / "history.jsonl").read_bytes() == before


def test_a_teacher_of_other_images_is_refused_before_training(tmp_path, capsys):
    weights = tmp_path / "weights.pt"
    torch.save(squeezenet1_1(num_classes=10).state_dict(), weights)
    more = ["--recipe.distillation.teacher", "torchvision:squeezenet1_1", "--recipe.distillation.weights", str(weights)]
    assert main(words(tmp_path / "run", *more)) == 2
    err = capsys.readouterr().err
    assert "the teacher torchvision:squeezenet1_1 does not take batches of (16, 1, 8, 8)" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_a_teacher_is_written_as_before():
    assert "distillation" not in fields_of(Recipe())
    assert fields_of(Recipe(distillation=ramify.training.Distillation(teacher="a")))["distillation"]["init_args"] == {
        "teacher": "a",
        "weights": None,
        "alpha": 0.9,
        "temperature": 4.0,
    }
