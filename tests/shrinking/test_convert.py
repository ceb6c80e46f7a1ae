"""Candidate lists of the released code become JSON: they are read, never executed."""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import ArchitectureError, RamifyError
from ramify.shrinking.convert import convert, main
from ramify.shrinking.lists import read_lists

LISTS = st.lists(st.lists(st.integers(-1, 300), min_size=1, max_size=4), min_size=1, max_size=6)


def converted(content):
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "lists.pkl", Path(folder) / "lists.json"
        source.write_bytes(content)
        found = convert(source, out)
        assert read_lists(out) == found
        return found


@given(LISTS, st.sampled_from([int, np.int64, np.int32, np.int16]), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_pickles_of_integers(lists, kind, protocol):
    content = pickle.dumps([[kind(code) for code in left] for left in lists], protocol)
    found = converted(content)
    assert found == lists
    assert all(type(code) is int for left in found for code in left)


def test_big_endian_integers():
    scalar = np.array([5, -1], dtype=">i8")
    assert converted(pickle.dumps([list(scalar)])) == [[5, -1]]


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class State:
    pass


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_executed(tmp_path, protocol):
    mark = tmp_path / "executed"
    file = tmp_path / "lists.pt"
    file.write_bytes(pickle.dumps([[0, Touch(mark)]], protocol))
    with pytest.raises(ArchitectureError, match=r"posix\.system, which lists of operators do not need") as error:
        convert(file, tmp_path / "lists.json")
    assert "\n" not in str(error.value)
    assert not mark.exists() and not (tmp_path / "lists.json").exists()
    assert pickle.loads(file.read_bytes()) and mark.exists(), "the file does what it is here for"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x80\x04",
        pickle.dumps([[0, 1]])[:-3],
        pickle.dumps({0: [1]}),
        pickle.dumps([[0.5]]),
        pickle.dumps([[True]]),
        pickle.dumps([0, 1]),
        pickle.dumps([[State()]]),
        pickle.dumps([np.arange(3)]),
        pickle.dumps([[np.float64(1)]]),
        b"]\x94(h\x05e.",  # takes up what was never put down
        b"e.",
        b".",
        b"K\x01K\x02a.",  # appends to an integer
        b"]\x94h\x00a.",  # a list that contains itself
        b"]K\x01a]h\x00a.",
        b"]]\x8b\x00\x04\x00\x00" + b"\x7f" * 1024 + b"aa.",
        pickle.dumps([[1 << 40]]),
        b"[[0, 1]]",
        b'{"a": 1}',
        b"PK\x03\x04",
        b"0" * (1 << 21),
    ],
)
def test_what_is_no_pickled_list(tmp_path, content):
    file = tmp_path / "lists.pt"
    file.write_bytes(content)
    with pytest.raises(ArchitectureError, match="is no pickled list of operators: ") as error:
        convert(file, tmp_path / "lists.json")
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
    assert not (tmp_path / "lists.json").exists()


def repeated(first, step, last):
    """Return a pickle that applies a step to what it has put down, again and again."""
    return first + b"\x94" + b"".join(step(number) for number in range(60)) + last


BOMBS = {
    "tuples": repeated(b"K\x01", lambda at: b"h" + bytes([at]) + b"h" + bytes([at]) + b"\x86\x94", b")R."),
    "names": repeated(b"\x8c\x09" + b"x" * 9, lambda at: (b"h" + bytes([at])) * 2 + b"\x93\x94", b")R."),
    "lists": b"](]" + b"\x94(" + b"K\x01" * 9_000 + b"e" + b"h\x00" * 9_000 + b"e.",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_what_a_short_pickle_can_repeat_is_bounded(kind):
    with pytest.raises(ArchitectureError, match="is no pickled list of operators: it "):
        converted(BOMBS[kind])


@given(st.binary(max_size=60))
def test_any_bytes_at_all(content):
    with contextlib.suppress(ArchitectureError):
        converted(content)


def test_what_is_there_is_not_written_over(tmp_path):
    file = tmp_path / "lists.pkl"
    file.write_bytes(pickle.dumps([[0]]))
    for out in (file, tmp_path):
        with pytest.raises(RamifyError, match="is there already; nothing was written: choose another name"):
            convert(file, out)
    assert pickle.loads(file.read_bytes()) == [[0]]


def test_the_command(tmp_path):
    source, out = tmp_path / "lists.pkl", tmp_path / "new" / "lists.json"
    source.write_bytes(pickle.dumps([[np.int64(0), -1], [5]]))
    command = [sys.executable, "-W", "error", "-m", "ramify.shrinking.convert", str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{out}: 2 lists of operators\n", "")
    assert json.loads(out.read_text()) == [[0, -1], [5]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "are needed: python -m ramify.shrinking.convert FILE.pkl OUT.json"),
        (["none.pkl", "out.json"], "none.pkl cannot be read: No such file or directory"),
        ([".", "out.json"], ". cannot be read: Is a directory"),
        (["a\0b", "out.json"], "cannot be read: embedded null byte"),
    ],
)
def test_the_command_says_what_is_wrong(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and len(err.splitlines()) == 1
    assert main(["--help"]) == 0
    assert "usage: python -m ramify.shrinking.convert FILE.pkl OUT.json" in capsys.readouterr().out
