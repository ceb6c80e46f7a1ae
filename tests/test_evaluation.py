"""Measuring a network on other data: which images are measured, and which classes they are."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import ramify
from ramify.cli import main
from ramify.data import DataSpec, load, numbered
from ramify.errors import DataError
from ramify.spaces import NASBench201

NETWORK = {"channels": 4, "cells": 1}


def write(path, counts, seed=0):
    """Write one folder for each class; the images differ."""
    for label, count in counts.items():
        (path / label).mkdir(parents=True)
        for number in range(count):
            seed += 1
            pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / label / f"{number}.png")
    return path


def trained(data, out=None):
    arch = NASBench201().parse("|nor_conv_3x3~0|+|skip_connect~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|")
    return ramify.retrain(
        arch, data, out=out, recipe=ramify.Recipe(epochs=1, batch_size=8), network=NETWORK, threads=1, progress=False
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with images of cats and dogs, and the run that was trained on them."""
    path = tmp_path_factory.mktemp("home")
    trained(str(write(path / "pets", {"cat": 10, "dog": 10})), path / "run")
    return path


def images(home, data, **options):
    return ramify.evaluate(home / "run", data, threads=1, **options).images


def test_other_images_are_measured_whole(home, tmp_path, capsys):
    later = write(tmp_path / "later", {"cat": 6, "dog": 6}, seed=100)
    assert images(home, str(later)) == 12
    assert images(home, DataSpec(source=str(later), subset=4)) == 4
    assert images(home, str(later), split="search_train") == 5
    write(tmp_path / "parts" / "train", {"cat": 2, "dog": 2}, seed=200)
    write(tmp_path / "parts" / "test", {"cat": 3, "dog": 2}, seed=300)
    assert images(home, str(tmp_path / "parts")) == 5
    assert images(home, str(tmp_path / "parts" / "test")) == 5
    capsys.readouterr()
    assert main(["evaluate", str(home / "run"), "--data", str(later), "--threads", "1"]) == 0
    assert '"images": 12' in capsys.readouterr().out


def test_what_was_trained_on_keeps_its_test_part(home, tmp_path):
    assert images(home, str(home / "pets")) == images(home, None) == 4
    assert images(home, f"{home}/./pets") == 4
    shutil.copytree(home / "pets", tmp_path / "moved")
    assert images(home, str(tmp_path / "moved")) == 4
    result = trained(DataSpec(source=str(home / "pets"), subset=12))
    assert ramify.evaluate(result, str(home / "pets"), threads=1).images == 4
    assert ramify.evaluate(result, str(tmp_path / "moved"), threads=1).images == 4
    few = trained(DataSpec(source=str(home / "pets"), test_fraction=0.1))
    for place in (home / "pets", tmp_path / "moved"):
        assert ramify.evaluate(few, str(place), threads=1).images == 2
    shutil.copytree(home / "pets", tmp_path / "held")
    for number, file in enumerate(sorted((tmp_path / "held").rglob("*.png"))):
        Image.effect_noise((8, 8), number + 1).convert("RGB").save(file)
    tested = trained(DataSpec(source=str(home / "pets"), test=str(tmp_path / "held")))
    assert ramify.evaluate(tested, str(home / "pets"), threads=1).images == 20


def test_data_sets_of_pytorch(tmp_path):
    def made(seed, count):
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return TensorDataset(pixels, torch.arange(count) % 2)

    result = trained(made(0, 20), tmp_path / "run")
    for source in (result, tmp_path / "run"):
        assert ramify.evaluate(source, made(0, 20), threads=1).images == 4
        assert ramify.evaluate(source, made(1, 10), threads=1).images == 10
        assert ramify.evaluate(source, (made(1, 10), made(2, 6)), threads=1).images == 6


def test_classes_are_matched_by_their_names(home, tmp_path, capsys):
    strange = write(tmp_path / "strange", {"fox": 5, "wolf": 5})
    with pytest.raises(
        DataError, match="strange has the classes fox, wolf, but the network knows cat, dog; classes are"
    ):
        images(home, str(strange))
    more = write(tmp_path / "more", {"cat": 5, "dog": 5, "eel": 5})
    with pytest.raises(DataError, match="more has the classes eel, but the network knows cat, dog"):
        images(home, str(more))
    assert main(["evaluate", str(home / "run"), "--data", str(strange)]) == 2
    assert "the network knows cat, dog" in capsys.readouterr().err

    dogs = write(tmp_path / "dogs", {"dog": 5}, seed=400)
    found = ramify.evaluate(home / "run", str(dogs), threads=1)
    network, shape = ramify.load_network(home / "run")
    data = replace(load(str(dogs), measured=True), mean=tuple(shape["mean"]), std=tuple(shape["std"]))
    x, _ = next(data.split("test").batches(8, seed=0))
    assert found.images == 5
    assert found.top1 == (network(x).argmax(dim=1) == shape["classes"].index("dog")).float().mean()


def test_numbering_as_the_network_knows_the_classes(tmp_path):
    data = load(str(write(tmp_path / "x", {"ant": 2, "dog": 4})), measured=True)
    data = numbered(data, ("dog", "cat", "ant"))
    assert data.classes == ("dog", "cat", "ant")
    assert torch.cat([y for _, y in data.split("test").batches(8, seed=0)]).tolist() == [2, 2, 0, 0, 0, 0]


def test_numbers_are_no_names(tmp_path):
    def made(labels):
        generator = torch.Generator().manual_seed(len(labels))
        pixels = torch.randint(0, 256, (len(labels), 3, 8, 8), dtype=torch.uint8, generator=generator)
        return TensorDataset(pixels, torch.tensor(labels))

    result = trained(made([0, 1, 2] * 5))
    assert ramify.evaluate(result, str(write(tmp_path / "x", {"a": 2, "b": 2, "c": 2})), threads=1).images == 6
    assert ramify.evaluate(result, made([5, 6, 7] * 2), threads=1).images == 6
    assert ramify.evaluate(result, made([2, 1] * 2), threads=1).images == 4  # two of the three
    with pytest.raises(ramify.RamifyError, match="knows 3 classes, but tensordataset has 3 channels and 2 classes"):
        ramify.evaluate(result, made([5, 6] * 2), threads=1)
