"""Folders of images as they lie in the wild: parts by many names, classes called like parts, things left out."""

from __future__ import annotations

import os

import numpy as np
import pytest

from pictures import picture
from ramify.data import DataSpec, load
from ramify.data.sources import open_source, open_to_measure
from ramify.errors import DataError

PETS = {"cat": 3, "dog": 2}


def sizes(path, **options):
    return {
        name: len(part.images) for name, part in open_source(DataSpec(source=str(path), **options)).present().items()
    }


def classes(path):
    return sorted(set(open_source(DataSpec(source=str(path))).train.labels))


def notes(path):
    return "; ".join(open_source(DataSpec(source=str(path))).notes)


def refused(path):
    with pytest.raises(DataError) as caught:
        open_source(DataSpec(source=str(path)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    return str(caught.value)


def bands(path, counts, seed=0, shape=(24, 16, 5)):
    """Write a folder of arrays, one subfolder per class."""
    rng = np.random.default_rng(seed)
    for label, count in counts.items():
        (path / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            np.save(path / label / f"{number}.npy", rng.integers(0, 256, shape, dtype=np.uint8))
    return path


def loose(path, count=1):
    path.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(9000 + number).save(path / f"{number}.png")


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("training_set", None, "test_set"),
        ("Training", None, "Testing"),
        ("seg_train", "seg_dev", "seg_test"),
        ("TRAIN", "VAL", "TEST"),
        ("train2017", "val2017", "test2017"),
        ("images_train", "images_val", "images_test"),
        ("TrainImages", "ValidImages", "EvalImages"),
    ],
)
def test_parts_by_other_names(folder, tmp_path, train, validation, test):
    for number, name in enumerate((train, validation, test)):
        if name:
            folder(f"whole/{name}", {"cat": 4 - number, "dog": 1})
    expected = {"train": 5, "validation": 4, "test": 3}
    if validation is None:
        del expected["validation"]
    assert sizes(tmp_path / "whole") == expected
    assert classes(tmp_path / "whole") == ["cat", "dog"] and notes(tmp_path / "whole") == ""


def test_parts_in_a_folder_in_a_folder(folder, tmp_path):
    folder("archive/data set/seg_train/seg_train", PETS)
    folder("archive/data set/seg_test/seg_test", {"dog": 2})
    loose(tmp_path / "archive" / "data set" / "seg_pred" / "seg_pred")
    (tmp_path / "archive" / "__MACOSX").mkdir()
    assert sizes(tmp_path / "archive") == {"train": 5, "test": 2}
    assert notes(tmp_path / "archive") == f"{tmp_path}/archive/data set: seg_pred not used"


def test_parts_beside_other_pictures(folder, tmp_path):
    folder("whole/images/train_data", PETS)
    folder("whole/images/valid_data", {"cat": 1})
    loose(tmp_path / "whole" / "docs" / "figures")
    assert sizes(tmp_path / "whole") == {"train": 5, "validation": 1}
    assert notes(tmp_path / "whole") == f"{tmp_path}/whole: docs not used"


def test_what_is_not_used_is_said(folder, tmp_path):
    folder("whole/train", PETS)
    folder("whole/test", PETS)
    folder("whole/extra", {"cat": 1})
    loose(tmp_path / "whole" / "train")
    (tmp_path / "whole" / "README.md").write_text("")
    (tmp_path / "whole" / "labels.csv").write_text("")
    (tmp_path / "whole" / "train" / "cat" / "moving.gif").write_bytes(b"")
    said = notes(tmp_path / "whole")
    assert f"{tmp_path}/whole: extra, labels.csv not used" in said
    assert f"{tmp_path}/whole/train: 1 files of no known image format not used (.gif)" in said
    assert f"{tmp_path}/whole/train: 0.png not used" in said
    assert sizes(tmp_path / "whole") == {"train": 5, "test": 5}


def test_test_images_without_a_class_are_left_out(folder, tmp_path):
    folder("flat/train", PETS)
    loose(tmp_path / "flat" / "test1", 3)
    folder("keras/train", PETS)
    folder("keras/test", {"unknown": 3})
    folder("tiny/train", PETS)
    folder("tiny/val", {"images": 3})
    for name, part in (("flat", "test1"), ("keras", "test"), ("tiny", "val")):
        assert sizes(tmp_path / name) == {"train": 5}
        assert notes(tmp_path / name).endswith(f"{name}/{part}: not used, its images lie in no folders of the classes")


@pytest.mark.parametrize(
    "names",
    [("bus", "car", "train"), ("train", "plane"), ("valid", "invalid"), ("test_tube", "train_station"), ("dev", "ops")],
)
def test_classes_that_are_called_like_parts(folder, names):
    path = folder("vehicles", dict.fromkeys(names, 2))
    assert classes(path) == sorted(names) and sizes(path) == {"train": 2 * len(names)}


def test_a_folder_of_test_images_among_the_classes(folder, tmp_path):
    folder("whole", PETS)
    folder("whole/test", {"cat": 2, "dog": 2})
    assert sizes(tmp_path / "whole") == {"train": 5, "test": 4} and classes(tmp_path / "whole") == ["cat", "dog"]


def test_folders_that_leave_open_what_they_are(folder, tmp_path):
    for name in ("train", "test1"):
        loose(tmp_path / "bare" / name)
    assert "bare: by the name, parts of a data set are train and test1, but images lie in them" in refused(
        tmp_path / "bare"
    )
    for name in ("cat", "dog"):
        for part in ("train", "test"):
            loose(tmp_path / "inside out" / name / part)
    assert "its folder cat holds train and test, as others do; wanted are the parts first, as in train/cat" in refused(
        tmp_path / "inside out"
    )
    folder("mixed", {"bus": 1, "car": 1})
    folder("mixed/train", {"steam": 1, "diesel": 1})
    assert "mixed: train may hold the training images or be a class, as bus, car seem to be" in refused(
        tmp_path / "mixed"
    )
    folder("two/train1", PETS)
    folder("two/train2", PETS)
    assert "two: train1 and train2 could all be the train images" in refused(tmp_path / "two")


def test_training_images_that_are_hidden_or_missing(folder, tmp_path):
    folder("x/test", PETS)
    (tmp_path / "x" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "x" / "train" / "cat" / "._0.png").write_bytes(b"")
    assert refused(tmp_path / "x").startswith(f"{tmp_path}/x/train: no images")
    folder("y/test_set", PETS)
    assert "y: has test_set, but no folder train; add it, or give the folder to" in refused(tmp_path / "y")


def test_what_is_measured(folder, tmp_path):
    def measured(path):
        parts = open_to_measure(DataSpec(source=str(path)))
        assert path.name == "both" or (parts.train is None and parts.validation is None)
        return len(parts.test.images)

    assert measured(folder("plain", PETS)) == 5
    folder("only/test", PETS)
    assert measured(tmp_path / "only") == 5
    folder("both/train", {"cat": 4, "dog": 4})
    folder("both/test", PETS)
    assert measured(tmp_path / "both") == 5
    folder("imagenet/train", {"cat": 4, "dog": 4})
    folder("imagenet/val", PETS)
    assert measured(tmp_path / "imagenet") == 5
    assert (
        "so its 5 validation images are measured"
        in open_to_measure(DataSpec(source=str(tmp_path / "imagenet"))).notes[-1]
    )


@pytest.mark.parametrize("name", ["test", "Val", "test_images", "unlabeled", "validation set", "holdout"])
def test_a_folder_of_images_that_is_called_like_a_part_is_no_class(folder, tmp_path, name):
    folder("whole", PETS)
    loose(tmp_path / "whole" / name, 3)
    assert classes(tmp_path / "whole") == ["cat", "dog"] and sizes(tmp_path / "whole") == {"train": 5}
    assert notes(tmp_path / "whole") == (
        f"{tmp_path}/whole/{name}: not used, its images lie in no folders of the classes"
    )
    folder("parts/train", PETS)
    loose(tmp_path / "parts" / "train" / name, 3)
    folder("parts/test", PETS)
    assert classes(tmp_path / "parts") == ["cat", "dog"] and sizes(tmp_path / "parts") == {"train": 5, "test": 5}
    assert f"{tmp_path}/parts/train: {name} not used" in notes(tmp_path / "parts")


def test_folders_of_images_beside_those_of_parts(folder, tmp_path):
    folder("one/train", PETS)
    for name in ("val", "test"):
        loose(tmp_path / "one" / name, 2)
    assert sizes(tmp_path / "one") == {"train": 5} and notes(tmp_path / "one").count("no folders of the classes") == 2
    folder("two", PETS)
    folder("two/test", PETS)
    loose(tmp_path / "two" / "val", 2)
    assert sizes(tmp_path / "two") == {"train": 5, "test": 5} and classes(tmp_path / "two") == ["cat", "dog"]


def test_a_folder_that_may_be_a_class_or_a_part_is_refused(tmp_path):
    for names in (("test", "control"), ("test", "val")):
        for name in names:
            loose(tmp_path / "-".join(names) / name, 2)
    assert "test may hold images for testing or be a class, as control seems to be; wanted is" in refused(
        tmp_path / "test-control"
    )
    assert "test, val may hold images for testing; wanted is one subfolder per class" in refused(tmp_path / "test-val")


def test_hidden_images_are_counted_and_not_used(folder, tmp_path):
    whole = folder("whole", PETS)
    loose(whole / "cat" / ".ipynb_checkpoints", 2)
    loose(whole / "dog" / "deep" / "__MACOSX", 1)
    loose(whole / "dog" / "deep" / "more", 1)
    (whole / "dog" / "._0.png").write_bytes(b"")
    assert sizes(whole) == {"train": 6}
    assert notes(whole) == f"{whole}: 4 hidden images not used, such as cat/.ipynb_checkpoints/0.png"
    for name in PETS:
        loose(tmp_path / "odd" / "train" / name / ".ipynb_checkpoints")
    assert "train/cat: this class has no image" in refused(tmp_path / "odd")


def test_parts_beside_the_given_folder_are_named(folder, parquet, tmp_path):
    for part in ("train", "val", "test"):
        folder(f"pets/{part}", PETS)
        (tmp_path / part).mkdir()
        parquet(f"{part}/0.parquet", [0, 1] * 4, seed=len(part))
    pets = tmp_path / "pets"
    said = f"{pets}/val and {pets}/test lie beside and are not used; --data {pets} would"
    assert notes(pets / "train") == said and sizes(pets / "train") == {"train": 5}
    assert notes(pets / "test") == notes(pets) == ""
    assert open_source(DataSpec(source=str(pets / "train"), test=str(pets / "test"))).notes == ()
    folder("seg/seg_train", PETS)
    folder("seg/seg_test", PETS)
    folder("seg/testimonials", PETS)
    (tmp_path / "seg" / "seg_val").mkdir()
    assert notes(tmp_path / "seg" / "seg_train").endswith(
        f"seg/seg_test lies beside and is not used; --data {tmp_path}/seg would"
    )
    assert "lie beside and are not used" in notes(tmp_path / "train")


def test_images_without_folders_of_classes_are_said_to_be_that(folder, tmp_path):
    loose(tmp_path / "dogs-vs-cats" / "train" / "train", 3)
    loose(tmp_path / "dogs-vs-cats" / "test1", 2)
    loose(tmp_path / "pets" / "images", 3)
    loose(tmp_path / "cats", 3)
    flat = {"dogs-vs-cats": "train/train", "dogs-vs-cats/train": "train", "pets": "images", "cats": ""}
    for name, inner in flat.items():
        path = tmp_path / name
        where = path / inner if inner else path
        assert refused(path).startswith(f"{where}: its images lie in no folders of the classes; wanted is one")
    with pytest.raises(DataError, match="its images lie in no folders of the classes"):
        open_to_measure(DataSpec(source=str(tmp_path / "dogs-vs-cats")))
    loose(tmp_path / "other" / "cat", 2)
    assert len(open_to_measure(DataSpec(source=str(tmp_path / "other"))).test.images) == 2


def test_a_copy_of_the_classes_beside_them_is_not_used(folder, tmp_path):
    folder("tumour", {"no": 3, "yes": 2})
    folder("tumour/brain_tumour", {"no": 3, "yes": 2})
    assert classes(tmp_path / "tumour") == ["no", "yes"] and sizes(tmp_path / "tumour") == {"train": 5}
    assert notes(tmp_path / "tumour") == f"{tmp_path}/tumour: brain_tumour not used"
    for part in ("train", "test"):
        folder(f"parts/{part}", {"no": 3, "yes": 2})
        folder(f"parts/{part}/{part}", {"no": 3, "yes": 2})
    assert classes(tmp_path / "parts") == ["no", "yes"] and sizes(tmp_path / "parts") == {"train": 5, "test": 5}
    assert f"{tmp_path}/parts/test: test not used" in notes(tmp_path / "parts")


@pytest.mark.parametrize("names", [("fold1", "fold2"), ("color", "grey", "segmented"), ("learning", "test")])
def test_folders_that_all_hold_the_same_classes_are_refused(folder, tmp_path, names):
    for name in names:
        folder(f"whole/{name}", PETS)
    assert f"{', '.join(names[:2])}" in refused(tmp_path / "whole")
    assert "all hold cat, dog, so it is open which are the classes; give one of these" in refused(tmp_path / "whole")
    assert classes(tmp_path / "whole" / names[0]) == ["cat", "dog"]


def test_folders_in_all_classes_are_named(folder, tmp_path):
    folder("whole/colon", {"colon_n": 2, "colon_aca": 1})
    folder("whole/lung", {"lung_n": 1, "lung_aca": 1})
    assert classes(tmp_path / "whole") == ["colon", "lung"]
    assert notes(tmp_path / "whole") == f"{tmp_path}/whole: the classes are colon, lung, whatever folders are in them"


def test_folders_may_be_links(folder, tmp_path):
    for part in ("train", "test"):
        folder(f"all/{part}", {**PETS, "eel": 1})
        (tmp_path / "some" / part).mkdir(parents=True)
        for name in PETS:
            (tmp_path / "some" / part / name).symlink_to(tmp_path / "all" / part / name)
    assert sizes(tmp_path / "some") == {"train": 5, "test": 5} and classes(tmp_path / "some") == ["cat", "dog"]
    (tmp_path / "deep" / "data").mkdir(parents=True)
    (tmp_path / "deep" / "data" / "set").symlink_to(tmp_path / "some")
    assert sizes(tmp_path / "deep") == {"train": 5, "test": 5}
    (tmp_path / "none" / "inner").mkdir(parents=True)
    (tmp_path / "none" / "inner" / "around").symlink_to(tmp_path / "none")
    assert "no image" in refused(tmp_path / "none")


def test_arrays_are_images(tmp_path, capsys):
    whole = bands(tmp_path / "whole" / "train", {"cat": 6, "dog": 4})
    bands(tmp_path / "whole" / "test", {"cat": 1, "dog": 2}, seed=1)
    data = load(tmp_path / "whole")
    assert capsys.readouterr().err == ""
    assert data.input_size == (5, 24, 16) and data.classes == ("cat", "dog") and len(data.split("test")) == 3
    first = np.load(whole / "cat" / "0.npy")
    assert np.array_equal(data._stores["pool"][0][:1][0].numpy(), first)
    for file in whole.parent.rglob("*.npy"):  # the same images, channels first
        np.save(file, np.load(file).transpose(2, 0, 1))
    assert load(tmp_path / "whole").fingerprint == data.fingerprint
    assert load(tmp_path / "whole", image_size=(12, 8)).input_size == (5, 12, 8)
    np.save(whole / "dog" / "9.npy", first[..., :4])
    assert "9.npy: images of one data set have equally many channels; this one has 4, and others have 5" in not_loaded(
        whole
    )
    np.save(whole / "dog" / "9.npy", np.array([{}]), allow_pickle=True)
    assert "9.npy: holds Python objects, which are not read; save a plain array" in not_loaded(whole)
    (whole / "dog" / "9.npy").write_bytes(b"no array")
    assert "9.npy: not a readable image (" in not_loaded(whole)


@pytest.mark.parametrize("name", ["9.npy", "9.png"])
def test_pipes_are_not_waited_for(folder, tmp_path, name):
    path = folder("x", PETS)
    os.mkfifo(path / "cat" / name)
    assert f"{name}: is a pipe, which nobody may ever write to; remove it" in not_loaded(path)


def not_loaded(path):
    with pytest.raises(DataError) as caught:
        load(path, quiet=True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    return str(caught.value)


def test_arrays_lie_among_pictures_and_beside_them(folder, tmp_path):
    path = folder("x", PETS)
    bands(path, {"cat": 2}, shape=(8, 8))
    assert sizes(path, test_fraction=0) == {"train": 7}
    assert load(path).input_size == (3, 8, 8)
    for number in range(2):  # what belongs to an image is none
        (path / "dog" / f"{number:03}.npy").write_bytes(b"features")
    assert sizes(path) == {"train": 7}
    assert notes(path) == f"{path}: 2 arrays beside an image of the same name not used, such as dog/000.npy"
    np.save(tmp_path / "x" / "labels.npy", np.arange(7))  # an array beside folders is no image
    (tmp_path / "around").mkdir()
    path.rename(tmp_path / "around" / "archive")
    np.save(tmp_path / "around" / "split.npy", np.arange(7))
    assert sizes(tmp_path / "around") == {"train": 7} and classes(tmp_path / "around") == ["cat", "dog"]


def test_test_images_of_arrays_without_classes_are_left_out(tmp_path):
    path = bands(tmp_path / "x", {"cat": 3, "dog": 3, "test": 2})
    assert sizes(path) == {"train": 6} and classes(path) == ["cat", "dog"]
    assert notes(path) == f"{path / 'test'}: not used, its images lie in no folders of the classes"
