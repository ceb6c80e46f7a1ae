"""No test image is trained on: the same files, links, copies, and rows of tables."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from pictures import picture, png
from ramify.data import DataSpec, load
from ramify.data import overlap as module
from ramify.data.encoded import Arrays, Files, join
from ramify.data.overlap import rows_apart
from ramify.errors import DataError


def digests(data, split):
    return [x.numpy().tobytes() for batch, _ in data.split(split).batches(64, seed=0) for x in batch]


def sizes_apart(source, test, **options):
    """Load, check that test images are in no other part, and return the sizes."""
    data = load(DataSpec(source=str(source), test=str(test), **options))
    test_images = set(digests(data, "test"))
    for split in ("train", "search_train", "search_validation"):
        assert not test_images & set(digests(data, split))
    return len(data.split("train")), len(data.split("test"))


@pytest.fixture
def pets(folder, tmp_path):
    folder("pets/train", {"cat": 6, "dog": 6})
    folder("pets/val", {"cat": 3, "dog": 3})
    return tmp_path / "pets"


def test_a_folder_of_the_source(pets, capsys):
    assert sizes_apart(pets, pets / "val") == (12, 6)
    assert capsys.readouterr().err == (
        f"{pets}: 6 images are test images too, in {pets}/val, and taken out of the other parts\n"
    )
    assert sizes_apart(f"{pets.parent}/./pets", pets / "val", split="random") == (12, 6)
    assert sizes_apart(pets / "train", pets) == (12, 6)  # the part that is measured is not the one that is trained on
    assert capsys.readouterr().err.count("taken out") == 1


@pytest.mark.parametrize("put", [shutil.copy, os.symlink, os.link])
def test_copies_and_links(pets, put):
    for file in sorted((pets / "train").rglob("00[01].png")):
        place = pets.parent / "held" / file.parent.name / f"renamed-{file.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        put(file, place)
    assert sizes_apart(pets / "train", pets.parent / "held") == (8, 4)
    (pets.parent / "link").symlink_to(pets / "train")
    with pytest.raises(DataError, match="`test` is the same as `source`"):
        load(DataSpec(source=str(pets / "train"), test=str(pets.parent / "link")))
    shutil.copytree(pets / "train", pets.parent / "copy")
    with pytest.raises(
        DataError, match=r"all training images are test images too, in .*copy; nothing is left to train"
    ):
        load(DataSpec(source=str(pets / "train"), test=str(pets.parent / "copy")))


def test_rows_of_tables(parquet, tmp_path):
    (tmp_path / "x").mkdir()
    files = [parquet(f"x/{name}.parquet", [0, 1] * 4, seed=seed) for seed, name in enumerate("abc")]
    assert sizes_apart(tmp_path / "x", files[1]) == (16, 8)
    with pytest.raises(DataError, match="nothing is left to train on"):
        load(DataSpec(source=str(files[0]), test=str(tmp_path / "x")))
    copy = shutil.copy(files[2], tmp_path / "copy.parquet")
    assert sizes_apart(tmp_path / "x", copy) == (16, 8)
    parquet("y-train.parquet", [0, 1] * 4, seed=4)
    test = parquet("y-test.parquet", [0, 1], seed=5)
    assert sizes_apart(tmp_path / "y-train.parquet", tmp_path / "y-t*") == (8, 2)
    assert sizes_apart(tmp_path / "y-t*", test) == (8, 2)


def test_a_table_of_the_files_of_a_folder(pets, parquet):
    images = [{"bytes": file.read_bytes(), "path": None} for file in sorted((pets / "val").rglob("*.png"))]
    table = parquet("t.parquet", ["cat"] * 3 + ["dog"] * 3, images=images)
    assert sizes_apart(pets, table) == (12, 6)
    files = sorted((pets / "train").rglob("*.png"))
    paths = [{"bytes": None, "path": str(files[row])} for row in (0, 1, 6, 7)]
    assert sizes_apart(pets / "train", parquet("p.parquet", ["cat", "cat", "dog", "dog"], images=paths)) == (8, 4)


def test_bytes_are_read_only_where_sizes_agree(tmp_path, monkeypatch):
    for name, content in {
        "a": b"1" * 2000,
        "b": b"2" * 2000,
        "c": b"333",
        "d": b"2" * 2000,
        "e": b"4" * 1999 + b"2",
    }.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    read: list[str] = []
    digest = module._Stored.digest
    monkeypatch.setattr(module._Stored, "digest", lambda one: read.append(one.path.stem) or digest(one))
    files = [tmp_path / f"{name}.png" for name in "abc"]
    assert rows_apart(Files(files), Files([tmp_path / "d.png", tmp_path / "e.png"])) == [0, 2]
    assert set(read) == {"b", "d"}
    read.clear()
    assert rows_apart(join([Files(files), Files(files[:1])]), Files(files[:1])) == [1, 2] and read == []
    numbers = Arrays(torch.zeros(2, 4, 4, dtype=torch.uint8).numpy(), "zeros")
    assert rows_apart(numbers, numbers) == [0, 1]


def test_a_file_that_is_gone(pets):
    (pets / "train" / "cat" / "gone.png").symlink_to(pets / "nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png: cannot be read \(No such file or directory\)"):
        load(DataSpec(source=str(pets / "train"), test=str(pets / "val")))


def test_duplicates_inside_a_data_set_are_counted(parquet, tmp_path, capsys):
    parquet("z-train.parquet", [0, 1] * 4, seed=1)
    images = [{"bytes": png(picture(seed)), "path": None} for seed in (1000, 1001, 7, 8)]
    parquet("z-test.parquet", [0, 1, 0, 1], images=images)
    data = load(str(tmp_path / "z-train.parquet"))
    assert len(data.split("train")) == 8 and len(data.split("test")) == 4
    assert capsys.readouterr().err == "z: 2 of 4 test images are training images too, pixel for pixel\n"
    load("digits")
    assert capsys.readouterr().err == ""
