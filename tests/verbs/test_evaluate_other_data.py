"""Measuring a network on other data: which images are measured, and which classes they are."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import ramify
from ramify.cli import main
from ramify.data import DataSpec, Scale, load, numbered, scale_of
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
    with pytest.raises(
        ramify.RamifyError, match="is for 3 channels and 3 classes, but tensordataset has 3 channels and 2 classes"
    ):
        ramify.evaluate(result, made([5, 6] * 2), threads=1)


def photographs(path, widths, seed=0):
    """Write images of these widths for each of two classes."""
    for label in ("cat", "dog"):
        (path / label).mkdir(parents=True)
        for number, width in enumerate(widths):
            seed += 1
            pixels = np.random.default_rng(seed).integers(0, 256, (12, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / label / f"{number}.png")
    return path


def test_other_images_get_the_size_of_those_that_were_trained_on(home, tmp_path, capsys):
    photos = photographs(tmp_path / "photos", range(9, 17))
    trained(DataSpec(source=str(photos), image_size=6), tmp_path / "run")
    other = photographs(tmp_path / "other", range(8, 12), seed=100)
    square = photographs(tmp_path / "square", [12] * 3, seed=200)
    for place in (other, square):
        found = ramify.evaluate(tmp_path / "run", str(place), threads=1)
        same = ramify.evaluate(tmp_path / "run", DataSpec(source=str(place), image_size=6), threads=1)
        assert (found.images, found.macs, found.loss) == (same.images, same.macs, same.loss)
        assert ramify.evaluate(tmp_path / "run", place, split="train", threads=1).macs == same.macs
    larger = ramify.evaluate(tmp_path / "run", DataSpec(source=str(square), image_size=12), threads=1)
    assert larger.macs > same.macs
    assert ramify.evaluate(tmp_path / "run", str(photos), threads=1).images == 3  # what was held out
    # A network of images that had one size by themselves:
    capsys.readouterr()
    assert ramify.evaluate(home / "run", str(other), threads=1).images == 8
    assert "the images are brought to 8x8 pixels, as those the network was trained on" in capsys.readouterr().err


def test_images_of_another_shape_get_the_size_of_those_that_were_trained_on(home, tmp_path, capsys):
    def measured(path, size=None):
        macs = ramify.evaluate(home / path, DataSpec(source=str(tmp_path / "wide"), image_size=size), threads=1).macs
        return macs, capsys.readouterr().err

    photographs(tmp_path / "wide", [18] * 4)  # 12 high
    macs, said = measured(home / "run")
    assert "the images are brought to 8x8 pixels, as those the network was trained on" in said
    assert (macs, "") == measured(home / "run", 8)
    trained(str(photographs(tmp_path / "train", [9] * 8, seed=100)), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "network.json").read_text())["input_size"] == [3, 12, 9]
    macs, said = measured(tmp_path / "run")
    assert "the images are brought to 12x9 pixels, as those the network was trained on" in said
    assert (macs, "") == measured(tmp_path / "run", (12, 9))
    for path in (tmp_path / "wide").rglob("*.png"):
        Image.open(path).resize((18, 24)).save(path)
    macs, said = measured(tmp_path / "run")  # of one shape, and larger, as squares may be
    assert macs > measured(tmp_path / "run", (12, 9))[0] and not said


def table(path, labels, image="image", **columns):
    cells = []
    for seed in range(len(labels)):
        file = io.BytesIO()
        pixels = np.random.default_rng(1000 + seed + len(labels)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "png")
        cells.append(file.getvalue())
    pq.write_table(pa.table({image: cells, "fine": labels, **columns}), path)
    return str(path)


def test_other_tables_are_read_by_the_columns_of_the_training_where_they_have_them(tmp_path):
    labels = ["a", "b"] * 10
    source = table(tmp_path / "one.parquet", labels, extra=[0] * 20, second=[b""] * 20)
    trained(DataSpec(source=source, image_column="image", label_column="fine"), tmp_path / "run")
    other = table(tmp_path / "two.parquet", labels[:6], extra=[0, 1] * 3, second=[b""] * 6)
    assert ramify.evaluate(tmp_path / "run", other, threads=1).images == 6
    renamed = table(tmp_path / "three.parquet", labels[:8], image="picture", extra=[0, 1] * 4)
    assert ramify.evaluate(tmp_path / "run", renamed, threads=1).images == 8
    with pytest.raises(DataError, match="no column 'fein'; did you mean 'fine'"):
        ramify.evaluate(tmp_path / "run", DataSpec(source=other, label_column="fein"), threads=1)


def scans(path, greatest, count=20, seed=0):
    """Write 16-bit images whose values reach to `greatest`."""
    for number in range(count):
        values = np.random.default_rng(seed + number).integers(0, greatest + 1, (8, 8), dtype=np.uint16)
        values[0, 0] = greatest
        (path / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path / "ab"[number % 2] / f"{number}.png")
    return path


def test_deep_images_are_scaled_as_those_that_were_trained_on(tmp_path):
    result = trained(str(scans(tmp_path / "train", 4000)), tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "network.json").read_text())["scale"]
    assert kept == {"bits": 12, "white": None} and scale_of(result.data) == Scale(bits=12)
    dark = scans(tmp_path / "dark", 900, seed=50)
    found = ramify.evaluate(tmp_path / "run", str(dark), threads=1)
    data = load(dark, measured=True, scale=Scale(bits=12))
    assert ramify.evaluate(result, data, threads=1).loss == found.loss
    pixels = next(data.split("test").batches(20, seed=0))[0] * data.std[0] + data.mean[0]
    assert pixels.max() == pytest.approx((900 >> 4) / 255)
    own = load(dark, measured=True)
    assert scale_of(own) == Scale(bits=10)
    with pytest.raises(DataError, match=r"dark was loaded as integers in 0\.\.1023, and .* on integers in 0\.\.4095; "):
        ramify.evaluate(tmp_path / "run", own, threads=1)
    bright = scans(tmp_path / "bright", 60000, seed=90)
    with pytest.raises(DataError, match=r"reach from \d+ to 60000, and those .* trained on were taken for 0\.\.4095; "):
        ramify.evaluate(tmp_path / "run", str(bright), threads=1)
    assert ramify.evaluate(tmp_path / "run", None, threads=1).images == 4

    written = json.loads((tmp_path / "run" / "network.json").read_text())
    for scale, message in (({"bits": 99}, "8..64, got 99"), ({"deep": 1}, "deep"), ({"white": -1}, "white")):
        (tmp_path / "run" / "network.json").write_text(json.dumps({**written, "scale": scale}))
        with pytest.raises(ramify.RamifyError, match=rf"network.json is damaged \(scale: .*{message}"):
            ramify.evaluate(tmp_path / "run", str(dark), threads=1)
    del written["scale"]  # as runs had none before
    (tmp_path / "run" / "network.json").write_text(json.dumps(written))
    assert ramify.evaluate(tmp_path / "run", str(bright), threads=1).images == 20


def test_floats_of_other_data_may_overshoot_but_not_exceed(tmp_path):
    def made(greatest, seed=0):
        pixels = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * greatest
        pixels[:, 0, 0, 0] = greatest
        return TensorDataset(pixels, torch.arange(20) % 2)

    result = trained(made(250.0))
    assert scale_of(result.data) == Scale(white=255.0)
    for greatest in (30.0, 255.5):  # 30 alone could mean anything
        assert ramify.evaluate(result, made(greatest, 1), threads=1).images == 20
    with pytest.raises(DataError, match=r"to 1000, and those that the network was trained on were taken for 0\.\.255"):
        ramify.evaluate(result, made(1000.0), threads=1)


def test_a_run_is_measured_from_another_directory(tmp_path, monkeypatch):
    write(tmp_path / "pets", {"cat": 10, "dog": 10})
    write(tmp_path / "held", {"cat": 3, "dog": 3}, seed=100)
    monkeypatch.chdir(tmp_path)
    trained(DataSpec(source="pets", test="held"), "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ramify.evaluate("../run", "../pets", threads=1).images == 6
    assert ramify.evaluate("../run", threads=1).images == 6


def test_grey_images_for_a_network_of_colors(home, tmp_path, capsys):
    grey, same = tmp_path / "grey", tmp_path / "same"
    write(grey, {"cat": 4, "dog": 4}, seed=500)
    for file in sorted(grey.rglob("*.png")):
        image = Image.open(file).convert("L")
        image.save(file)
        place = same / file.relative_to(grey)
        place.parent.mkdir(parents=True, exist_ok=True)
        image.convert("RGB").save(place)
    capsys.readouterr()
    found = ramify.evaluate(home / "run", str(grey), threads=1)
    assert "grey is grey: its images get three equal channels" in capsys.readouterr().err
    expected = ramify.evaluate(home / "run", str(same), threads=1)
    assert (found.images, found.loss, found.top1, found.macs) == (8, expected.loss, expected.top1, expected.macs)


def test_images_that_may_have_been_trained_on_are_named(tmp_path, capsys):
    for part, seed in (("train", 0), ("val", 50), ("test", 90)):
        write(tmp_path / "pets" / part, {"cat": 5, "dog": 5}, seed=seed)
    trained(str(tmp_path / "pets"), tmp_path / "run")
    capsys.readouterr()
    for part in ("train", "val"):
        assert ramify.evaluate(tmp_path / "run", str(tmp_path / "pets" / part), threads=1).images == 10
        assert f"pets/{part} lies in {tmp_path}/pets: the network may have been trained on" in capsys.readouterr().err
    assert ramify.evaluate(tmp_path / "run", str(tmp_path / "pets" / "test"), threads=1).images == 10
    assert "lies in" not in capsys.readouterr().err


def test_a_test_part_with_one_class_is_measured(home, tmp_path):
    write(tmp_path / "dogs" / "train", {"dog": 3}, seed=600)
    write(tmp_path / "dogs" / "test", {"dog": 4}, seed=700)
    assert images(home, str(tmp_path / "dogs")) == 4


def test_a_network_whose_run_folder_is_gone_is_measured_all_the_same(home, tmp_path, capsys):
    result = trained(str(home / "pets"), tmp_path / "run")
    before = ramify.evaluate(result, threads=1)
    shutil.rmtree(tmp_path / "run")
    again = ramify.evaluate(result, threads=1)
    assert (again.top1, again.loss, again.images) == (before.top1, before.loss, before.images)
    assert capsys.readouterr().err == f"the run folder {tmp_path / 'run'} is gone, so nothing is recorded in it\n"
    assert not (tmp_path / "run").exists()
    assert ramify.evaluate(result, str(home / "pets"), threads=1).images == before.images
    with pytest.raises(ramify.RamifyError, match="export needs `out`, because the network has no run folder"):
        ramify.export(result)
