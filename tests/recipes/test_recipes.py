"""The recipes: what is published, through the command line that users have, and from Python."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

import ramify
from ramify import recipes, zoo
from ramify.cli import main
from ramify.data import Augmentation, DataSpec, Distortion
from ramify.data.named import BY_FOLDER
from ramify.errors import ConfigurationError, DataError
from ramify.spaces import DARTSCells, NATSBenchSize, Space
from ramify.strategies import CDARTS, STRATEGIES, CostTerm, Regularization
from ramify.training import Recipe, WeightSettings

ROOT = Path(__file__).parents[2]
NAMES = [recipe.name for recipe in recipes.entries()]
OWN = ["fast-cifar10", "fast-table"]  # of this project
PUBLISHED = [name for name in NAMES if name not in OWN]
PIPELINES = [recipe.name for recipe in recipes.entries("search") if "levels" in recipe.options]
SEARCHES = [recipe.name for recipe in recipes.entries("search") if recipe.name not in PIPELINES]
TRAININGS = [recipe.name for recipe in recipes.entries("retrain")]
TABLES = [name for name in SEARCHES if "data" not in recipes.get(name).options]
IMAGENET = [recipe.name for recipe in recipes.entries() if recipe.options.get("data", {}).get("source") == "imagenet"]
FETCHED = [recipe.name for recipe in recipes.entries() if recipe.options.get("data", {}).get("source") in BY_FOLDER]
SMALL = ["--data", "digits", "--data.subset", "64", "--threads", "1", "--progress", "false"]


@pytest.fixture
def asked(monkeypatch, capsys):
    """Return a function that runs the command line without the work, and returns what it would have worked with."""
    calls = []

    class Done(Exception):
        pass

    def stop(*positional, **named):
        calls.append((positional, named))
        raise Done

    monkeypatch.setattr("ramify.verbs.search.search", stop)
    monkeypatch.setattr("ramify.verbs.search.levels.search_levels", stop)
    monkeypatch.setattr("ramify.verbs.retrain.retrain", stop)
    monkeypatch.setattr("ramify.verbs.shrink.shrink", stop)
    monkeypatch.setattr("ramify.verbs.tune.tune", stop)

    def call(*words):
        with pytest.raises(Done):
            assert main(list(map(str, words))) == 0, capsys.readouterr().err
        positional, named = calls.pop()
        if "space" not in named and isinstance(positional[0], dict):
            levels = {name: vars(level) for name, level in positional[0].items()}
            return {"levels": levels, "data": positional[1], "recipe": named["recipe"], "network": named["network"]}
        if words[0] == "tune":
            found = {name: named[name] for name in ("hoag", "against", "network", "precision")}
            return {"problem": positional[0], "data": positional[1], **found}
        if words[0] == "shrink":
            found = {name: named[name] for name in ("shrinking", "network")}
            return {"space": positional[0], "data": positional[1], **found}
        if words[0] == "search":
            space, strategy, data = positional
            return {"space": space, "strategy": strategy, "data": data, "network": named["network"]}
        found = {name: named[name] for name in ("recipe", "network", "task") if named.get(name) is not None}
        return {"data": positional[1], **found}

    return call


def words_for(name, *more):
    verb = recipes.get(name).verb
    return [verb, *(["zoo:DARTS_V2"] if verb == "retrain" else []), *more, "--out", "runs/x"]


def given_data(name):
    """Return the folder of the data of a recipe whose data has no name, and the words that give it."""
    return ("in", ["--data", "in"]) if name in FETCHED else (None, [])


def same(found, settings):
    """Spaces have no equality of their own."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if item is not None}
        return value.to_dict() if isinstance(value, Space) else value

    return plain(found) == plain({"precision": found.get("precision"), **settings})


# The files


