"""(X, y) in Python: every shape and type, several of them, and that whatever does not fit is a line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import ramify
from ramify import spaces, strategies
from ramify.data import load
from ramify.errors import DataError
from ramify.training import Recipe

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(24) % 3
ROWS = RNG.normal(size=(24, 4))


def refused(data, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(data, quiet=True, **options)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 300
    return said


def sizes(data) -> list[int]:
    return [len(data._rows[name]) for name in ("train", "search_train", "search_validation", "test")]


@pytest.mark.parametrize(
    "images, size",
    [
        (IMAGES, (3, 6, 6)),
        (IMAGES.transpose(0, 3, 1, 2), (3, 6, 6)),
        (torch.from_numpy(IMAGES).permute(0, 3, 1, 2), (3, 6, 6)),
        (torch.from_numpy(IMAGES), (3, 6, 6)),
        (IMAGES[..., 0], (1, 6, 6)),
        (IMAGES[..., :1], (1, 6, 6)),
        (IMAGES[..., :2], (2, 6, 6)),
        (IMAGES[:, :3], (3, 3, 6)),  # (3, 6, 3): an array has its channels last
        (torch.from_numpy(IMAGES[:, :3]), (3, 6, 3)),  # and a tensor first
        (IMAGES / 255, (3, 6, 6)),
        ((IMAGES / 255).astype(np.float16), (3, 6, 6)),
        (torch.from_numpy(IMAGES / 255).bfloat16(), (3, 6, 6)),
        (torch.from_numpy(IMAGES / 255).requires_grad_(), (3, 6, 6)),
        (IMAGES.astype(np.uint16) * 16, (3, 6, 6)),
        (IMAGES > 99, (3, 6, 6)),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.dtype}" if hasattr(value, "dtype") else "",
)
def test_images_of_every_shape_and_depth(images, size):
    data = load((images, LABELS))
    assert data.input_size == size and data.name == "arrays" and data.num_classes == 3
    assert sum(sizes(data)[1:]) == 24


def test_they_are_the_data_set_of_their_items():
    tensors = torch.from_numpy(IMAGES).permute(0, 3, 1, 2), torch.from_numpy(LABELS)
    whole = load(TensorDataset(*tensors)).fingerprint
    for pair in (
        tensors,
        [IMAGES, LABELS],
        (IMAGES, LABELS.tolist()),
        (IMAGES, tuple(LABELS)),
        (tensors[0], LABELS[:, None]),
    ):
        assert load(pair).fingerprint == whole
    deep = tensors[0].float() / 255
    assert load((deep, LABELS)).fingerprint == load(TensorDataset(deep, tensors[1])).fingerprint


@pytest.mark.parametrize(
    "labels, names",
    [
        (LABELS.astype(np.float32), ("0", "1", "2")),
        (np.array(list("abc"))[LABELS], ("a", "b", "c")),
        (LABELS > 0, ("False", "True")),
        (["x", "y"] * 12, ("x", "y")),
        (range(24), tuple(map(str, range(24)))),
        (torch.from_numpy(LABELS).bfloat16(), ("0", "1", "2")),
    ],
    ids=str,
)
def test_labels_of_every_kind(labels, names):
    assert load((IMAGES, labels), test_fraction=0).classes == names


def test_pairs_and_triples():
    one, two, three = (IMAGES[:12], LABELS[:12]), (IMAGES[12:18], LABELS[12:18]), (IMAGES[18:], LABELS[18:])
    assert sizes(load((one, three))) == [12, 6, 6, 6]
    assert sizes(load((one, two, three))) == [18, 12, 6, 6]
    assert sizes(load((one, None, three))) == [12, 6, 6, 6]
    held = load((one, two, None))
    assert sizes(held)[2] == 6 and sum(sizes(held)[1:]) == 18
    mixed = load((one, TensorDataset(*map(torch.from_numpy, two)), three))
    assert mixed.fingerprint == load((one, two, three)).fingerprint
    sets = [TensorDataset(torch.from_numpy(x), torch.from_numpy(y)) for x, y in (one, two, three)]
    assert load(sets).fingerprint == load(tuple(sets)).fingerprint
    assert sizes(load(sets)) == [18, 12, 6, 6]
    assert "arrays, test, X: 6 images, and 5 labels in y" in refused((one, (IMAGES[18:], LABELS[19:])))
    assert "arrays, test, image 0: the label 7 is none of the classes" in refused((one, None, (IMAGES[:2], [7, 7])))


def test_rows_and_values():
    data = load((ROWS, LABELS))
    assert data.features == ("x0", "x1", "x2", "x3") and data.num_classes == 3
    assert load((torch.from_numpy(ROWS), LABELS), feature_columns="x1,x3").features == ("x1", "x3")
    values = load((ROWS, ROWS[:, 0]), targets="values")
    assert values.target_names == ("target",)
    assert load((IMAGES, ROWS[:, :2].tolist()), targets="values").num_classes == 2


def test_data_frames_and_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=["a", "b", "c", "d"])
    for labels in (pandas.Series(LABELS), LABELS, LABELS.tolist(), pandas.Series(LABELS).astype("category")):
        data = load((frame, labels))
        assert data.features == ("a", "b", "c", "d") and data.num_classes == 3 and sum(sizes(data)[1:]) == 24
    assert load((IMAGES, pandas.Series(LABELS))).num_classes == 3
    whole = frame.assign(label=LABELS)
    assert sizes(load((whole, whole)))[3] == 24  # (train, test), as ever
    assert "arrays: 24 rows in X, and 3 labels in y" in refused((frame, [0, 1, 2]))
    assert "column 'd' holds string, not numbers" in refused((frame.assign(d="x"), LABELS)).replace("large_", "")


@pytest.mark.parametrize(
    "data, said",
    [
        ((IMAGES[:23], LABELS), "arrays, X: 23 images, and 24 labels in y"),
        ((ROWS[:3], LABELS), "arrays, X: 3 rows, and 24 labels in y"),
        ((IMAGES[:, 0, 0, 0], LABELS), "shape (24,) is none of (N, H, W)"),
        ((IMAGES[None], LABELS), "shape (1, 24, 6, 6, 3) is none of (N, H, W)"),
        ((IMAGES[:0], LABELS[:0]), "the train part has no images or rows"),
        ((IMAGES, IMAGES), "y has shape (24, 6, 6, 3); wanted is one label for each image, (N,)"),
        (
            (IMAGES, np.eye(3)[LABELS]),
            "arrays, image 0: the label has 3 values (shape (3,)); wanted is a class number, of a",
        ),
        ((IMAGES, LABELS / 2), "arrays, image 1: is not a pair of image and class number: the label is 0.5 (float)"),
        ((IMAGES, np.where(LABELS > 1, np.nan, 0)), "the label is nan"),
        ((IMAGES, [*LABELS[1:], 1j]), "the label is 1j (complex)"),
        ((IMAGES, [*LABELS[1:].tolist(), "x"]), "labels are numbers and names at once"),
        ((IMAGES, LABELS - 1), "arrays, image 0: the label -1 is negative"),
        ((IMAGES * 1j, LABELS), "arrays, X: images are numbers, not complex128"),
        ((IMAGES.astype(object), LABELS), "arrays, X: images are numbers, not object"),
        ((IMAGES - np.float64(9), LABELS), "floats must lie in 0..1"),
        ((np.where(IMAGES > 9, IMAGES, np.nan), LABELS), "holds NaN or infinity"),
        ((np.where(ROWS > 2, np.nan, ROWS), LABELS), "is missing, or NaN; fill it in, or leave the row out"),
        ((torch.eye(24).to_sparse(), LABELS), "arrays, X: is a sparse, quantized or meta tensor"),
        ((torch.empty(24, 3, 6, 6, device="meta"), LABELS), "arrays, X: is a sparse, quantized or meta tensor"),
        ((np.ma.masked_array(IMAGES, IMAGES > 9), LABELS), "arrays, X: is a masked array, and its gaps have no values"),
        ((IMAGES, IMAGES, LABELS, LABELS), "got 4 arrays; hand over (X, y), or such pairs: ((X, y), (X, y))"),
        (((IMAGES, LABELS), (IMAGES[:, :5], LABELS)), "or hand over ramify.data.load(dataset, image_size=N)"),
        ((RNG.integers(0, 256, (4, 5, 6, 7), dtype=np.uint8), LABELS[:4]), "leaves open which axis holds the channels"),
        ((np.broadcast_to(np.uint8(1), (1, 8193, 8193)), [0]), "is larger than 67108864 pixels"),
        ((np.broadcast_to(np.uint8(1), (1, 6, 6, 257)), [0]), "has 257 channels; images have 1 to 256"),
        ((np.zeros((24, 6, 6), np.uint8), LABELS), "every training image is of one color throughout"),
        ((IMAGES, None), "an array has no labels; hand over (X, y)"),
    ],
)
def test_what_does_not_fit(data, said):
    assert said in refused(data)


def test_options_of_columns_are_for_tables():
    assert refused((IMAGES, LABELS), label_column="x") == (
        "arrays: (X, y) has no columns of images and labels; leave `label_column` out"
    )
    assert "arrays: holds rows of a table, and `image_size` is for images" in refused((ROWS, LABELS), image_size=8)


def test_every_verb_takes_them(tmp_path):
    whole = (IMAGES, LABELS)
    settings = {"network": {"channels": 4, "cells": 1}, "progress": False}
    strategy = strategies.GDAS(epochs=1, batch_size=8)
    found = ramify.search(spaces.NASBench201(), strategy, whole, out=tmp_path / "run", **settings)
    assert found.data.input_size == (3, 6, 6)
    recipe = Recipe(epochs=1, batch_size=8)
    trained = ramify.retrain(found, (whole, whole), recipe=recipe, out=tmp_path / "trained", progress=False)
    assert ramify.evaluate(trained, whole).images == 24
