"""Faults of files: every file of every kind of run folder damaged in every way, then every verb that takes the folder.

Each ends with a result or with one short line and exit code 2; what was not damaged keeps its bytes after a refusal,
and nothing outside is written through a link.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import stat
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import small_folders
import yaml
from matplotlib.figure import Figure
from mutations import ODD_VALUES, damaged_bytes
from small_folders import Folder

import ramify

SECONDS = 300  # for one command: more is a hang, even on a busy machine
NOBODY = 65534
SHARE = float(os.environ.get("RAMIFY_FAULTS", "1"))  # of the commands; the campaign is cut to it


# The faults


def _cut(length: Callable[[int], int]) -> Callable[[random.Random, Path], None]:
    def cut(rng: random.Random, path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: length(len(content))])

    return cut


def _flipped(rng: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 3)) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _damaged(rng: random.Random, path: Path) -> None:
    path.write_bytes(damaged_bytes(rng, path.read_bytes()))


def _whole_is_other(rng: random.Random, path: Path) -> None:
    odd = rng.choice(([], {}, None, 7, "x", [[]], [{}], {"x": 1}, True))
    _write_value(path, odd)


def _one_is_other(rng: random.Random, path: Path) -> None:
    """Exchange one value, at the top or a level below, for one of another type."""
    value = _value(path)
    if path.suffix == ".jsonl":
        row = rng.choice(value) if value else {}
        row[rng.choice(list(row) or ["x"])] = rng.choice(ODD_VALUES)
    elif isinstance(value, dict) and value:
        key = rng.choice(list(value))
        inner = value[key]
        if isinstance(inner, dict) and inner and rng.random() < 0.5:
            value, key = inner, rng.choice(list(inner))
        value[key] = rng.choice(ODD_VALUES)
    _write_value(path, value)


def _one_is_gone(rng: random.Random, path: Path) -> None:
    value = _value(path)
    place = rng.choice(value) if isinstance(value, list) and value else value
    if isinstance(place, dict) and place:
        del place[rng.choice(list(place))]
    _write_value(path, value)


def _value(path: Path) -> object:
    text = path.read_text()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)


def _write_value(path: Path, value: object) -> None:
    if path.suffix == ".jsonl":
        rows = value if isinstance(value, list) and value else [value]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        path.write_text(json.dumps(value))


def _folder(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "inside").write_text("precious")


def _pipe(rng: random.Random, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _outside(path: Path) -> Path:
    """Return the file outside the run folder to which links lead."""
    return next(place for place in path.parents if place.name == "work") / "outside"


def _link(rng: random.Random, path: Path) -> None:
    shutil.move(path, _outside(path))
    path.symlink_to(_outside(path))


def _dangling(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(_outside(path))


def _loop(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


FAULTS: dict[str, Callable[[random.Random, Path], None]] = {
    "gone": lambda rng, path: path.unlink(),
    "emptied": _cut(lambda length: 0),
    "one byte": _cut(lambda length: 1),
    "a third": _cut(lambda length: length // 3),
    "last byte lost": _cut(lambda length: length - 1),
    "last bytes lost": _cut(lambda length: max(0, length - 40)),
    "flipped": _flipped,
    "damaged": _damaged,
    "a folder": _folder,
    "a pipe": _pipe,
    "a link": _link,
    "a dangling link": _dangling,
    "a link to itself": _loop,
    "unreadable": lambda rng, path: path.chmod(0),
    "read-only": lambda rng, path: path.chmod(0o444),
    "in a read-only folder": lambda rng, path: path.parent.chmod(0o555),
}
OF_VALUES = {"another value": _whole_is_other, "a wrong value": _one_is_other, "a value gone": _one_is_gone}


def _gone_folder(rng: random.Random, path: Path) -> None:
    shutil.rmtree(path)


def _file(rng: random.Random, path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a file")


def _dangling_folder(rng: random.Random, path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(_outside(path))


OF_FOLDERS: dict[str, Callable[[random.Random, Path], None]] = {
    "gone": _gone_folder,
    "a file": _file,
    "a link": _link,
    "a dangling link": _dangling_folder,
    "unreadable": lambda rng, path: path.chmod(0),
    "read-only": lambda rng, path: path.chmod(0o555),
}
OF_RIGHTS = ("unreadable", "read-only", "in a read-only folder")  # root may do everything


@dataclass(frozen=True)
class Case:
    """One fault, and one command after it.

    Args:
        kind: Of the folder.
        name: Of the file or folder in it.
        fault: What is wrong with that.
        verb: What runs then.
    """

    kind: str
    name: str
    fault: str
    verb: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} {self.fault}, {self.verb}"


def cases(folders: dict[str, Folder]) -> list[Case]:
    """Return all cases; of pictures, which are many and alike, one."""
    found = []
    for kind, folder in folders.items():
        pictures: set[Path] = set()
        for path in sorted(folder.path.rglob("*")):
            name = str(path.relative_to(folder.path))
            if path.suffix in (".png", ".svg"):
                if path.parent in pictures:
                    continue
                pictures.add(path.parent)
            faults = list(OF_FOLDERS if path.is_dir() else FAULTS)
            faults += OF_VALUES if path.suffix in (".json", ".jsonl", ".yaml") else ()
            found += [Case(kind, name, fault, verb) for fault in faults for verb in folder.all_verbs(folder.path)]
    return found


# What may come of them


def contents(folder: Path) -> dict[str, object]:
    """Return what every file of a folder holds, every link leads to, and which folders there are."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif stat.S_ISFIFO(path.stat().st_mode):
            found[name] = "pipe"
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