@pytest.mark.parametrize("name", NAMES)
class TestEveryRecipe:
    def test_the_command_line_reads_what_python_gets(self, name, asked):
        folder, words = given_data(name)
        settings = recipes.load(name, folder)
        assert same(asked(*words_for(name, "--recipe", name, *words)), settings)
        assert same(asked(*words_for(name, f"--recipe={name}", *words)), settings)

    def test_the_file_is_an_ordinary_configuration(self, name, asked):
        file = ROOT / "recipes" / f"{name}.yaml"
        assert same(asked(*words_for(name, "--config", file)), recipes.load(name))

    def test_what_it_is_about(self, name):
        recipe = recipes.get(name)
        assert recipe.verb in ("search", "shrink", "retrain", "tune")
        assert recipe.title and recipe.source
        assert [other.name for other in recipes.entries() if other.title == recipe.title] == [name]

    def test_its_numbers_are_numbers(self, name):
        """YAML reads 3e-4, without a point, as text."""

        def leaves(value):
            if isinstance(value, dict | list):
                for item in value.values() if isinstance(value, dict) else value:
                    yield from leaves(item)
            elif isinstance(value, str):
                yield value

        for text in leaves(recipes.get(name).options):
            assert not text[0].isdigit() or text == "64-true", text

    def test_networks_take_its_layout(self, name):
        settings = recipes.load(name)
        for level in settings.get("levels", {"": settings}).values():
            if "space" in level:
                level["space"].layout(level.get("network", {}), kind="supernet")
                assert "strategy" not in level or ramify.compatible(level["space"], level["strategy"])
        if "recipe" in settings:
            trained = {"nasbench201": "NB201_0", "h-das-retrain-stage": "HS_DAS_cifar", "h-das-full": "HS_DAS_cifar"}
            trained |= {"cdarts-detect": "cdarts_a", "cdarts-segment": "cdarts_b", "cdarts-retrain-chain": "cdarts_a"}
            trained |= {"h-das-retrain-cell": "HC_DAS", "spos-retrain": "SPOS_ABS"}
            trained |= {"fast-table": "NB201_0", "fairnas": "FairNAS_ABS", "proxylessnas": "ProxylessNAS_ABS"}
            entry = zoo.get(next((e for start, e in trained.items() if name.startswith(start)), "DARTS_V2"))
            space = NATSBenchSize() if name.startswith("natsbench-size") else entry.space
            space.layout(settings["network"])

    def test_it_states_what_is_published_instead_of_relying_on_defaults(self, name):
        options = recipes.get(name).options
        if training := options.get("retrain", options).get("recipe"):
            optional = {"decay", "crop", "flip", "cutout", "auxiliary_weight"}
            optional |= {"warmup", "optimizer", "decay_norms", "accumulate", "mixup", "ema", "size_rule", "distortion"}
            optional |= {field.name for field in fields(Recipe) if field.metadata.get("later")}
            assert {field.name for field in fields(Recipe)} - optional <= training.keys()
        for level in options.get("levels", {"": options}).values():
            if "strategy" in level:
                optional = {"accumulate", "schedule", "stepwise", "decay_norms", "clip_by", "label_smoothing"}
                optional |= {"distortion"}
                wanted = {field.name for field in fields(WeightSettings)} - optional
                if level["strategy"]["class_path"] == "CDARTS":
                    wanted = {field.name for field in fields(CDARTS)} - {"accumulate", "legacy_clip", "distortion"}
                    wanted -= {"limits", "limits_network"}
                    assert wanted <= level["strategy"]["init_args"].keys()
                    continue
                if name in TABLES:
                    wanted = {"seconds", "evaluator"}
                if "arch_lr" in {field.name for field in fields(STRATEGIES[level["strategy"]["class_path"]])}:
                    wanted |= {"arch_lr", "arch_betas", "arch_weight_decay", "first"}
                assert wanted <= level["strategy"]["init_args"].keys()
            if "shrinking" in level:
                wanted = {field.name for field in fields(WeightSettings)} - {"accumulate", "distortion"}
                wanted |= {"first_epochs", "next_epochs", "iterations", "threshold", "rule", "reset_after", "samples"}
                assert wanted <= level["shrinking"].keys()


def test_one_recipe_for_every_published_setting():
    searches = [
        *("autodl-darts-cifar10", "autodl-darts-v2-cifar10"),
        *("bohb-nasbench201", "bohb-natsbench", "bohb-natsbench-size"),
        *("cdarts-cifar10", "cdarts-cifar10-4-gpus", "cdarts-cifar100", "cdarts-cifar100-4-gpus", "cdarts-imagenet"),
        "cdarts-nasbench201",
        *("darts-cifar10", "darts-nasbench201", "darts-natsbench", "darts-plus-cifar10", "darts-shrunk-cifar10"),
        *("darts-v2-cifar10", "darts-v2-nasbench201", "darts-v2-natsbench", "enas-nasbench201", "enas-natsbench"),
        "fairnas-imagenet",
        "fbnetv2-natsbench-size",
        *("gdas-cifar10", "gdas-frc-cifar10", "gdas-nasbench201", "gdas-natsbench"),
        *("h-das-cell-cifar10", "h-das-cell-cifar10-released", "h-das-cell-imagenet", "h-das-distribution-cifar10"),
        *("h-das-distribution-cifar10-released", "h-das-stage-cifar10", "h-das-stage-cifar10-released"),
        *("h-das-stage-imagenet", "h-das-stage-imagenet-released", "nasp-12ops-cifar10", "nasp-cifar10"),
        *("p-darts-cifar10", "p-darts-cifar100", "p-darts-shrunk-cifar10", "pc-darts-cifar10", "pc-darts-imagenet"),
        *("proxylessnas-imagenet", "random-nasbench201", "random-natsbench", "random-natsbench-size"),
        *("rea-nasbench201", "rea-natsbench", "rea-natsbench-size"),
        *("reinforce-nasbench201", "reinforce-natsbench", "reinforce-natsbench-size"),
        *("rsps-nasbench201", "rsps-natsbench", "setn-nasbench201", "setn-natsbench"),
        *("spos-mobile-imagenet", "spos-shuffle-imagenet", "tas-cifar10", "tas-natsbench-size"),
        "tunas-natsbench-size",
    ]
    trainings = [
        *("abs-retrain-imagenet", "autodl-retrain-cifar10", "autodl-retrain-cifar10-600", "autodl-retrain-imagenet"),
        *("autodl-retrain-resnet-cifar10", "autodl-retrain-resnet-imagenet"),
        "cdarts-detect-coco",
        *("cdarts-retrain-chain-imagenet", "cdarts-retrain-cifar10", "cdarts-retrain-cifar10-4-gpus"),
        *("cdarts-retrain-cifar100", "cdarts-retrain-cifar100-4-gpus", "cdarts-retrain-imagenet"),
        *("cdarts-segment-ade20k", "cdarts-segment-cityscapes"),
        "darts-retrain-cifar10",
        *("darts-retrain-imagenet", "fairnas-retrain-imagenet", "gdas-retrain-cifar10", "gdas-retrain-cifar10-128"),
        *("gdas-retrain-imagenet", "h-das-retrain-cell-cifar10", "h-das-retrain-cell-imagenet"),
        *("h-das-retrain-stage-cifar10", "h-das-retrain-stage-imagenet", "h-das-retrain-stage-imagenet-distributed"),
        "h-das-retrain-stage-imagenet-distributed-released",
        *("nasbench201-retrain-12", "nasbench201-retrain-200"),
        *("natsbench-size-retrain-1", "natsbench-size-retrain-12", "natsbench-size-retrain-90"),
        *("p-darts-retrain-cifar10", "p-darts-retrain-cifar100", "p-darts-retrain-imagenet"),
        *("pc-darts-retrain-cifar10", "pc-darts-retrain-imagenet", "proxylessnas-retrain-imagenet"),
        *("spos-retrain-mobile-imagenet", "spos-retrain-shuffle-imagenet", "tas-retrain-cifar10"),
    ]
    shrinkings = ["abs-darts", "abs-fairnas", "abs-mobile", "abs-nasbench201"]
    assert (searches, sorted(trainings + OWN), PIPELINES) == (SEARCHES, TRAININGS, ["h-das-full", "ofa"])
    assert [recipe.name for recipe in recipes.entries("shrink")] == shrinkings
    tunings = ["data-cleaning", "hoag-logistic", "hoag-ridge", "network-weight-decay"]
    assert [recipe.name for recipe in recipes.entries("tune")] == tunings


