"""What registries know: the library's own by listing packages, users' by import, plug-ins when they are looked up."""

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ramify import Architecture, imports, registry
from ramify.cli import main
from ramify.data import SOURCES, load
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.evaluators import EVALUATORS
from ramify.executors import EXECUTORS, LocalProcesses
from ramify.ops import OPERATIONS, Operation, make_operation, operation
from ramify.spaces import SPACES, NASBench201, space_of
from ramify.strategies import STRATEGIES, RandomSearch

CLASSES = (SPACES, STRATEGIES, EVALUATORS, EXECUTORS)
SMALL = ["--data", "digits", "--data.subset", "64", "--network.channels", "4", "--network.cells", "1"]
SMALL += ["--threads", "1", "--progress", "false"]

PACKAGE = {
    "__init__.py": "",
    "ops.py": '''
from torch import nn
from ramify.ops import operation


@operation("gelu_conv_3x3", paper="Somebody, 2026")
def gelu_conv(channels, stride, norm):
    """GELU, 3×3 convolution, norm."""
    return nn.Sequential(nn.GELU(), nn.Conv2d(channels, channels, 3, stride, 1, bias=False), norm(channels))
''',
    "search.py": '''
from dataclasses import dataclass
from ramify.spaces import NASBench201
from ramify.strategies import AskTell
import foreign_nas.ops


class GeluCells(NASBench201):
    """NAS-Bench-201 with convolutions behind GELU."""

    def __init__(self, nodes=3, operations=("skip_connect", "gelu_conv_3x3", "none")):
        super().__init__(nodes, operations)


@dataclass(frozen=True, kw_only=True)
class Climb(AskTell):
    """Mutate the best."""

    def ask(self, space, trials, rng):
        return space.mutate(trials.best.architecture, rng) if len(trials) else space.sample(rng)
''',
    "exits.py": "raise SystemExit(3)",
    "data.py": '''
import numpy as np
from ramify.data import Part, Parts, source
from ramify.data.encoded import Arrays


@source("stripes8", suffix=".stripes8")
def stripes8(given, spec):
    """A file of stripes."""
    return stripes("stripes", spec)


@source("stripes")
def stripes(given, spec):
    """Two classes of stripes."""
    images = np.zeros((64, 8, 8), np.uint8)
    images[::2, ::2], images[1::2, :, ::2] = 255, 255
    images[:, 0, 0] = np.arange(64)
    return Parts("stripes", Part(Arrays(images, "stripes"), [0, 1] * 32))
''',
}
PLUGINS = """[ramify.plugins]
GeluCells = foreign_nas.search:GeluCells
Climb = foreign_nas.search
stripes = foreign_nas.data
stripes8 = foreign_nas.data
absent = foreign_nas.data
exits = foreign_nas.exits
broken = foreign_nas.missing
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of somebody, on the path of modules; the working directory is another one."""
    (tmp_path / "site" / "foreign_nas").mkdir(parents=True)
    for name, text in PACKAGE.items():
        (tmp_path / "site" / "foreign_nas" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "site"
    for name in [name for name in sys.modules if name.partition(".")[0] == "foreign_nas"]:
        del sys.modules[name]


@pytest.fixture
def plugin(package):
    """The package, installed as a plug-in."""
    info = package / "foreign_nas-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-nas\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(PLUGINS)
    registry._plugins.cache_clear()
    yield package
    registry._plugins.cache_clear()


@pytest.fixture
def call(capfd):
    """Return a function that runs the command line and returns its line, or its output."""

    def call(*words):
        capfd.readouterr()
        code = main(list(map(str, words)))
        printed = capfd.readouterr()
        assert code == (2 if printed.err.startswith("ramify: ") else 0), printed.err
        return printed.err.removeprefix("ramify: ").rstrip("\n") if code else printed.out

    return call


class TestOwn:
    @pytest.mark.parametrize("known", CLASSES, ids=lambda known: known.kind)
    def test_every_module_of_the_package_was_looked_at(self, known):
        package = sys.modules[known.package]
        modules = {f"{known.package}.{module.name}" for module in pkgutil.iter_modules(package.__path__)}
        assert {entry.module for entry in known.own.values()} <= modules <= set(sys.modules)

    @pytest.mark.parametrize("known", [*CLASSES, OPERATIONS, SOURCES], ids=lambda known: known.kind)
    def test_every_entry_says_what_it_is(self, known):
        assert known.own
        for entry in known.entries():
            assert entry.own
            assert known[entry.name] is entry.make
            assert 4 < len(entry.line) < 200, entry
            assert known.kind not in ("space", "strategy", "operation") or entry.paper, entry

    def test_a_class_of_the_package_is_found_without_being_named_anywhere(self, monkeypatch):
        found = registry.Registry("strategy of a test", type(RandomSearch()).__mro__[-3], package="ramify.strategies")
        monkeypatch.delitem(registry.registries, "strategy of a test")
        assert "RandomSearch" in found

    def test_executors_have_short_names(self):
        assert EXECUTORS["processes"] is LocalProcesses
        assert "processes" not in list(EXECUTORS)


class TestFunctions:
    def test_an_operation(self, package):
        __import__("foreign_nas.ops")
        entry = OPERATIONS.lookup("gelu_conv_3x3")
        assert (entry.paper, entry.line) == ("Somebody, 2026", "GELU, 3×3 convolution, norm.")
        made = make_operation("gelu_conv_3x3", 8, 2)
        assert isinstance(made, Operation)
        assert made.channels == 8
        space = NASBench201(3, ("none", "gelu_conv_3x3"))
        assert space.format(space.parse("|gelu_conv_3x3~0|+|none~0|gelu_conv_3x3~1|")).count("gelu") == 2
        assert "gelu_conv_3x3" not in list(OPERATIONS)

    def test_names_that_cannot_be_given(self):
        with pytest.raises(ConfigurationError, match="the library has operation 'skip_connect' already"):
            operation("skip_connect")(lambda channels, stride, norm: None)
        with pytest.raises(ConfigurationError, match="a name is letters"):
            operation("|x~0|")
        with pytest.raises(ArchitectureError, match=r"unknown operation 'gelu'.*your own come with --import"):
            NASBench201(3, ("none", "gelu"))

    def test_a_source_of_images(self, package):
        __import__("foreign_nas.data")
        data = load("stripes")
        assert (data.name, data.num_classes, data.in_channels) == ("stripes", 2, 1)


class TestPlugins:
    def test_they_are_loaded_when_their_names_are_looked_up(self, plugin, call):
        assert registry.plugins()["GeluCells"] == ("foreign_nas.search:GeluCells",)
        assert not any(name.startswith("foreign_nas") for name in sys.modules)
        words = ["--space", "GeluCells", "--strategy", "Climb", "--strategy.evaluations", "2"]
        words += ["--strategy.evaluator", "TrainFromScratch", "--strategy.evaluator.epochs", "1"]
        found = call("search", *words, "--data", "stripes", *SMALL[4:], "--out", "R").strip()
        config = yaml.safe_load(Path("R/config.yaml").read_text())
        assert config["space"]["class_path"] == "foreign_nas.search:GeluCells"
        assert {record["module"] for record in config["import"]} == {
            f"foreign_nas.{n}" for n in ("ops", "search", "data")
        }
        for name in [name for name in sys.modules if name.startswith("foreign_nas")]:
            del sys.modules[name]
        assert call("search", "--config", "R/config.yaml", "--out", "R").strip() == found
        call("retrain", "R", "--recipe.epochs", "1", "--threads", "1", "--progress", "false")
        assert json.loads(call("evaluate", "R", "--threads", "1"))["images"] > 0
        assert found in call("describe", "R/architecture.json", "--network.channels", "4")

    def test_a_changed_source_is_noticed(self, plugin, call):
        words = ["--space", "GeluCells", "--strategy", "GDAS", "--strategy.epochs", "1", *SMALL, "--out", "R"]
        call("search", *words)
        for name in [name for name in sys.modules if name.startswith("foreign_nas")]:
            del sys.modules[name]
        with (plugin / "foreign_nas" / "search.py").open("a") as file:
            file.write("# another line\n")
        assert call("search", *words).startswith("R was made with another foreign_nas.search than is imported now")

    def test_one_that_cannot_be_loaded_is_named(self, plugin, call):
        line = call("search", "--space", "broken", "--strategy", "GDAS", *SMALL, "--out", "R")
        assert line.startswith("--space: plug-in 'broken' (foreign_nas.missing) cannot be loaded: ModuleNotFoundError")
        line = call("search", "--space", "exits", "--strategy", "GDAS", *SMALL, "--out", "R")
        assert line == "--space: plug-in 'exits' (foreign_nas.exits) cannot be loaded: SystemExit: 3"
        line = call("search", "--space", "absent", "--strategy", "GDAS", *SMALL, "--out", "R")
        assert line.endswith(
            "unknown space 'absent', which the plug-in of that name (foreign_nas.data) does not define"
        )

    def test_a_reader_of_files_is_found_by_their_ending(self, plugin):
        Path("x.stripes8").write_bytes(b"")
        assert load("x.stripes8").num_classes == 2

    def test_two_of_one_name_are_two_things(self, plugin, monkeypatch):
        another = "from ramify.spaces import NASBench201\nclass GeluCells(NASBench201): ...\n"
        (plugin / "foreign_nas" / "two.py").write_text(another)
        info = plugin / "foreign_two-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-two\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[ramify.plugins]\nGeluCells = foreign_nas.two:GeluCells\n")
        registry._plugins.cache_clear()
        with pytest.raises(
            ConfigurationError, match=r"2 classes; say which: foreign_nas.search:G.*, foreign_nas.two:G"
        ):
            SPACES.lookup("GeluCells")
        space = SPACES["foreign_nas.two:GeluCells"]()
        arch = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
        assert arch.space == "foreign_nas.two:GeluCells"
        assert type(space_of(Architecture.from_json(arch.to_json()))) is type(space)


