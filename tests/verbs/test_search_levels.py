"""Several levels of search and a training: one folder, continued anywhere, one report."""

import json
import signal
import time

import pytest
import yaml
from safetensors.torch import load_file

import ramify
from networks_without_points import Residual
from ramify.architecture import Architecture
from ramify.cli import main
from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.spaces import AnyNetwork, CellDistribution, DARTSCells, StageCells, StageGraph, space_of
from ramify.strategies import DARTS, SPOS
from ramify.training import Recipe
from ramify.verbs.search.levels import Level, search_levels, with_cell
from small_runs import differences, outcome, process

SMALL = {"channels": 4}
RECIPE = Recipe(epochs=1, batch_size=16, auxiliary=False)


def levels(epochs=1):
    strategy = DARTS(epochs=epochs, batch_size=16)
    return {
        "cells": Level(StageCells(), strategy, {**SMALL, "layers": 3}),
        "stages": Level(StageGraph(cells=2), strategy, SMALL, around="cells"),
        "distribution": Level(CellDistribution(cells=3), strategy, SMALL, around="cells"),
    }


def run(out, **options):
    settings = {"recipe": RECIPE, "network": SMALL, "threads": 1, "progress": False} | options
    return search_levels(levels(), DataSpec(subset=64), out=out, **settings)


def outcomes(folder):
    return {name: outcome(folder / name) for name in ("cells", "stages", "distribution", "retrain")}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder with every level, and what that search returned."""
    folder = tmp_path_factory.mktemp("levels")
    return folder, run(folder)


def test_every_level_searches_around_what_the_first_found(searched):
    folder, result = searched
    cells = result.levels["cells"]
    for name in ("stages", "distribution"):
        assert result.levels[name].space.cell == cells.notation
    assert result.architecture == result.levels["distribution"].architecture
    assert result.trained.architecture == result.architecture
    assert Architecture.from_json(json.loads((folder / "architecture.json").read_text())) == result.architecture


def test_levels_begin_with_the_weights_of_others_and_grow(tmp_path):
    space = AnyNetwork(Residual, input_size=(1, 8, 8), widths=(0.5, 1.0), kernels=(3,))
    settings = {"epochs": 1, "batch_size": 32, "lr": 0.0, "weight_decay": 0.0, "recalibrate": 32, "evaluations": 1}
    strategy = SPOS(paths="sandwich", **settings)
    levels = {
        "kernels": Level(space, strategy, largest={"depth": 1, "width": 1}),
        "narrow": Level(space, strategy, after="kernels", largest={"depth": 2}),
    }
    result = search_levels(levels, DataSpec(source="digits", subset=64), out=tmp_path, threads=1, progress=False)
    full = {name: decision[-1] for name, decision in ((d.name, d.choices) for d in space.decisions)}
    first, last = (result.levels[name] for name in levels)
    differing = {name for name, value in first.architecture.choices.items() if value != full[name]}
    assert differing <= {"stem.kernel_size"}
    assert {d.name: d.choices for d in last.space.decisions}["layers"] == (2, 3)
    weights = [load_file(tmp_path / name / "supernet.safetensors") for name in levels]
    assert all(
        weights[0][name].equal(weights[1][name]) for name in weights[0] if "running" not in name and "num" not in name
    )
    assert weights[0]["network.network.stem.weight"].abs().max() > 0


def test_a_level_without_a_space_or_after_a_later_one_is_refused(tmp_path):
    strategy = SPOS(epochs=1)
    with pytest.raises(ConfigurationError, match="no space is named; name one for each level, or --space"):
        search_levels({"a": Level(None, strategy)}, out=tmp_path / "a")
    later = {"a": Level(StageCells(), strategy, after="b"), "b": Level(StageCells(), strategy)}
    with pytest.raises(ConfigurationError, match="begins after 'b', which must be one of"):
        search_levels(later, out=tmp_path / "b")
    with pytest.raises(ConfigurationError, match="has no choice 'width'"):
        search_levels({"a": Level(StageCells(), strategy, largest={"width": 1})}, out=tmp_path / "c")


def test_the_folder_serves_the_other_verbs(searched):
    folder, result = searched
    assert ramify.describe(folder).notation == space_of(result.architecture).format(result.architecture)
    assert ramify.evaluate(folder).images > 0
    page = ramify.write_report(folder).read_text()
    for name in ("cells", "stages", "distribution"):
        assert f'<section id="Level-{name}">' in page
    assert '<section id="Retraining">' in page


def test_without_a_recipe_nothing_is_trained(tmp_path):
    assert run(tmp_path, recipe=None).trained is None
    assert not (tmp_path / "retrain").exists()


def test_the_written_configuration_repeats_it(searched, tmp_path):
    folder, _ = searched
    words = ["search", "--config", str(folder / "config.yaml"), "--out", str(tmp_path / "shell")]
    assert main([*words, "--progress", "false"]) == 0
    assert not differences(outcomes(tmp_path / "shell"), outcomes(folder))
    configurations = [yaml.safe_load((place / "config.yaml").read_text()) for place in (folder, tmp_path / "shell")]
    assert configurations[0] == configurations[1]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["cells", "stages", "distribution", "retrain"])
def test_killed_in_a_level_and_continued(level, tmp_path):
    run(tmp_path / "undisturbed")
    words = ["search", "--config", tmp_path / "undisturbed" / "config.yaml", "--out", tmp_path / "killed"]
    running = process(*words, "--progress", "false", RAMIFY_SAVE_EVERY_S="0")
    while running.poll() is None and not (tmp_path / "killed" / level / "checkpoint.pt").exists():
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert main([*map(str, words), "--progress", "false"]) == 0
    assert not differences(outcomes(tmp_path / "killed"), outcomes(tmp_path / "undisturbed"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "a pipeline needs at least one level"),
        ({"retrain": Level(StageCells(), DARTS())}, "level 'retrain': a name is"),
        ({"../cells": Level(StageCells(), DARTS())}, "level '../cells': a name is"),
        ({"a": Level(StageGraph(), DARTS(), around="b")}, "level 'a' is around 'b', which must be one of"),
        (
            {"a": Level(StageCells(), DARTS()), "b": Level(DARTSCells(), DARTS(), around="a")},
            "level 'b': DARTSCells has no `cell`",
        ),
        (
            {"a": Level(StageCells(nodes=1, operations=["skip_connect"]), DARTS())},
            "level 'a': DARTS cannot search StageCells: StageCells has a single member here",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(changed, message, tmp_path):
    with pytest.raises(ConfigurationError, match=message.replace("..", r"\.\.")):
        search_levels(changed, DataSpec(subset=64), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_that_cannot_work_is_refused_before_the_first_level(tmp_path):
    with pytest.raises(ConfigurationError, match="`cutout` must be below the side of the images, 8, got 16"):
        run(tmp_path / "run", recipe=Recipe(cutout=16))
    with pytest.raises(ConfigurationError, match="unknown layout keyword 'chanels'"):
        run(tmp_path / "run", network={"chanels": 4})
    assert not (tmp_path / "run").exists()


def test_other_cells_keep_the_rest_of_a_space():
    mask = [[True, False, True, True]] * 5
    space = StageGraph(cells=2, window=4).restrict({"stage1": mask})
    cells = StageCells()
    arch = cells.parse(cells.format(cells.discretize({name: c.mask.float() for name, c in cells.choices.items()})))
    made = with_cell(space, arch)
    assert made.cell == cells.format(arch)
    assert (made.cells, made.window, made.restriction) == (space.cells, space.window, space.restriction)
