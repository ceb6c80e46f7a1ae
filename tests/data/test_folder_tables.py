"""Folders of images with a table of their labels, and ImageNet as it lies with people."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from pictures import picture
from ramify.cli import main
from ramify.data import DataSpec, folder_tables, load
from ramify.data.sources import open_source
from ramify.errors import DataError

NAMES = [f"{number:03}" for number in range(12)]


def images(folder, names=NAMES, suffix=".png"):
    """Write images of other contents in every folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(sum(place * letter for place, letter in enumerate(str(path).encode())), 8, 8).save(path)
    return folder


def table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def labels(names=NAMES, ending="", folder=""):
    return [f"{folder}{name}{ending},{('cat', 'dog')[place % 2]}" for place, name in enumerate(names)]


def opened(source, **options):
    return open_source(DataSpec(source=str(source), **options))


def sizes(parts):
    return {name: len(part.images) for name, part in parts.present().items()}


def refused(source, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(source, quiet=True, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    return str(caught.value)


@pytest.mark.parametrize("where", ["", "images", "train", "photos"])
@pytest.mark.parametrize(
    "header, ending, folder",
    [
        ("filename,label", ".png", ""),
        ("id,breed", "", ""),
        ("Image,Target", ".png", ""),
        ("path,class", ".png", "{}/"),
        ("path,class", ".png", "./{}/"),
        ("path,class", ".png", "{}\\"),
        ("picture_of,what", ".png", ""),
    ],
)
def test_names_of_columns_and_files(tmp_path, where, header, ending, folder):
    images(tmp_path / where)
    folder = folder.format(where) if where else ""
    table(tmp_path / "labels.csv", header, labels(ending=ending, folder=folder))
    parts = opened(tmp_path)
    assert sizes(parts) == {"train": 12} and parts.train.labels == ["cat", "dog"] * 6 and not parts.notes
    assert [path.stem for path in parts.train.images.paths] == NAMES
    if ending:
        assert opened(tmp_path / "labels.csv").train.labels == parts.train.labels


def test_columns_can_be_named(tmp_path):
    images(tmp_path / "images")
    table(tmp_path / "any.csv", "a,file,b,age", [f"x,{name},{place % 3},{place}.5" for place, name in enumerate(NAMES)])
    assert "no column is known to hold the label (columns: a, b, age); set `label_column`" in refused(tmp_path)
    assert opened(tmp_path, label_column="b").train.labels == [0, 1, 2] * 4
    assert opened(tmp_path, label_column="b", image_column="file").train.labels == [0, 1, 2] * 4
    assert "no column 'c'; known: a, age, b" in refused(tmp_path, label_column="c")
    assert "no column 'fil'; did you mean 'file'?" in refused(tmp_path, label_column="b", image_column="fil")
    data = load(tmp_path, label_column="age,b", targets="values", quiet=True)
    assert data.target_names == ("age", "b") and data.input_size == (3, 8, 8)
    data = load(tmp_path / "any.csv", label_column="age", image_column="file", targets="values", quiet=True)
    assert data.target_names == ("age",)


def test_classes_remain_folders_unless_columns_are_named(tmp_path):
    for name in ("cat", "dog", "eel"):
        images(tmp_path / name, [f"{name}{number}" for number in range(4)])
    names = [f"{name}{number}" for name in ("cat", "dog", "eel") for number in range(4)]
    table(
        tmp_path / "meta.csv", "id,size", [f"{name},{('big', 'small')[place % 2]}" for place, name in enumerate(names)]
    )
    assert set(opened(tmp_path).train.labels) == {"cat", "dog", "eel"}
    assert set(opened(tmp_path, label_column="size").train.labels) == {"big", "small"}
    assert set(opened(tmp_path / "meta.csv").train.labels) == {"big", "small"}


def test_missing_and_surplus_files_are_said(tmp_path):
    images(tmp_path / "images", [*NAMES, "more", "much"])
    table(tmp_path / "labels.csv", "id,label", labels([*NAMES, "gone", "lost"]))
    parts = opened(tmp_path)
    assert sizes(parts) == {"train": 12} and parts.notes == (
        f"{tmp_path}/labels.csv: 2 of the 14 images that it lists are not there and left out, such as 'gone' in row 14",
        f"{tmp_path}: 2 images are not used, which no table lists, such as images/more.png",
    )
    assert opened(tmp_path / "labels.csv").notes == parts.notes
    table(tmp_path / "labels.csv", "id,label", labels([*NAMES[:4], *"abcdef"]))
    assert refused(tmp_path, image_column="id") == (
        f"{tmp_path}/labels.csv: 6 of the 10 images that column 'id' lists are not below {tmp_path}, "
        "such as 'a' in row 6"
    )
    table(tmp_path / "labels.csv", "file,label", labels(ending=".jpg"))
    assert "12 of the 12 images that column 'file' lists are not below" in refused(tmp_path)


def test_a_name_in_several_folders(tmp_path):
    for folder in ("train", "test"):
        images(tmp_path / folder)
    table(tmp_path / "labels.csv", "id,label", labels())
    parts = opened(tmp_path)
    assert {path.parent.name for path in parts.train.images.paths} == {"train"}
    assert f"{tmp_path}: 12 images are not used, which no table lists, such as test/000.png" in parts.notes
    (tmp_path / "train").rename(tmp_path / "images_1")
    (tmp_path / "test").rename(tmp_path / "images_2")
    assert refused(tmp_path) == (
        f"{tmp_path}: '000' may be images_1/000.png, images_2/000.png; write paths in the table, as images_1/000.png"
    )
    np.save(images(tmp_path / "other") / "000.npy", np.zeros((8, 8)))  # of the image beside it
    table(tmp_path / "other" / "labels.csv", "id,label", labels())
    assert opened(tmp_path / "other").train.images.paths[0].suffix == ".png"


def test_a_column_may_name_the_parts(tmp_path):
    images(tmp_path / "images")
    words = ["train"] * 6 + ["Validation"] * 2 + ["test"] * 4
    rows = [f"{row},{word}" for row, word in zip(labels(), words, strict=True)]
    table(tmp_path / "all.csv", "id,label,split", rows)
    parts = opened(tmp_path)
    assert sizes(parts) == {"train": 6, "validation": 2, "test": 4}
    assert parts.test.labels == ["cat", "dog"] * 2 and parts.test.images.paths[0].stem == "008"
    assert sizes(opened(tmp_path / "all.csv", image_column="id")) == sizes(parts)
    table(tmp_path / "all.csv", "id,label,split", [*rows, *[f"{NAMES[0]},cat,train"] * 50, f"{NAMES[0]},cat,none"])
    assert f"{tmp_path}/all.csv, row 64: 'none' in column 'split' names no part; wanted is train," in refused(tmp_path)
    table(tmp_path / "all.csv", "id,label,split", [row.replace("train", "test") for row in rows])
    assert "its tables name parts, but none for train; call one train" in refused(tmp_path)


def test_tables_for_the_parts(tmp_path):
    images(tmp_path / "train_images")
    images(tmp_path / "test_images", ["t1", "t2"])
    table(tmp_path / "train.csv", "image_id,label", labels())
    table(tmp_path / "test.csv", "image_id", ["t1", "t2"])
    table(tmp_path / "sample_submission.csv", "image_id,label", ["t1,0", "t2,0"])
    parts = opened(tmp_path)
    assert sizes(parts) == {"train": 12, "test": 2} and parts.test.labels == [None, None]
    assert parts.notes == (f"{tmp_path}: sample_submission.csv not used",)
    assert len(load(tmp_path, quiet=True).split("test")) == 2  # hidden labels: a fifth of each class is held out
    table(tmp_path / "test.csv", "image_id,label", labels(["t1", "t2"]))
    assert opened(tmp_path).test.labels == ["cat", "dog"]
    table(tmp_path / "test.csv", "image_id", ["t3", "t4"])
    assert "test.csv: 2 of the 2 images that column 'image_id' lists are not below" in refused(tmp_path)
    table(tmp_path / "test.csv", "image_id", ["t1", "t2"])
    table(tmp_path / "more.csv", "image_id,label", labels())
    assert "more.csv, sample_submission.csv not used" in opened(tmp_path).notes[0]
    (tmp_path / "train.csv").rename(tmp_path / "whole.csv")
    assert f"{tmp_path}: more.csv, whole.csv may each hold the labels of its images; give one, as --data" in refused(
        tmp_path
    )
    (tmp_path / "whole.csv").rename(tmp_path / "labels.csv")
    assert sizes(opened(tmp_path)) == {"train": 12}


def test_folders_around_and_beside(tmp_path):
    images(tmp_path / "archive" / "puppies" / "jpeg")
    table(
        tmp_path / "archive" / "puppies" / "annotations" / "labels.tsv",
        "id\tbreed",
        [row.replace(",", "\t") for row in labels()],
    )
    parts = opened(tmp_path)
    assert sizes(parts) == {"train": 12} and not parts.notes
    (tmp_path / "archive" / "puppies" / "loop").symlink_to(tmp_path / "archive")
    assert sizes(opened(tmp_path)) == {"train": 12}


def test_the_command_line_takes_them(tmp_path, capsys):
    images(tmp_path / "pets" / "images", [*NAMES, *(f"1{name}" for name in NAMES)])
    names = [*NAMES, *(f"1{name}" for name in NAMES)]
    table(
        tmp_path / "pets" / "list.csv", "file,age,kind", [f"{name},3,{place % 2}" for place, name in enumerate(names)]
    )
    words = "search --space NASBench201 --strategy GDAS --strategy.epochs 1 --network.channels 4 --network.cells 1"
    words += f" --data {tmp_path}/pets --data.label_column kind --out {tmp_path}/run --progress false"
    assert main(words.split()) == 0, capsys.readouterr().err


# ImageNet

CLASSES = ("n01440764", "n01443537", "n02084071")
VALIDATION = [f"ILSVRC2012_val_{number:08}" for number in range(1, 7)]


@pytest.fixture
def imagenet(tmp_path):
    """Write ImageNet as its archives hold it: folders of classes for training, and none for validation."""
    for name in CLASSES:
        images(tmp_path / "train" / name, [f"{name}_{number}" for number in range(4)], ".JPEG")
    images(tmp_path / "val", VALIDATION, ".JPEG")
    return tmp_path


def of_classes():
    return [CLASSES[number % 3] for number in range(6)]


def kit(folder, numbers=(2, 9, 5, 2, 9, 5)):
    """Write the lists of the development kit, whose numbers are in no order of the names."""
    folder.mkdir(parents=True)
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(2, CLASSES[0], "tench", "", 0), (9, CLASSES[1], "goldfish", "", 0), (5, CLASSES[2], "dog", "", 0)]
    savemat(folder / "meta.mat", {"synsets": np.array([*rows, (1001, "n00001740", "entity", "", 3)], dtype=kind)})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in numbers))


