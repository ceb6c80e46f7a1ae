"""Every recipe through the command line, on tiny settings and digits; the whole sweep is for `make test-all`."""

import json

import pytest
import yaml
from PIL import Image

import ramify
from ramify import recipes
from ramify.cli import main

QUICK = ("abs-mobile", "abs-retrain-imagenet", "enas-nasbench201")
ARCHITECTURES = {  # by the first letters of the recipe's name
    "nasbench201": "NB201_0",
    "h-das-retrain-cell": "HC_DAS",
    "h-das-retrain-stage-cifar10": "HS_DAS_cifar",
    "h-das-retrain-stage-imagenet": "HS_DAS_imagenet",
    "cdarts-retrain-chain": "cdarts_a",
    "": "DARTS_V2",
}
SEARCH = {  # where a strategy has them
    **{"epochs": 1, "warmup_epochs": 1, "arch_start": 0, "recalibrate": 16, "limits": "{}", "bins": "[]"},
    **{"evaluations": 4, "population": 3, "parents": 2, "crossovers": 1, "selected": 2, "candidates": 2},
    **{"controller_updates": 1, "samples": 1, "added_depth": "[0,0,0]", "depth": 3, "cost.reference": 1e6},
}
CYCLES = {"cycles": 1, "pretrain_epochs": 0, "evaluation.layers": 3}
SHRINKING = {"first_epochs": 1, "next_epochs": 1, "warmup_epochs": 1, "iterations": 1, "samples": 40, "min_samples": 1}
SHRINKING |= {"at_most": 0, "batch_size": 16}
TRAINING = {"epochs": 1, "batch_size": 16, "warmup_epochs": 0, "auxiliary": "false"}


def tiny(name):
    """Return the words of the command line that make little work of a recipe."""
    recipe = recipes.get(name)
    words, values = [recipe.verb], {}
    if recipe.verb == "retrain":
        entry = next(entry for start, entry in ARCHITECTURES.items() if name.startswith(start))
        words.append(f"zoo:{entry}")
    for level, options in (recipe.options.get("levels") or {"": recipe.options}).items():
        prefix = f"levels.{level}." if level else ""
        space = options.get("space", "Chain" if "chain" in name else name)
        space = space if isinstance(space, str) else space["class_path"]
        values |= {f"{prefix}network.{key}": value for key, value in small_network(space, options["network"]).items()}
        if "strategy" in options:
            given = options["strategy"]["init_args"]
            chosen = CYCLES if "cycles" in given else SEARCH
            chosen = {key: value for key, value in chosen.items() if key.partition(".")[0] in given}
            if "NASBench201" in space:
                chosen.pop("evaluation.layers", None)
            values |= {f"{prefix}strategy.{key}": value for key, value in (chosen | {"batch_size": 16}).items()}
    if "shrinking" in recipe.options:
        values |= {f"shrinking.{key}": value for key, value in SHRINKING.items()}
    prefix = "retrain." if "retrain" in recipe.options else ""
    if recipe.verb == "retrain" or prefix:
        values |= {f"{prefix}recipe.{key}": value for key, value in TRAINING.items()}
    if prefix:
        values["retrain.network.channels"] = 4
    return [*words, "--recipe", name, *(f"--{key}={value}" for key, value in values.items())]


def small_network(space, layout):
    """Return the layout keywords of the smallest network of a space."""
    if "Chain" in space:
        return {"channels": 8, "resolution": 8}
    if "201" in space:
        return {"channels": 4, "cells": 1}
    return {"channels": 4} | ({"layers": 3} if "layers" in layout else {})


@pytest.mark.parametrize(
    "name",
    [pytest.param(recipe.name, marks=() if recipe.name in QUICK else pytest.mark.slow) for recipe in recipes.entries()],
)
def test_every_recipe_runs(name, tmp_path, capsys):
    words = [*tiny(name), "--data", "digits", "--data.subset", "48", "--threads", "1", "--progress", "false"]
    if name == "cdarts-imagenet":  # the stem of ImageNet leaves a single pixel of a digit
        words.append("--network.layout=cifar")
    assert main([*words, "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "result.json").is_file()


def test_the_folder_of_imagenet(tmp_path, capsys):
    """What is in val/ is what the network is tested on, and nothing else; it is not trained on."""
    root = tmp_path / "imagenet"
    for part, count in (("train", 20), ("val", 3)):
        for number, name in enumerate(("n01440764", "n01443537")):
            (root / part / name).mkdir(parents=True)
            for image in range(count):
                picture = Image.effect_noise((40, 32), 60 + 10 * number + image).convert("RGB")
                picture.save(root / part / name / f"{part}_{image}.JPEG")
    small = ["--data", str(root), "--data.image_size", "16", "--threads", "1", "--progress", "false"]
    out = tmp_path / "run"
    assert main([*tiny("abs-retrain-imagenet"), *small, "--out", str(out)]) == 0, capsys.readouterr().err
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["data"]["validation_is_test"] and config["recipe"]["distortion"]["init_args"]["lighting"] == 0.1
    found = ramify.evaluate(out)
    assert json.loads((out / "result.json").read_text())
    data = ramify.data.load(ramify.data.DataSpec(**config["data"]))
    assert [len(data.split(name)) for name in ("train", "test")] == [40, 6]
    held_out = recipes.load("abs-mobile", root)["data"]
    searched = ramify.data.load(ramify.data.DataSpec(**vars(held_out) | {"image_size": 16}))
    sizes = [len(searched.split(name)) for name in ("search_train", "search_validation", "test")]
    assert sizes == [38, 2, 6]
    assert 0 <= found.top1 <= 1
