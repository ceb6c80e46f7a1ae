"""From a name to splits: classes, splits, subsets, normalization, fingerprints."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from pictures import picture
from ramify.data import Augmentation, Data, DataSpec, Distortion, load, named
from ramify.data import loading as module
from ramify.data.distortion import rectangles
from ramify.data.encoded import Arrays
from ramify.data.parts import Part, Parts
from ramify.data.splits import CIFAR10_TRAIN, CIFAR100_TEST
from ramify.errors import DataError
from ramify.seeding import stream

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10-train.parquet"


def labels_of(data: Data, split: str) -> list[int]:
    return torch.cat([y for _, y in data.split(split).batches(64, seed=0)]).tolist()


def images_of(data: Data, split: str) -> torch.Tensor:
    return torch.cat([x for x, _ in data.split(split).batches(64, seed=0)])


def sizes(data: Data) -> list[int]:
    return [len(data.split(name)) for name in ("train", "search_train", "search_validation", "test")]


def dataset(count: int, classes: int, seed: int = 0, side: int = 4) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    return TensorDataset(images, torch.arange(count) % classes)


def refused(*args, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_digits_are_those_of_scikit_learn():
    found, expected = named._digits("digits", DataSpec()), load_digits()
    assert isinstance(found.train.images, Arrays)
    assert np.array_equal(found.train.images.pixels, np.rint(expected.images * (255 / 16)))
    assert found.train.labels == expected.target.tolist()
    assert found.class_names == tuple(map(str, expected.target_names))


def test_digits():
    data = load("digits")
    assert (data.name, data.input_size, data.in_channels, data.num_classes) == ("digits", (1, 8, 8), 1, 10)
    assert data.classes == tuple("0123456789") and data.augmentation == Augmentation(crop=1)
    assert sizes(data) == [1438, 719, 719, 359]
    for split in ("search_train", "search_validation"):
        assert max(np.bincount(labels_of(data, split))) - min(np.bincount(labels_of(data, split))) <= 4
    assert load(data).fingerprint == data.fingerprint == load(DataSpec()).fingerprint
    pool = images_of(data, "train") * data.std[0] + data.mean[0]
    assert abs(pool.mean() - data.mean[0]) < 1e-5 and pool.min() >= 0 and pool.max() <= 1.00001


def test_the_test_images_do_not_depend_on_the_seed():
    one, other = load(DataSpec(seed=0)), load(DataSpec(seed=1))
    assert torch.equal(images_of(one, "test"), images_of(other, "test"))
    assert torch.equal(images_of(one, "train"), images_of(other, "train"))
    assert not torch.equal(images_of(one, "search_train"), images_of(other, "search_train"))
    assert one.fingerprint != other.fingerprint and one.mean == other.mean


def test_the_fingerprint_sees_images_labels_and_split_but_not_the_way_there(folder, parquet):
    first = load(dataset(40, 2))
    assert first.fingerprint == load(dataset(40, 2), device="cpu").fingerprint
    assert first.fingerprint != load(dataset(40, 2, seed=1)).fingerprint
    other = dataset(40, 2)
    other.tensors[1][:2] = torch.tensor([1, 0])
    assert first.fingerprint != load(other).fingerprint
    images = [
        {"bytes": file.read_bytes(), "path": None} for file in sorted(folder("x", {"a": 6, "b": 6}).rglob("*.png"))
    ]
    table = parquet("t.parquet", ["a"] * 6 + ["b"] * 6, images=images)
    assert load(str(table)).fingerprint == load(str(table.parent / "x")).fingerprint


def test_halves_are_stratified_and_other_shares_possible():
    data = load(dataset(100, 5))
    assert sizes(data) == [80, 40, 40, 20]
    assert np.bincount(labels_of(data, "search_validation")).tolist() == [8] * 5


def test_share_and_holding_out(parquet):
    path = str(parquet("a.parquet", [0, 1] * 10))
    assert sizes(load(DataSpec(source=path, validation_fraction=0.25, test_fraction=0.4))) == [12, 9, 3, 8]
    data = load(DataSpec(source=path, test_fraction=0))
    with pytest.raises(DataError, match="a: the split 'test' is empty; see test_fraction"):
        data.split("test")
    assert data.reads == []
    with pytest.raises(DataError, match="the split 'search_validation' is empty"):
        load(DataSpec(source=path, validation_fraction=0)).split("search_validation")


def test_validation_images_may_be_what_networks_are_tested_on(folder):
    """As those of ImageNet, whose own test images have no published labels."""
    path = str(folder("in/train", {"cat": 8, "dog": 8}).parent)
    folder("in/val", {"cat": 3, "dog": 3})
    spec = DataSpec(source=path, validation_is_test=True, validation_fraction=0.25)
    assert sizes(load(spec)) == [16, 12, 4, 6]
    assert sizes(load(DataSpec(source=path, validation_fraction=0.25)))[2] == 6
    plain = DataSpec(source=f"{path}/train", test=f"{path}/val", validation_fraction=0.25)
    assert load(plain).fingerprint == load(spec).fingerprint
    folder("in/test", {"cat": 2, "dog": 2})
    assert sizes(load(spec)) == [22, 16, 6, 4]  # test images of its own come first


def test_validation_images_of_the_source_are_used_unless_random_is_asked_for(folder):
    root = folder("x/train", {"cat": 6, "dog": 6}).parent
    folder("x/valid", {"cat": 2, "dog": 2})
    folder("x/test", {"dog": 3})
    data = load(str(root))
    assert sizes(data) == [16, 12, 4, 3] and labels_of(data, "test") == [1, 1, 1]
    assert data.classes == ("cat", "dog") and data.input_size == (3, 8, 8)
    assert data.augmentation == Augmentation(crop=1, flip=True)
    mixed = load(DataSpec(source=str(root), split="random"))
    assert sizes(mixed) == [16, 8, 8, 3]
    assert torch.equal(images_of(mixed, "train"), images_of(data, "train"))


def test_an_ordered_split_keeps_the_order(parquet):
    path = str(parquet("a.parquet", [row % 4 for row in range(160)]))
    data = load(DataSpec(source=path, split="ordered", validation_fraction=0.25))
    assert sizes(data) == [128, 96, 32, 32]
    whole = images_of(data, "train")
    assert torch.equal(images_of(data, "search_train"), whole[:96])
    assert torch.equal(images_of(data, "search_validation"), whole[96:])


def test_image_size_resizes_and_grey_stays_grey(folder):
    path = str(folder("x", {"a": 4, "b": 4}, width=12, height=9, mode="L"))
    data = load(DataSpec(source=path, image_size=6))
    assert data.input_size == (1, 6, 6) and data.augmentation.crop == 1


def test_rectangles_stay_as_they_are_or_become_what_is_asked_for(folder):
    path = folder("x", {"a": 4, "b": 4}, width=40, height=17)
    data = load(path)
    assert data.input_size == (3, 17, 40) and data.augmentation.crop == 2
    assert next(data.split("test").batches(1, seed=0))[0].shape == (1, 3, 17, 40)
    assert load(path, image_size=(8, 20)).input_size == (3, 8, 20)
    assert load(path, image_size=(17, 40)).fingerprint == data.fingerprint
    picture(0, 17, 40).save(path / "b" / "tall.png")
    said = refused(path)
    assert "tall.png: 40x17 pixels, and others have 17x40 (height x width); images of one data set have one" in said
    assert said.endswith("set `image_size` of DataSpec (--data.image_size N, or HEIGHT,WIDTH)")
    assert load(path, image_size=(8, 20)).input_size == (3, 8, 20)


def test_batches_of_square_images_are_what_they_have_always_been():
    """Values of the code before there were rectangles: a run of long ago is continued with the same images."""
    data = load(DataSpec(subset=96))
    assert data.fingerprint.startswith("ff24cbb219135d81")
    augmentation = Augmentation(crop=2, flip=True, cutout=3)
    batches = data.split("train").batches(40, seed=1, epoch=3, shuffle=True, augmentation=augmentation)
    digest = hashlib.sha256()
    for x, y in batches:
        digest.update(((x * data.std[0] + data.mean[0]) * 255).round().to(torch.uint8).contiguous().numpy().data)
        digest.update(y.numpy().data)
    assert digest.hexdigest().startswith("5e5e9e62cc66f6b2")
    draws = Distortion().draw(500, stream(0, "distort"))
    boxes = [rectangles(draws[:22], (side, side), (0.08, 1.0), 3 / 4) for side in (1, 8, 33)]
    assert hashlib.sha256(torch.cat(boxes).numpy().data).hexdigest().startswith("798282a8c8723c6b")


def test_a_subset_is_balanced_and_part_of_the_whole(parquet):
    labels = [row % 4 for row in range(160)]
    path = str(parquet("a.parquet", labels))
    whole, part = load(path), load(DataSpec(source=path, subset=40))
    assert sizes(part) == [40, 20, 20, 32]
    for split in ("search_train", "search_validation"):
        assert np.bincount(labels_of(part, split)).tolist() == [5] * 4
    unscaled = {
        (data, split): {
            tuple(
                ((image * torch.tensor(data.std)[:, None, None]) + torch.tensor(data.mean)[:, None, None])
                .mul(255)
                .round()
                .flatten()
                .tolist()
            )
            for image in images_of(data, split)
        }
        for data in (whole, part)
        for split in ("train", "search_train", "search_validation", "test")
    }
    for split in ("train", "search_train", "search_validation", "test"):
        assert unscaled[part, split] <= unscaled[whole, split]
    assert len(load(DataSpec(source=path, subset=20)).split("test")) == 20
    assert sizes(load(DataSpec(source=path, subset=999)))[0] == 128
    assert "`subset` must be at least 2" in refused(DataSpec(source=path, subset=1))


def test_labels_are_numbered_in_order(parquet):
    data = load(str(parquet("a.parquet", ["dog", "cat", "eel", "cat", "dog", "eel"] * 4)))
    assert data.classes == ("cat", "dog", "eel") and set(labels_of(data, "train")) == {0, 1, 2}
    gaps = load(str(parquet("b.parquet", [10, 2, 7] * 8)))
    assert gaps.classes == ("2", "7", "10")


def test_labels_that_cannot_be(parquet, tmp_path):
    negative = parquet("a.parquet", [0, 1, -1, 0])
    assert refused(str(negative)) == (
        f"{negative}, row 2: the label -1 is negative, as where labels are hidden; leave such images out, or number "
        "the classes from 0"
    )
    empty = parquet("b.parquet", ["x", None, "y"])
    assert refused(str(empty)) == f"{empty}, row 1: has no label; leave such images out"
    features = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    large = parquet("c.parquet", [0, 2, 1], metadata={b"huggingface": json.dumps(features).encode()})
    assert refused(str(large)).startswith(f"{large}, row 1: the label 2 is none of the classes (cat, dog); call")
    assert "all images are of one class (3)" in refused(str(parquet("d.parquet", [3, 3])))
    assert "the train part has no images" in refused(str(parquet("e.parquet", np.array([], np.int64))))
    parquet("f-train.parquet", [0, 1] * 4)
    parquet("f-test.parquet", [0, 5])
    assert "f-test.parquet, row 1: the label 5 is none of the classes (0, 1)" in refused(f"{tmp_path}/f-train.parquet")


def test_a_damaged_image_in_a_table_is_named(parquet):
    images = [{"bytes": b"broken", "path": None}] * 10
    path = parquet("a.parquet", [0, 1] * 5, images=images)
    assert refused(str(path)).startswith(f"{path}, row ") and "not a readable image" in refused(str(path))
    hollow = parquet("b.parquet", [0, 1] * 5, images=[None] * 10)
    assert "not a readable image (the cell is empty)" in refused(str(hollow))


def test_options_beside_the_source(parquet):
    path = str(parquet("a.parquet", [0, 1] * 20))
    assert load(path, subset=10).fingerprint == load(DataSpec(source=path, subset=10)).fingerprint
    assert load(DataSpec(source=path), subset=10).fingerprint == load(path, subset=10).fingerprint
    assert "data has no option 'imagesize': did you mean 'image_size'?" in refused(path, imagesize=3)
    assert "subset: no options for data that is loaded already" in refused(load(path), subset=10)
    assert refused(path, subset="x") == "`subset` must be a whole number, got 'x'"
    assert "not int" in refused(3)


def test_lists_of_indices(parquet, tmp_path):
    parquet("a-train.parquet", [0, 1] * 6)
    parquet("a-test.parquet", [0, 1] * 4)
    lists = tmp_path / "split.txt"

    def spec(**content):
        lists.write_text(json.dumps({name: ["int", list(map(str, index))] for name, index in content.items()}))
        return DataSpec(source=f"{tmp_path}/a-train.parquet", split_file=str(lists))

    whole = load(f"{tmp_path}/a-train.parquet")
    data = load(spec(train=[0, 2, 4], valid=[1, 11]))
    assert sizes(data) == [5, 3, 2, 8]
    assert labels_of(data, "search_train") == [0, 0, 0] and labels_of(data, "search_validation") == [1, 1]

    swapped = load(spec(xvalid=[0, 1, 2, 3], xtest=[4, 5, 6, 7]))
    assert sizes(swapped) == [12, 12, 4, 4]  # x-valid is never trained on
    assert swapped.mean != whole.mean or swapped.fingerprint != whole.fingerprint

    assert "the list 'valid' has index 12, and there are only 12 images" in refused(spec(train=[0], valid=[12]))
    alone = DataSpec(source=f"{tmp_path}/a-test.parquet", split_file=str(lists))
    spec(xvalid=[0], xtest=[1])
    assert "divides test images, and a brings none" in refused(alone)
    spec(train=range(4), valid=range(4, 8))
    assert "the list 'train' has images held out for testing" in refused(alone)
    assert len(load(DataSpec(source=alone.source, split_file=str(lists), test_fraction=0)).split("train")) == 8


def cifar(classes: int, first_train: tuple[int, ...], first_test: tuple[int, ...]) -> Parts:
    """Tiny pictures with as many images as CIFAR and its first labels."""
    parts = []
    for count, first in ((50_000, first_train), (10_000, first_test)):
        labels = [*first, *(row % classes for row in range(count - len(first)))]
        parts.append(Part(Arrays(np.arange(count, dtype=np.uint8).reshape(count, 1, 1), "cifar"), labels))
    return Parts(f"cifar{classes}", parts[0], test=parts[1], class_names=tuple(map(str, range(classes))))


def test_nasbench201_protocol(monkeypatch, tmp_path):
    spec = DataSpec(split="nasbench201")
    monkeypatch.setattr(module, "open_source", lambda spec: cifar(10, CIFAR10_TRAIN, (3,)))
    data = load(spec)
    assert sizes(data) == [50_000, 25_000, 25_000, 10_000]
    assert labels_of(data, "search_train")[:4] == [6, 1, 7, 1]  # images 0, 5, 7, 11
    assert labels_of(data, "search_validation")[:4] == [9, 9, 4, 1]  # images 1, 2, 3, 4

    monkeypatch.setattr(module, "open_source", lambda spec: cifar(100, (19,), CIFAR100_TEST))
    published = load(spec)
    assert sizes(published) == [50_000, 50_000, 5_000, 5_000]  # retraining never sees x-valid
    assert labels_of(published, "search_validation")[:4] == [33, 51, 71, 92]  # images 1, 3, 4, 5
    lists = tmp_path / "cifar100-test-split.txt"
    lists.write_text(
        json.dumps(
            {name: ["int", list(map(str, range(start, 10_000, 2)))] for name, start in (("xvalid", 1), ("xtest", 0))}
        )
    )
    data = load(DataSpec(split="nasbench201", split_file=str(lists)))
    assert sizes(data) == [50_000, 50_000, 5_000, 5_000]
    assert labels_of(data, "search_validation")[:3] == [33, 51, 92] and labels_of(data, "test")[:3] == [49, 72, 71]
    lists.write_text(json.dumps({"train": ["int", ["1"]], "valid": ["int", ["2"]]}))
    assert "needs a split file with xtest and xvalid" in refused(DataSpec(split="nasbench201", split_file=str(lists)))

    assert load(DataSpec(split="auto")).fingerprint != data.fingerprint
    monkeypatch.setattr(module, "open_source", lambda spec: cifar(10, (0, 1), (3,)))
    assert "the train images are not in the published order (labels start [0, 1, 0" in refused(spec)


def test_nasbench201_halves_the_test_images_of_imagenet16(monkeypatch):
    counts = {"train": 151_700, "test": 6_000}
    parts = {
        name: Part(
            Arrays(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1), name), [row % 120 for row in range(count)]
        )
        for name, count in counts.items()
    }
    names = tuple(map(str, range(120)))
    monkeypatch.setattr(module, "open_source", lambda spec: Parts("imagenet16-120", **parts, class_names=names))
    data = load(DataSpec(split="nasbench201"))
    assert sizes(data) == [151_700, 151_700, 3_000, 3_000]
    assert labels_of(data, "search_validation")[:6] == [1, 2, 3, 6, 7, 8]
    assert labels_of(data, "test")[:6] == [0, 4, 5, 10, 11, 13]
    monkeypatch.setattr(module, "open_source", lambda spec: Parts("x", parts["train"], test=parts["train"]))
    assert "and for imagenet16-120, with 151700 and 6000" in refused(DataSpec(split="nasbench201"))


def test_nasbench201_is_for_cifar():
    assert "digits: split 'nasbench201' is for CIFAR-10 and CIFAR-100" in refused(DataSpec(split="nasbench201"))


@pytest.mark.skipif(not REAL.is_file(), reason="needs the shared CIFAR-10 files")
def test_real_cifar10_in_parquet():
    data = load(DataSpec(source=str(REAL), subset=600))
    assert (data.name, data.num_classes, data.input_size) == ("cifar10", 10, (3, 32, 32))
    assert sizes(data) == [600, 300, 300, 600] and data.augmentation == Augmentation(crop=4, flip=True)
    assert data.mean == pytest.approx((0.4914, 0.4824, 0.4467), abs=1e-4)
    assert data.std == pytest.approx((0.2471, 0.2435, 0.2616), abs=1e-4)
    x = images_of(data, "train")
    assert x.mean().abs() < 0.15 and abs(x.std() - 1) < 0.15
    assert np.bincount(labels_of(data, "train")).tolist() == [60] * 10
    # These files are sorted otherwise than the published data set, so its lists would mean other images.
    assert "not in the published order" in refused(DataSpec(source=str(REAL), split="nasbench201"))


def test_the_package_imports_without_what_only_some_sources_need():
    heavy = ("torchvision", "sklearn", "pyarrow", "datasets", "PIL")
    code = f"import sys, ramify.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_numbers_and_their_digits_are_the_same_classes(folder, parquet):
    digits = folder("digits", {"0": 3, "2": 3})
    table = parquet("table.parquet", [0, 2, 2, 0] * 3)
    data = load(DataSpec(source=str(table), test=str(digits)))
    assert data.classes == ("0", "2") and labels_of(data, "test") == [0] * 3 + [1] * 3
    other = load(DataSpec(source=str(digits), test=str(table)))
    assert other.classes == ("0", "2") and labels_of(other, "test") == [0, 1, 1, 0] * 3
    padded = folder("padded", {"00": 2, "02": 2})
    assert "the label '00' is none of the classes (0, 2); call" in refused(
        DataSpec(source=str(table), test=str(padded))
    )


def test_an_empty_name_is_not_the_current_folder():
    for name in ("source", "test"):
        assert refused(**{"spec": "digits", name: ""} if name == "test" else {"spec": ""}) == (
            f"`{name}` is empty; give a name or a path, `.` for this folder"
        )
