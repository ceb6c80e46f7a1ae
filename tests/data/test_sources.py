"""What is found where, and what is said when it is not."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import numpy as np
import pytest

from pictures import picture, png
from ramify.data import DataSpec
from ramify.data.encoded import Arrays
from ramify.data.source import data_set_names
from ramify.data.sources import open_source
from ramify.errors import DataError, MissingExtraError


def opened(source, **options):
    return open_source(DataSpec(source=str(source), **options))


def sizes(parts):
    present = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    return {name: len(part.images) for name, part in present.items() if part}


def refused(source, **options) -> str:
    with pytest.raises(DataError) as caught:
        opened(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_digits():
    parts = opened("digits")
    assert isinstance(parts.train.images, Arrays) and parts.train.images.pixels.shape == (1797, 8, 8)
    assert parts.train.images.pixels.max() == 255 and parts.class_names == tuple("0123456789")
    assert parts.test is None


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion-mnist", "svhn"])
def test_missing_downloads_are_named_with_their_folder(name, tmp_path):
    assert refused(name, root=str(tmp_path), download=False) == (
        f"{name}: not found in {tmp_path}; allow `download`, or copy torchvision's files there"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_the_folder_of_downloads(tmp_path, monkeypatch):
    monkeypatch.setenv("RAMIFY_DATA", str(tmp_path / "kept"))
    assert f"not found in {tmp_path}/kept" in refused("cifar10", download=False)


def test_a_failing_download_is_one_line(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("<urlopen error\n [Errno -2] Name or service not known>")

    monkeypatch.setattr("torchvision.datasets.MNIST", offline)
    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", offline)
    for name in ("mnist", "cifar10"):
        message = refused(name, root=str(tmp_path))
        assert message.startswith(f"{name}: the download to {tmp_path} failed (<urlopen error [Errno -2]")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "svhn"])
def test_what_torchvision_gives_is_understood(name, tmp_path, monkeypatch):
    class Fake:
        def __init__(self, root, download, train=None, split=None):
            count = 5 if train or split == "train" else 3
            shape = {"mnist": (28, 28), "fashion-mnist": (28, 28), "svhn": (3, 32, 32)}.get(name, (32, 32, 3))
            self.data = np.zeros((count, *shape), np.uint8)
            self.targets = self.labels = np.arange(count)
            self.classes = [f"c{number}" for number in range(10)]

    class_name = {"svhn": "SVHN", "mnist": "MNIST"}.get(name, "FashionMNIST")
    monkeypatch.setattr(f"torchvision.datasets.{class_name}", Fake)
    parts = opened(name, root=str(tmp_path))
    assert sizes(parts) == {"train": 5, "test": 3} and parts.train.labels == [0, 1, 2, 3, 4]
    assert parts.train.images.pixels.shape[1:3] == ((28, 28) if "mnist" in name else (32, 32))
    assert len(parts.class_names) == 10
    assert (parts.class_names == tuple("0123456789")) == (name == "mnist")


def test_image_folders(folder):
    plain = opened(folder("plain", {"dog": 2, "cat": 3}))
    assert sizes(plain) == {"train": 5} and plain.train.labels == ["cat"] * 3 + ["dog"] * 2
    assert plain.name == "plain"

    root = folder("whole/train", {"cat": 4, "dog": 4}).parent
    folder("whole/val", {"cat": 2, "dog": 2})
    folder("whole/test", {"cat": 1})
    (root / "train" / ".cache").mkdir()
    (root / "train" / "cat" / "._000.png").write_bytes(b"left by another system")
    whole = opened(root)
    assert sizes(whole) == {"train": 8, "validation": 4, "test": 1} and whole.name == "whole"
    assert opened(root / "train").name == "whole"
    assert sizes(opened(root / "train", test=str(root / "val"))) == {"train": 8, "test": 4}
    assert sizes(opened(root, test=str(folder("other", {"cat": 3})))) == {"train": 8, "validation": 4, "test": 3}


def test_image_folders_that_are_none(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    assert "empty: no images; wanted is one subfolder per class" in refused(tmp_path / "empty")
    (folder("x", {"cat": 2}) / "dog").mkdir()
    assert refused(tmp_path / "x").startswith(f"{tmp_path}/x/dog: this class has no image (.bmp, ")
    folder("y/test", {"cat": 1})
    folder("y/val", {"cat": 1})
    assert "y: has test, val, but no folder train; add it" in refused(tmp_path / "y")


def test_names_and_paths_that_do_not_exist(tmp_path):
    assert "'digit' is neither a folder or file nor a data set; did you mean 'digits'?" in refused("digit")
    assert refused("imagenet").startswith(
        "ImageNet cannot be had by name; give its folder (train/ and val/) with --data"
    )
    here = f"nowhere/at.all: no such file or folder in {Path.cwd()}, where it was looked for"
    assert refused("nowhere/at.all") == here
    assert refused(tmp_path / "no" / "where") == f"{tmp_path}/no/where: no such file or folder"
    assert refused(tmp_path / "*.parquet") == f"{tmp_path}/*.parquet: no file matches"
    (tmp_path / "a.txt").write_text("")
    assert refused(tmp_path / "a.txt").endswith(
        "must be .csv or .npz or .parquet or .tsv; else give a folder of images; your own come with --import"
    )
    assert refused(tmp_path / "a*").endswith("a.txt is not a .parquet file")


def test_parquet_siblings_folders_and_globs(parquet, tmp_path):
    for seed, (name, count) in enumerate((("set-train.parquet", 4), ("set-test.parquet", 2), ("set-val.parquet", 3))):
        parquet(name, [0, 1, 0, 1][:count], seed=seed)
    everything = {"train": 4, "validation": 3, "test": 2}
    parts = opened(tmp_path / "set-train.parquet")
    assert sizes(parts) == everything and parts.name == "set"
    assert sizes(opened(tmp_path)) == sizes(opened(tmp_path / "set-*.parquet")) == everything
    assert sizes(opened(tmp_path / "set-test.parquet")) == {"train": 2}
    assert sizes(opened(tmp_path / "set-val.parquet", test=str(tmp_path / "set-t*.parquet"))) == {"train": 3, "test": 2}
    assert refused(tmp_path / "set-test.parquet", test=f"{tmp_path}/./set-test.parquet").endswith(
        "must not be trained on"
    )
    parquet("more.parquet", [0, 1])
    assert sizes(opened(tmp_path)) == everything
    assert opened(tmp_path).notes == (
        f"{tmp_path}: more.parquet not used, because the name tells none of train, validation and test",
    )
    (tmp_path / "set-train.parquet").unlink()
    assert "the name does not tell train, validation or test" in refused(tmp_path)
    (tmp_path / "more.parquet").unlink()
    assert refused(tmp_path).endswith("has files for test and validation, but none for train")


def test_shards_are_joined(parquet, tmp_path):
    for shard in range(3):
        parquet(f"train-0000{shard}-of-00003.parquet", [shard, shard + 1], seed=shard)
    parts = opened(tmp_path)
    assert sizes(parts) == {"train": 6} and parts.train.labels == [0, 1, 1, 2, 2, 3]
    assert parts.train.images.where(3) == f"{tmp_path}/train-00001-of-00003.parquet, row 1"
    assert np.array_equal(np.asarray(parts.train.images.open(2)), np.asarray(picture(1000)))
    assert parts.name == tmp_path.name


def test_parquet_columns(parquet, tmp_path):
    assert opened(parquet("a.parquet", [3, 1], label_column="fine")).train.labels == [3, 1]
    assert opened(parquet("b.parquet", ["x", "y"], other=[1, 2])).train.labels == ["x", "y"]

    two = parquet("c.parquet", [3, 1], label_column="fine", coarse=[0, 0])
    assert (
        refused(two) == f"{two}: which column holds the label is open ('fine' and 'coarse' could); set `label_column`"
    )
    assert opened(two, label_column="coarse").train.labels == [0, 0]
    assert "no column 'corse'; did you mean 'coarse'?" in refused(two, label_column="corse")
    assert "column 'fine' is int64, not encoded images" in refused(two, image_column="fine", label_column="coarse")
    assert "column 'image' is struct" in refused(two, label_column="image")

    more = parquet("d.parquet", [0, 1], depth=[b"", b""])
    assert "'image' and 'depth' could); set `image_column`" in refused(more)
    none = parquet("e.parquet", [0, 1], label_column="score", images=[None, None])
    assert opened(none).train.labels == [0, 1]
    assert opened(parquet("g.parquet", [True, False], label_column="sick")).train.labels == [True, False]
    floats = parquet("f.parquet", [0.5, 1.5])
    assert "column 'label' is double, not integers or names" in refused(floats)


def test_class_names_that_hugging_face_leaves_in_parquet(parquet):
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    path = parquet("a.parquet", [1, 0], metadata={b"huggingface": json.dumps(features).encode()})
    assert opened(path).class_names == ("cat", "dog")
    assert opened(parquet("b.parquet", [1, 0], metadata={b"huggingface": b"["})).class_names is None


def test_half_written_parquet(parquet, tmp_path):
    path = parquet("a.parquet", [0, 1])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert refused(path).startswith(f"{path}: damaged or not a complete Parquet file (")
    broken = bytearray(data)
    broken[4:200] = bytes(196)
    path.write_bytes(broken)
    assert refused(path).startswith(f"{path}: damaged or not a complete Parquet file (")


def hugging_face(count: int, names=("cat", "dog"), seed: int = 0):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    rows = {
        "img": [{"bytes": png(picture(seed + row)), "path": None} for row in range(count)],
        "label": [0, 1] * (count // 2),
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_hugging_face_folders(tmp_path):
    datasets = pytest.importorskip("datasets")
    whole = datasets.DatasetDict({"train": hugging_face(4), "valid": hugging_face(2), "test": hugging_face(6)})
    whole.save_to_disk(str(tmp_path / "whole"))
    parts = opened(tmp_path / "whole")
    assert sizes(parts) == {"train": 4, "validation": 2, "test": 6}
    assert parts.class_names == ("cat", "dog") and parts.train.labels == [0, 1, 0, 1]
    assert np.array_equal(np.asarray(parts.train.images.open(3)), np.asarray(picture(3)))
    assert parts.test.images.where(1) == f"{tmp_path}/whole, test, row 1"

    hugging_face(4, seed=100).save_to_disk(str(tmp_path / "one"))
    assert sizes(opened(tmp_path / "one", test=str(tmp_path / "whole"))) == {"train": 4, "test": 6}
    datasets.DatasetDict({"test": hugging_face(2)}).save_to_disk(str(tmp_path / "odd"))
    assert refused(tmp_path / "odd").endswith("odd: has no split `train`; its splits: test")
    assert "no column 'image'; did you mean 'img'?" in refused(tmp_path / "one", image_column="image")
    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"half")
    assert f"{tmp_path}/one: not a complete folder of save_to_disk (" in refused(tmp_path / "one")


def test_the_hub_out_of_reach(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def offline(name, **options):
        assert name == "owner/set" and options["download_config"].local_files_only
        raise ConnectionError("Couldn't reach\nthe Hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    message = refused("hf:owner/set", download=False)
    assert message == "hf:owner/set: cannot be loaded (Couldn't reach the Hub); check the name and the network"
    monkeypatch.setattr(datasets, "load_dataset", lambda name, **options: hugging_face(4))
    assert opened("hf:owner/set").name == "set"


def test_without_the_extra_its_name_is_told(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'ramify\[datasets\]'"):
        opened("hf:owner/set")


def test_every_name_has_a_reader():
    images = {"digits", "cifar10", "cifar100", "imagenet16", "imagenet16-120", "mnist", "fashion-mnist", "svhn"}
    assert set(data_set_names()) == images | {"breast-cancer", "diabetes", "iris", "shapes", "wine"}
