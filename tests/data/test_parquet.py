"""Parquet files that belong together: shards, parts side by side, clones of the Hub; and labels that are hidden."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ramify.data import DataSpec, load
from ramify.data.sources import open_source, open_to_measure
from ramify.errors import DataError


def opened(path, **options):
    return open_source(DataSpec(source=str(path), **options))


def sizes(path, **options):
    return {name: len(part.images) for name, part in opened(path, **options).present().items()}


@pytest.fixture
def hub(parquet, tmp_path):
    """A clone of the Hub, three and two images in two files to train on, four to test on."""
    (tmp_path / "repo" / "data").mkdir(parents=True)
    (tmp_path / "repo" / "README.md").write_text("")
    (tmp_path / "repo" / ".gitattributes").write_text("")
    for seed, (name, count) in enumerate(
        (("train-00000-of-00002", 3), ("train-00001-of-00002", 2), ("test-00000-of-00001", 4))
    ):
        parquet(f"repo/data/{name}.parquet", [0, 1, 0, 1][:count], seed=seed)
    return tmp_path / "repo"


def test_a_clone_of_the_hub(hub):
    parts = opened(hub)
    assert sizes(hub) == {"train": 5, "test": 4} and parts.name == "repo" and parts.notes == ()
    (hub / "more").mkdir()
    assert opened(hub).notes == (f"{hub}: more not used",)


@pytest.mark.parametrize("config", ["default", "."])
def test_files_that_the_hub_converts(parquet, tmp_path, config):
    for seed, (part, number) in enumerate((("train", 0), ("train", 1), ("test", 0))):
        (tmp_path / "repo" / config / part).mkdir(parents=True, exist_ok=True)
        parquet(f"repo/{config}/{part}/000{number}.parquet", [0, 1], seed=seed)
    for path in ("repo", f"repo/{config}/train/0001.parquet"):
        assert sizes(tmp_path / path) == {"train": 4, "test": 2}
    assert sizes(tmp_path / "repo" / config / "test" / "0000.parquet") == {"train": 2}


def test_several_data_sets_in_one_folder(hub, parquet):
    (hub / "small").mkdir()
    parquet("repo/small/train.parquet", [0, 1])
    with pytest.raises(DataError, match="repo: holds Parquet files of several data sets, in data, small; give one of"):
        opened(hub)
    assert sizes(hub / "small") == {"train": 2}


def test_one_shard_brings_the_others_and_the_test_images(hub):
    parts = opened(hub / "data" / "train-00001-of-00002.parquet")
    assert {name: len(part.images) for name, part in parts.present().items()} == {"train": 5, "test": 4}
    assert parts.notes == ("train-00001-of-00002.parquet is one of 2 files of one part: all are read",)
    assert sizes(hub / "data" / "test-00000-of-00001.parquet") == {"train": 4}
    (hub / "data" / "train-00000-of-00002.parquet").unlink()
    for path in (hub, hub / "data", hub / "data" / "train-00001-of-00002.parquet"):
        assert opened(path).notes == (f"{hub}/data: only 1 of 2 files with train images are there",)


def test_shards_without_a_part(parquet, tmp_path):
    for number in range(2):
        parquet(f"pets-0000{number}-of-00002.parquet", [0, 1], seed=number)
    parquet("pets-extra.parquet", [0, 1], seed=3)
    assert sizes(tmp_path / "pets-00000-of-00002.parquet") == {"train": 4}
    assert sizes(tmp_path / "pets-extra.parquet") == {"train": 2}


@pytest.mark.parametrize(
    ("train", "test"),
    [("x-training", "x-testing"), ("X_Train", "X_Test"), ("trainset", "testset"), ("x.train.v2", "x.eval.v2")],
)
def test_files_by_other_names(parquet, tmp_path, train, test):
    parquet(f"{train}.parquet", [0, 1, 0])
    parquet(f"{test}.parquet", [0, 1], seed=1)
    assert sizes(tmp_path / f"{train}.parquet") == sizes(tmp_path) == {"train": 3, "test": 2}


def test_files_for_one_part_by_two_names(parquet, tmp_path):
    for seed, name in enumerate(("train", "test", "eval")):
        parquet(f"{name}.parquet", [0, 1], seed=seed)
    with pytest.raises(DataError, match=r"eval.parquet, test.parquet could all be the test images; give one file"):
        opened(tmp_path)
    assert opened(tmp_path / "train.parquet").test.images.where(0) == f"{tmp_path}/test.parquet, row 0"


def test_a_pointer_instead_of_a_file(hub):
    path = hub / "data" / "test-00000-of-00001.parquet"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    with pytest.raises(DataError, match="holds only a pointer of Git LFS; run `git lfs pull` in its folder"):
        opened(hub)


@pytest.mark.parametrize("hidden", [[-1] * 4, [None] * 4, pa.array([None] * 4, pa.int64()), [float("nan")] * 4, None])
def test_hidden_labels_beside_training_images(parquet, tmp_path, capsys, hidden):
    parquet("x-train.parquet", [0, 1] * 10)
    test = parquet("x-test.parquet", [0] * 4 if hidden is None else hidden, seed=1, id=[1, 2, 3, 4])
    if hidden is None:
        pq.write_table(pq.read_table(test).drop_columns("label"), test)
    data = load(str(tmp_path / "x-train.parquet"))
    assert len(data.split("train")) == 16 and len(data.split("test")) == 4
    assert capsys.readouterr().err == "x: its 4 test images are not used, because their labels are hidden\n"
    if hidden == [-1] * 4:
        (tmp_path / "y").mkdir()
        alone = test.rename(tmp_path / "y" / "y-test.parquet")
        with pytest.raises(DataError, match=r"y-test.parquet, row 0: all labels of these test images are hidden"):
            load(DataSpec(source=f"{tmp_path}/x-train.parquet", test=str(alone), label_column="label"))


def test_a_part_with_some_hidden_labels_is_refused(parquet, tmp_path):
    parquet("x-train.parquet", [0, 1] * 10)
    parquet("x-test.parquet", [0, -1], seed=1)
    with pytest.raises(DataError, match=r"x-test.parquet, row 1: the label -1 is negative, as where labels are hidden"):
        load(str(tmp_path / "x-train.parquet"))


def test_what_is_measured(parquet, hub):
    assert len(open_to_measure(DataSpec(source=str(parquet("later.parquet", [0, 1, 1])))).test.images) == 3
    assert len(open_to_measure(DataSpec(source=str(hub))).test.images) == 4
    assert len(open_to_measure(DataSpec(source=str(hub / "data/test-00000-of-00001.parquet"))).test.images) == 4


def test_whole_floats_are_class_numbers(parquet):
    assert opened(parquet("a.parquet", [0.0, 1.0, 1.0])).train.labels == [0, 1, 1]
    assert opened(parquet("b.parquet", [2.0, 1.0], label_column="grade"), label_column="grade").train.labels == [2, 1]
    for number, labels in enumerate(([0.0, 0.5], [0.0, float("nan")], [0.0, float("inf")])):
        with pytest.raises(DataError, match="column 'label' is double, not integers or names"):
            opened(parquet(f"c{number}.parquet", labels))


def test_names_of_thousands_of_digits_are_names(tmp_path):
    names = ["1" * 5000, "2"]
    pq.write_table(pa.table({"a": [0.5, 1.5, 2.5, 3.5] * 4, "label": names * 8}), tmp_path / "mine.parquet")
    assert load(tmp_path / "mine.parquet", quiet=True).classes == tuple(names)


def test_classes_of_a_test_file_are_known_by_their_names(parquet):
    def names(*classes):
        features = {"label": {"names": classes}}
        return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}

    train = parquet("x-train.parquet", [0, 1, 2], metadata=names("ant", "bee", "cow"))
    parquet("x-test.parquet", [0, 1], seed=1, metadata=names("ant", "cow"))
    parts = opened(train)
    assert parts.class_names == ("ant", "bee", "cow") and parts.test.labels == ["ant", "cow"]


@pytest.mark.parametrize("ending", ["-3f2a90bc", "-0123456789abcdef"])
def test_shards_with_a_checksum_in_their_names(parquet, tmp_path, ending):
    for seed, (part, count) in enumerate((("train", 3), ("test", 2))):
        parquet(
            f"{part}-00000-of-00001{ending if part == 'train' else '-99ff0a1b'}.parquet", [0, 1, 0][:count], seed=seed
        )
    assert sizes(tmp_path) == sizes(next(tmp_path.glob("train*"))) == {"train": 3, "test": 2}


def test_files_that_are_not_used_are_named(hub, parquet):
    parquet("repo/data/unsupervised-00000-of-00001.parquet", [-1], seed=9)
    (hub / "data" / "test-00001.PARQUET").write_bytes(b"")
    name = "unsupervised-00000-of-00001.parquet"
    said = f"{name} not used, because the name tells none of train, validation and test"
    for path in (hub, hub / "data"):
        assert sizes(path) == {"train": 5, "test": 4}
        assert opened(path).notes == (f"{path}: {said}", f"{hub}/data: test-00001.PARQUET not used")
    assert sizes(hub / "data" / "train-00000-of-00002.parquet") == {"train": 5, "test": 4}


def test_files_of_several_data_sets_are_not_put_together(parquet, tmp_path):
    for seed, name in enumerate(("mnist-train", "mnist-test", "cifar-train", "train_extra")):
        parquet(f"{name}.parquet", [0, 1], seed=seed)
    with pytest.raises(DataError, match=r"cifar-train.parquet, mnist-train.parquet, train_extra.parquet could all be"):
        opened(tmp_path)
    assert sizes(tmp_path / "mnist-train.parquet") == {"train": 2, "test": 2}
    assert sizes(tmp_path / "*train*.parquet") == {"train": 6}
    (tmp_path / "one").mkdir()
    for number in (1, 2, 10):
        parquet(f"one/train_{number}.parquet", [0, 1], seed=number)
    assert sizes(tmp_path / "one") == {"train": 6}


def test_what_lies_beside_a_file_is_named(parquet, tmp_path):
    for part in ("train", "test"):
        (tmp_path / "x" / part).mkdir(parents=True)
        parquet(f"x/{part}/{part[0]}.parquet", [0, 1], seed=len(part))
    assert opened(tmp_path / "x" / "train" / "t.parquet").notes == (
        f"{tmp_path}/x/test lies beside and is not used; --data {tmp_path}/x would",
    )
    for number in range(3):
        parquet(f"000{number}.parquet", [0, 1], seed=number)
    assert opened(tmp_path / "0001.parquet").notes == (
        f"{tmp_path}: 0000.parquet, 0002.parquet not used, which may be of the same data set; --data {tmp_path} would",
    )


def test_a_file_without_labels_is_told_so(parquet, tmp_path):
    path = parquet("x.parquet", [0, 1])
    pq.write_table(pq.read_table(path).drop_columns("label"), path)
    with pytest.raises(
        DataError, match=r"no column is known to hold the label \(columns: image\); set `label_column`, or"
    ):
        opened(path)


def test_test_files_beside_a_pattern_are_named(hub, parquet):
    data = hub / "data"
    assert sizes(data / "train-*.parquet") == {"train": 5}
    note = f"{data}: test-00000-of-00001.parquet not used; --data {data} would"
    assert opened(data / "train-*.parquet").notes == (note,)
    assert sizes(data) == {"train": 5, "test": 4}  # what the note says
    assert opened(data / "*.parquet").notes == ()
    assert opened(data / "train-*.parquet", test=str(data / "test-*.parquet")).notes == ()
    assert open_to_measure(DataSpec(source=str(data / "test-*.parquet"))).notes == ()
    parquet("repo/data/other-test.parquet", [0, 1])  # of another data set
    assert opened(data / "train-*.parquet").notes == (note,)
