"""Classes of a user, from the search to the report, in one process and in several."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from ramify import imports
from ramify.cli import main
from ramify.registry import registries
from ramify.spaces import SPACES
from ramify.strategies import STRATEGIES
from small_runs import ramify

MINE = Path(__file__).parents[1] / "mine.py"
SMALL = ["--data", "digits", "--data.subset", "64", "--network.channels", "4", "--network.cells", "1"]
SMALL += ["--threads", "1", "--progress", "false"]
GREEDY = ["--space", "Mine", "--strategy", "Greedy", "--strategy.evaluations", "4", "--strategy.evaluator", "Skips"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with the user's file."""
    shutil.copy(MINE, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(capfd):
    """Return a function that runs the command line as a fresh process would and returns its line, or its output."""

    def call(*words):
        imports.forget()
        capfd.readouterr()
        users = {entry.module for known in registries.values() for entry in known.users()}
        others = {module: sys.modules.pop(module) for module in users}  # what other tests have imported
        try:
            code = main(list(map(str, words)))
        finally:
            sys.modules.update(others)
        printed = capfd.readouterr()
        assert code == (2 if printed.err.startswith("ramify: ") else 0), printed.err
        return printed.err.removeprefix("ramify: ").rstrip("\n") if code else printed.out

    return call


def history(folder):
    rows = map(json.loads, (Path(folder) / "history.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_search_and_all_that_follows(folder, call):
    found = call("search", "--import", "mine.py", *GREEDY, *SMALL, "--network.wide", "2", "--out", "R").strip()
    config = yaml.safe_load(Path("R/config.yaml").read_text())
    assert [config[name]["class_path"] for name in ("space", "strategy")] == ["mine:Mine", "mine:Greedy"]
    assert config["strategy"]["init_args"]["evaluator"] == {"class_path": "mine:Skips", "init_args": {"worth": 0.1}}
    assert [set(record) for record in config["import"]] == [{"file", "sha256"}]

    advice = "R was made with classes of mine.py: add --import mine.py"
    train = ["--recipe.epochs", "1", "--recipe.batch_size", "32", *SMALL[8:]]  # laid out as the search was
    assert call("retrain", "R", *train) == advice
    assert call("search", "--config", "R/config.yaml", "--out", "R") == f"--config: R/config.yaml{advice[1:]}"
    for verb in ("report", "describe"):
        assert call(verb, "R") == advice
    assert "unknown space 'Mine'" in call("describe", "R/architecture.json")
    assert "unknown strategy 'Greedy'" in call("search", "--space", "NASBench201", "--strategy", "Greedy", "--out", "S")

    with_it = ["--import", "./mine.py"]  # another path to the same source
    assert call("search", "--config", "R/config.yaml", *with_it, "--out", "R").strip() == found
    assert "training accuracy" in call("retrain", "R", *train, *with_it)
    assert "R/retrain was made with classes of mine.py" in call("evaluate", "R")
    assert json.loads(call("evaluate", "R", *with_it))["images"] > 0
    layout = json.loads(Path("R/retrain/network.json").read_text())["layout"]
    assert (layout["channels"], layout["cells"], layout["wide"]) == (4, 1, 2)
    assert call("report", "R", *with_it).strip() == "R/report.html"
    assert found in call("describe", "R", *with_it)

    with Path("mine.py").open("a") as file:
        file.write("\n# changed\n")
    for words in (["report", "R"], ["retrain", "R", *train], ["search", *GREEDY, *SMALL, "--out", "R"]):
        line = call(*words, "--import", "mine.py")
        assert "was made with another mine.py than is imported now" in line


def test_a_search_that_was_stopped_continues(folder, call):
    call("search", "--import", "mine.py", *GREEDY, *SMALL, "--out", "whole")
    call("search", "--import", "mine.py", *GREEDY, *SMALL, "--out", "stopped")
    for name in ("result.json", "architecture.json"):
        (folder / "stopped" / name).unlink()
    call("search", "--import", "mine.py", *GREEDY, *SMALL, "--out", "stopped")
    assert history("stopped") == history("whole")


def test_a_file_with_a_name_stands_for_both(folder, call):
    words = ["--space", "mine.py:Mine", "--strategy=mine.py:Greedy", "--strategy.evaluations", "4"]
    call("search", *words, "--strategy.evaluator", "mine.py:Skips", *SMALL, "--out", "short")
    call("search", "--import", "mine.py", *GREEDY, *SMALL, "--out", "long")
    assert history("short") == history("long")


def test_a_module(folder, call, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    (folder / "my_own").mkdir()
    shutil.copy(MINE, folder / "my_own" / "classes.py")
    (folder / "my_own" / "__init__.py").write_text("from my_own.classes import Greedy, Mine, Skips\n")
    call("search", "--import", "my_own", *GREEDY, *SMALL, "--out", "R")
    (record,) = yaml.safe_load(Path("R/config.yaml").read_text())["import"]
    assert record["module"] == "my_own"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_own"]:
        monkeypatch.delitem(sys.modules, name)
    assert call("report", "R") == "R was made with classes of my_own: add --import my_own"


def test_a_class_that_is_loaded_is_not_yet_known(folder, call):
    from ramify.strategies import RandomSearch

    type("Unknown", (RandomSearch,), {})  # the parser would find it, and of two the wrong one
    options = ["--space", "NASBench201", *SMALL, "--out", "R"]
    for words in (["--strategy", "Unknown"], ["--strategy=Unknown"], ['--strategy={"class_path": "Unknown"}']):
        assert "--strategy: unknown strategy 'Unknown'; known: " in call("search", *words, *options)
    Path("c.yaml").write_text("strategy: {class_path: Unknown}")
    assert "--config: c.yaml: unknown strategy 'Unknown'; known: " in call("search", "--config", "c.yaml", *options)


def test_jobs_in_other_processes_find_the_same(folder, call):
    call("search", "--import", "mine.py", *GREEDY, *SMALL, "--out", "here")
    words = ["--strategy.parallel", "1", "--executor", "processes", "--executor.processes", "1"]
    call("search", "--import", "mine.py", *GREEDY, *SMALL, *words, "--out", "there")
    assert [row["architecture"] for row in history("there")] == [row["architecture"] for row in history("here")]


@pytest.mark.slow
def test_two_devices_and_an_export(folder):
    words = ["--space", "Mine", "--strategy", "GDAS", "--strategy.epochs", "1", "--strategy.batch_size", "32", *SMALL]
    code, out, err = ramify("search", "--import", folder / "mine.py", *words, "--devices", "2", "--out", folder / "R")
    assert (code, out.count("\n")) == (0, 1), err
    train = ["--recipe.epochs", "1", "--recipe.batch_size", "32", *SMALL[4:], "--import", folder / "mine.py"]
    code, _, err = ramify("retrain", folder / "R", *train, "--devices", "2")
    assert code == 0, err
    code, _, err = ramify("export", folder / "R", "--import", folder / "mine.py")
    assert code == 0, err
    assert (folder / "R" / "retrain" / "export" / "model.py").exists()


@pytest.mark.slow
def test_a_table_and_a_comparison(folder):
    train = ["--recipe.epochs", "1", "--recipe.batch_size", "32", "--network.channels", "4", "--network.cells", "1"]
    build = ["--space", "Mine", "--space.operations", '["skip_connect","nor_conv_1x1"]', "--progress", "false"]
    words = [*build, "--data", "digits", "--data.subset", "64", *train, "--processes", "1", "--out", folder / "B"]
    code, _, err = ramify("bench", "build", "--import", folder / "mine.py", *words)
    assert code == 0, err
    words = ["--table", folder / "B" / "benchmark.table", "--columns", "valid", "--seeds", "2", "--processes", "1"]
    words += ["--strategies", f"RandomSearch,{folder / 'mine.py'}:Greedy", "--evaluations", "3", "--progress", "false"]
    code, out, err = ramify("bench", "compare", *words, "--out", folder / "C")
    assert code == 0, err
    assert "Greedy" in out


SETTINGS = """
from __future__ import annotations
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal, Optional
from ramify.strategies import RandomSearch

class Mode(Enum):
    FAST = 1

@dataclass(frozen=True)
class Knobs:
    a: int = 1
    deep: Optional[Knobs] = None

@dataclass(frozen=True, kw_only=True)
class Own(RandomSearch):
    must: int
    knobs: Knobs = field(default_factory=lambda: Knobs(a=7))
    mode: Mode = Mode.FAST
    place: Path = Path("here")
    way: Literal["x", "y"] = "x"
"""


def test_types_of_a_users_own(folder, call, capfd):
    Path("own.py").write_text(SETTINGS)
    words = ["search", "--import", "own.py", "--space", "NASBench201", "--strategy", "Own", "--out", "R"]
    for extra, message in (
        ([], "--strategy: `must` is missing"),
        (["--strategy.must", "x"], "--strategy.must: expected int, got 'x'"),
        (["--strategy.way", "z"], "--strategy.way: expected 'x' or 'y', got 'z'"),
        (["--strategy.mode", "SLOW"], "--strategy.mode: expected Mode, got 'SLOW'"),
        (["--strategy.knobs.b", "1"], "--strategy.knobs: unknown option 'b'; known: a, deep"),
    ):
        assert call(*words, *extra) == message
    given = {"must": "3", "knobs.deep.a": "4", "mode": "FAST", "place": "a/b", "way": "y"}
    with pytest.raises(SystemExit):
        main([*words, *(f"--strategy.{name}={value}" for name, value in given.items()), "--print_config"])
    found = yaml.safe_load(capfd.readouterr().out)["strategy"]["init_args"]
    assert (found["must"], found["knobs"]["a"], found["mode"], found["way"]) == (3, 7, "FAST", "y")


# What is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import nothing_of_that_name", "it cannot be imported (ModuleNotFoundError: No module named 'nothing_of"),
        ("def x(:", "it cannot be imported (SyntaxError: "),
        ("raise SystemExit(0)", "it cannot be imported (SystemExit: 0)"),
        (
            "from ramify.strategies import RandomSearch\nclass GDAS(RandomSearch): pass",
            "the library has a GDAS already",
        ),
    ],
)
def test_files_that_cannot_be_imported(folder, call, content, message):
    Path("other.py").write_text(content)
    before = dict(SPACES), dict(STRATEGIES)
    line = call("search", "--import", "mine.py", "--import", "other.py", *GREEDY, "--out", "R")
    assert line.startswith(f"--import other.py: {message}")
    imports.forget()
    assert (dict(SPACES), dict(STRATEGIES)) == before


def test_two_classes_of_one_name_are_two_things(folder, call):
    Path("other.py").write_text(
        'from ramify.strategies import RandomSearch\nclass Greedy(RandomSearch):\n    """Other."""\n'
    )
    options = ["--import", "mine.py", "--import", "other.py", "--space", "Mine", "--strategy.evaluations", "4"]
    options += ["--strategy.evaluator", "Skips", *SMALL, "--out"]
    line = call("search", "--strategy", "Greedy", *options, "R")
    assert line == "--strategy: 'Greedy' is the name of 2 classes; say which: mine:Greedy, other:Greedy"
    call("search", "--strategy", "mine:Greedy", *options, "mine")
    call("search", "--strategy", "other:Greedy", *options, "other")
    assert yaml.safe_load(Path("other/config.yaml").read_text())["strategy"]["class_path"] == "other:Greedy"
    assert history("mine") != history("other")
    assert "holds another run: strategy.class_path is" in call("search", "--strategy", "mine:Greedy", *options, "other")
    call("report", "other", "--import", "mine.py", "--import", "other.py")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.py", "missing.py: no such file"),
        ("a/b", "it must be a file FILE.py or the name of a module"),
        ("1x", "it must be a file FILE.py or the name of a module"),
        ("nothing_of_that_name", "it cannot be imported (ModuleNotFoundError"),
        ("ramify.strategies", "the library's own classes are known without it"),
        ("", "it must be a file FILE.py or the name of a module"),
    ],
)
def test_what_cannot_be_imported(folder, call, given, message):
    assert message in call("describe", "x", f"--import={given}")


