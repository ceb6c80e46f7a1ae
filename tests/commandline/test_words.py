"""The words of the command line: whatever they name, nothing is imported, and wrong ones get one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from ramify import imports
from ramify.cli import main
from ramify.commandline import words
from ramify.errors import ConfigurationError, RamifyError
from ramify.strategies import STRATEGIES

SEARCH = ["search", "--space", "NASBench201", "--strategy", "RandomSearch", "--data", "digits", "--out", "out"]

PLANTED = """
from pathlib import Path
Path(MARKER).touch()
from ramify.evaluators import TrainFromScratch
from ramify.executors import InProcess
from ramify.spaces import NASBench201
from ramify.strategies import RandomSearch
class Space(NASBench201): pass
class Strategy(RandomSearch): pass
class Evaluator(TrainFromScratch): pass
class Executor(InProcess): pass
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module in the working directory and on the path; returns what appears when it is imported."""
    marker = tmp_path / "imported"
    (tmp_path / "this.py").write_text(PLANTED.replace("MARKER", repr(str(marker))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "this", raising=False)
    return marker


@pytest.fixture
def line(capfd):
    """Return a function that runs the command line, which refuses, and returns its only line."""

    def call(*given):
        capfd.readouterr()
        assert main(list(map(str, given))) == 2
        printed = capfd.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert len(printed.err) <= 300
        return printed.err.removeprefix("ramify: ").rstrip("\n")

    return call


def configured(**options):
    """Return words that give options in a file."""
    Path("given.yaml").write_text(yaml.safe_dump({"data": "digits", "out": "out", **options}))
    return ["--config", "given.yaml"]


WAYS = {
    "space": lambda: ["search", "--space", "this.Space", "--strategy", "GDAS", "--out", "out"],
    "space of describe": lambda: ["describe", "[1]", "--space", "this.Space"],
    "space of a build": lambda: ["bench", "build", "--space", "this.Space", "--out", "out"],
    "strategy": lambda: [*SEARCH, "--strategy", "this.Strategy"],
    "evaluator": lambda: [*SEARCH, "--strategy.evaluator", "this.Evaluator"],
    "executor": lambda: [*SEARCH, "--executor", "this.Executor"],
    "help": lambda: ["search", "--space.help", "this.Space"],
    "help below": lambda: [*SEARCH, "--strategy.evaluator.help", "this.Evaluator"],
    "json": lambda: [*SEARCH, "--strategy", '{"class_path": "this.Strategy"}'],
    "class_path as an option": lambda: [*SEARCH, "--strategy.class_path", "this.Strategy"],
    "configuration": lambda: ["search", *configured(space="this.Space", strategy="GDAS")],
    "class_path": lambda: ["search", *configured(space="NASBench201", strategy={"class_path": "this.Strategy"})],
    "nested": lambda: [
        "search",
        *configured(
            space="NASBench201",
            strategy={"class_path": "RandomSearch", "init_args": {"evaluator": {"class_path": "this.Evaluator"}}},
        ),
    ],
    "dict_kwargs": lambda: [
        "search",
        *configured(
            space="NASBench201",
            strategy={"class_path": "RandomSearch", "dict_kwargs": {"x": {"class_path": "this.Evaluator"}}},
        ),
    ],
    "printed": lambda: ["search", *configured(space="this.Space", strategy="GDAS"), "--print_config"],
    "recorded": lambda: [
        "search",
        *configured(space="Space", strategy="GDAS", **{"import": [{"module": "this", "sha256": "0" * 64}]}),
    ],
    "level": lambda: ["search", *configured(levels={"a": {"space": "this.Space", "strategy": "this.Strategy"}})],
    "comparison": lambda: ["bench", "compare", *configured(table="t", columns="c", strategies=["this.Strategy"])],
    "comparison by name": lambda: [
        *("bench", "compare", "--table", "t", "--columns", "c", "--out", "out"),
        *("--strategies", "this.Strategy"),
    ],
    "group": lambda: ["retrain", "a", "--recipe", '{"class_path": "this.Strategy"}', "--out", "out"],
    "function of the library": lambda: ["search", *configured(space="ramify.spaces.create", strategy="GDAS")],
    "module of the library": lambda: ["search", *configured(space="ramify.__main__.X", strategy="GDAS")],
    "file": lambda: ["search", *configured(space="this.py:Space", strategy="GDAS")],
    "another library": lambda: ["search", *configured(space="ramify.os.system", strategy="GDAS")],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_name_imports_nothing(way, planted, line):
    said = line(*WAYS[way]())
    assert not planted.exists()
    assert not Path("out").exists()
    assert said


@pytest.mark.parametrize("way", ["data", "any"])
def test_a_name_where_any_text_or_value_may_stand_imports_nothing(way, planted, line):
    if way == "data":
        assert "this.Space: no such file" in line(
            "search", *configured(space="NASBench201", strategy="GDAS", data="this.Space")
        )
    else:
        restriction = json.dumps({"cell": {"class_path": "this.Space"}})
        line(*SEARCH, "--restriction", restriction)
    assert not planted.exists()


def test_what_is_said_of_names(planted, line):
    assert line(*WAYS["strategy"]()) == (
        "--strategy: unknown strategy 'this.Strategy'; names import nothing: add --import this and call it 'Strategy'"
    )
    said = line("search", *configured(space="NASBench201", strategy="GDAS", data={"class_path": "this.Data"}))
    assert said.endswith("data: expected options of DataSpec, got 'this.Data'")
    assert "names import nothing: add --import this.py and call it 'Space'" in line(*WAYS["file"]())
    assert "unknown strategy 'ramify.strategies.GDSA'; did you mean 'GDAS'?" in line(
        *SEARCH, "--strategy", "ramify.strategies.GDSA"
    )
    assert line(*WAYS["recorded"]()) == "--config: given.yaml was made with classes of this: add --import this"


@pytest.mark.parametrize("how", ["module", "environment"])
def test_a_process_in_the_folder_imports_nothing(how, planted):
    environment = dict(os.environ)
    environment["JSONARGPARSE_DEFAULT_ENV"] = "true" if how == "environment" else "false"
    prefixes = ("", "RAMIFY_SEARCH_", "RAMIFY_SEARCH__", "__MAIN___PY_")
    environment |= {f"{prefix}STRATEGY": "this.Strategy" for prefix in prefixes}
    given = ["--space", "this.Space"] if how == "module" else ["--space", "NASBench201"]
    done = subprocess.run(
        [sys.executable, "-m", "ramify", "search", *given, "--strategy", "this.Strategy", "--out", "out"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert not planted.exists()


def test_the_librarys_own_names_are_known_in_both_forms(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GDAS", "ramify.strategies.GDAS"):
        with pytest.raises(SystemExit):
            main(["search", "--space", "NASBench201", "--strategy", name, "--out", "out", "--print_config"])
        assert yaml.safe_load(capfd.readouterr().out)["strategy"]["class_path"] == "ramify.strategies.GDAS"


# Files and values

FILES = {
    "empty": (b"", "it must hold options"),
    "binary": (b"\x93\xff\x00", "line 1: not UTF-8 text"),
    "tag": (b"space: !!python/object/apply:os.system [true]\n", "not valid YAML"),
    "twice": (b"seed: 1\nseed: 2\n", "the key 'seed' occurs twice"),
    "deep": (b"seed: " + b"[" * 100, "nested more than 60 levels deep"),
    "aliases": (b"a: &a [*a]\n", "contains itself"),
    "nested": (b"config: given.yaml\n", "`config` is an option of the command line alone"),
    "class": (b"strategy: {class_path: 5}\n", "`class_path` must be a name, got 5"),
    "record": (b"import: 5\n", "`import`: it must be a valid array, got 5"),
    "number": (b"seed: " + b"9" * 5000 + b"\n", "integer"),
    "levels": (b"levels: [a]\n", "`levels` must be names with options"),
    "name of a level": (b"levels: {a b: {}}\n", "level 'a b'"),
}


@pytest.mark.parametrize(
    "verb", ["search", "shrink", "retrain", "tune", "evaluate", "export", "report", "describe", "bench"]
)
def test_configurations_that_are_none(verb, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, (content, message) in FILES.items():
        if verb != "search" and "level" in name:
            continue
        Path("given.yaml").write_bytes(content)
        said = line(*([verb, "build"] if verb == "bench" else [verb]), "--config", "given.yaml")
        assert message in said
        assert "--config" in said
    for path, message in (("folder", "s a directory"), ("/dev/zero", "larger than"), ("~nobody/x", "no such file")):
        assert message in line(*([verb, "build"] if verb == "bench" else [verb]), f"--config={path}")


@pytest.mark.parametrize("path", ["~nobody/x", "a/**b", "\udcff", "a\0b", "x" * 5000, "~nobody/**x/*"])
def test_paths_that_are_none(path, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line(*SEARCH, "--strategy.evaluations", "1", "--data", path)
    line("describe", path)
    line("report", path)
    line("evaluate", path)


def test_inline_values_are_bounded(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line(*SEARCH, "--strategy", "{" * 5000)
    line(*SEARCH, "--strategy", '{"a":' * 3000 + "1" + "}" * 3000)
    line(*SEARCH, "--restriction", "[" * 100_000)
    assert "a word has at most" in line(*SEARCH, "--restriction", "x" * (words.LIMIT_CHARACTERS + 1))
    assert "nested more than 60 levels" in line(*SEARCH, "--config", "{a: " * 100 + "}" * 100)


def test_options_and_their_places():
    given = ["source", "--a", "1", "--b=2", "--c", "--d", "x", "y", "--e", "true", "--e", "z", "--", "--f"]
    options, others = words.split(given, flags=["e"])
    assert [(item.option, item.value) for item in options] == [
        *(("a", "1"), ("b", "2"), ("c", None), ("d", "x"), ("e", "true"), ("e", None)),
    ]
    assert others == ["source", "y", "z", "--f"]


OPTIONS = [
    *("--space", "--strategy", "--strategy.evaluator", "--data", "--data.source", "--data.split_file", "--network.a"),
    *("--restriction", "--network", "--config", "--executor", "--table", "--recipe", "--recipe.epochs", "--seed"),
    *("--space.help", "--strategy.guard", "--strategy.objectives", "--space.operations", "--space.cell", "--space+"),
    *("--strategy.init_args.epochs", "--print_config", "--architecture", "--input_size", "--strategies", "--columns"),
    *("--shrinking", "--data.help", "--.x", "--a..b", "--space.", "---x", "-x", "--=", "--import"),
]
VALUES = [
    *("~nobody/x", "a/**b", "[]", "{}", "[[[[", "{" * 300, "\udcff", "a\0b", "", "--", "'", "null", "true", "1e999"),
    *("-1", "9" * 400, ".inf", "!!python/object:os.system {}", "&a [*a]", "{a: b, a: c}", "{class_path: os.system}"),
    *("{init_args: 3}", "/dev/zero", "NASBench201", "GDAS", "zoo:x", "a.b.c", "x.py:Y", "%(prog)s", "|a~0|", "a:"),
]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["search", "shrink", "retrain", "tune", "evaluate", "export", "report", "describe", "bench build"]),
    st.lists(st.sampled_from(OPTIONS) | st.sampled_from(VALUES) | st.text(max_size=8), max_size=6),
)
def test_any_words_are_answered(capfd, tmp_path_factory, verb, given):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        for name in ("search.search", "search.levels.search_levels", "shrink.shrink", "retrain.retrain", "tune.tune"):
            patch.setattr(f"ramify.verbs.{name}", _work)
        capfd.readouterr()
        try:
            code = main([*verb.split(), *given])
        except SystemExit as done:  # --print_config
            code = done.code or 0
    err = capfd.readouterr().err
    assert code in (0, 2)
    assert code == 0 or (err.count("\n") == 1 and len(err) <= 300), err


def _work(*args, **kwargs):
    raise RamifyError("the words were understood")


def test_forgetting_leaves_the_library():
    known = set(STRATEGIES)
    imports.bring(str(Path(__file__).parents[1] / "mine.py"))
    assert set(STRATEGIES) == known | {"Greedy"}
    imports.forget()
    assert set(STRATEGIES) == known
    with pytest.raises(ConfigurationError, match="the library's own classes"):
        imports.bring("ramify.strategies")
