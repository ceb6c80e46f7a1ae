"""CIFAR and ImageNet16 as their pickled batches, in stand-ins of a few images."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from ramify.cli import main
from ramify.data import batches, load
from ramify.data.splits import nasbench201_test
from ramify.errors import DataError

MEAN = tuple(value / 255 for value in (122.68, 116.66, 104.01))


def refused(source: str, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(source, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    return str(caught.value)


def batch(labels: list[int], seed: int = 0, side: int = 16, key: str = "labels") -> dict:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3 * side * side), dtype=np.uint8)
    return {"data": pixels, key: labels}


def write(path: Path, content, protocol: int = 2) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def imagenet16(tmp_path):
    """Write batches whose images are of the classes 1, 120, 121 and 1000 in turn."""
    for seed, name in enumerate(batches.IMAGENET16):
        write(tmp_path / name, batch([1, 120, 121, 1000] * 2, seed), protocol=2 + seed % 4)
    return tmp_path


def test_imagenet16(imagenet16, monkeypatch, capsys):
    data = load("imagenet16-120", root=str(imagenet16))
    assert data.input_size == (3, 16, 16) and data.num_classes == 120 and data.classes[::119] == ("1", "120")
    assert data.mean == pytest.approx(MEAN) and data.std[0] == pytest.approx(63.22 / 255)
    assert len(data.split("train")) == 40 and len(data.split("test")) == 4
    assert data.split("test").labels.tolist() == [0, 119, 0, 119]
    assert data.augmentation.crop == 2 and data.augmentation.flip
    x, _ = next(data.split("test").batches(2, seed=0))
    first = batch([1], len(batches.IMAGENET16) - 1)["data"].reshape(3, 16, 16)  # color by color
    assert np.rint((x[0].numpy() * np.array(data.std)[:, None, None] + np.array(MEAN)[:, None, None]) * 255) == (
        pytest.approx(first)
    )
    said = capsys.readouterr().err
    assert f"{imagenet16}: train_data_batch_1, train_data_batch_2, train_data_batch_3, train_data_batch_4 and 7" in said
    assert "not the published files by their MD5; lists of NAS-Bench-201 count the images of those" in said

    sums = {name: hashlib.md5((imagenet16 / name).read_bytes()).hexdigest() for name in batches.IMAGENET16}
    monkeypatch.setattr(batches, "IMAGENET16", sums)
    whole = load("imagenet16", root=str(imagenet16))
    assert whole.num_classes == 1000 and len(whole.split("test")) == 8 and "MD5" not in capsys.readouterr().err
    assert whole.split("test").labels.tolist() == [0, 119, 120, 999] * 2
    assert whole.mean != pytest.approx(MEAN)  # published is that of 120 classes


def test_the_command_line_takes_them(imagenet16, tmp_path, capsys):
    words = "search --space NASBench201 --strategy GDAS --strategy.epochs 1 --network.channels 4 --network.cells 1"
    words += f" --data imagenet16-120 --data.root {imagenet16} --out {tmp_path}/run --progress false"
    assert main(words.split()) == 0, capsys.readouterr().err
    assert main(f"retrain {tmp_path}/run --recipe.epochs 1 --out {tmp_path}/trained --progress false".split()) == 0
    assert main(f"evaluate {tmp_path}/trained".split()) == 0, capsys.readouterr().err


def test_where_the_batches_lie(imagenet16, monkeypatch):
    inner = imagenet16 / "ImageNet16"
    inner.mkdir()
    for name in batches.IMAGENET16:
        (imagenet16 / name).rename(inner / name)
    fingerprint = load("imagenet16-120", root=str(imagenet16)).fingerprint
    monkeypatch.setenv("RAMIFY_DATA", str(imagenet16))
    assert load("imagenet16-120").fingerprint == fingerprint == load("imagenet16-120", root=str(inner)).fingerprint
    assert refused(str(inner)) == (
        f"{inner}: holds the batches of downsampled ImageNet; as --data.root, beside --data imagenet16-120, it is "
        "read: the first 120 classes of those of 16x16 pixels, or with imagenet16 all"
    )
    (inner / "train_data_batch_7").unlink()
    assert refused("imagenet16-120") == f"{inner}: train_data_batch_7 of the 11 batches of ImageNet16 missing"
    (inner / "val_data").unlink()
    assert f"imagenet16-120: no val_data in {imagenet16}; " in refused("imagenet16-120")


class Dangerous:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "content, message",
    [
        (batch([1, 2], side=32), "'data' must be bytes of shape (N, 768), got (2, 3072) of uint8; it is of 32x32"),
        ({"labels": [1]}, "'data' must be bytes of shape (N, 768), got no array"),
        ({"data": np.zeros((1, 768)), "labels": [1]}, "got (1, 768) of float64"),
        (batch([1, 2]) | {"labels": [1]}, "'labels' must be a list of 2 class numbers, one an image, got 1"),
        (batch([1, 2]) | {"labels": None}, "one an image, got none"),
        (batch([0, 1]), "'labels' has 0, and classes are 1 to 1000"),
        (batch([1, 1001]), "'labels' has 1001, and classes are 1 to 1000"),
        (batch([1]) | {"labels": ["x"]}, "'labels' has 'x', and"),
        ([1, 2], "not a pickled batch of images (it holds list, and wanted is a dictionary with the key data)"),
        (batch([1]) | {"x": Dangerous()}, "it calls posix.system, which batches of images do not need; nothing was"),
    ],
)
def test_other_files_are_refused(imagenet16, monkeypatch, content, message):
    monkeypatch.chdir(imagenet16)
    write(imagenet16 / "train_data_batch_3", content)
    assert f"{imagenet16}/train_data_batch_3: " in (said := refused("imagenet16-120", root=str(imagenet16)))
    assert message in said and not (imagenet16 / "executed").exists()


def test_files_are_bounded_before_they_are_read(imagenet16, monkeypatch):
    monkeypatch.setattr(batches, "_LARGEST", 100)
    assert "and no batch of images does" in refused("imagenet16-120", root=str(imagenet16))
    monkeypatch.undo()
    (imagenet16 / "val_data").write_bytes(b"\x80\x02}")
    assert "val_data: not a pickled batch of images (pickle exhausted" in refused(
        "imagenet16-120", root=str(imagenet16)
    )


@pytest.mark.parametrize(
    "name, labels, names", [("CIFAR10", "labels", "label_names"), ("CIFAR100", "fine_labels", "fine_label_names")]
)
def test_cifar(name, labels, names, tmp_path, monkeypatch):
    classes = 10 if name == "CIFAR10" else 100
    folder = tmp_path / "batches"
    sums = {
        file: write(folder / file, batch([seed, 1, classes - 1], seed, 32, labels) | {"filenames": ["a.png"] * 3})
        for seed, file in enumerate(("one", "two", "test"))
    }
    sums["meta"] = write(folder / "meta", {names: [f"c{number}" for number in range(classes)]})
    kind = f"torchvision.datasets.{name}"
    monkeypatch.setattr(f"{kind}.base_folder", "batches")
    monkeypatch.setattr(f"{kind}.train_list", [["one", sums["one"]], ["two", sums["two"]]])
    monkeypatch.setattr(f"{kind}.test_list", [["test", sums["test"]]])
    monkeypatch.setattr(f"{kind}.meta", {"filename": "meta", "key": names, "md5": sums["meta"]})
    data = load(name.lower(), root=str(tmp_path), download=False, split="ordered", validation_fraction=0)
    assert data.classes[:2] == ("c0", "c1") and data.num_classes == classes and data.input_size == (3, 32, 32)
    assert data.split("train").labels.tolist() == [0, 1, classes - 1, 1, 1, classes - 1]
    assert data.split("test").labels.tolist() == [2, 1, classes - 1]
    (folder / "two").write_bytes(b"damaged")
    assert f"{name.lower()}: not found in {tmp_path}; allow" in refused(
        name.lower(), root=str(tmp_path), download=False
    )


def test_the_published_halves():
    for name, count, valid, test in (
        ("cifar100", 10_000, [1, 3, 4, 5, 8, 10, 13, 14, 15, 16], [0, 2, 6, 7, 9, 11, 12, 17, 20, 24]),
        ("imagenet16-120", 6_000, [1, 2, 3, 6, 7, 8, 9, 12], [0, 4, 5, 10, 11, 13, 14, 15]),
    ):
        halves = nasbench201_test(name)
        assert [len(half) for half in halves] == [count // 2] * 2
        first, second = (half.tolist() for half in halves)
        assert sorted(first + second) == list(range(count))
        assert first[: len(valid)] == valid and second[: len(test)] == test