def test_the_same_file_twice_is_one(folder, call):
    shutil.copy("mine.py", "copy.py")
    call("search", "--import", "mine.py", "--import", "./mine.py", *GREEDY, *SMALL, "--out", "R")
    assert len(yaml.safe_load(Path("R/config.yaml").read_text())["import"]) == 1


def test_verbs_that_take_no_classes_take_no_import(call):
    assert "unknown option 'import'" in call("zoo", "--import", "mine.py")


SECOND = """
from ramify.spaces import DARTSCells


class Mine(DARTSCells):
    '''Another.'''
"""


def test_of_two_classes_of_one_name_every_verb_takes_the_one_that_was_searched(folder, call):
    Path("second.py").write_text(SECOND)
    both = ["--import", "mine.py", "--import", "second.py"]
    found = call("search", *both, "--space", "mine:Mine", *GREEDY[2:], *SMALL, "--out", "R").strip()
    assert json.loads(Path("R/architecture.json").read_text())["space"] == "mine:Mine"
    assert found in call("describe", "R", *both)
    assert call("report", "R", *both).strip() == "R/report.html"
    alone = ["--network.channels", "4", "--import", "mine.py"]
    assert found in call("describe", "R/architecture.json", *alone)  # where the bare name would do
    bare = Path("R/architecture.json").read_text().replace("mine:Mine", "Mine")
    Path("bare.json").write_text(bare)
    assert found in call("describe", "bare.json", "--space", "mine:Mine", *alone, *both[2:])


