"""A run folder: one run, one process, and nothing that is believed without a look."""

import errno
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest
import torch

import ramify
from ramify.errors import RunError
from ramify.run import RunFolder

CONFIG = {
    "strategy": {"class_path": "ramify.strategies.GDAS", "init_args": {"epochs": 2, "betas": (0.5, 0.999)}},
    "seed": 7,
}
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        folder.open(CONFIG, seed=7)
        yield folder


def reopened(folder, config=CONFIG):
    folder.close()
    with RunFolder(folder.path) as again:
        again.open(config, seed=7)
        return again


def test_the_same_configuration_is_taken_up(folder):
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    assert set(before) == {".lock", "config.yaml", "provenance.json"}
    reopened(folder)
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_the_configuration_is_plain_yaml(folder):
    assert folder.config() == json.loads(json.dumps(CONFIG))
    assert "betas:\n    - 0.5\n    - 0.999\n" in (folder.path / "config.yaml").read_text()


def test_another_configuration_is_refused_by_name(folder):
    other = json.loads(json.dumps(CONFIG))
    other["strategy"]["init_args"]["epochs"] = 3
    with pytest.raises(RunError, match=r"holds another run: strategy\.epochs is 2 there and 3 now; choose another"):
        reopened(folder, other)
    other["seed"] = 8
    with pytest.raises(RunError, match=r"strategy\.epochs is 2 there and 3 now \(and 1 more\)"):
        reopened(folder, other)
    with pytest.raises(RunError, match="extra is None there and True now"):
        reopened(folder, CONFIG | {"extra": True})


def test_the_provenance_says_where_a_result_comes_from(folder):
    found = folder.read_json("provenance.json")
    assert found["seed"] == 7
    assert found["command"] == sys.orig_argv
    assert found["versions"]["ramify"] == ramify.__version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"git", "directory", "machine"} <= found.keys()
    assert {"system", "processor", "cpus", "gpus"} <= found["machine"].keys()
    assert found["sessions"] == []


def test_every_session_is_recorded(folder):
    folder.started(0)
    folder.started(12)
    sessions = folder.read_json("provenance.json")["sessions"]
    assert [session["from_step"] for session in sessions] == [0, 12]
    assert all(session["started"].endswith("+00:00") for session in sessions)


def test_two_cannot_work_in_one_folder(folder):
    with pytest.raises(RunError, match="is in use by another process"):
        RunFolder(folder.path).open(CONFIG, seed=7)
    code = "import sys; from ramify.run import RunFolder; RunFolder(sys.argv[1]).open({}, 0)"
    other = subprocess.run([sys.executable, "-c", code, folder.path], capture_output=True, text=True)
    assert "is in use by another process" in other.stderr
    reopened(folder)  # the lock ends with the session


@pytest.mark.parametrize("left", ["file", "folder"])
def test_what_is_no_run_is_refused_and_left_alone(tmp_path, left):
    path = tmp_path / "out"
    if left == "file":
        path.write_text("mine")
        message = "is a file; --out needs a folder"
    else:
        path.mkdir()
        (path / "thesis.tex").write_text("mine")
        message = "is not empty and holds no run; choose another --out"
    with pytest.raises(RunError, match=message):
        RunFolder(path).open(CONFIG, seed=7)
    assert sorted(tmp_path.rglob("*")) == ([path] if left == "file" else [path, path / "thesis.tex"])


LEFT_BEHIND = [[], ["provenance.json"], [".provenance.json.x1.unfinished", ".lock"], [".gitkeep"]]


@pytest.mark.parametrize("left", LEFT_BEHIND, ids=str)
def test_a_folder_that_a_kill_left_at_the_beginning_is_taken_up(tmp_path, left):
    for name in left:
        (tmp_path / name).write_text('{"sessions": []}')
    with RunFolder(tmp_path) as folder:
        folder.open(CONFIG, seed=7)
    assert (tmp_path / "config.yaml").exists()
    assert not list(tmp_path.glob(".*.unfinished"))


@pytest.mark.parametrize("place", ["/proc/ramify/run", "/dev/null/run"])
def test_a_place_that_cannot_be_written(place):
    with pytest.raises(RunError, match=f"cannot create {place}: .*; choose another --out"):
        RunFolder(place).open(CONFIG, seed=7)