SCRIPT = """
import ramify
from ramify.spaces import NASBench201
from ramify.strategies import GDAS


class Mine(NASBench201):
    '''Of a script.'''

    def __init__(self, nodes=3, operations=("skip_connect", "nor_conv_1x1")):
        super().__init__(nodes, operations)


settings = {"network": {"channels": 4, "cells": 1}, "threads": 1, "progress": False}
found = ramify.search(Mine(), GDAS(epochs=1), "digits", out="R", **settings)
assert ramify.search(Mine(), GDAS(epochs=1), "digits", out="R", **settings).architecture == found.architecture
assert ramify.describe("R").notation == found.notation
ramify.write_report("R")
"""


def test_a_script_goes_on_in_python_and_says_that_the_command_line_cannot(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first = done.stderr
    (record,) = yaml.safe_load(Path("R/config.yaml").read_text())["import"]
    assert (record["module"], record["names"]) == ("__main__", ["Mine"])
    assert "'Mine' of a script or notebook, which the command line cannot import" in call("describe", "R")
    assert "'Mine': of a script or notebook, so that the command line cannot repeat this run" in first
    Path("script.py").write_text(SCRIPT.replace("nodes=3", "nodes=4"))
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True)
    assert "RunError: R was made with another __main__ than is imported now" in done.stderr


