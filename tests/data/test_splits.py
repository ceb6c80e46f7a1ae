"""Splits are disjoint, complete and stratified; published lists are the published ones."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify.data.splits import balanced, nasbench201_cifar10, read_split_file, stratified
from ramify.errors import DataError
from ramify.seeding import stream

labelings = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(torch.tensor)


@given(labelings, st.floats(0, 1), st.integers(0, 10**6))
def test_stratified_parts_are_disjoint_complete_and_in_proportion(labels, fraction, seed):
    first, second = stratified(labels, fraction, stream(seed, "test"))
    assert torch.cat([first, second]).sort().values.tolist() == list(range(len(labels)))
    assert first.tolist() == sorted(first.tolist()) and second.tolist() == sorted(second.tolist())
    assert abs(len(second) - fraction * len(labels)) <= 0.5 + 1e-6
    for label in labels.unique():
        members = int((labels == label).sum())
        assert abs(int((labels[second] == label).sum()) - fraction * members) <= 1 + 1e-6


@given(labelings, st.integers(0, 90), st.integers(0, 10**6))
def test_balanced_takes_equal_numbers_while_classes_last(labels, count, seed):
    chosen = balanced(labels, count, stream(seed, "test"))
    assert len(chosen) == min(count, len(labels)) == len(chosen.unique())
    taken = labels[chosen].bincount(minlength=6)
    spare = labels.bincount(minlength=6) - taken
    for one in range(6):
        for other in range(6):
            if spare[one]:  # a class with images left over has at most one less than any other
                assert taken[other] <= taken[one] + 1


def test_another_seed_is_another_split():
    labels = torch.arange(100) % 4
    a, b, again = (stratified(labels, 0.5, stream(seed, "split"))[0].tolist() for seed in (0, 1, 0))
    assert a != b and a == again


def test_nasbench201_halves_are_the_published_ones():
    train, valid = (half.tolist() for half in nasbench201_cifar10())
    assert train[:20] == [0, 5, 7, 11, 13, 15, 16, 17, 20, 24, 26, 28, 30, 31, 32, 34, 36, 37, 39, 40]
    assert valid[:20] == [1, 2, 3, 4, 6, 8, 9, 10, 12, 14, 18, 19, 21, 22, 23, 25, 27, 29, 33, 35]
    assert train[-5:] == [49988, 49989, 49990, 49992, 49994]
    assert (train[111], valid[111]) == (203, 242)  # as AutoDL-Projects asserts
    # The published file, written out again, has as many characters, and this where its second page of text begins.
    lists = ", ".join(f'"{index}"' for index in train)
    text = f'{{\n  "train"              : ["int"   , [{lists}]],\n'
    assert text[212000:212030] == '305", "48308", "48310", "48314'
    assert sorted(train + valid) == list(range(50_000)) and len(train) == 25_000


def test_split_file_round_trip(tmp_path):
    path = tmp_path / "split.txt"
    path.write_text(json.dumps({"train": ["int", ["5", "0"]], "valid": ["int", ["1", "2"]]}))
    assert {name: index.tolist() for name, index in read_split_file(str(path)).items()} == {
        "train": [0, 5],
        "valid": [1, 2],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1, 2]", "names `train` and `valid`, or `xvalid` and `xtest`"),
        ('{"train": ["int", []], "test": ["int", []]}', "names `train` and `valid`"),
        ('{"train": ["int", ["a"]], "valid": ["int", []]}', "'train' is not a list of indices"),
        ('{"train": ["int", ["99999999999999999999"]], "valid": ["int", []]}', "'train' is not a list of indices"),
        ('{"train": 7, "valid": ["int", []]}', "'train' is not a list of indices"),
        ('{"train": ["str", ["1"]], "valid": ["int", []]}', "declared as 'str'"),
        ('{"train": ["int", ["1", "3"]], "valid": ["int", ["3"]]}', "index 3 occurs twice"),
        ('{"train": ["int", ["-1"]], "valid": ["int", ["3"]]}', "index -1 is negative"),
    ],
)
def test_damaged_split_files_are_named(tmp_path, content, message):
    path = tmp_path / "split.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_split_file(str(path))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_missing_split_file():
    with pytest.raises(DataError, match=r"nowhere\.txt: the split file cannot be read"):
        read_split_file("nowhere.txt")
