"""A verb is one file: what lies in the package is listed and run, and nothing of it is imported before."""

import subprocess
import sys
from pathlib import Path

import pytest

import ramify
from ramify import cli, verbs

FOLDER = Path(verbs.__file__).parent
NEW = '''"""Greet whoever calls."""


def run(command):
    command.add("name", str, "who calls")
    print(f"hello {command.parse().name}")
    return 0
'''


@pytest.mark.parametrize("outer", ["", "bench"])
def test_a_new_file_is_a_new_verb(outer, tmp_path, monkeypatch, capsys):
    package = tmp_path / outer / "__init__.py"
    package.parent.mkdir(exist_ok=True)
    (package.parent / "greet.py").write_text(NEW)
    monkeypatch.setattr(verbs, "__file__", str(tmp_path / "__init__.py"))
    known = __import__(f"ramify.verbs{'.bench' if outer else ''}", fromlist=["x"])
    monkeypatch.setattr(known, "__path__", [*known.__path__, str(package.parent)])
    if outer:
        (tmp_path / "bench" / "__init__.py").write_text((FOLDER / "bench" / "__init__.py").read_text())
    called = [outer, "greet"] if outer else ["greet"]
    assert verbs.listed(outer)["greet"] == "greet whoever calls"
    assert cli.main(["--help"] if not outer else [outer, "--help"]) == 0
    assert "  greet  greet whoever calls" in " ".join(capsys.readouterr().out.splitlines())
    assert cli.main([*called, "you"]) == 0
    assert capsys.readouterr().out == "hello you\n"
    sys.modules.pop(".".join(["ramify.verbs", *called]))


def test_listing_imports_none_of_them():
    code = "import sys; from ramify import verbs; verbs.listed(); verbs.listed('bench')\n"
    code += "assert not [name for name in sys.modules if name.startswith('ramify.verbs.')]"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_verb_says_what_it_does_and_can_be_run():
    listed = {**verbs.listed(), **{f"bench {name}": about for name, about in verbs.listed("bench").items()}}
    assert {"search", "retrain", "bench import"} <= set(listed)
    for name, about in listed.items():
        assert 20 < len(about) <= 110, name
        assert not about.endswith(".")


@pytest.mark.parametrize("name", ["search", "shrink", "retrain", "evaluate", "export", "describe", "tune"])
def test_a_verb_is_a_function_of_the_library(name):
    assert getattr(ramify, name).__module__ == f"ramify.verbs.{name}"
