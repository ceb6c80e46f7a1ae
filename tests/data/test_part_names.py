"""Which part of a data set a name tells."""

from __future__ import annotations

import pytest

from ramify.data.part_names import assign, told_by, told_by_stem
from ramify.errors import DataError


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(
            (name, "train")
            for name in ("train", "TRAIN", "Training", "training_set", "TrainingSet", "trainset", "train2017")
        ),
        *(
            (name, "train")
            for name in ("seg_train", "asl_alphabet_train", "images-train", "train (1)", "trainval", "Train_Data")
        ),
        *((name, "validation") for name in ("val", "Valid", "validation_set", "val_256", "dev", "ValImages")),
        *(
            (name, "test")
            for name in ("test", "Testing", "test_set", "testset", "test1", "eval", "evaluation", "hold_out_test")
        ),
        *(
            (name, None)
            for name in ("cat", "invalid", "contest", "latest", "trainer", "training_and_test", "devil", "strain", "")
        ),
    ],
)
def test_names_of_one_part(name, part):
    told = told_by(name)
    assert (told and told.part) == part


def test_the_last_usual_word_of_a_file_counts():
    assert told_by_stem("cifar10-train").part == "train" and told_by_stem("cifar10-train").start == 8
    assert told_by_stem("test-of-train").part == "train" and told_by_stem("train-eval").part == "train"
    assert told_by_stem("cifar10-testing").part == "test" and told_by_stem("cifar10") is None


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("train val test", {"train": "train", "validation": "val", "test": "test"}),
        ("test_set training_set single_prediction", {"train": "training_set", "test": "test_set"}),
        ("seg_train seg_test seg_pred", {"train": "seg_train", "test": "seg_test"}),
        ("Test Training test-multiple_fruits", {"train": "Training", "test": "Test"}),
        ("train train_aug test test_images", {"train": "train", "test": "test"}),
        ("train_images train_masks test_images", {"train": "train_images", "test": "test_images"}),
        ("train trainval val dev", {"train": "train", "validation": "val"}),
        ("cats_train dogs_test", {"train": "cats_train"}),
        ("cat dog", {}),
    ],
)
def test_names_side_by_side(names, chosen):
    assert assign(names.split(), "here") == chosen


def test_names_that_tell_one_part_equally_well():
    with pytest.raises(DataError, match=r"^here: test1 and test2 could all be the test images; move the others out"):
        assign(["train", "test1", "test2"], "here")
    with pytest.raises(DataError, match="val and valid could all be the validation images"):
        assign(["train", "val", "valid"], "here")
