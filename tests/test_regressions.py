"""What a stranger tripped over, and must not again."""

from random import Random

import pytest
import torch
from torch.utils.data import TensorDataset

import ramify
from ramify import spaces, strategies
from ramify.data import DataSpec
from ramify.errors import RamifyError
from ramify.training import Recipe

ARCH = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"
SMALL = {"network": {"channels": 4, "cells": 1}, "progress": False, "threads": 1}


def test_other_data_are_normalized_as_the_training_data_were():
    images, labels = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    images = images * 0.2 + labels.view(-1, 1, 1, 1) * 0.3
    data = (TensorDataset(images, labels), TensorDataset(images, labels))
    recipe = Recipe(epochs=1, batch_size=20, cutout=0)
    trained = ramify.retrain(ARCH, data, recipe=recipe, **SMALL)
    brighter = (TensorDataset(images * 0.1, labels), TensorDataset(images, labels))
    own, other = (ramify.evaluate(trained, which, threads=1) for which in (data, brighter))
    assert own.loss == pytest.approx(other.loss, abs=1e-9)


@pytest.mark.parametrize("work", ["search", "retrain"])
def test_divergence_is_an_error(work, tmp_path):
    data = DataSpec(subset=64)
    with pytest.raises(RamifyError, match="diverged"):
        if work == "search":
            strategy = strategies.DARTS(epochs=2, batch_size=16, lr=1e30, clip=0.0)
            ramify.search(spaces.NASBench201(), strategy, data, out=tmp_path / "a", **SMALL)
        else:
            recipe = Recipe(epochs=2, batch_size=16, lr=1e30, clip=0.0)
            ramify.retrain(ARCH, data, recipe=recipe, out=tmp_path / "a", **SMALL)
    assert not (tmp_path / "a" / "result.json").exists()
    assert "NaN" not in (tmp_path / "a" / "history.jsonl").read_text()


def test_scores_that_are_nan_are_found():
    space = spaces.NASBench201()
    choice = space.choices["cell"]
    with pytest.raises(RamifyError, match="NaN"):
        space.discretize({"cell": choice.softmax(torch.full(choice.shape, float("nan")))})


@pytest.mark.parametrize("cut", [1, 3])
def test_a_truncated_notation_is_refused(cut):
    with pytest.raises(RamifyError):
        spaces.NASBench201().parse(ARCH[:-cut])


@pytest.mark.parametrize("space", [spaces.NASBench201(), spaces.DARTSCells()], ids=lambda s: s.name)
def test_built_networks_are_traceable_as_they_are(space):
    size = {"cells": 1} if space.name == "NASBench201" else {"layers": 3}
    network = space.build(space.sample(Random(0)), channels=4, **size).eval()
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(torch.fx.symbolic_trace(network)(x), network(x))


def test_no_width_is_not_the_default_width():
    space = spaces.DARTSCells()
    with pytest.raises(RamifyError, match="`channels` must be a whole number, 1 or more"):
        space.build(space.sample(Random(0)), channels=0)


def test_things_in_the_wrong_place_are_named():
    with pytest.raises(RamifyError, match="search takes a space and a strategy"):
        ramify.search("NASBench201", strategies.GDAS())  # type: ignore[arg-type]


def test_the_number_of_threads_is_part_of_a_run(tmp_path):
    strategy = strategies.GDAS(epochs=1)
    keywords = {name: value for name, value in SMALL.items() if name != "threads"}
    torch.set_num_threads(1)
    ramify.search(spaces.NASBench201(), strategy, DataSpec(subset=64), out=tmp_path / "a", **keywords)
    assert "threads: 1" in (tmp_path / "a" / "config.yaml").read_text()


def test_data_can_be_named_by_a_path(tmp_path):
    from PIL import Image

    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for number in range(8):
                color = (number * 9, 30 * (name == "b"), 60)
                image = Image.new("RGB", (8, 8), color)
                image.putpixel((0, 0), (255, 255, 255))  # a picture of one color throughout shows nothing
                image.save(tmp_path / "images" / part / name / f"{number}.png")
    strategy = strategies.GDAS(epochs=1, batch_size=4)
    found = ramify.search(spaces.NASBench201(), strategy, tmp_path / "images", out=tmp_path / "run", **SMALL)
    assert found.data.classes == ("a", "b")
    assert str(tmp_path / "images") in (tmp_path / "run" / "config.yaml").read_text()
