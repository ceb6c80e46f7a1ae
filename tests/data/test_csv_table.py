"""CSV files as tables: what they may be like, and that whatever is wrong with one is a line."""

from __future__ import annotations

import os
import random
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures import picture
from ramify.data import load
from ramify.errors import DataError, RamifyError


@pytest.fixture
def written(tmp_path):
    def write(text, name="mine.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def table(rows=20, header="a,b,label", cells="{n},{n}.5,{c}"):
    return "\n".join([header, *(cells.format(n=n, c=n % 2) for n in range(rows))]) + "\n"


def stored(data):
    """Return features and targets of all rows, ordered by the first feature."""
    values, labels = (torch.cat([store[place] for store in data._stores.values()]) for place in (0, 1))
    order = values[:, 0].argsort()
    return values[order], labels[order]


def refused(path, **options):
    with pytest.raises(DataError) as caught:
        load(path, quiet=True, **options)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 300
    return said


PLAIN = [[float(n), n + 0.5] for n in range(20)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (table(), "mine.csv"),
        (table().replace(",", ";"), "mine.csv"),
        (table().replace(",", "\t"), "mine.csv"),
        (table().replace(",", "\t"), "mine.tsv"),
        ("sep=;\n" + table().replace(",", ";"), "mine.csv"),
        ("\ufeff" + table(), "mine.csv"),
        (table().replace("\n", "\r\n"), "mine.csv"),
        (table().replace("\n", "\n\n"), "mine.csv"),
        (table().replace("\n", ",\n"), "mine.csv"),
        (table(header='"a", "b",label', cells='"{n}", {n}.5 ,"{c}"'), "mine.csv"),
        (table(header=",a,b,label", cells="row {n},{n},{n}.5,{c}"), "mine.csv"),
        (table(header="target,a,b", cells="{c},{n},{n}.5"), "mine.csv"),
        (table().encode("utf-16"), "mine.csv"),
    ],
)
def test_what_people_and_spreadsheets_write(written, text, name):
    data = load(written(text, name), quiet=True)
    values, labels = stored(data)
    assert values.tolist() == PLAIN and labels.tolist() == [n % 2 for n in range(20)]
    assert (data.name, data.features, data.classes) == ("mine", ("a", "b"), ("0", "1"))


def test_numbers_that_are_as_large_as_can_be_are_standardized(written):
    text = "a,y\n" + "".join(f"{sign}1e37,{sign}1e37\n" for sign in ("", "-") * 6)
    data = load(written(text), targets="values", quiet=True)
    inputs, targets = next(data.split("train").batches(4, seed=0))
    assert inputs.abs().max() == pytest.approx(1.0, rel=0.3) and targets.abs().max() == pytest.approx(1e37)
    assert data.target_std[0] == pytest.approx(1e37, rel=0.1)


def test_numbers_that_hardly_differ_are_constant(written):
    text = "a,b,y\n" + "".join(f"{n % 2}e-45,{n},{n}e-45\n" for n in range(12))
    data = load(written(text), targets="values", quiet=True)
    inputs, _ = next(data.split("train").batches(4, seed=0))
    assert inputs.isfinite().all() and data.std[0] == 1.0 and data.std[1] > 1 and data.target_std == (1.0,)


def test_columns_without_a_name_are_left_out_and_said(written, capsys):
    load(written(table(header=",a,b,label", cells="row {n},{n},{n}.5,{c}")))
    assert "mine.csv: 1 of its columns, which has no name, not used" in capsys.readouterr().err


def test_truths_names_and_chosen_columns(written):
    path = written(
        "on,a,city,kind\n" + "".join(f"{n % 2 == 0},{n}e-1,Bonn,{'cat' if n % 3 else 'dog'}\n" for n in range(12))
    )
    assert "row 2: 'Bonn' in column 'city' is no number; leave it out by `feature_columns`" in refused(
        path, label_column="kind"
    )
    data = load(path, label_column="kind", feature_columns="a,on", quiet=True)
    assert data.features == ("a", "on") and data.classes == ("cat", "dog")
    assert stored(data)[0].tolist() == [[pytest.approx(n / 10), float(n % 2 == 0)] for n in range(12)]
    assert data.fingerprint == load(path, label_column="kind", feature_columns=["a", "on"], quiet=True).fingerprint


def test_a_name_with_a_comma_is_one_column(written):
    path = written('"w, kg",b,y\n' + "".join(f"{n},{n * 2},{n / 3}\n" for n in range(10)))
    assert load(path, targets="values", feature_columns="w, kg", quiet=True).features == ("w, kg",)
    assert load(path, targets="values", label_column="w, kg", quiet=True).target_names == ("w, kg",)


