"""Data sets in Python: what their items may be, and what is said of others."""

from __future__ import annotations

import io
import struct
import zlib
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split

from pictures import picture, png
from ramify.data import load
from ramify.errors import DataError

By = namedtuple("By", "label image")
Three = namedtuple("Three", "image label index")


class Made(Dataset):
    """Items made by a function of their number."""

    def __init__(self, make: Callable[[int], Any], count: int = 20) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Any:
        return self.make(row)


def array(row: int) -> torch.Tensor:
    return torch.from_numpy(np.array(picture(row))).permute(2, 0, 1)


def refused(data: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(data, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    return str(caught.value)


PAIRS = Made(lambda row: (array(row), row % 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda row: (picture(row), row % 2),
        lambda row: [array(row), torch.tensor(row % 2)],
        lambda row: (array(row).float() / 255, float(row % 2)),
        lambda row: {"image": array(row), "label": row % 2},
        lambda row: {"pixel_values": array(row), "labels": torch.tensor(row % 2), "index": row},
        lambda row: {"IMG": picture(row), "Label": np.int64(row % 2)},
        lambda row: {"img": picture(row), "fine_label": row % 2},
        lambda row: {"image": picture(row), "img": None, "label": row % 2, "target": None},
        lambda row: By(row % 2, array(row)),
        lambda row: Three(array(row), row % 2, row),
    ],
)
def test_items(make):
    data = load(Made(make))
    assert (data.name, data.classes, data.input_size) == ("made", ("0", "1"), (3, 8, 8))
    assert data.fingerprint == load(PAIRS).fingerprint


def test_keys_that_nobody_knows_are_asked_for():
    odd = Made(lambda row: {"scan": array(row), "finding": row % 2})
    assert "item 0: items are mappings with the keys scan, finding; which is the image is open (an" in refused(odd)
    assert "load(dataset, label_column=...)" in refused(odd, image_column="scan")
    assert load(odd, image_column="scan", label_column="finding").fingerprint == load(PAIRS).fingerprint
    assert "no key 'scam'; did you mean 'scan'?" in refused(odd, image_column="scam")
    two = Made(lambda row: {"img": array(row), "fine_label": row % 2, "coarse_label": 0})
    assert "(fine_label and coarse_label could be it): load(dataset, label_column=...)" in refused(two)
    assert load(two, label_column="fine_label").classes == ("0", "1")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((torch.zeros(3, 8, 8), 1, 5), "is not a pair of image and class number, but tuple of 3 (Tensor, int, int)"),
        ((torch.zeros(3, 8, 8),), "is not a pair of image and class number, but tuple of 1 (Tensor)"),
        (torch.zeros(2, 8, 8), "is not a pair of image and class number, but Tensor"),
        ((1, torch.zeros(3, 8, 8)), "the label has 192 values"),
        ((torch.zeros(3, 8, 8), 0.5), "is not a pair of image and class number: the label is 0.5"),
        ((torch.zeros(3, 8, 8), -1), "the label -1 is negative, as where labels are hidden"),
        (("a/b.png", 1), "the image is str ('a/b.png'), not pixels; open it in the data set"),
        ((torch.zeros(300, 8, 8), 1), "shape (300, 8, 8) has 300 channels; images have 1 to 256"),
        ((torch.zeros(9, 9, 9), 1), "shape (9, 9, 9) leaves open which axis holds the channels; set `channel_axis`"),
    ],
)
def test_items_that_are_refused(item, message):
    assert f"made, item 0: {message}" in refused(Made(lambda row: item))