def test_imagenet_with_folders_for_both(imagenet, capsys):
    for name, label in zip(VALIDATION, of_classes(), strict=True):
        (imagenet / "val" / label).mkdir(exist_ok=True)
        (imagenet / "val" / f"{name}.JPEG").rename(imagenet / "val" / label / f"{name}.JPEG")
    data = load(imagenet, validation_is_test=True, image_size=8)
    assert data.classes == CLASSES and capsys.readouterr().err == ""
    assert len(data.split("train")) == 12 and len(data.split("test")) == 6


def test_imagenet_without_labels_says_how_to_arrange_it(imagenet):
    with pytest.raises(DataError) as caught:
        load(imagenet)
    assert str(caught.value) == (
        f"{imagenet}/val: ImageNet's validation images in no folders of classes; move each into val/WNID, or put "
        "beside val: LOC_val_solution.csv of Kaggle, or ILSVRC2012_validation_ground_truth.txt and meta.mat of the "
        "devkit"
    )


@pytest.mark.parametrize("place", ["", "val", "ILSVRC2012_devkit_t12/data", "devkit/data"])
def test_imagenet_with_the_development_kit(imagenet, place):
    kit(imagenet / "kit")
    (imagenet / place).mkdir(parents=True, exist_ok=True)
    for file in (imagenet / "kit").iterdir():
        file.rename(imagenet / place / file.name)
    (imagenet / "kit").rmdir()
    parts = opened(imagenet)
    assert sizes(parts) == {"train": 12, "validation": 6} and parts.validation.labels == of_classes()
    assert parts.notes in ((), (f"{imagenet}: meta.mat not used",))
    alone = opened(imagenet / "val")
    assert alone.train.labels == of_classes() and alone.name == "val"
    assert sizes(opened(imagenet, test=str(imagenet / "val"))) == {"train": 12, "test": 6}
    (imagenet / "val" / f"{VALIDATION[0]}.JPEG").unlink()  # the others keep their numbers
    assert opened(imagenet).validation.labels == of_classes()[1:]