@pytest.mark.parametrize(
    ("name", "values", "network"),
    [
        (
            "darts-v2-cifar10",
            {"order": 2, "epochs": 50, "batch_size": 64, "lr": 0.025, "min_lr": 0.001, "weight_decay": 3e-4, "clip": 5}
            | {"arch_lr": 3e-4, "arch_betas": (0.5, 0.999), "arch_weight_decay": 1e-3, "nesterov": False}
            | {"first": "architecture"},
            {"channels": 16, "layers": 8},
        ),
        (
            "darts-nasbench201",
            {"order": 1, "epochs": 50, "batch_size": 64, "nesterov": True, "weight_decay": 5e-4, "first": "weights"},
            {"channels": 16, "cells": 5},
        ),
        (
            "gdas-frc-cifar10",
            {"epochs": 250, "batch_size": 256, "weight_decay": 5e-4, "tau_start": 10, "tau_end": 0.1, "clip": 5},
            {"channels": 16, "layers": 6, "pool_norm": False},
        ),
        ("gdas-nasbench201", {"epochs": 250, "batch_size": 64, "unselected": "constant"}, {"channels": 16, "cells": 5}),
        ("setn-nasbench201", {"epochs": 250, "batch_size": 64, "clip": 0, "selected": 100}, {"cells": 5}),
        ("rsps-nasbench201", {"epochs": 250, "batch_size": 64, "clip": 5, "candidates": 100}, {"cells": 5}),
        (
            "enas-nasbench201",
            {"epochs": 250, "batch_size": 128, "lr": 0.05, "min_lr": 5e-4, "weight_decay": 2.5e-4, "samples": 20}
            | {"controller_updates": 50, "controller_betas": (0, 0.999), "controller_eps": 1e-3},
            {"channels": 16},
        ),
        ("nasp-cifar10", {"epochs": 50, "batch_size": 64, "complexity": 0}, {"channels": 16, "layers": 8}),
        ("darts-plus-cifar10", {"max_skip": 2, "stable_epochs": 10, "epochs": 50}, {"layers": 8}),
        (
            "pc-darts-cifar10",
            {"epochs": 50, "batch_size": 256, "lr": 0.1, "min_lr": 0, "arch_lr": 6e-4, "arch_start": 15}
            | {"partial_channels": 4},
            {"channels": 16, "layers": 8},
        ),
        (
            "p-darts-cifar10",
            {"epochs": 25, "batch_size": 96, "lr": 0.025, "min_lr": 0, "arch_lr": 6e-4, "arch_start": 10, "depth": 5}
            | {"added_depth": (0, 6, 12), "kept": (5, 3), "skip_dropout": (0.1, 0.4, 0.7), "max_skip": 2},
            {"channels": 16},
        ),
        (
            "h-das-cell-cifar10",
            {"order": 1, "epochs": 50, "batch_size": 64, "weight_decay": 3e-4, "derivation": "raw", "gradient": "live"}
            | {"regularization": Regularization()},
            {"channels": 16, "layers": 8},
        ),
        (
            "h-das-stage-imagenet",
            {"batch_size": 128, "weight_decay": 2.7e-3, "regularization": Regularization(weights={"depth": 1.0})},
            {"channels": 16},
        ),
        (
            "h-das-distribution-cifar10-released",
            {"batch_size": 64, "weight_decay": 2.7e-3, "gradient": "stale"}
            | {"regularization": Regularization(weights={"depth": 1.0, "cells": 0.4}, separate=True)},
            {"channels": 16},
        ),
    ],
)
def test_searches_as_published(name, values, network):
    settings = recipes.load(name)
    assert {field: getattr(settings["strategy"], field) for field in values} == values
    assert settings["network"].items() >= (network | {"affine": False, "track_running_stats": True}).items()
    assert settings["data"].source == "cifar10"
    assert settings["data"].split == ("nasbench201" if name.startswith("gdas") or "201" in name else "ordered")