def test_the_parts_of_a_data_set_lie_beside_each_other(written, tmp_path):
    written(table(), "mine-train.csv")
    written(table(6, "label,b,a", "{c},{n}.5,10{n}"), "mine-test.csv")
    data = load(tmp_path / "mine-train.csv", quiet=True)
    assert len(data.split("train")) == 20 and len(data.split("test")) == 6
    assert data._stores["test"][0].tolist() == [[100.0 + n, n + 0.5] for n in range(6)]  # matched by name
    hidden = written(table(6, "a,b", "{n},{n}"), "mine-test.csv")
    assert len(load(tmp_path / "mine-train.csv", quiet=True).split("test")) == 4
    assert "no column is known to hold the label" in refused(tmp_path / "mine-train.csv", test=str(hidden))
    other = written(table(6, "a,c,label"), "other.csv")
    assert "no feature 'b', and other rows have" in refused(written(table()), test=str(other))


def test_a_pipe_beside_a_table_is_not_waited_for(written, tmp_path):
    path = written(table(), "mine-train.csv")
    os.mkfifo(tmp_path / "mine-test.csv")
    assert "mine-test.csv cannot be read" in refused(path)


def test_a_table_of_paths_is_one_of_images(written, tmp_path):
    for number in range(12):
        picture(number).save(tmp_path / f"{number}.png")
    path = written("file,price,area\n" + "".join(f"{n}.png,{n}.5,{n}\n" for n in range(12)))
    data = load(path, image_column="file", label_column="price,area", targets="values", quiet=True)
    assert data.input_size[0] == 3 and data.target_names == ("price", "area") and data.features == ()
    assert sorted(data._stores["pool"][1][:, 1].tolist() + data._stores["test"][1][:, 1].tolist()) == list(range(12))
    for number in range(12):
        np.save(tmp_path / f"{number}.npy", np.random.default_rng(number).integers(0, 256, (9, 24, 16), dtype=np.uint8))
    path.write_text(path.read_text().replace(".png", ".npy"))
    options = {"image_column": "file", "label_column": "area", "targets": "values"}
    assert "0.npy: shape (9, 24, 16) leaves open which axis holds the channels" in refused(path, **options)
    assert load(path, **options, channel_axis="first", quiet=True).input_size == (9, 24, 16)
    assert "holds images, and `feature_columns` is for rows" in refused(
        path, image_column="file", label_column="price", targets="values", feature_columns="area"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; wanted is a header"),
        ("\n\n  \n", "is empty"),
        ("a,b,label\n", "has a header and no rows"),
        ("a,a,label\n1,2,3\n", "row 1: two columns are called 'a'; rename one"),
        ("label\n1\n0\n", "has no column beside the label label; features are needed"),
        ("a,b\n1,2\n", "no column is known to hold the label (columns: a, b); set `label_column`, or add one"),
        ("a,y,target\n1,2,3\n", "which column holds the label is open ('y' and 'target' could); set `label_column`"),
        ("5.1,3.5,0\n4.9,3,1\n", "row 1 holds numbers alone; wanted is a header"),
        ("a,label\n1,0\n2\n", "row 3 has 1 cells where the header has 2"),
        ("a,label\n1,0\n2,1,7\n", "row 3 has 3 cells where the header has 2; a cell with commas in it needs quotes"),
        ("a,label\n1,0\n\n,1\n", "row 4: column 'a' is missing; fill it in"),
        ("a,label\n1,0\nNA,1\n", "row 3: column 'a' is missing"),
        ("a,label\n1,0\nnan,1\n", "row 3: column 'a' is missing, or NaN"),
        ("a,label\n1,0\n-inf,1\n", "row 3: column 'a' is -inf, and features must be within ±1e+37; scale them"),
        ("a,label\n1,0\n1e39,1\n", "row 3: column 'a' is 1e+39, and features must be within ±1e+37"),
        ("a,label\n1,0\n-2e37,1\n", "row 3: column 'a' is -2e+37, and features must be within ±1e+37; scale them"),
        ("a,label\n1,0\n1e999,1\n", "row 3: column 'a' is inf"),
        (f"a,label\n1,0\n{'9' * 5000},1\n", "row 3: column 'a' is inf"),
        ("a,label\n1,0\n1_000,1\n", "'1_000' in column 'a' is no number"),
        ("a,label\n1,0\n١,1\n", "'١' in column 'a' is no number"),
        ('a;label\n1;0\n"1,5";1\n', "'1,5' in column 'a' is no number"),
        ("a,label\n1,0\n0x10,1\n", "'0x10' in column 'a' is no number"),
        ("a,label\n1,0\n2,\n", "row 3: has no label"),
        ("a,label\n1,0\n2,0.5\n", "row 3: is not a pair of image and class number: the label is 0.5"),
        ('a,label\n1,0\n"2,1\n3,0\n', "row 3: unexpected end of data; is a quote not closed?"),
        ('a,label\n1,0\n"2"x,1\n', "row 3: ',' expected after '\"'"),
        (b"a,label\n1,0\n\0,1\n", "holds zero bytes"),
        (b"a,label\n1,0\n\xff,1\n", "row 3: this is no UTF-8 text"),
        (b"PK\x03\x04" + bytes(50), "is no CSV file but a workbook"),
        (b"\x1f\x8b\x08" + bytes(20), "is damaged or truncated"),
        ("a," * 10**6 + "label\n", "row 1 names 1,000,001 columns, and 100,000 at most are read"),
        ("a" * 2**23 + ",label\n", "a line has more than 4,194,304 characters"),
        ("x" * 200_000 + ",label\n1,2\n", "field larger than field limit"),
    ],
)
def test_what_is_no_table(written, text, said):
    start = time.process_time()
    assert said in refused(written(text))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"feature_columns": "a,c"}, "no column 'c'; known: a, b, label"),
        ({"feature_columns": "a,label"}, "column 'label' is a label, and cannot be a feature too"),
        ({"feature_columns": ["a", "a"]}, "`feature_columns` has 'a' twice"),
        ({"feature_columns": []}, "`feature_columns` must be a name, or a list of names, got []"),
        ({"label_column": "labels"}, "no column 'labels'; did you mean 'label'?"),
        ({"label_column": "b,label"}, "classes are in one column, got b, label; several are for targets='values'"),
        ({"image_size": 8}, "holds rows of a table, and `image_size` is for images"),
        (
            {"targets": "numbers"},
            "unknown targets 'numbers': did you mean 'boxes'? Known: boxes, classes, masks, values",
        ),
        ({"image_column": "a"}, "mine.csv: 20 of the 20 images that column 'a' lists are not below "),
    ],
)
def test_what_options_cannot_be(written, options, said):
    assert said in refused(written(table()), **options)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("", "row 3: the target 'y' is missing, or NaN; leave it out"),
        ("n/a", "row 3: the target 'y' is missing"),
        ("nan", "row 3: the target 'y' is missing"),
        ("inf", "row 3: the target 'y' is inf; it must be within ±1e+37"),
        ("2e37", "row 3: the target 'y' is 2e+37; it must be within ±1e+37"),
        ("-1e300", "row 3: the target 'y' is -1e+300; it must be within ±1e+37"),
        ("much", "row 3: 'much' in column 'y' is no number; with targets='values', labels are numbers"),
        ("true", "row 3: 'true' in column 'y' is no number"),
    ],
)
def test_what_is_no_target(written, cell, said):
    assert said in refused(written(f"a,y\n1,2\n3,{cell}\n4,5\n6,7\n"), targets="values")