def test_a_data_set_that_fails_is_one_line():
    def fail(row: int) -> Any:
        raise OSError("no\nsuch file")

    assert refused(Made(fail)) == "made, item 0: the data set raised OSError (no such file)"
    assert "the train part has no images" in refused(Made(fail, 0))
    assert "item 0: the data set raised NotImplementedError" in refused(
        type("X", (Made,), {"__getitem__": Dataset.__getitem__})(fail)
    )
    assert "x: has no length" in refused(type("X", (Made,), {"__len__": lambda self: 1 // 0})(fail))


def test_what_is_no_data_set():
    class Endless(IterableDataset):
        def __iter__(self):
            return iter(())

    assert "(__len__, __getitem__); give a map-style one" in refused(Endless())
    assert "is a DataLoader; hand over its data set, loader.dataset" in refused(DataLoader(PAIRS))
    assert (
        refused((PAIRS,) * 4)
        == "got 4 data sets; hand over one, a pair (train, test), or three (train, validation, test)"
    )
    assert "got 3 arrays; hand over (X, y), or such pairs: ((X, y), (X, y))" in refused((np.zeros((4, 8, 8)),) * 3)
    assert "a mapping of train, test; hand over a pair" in refused({"train": PAIRS, "test": PAIRS})
    assert "an array has no labels; hand over (X, y), an array beside its labels" in refused(np.zeros((4, 8, 8)))
    assert "is not a pair of image and class number" in refused(TensorDataset(torch.zeros(4, 1, 2, 2)))
    assert "not NoneType" in refused(None)


def test_pairs_of_data_sets_and_names_of_classes():
    named = Made(PAIRS.make)
    named.classes = ("left", "right")
    data = load((named, PAIRS))
    assert data.classes == ("left", "right") and len(data.split("test")) == 20
    named.classes = 2  # a number is no list of names
    assert load(named).classes == ("0", "1")
    assert len(load(random_split(PAIRS, [14, 6])).split("test")) == 6
    assert load([PAIRS[row] for row in range(20)]).fingerprint == load(PAIRS).fingerprint
    assert load(Made(lambda row: (array(row), row % 2 == 1))).classes == ("False", "True")


def test_sizes_that_differ():
    sizes = Made(lambda row: (picture(row, 8 + row % 3, 8), row % 2))
    message = refused(sizes)
    assert "resize them in the data set, or hand over ramify.data.load(dataset, image_size=N" in message
    assert load(sizes, image_size=6).input_size == load((sizes, sizes), image_size=6).input_size == (3, 6, 6)
    assert "`source` says where data lie, and a data set in Python was handed over" in refused(sizes, source="digits")


def test_tensors_of_any_size_and_number_of_channels():
    images = torch.rand(20, 5, 24, 16)
    labels = torch.arange(20) % 2
    data = load(TensorDataset(images, labels))
    assert data.input_size == (5, 24, 16)
    assert data.fingerprint == load(TensorDataset(images.permute(0, 2, 3, 1), labels)).fingerprint
    assert load(TensorDataset(images, labels), image_size=(12, 8)).input_size == (5, 12, 8)
    open_shape = TensorDataset(torch.rand(20, 20, 24, 16), labels)
    assert "item 0: shape (20, 24, 16) leaves open which axis" in refused(open_shape)
    assert load(open_shape, channel_axis="first").input_size == (20, 24, 16)
    mixed = [(torch.rand(5, 9, 9), 0), (torch.rand(4, 9, 9), 1)] * 4
    assert (
        "list, item 1: images of one data set have equally many channels; this one has 4, and others have 5"
        in refused(mixed)
    )
    assert "item 0: images of one data set have equally many channels; this one has 1" in refused(
        [(picture(0, mode="L"), 0), *mixed], test_fraction=0.0
    )


def hugging_face(label: Any = None, make: Callable[[int], Any] = int, column: str = "label", tall: int = 0) -> Any:
    datasets = pytest.importorskip("datasets")
    kinds = {"img": datasets.Image(), column: label or datasets.ClassLabel(names=["cat", "dog"])}
    images = [{"bytes": png(picture(row, 8, 8 + tall * (row % 2))), "path": None} for row in range(20)]
    rows = {"img": images, column: [make(row % 2) for row in range(20)]}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


def test_hugging_face_data_sets():
    datasets = pytest.importorskip("datasets")
    whole = hugging_face()
    data = load(whole)
    assert data.classes == ("cat", "dog") and data.fingerprint == load(PAIRS).fingerprint
    assert load(whole.with_format("torch")).fingerprint == data.fingerprint
    held = load(datasets.DatasetDict(train=whole, validation=whole.select(range(4)), test=whole.select(range(6))))
    assert [len(held.split(name)) for name in ("search_train", "search_validation", "test")] == [20, 4, 6]
    assert held.fingerprint != load((whole, whole.select(range(6)))).fingerprint != data.fingerprint
    assert "DatasetDict: has no split `train`; its splits: test" in refused(datasets.DatasetDict(test=whole))
    for lazy in (whole.to_iterable_dataset(), datasets.IterableDatasetDict(train=whole.to_iterable_dataset())):
        assert "load it without streaming=True, or keep some: datasets.Dataset.from_list(" in refused(lazy)
    tall = hugging_face(tall=1)
    assert "hand over ramify.data.load(dataset, image_size=N)" in refused(tall)
    assert load(tall, image_size=8).input_size == (3, 8, 8)


def test_hugging_face_labels_and_images_of_other_kinds():
    datasets = pytest.importorskip("datasets")
    assert load(hugging_face(datasets.Value("bool"), bool)).classes == ("False", "True")
    assert load(hugging_face(datasets.Value("float32"), float, "target"), label_column="target").classes == ("0", "1")
    assert load(hugging_face(column="labels")).classes == ("cat", "dog")
    assert "row 0: the label -1 is negative" in refused(hugging_face(datasets.Value("int64"), lambda value: value - 1))
    vectors = hugging_face(datasets.List(datasets.Value("int64")), lambda value: [value, 1 - value])
    assert "column 'label' is List(Value('int64')), not integers or names" in refused(vectors)

    def transform(batch: dict[str, list]) -> dict[str, list]:
        return {"pixel_values": [np.asarray(image)[::-1] for image in batch["img"]], "label": batch["label"]}

    changed = load(hugging_face().with_transform(transform))  # what a transform makes is what is learned from
    assert changed.classes == ("cat", "dog") and changed.fingerprint != load(PAIRS).fingerprint
    rows = {"pixel_values": [array(row).numpy() for row in range(20)], "label": [row % 2 for row in range(20)]}
    kinds = datasets.Features({"pixel_values": datasets.Array3D((3, 8, 8), "uint8"), "label": datasets.Value("int64")})
    assert load(datasets.Dataset.from_dict(rows, features=kinds)).fingerprint == load(PAIRS).fingerprint


def test_subsets_keep_the_names_of_the_classes():
    named = Made(PAIRS.make)
    named.classes = ["left", "right"]
    assert load(Subset(named, range(12))).classes == ("left", "right")
    assert load(random_split(Subset(named, range(16)), [12, 4])).classes == ("left", "right")
    assert load((Subset(named, range(12)), named)).classes == ("left", "right")


def test_classes_of_a_pair_are_known_by_their_names():
    three, two = Made(lambda row: (array(row), row % 3), 18), Made(lambda row: (array(100 + row), row % 2), 4)
    three.classes, two.classes = ["ant", "bee", "cow"], ["ant", "cow"]
    _, labels = next(load((three, two)).split("test").batches(4, seed=0))
    assert labels.tolist() == [0, 2, 0, 2]
    two.classes = ["ant", "dog"]
    assert "item 1: the label 'dog' is none of the classes (ant, bee, cow)" in refused((three, two))


def test_parts_of_a_dictionary_are_found_as_elsewhere(capsys):
    datasets = pytest.importorskip("datasets")
    whole = hugging_face()
    parts = {"training": whole, "testing": whole.select(range(6)), "extra": whole.select(range(4))}
    data = load(datasets.DatasetDict(parts))
    assert [len(data.split(name)) for name in ("train", "test")] == [20, 6]
    said = capsys.readouterr().err
    assert "the splits extra are not used" in said and "6 of 6 test images are training images too" in said
    assert len(load(datasets.DatasetDict(test=whole), measured=True).split("test")) == 20
    assert len(load(whole, measured=True).split("test")) == len(load(PAIRS, measured=True).split("test")) == 20
    hidden = hugging_face(datasets.Value("int64"), lambda value: -1)
    data = load(datasets.DatasetDict(train=hugging_face(datasets.Value("int64")), test=hidden))
    assert "its 20 test images are not used, because their labels are hidden" in capsys.readouterr().err
    assert len(data.split("test")) == 4


@pytest.mark.parametrize("side", [9000, 12000, 30000])  # below, between and above the limits of Pillow
def test_a_giant_image_in_a_data_set_is_one_line(tmp_path, recwarn, side):
    file = tmp_path / "giant.png"
    content = bytearray(png(picture(0)))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    file.write_bytes(content)
    opened = Made(lambda row: (Image.open(file) if row == 3 else picture(row), row % 2))
    message = refused(opened)
    assert message.startswith("made, item 3: claims ") and "pixels, and 67108864 are the most" in message
    assert not recwarn.list


def test_a_data_set_may_shrink_giant_images_itself(monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # a warning for the pictures, which have 64 pixels

    def small(row: int) -> tuple[Any, int]:
        return Image.open(io.BytesIO(png(picture(row)))).resize((4, 4)), row % 2

    assert load(Made(small)).input_size == (3, 4, 4)
    assert not [each for each in recwarn.list if issubclass(each.category, Image.DecompressionBombWarning)]


def test_items_of_other_kinds_are_named():
    @dataclass
    class Sample:
        image: Any
        label: int

    message = refused([Sample(array(0), 0), Sample(array(1), 1)])
    assert message.startswith("list, item 0: is not a pair of image and class number, but Sample; give (image, label)")
    assert "hand over arrays (X, y)" in refused({"image": torch.rand(4, 3, 8, 8), "label": torch.arange(4)})
    assert refused([(array(0), 1), (array(1), "x")]).startswith(
        "labels are numbers and names at once, such as 1 and 'x'"
    )


def test_data_sets_one_after_the_other_keep_the_names_of_the_classes():
    first, second, third = (Made(PAIRS.make) for _ in range(3))
    first.classes, second.classes = ["cat", "dog"], ["cat", "dog"]
    assert load(ConcatDataset([first, second])).classes == ("cat", "dog")
    assert load(ConcatDataset([first, third])).classes == ("0", "1")
    third.classes = ("dog", "cat")
    assert "number their classes otherwise (cat, dog and dog, cat)" in refused(ConcatDataset([first, third]))
    assert load(ConcatDataset([Subset(first, range(6)), second])).classes == ("cat", "dog")