@pytest.mark.parametrize(
    ("name", "space", "values"),
    [
        (
            "spos-shuffle-imagenet",
            "ShuffleChain",
            {"batch_size": 1024, "lr": 0.5, "clip": 0, "mutation_rate": 0.1, "recalibrate": 200 * 128}
            | {"bins": tuple(1e6 * bound for bound in range(290, 370, 10)), "limits": {"macs": 330e6}},
        ),
        (
            "spos-mobile-imagenet",
            "MobileChain",
            {"epochs": 100, "batch_size": 512, "lr": 0.25, "clip": 5, "clip_by": "value", "mutation_rate": 0.5}
            | {"recalibrate": 20_000, "limits": {"macs": 475_000_000 - 1_727_000}},
        ),
        (
            "fairnas-imagenet",
            "FairMobileChain",
            {"batch_size": 1024, "lr": 0.5, "clip": 5, "clip_by": "value", "mutation_rate": 0.5}
            | {"limits": {"macs": 327_000_000 - 12_845_056 - 1_279_000}},
        ),
        (
            "proxylessnas-imagenet",
            "MobileChain",
            {"epochs": 120, "warmup_epochs": 40, "batch_size": 256, "gates": "full", "arch_every": 5}
            | {"cost": CostTerm(reference=475e6, factor=0.2, exponent=0.3)},
        ),
    ],
)
def test_searches_of_chains(name, space, values):
    settings = recipes.load(name)
    assert {field: getattr(settings["strategy"], field) for field in values} == values
    assert (settings["space"].name, settings["data"].source) == (space, "imagenet")
    assert settings["strategy"].label_smoothing == 0.1 and settings["strategy"].weight_decay == 4e-5
    assert round(1_281_167 * settings["data"].validation_fraction) == 50_000
    eps = {"norm_eps": 1e-3} if name == "proxylessnas-imagenet" else {}
    assert settings["network"] == eps | {
        "resolution": 224,
        "affine": name != "spos-shuffle-imagenet",
        "track_running_stats": True,
    }


def _parts(settings):
    """Yield what trains anything in a recipe: strategies, a shrinking, a training."""
    for level in settings.get("levels", {"": settings}).values():
        yield from (level[kind] for kind in ("strategy", "shrinking") if kind in level)
    yield from [settings["recipe"]] if "recipe" in settings else []


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_last_batch_is_kept_where_the_program_has_an_ordinary_loader(name):
    """Programs that draw images with replacement, or by timm's loader, have no smaller one."""
    drawn = ("abs-darts", "abs-fairnas", "abs-mobile", "abs-retrain", "fairnas", "spos", "proxyless")
    drawn = (
        name.startswith((*drawn, "cdarts-retrain-chain", "cdarts-segment-ade20k"))
        and name != "spos-retrain-shuffle-imagenet"
    )
    for part in _parts(recipes.load(name)):
        kind = type(part).__name__
        if kind != "CDARTS" and name not in TABLES:  # keeps it always, and trains nothing
            assert part.drop_last == drawn
        # and whatever else deviates by default
        assert getattr(part, "arch_clip", 0) == (5 if kind == "PDARTS" or name == "pc-darts-imagenet" else 0)
        scripts = ("autodl-darts-cifar10", "autodl-darts-v2-cifar10", "darts-nasbench201", "darts-v2-nasbench201")
        clipped = (kind == "GDAS" and part.clip) or name in scripts
        assert getattr(part, "legacy_clip", False) == bool(clipped)
        assert kind != "NASP" or (part.derivation, part.released_complexity) == ("softmax", True)
        assert kind != "ProxylessNAS" or part.arch_counted == "epoch"


RETRAINED = {"momentum": 0.9, "nesterov": False, "clip": 5, "auxiliary_weight": 0.4, "warmup": "epoch"}


@pytest.mark.parametrize(
    ("name", "values", "network", "data"),
    [
        *(
            (
                f"cdarts-cifar{classes}{gpus}",
                values,
                {"layout": "cifar", "layers": 8, "stem_multiplier": 3},
                f"cifar{classes}",
            )
            for classes in (10, 100)
            for gpus, values in (("", {"batch_size": 64, "lr": 0.08}), ("-4-gpus", {"batch_size": 256, "lr": 0.2}))
        ),
        (
            "cdarts-imagenet",
            {
                "pretrain_epochs": 10,
                "cycles": 30,
                "warmup_epochs": 3,
                "sample_ratio": 0.2,
                "batch_size": 1024,
                "lr": 0.8,
            }
            | {"weight_decay": 1e-5, "arch_weight_decay": 1e-5, "penalty_ratio": 0.5, "distance": "kl"}
            | {"fix_heads": False, "evaluation": {"layers": 14}}
            | {"distortion": Distortion(resized=0.08, jitter=(0.4, 0.4, 0.4, 0.2))},
            {"layout": "imagenet", "layers": 8, "stem_multiplier": 1},
            "imagenet",
        ),
        (
            "cdarts-nasbench201",
            {"pretrain_epochs": 0, "cycles": 50, "edges": "sum", "penalized": ("none",), "penalty_reduction": "mean"}
            | {"stage_multiplicity": 1, "evaluation": {"affine": True}, "fix_heads": False},
            {"cells": 5, "final_norm": False},
            "cifar10",
        ),
    ],
)
def test_searches_of_cdarts(name, values, network, data):
    """What the scripts of the authors set; everything else is the setting for CIFAR-10 with one GPU."""
    settings = recipes.load(name)
    expected = vars(CDARTS(evaluation={"layers": 20})) | {"evaluation_lr": values.get("lr", 0.08)} | values
    assert vars(settings["strategy"]) == expected
    shared = {"channels": 16, "affine": False, "track_running_stats": True}
    assert settings["network"].items() >= (shared | network).items()
    assert settings["network"].get("pool_norm", False) is False
    assert settings["data"].source == data
    if name != "cdarts-nasbench201":
        layout = {name: value for name, value in settings["network"].items() if name in ("pool_norm", "layout")}
        assert layout == {"pool_norm": False, "layout": network["layout"]}


