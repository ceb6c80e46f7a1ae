"""A disk that is full: one line and exit code 2, what was there stays, and with room again the same command goes on."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_folders
from test_file_faults import contents, without_drawing

import ramify
from small_runs import differences, outcome

MEGABYTES = 8
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a file system"),
]


@pytest.fixture
def disk(tmp_path):
    """A file system of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    size = f"size={MEGABYTES}m"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", place], capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, room: int) -> None:
    """Leave so many bytes free."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    state = os.statvfs(disk)
    size = max(0, state.f_bavail * state.f_frsize - room)
    try:
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
    except OSError as error:
        assert error.errno == errno.ENOSPC


def refusals(words: list[str], disk: Path, run: Path, steps: int = 40) -> int:
    """Give a command a little more room each time until it ends; return how often it was refused."""
    room = 0
    for refused in range(steps):
        fill(disk, room)
        before = contents(run) if run.exists() else {}
        code, _, err = small_folders.said(words)
        lines = err.splitlines()
        assert code in (0, 2), err
        assert not list(run.rglob("*.unfinished"))
        if code == 0:
            return refused
        assert len(lines) == 1 and lines[0].startswith("ramify: ") and len(lines[0]) < 300, err
        assert "No space left" in lines[0], err
        after = contents(run) if run.exists() else {}
        grown = ("history.jsonl", ".lock")  # events and a history that held nothing yet are begun anew
        lost = [name for name in before if name not in after or (after[name] == b"" and before[name] != b"")]
        assert not [name for name in lost if not name.endswith(grown) and "tensorboard" not in name]
        room += 4096 if room < 65536 else room // 4
    raise AssertionError(f"still refused with {room} bytes: {err}")


@pytest.mark.parametrize("kind", ["search", "trials", "shrink", "build", "compare"])
def test_a_run_goes_on_to_the_same_bits(kind, disk, tmp_path, monkeypatch):
    monkeypatch.setenv("RAMIFY_SAVE_EVERY_S", "0")
    command = small_folders.commands(tmp_path)[kind]
    assert small_folders.said([*command, "--out", str(tmp_path / "undisturbed")])[0] == 0
    run = disk / "run"
    assert refusals([*command, "--out", str(run)], disk, run) > 2
    if kind in ("search", "trials", "shrink"):
        assert not differences(outcome(run), outcome(tmp_path / "undisturbed"))
    elif kind == "compare":
        assert (run / "comparison.json").read_bytes() == (tmp_path / "undisturbed" / "comparison.json").read_bytes()
    else:
        assert (run / "benchmark.table").exists()


def test_what_follows_a_search(disk, tmp_path, monkeypatch):
    """Training, measuring, exporting and reporting."""
    monkeypatch.setenv("RAMIFY_SAVE_EVERY_S", "0")
    monkeypatch.setitem(ramify.export.__kwdefaults__, "formats", ("model.py", "safetensors"))
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", without_drawing)
    command = small_folders.commands(tmp_path)["search"]
    run = disk / "run"
    fill(disk, MEGABYTES * 2**20)
    assert small_folders.said([*command, "--out", str(run)])[0] == 0
    for verb in ("retrain", "evaluate", "export", "report"):
        assert refusals(small_folders.words_of(verb, run), disk, run) > 0