PLAIN = """
from ramify.spaces import NASBench201
from torch import nn


class Plain(NASBench201):
    '''With a supernet that has none of the library's parts.'''

    def _supernet(self, layout, shape):
        return Own()


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(nn.init.ones_(nn.Parameter().new_empty(1)))

    def forward(self, x, mix, **keywords):
        return self.scale * x.mean((2, 3)).expand(-1, 10) * sum(weights.sum() for weights in mix.values())
"""


def test_supernets_that_lack_what_a_method_reads(folder, call):
    Path("plain.py").write_text(PLAIN)
    words = ["--import", "plain.py", "--space", "Plain", *SMALL, "--out", "R"]
    line = call("shrink", *words)
    assert line.startswith("Plain cannot be shrunk: Plain lacks `angle`, weight vectors of members")
    line = call("search", *words, "--strategy", "CDARTS")
    assert line.startswith("CDARTS cannot search Plain: Plain lacks `inheritance` (and `stems`, `taps`), members that")
    assert not Path("R").exists()


def test_what_is_said_where_an_import_is_forgotten(folder, call):
    search = ["search", "--space", "NASBench201", "--strategy", "GDAS", "--out", "R", "--data"]
    assert call(*search, "stripes").endswith("; your own come with --import")
    Path("x.raw8").write_bytes(b"0")
    assert call(*search, "x.raw8").endswith("; your own come with --import")
    assert call("describe", "k1-k3").endswith("no notation of a known space; of others --space says which")
    advice = "add --import mine, or --import mine.py of a file, and call it 'Mine'"
    assert call("describe", "k1-k3", "--space", "mine:Mine").endswith(advice)
    line = call("describe", "k1-k3", "--space", "Mine", "--import", "no_module")
    assert line.endswith("(ModuleNotFoundError: No module named 'no_module'); a file is given as no_module.py")
