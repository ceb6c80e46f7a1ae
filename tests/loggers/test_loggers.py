"""Loggers of users: they get the rows as the history does, and whatever goes wrong in them stays there."""

import json

import pytest
from verb_runs import SMALL

import ramify
from ramify.cli import main
from ramify.errors import ConfigurationError
from ramify.loggers import Logger, loggers_of
from small_runs import DATA, SPACES, STRATEGIES

HEARD = []

MINE = """
from dataclasses import dataclass

from ramify.loggers import Logger


@dataclass(frozen=True, kw_only=True)
class Lines(Logger):
    "Writes lines beside the run."

    name: str = "heard.txt"

    def begin(self, run):
        self.__dict__["path"] = run.path.parent / self.name
        self.tell(f"begin {run.path.name} {run.config['seed']} {len(run.rows)}")

    def add(self, row):
        self.tell(f"add {row['phase']} {row['step']} {row['loss']!r}")

    def end(self, finished):
        self.tell(f"end {finished}")

    def tell(self, line):
        with self.path.open("a") as file:
            print(line, file=file)
"""


class Heard(Logger):
    """Keeps what it is told; fails where it is asked to."""

    def __init__(self, fails=""):
        self.fails = fails

    def told(self, what, value):
        HEARD.append((what, value))
        if what == self.fails:
            raise ConnectionError("the server is gone")

    def begin(self, run):
        self.told("begin", run)

    def add(self, row):
        self.told("add", row)

    def end(self, finished):
        self.told("end", finished)


def searched(out, **options):
    space, layout = SPACES["nasbench201"]
    return ramify.search(space, STRATEGIES["GDAS"], DATA, network=layout, out=out, **(SMALL | options))


def test_a_logger_gets_what_the_history_gets(tmp_path):
    HEARD.clear()
    result = searched(tmp_path / "run", loggers=[Heard()])
    assert [what for what, _ in HEARD] == ["begin", "add", "add", "end"]
    begun = HEARD[0][1]
    assert (begun.path, begun.title, list(begun.rows)) == (tmp_path / "run", "GDAS", [])
    assert begun.config["strategy"]["class_path"] == "ramify.strategies.GDAS"
    assert [row for what, row in HEARD if what == "add"] == result.history
    assert HEARD[-1][1] is True
    assert "logger" not in (tmp_path / "run" / "config.yaml").read_text()
    HEARD.clear()
    searched(tmp_path / "run", loggers=[Heard()])  # finished: there is nothing to tell
    assert not HEARD


@pytest.mark.parametrize("fails", ["begin", "add", "end"])
def test_what_fails_ends_the_logging_and_not_the_run(tmp_path, capsys, fails):
    HEARD.clear()
    result = searched(tmp_path / "run", loggers=[Heard(fails), Heard()])
    assert len(result.history) == 2
    assert capsys.readouterr().err.splitlines() == [
        "Heard gets nothing more, for it failed (ConnectionError: the server is gone); the run goes on"
    ]
    assert len(HEARD) == {"begin": 1 + 4, "add": 2 + 4, "end": 4 + 4}[fails]


def test_the_command_line_knows_loggers_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.py").write_text(MINE)
    words = ["search", "--space", "NASBench201", "--strategy", "GDAS", "--strategy.epochs", "1", "--threads", "1"]
    words += ["--data.subset", "64", "--network.channels", "2", "--network.cells", "1", "--progress", "false"]
    assert main([*words, "--out", "run", "--loggers", "lines.py:Lines"]) == 0
    (row,) = map(json.loads, (tmp_path / "run" / "history.jsonl").read_text().splitlines())
    told = ["begin run 0 0", f"add search {row['step']} {row['loss']!r}", "end True"]
    assert (tmp_path / "heard.txt").read_text().splitlines() == told


def test_unknown_loggers_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"a logger is a `ramify.loggers.Logger`"):
        searched(tmp_path / "run", loggers=[print])
    with pytest.raises(ConfigurationError, match="unknown logger 'Nobody'"):
        loggers_of("Nobody")
    assert not (tmp_path / "run").exists()