NO = {errno.EROFS: "Read-only file system", errno.EACCES: "Permission denied", errno.EDQUOT: "Disk quota exceeded"}


@pytest.mark.parametrize("code", NO)
def test_a_folder_in_which_no_file_can_be_made(tmp_path, monkeypatch, code):
    path, opened = tmp_path / "run", os.open
    path.mkdir()

    def refuse(name, flags, *rest, **more):
        if str(name).startswith(str(path)) and flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(code, os.strerror(code), str(name))
        return opened(name, flags, *rest, **more)

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(RunError, match=f"cannot write in {path}: {NO[code]}; choose another --out"):
        RunFolder(path).open(CONFIG, seed=7)
    assert not list(path.iterdir())


def test_a_file_system_that_makes_no_files():
    """In `/proc/PID/fdinfo`, and the like, making a file fails as if its folder were not there."""
    folder = RunFolder("/proc/self/task")
    with pytest.raises(RunError, match="cannot write in /proc/self/task: no file can be made there; choose another"):
        folder._acquire()


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_lock_that_is_no_file(tmp_path, kind):
    path, elsewhere = tmp_path / "run" / ".lock", tmp_path / "elsewhere"
    path.parent.mkdir()
    path.symlink_to(elsewhere) if kind == "link" else path.mkdir()
    reason = r"\.lock is a link; remove it" if kind == "link" else "Is a directory"
    with pytest.raises(RunError, match=f"cannot write in {path.parent}: {reason}; choose another --out"):
        RunFolder(path.parent).open(CONFIG, seed=7)
    assert not elsewhere.exists() and [item.name for item in path.parent.iterdir()] == [".lock"]


def test_a_lock_that_becomes_a_link_is_none(folder, tmp_path):
    """Whoever moves it away and leaves a link to it could lock the file at its place."""
    (folder.path / ".lock").rename(tmp_path / "moved")
    (folder.path / ".lock").symlink_to(tmp_path / "moved")
    with pytest.raises(RunError, match="was deleted or replaced at work"):
        folder.append(rows(1)[0])


@pytest.fixture(params=["flock", "no flock", "no fcntl"])
def system(request, monkeypatch):
    """A system with locks, one whose file systems have none, and one without the module."""
    if request.param == "no flock":
        monkeypatch.setattr("fcntl.flock", without_locks)
    elif request.param == "no fcntl":
        monkeypatch.setattr("filelock.FileLock", filelock.SoftFileLock)
    return request.param


