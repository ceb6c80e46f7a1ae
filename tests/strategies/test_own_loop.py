"""The strategy of the page on loops: forty lines that search every kind of space, however they are run."""

import importlib.util
import json
import re
import sys

import pytest

from killing import forked
from pages import DOCS
from ramify.testing import Strike, chaos
from ramify.testing.kills import KILL, TERM
from small_runs import SPACES, finish, session_of
from small_runs import ramify as command

CODE = re.findall(r"```python\n(.*?)```", (DOCS / "own_loop.md").read_text(), re.S)[0]
WORDS = ["--strategy.epochs", "2", "--strategy.batch_size", "16", "--data", "digits", "--data.subset", "128"]
NETWORK = ["--space", "NASBench201", "--network.channels", "4", "--network.cells", "1", "--threads", "1"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "averaged_strategy.py"
    path.write_text(CODE)
    return path


@pytest.fixture(scope="module")
def strategy(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module.Averaged


def searched(file):
    return ["search", *NETWORK, "--import", str(file), "--strategy", "Averaged", *WORDS]


def test_it_takes_forty_lines():
    lines = [line for line in CODE.splitlines() if line.strip() and not line.startswith(("import ", "from "))]
    assert len(lines) <= 40


@pytest.mark.parametrize("space", SPACES)
def test_it_searches_every_kind_of_space(strategy, space):
    session = session_of(space, strategy(epochs=2, batch_size=16, arch_lr=0.1))
    rows = finish(session)
    assert [row["epoch"] for row in rows] == [0, 1]
    assert session.architecture() in session.space
    average = session.derived(session.average)
    assert session.architecture() == average
    assert any(not bool((session.average[name] == alpha).all()) for name, alpha in session.alphas.items())


def test_it_is_killed_and_continued(file):
    strikes = [Strike("after append history.jsonl", KILL), Strike("after create checkpoint.pt", TERM)]
    survived = chaos(searched(file), strikes=strikes, start=forked)
    assert len(survived.ended) == 2


@pytest.mark.slow
def test_two_processes_share_it_and_the_report_has_its_column(file, tmp_path):
    for name, devices in (("one", []), ("two", ["--devices", "2"])):
        code, _, err = command(*searched(file), "--precision", "64-true", *devices, "--out", str(tmp_path / name))
        assert code == 0, err
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    for row, other in zip(one, two, strict=True):
        assert row["mean_entropy"] == pytest.approx(other["mean_entropy"], rel=1e-6)
        assert row["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-5)
    code, _, err = command("report", str(tmp_path / "two"), "--import", str(file))
    assert code == 0, err
    assert "mean entropy" in (tmp_path / "two" / "report.html").read_text().lower()
