"""Every recipe through the command line, on tiny settings and digits; the whole sweep is for `make test-all`."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import ramify
from ramify import recipes
from ramify.benchmarks import Column, Table
from ramify.cli import main
from ramify.orders import ORDERS
from small_runs import process

QUICK = (
    "abs-mobile",
    "abs-retrain-imagenet",
    "enas-nasbench201",
    "spos-retrain-shuffle-imagenet",
    "rea-natsbench-size",
)
ARCHITECTURES = {  # by the first letters of the recipe's name
    "nasbench201": "zoo:NB201_0",
    "fast-table": "zoo:NB201_0",
    "fast-cifar10": "zoo:Airbench94",
    "natsbench-size": "8:8:16:8:8",
    "autodl-retrain-resnet-cifar10": "zoo:ResNet8",
    "tas-retrain-cifar10": "zoo:TAS-ResNet20",
    "autodl-retrain-resnet-imagenet": "zoo:ResNet18-avg",
    "h-das-retrain-cell": "zoo:HC_DAS",
    "h-das-retrain-stage-cifar10": "zoo:HS_DAS_cifar",
    "h-das-retrain-stage-imagenet": "zoo:HS_DAS_imagenet",
    "cdarts-detect": "zoo:cdarts_a",
    "cdarts-segment": "zoo:cdarts_b",
    "cdarts-retrain-chain": "zoo:cdarts_a",
    "spos-retrain-mobile": "zoo:SPOS_ABS",
    "spos-retrain-shuffle": "zoo:SPOS_ShuffleNet",
    "fairnas-retrain": "zoo:FairNAS_ABS",
    "proxylessnas-retrain": "zoo:ProxylessNAS_ABS",
    "": "zoo:DARTS_V2",
}
MORE = {  # what a recipe leaves to its user, or what digits are too small for
    "fast-cifar10": ("--data.image_size", "32"),
    "ofa": (
        *(
            "--space",
            "AnyNetwork",
            "--space.network",
            f"{Path(__file__).parents[1] / 'networks_without_points.py'}:Residual",
        ),
        *("--space.input_size", "[3,8,8]", "--space.kernels", "[1]", "--space.depth", "true"),
    ),
    **dict.fromkeys(("cdarts-imagenet", "h-das-cell-imagenet", "pc-darts-imagenet"), ("--network.layout=cifar",)),
}
DENSE = {
    "cdarts-detect-coco": {"task.width": 8, "recipe.schedule": "constant", "recipe.milestones": "[]"},
    "cdarts-segment-cityscapes": {"task.factor": 1, "task.hardest": 100, "task.crop": "[64,64]"},
    "cdarts-segment-ade20k": {"task.factor": 1, "task.hardest": 100, "task.crop": "[64,64]"},
}
CHAINS = ("chain", "spos-", "fairnas-", "proxylessnas-")
TABLES = [name for name in (recipe.name for recipe in recipes.entries()) if "data" not in recipes.get(name).options]
IMAGENET = [r.name for r in recipes.entries() if r.options.get("data", {}).get("source") == "imagenet"]
SEARCH = {  # where a strategy has them
    **{"epochs": 1, "warmup_epochs": 1, "arch_start": 0, "recalibrate": 16, "limits": "{}", "bins": "[]"},
    **{"evaluations": 4, "population": 3, "parents": 2, "crossovers": 1, "selected": 2, "candidates": 2},
    **{"controller_updates": 1, "samples": 1, "added_depth": "[0,0,0]", "depth": 3, "cost.reference": 1e6},
    **{"target": 0},
}
CYCLES = {"cycles": 1, "pretrain_epochs": 0, "evaluation.layers": 3}
SHRINKING = {"first_epochs": 1, "next_epochs": 1, "warmup_epochs": 1, "iterations": 1, "samples": 40, "min_samples": 1}
SHRINKING |= {"at_most": 0, "batch_size": 16}
TRAINING = {"epochs": 1, "batch_size": 16, "warmup_epochs": 0, "last_epochs": 0, "auxiliary": "false"}


def entry_of(name):
    return next(entry for start, entry in ARCHITECTURES.items() if name.startswith(start))


def tiny(name):
    """Return the words of the command line that make little work of a recipe."""
    recipe = recipes.get(name)
    words, values = [recipe.verb], {}
    if recipe.verb == "tune":
        small = {"hoag.iterations": 2, **({"network.channels": 2} if "network" in recipe.options else {})}
        return ["tune", "--recipe", name, *(f"--{key}={value}" for key, value in small.items())]
    if recipe.verb == "retrain":
        words.append(entry_of(name))
    for level, options in (recipe.options.get("levels") or {"": recipe.options}).items():
        prefix = f"levels.{level}." if level else ""
        known = "Chain" if any(word in name for word in CHAINS) else entry_of(name)
        space = options.get("space", "AnyNetwork" if name == "ofa" else known)
        space = space if isinstance(space, str) else space["class_path"]
        values |= {f"{prefix}network.{key}": value for key, value in small_network(space, options["network"]).items()}
        if "strategy" in options:
            given = options["strategy"]["init_args"]
            chosen = CYCLES if "cycles" in given else SEARCH
            chosen = {key: value for key, value in chosen.items() if key.partition(".")[0] in given}
            if "added_depth" in given:
                chosen["added_depth"] = str([0] * len(given["added_depth"]))
            if "NASBench201" in space:
                chosen.pop("evaluation.layers", None)
            values |= {f"{prefix}strategy.{key}": value for key, value in (chosen | {"batch_size": 16}).items()}
    if "shrinking" in recipe.options:
        values |= {f"shrinking.{key}": value for key, value in SHRINKING.items()}
    prefix = "retrain." if "retrain" in recipe.options else ""
    if recipe.verb == "retrain" or prefix:
        values |= {f"{prefix}recipe.{key}": value for key, value in TRAINING.items()}
        if name in DENSE:
            values.pop("network.resolution", None)
            values |= {"network.channels": 4, "recipe.warmup_steps": 1} | DENSE[name]
        if "recalibrate" in recipe.options.get("recipe", {}):
            values["recipe.recalibrate"] = 24
    if prefix:
        values["retrain.network.channels"] = 4
    return [*words, "--recipe", name, *(f"--{key}={value}" for key, value in values.items())]


def on_a_table(name, folder):
    """Return the words that search on a table of the recipe's space, whose values and times are made up."""
    options = recipes.get(name).options
    column = options["strategy"]["init_args"]["evaluator"]["init_args"]["column"]
    order = {"NASBench201": "nasbench201", "NATSBenchSize": "nats-size"}[options["space"]]
    common = {"epochs": (1, 4, 12), "schedule": 12, "data": "cifar10", "split": "valid", "source": "made up"}
    columns = [
        Column(name=column, metric="accuracy", cost="seconds", **common),
        Column(name="seconds", metric="seconds", **common),
    ]
    rank = np.linspace(0, 1, len(ORDERS[order].notations()))
    accuracy = 10 + 70 * rank + np.array([[[0.0], [2.0], [5.0]]])
    seconds = 0 * rank + np.array([[[100.0], [400.0], [1200.0]]])
    table = Table({"space": options["space"]}, order, columns, {column: accuracy, "seconds": seconds})
    table.save(folder / "made_up.table")
    return ["search", "--recipe", name, "--strategy.evaluator.table", str(folder / "made_up.table")]


