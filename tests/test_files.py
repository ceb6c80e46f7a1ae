"""A file is there in whole or not at all, and a single changed bit is noticed."""

import errno
import json
import math
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify import files
from ramify.errors import RunError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.txt"
    files.write(path, "one – two")
    files.write(path, b"three")
    assert path.read_bytes() == b"three"
    assert names(path.parent) == ["b.txt"]


def test_a_pipe_is_empty_until_somebody_writes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with files.opened(tmp_path / "pipe") as file:
        assert file.read() == b""
    with files.opened(tmp_path / "pipe") as file, (tmp_path / "pipe").open("wb", buffering=0) as writer:
        writer.write(b"some")
        assert file.read(4) == b"some"


def test_results_can_be_read_by_others(tmp_path):
    files.write(tmp_path / "x", "x")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_before_the_end_leaves_what_was_there(tmp_path, monkeypatch, step):
    path = tmp_path / "checkpoint.pt"
    files.write(path, "old")

    def crash(*_):
        raise KeyboardInterrupt  # no `Exception`: nothing may rely on being able to handle it

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", crash)
    else:
        monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["checkpoint.pt"]


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    files.write(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*config\.yaml: No space left on device"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["config.yaml"]


def test_an_error_while_writing_leaves_what_was_there(tmp_path):
    path = tmp_path / "x"
    files.write(path, "old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as file:
        file.write(b"half")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*: (Not a directory|File exists); choose a folder"):
        files.write(tmp_path / "file" / "x", "")


def test_sweeping_removes_what_a_kill_left_and_nothing_else(tmp_path, monkeypatch):
    kept = [".gitignore", ".lock", "history.jsonl", "x.unfinished"]
    for name in kept:
        (tmp_path / name).write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a kill does not clean up
        with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "checkpoint.pt"):
            _ = 1 / 0
    assert len(names(tmp_path)) == 5
    files.sweep(tmp_path)
    assert names(tmp_path) == kept


@settings(deadline=None)
@given(st.binary(max_size=100), st.data())
def test_a_seal_shows_every_change(content, data):
    sealed = files.sealed(content)
    assert files.unsealed(sealed) == content
    place, bit = data.draw(st.integers(0, len(sealed) - 1)), data.draw(st.integers(0, 7))
    damaged = bytearray(sealed)
    damaged[place] ^= 1 << bit
    for wrong in (bytes(damaged), sealed[:place], sealed + b"x"):
        with pytest.raises(ValueError, match="its checksum is wrong"):
            files.unsealed(wrong)


def test_what_is_not_finite_is_null_and_a_word_in_strict_json():
    row = {"loss": math.nan, "mixing": {"cell": [[0.5, -math.inf]]}, "score": 0.1, "table": (1, None)}
    text = files.to_json(row)
    found = json.loads(text, parse_constant=pytest.fail)
    assert found == {
        "loss": None,
        "mixing": {"cell": [[0.5, None]]},
        "score": 0.1,
        "table": [1, None],
        "not_finite": {"loss": "nan", "mixing.cell.0.1": "-inf"},
    }
    healthy = {"loss": 0.1 + 0.2, "name": "é", "none": None}
    assert files.to_json(healthy) == json.dumps(healthy)
    assert files.to_json(healthy, indent=2, ascii_only=False) == json.dumps(healthy, indent=2, ensure_ascii=False)


def test_what_no_file_system_takes_as_a_name_does_not_exist(tmp_path):
    assert files.is_there(tmp_path) and not files.is_there(tmp_path / "none")
    assert not files.is_there("x" * 5000) and not files.is_there("a\0b")