@contextlib.contextmanager
def without_rights(needed: bool) -> Iterator[None]:
    """Be nobody where root would not notice what is forbidden."""
    if not (needed and os.geteuid() == 0):
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class Hangs(BaseException):
    """What no handler of errors catches."""


def _hangs(*_: object) -> None:
    raise Hangs(f"more than {SECONDS} s")


def problems_of(case: Case, folder: Folder, place: Path) -> list[str]:
    """Run one case in a copy of its folder below `place`; return what went wrong."""
    rng = random.Random(str(case))
    work = place / "work"
    shutil.rmtree(work, ignore_errors=True)
    run = work / "run"
    shutil.copytree(folder.path, run)
    damaged = run / case.name
    (OF_FOLDERS if damaged.is_dir() else {**FAULTS, **OF_VALUES})[case.fault](rng, damaged)
    if case.fault in OF_RIGHTS and os.geteuid() == 0:
        for path in (work, *work.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    before, outside = contents(work), _outside(damaged)
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(SECONDS)
    try:
        with without_rights(case.fault in OF_RIGHTS):
            code, _, err = small_folders.said(folder.all_verbs(run)[case.verb])
    except BaseException as error:
        where = [f"{Path(at.filename).name}:{at.lineno}" for at in traceback.extract_tb(error.__traceback__)]
        return [f"{type(error).__name__}: {error!s:.200} ({' '.join(where[-6:])})"]
    finally:
        signal.alarm(0)
        for path in (work, *work.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
    after = contents(work)
    return list(_wrong(code, err, before, after, run, outside))


def _wrong(code: int, err: str, before: dict, after: dict, run: Path, outside: Path) -> Iterator[str]:
    lines = err.splitlines()
    if code not in (0, 2):
        yield f"exit code {code}: {err[-300:]}"
    if code == 2 and not (lines and lines[-1].startswith("ramify: ")):
        yield f"says {err!r:.400}"
    if any(len(line) >= 300 for line in lines):
        yield f"says at length {err!r:.600}"
    if code == 2 and len(lines) > 1:
        yield f"says several lines {err!r:.600}"
    if any(name.endswith(".unfinished") for name in after):
        yield "leaves an unfinished file"
    kept = [name for name in before if name == outside.name or name.startswith(f"{outside.name}/")]
    if any(after.get(name) != before[name] for name in kept) or (not kept and outside.name in after):
        yield "writes through a link"
    changed = [
        name
        for name in {**before, **after}
        if before.get(name) != after.get(name)
        and "pictures/" not in name
        and not name.endswith((".lock", "reads.jsonl"))  # what was read stays on record
    ]
    if code == 2 and changed:
        yield f"refuses ({lines[-1]:.200}), but changes {', '.join(changed)}"
    if code == 0:
        for name, content in after.items():
            if name.endswith(".json") and isinstance(content, bytes) and content != before.get(name):
                try:
                    json.loads(content)
                except ValueError:
                    yield f"writes half of {name}"


def without_drawing(figure: Figure, file: io.IOBase, **options: object) -> None:
    """Stand for `Figure.savefig`, which takes seconds."""
    file.write('<svg viewBox="0 0 1 1"></svg>' if options["format"] == "svg" else b"a picture")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that nobody can enter as well."""
    folder = tmp_path_factory.mktemp("faults")
    for path in (folder, *folder.parents):
        if path.owner() == folder.owner() and path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o755)
    return folder


@pytest.fixture
def folders(place, monkeypatch):
    """All kinds of folders; an export there is one without the slow formats, and pictures are not drawn."""
    monkeypatch.setitem(ramify.export.__kwdefaults__, "formats", ("model.py", "safetensors"))
    monkeypatch.setattr(Figure, "savefig", without_drawing)
    made = place / "made"
    made.mkdir(exist_ok=True)
    return small_folders.make(made)


@pytest.mark.slow
def test_every_fault_of_every_file(folders, place):
    """Over 5,000 commands."""
    all_cases = cases(folders)
    random.Random(0).shuffle(all_cases)
    chosen = all_cases[: round(SHARE * len(all_cases))]
    failures = {str(case): found for case in chosen if (found := problems_of(case, folders[case.kind], place))}
    assert not failures