def without_locks(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


HOLD = """
import sys
if sys.argv[2] == "no fcntl":
    sys.modules["fcntl"] = None
elif sys.argv[2] == "no flock":
    import errno, fcntl, os
    def without_locks(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fcntl.flock = without_locks
from ramify.run import RunFolder
folder = RunFolder(sys.argv[1])
folder.open({}, 0)
folder.write("mine.txt", sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_ends_with_the_process_however_that_ends(tmp_path, system):
    path = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, path, system]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"^{path} is in use by another process$"):
            RunFolder(path).open({}, 0)
        other.kill()
        assert other.stderr.read() == ""
    for _ in range(2):
        with RunFolder(path) as folder:
            folder.open({}, 0)
            with pytest.raises(RunError, match="is in use by another process"):
                RunFolder(path).open({}, 0)


def test_what_is_written_goes_into_the_locked_folder_only(tmp_path, system):
    with RunFolder(tmp_path / "run") as folder:
        folder.open({}, 0)
        folder.append(rows(1)[0])
        folder.path.rename(tmp_path / "moved")
        with pytest.raises(RunError, match="was deleted or replaced at work"):
            folder.append(rows(1)[0])
        with RunFolder(folder.path) as other:
            other.open({}, 0)
            with pytest.raises(RunError, match="was deleted or replaced at work"):
                folder.append(rows(1)[0])
            other.append(rows(1)[0])
    assert other.history() == rows(1)


def test_where_the_file_itself_is_the_lock_one_that_says_nothing_is_explained(tmp_path, system):
    """A run that was copied there brings such a file along."""
    (tmp_path / ".lock").touch()
    if system == "flock":
        with RunFolder(tmp_path) as folder:
            folder.open({}, 0)
    else:
        with pytest.raises(RunError, match=r"is in use by another process; if none is at work, delete its \.lock$"):
            RunFolder(tmp_path).open({}, 0)


@pytest.mark.parametrize("content", [b"strategy: [GDAS", b"5\n", b"\xff\xfe\x00", b""])
def test_a_damaged_configuration(folder, content):
    (folder.path / "config.yaml").write_bytes(content)
    with pytest.raises(RunError, match=r"config\.yaml is damaged \(.*\); choose another --out"):
        reopened(folder)


@pytest.mark.parametrize("content", ['{"notation": "|sk', "5", "", "\x00"])
def test_a_damaged_result_file(folder, content):
    (folder.path / "architecture.json").write_text(content)
    with pytest.raises(RunError, match=r"architecture\.json is damaged \(.*\); delete it and result\.json"):
        folder.read_json("architecture.json")
    with pytest.raises(RunError, match=r"has no network\.json: the run is unfinished, and the same command"):
        folder.read_json("network.json")


def test_a_deleted_provenance_is_written_anew(folder):
    (folder.path / "provenance.json").unlink()
    assert reopened(folder).read_json("provenance.json")["seed"] == 7


# History


def rows(count):
    return [{"phase": "search", "step": number, "loss": number / 3} for number in range(count)]


def test_history_is_cut_back_to_the_checkpoint(folder):
    for row in rows(5):
        folder.append(row)
    assert folder.history() == rows(5)
    assert folder.cut(3) == folder.history() == rows(3)
    folder.append(rows(4)[3])
    assert folder.history() == rows(4)
    assert folder.cut(0) == folder.history() == []


def test_a_row_cut_off_by_a_kill_does_not_count(folder):
    for row in rows(2):
        folder.append(row)
    with (folder.path / "history.jsonl").open("a") as file:
        file.write('{"phase": "sear')
    assert folder.history() == rows(2)
    with pytest.raises(RunError, match="2 rows where the checkpoint has 3"):
        folder.cut(3)
    assert folder.cut(2) == rows(2)


@pytest.mark.parametrize("damage", [b"{", b"5\n", b'{"phase": 3}\n', b"\xff\n", b"\n"])
def test_a_damaged_history(folder, damage):
    folder.append(rows(1)[0])
    with (folder.path / "history.jsonl").open("ab") as file:
        file.write(damage)
        file.write(json.dumps(rows(1)[0]).encode() + b"\n")
    for read in (folder.history, lambda: folder.cut(3)):
        with pytest.raises(RunError, match=r"history\.jsonl is damaged .* delete it, both checkpoints and result"):
            read()
    if damage != b"\xff\n":  # what follows the checkpoint does not matter, as long as it is text
        assert folder.cut(1) == rows(1)


def test_a_finished_run_without_history_is_damaged(folder):
    assert folder.history() == []
    folder.write_json("result.json", {})
    assert folder.finished
    with pytest.raises(RunError, match=r"is damaged \(it is missing\)"):
        folder.history()


# Checkpoints

STATE = {
    "session": {"weights": torch.arange(100.0), "step": 3, "names": ["a", "b"], "double": torch.rand(5).double()},
    "rows": 2,
    "seconds": 1.5,
    "step": 3,
}


def saved(step=0, rows=0):
    return {"session": {"x": torch.full((1000,), float(step))}, "rows": rows, "seconds": 0.0, "step": step}


def test_a_checkpoint_comes_back_and_is_an_ordinary_torch_file(folder):
    assert folder.load(CPU) is None
    for row in rows(2):
        folder.append(row)
    folder.save(STATE)
    for found in (folder.load(CPU), torch.load(folder.path / "checkpoint.pt", weights_only=True)):
        assert found["rows"] == 2
        assert found["session"]["names"] == ["a", "b"]
        assert torch.equal(found["session"]["weights"], STATE["session"]["weights"])
        assert torch.equal(found["session"]["double"], STATE["session"]["double"])


def test_no_flipped_bit_and_no_missing_end_goes_unnoticed(folder):
    for row in rows(2):
        folder.append(row)
    folder.save(STATE)
    path = folder.path / "checkpoint.pt"
    content = path.read_bytes()
    draw = random.Random(0)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"checkpoint\.pt is damaged .*; delete it, and the same command starts"):
            folder.load(CPU)
        path.write_bytes(content[: draw.randrange(len(content))])
        with pytest.raises(RunError, match=r"checkpoint\.pt is damaged"):
            folder.load(CPU)
    path.write_bytes(content)
    assert folder.load(CPU)["rows"] == 2


def test_a_checkpoint_is_never_seen_half_written(folder):
    """A reader beside the writer finds the one before or the one after."""
    folder.save(saved())
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            seen.add(folder.load(CPU)["step"])

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(1, 40):
        folder.save(saved(step))
    stop.set()
    reader.join()
    assert seen


def test_code_in_a_checkpoint_is_not_run(folder, tmp_path):
    from ramify import files

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"x": Bomb()}, tmp_path / "bomb.pt")
    (folder.path / "checkpoint.pt").write_bytes(files.sealed((tmp_path / "bomb.pt").read_bytes()))
    with pytest.raises(RunError, match="is damaged"):
        folder.load(CPU)
    assert not (tmp_path / "ran").exists()


# What is lost, and what it goes on from


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def twice(folder):
    """A folder with checkpoints at steps 2 and 4, which count as many rows, and five rows."""
    for row in rows(5):
        folder.append(row)
    folder.save(saved(2, rows=2))
    folder.save(saved(4, rows=4))
    return folder


def test_the_checkpoint_before_the_last_is_kept(twice, capsys):
    assert twice.load(CPU)["step"] == 4
    assert capsys.readouterr().err == ""
    (twice.path / "checkpoint.pt").unlink()
    assert twice.load(CPU)["step"] == 2


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(twice, capsys):
    flip(twice.path / "checkpoint.pt")
    again = RunFolder(twice.path)
    assert again.load(CPU)["step"] == 2
    said = capsys.readouterr().err
    assert "checkpoint.pt is damaged (its checksum is wrong); the run goes on from step 2" in said
    assert said.count("\n") == 1
    again.save(saved(3, rows=2))  # the damaged one does not take the place of the good one
    flip(twice.path / "checkpoint.pt")
    assert again.load(CPU)["step"] == 2


def test_two_damaged_checkpoints_are_an_error(twice):
    flip(twice.path / "checkpoint.pt")
    flip(twice.path / "checkpoint.before.pt")
    with pytest.raises(RunError, match=r"checkpoint\.pt is damaged .*; delete it, and the same command starts"):
        twice.load(CPU)


@pytest.mark.parametrize(("left", "step"), [(4, 4), (3, 2), (2, 2), (1, None), (0, None)])
def test_a_shortened_history_goes_on_from_what_both_hold(twice, capsys, left, step):
    path = twice.path / "history.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:left]))
    found = twice.load(CPU)
    assert (found and found["step"]) == step
    said = capsys.readouterr().err
    if step == 4:
        assert said == ""
    else:
        end = "goes on from step 2, where both are whole" if step else "starts from the beginning"
        assert f"history.jsonl has {left} rows where checkpoint.pt counts 4; the run {end}\n" in said


@pytest.mark.parametrize("content", [5, {"session": 3}, {"session": {}, "rows": -1, "step": 0, "seconds": 0}])
def test_a_sealed_checkpoint_of_another_kind_is_refused(folder, content, tmp_path):
    from ramify import files

    torch.save(content, tmp_path / "x.pt")
    (folder.path / "checkpoint.pt").write_bytes(files.sealed((tmp_path / "x.pt").read_bytes()))
    with pytest.raises(RunError, match=r"checkpoint\.pt is damaged \(it "):
        folder.load(CPU)


def test_the_rows_are_on_the_disk_before_the_checkpoint(folder, monkeypatch):
    order = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (order.append(str(Path(f"/proc/self/fd/{handle}").readlink())), fsync(handle))
    )
    folder.append(rows(1)[0])
    folder.save(saved(1, rows=1))
    names = [path.rpartition("/")[2] for path in order]
    assert names[0] == "history.jsonl"
    assert names[1].startswith(".checkpoint.pt.")


def test_a_finished_run_notices_a_shortened_history(folder):
    for row in rows(3):
        folder.append(row)
    folder.finish({"notation": "x"})
    assert folder.history() == rows(3)
    path = folder.path / "history.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(RunError, match=r"is damaged \(it has 2 rows where result\.json counts 3\)"):
        folder.history()


def test_architecture_and_result_are_held_against_each_other(folder):
    folder.write_json("architecture.json", {"choices": {"a": 1}})
    folder.finish({"architecture": {"choices": {"a": 1}}})
    assert folder.architecture() == {"choices": {"a": 1}}
    folder.write_json("architecture.json", {"choices": {"a": 2}})
    with pytest.raises(RunError, match=r"architecture\.json and result\.json name two architectures; delete both"):
        folder.architecture()
    (folder.path / "architecture.json").unlink()
    with pytest.raises(RunError, match=r"it was deleted from a finished run; delete result\.json too, and the same"):
        folder.architecture()


def test_a_folder_that_is_deleted_at_work_is_not_made_again(folder):
    import shutil

    shutil.rmtree(folder.path)
    for write in (
        lambda: folder.append(rows(1)[0]),
        lambda: folder.save(saved()),
        lambda: folder.write_json("front/00.json", {}),
        lambda: folder.record_reads([{}]),
    ):
        with pytest.raises(RunError, match="was deleted or replaced at work; nothing more is written there"):
            write()
        assert not folder.path.exists()
    folder.path.mkdir()
    (folder.path / ".lock").touch()
    with pytest.raises(RunError, match="was deleted or replaced at work"):
        folder.append(rows(1)[0])
    assert [path.name for path in folder.path.iterdir()] == [".lock"]


def test_nothing_is_written_through_a_link(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    (folder.path / "front").symlink_to(elsewhere)
    (folder.path / "history.jsonl").symlink_to(elsewhere / "mine")
    (folder.path / "checkpoint.pt").symlink_to(elsewhere / "mine")
    with pytest.raises(RunError, match=r"front is a link to .*; a run writes through none"):
        folder.write_json("front/00.json", {})
    with pytest.raises(RunError, match=r"history\.jsonl: it is a link; put a file in its place"):
        folder.append(rows(1)[0])
    folder.save(saved())
    assert not (folder.path / "checkpoint.pt").is_symlink()
    assert {path.name: path.read_text() for path in elsewhere.iterdir()} == {"mine": "mine"}


@pytest.mark.parametrize("content", ['{"sessions": 3}', "{}", '{"sessions": [], "data": 5}', "[]"])
def test_a_provenance_of_another_kind_is_refused(folder, content):
    (folder.path / "provenance.json").write_text(content)
    with pytest.raises(RunError, match=r"provenance\.json is damaged \(.*\); delete it, and the same command writes"):
        folder.started(0)


def test_reads_of_the_test_split_add_up(folder):
    folder.record_reads([{"split": "test", "images": 3}])
    folder.record_reads([{"split": "test", "images": 4}])
    lines = (folder.path / "reads.jsonl").read_text().splitlines()
    assert [json.loads(line)["images"] for line in lines] == [3, 4]


def test_the_history_stays_open(folder, monkeypatch):
    openings = []

    def opening(path, flags, *mode, open=os.open):
        openings.append(flags)
        return open(path, flags, *mode)

    monkeypatch.setattr(os, "open", opening)
    for row in rows(5):
        folder.append(row)
        assert folder.last_row() == row  # it is with the system at once
    assert len([flags for flags in openings if flags & os.O_APPEND]) == 1


def test_a_history_that_is_replaced_at_work_gets_the_rows_that_follow(folder):
    folder.append(rows(1)[0])
    for change in (Path.unlink, lambda path: path.rename(path.with_name("moved"))):
        change(folder.path / "history.jsonl")
        folder.append(rows(2)[1])
        assert folder.history() == rows(2)[1:]


def test_every_row_is_announced(folder):
    """As it was when every row opened the file: a kill at an exact row needs it."""
    from ramify.testing.strikes import _operation

    said, listening = [], True
    sys.addaudithook(lambda event, given: said.append(_operation(event, given)) if listening else None)
    for row in rows(3):
        folder.append(row)
    listening = False
    assert [each for each in said if each.startswith("append")] == ["append history.jsonl"] * 3
