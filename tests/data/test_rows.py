"""Rows of a table as inputs, and numbers as targets: from every source, in splits and batches."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from pictures import picture, png
from ramify.data import Augmentation, DataSpec, Distortion, arranged, colored, load, numbered
from ramify.data.rows import check_size
from ramify.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, (60, 4)).astype(np.float32)
Y = RNG.normal(100, 20, (60, 2)).astype(np.float32)
CLASSES = np.arange(60) % 3


def refused(spec, **options):
    with pytest.raises(DataError) as caught:
        load(spec, quiet=True, **options)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 300
    return said


def frame(**columns):
    return pa.table({**dict(zip("abcd", X.T, strict=True)), **columns})


def everything(data):
    """Return features and targets of all rows in the order of the source, by way of the first feature."""
    values, labels = (torch.cat([store[place] for store in data._stores.values()]) for place in (0, 1))
    at = [X[:, 0].tolist().index(first) for first in values[:, 0].tolist()]
    order = torch.tensor(at).argsort()
    return values[order], labels[order]


def sources(tmp_path):
    """Yield one table of values in every form."""
    table = frame(u=Y[:, 0], v=Y[:, 1])
    labels = {"label_column": "u,v"}
    pq.write_table(table, tmp_path / "mine.parquet")
    yield tmp_path / "mine.parquet", labels
    table.to_pandas().to_csv(tmp_path / "mine.csv", index=False)
    yield tmp_path / "mine.csv", labels
    yield table, labels
    yield table.to_pandas(), labels
    yield [dict(zip(("x", "u", "v"), (x, *y), strict=True)) for x, y in zip(X, Y.tolist(), strict=True)], labels
    np.savez(tmp_path / "mine.npz", x=X, y=Y)
    yield tmp_path / "mine.npz", {}
    yield TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), {}
    yield [(x.tolist(), tuple(y.tolist())) for x, y in zip(X, Y, strict=True)], {}


def test_every_source_gives_the_same_rows_and_values(tmp_path):
    fingerprints = set()
    for source, options in sources(tmp_path):
        data = load(source, targets="values", quiet=True, **options)
        values, targets = everything(data)
        assert torch.equal(values, torch.from_numpy(X)) and torch.equal(targets, torch.from_numpy(Y)), type(source)
        assert data.target_names == (("u", "v") if options else ("target 1", "target 2"))
        assert data.features in (tuple("abcd"), ("x0", "x1", "x2", "x3"))
        assert (data.targets, data.classes, data.num_classes) == ("values", (), 2)
        assert data.shape == {"num_classes": 2, "features": 4} and data.input_size == (4,)
        fingerprints.add(data.fingerprint)
    assert len(fingerprints) == 1


def test_hugging_face_tables():
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_dict({"a": X[:, 0], "b": X[:, 1], "label": CLASSES, "y": Y[:, 0]})
    data = load(
        whole.cast_column("label", datasets.ClassLabel(names=["u", "v", "w"])), feature_columns="a,b", quiet=True
    )
    assert data.classes == ("u", "v", "w") and data.shape == {"num_classes": 3, "features": 2}
    assert torch.equal(everything(data)[1], torch.from_numpy(CLASSES))
    both = datasets.DatasetDict(train=whole.select(range(40)), test=whole.select(range(40, 60)))
    data = load(both, label_column="y", targets="values", feature_columns="b", quiet=True)
    assert torch.equal(data._stores["test"][1][:, 0], torch.from_numpy(Y[40:, 0]))
    assert "column 'city' holds string, not numbers" in refused(
        whole.add_column("city", ["Bonn"] * 60), label_column="y"
    )


@pytest.mark.parametrize("name", ["breast-cancer", "diabetes", "iris", "wine"])
def test_named_tables(name):
    targets = "values" if name == "diabetes" else "classes"
    data = load(name, targets=targets, quiet=True)
    assert data.features and data.augmentation is None and len(set(data.features)) == len(data.features)
    assert data.fingerprint == load(name, targets=targets, quiet=True).fingerprint
    assert data.targets == targets and data.num_classes == {"breast-cancer": 2, "diabetes": 1}.get(name, 3)
    assert f"its targets are {targets}" in refused(name, targets="values" if targets == "classes" else "classes")
    chosen = load(name, targets=targets, quiet=True, feature_columns=data.features[1])
    assert chosen.features == data.features[1:2] and chosen.mean == data.mean[1:2]


def test_splits_of_classes_in_rows_are_stratified_as_those_of_images_are():
    rows = load(TensorDataset(torch.from_numpy(X), torch.from_numpy(CLASSES)), quiet=True)
    pixels = torch.arange(240, dtype=torch.uint8).view(60, 1, 2, 2)
    images = load(TensorDataset(pixels, torch.from_numpy(CLASSES)), quiet=True)
    assert all(torch.equal(rows._rows[name], images._rows[name]) for name in rows._rows)
    assert torch.equal(everything(rows)[1], torch.from_numpy(CLASSES))


@given(
    st.integers(12, 80), st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.none() | st.integers(4, 60), st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_splits_of_values_are_disjoint_of_the_right_size_and_follow_from_the_seed(
    count, test, validation, subset, seed
):
    whole = TensorDataset(torch.arange(count).float()[:, None], torch.arange(count).float())
    options = {"test_fraction": test, "validation_fraction": validation, "seed": seed, "subset": subset}
    if round(count * test) > count - 4 or abs(count * test % 1 - 0.5) < 1e-9:  # halves are rounded either way
        return
    data, again = (load(whole, targets="values", quiet=True, **options) for _ in range(2))
    parts = {name: targets_of(data, name) for name in ("search_train", "search_validation", "test")}
    assert sorted(set().union(*parts.values())) == sorted(y for part in parts.values() for y in part)
    held = round(count * test)
    if subset is None:
        assert len(parts["test"]) == held and len(parts["search_validation"]) == round((count - held) * validation)
        assert len(parts["search_train"]) + len(parts["search_validation"]) + held == count
    else:
        assert len(parts["search_train"]) + len(parts["search_validation"]) == min(subset, count - held)
    assert data.fingerprint == again.fingerprint
    assert targets_of(data, "train") == sorted(parts["search_train"] + parts["search_validation"])


def targets_of(data, name):
    """Return the values of a split in order, empty where it is."""
    if not len(data._rows[name]):
        return []
    split = data.split(name)
    return sorted(y for _, batch in split.batches(7, seed=0) for y in batch[:, 0].tolist())


def test_the_held_out_rows_do_not_depend_on_the_seed_and_the_halves_do():
    whole = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    a, b = (load(whole, targets="values", seed=seed, quiet=True) for seed in (0, 1))
    assert targets_of(a, "test") == targets_of(b, "test")
    assert targets_of(a, "search_train") != targets_of(b, "search_train")


def test_ordered_splits_and_split_files_work_for_rows(tmp_path):
    whole = TensorDataset(torch.arange(20).float()[:, None], torch.arange(20).float())
    data = load(whole, targets="values", split="ordered", test_fraction=0, quiet=True)
    assert targets_of(data, "search_train") == list(range(10))
    lists = {"train": ["int", ["0", "3"]], "valid": ["int", ["1"]]}
    (tmp_path / "split.json").write_text(json.dumps(lists))
    data = load(whole, targets="values", split_file=str(tmp_path / "split.json"), test_fraction=0, quiet=True)
    assert targets_of(data, "search_train") == [0, 3] and targets_of(data, "search_validation") == [1]
    assert "'nasbench201' is for CIFAR-10" in refused(whole, targets="values", split="nasbench201")


@pytest.fixture(scope="module")
def data():
    return load(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), targets="values", quiet=True)


def test_batches_are_standardized_by_the_training_rows_and_targets_stay_as_they_are(data):
    ((x, y),) = data.split("train").batches(99, seed=0)
    assert x.shape == (48, 4) and x.dtype == y.dtype == torch.float32 and y.shape == (48, 2)
    torch.testing.assert_close(x.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(dim=0, correction=0), torch.ones(4), atol=1e-5, rtol=0)
    assert data.target_mean == pytest.approx(y.double().mean(dim=0).tolist())
    assert data.target_std == pytest.approx(y.double().std(dim=0, correction=0).tolist())
    ((double, same),) = data.split("train").batches(99, seed=0, dtype=torch.float64)
    assert double.dtype == torch.float64 and torch.equal(same, y)
    torch.testing.assert_close(double.float(), x)
    ((half, _),) = data.split("train").batches(99, seed=0, dtype=torch.bfloat16)
    assert torch.equal(half, x.bfloat16())


def test_constant_features_and_targets_become_zero_and_keep_their_unit():
    x = torch.from_numpy(X).clone()
    x[:, 1] = 0.1
    data = load(TensorDataset(x, torch.full((60,), 0.7)), targets="values", quiet=True)
    assert data.std[1] == 1.0 and data.target_std == (1.0,)
    assert all((x[:, 1] == 0).all() for x, _ in data.split("train").batches(9, seed=0))


@given(st.integers(1, 30), st.integers(0, 4), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_parts_and_starts_give_what_the_full_pass_has(data, size, start, every, parts, shuffle, drop_last):
    split = data.split("train")
    options = {"seed": 3, "epoch": 1, "shuffle": shuffle, "drop_last": drop_last}
    whole = list(split.batches(size, **options))[start::every]
    shares = [split.batches(size, **options, start=start, every=every, part=(first, parts)) for first in range(parts)]
    for (x, y), *own in zip(whole, *shares, strict=True):
        for first, (mine, targets) in enumerate(own):
            assert torch.equal(mine, x[first::parts]) and torch.equal(targets, y[first::parts])


def test_orders_follow_from_seed_and_epoch(data):
    def order(**options):
        return [y.tolist() for _, y in data.split("train").batches(9, **{"seed": 0, "shuffle": True} | options)]

    assert order() == order() != order(seed=1) != order(epoch=1) != order()


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(crop=1),
        Augmentation(flip=True),
        Augmentation(cutout=1),
        Augmentation(distortion=Distortion(erase=0.1)),
    ],
)
def test_rows_are_not_augmented(data, augmentation):
    with pytest.raises(DataError, match="rows of a table are not augmented; crop, flip, cutout") as caught:
        data.split("train").batches(4, seed=0, augmentation=augmentation)
    assert "\n" not in str(caught.value)
    assert len(list(data.split("train").batches(48, seed=0, augmentation=Augmentation()))) == 1


def test_reads_moves_and_pickles_as_images_do(data):
    before = len(data.reads)
    moved = data.to("meta")
    moved.split("test", "a look")
    assert [read["purpose"] for read in data.reads[before:]] == ["a look"] and data.reads is moved.reads
    assert repr(moved.split("train")) == "Split('train', 48 rows)"
    copy = pickle.loads(pickle.dumps(data))
    assert copy.fingerprint == data.fingerprint and targets_of(copy, "train") == targets_of(data, "train")


def test_what_rows_lack_is_said(data):
    for what in (lambda: data.in_channels, lambda: colored(data)):
        with pytest.raises(DataError, match="holds rows of a table, which have features instead of channels"):
            what()
    with pytest.raises(DataError, match="has values as targets, but the network knows the classes a, b"):
        numbered(data, ["a", "b"])
    assert numbered(data, ()) is data
    with pytest.raises(DataError, match="was loaded with values as targets; load it with targets='classes'"):
        load(data, targets="classes")
    assert load(data, targets="values").fingerprint == data.fingerprint


def test_features_are_arranged_as_a_network_knows_them():
    data = load("iris", quiet=True)
    names = data.features[2], data.features[0]
    found = arranged(data, names)
    ((whole, _),) = data.split("test").batches(99, seed=0)
    ((chosen, _),) = found.split("test").batches(99, seed=0)
    assert torch.equal(chosen, whole[:, [2, 0]]) and found.shape == {"num_classes": 3, "features": 2}
    with pytest.raises(DataError, match="iris lacks the features height, which the network was trained on"):
        arranged(data, ["height"])


def test_measuring_takes_all_rows(tmp_path):
    pq.write_table(frame(y=Y[:, 0]), tmp_path / "mine.parquet")
    data = load(tmp_path / "mine.parquet", targets="values", measured=True, quiet=True)
    assert len(data.split("test")) == 60 and data.target_names == ("y",)
    assert data.mean == pytest.approx(X.mean(axis=0).tolist(), rel=1e-5)


def test_parquet_shards_parts_and_hidden_targets(tmp_path):
    for number in range(2):
        part = frame(y=Y[:, 0]).slice(number * 20, 20)
        pq.write_table(part, tmp_path / f"train-0000{number}-of-00002.parquet")
    test = frame(y=Y[:, 0]).slice(40, 20).select(["y", "d", "c", "b", "a"])
    pq.write_table(test, tmp_path / "test.parquet")
    data = load(tmp_path, targets="values", quiet=True)
    assert data.features == tuple("abcd") and torch.equal(data._stores["test"][0], torch.from_numpy(X[40:]))
    pq.write_table(test.drop_columns("y"), tmp_path / "test.parquet")
    data = load(tmp_path, targets="values", quiet=True)
    assert len(data.split("test")) == 8
    pq.write_table(test.drop_columns("a"), tmp_path / "test.parquet")
    assert "no column 'a'; known: b, c, d, y" in refused(tmp_path, targets="values", feature_columns="a,b")
    assert "has no feature 'a', and other rows have" in refused(tmp_path, targets="values")


def test_images_with_values_beside_them(tmp_path):
    images = [{"bytes": png(picture(row)), "path": None} for row in range(20)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(Y[:20].ravel()), 2)
    table = pa.table({"image": pa.array(images, kind), "price": Y[:20, 0], "both": vectors, "target": Y[:20, 1]})
    pq.write_table(table, tmp_path / "mine.parquet")
    for column, names in ((None, ("target",)), ("price", ("price",)), ("price,target", ("price", "target"))):
        data = load(tmp_path / "mine.parquet", targets="values", label_column=column, quiet=True)
        assert data.target_names == names and data.shape == {"num_classes": len(names), "in_channels": 3}
    data = load(tmp_path / "mine.parquet", targets="values", label_column="both", quiet=True)
    assert data.target_names == ("both 1", "both 2")
    found = torch.cat([labels for _, labels in data._stores.values()])
    assert torch.equal(found.sort(dim=0).values, torch.from_numpy(Y[:20]).sort(dim=0).values)
    assert data.augmentation.crop == 1  # images are augmented as ever
    assert "column 'price' is float, not integers or names; numbers are learned with targets='values'" in refused(
        tmp_path / "mine.parquet", label_column="price"
    )


def test_folders_name_classes_not_values(folder):
    assert "folders of images name classes, not values" in refused(folder("x", {"1": 3, "2": 3}), targets="values")


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([(X[0], 1.0), (X[1], None), (X[2], 2.0)], "list, item 1: has no target; leave it out"),
        (
            [(X[0], 1.0), (X[1], "many")],
            "list, item 1: the target is 'many' (str); with targets='values' it is a number",
        ),
        ([(X[0], 1.0), (X[1], [1.0, 2.0])], "list, item 1: has 2 targets, and list, item 0 has 1; all have as many"),
        ([(X[0], 1.0), (X[1], np.zeros((2, 2)))], "list, item 1: the target has shape (2, 2)"),
        ([(X[0], 1.0), (X[1], float("nan"))], "list, item 1: the target 'target' is missing, or NaN"),
        ([(X[0], 1.0), (X[1], 10**400)], "list, item 1: the target is 1000000"),
        ([(X[0], 1.0), (X[1, :3], 1.0)], "list, item 1: is ndarray of float32, (3,); wanted are numbers, (4,)"),
        ([(X[0], 1.0), (np.full(4, np.nan), 1.0)], "list, item 1: column 'x0' is missing, or NaN"),
        ([(X[0], 1.0), ("text", 1.0)], "list, item 1: is str of <U4, (); wanted are numbers, (4,)"),
    ],
)
def test_items_that_do_not_fit(items, said):
    assert said in refused(items, targets="values")


def test_rows_and_images_do_not_mix():
    rows = TensorDataset(torch.from_numpy(X), torch.from_numpy(CLASSES))
    images = TensorDataset(torch.arange(240, dtype=torch.uint8).view(60, 1, 2, 2), torch.from_numpy(CLASSES))
    assert "holds rows and tensordataset, test holds images" in refused((rows, images))


def test_sizes_are_bounded_before_arrays_are_made(tmp_path):
    for count, features, said in ((1, 100_001, "100,001 features"), (2**28, 8, "take more than 4 GiB")):
        with pytest.raises(DataError, match=said):
            check_size(count, features, "x")
    np.savez(tmp_path / "mine.npz", x=np.zeros((2, 100_001), np.uint8), y=[0, 1])
    assert "100,001 features, and 100,000 at most are read" in refused(tmp_path / "mine.npz")


def test_a_specification_holds_names_as_yaml_and_the_command_line_give_them():
    assert DataSpec(label_column=["a", "b"]) == DataSpec(label_column=("a", "b"))
    assert hash(DataSpec(feature_columns=["a"])) == hash(DataSpec(feature_columns=("a",)))
    assert DataSpec(label_column="a,b").label_column == "a,b"


def test_a_table_repeated_in_its_test_rows_is_said(capsys):
    rows = torch.from_numpy(X)
    labels = torch.from_numpy(CLASSES)
    load((TensorDataset(rows, labels), TensorDataset(rows[:7], labels[:7])))
    assert "7 of 7 test rows are training rows too, number for number" in capsys.readouterr().err