def test_classes_that_python_imported_are_known(package, call):
    module = __import__("foreign_nas.search").search
    assert SPACES["GeluCells"] is module.GeluCells
    assert "GeluCells" not in list(SPACES)
    space = module.GeluCells()
    arch = space.parse("|gelu_conv_3x3~0|+|none~0|gelu_conv_3x3~1|")
    Path("a.json").write_text(arch.to_json())
    assert "GeluCells" in call("describe", "a.json", "--network.channels", "4")
    for name in [name for name in sys.modules if name.startswith("foreign_nas")]:
        del sys.modules[name]
    assert "unknown space 'GeluCells'" in call("describe", "a.json")
    assert "GeluCells" in call("describe", "a.json", "--import", "foreign_nas.search", "--network.channels", "4")
    imports.forget()


def test_a_class_that_is_not_whole_is_told_what_it_lacks(tmp_path, capsys):
    (tmp_path / "half.py").write_text(
        "from ramify.strategies import AskTell\n"
        "from ramify.spaces import Space\n\n\n"
        'class Half(Space):\n    """Half a space."""\n\n    def parse(self, notation):\n        return None\n\n\n'
        'class Mute(AskTell):\n    """It never asks."""\n'
    )
    brings = ["search", "--import", str(tmp_path / "half.py"), "--out", str(tmp_path / "run")]
    assert main([*brings, "--space", "half:Half", "--strategy", "RandomSearch"]) == 2
    error = capsys.readouterr().err
    assert "space 'half:Half' is not whole: it lacks '_all_choices', '_all_decisions'" in error
    assert error.count("\n") == 1 and len(error) < 300
    assert main([*brings, "--space", "NASBench201", "--strategy", "Mute"]) == 2
    assert "strategy 'Mute' is not whole: it lacks 'ask', which every strategy defines" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