def test_imagenet_of_kaggle(imagenet):
    root = imagenet / "kaggle"
    inner = root / "ILSVRC" / "Data" / "CLS-LOC"
    inner.mkdir(parents=True)
    for name in ("train", "val"):
        (imagenet / name).rename(inner / name)
    images(inner / "test", ["ILSVRC2012_test_00000001"], ".JPEG")
    (root / "ILSVRC" / "Annotations").mkdir()
    rows = [f"{name},{label} 1 2 3 4 {label} 5 6 7 8 " for name, label in zip(VALIDATION, of_classes(), strict=True)]
    table(root / "LOC_val_solution.csv", "ImageId,PredictionString", reversed(rows))
    table(root / "LOC_train_solution.csv", "ImageId,PredictionString", ["n01440764_0,n01440764 1 2 3 4"])
    for source in (root, root / "ILSVRC", inner):
        parts = opened(source)
        assert sizes(parts) == {"train": 12, "validation": 6} and parts.validation.labels == of_classes()
        assert not any("LOC_val_solution" in note for note in parts.notes)
        assert f"{inner}/test: not used, its images lie in no folders of the classes" in parts.notes
    table(root / "LOC_val_solution.csv", "ImageId,PredictionString", rows[:3])
    assert f"LOC_val_solution.csv: says no class of {VALIDATION[3]}.JPEG in" in refused(inner)
    table(root / "LOC_val_solution.csv", "ImageId,Label", rows)
    assert "its columns are ImageId, Label, and Kaggle's are ImageId, PredictionString" in refused(inner)
    table(root / "LOC_val_solution.csv", "ImageId,PredictionString", [f"{VALIDATION[0]},"])
    assert "LOC_val_solution.csv, row 2: wanted are the name of an image and its class" in refused(inner)


