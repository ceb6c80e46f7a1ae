"""Batches follow from their arguments alone; test images come through `split("test")` only."""

from __future__ import annotations

import pickle
from datetime import datetime

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from ramify.data import Augmentation, load
from ramify.data import pixels as pixels_module
from ramify.errors import DataError


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 3, 6, 6), dtype=torch.uint8, generator=generator)
    return load(TensorDataset(images, torch.arange(60) % 4))


FULL = Augmentation(crop=2, flip=True, cutout=3)


def equal(some, others):
    some, others = list(some), list(others)
    return len(some) == len(others) and all(
        torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(some, others, strict=True)
    )


@given(
    batch_size=st.integers(1, 70),
    start=st.integers(0, 6),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_start_gives_the_tail_of_a_full_pass(data, batch_size, start, shuffle, drop_last, seed, epoch):
    split = data.split("search_train")
    arguments = {"seed": seed, "epoch": epoch, "shuffle": shuffle, "drop_last": drop_last, "augmentation": FULL}
    whole = list(split.batches(batch_size, **arguments))
    assert len(whole) == split.num_batches(batch_size, drop_last)
    assert equal(whole[start:], split.batches(batch_size, **arguments, start=start))


def test_a_batch_is_normalized_and_channels_last(data):
    split = data.split("train")
    ((x, y),) = split.batches(48, seed=0)
    assert x.shape == (48, 3, 6, 6) and x.is_contiguous(memory_format=torch.channels_last)
    assert x.dtype == torch.float32 and y.dtype == torch.int64 and y.shape == (48,)
    torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes_agree(data, dtype):
    split = data.split("test")
    ((x, _),) = split.batches(20, seed=0, dtype=dtype)
    ((single, _),) = split.batches(20, seed=0)
    assert x.dtype == dtype and x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x.float(), single, rtol=1e-2, atol=1e-2 if dtype == torch.bfloat16 else 1e-3)


def test_seed_epoch_and_split_change_order_and_augmentation(data):
    split = data.split("search_train")

    def one_pass(of=split, **changed):
        return of.batches(8, **{"seed": 0, "epoch": 0, "shuffle": True, "augmentation": FULL} | changed)

    assert equal(one_pass(), one_pass())
    assert not equal(one_pass(), one_pass(seed=1))
    assert not equal(one_pass(), one_pass(epoch=1))
    labels = [
        torch.cat([y for _, y in one_pass(of=data.split(name))]) for name in ("search_train", "search_validation")
    ]
    assert labels[0].bincount().tolist() == labels[1].bincount().tolist() and not torch.equal(*labels)


def test_a_shuffled_pass_has_every_image_once(data):
    split = data.split("train")
    plain = torch.cat([x for x, _ in split.batches(7, seed=0)])
    mixed = torch.cat([x for x, _ in split.batches(7, seed=0, shuffle=True)])
    assert not torch.equal(plain, mixed)
    as_rows = [sorted(map(tuple, x.flatten(1).tolist())) for x in (plain, mixed)]
    assert as_rows[0] == as_rows[1]


def test_nothing_is_drawn_from_global_state(data):
    before = torch.get_rng_state()
    list(data.split("train").batches(8, seed=0, shuffle=True, augmentation=FULL))
    assert torch.equal(before, torch.get_rng_state())


def test_streamed_batches_are_the_same(data, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 3, 6, 6), dtype=torch.uint8, generator=generator)
    monkeypatch.setattr(pixels_module, "memory_limit", 0)
    streamed = load(TensorDataset(images, torch.arange(60) % 4))
    arguments = {"seed": 5, "epoch": 1, "shuffle": True, "augmentation": FULL}
    for name in ("search_validation", "test"):
        whole = list(data.split(name).batches(7, **arguments))
        assert equal(whole, streamed.split(name).batches(7, **arguments))
    assert equal(whole[1:], streamed.split("test").batches(7, **arguments, start=1))
    assert streamed.mean == data.mean and streamed.std == data.std  # fewer images than the sample
    assert streamed.fingerprint == data.fingerprint


def test_splits_share_no_image_and_the_pool_is_their_union(data):
    images = {
        name: {tuple(x.flatten().tolist()) for batch, _ in data.split(name).batches(16, seed=0) for x in batch}
        for name in ("train", "search_train", "search_validation", "test")
    }
    assert images["train"] == images["search_train"] | images["search_validation"]
    assert sum(map(len, images.values())) == 48 + 24 + 24 + 12
    assert not images["train"] & images["test"] and not images["search_train"] & images["search_validation"]


def test_test_reads_are_recorded_with_their_purpose():
    data = load("digits")
    data.split("train")
    assert data.reads == []
    data.split("test", "final accuracy")
    moved = data.to("cpu")
    moved.split("test")
    assert [(read["split"], read["purpose"], read["images"]) for read in data.reads] == [
        ("test", "final accuracy", 359),
        ("test", "", 359),
    ]
    assert datetime.fromisoformat(data.reads[0]["time"]).tzinfo is not None


def test_test_images_are_reachable_through_their_split_only(data):
    public = {name for name in dir(data) if not name.startswith("_")}
    assert public == {
        *("name", "classes", "num_classes", "input_size", "in_channels", "mean", "std", "fingerprint"),
        *("augmentation", "split", "reads", "to", "shape", "features"),
        *("targets", "target_names", "target_mean", "target_std", "holding_out"),
    }
    pool = data.split("train")._inputs
    assert len(pool) == len(data.split("train"))  # not even in the memory that the other splits share


def test_data_survives_pickling(data):
    copy = pickle.loads(pickle.dumps(data))
    assert copy.fingerprint == data.fingerprint
    assert equal(copy.split("train").batches(9, seed=1), data.split("train").batches(9, seed=1))


def test_unknown_and_empty_splits():
    data = load("digits")
    with pytest.raises(DataError, match="no split 'tset': did you mean 'test'"):
        data.split("tset")
    without = load(TensorDataset(torch.eye(2).expand(3, 1, 2, 2), torch.tensor([0, 1, 1])))
    with pytest.raises(DataError, match="tensordataset: the split 'search_validation' is empty") as caught:
        without.to("cpu")._rows["search_validation"].resize_(0)
        without.split("search_validation")
    assert "\n" not in str(caught.value)


def test_wrong_arguments_are_refused_at_once(data):
    split = data.split("train")
    with pytest.raises(ValueError, match="`batch_size` >= 1 and `start` >= 0 must hold, got 0 and 0"):
        split.batches(0, seed=0)
    with pytest.raises(ValueError, match=r"floating type, got torch\.uint8"):
        split.batches(4, seed=0, dtype=torch.uint8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_gpu_are_those_of_the_cpu(data):
    there = data.to("cuda")
    pairs = zip(
        data.split("train").batches(7, seed=0, shuffle=True, augmentation=FULL),
        there.split("train").batches(7, seed=0, shuffle=True, augmentation=FULL),
        strict=True,
    )
    for (x, y), (a, b) in pairs:
        assert a.is_cuda and torch.equal(y, b.cpu())
        torch.testing.assert_close(x, a.cpu())
