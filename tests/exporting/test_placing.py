"""`replacing`: all or nothing, and nobody else's files."""

import os
from pathlib import Path

import pytest

from ramify.errors import RamifyError
from ramify.exporting.placing import replacing

KNOWN = {"mark": "m.json", "known": ("a", "b")}


def place(folder: Path, text: str) -> None:
    with replacing(folder, **KNOWN) as staging:
        assert staging.parent == folder.parent
        (staging / "a").write_text(text)
        (staging / "m.json").write_text("{}")


def test_the_new_folder_takes_the_place_of_the_old(tmp_path):
    place(tmp_path / "x", "old")
    (tmp_path / "x" / "__pycache__").mkdir()
    place(tmp_path / "x", "new")
    assert (tmp_path / "x" / "a").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "x").mkdir()
    place(tmp_path / "x", "new")
    assert (tmp_path / "x" / "a").read_text() == "new"


@pytest.mark.parametrize("names", [("notes.txt",), ("a",), ("a", "m.json", "notes.txt")])
def test_files_of_others_are_not_deleted(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("mine")
    with pytest.raises(RamifyError, match=r"holds files that no export wrote, such as `(notes\.txt|a)`"):
        place(tmp_path, "new")
    assert {entry.name for entry in tmp_path.iterdir()} == set(names)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_everything_as_it_was(tmp_path, error):
    place(tmp_path / "x", "old")
    for folder in (tmp_path / "x", tmp_path / "y" / "z"):
        with pytest.raises(error), replacing(folder, **KNOWN) as staging:
            (staging / "a").write_text("half")
            raise error
    assert (tmp_path / "x" / "a").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_failing_move_restores_the_old_folder(tmp_path, monkeypatch):
    place(tmp_path / "x", "old")
    rename, calls = Path.rename, []

    def second_fails(self, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(RamifyError, match="No space left on device"):
        place(tmp_path / "x", "new")
    assert (tmp_path / "x" / "a").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_file_in_the_way_is_an_error_in_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(RamifyError, match=r"cannot write .*: Not a directory$"):
            place(folder, "new")


@pytest.mark.parametrize("locked", ["x", "."])
def test_a_read_only_folder_is_an_error_in_one_line(tmp_path, locked):
    place(tmp_path / "x", "old")
    (tmp_path / locked).chmod(0o555)
    try:
        if os.access(tmp_path / locked, os.W_OK):
            pytest.skip("nothing is read-only for this user")
        with pytest.raises(RamifyError, match=r"cannot write .*(Permission denied|read-only)"):
            place(tmp_path / "x", "new")
    finally:
        (tmp_path / locked).chmod(0o755)
    assert (tmp_path / "x" / "a").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_what_the_operating_system_refuses_is_said_in_one_line(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RamifyError, match=r"cannot write .*/x: Permission denied$"):
        place(tmp_path / "x", "new")