@pytest.mark.parametrize(
    ("name", "values", "network"),
    [
        *(
            (
                f"cdarts-retrain-cifar{classes}{gpus}",
                values | {"epochs": 600, "size_rule": True, "label_smoothing": 0},
                {"channels": 36},
            )
            for classes in (10, 100)
            for gpus, values in (("", {"batch_size": 128, "lr": 0.025}), ("-4-gpus", {"batch_size": 512, "lr": 0.1}))
        ),
        (
            "cdarts-retrain-imagenet",
            {"epochs": 250, "batch_size": 1024, "lr": 0.5, "warmup_epochs": 5, "weight_decay": 3e-5, "drop_path": 0}
            | {"label_smoothing": 0.1, "size_rule": False},
            {"channels": 48, "layers": 14, "stem_multiplier": 1},
        ),
        (
            "cdarts-retrain-chain-imagenet",
            {
                "epochs": 500,
                "optimizer": "rmsprop",
                "lr": 0.064,
                "weight_decay": 1e-5,
                "ema": 0.9999,
                "warmup_epochs": 3,
            }
            | {"clip": 0, "decay_norms": False, "batch_size": 1024},
            {"dropout": 0.2},
        ),
    ],
)
def test_trainings_of_cdarts(name, values, network):
    settings = recipes.load(name)
    expected = RETRAINED | values
    assert {field: getattr(settings["recipe"], field) for field in expected} == expected
    assert settings["network"].items() >= network.items()


def test_the_spaces_of_the_searches():
    spaces = {name: recipes.load(name)["space"] for name in SEARCHES}
    assert spaces["gdas-cifar10"].arguments == spaces["darts-cifar10"].arguments == {}
    assert spaces["gdas-frc-cifar10"].arguments == zoo.get("GDAS_F1").space.arguments
    assert spaces["nasp-12ops-cifar10"].arguments == zoo.get("NASP_12ops").space.arguments
    assert [len(choice.ops) for choice in spaces["nasp-cifar10"].choices.values()] == [7, 7]
    assert "none" not in spaces["nasp-cifar10"].operations
    assert all(spaces[name].name == "NASBench201" for name in SEARCHES if "nasbench201" in name)
    assert spaces["h-das-cell-cifar10"].name == "StageCells"
    assert (spaces["h-das-stage-cifar10"].cells, spaces["h-das-stage-imagenet"].cells) == (6, 4)
    assert spaces["h-das-distribution-cifar10"].choices["lengths"].ops == ("4", "5", "6", "7", "8")
    assert spaces["h-das-stage-cifar10"].cell == DARTSCells().format(zoo.get("DARTS_V1").architecture)


@pytest.mark.parametrize(
    ("name", "values", "network"),
    [
        (
            "darts-retrain-cifar10",
            {"epochs": 600, "batch_size": 96, "lr": 0.025, "nesterov": False, "weight_decay": 3e-4, "clip": 5}
            | {"drop_path": 0.2, "auxiliary_weight": 0.4, "label_smoothing": 0, "schedule": "cosine"},
            {"layout": "cifar", "channels": 36, "layers": 20},
        ),
        (
            "autodl-retrain-cifar10",
            {"epochs": 300, "warmup_epochs": 5, "batch_size": 96, "nesterov": True, "weight_decay": 5e-4, "clip": 0},
            {"channels": 36, "layers": 20},
        ),
        (
            "gdas-retrain-cifar10",
            {"epochs": 600, "batch_size": 96, "weight_decay": 3e-4, "clip": 5, "drop_path": 0.2},
            {"channels": 36, "layers": 20, "pool_norm": True},
        ),
        (
            "nasbench201-retrain-200",
            {"epochs": 200, "batch_size": 256, "lr": 0.1, "nesterov": True, "weight_decay": 5e-4, "clip": 0}
            | {"drop_path": 0, "auxiliary": False, "warmup_epochs": 0},
            {"channels": 16, "cells": 5},
        ),
        ("nasbench201-retrain-12", {"epochs": 12, "batch_size": 256, "lr": 0.1}, {"channels": 16, "cells": 5}),
        (
            "darts-retrain-imagenet",
            {"epochs": 250, "batch_size": 128, "lr": 0.1, "schedule": "exponential", "decay": 0.97, "clip": 5}
            | {"weight_decay": 3e-5, "label_smoothing": 0.1, "drop_path": 0, "auxiliary_weight": 0.4},
            {"layout": "imagenet", "channels": 48, "layers": 14},
        ),
        (
            "autodl-retrain-imagenet",
            {"epochs": 250, "warmup_epochs": 5, "batch_size": 256, "nesterov": True, "clip": 0, "schedule": "cosine"},
            {"layout": "imagenet"},
        ),
        (
            "abs-retrain-imagenet",
            {"epochs": 250, "batch_size": 512, "lr": 0.25, "schedule": "linear", "weight_decay": 3e-5, "clip": 5},
            {"layout": "imagenet", "channels": 48, "layers": 14},
        ),
    ],
)
def test_trainings_as_published(name, values, network):
    settings = recipes.load(name)
    assert {field: getattr(settings["recipe"], field) for field in values} == values
    assert settings["network"].items() >= network.items()


