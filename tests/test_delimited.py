"""Text files of rows and cells: bounded, in the encodings that spreadsheets write, with the numbers of their rows."""

import gzip

import pytest

from ramify import delimited
from ramify.delimited import Delimited, read_content
from ramify.errors import DataError, TableError


def rows(content, separator=","):
    return list(Delimited(content, "x.csv", DataError).records(separator))


def test_rows_have_the_numbers_that_spreadsheets_show():
    assert rows(b'a,b\n\n1,"2\n3"\n , \n4,5') == [(1, ["a", "b"]), (3, ["1", "2\n3"]), (5, ["4", "5"])]
    assert rows(b"sep=;\na;b\n1;2", ";") == [(2, ["a", "b"]), (3, ["1", "2"])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_are_told_by_their_marks(encoding):
    assert rows("größe,b\n1,2".encode(encoding)) == [(1, ["größe", "b"]), (2, ["1", "2"])]


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [("a,b;c", (), ","), ("a;b;c,d", (), ";"), ("a\tb", (), "\t"), ("a;b,c,d", ("a",), ";"), ("sep=\t\na,b", (), "\t")],
)
def test_what_separates_makes_most_names_or_those_that_are_wanted(text, wanted, found):
    assert Delimited(text.encode(), "x.csv", DataError).separator(wanted) == found


def test_errors_are_of_the_kind_that_the_reader_wants(tmp_path):
    with pytest.raises(TableError, match="row 2: this is no UTF-8 text"):
        list(Delimited(b"a,b\n\xff,1", "x.csv", TableError).records(","))
    with pytest.raises(TableError, match="there is no file"):
        read_content(tmp_path / "none.csv", TableError)


def test_files_are_unpacked_and_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "LARGEST", 100)
    monkeypatch.setattr(delimited, "LONGEST", 20)
    path = tmp_path / "x.csv"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert read_content(path, DataError) == b"a,b\n1,2\n"
    path.write_bytes(gzip.compress(bytes(1000)))
    with pytest.raises(DataError, match="holds more than 0 MiB of text; write Parquet"):
        read_content(path, DataError, "write Parquet")
    with pytest.raises(DataError, match="a line has more than 20 characters"):
        rows(b"a,b\n" + b"1" * 21)
