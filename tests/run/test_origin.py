"""What a run folder says of its network: `describe` shows the run's own, not that of the defaults."""

import json

import pytest
import yaml
from safetensors.torch import load_file

import ramify
from ramify.cli import main
from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.evaluators import InheritedWeights, TrainFromScratch
from ramify.run.origin import located, network_of
from ramify.strategies import RandomSearch
from ramify.training import Recipe
from small_runs import DATA, SPACES, loaded

MACHINE = {"threads": 1, "progress": False}
RECIPE = Recipe(epochs=1, batch_size=16, auxiliary=False)
STRATEGY = RandomSearch(evaluations=1, evaluator=InheritedWeights(epochs=1, batch_size=16))


@pytest.mark.parametrize("name", ["nasbench201", "darts", "stage-graph"])
def test_the_network_is_that_of_the_search_and_then_of_its_retraining(name, tmp_path):
    space, layout = SPACES[name]
    found = ramify.search(space, STRATEGY, DATA, network=layout, out=tmp_path, **MACHINE)
    built = space.build(found.architecture, num_classes=10, in_channels=1, **found.shape["layout"])
    params = ramify.profile(built, (1, 8, 8)).params
    about = ramify.describe(tmp_path)
    assert (about.params, about.input_size, about.num_classes) == (params, (1, 8, 8), 10)
    assert ramify.describe(found).params == params
    kept = ramify.search(space, STRATEGY, DATA, network=layout, **MACHINE)
    assert ramify.describe(kept).params == params
    assert ramify.describe(tmp_path, num_classes=11).params > params

    data = DataSpec(subset=64, image_size=16)
    trained = ramify.retrain(tmp_path, data, recipe=RECIPE, network=layout, **MACHINE)
    result = json.loads((tmp_path / "retrain" / "result.json").read_text())
    for source in (tmp_path, tmp_path / "retrain", trained):
        about = ramify.describe(source)
        assert (about.params, about.macs, about.input_size) == (result["params"], result["macs"], (1, 16, 16))
    assert ramify.evaluate(found).macs == result["macs"]  # on what it was trained on, not what was searched on


def test_keywords_override_those_of_the_run(tmp_path, capsys):
    space, layout = SPACES["nasbench201"]
    found = ramify.search(space, STRATEGY, DATA, network=layout, out=tmp_path / "run", **MACHINE)
    words = ["describe", str(tmp_path / "run"), "--pictures", str(tmp_path / "pictures")]
    assert main(words) == 0
    assert "layout channels 4, cells 1; images 1 × 8 × 8, 10 classes" in capsys.readouterr().out
    words += ["--network.cells", "2", "--input_size", "3,32,32", "--num_classes", "7", "--json"]
    assert main(words) == 0
    about = json.loads(capsys.readouterr().out)
    built = space.build(found.architecture, num_classes=7, in_channels=3, channels=4, cells=2)
    assert about["params"] == ramify.profile(built, (3, 32, 32)).params
    assert (about["network"], about["input_size"], about["num_classes"]) == (
        {"channels": 4, "cells": 2},
        [3, 32, 32],
        7,
    )


def test_every_later_verb_lays_the_network_out_as_the_search_was(tmp_path):
    space, layout = SPACES["darts"]
    own = {"affine": False, "pool_norm": True, "partial_channels": 1}  # what the supernet has for itself
    found = ramify.search(space, STRATEGY, DATA, network=layout | own, out=tmp_path, **MACHINE)
    kept = ramify.search(space, STRATEGY, DATA, network=layout | own, **MACHINE)
    wanted = {**layout, "auxiliary": False, "drop_path": RECIPE.drop_path}
    params = ramify.profile(space.build(found.architecture, num_classes=10, in_channels=1, **layout), (1, 8, 8)).params
    assert ramify.describe(tmp_path).params == ramify.describe(kept).params == params

    trained = ramify.retrain(tmp_path, recipe=RECIPE, **MACHINE)
    assert trained.shape["layout"] == wanted
    assert ramify.retrain(kept, recipe=RECIPE, **MACHINE).shape["layout"] == wanted
    assert yaml.safe_load((tmp_path / "retrain" / "config.yaml").read_text())["network"] == layout
    ramify.retrain(tmp_path, recipe=RECIPE, network=layout, **MACHINE)  # said or not, it is the same training
    assert ramify.evaluate(tmp_path).params == ramify.describe(tmp_path).params == params
    exported = ramify.export(tmp_path, formats=("safetensors",))
    weights = load_file(exported.folder / "model.safetensors")
    assert {name: tuple(w.shape) for name, w in weights.items()} == {
        name: tuple(w.shape) for name, w in trained.network.state_dict().items()
    }
    assert f"{params:,}" in ramify.write_report(tmp_path).read_text()

    wider = ramify.retrain(tmp_path, recipe=RECIPE, network={"channels": 8}, out=tmp_path / "wider", **MACHINE)
    assert wider.shape["layout"] == wanted | {"channels": 8}
    again = ramify.retrain(tmp_path / "wider", recipe=RECIPE, out=tmp_path / "again", **MACHINE)
    assert again.shape["layout"] == wider.shape["layout"]


def test_what_members_were_trained_with_is_handed_on_whole(tmp_path):
    space, layout = SPACES["nasbench201"]
    strategy = RandomSearch(evaluations=1, evaluator=TrainFromScratch(epochs=1, batch_size=16))
    ramify.search(space, strategy, DATA, network=layout | {"affine": False}, out=tmp_path, **MACHINE)
    trained = ramify.retrain(tmp_path, recipe=RECIPE, **MACHINE)
    assert trained.shape["layout"].items() >= (layout | {"affine": False}).items()


def test_an_older_run_is_asked_for_its_images(tmp_path):
    space, layout = SPACES["nasbench201"]
    found = ramify.search(space, STRATEGY, DATA, network=layout, out=tmp_path / "named", **MACHINE)
    ramify.search(space, STRATEGY, loaded(), network=layout, out=tmp_path / "python", **MACHINE)
    for name in ("named", "python"):
        provenance = json.loads((tmp_path / name / "provenance.json").read_text())
        del provenance["data"]["input_size"]
        (tmp_path / name / "provenance.json").write_text(json.dumps(provenance))
    assert network_of(tmp_path / "named", found.architecture)["input_size"] == (1, 8, 8)
    with pytest.raises(ConfigurationError, match=r"data set from Python; .*--input_size C,H,W and --num_classes say"):
        ramify.describe(tmp_path / "python")
    assert ramify.describe(tmp_path / "python", input_size=(1, 8, 8), num_classes=10).num_classes == 10


def test_without_a_run_the_defaults_are_those_of_cifar10():
    space, _ = SPACES["nasbench201"]
    about = ramify.describe("|none~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|", space)
    assert (about.network, about.input_size, about.num_classes) == ({}, (3, 32, 32), 10)


def test_a_relative_folder_of_downloads_is_that_of_the_run(tmp_path, monkeypatch):
    run = tmp_path / "run"
    (tmp_path / "there" / "sets").mkdir(parents=True)
    run.mkdir()
    (run / "config.yaml").write_text("{}\n")
    (run / "provenance.json").write_text(json.dumps({"sessions": [], "directory": str(tmp_path / "there")}))
    monkeypatch.chdir(tmp_path)
    for root in ("sets", "cifar10"):  # of which one has the name of a data set, and is not there yet
        assert located(DataSpec(source="cifar10", root=root), run).root == str(tmp_path / "there" / root)
    assert located(DataSpec(source="cifar10"), run).root is None