DISTORTIONS = {
    "abs-retrain-imagenet": Distortion(resized=0.08, ratio=1.0, lighting=0.1),
    "autodl-retrain-imagenet": Distortion(resized=0.08, jitter=(0.4, 0.4, 0.4, 0.2), lighting=0.1),
    "autodl-retrain-resnet-imagenet": Distortion(resized=0.08, jitter=(0.4, 0.4, 0.4, 0.2), lighting=0.1),
    **dict.fromkeys(
        [
            *("cdarts-retrain-imagenet", "gdas-retrain-imagenet", "p-darts-retrain-imagenet"),
            *("pc-darts-retrain-imagenet", "h-das-retrain-stage-imagenet-distributed"),
            "h-das-retrain-stage-imagenet-distributed-released",
        ],
        Distortion(resized=0.08, jitter=(0.4, 0.4, 0.4, 0.2)),
    ),
    **dict.fromkeys(
        ["fairnas-retrain-imagenet", "proxylessnas-retrain-imagenet", "spos-retrain-mobile-imagenet"],
        Distortion(resized=0.08, ratio=1.0, lighting=0.1),
    ),
    "spos-retrain-shuffle-imagenet": Distortion(resized=0.08, jitter=(0.4, 0.4, 0.4, 0.0)),
    "h-das-retrain-cell-imagenet": Distortion(resized=0.08),
    "cdarts-retrain-chain-imagenet": Distortion(resized=0.08, policy="randaugment", magnitude_std=0.5, erase=0.2),
    "darts-retrain-imagenet": Distortion(resized=0.08, jitter=(0.4, 0.4, 0.4, 0.2)),
    "h-das-retrain-cell-cifar10": Distortion(fill=128),
    "h-das-retrain-stage-cifar10": Distortion(fill=128),
    "h-das-retrain-stage-imagenet": Distortion(resized=0.08),
}