def small_network(space, layout):
    """Return the layout keywords of the smallest network of a space."""
    if "Chain" in space:
        return {"channels": 8, "resolution": 8}
    if "201" in space:
        return {"channels": 4, "cells": 1}
    if any(part in space for part in (":8:", "ResNet", "Size", "Airbench", "AnyNetwork")):
        return {}
    return {"channels": 4} | ({"layers": 3} if "layers" in layout else {})


def slow_but(names, quick):
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow_but([recipe.name for recipe in recipes.entries()], QUICK))
def test_every_recipe_runs(name, tmp_path, capsys):
    if name in TABLES:
        words = on_a_table(name, tmp_path)
    else:
        data = {"hoag-ridge": "diabetes"}.get(name, "shapes" if name in DENSE else "digits")
        words = [*tiny(name), "--data", data, "--data.subset", "48", "--threads", "1", "--progress", "false"]
    assert main([*words, *MORE.get(name, ()), "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    if name in TABLES:  # the evaluation that reaches the budget counts
        budget = recipes.get(name).options["strategy"]["init_args"]["seconds"]
        assert budget <= result["spent"]["seconds"] < budget + 1200


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder as that of ImageNet, with a few images of various sizes."""
    root = tmp_path_factory.mktemp("data") / "imagenet"
    for part, count in (("train", 20), ("val", 3)):
        for number, name in enumerate(("n01440764", "n01443537")):
            (root / part / name).mkdir(parents=True)
            for image in range(count):
                size = (40 + 7 * (image % 5), 32 + 11 * (image % 3))
                picture = Image.effect_noise(size, 60 + 10 * number + image).convert("RGB")
                picture.save(root / part / name / f"{part}_{image}.JPEG")
    return root


@pytest.mark.parametrize("name", slow_but(IMAGENET, ("p-darts-retrain-imagenet",)))
def test_two_processes_run_every_recipe_for_imagenet(name, root, tmp_path):
    side = 96 if name == "cdarts-imagenet" else 64 if "layout" in recipes.get(name).options["network"] else 16
    words = [*tiny(name), "--data", str(root), "--data.image_size", str(side), "--progress", "false"]
    words += ["--data.subset=32"] if "subset" in recipes.get(name).options["data"] else []
    if "resolution" in recipes.get(name).options["network"]:
        words.append(f"--network.resolution={side}")
    out = tmp_path / "run"
    with process(*words, "--device", "cpu", "--devices", "2", "--threads", "1", "--out", str(out)) as started:
        _, errors = started.communicate()
    assert started.returncode == 0, errors
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["data"]["validation_is_test"] and config["data"]["source"] == str(root)
    assert config["devices"] == 2
    history = (out / "history.jsonl").read_text().splitlines()
    assert history and all("NaN" not in line for line in history)


def test_the_folder_of_imagenet(root, tmp_path, capsys):
    """What is in val/ is what the network is tested on, and nothing else; it is not trained on."""
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