numbers = st.floats(-(2.0**100), 2.0**100, width=32)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=4, max_size=20), st.sampled_from(",;\t"))
@settings(max_examples=40, deadline=None)
def test_every_number_comes_back(tmp_path_factory, rows, separator):
    path = tmp_path_factory.mktemp("csv") / "mine.csv"
    lines = [separator.join(map(repr, row)) for row in rows]
    path.write_text("\n".join([separator.join(("a", "b", "y")), *lines]))
    data = load(path, targets="values", quiet=True)
    found = [torch.cat(list(store), dim=1) for store in data._stores.values()]
    assert sorted(torch.cat(found).tolist()) == sorted(map(list, rows))


def test_damage_is_refused_in_a_line_or_read(written):
    """Bytes are changed, cut out and repeated at random: a table or one line, nothing else."""
    rng = random.Random(0)
    whole = table(12).encode()
    for _ in range(300):
        text = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            start = rng.randrange(len(text))
            end = min(len(text), start + rng.choice((1, 1, 5, 40)))
            kinds = (
                b"",
                bytes(rng.randrange(256) for _ in range(3)),
                b'"',
                b",",
                b"\n",
                b"1e9999",
                text[start:end] * 2,
            )
            text[start:end] = rng.choice(kinds)
        try:
            data = load(written(bytes(text)), quiet=True, targets=rng.choice(("classes", "values")))
        except RamifyError as error:
            assert "\n" not in str(error) and len(str(error)) < 300
        else:
            assert np.isfinite(stored(data)[0].numpy()).all()