@pytest.mark.parametrize("name", [name for name in TRAININGS if name not in OWN])
def test_the_augmentation_of_trainings(name):
    side = 224 if "imagenet" in name else 32
    own = Augmentation(crop=side // 8, flip=True)  # what a data set of colored images brings
    cut = ("cifar10" in name and "resnet" not in name and not name.startswith("tas")) or (
        name.startswith("h-das") and "distributed" not in name
    )
    cutout = 16 if cut else 0
    distortion = DISTORTIONS.get(name, Distortion())
    crop = 0 if distortion.resized or name.startswith(("cdarts-detect", "cdarts-segment")) else side // 8
    expected = Augmentation(crop=crop, flip=True, cutout=cutout, distortion=distortion)
    assert recipes.load(name)["recipe"].augmentation(own, (3, side, side)) == expected


# Overriding


def test_options_override_a_recipe_wherever_they_stand(asked):
    options = ["--strategy.epochs", "2", "--network.channels", "4", "--data", "digits", "--data.subset", "64"]
    for words in (["--recipe", "gdas-cifar10", *options], [*options, "--recipe", "gdas-cifar10"]):
        found = asked("search", *words, "--out", "x")
        assert (found["strategy"].epochs, found["strategy"].batch_size, found["strategy"].tau_start) == (2, 256, 10)
        assert found["network"]["channels"] == 4 and found["network"]["layers"] == 6
        assert found["data"] == DataSpec(source="digits", subset=64)


def test_a_configuration_file_overrides_a_recipe(asked, tmp_path):
    (tmp_path / "mine.yaml").write_text("strategy: {class_path: GDAS, init_args: {epochs: 7}}\nseed: 3\n")
    found = asked("search", "--config", tmp_path / "mine.yaml", "--recipe", "gdas-cifar10", "--out", "x")
    assert found["strategy"].epochs == 7
    assert found["network"]["layers"] == 6


def test_limits_and_weights_of_a_recipe_are_taken_away(asked):
    """As the heads of recipes say."""
    words = ["search", "--data", "digits", "--out", "x"]
    found = asked(*words, "--recipe", "spos-mobile-imagenet", "--strategy.limits", "{}", "--strategy.bins", "[]")
    assert (found["strategy"].limits, found["strategy"].bins) == ({}, ())
    budget = ["--strategy.regularization.weights", "{}", "--strategy.regularization.target", "3500000"]
    found = asked(*words, "--recipe", "h-das-distribution-cifar10", *budget)
    assert found["strategy"].regularization.weights == {} and found["strategy"].regularization.target == 3.5e6


def test_another_strategy_in_the_setting_of_a_recipe(asked):
    found = asked("search", "--recipe", "darts-nasbench201", "--strategy", "RSPS", "--out", "x")
    assert type(found["strategy"]).__name__ == "RSPS"
    assert found["data"].split == "nasbench201"


def test_the_fixed_split_goes_with_its_data(asked):
    words = ["search", "--recipe", "gdas-nasbench201", "--out", "x"]
    assert asked(*words, "--data", "digits")["data"] == DataSpec(source="digits")
    assert asked(*words, "--data", "cifar10")["data"] == DataSpec(source="cifar10", split="nasbench201")
    assert asked(*words, "--data.subset", "64")["data"].split == "nasbench201"
    found = asked(*words, "--data", "cifar10.parquet", "--data.split", "nasbench201")["data"]
    assert found == DataSpec(source="cifar10.parquet", split="nasbench201")


def test_a_recipe_gives_up_what_means_its_own_data_alone(asked):
    """Digits of 8 pixels are not brought to 224, and nothing of 16 pixels is cut out of them."""
    digits = DataSpec(source="digits")
    for name in IMAGENET:
        held_out = recipes.get(name).options["data"].get("validation_fraction", 0.5)  # a matter of the method
        expected = replace(digits, validation_fraction=held_out)
        assert asked(*words_for(name, "--recipe", name, "--data", "digits"))["data"] == expected
        assert recipes.load(name, "digits")["data"] == expected
    for name in ("h-das-full", "h-das-stage-cifar10", "cdarts-nasbench201"):
        assert asked(*words_for(name, "--recipe", name, "--data", "digits"))["data"] == digits
    own = asked(*words_for("cdarts-retrain-cifar10", "--recipe", "cdarts-retrain-cifar10"))["recipe"]
    other = asked(*words_for("cdarts-retrain-cifar10", "--recipe", "cdarts-retrain-cifar10", "--data", "digits"))
    assert (own.cutout, other["recipe"]) == (16, replace(own, cutout=None))
    none = asked(*words_for("nasbench201-retrain-12", "--recipe", "nasbench201-retrain-12", "--data", "digits"))
    assert none["recipe"].cutout == 0
    chosen = ["--data", "digits", "--data.image_size", "16"]
    assert asked(*words_for("abs-mobile", "--recipe", "abs-mobile", *chosen))["data"].image_size == 16


@pytest.mark.parametrize("source", ["/data/imagenet", "in.parquet", "hf:imagenet-1k", "in/train"])
def test_where_imagenet_is(source, asked, tmp_path):
    for name in ("spos-mobile-imagenet", "abs-mobile", "darts-retrain-imagenet"):
        own = recipes.load(name)["data"]
        assert own.image_size == 224 and own.validation_is_test
        assert asked(*words_for(name, "--recipe", name, "--data", source))["data"] == replace(own, source=source)
        assert recipes.load(name, Path(source) if source[0] == "/" else source)["data"] == replace(own, source=source)
    words = ["--recipe", "darts-retrain-imagenet", "--data", source, "--data.test", "in/val"]
    assert asked(*words_for("darts-retrain-imagenet", *words))["data"].test == "in/val"


def test_data_of_a_configuration_counts_as_given(asked, tmp_path):
    (tmp_path / "folder.yaml").write_text("data: {source: /data/imagenet}\n")
    (tmp_path / "digits.yaml").write_text("data: {source: digits}\n")
    (tmp_path / "name.yaml").write_text("data: digits\n")
    words = ["search", "--recipe", "spos-mobile-imagenet", "--out", "x", "--config"]
    found = asked(*words, tmp_path / "folder.yaml")["data"]
    assert (found.source, found.image_size) == ("/data/imagenet", 224)
    found = asked(*words, tmp_path / "digits.yaml")["data"]
    assert (found.source, found.image_size) == ("digits", None)
    found = asked(*words, tmp_path / "name.yaml")["data"]
    assert (found.source, found.image_size) == ("digits", None)
    found = asked(*words, tmp_path / "folder.yaml", "--data", "digits")["data"]
    assert (found.source, found.image_size) == ("digits", None)


@pytest.mark.parametrize("name", FETCHED)
def test_data_that_nobody_has_by_name(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = {
        "imagenet": "ImageNet; give its folder (train/ and val/) with --data, e.g. --data /data/imagenet "
        "--data.image_size 224",
        "coco": "COCO; give its folder (train2017/, val2017/ and annotations/) with --data, e.g. --data /data/coco "
        "--data.image_size 800,1344",
        "cityscapes": "Cityscapes; give its folder (leftImg8bit/ and gtFine/) with --data, e.g. "
        "--data /data/cityscapes",
        "ade20k": "ADE20K; give its folder (images/ and annotations/) with --data, e.g. --data /data/ade20k "
        "--data.image_size 640",
    }
    own = recipes.get(name).options["data"]["source"]
    expected = f"ramify: the recipe {name} is for {wanted[own]}\n"
    for more in ([], ["--data", own], ["--data", own.upper()], ["--data.image_size", "32"]):
        assert main(words_for(name, "--recipe", name, *more)) == 2
        assert capsys.readouterr().err == expected
    assert not Path("runs").exists()


def test_every_recipe_for_imagenet_says_so():
    of_it = [name for name in NAMES if "imagenet" in name and not name.startswith("h-das-stage-imagenet")]
    assert sorted([*of_it, "abs-darts", "abs-fairnas", "abs-mobile", "ofa"]) == sorted(IMAGENET)


def test_help_needs_no_data(capsys):
    for word in ("--help", "--data.help"):
        with pytest.raises(SystemExit) as stopped:
            main(["search", "--recipe", "spos-mobile-imagenet", word])
        assert stopped.value.code in (0, None)
        assert "--data" in capsys.readouterr().out


def test_imagenet_by_name_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = r"ImageNet cannot be had by name; give its folder \(train/ and val/\)"
    with pytest.raises(DataError, match=message):
        ramify.search(**recipes.load("spos-mobile-imagenet"), out="x")
    with pytest.raises(DataError, match=message):
        ramify.shrink(**recipes.load("abs-mobile"), out="x")
    with pytest.raises(DataError, match=message):
        ramify.retrain("zoo:DARTS_V2", **recipes.load("darts-retrain-imagenet"), out="x")
    assert not Path("x").exists()


def test_single_values_of_a_training(asked):
    plain = asked("retrain", "zoo:SETN", "--recipe.epochs", "3", "--out", "x")
    assert plain["recipe"] == Recipe(epochs=3) and plain["data"] is None
    for words in (["--recipe", "autodl-retrain-cifar10", "--recipe.epochs", "30"], ["--recipe.epochs", "30"]):
        more = [] if "--recipe" in words else ["--recipe=autodl-retrain-cifar10"]
        found = asked("retrain", "zoo:SETN", *words, *more, "--out", "x")
        assert found["recipe"].epochs == 30
        assert found["recipe"].warmup_epochs == 5
    found = asked("retrain", "zoo:SETN", "--recipe", '{"epochs": 4, "clip": 1}', "--out", "x")
    assert found["recipe"] == Recipe(epochs=4, clip=1.0)


def test_a_file_for_the_values_of_a_training(asked, tmp_path):
    (tmp_path / "r.yaml").write_text("epochs: 4\nclip: 1.0\n")
    found = asked("retrain", "zoo:SETN", "--recipe", tmp_path / "r.yaml", "--out", "x")
    assert found["recipe"] == Recipe(epochs=4, clip=1.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "search --recipe gdas-cifar --out x",
            "unknown recipe 'gdas-cifar'; did you mean 'gdas-cifar10'? Known: autodl-darts",
        ),
        ("search --out x --recipe", "--recipe needs a value"),
        ("search --out x --recipe gdas-cifar10 --data", "--data needs a value"),
        ("search --recipe darts-retrain-cifar10 --out x", "is for `ramify retrain`; did you mean"),
        ("retrain zoo:SETN --recipe darts-cifar10 --out x", "recipe 'darts-cifar10' is for `ramify search`; did you"),
        ("retrain zoo:SETN --recipe autodl-cifar10 --out x", "unknown recipe 'autodl-cifar10'; did you mean 'autodl-"),
        ("retrain zoo:SETN --recipe none.yaml --out x", "none.yaml"),
        ("search --config CONFIG --out x", "`recipe` is an option of the command line; a configuration file gives"),
    ],
)
def test_bad_recipes(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("space: NASBench201\nstrategy: GDAS\nrecipe: gdas-nasbench201\n")
    assert main(words.replace("CONFIG", "c.yaml").split()) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not Path("x").exists()


# Listing, and from Python


def test_the_command_line_lists(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for recipe in recipes.entries():
        (line,) = (line for line in lines if line.split(" ")[0] == recipe.name)
        assert recipe.title in line and recipe.source in line
    assert main(["recipes", "--json"]) == 0
    listed = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert list(listed) == NAMES
    assert listed["gdas-cifar10"]["verb"] == "search"
    assert listed["gdas-cifar10"]["options"]["strategy"]["init_args"]["tau_end"] == 0.1


def test_unknown_names_in_python():
    with pytest.raises(ConfigurationError, match="unknown recipe 'GDAS-cifar10'; did you mean 'gdas-cifar10'"):
        recipes.load("GDAS-cifar10")


def test_what_is_loaded_is_the_callers_own():
    recipes.load("gdas-cifar10")["network"]["channels"] = 1
    assert recipes.load("gdas-cifar10")["network"]["channels"] == 16


# At work


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("gdas-frc-cifar10", {"channels": 8, "layers": 3}),
        ("setn-nasbench201", {"channels": 2, "cells": 1}),
    ],
)
def test_a_small_search(name, layout, tmp_path, capsys):
    words = ["search", "--recipe", name, *SMALL, "--strategy.epochs", "1", "--strategy.batch_size", "16"]
    words += [word for key, value in layout.items() for word in (f"--network.{key}", str(value))]
    if name.startswith("setn"):
        words += ["--strategy.selected", "2"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    settings = recipes.load(name)
    assert config["strategy"]["init_args"]["lr"] == settings["strategy"].lr
    assert config["network"] == settings["network"] | layout
    # the run's own configuration repeats it, without the recipe
    again = ["--config", str(tmp_path / "run" / "config.yaml"), "--out", str(tmp_path / "again"), "--progress", "false"]
    assert main(["search", *again]) == 0
    first, second = (json.loads((tmp_path / run / "architecture.json").read_text()) for run in ("run", "again"))
    assert first == second


def test_a_small_search_and_training_from_python(tmp_path):
    settings = recipes.load("rsps-nasbench201")
    strategy = type(settings["strategy"])(epochs=1, batch_size=16, candidates=2)
    small = {"data": DataSpec(subset=64), "network": {"channels": 2, "cells": 1}, "threads": 1, "progress": False}
    found = ramify.search(**settings | {"strategy": strategy} | small)
    trained = ramify.retrain(
        found, **recipes.load("nasbench201-retrain-12") | {"recipe": Recipe(epochs=1, cutout=0)} | small
    )
    assert trained.architecture == found.architecture


def test_a_small_cyclic_search_and_its_training(tmp_path):
    settings = recipes.load("cdarts-cifar10")
    strategy = replace(settings["strategy"], cycles=1, pretrain_epochs=1, batch_size=16, evaluation={"layers": 4})
    small = {"data": DataSpec(subset=64), "threads": 1, "progress": False}
    layout = settings["network"] | {"channels": 2, "layers": 3}
    found = ramify.search(**settings | {"strategy": strategy, "network": layout, **small})
    training = recipes.load("cdarts-retrain-cifar10-4-gpus")
    recipe = replace(training["recipe"], epochs=1, batch_size=16, cutout=2, auxiliary=False)
    layout = training["network"] | {"channels": 2, "layers": 3}
    trained = ramify.retrain(found, **training | {"recipe": recipe, "network": layout, **small})
    assert trained.architecture == found.architecture
    assert trained.shape["layout"]["pool_norm"] is False


def test_a_small_training(tmp_path, capsys):
    words = ["retrain", "zoo:DARTS_V2", "--recipe", "autodl-retrain-cifar10", "--recipe.epochs", "2"]
    words += ["--recipe.warmup_epochs", "1", "--recipe.auxiliary", "false", *SMALL]
    words += ["--network.channels", "4", "--network.layers", "3", "--out", str(tmp_path / "run")]
    assert main(words) == 0, capsys.readouterr().err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["recipe"]["epochs"], config["recipe"]["weight_decay"], config["recipe"]["clip"]) == (2, 5e-4, 0)
    assert config["network"] == {"layout": "cifar", "channels": 4, "layers": 3}
    assert ramify.Architecture.from_json(config["architecture"]) == zoo.get("DARTS_V2").architecture
