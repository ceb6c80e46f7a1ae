"""A user's own network through the verbs of the command line."""

import json
import shutil
from pathlib import Path

import pytest

from killing import forked

HERE = Path(__file__).parents[1]
SPACE = ("--space", "AnyNetwork", "--space.network", "mine.py:Net", "--space.input_size", "[3,8,8]")
DATA = ("--data", "digits", "--data.subset", "64")


def ramify(*words, code=0):
    """Run `ramify` in a process that has imported nothing of a user; return what it prints."""
    found, said = forked(words, ".")
    assert found == code, said
    return Path("stdout").read_text() + said


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(HERE / "networks_of_users.py", tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_imported_where_it_is_named_and_nowhere_else(folder):
    gdas = ("--strategy", "GDAS", "--strategy.epochs", "1", "--strategy.batch_size", "16")
    ramify("search", *SPACE, *gdas, *DATA, "--out", "run")
    arch = json.loads((folder / "run/architecture.json").read_text())
    assert arch["arguments"] == {"network": "mine:Net", "input_size": [3, 8, 8]}
    train = ("--recipe.epochs", "1", "--recipe.batch_size", "16", "--start", "inherited")
    refused = ramify("retrain", "run", *train, code=2)
    assert "add --import mine.py" in refused
    ramify("retrain", "run", *train, "--import", "mine.py")
    assert "model.py: largest difference 0.0e+00" in ramify("export", "run", "--import", "mine.py")
    with (folder / "mine.py").open("a") as file:
        file.write("# changed\n")
    changed = ramify("export", "run", "--import", "mine.py", code=2)
    assert "was made with another mine.py than is imported now" in changed


def test_describe_says_what_can_be_searched(folder):
    told = ramify("describe", *SPACE)
    assert "body.1       k3 k5 skip" in told and "are different networks" in told