def test_damaged_lists_of_the_development_kit(imagenet, monkeypatch):
    place = imagenet / "devkit" / "data"
    kit(place, (2, 9, 5, 2, 9))
    assert f"says no class of {VALIDATION[5]}.JPEG" in refused(imagenet)
    truth = place / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("2\n9\n77\n")
    assert "'77' is no number of a class in meta.mat" in refused(imagenet)
    (place / "meta.mat").write_bytes(b"damaged")
    assert f"{place}/meta.mat: not the development kit's (" in refused(imagenet)
    (place / "meta.mat").unlink()
    assert "meta.mat: cannot be read (No such file" in refused(imagenet)
    monkeypatch.setattr(folder_tables, "_LARGEST", 3)
    assert "and that of the development kit has not" in refused(imagenet)


def test_other_parts_with_a_table_beside_them(imagenet):
    (imagenet / "val").rename(imagenet / "away")
    images(imagenet / "test", ["a", "b"])
    assert sizes(opened(imagenet)) == {"train": 12}
    table(imagenet / "test.csv", "file,class", [f"a,{CLASSES[0]}", f"b,{CLASSES[1]}"])
    parts = opened(imagenet)
    assert sizes(parts) == {"train": 12, "test": 2} and parts.test.labels == list(CLASSES[:2])
    table(imagenet / "test.csv", "file", ["a", "b"])  # says no classes
    assert sizes(opened(imagenet)) == {"train": 12}
