"""What is shown of options comes from jsonargparse, of the versions that were tried."""

from importlib.metadata import version
from pathlib import Path

import jsonargparse
import pytest
import yaml
from packaging.requirements import Requirement

from ramify.cli import main

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_versions_that_were_tried():
    (line,) = (line for line in PROJECT.read_text().splitlines() if '"jsonargparse' in line)
    wanted = Requirement(line.strip(' ",'))
    assert wanted.specifier.contains(version("jsonargparse"))
    assert {item.operator for item in wanted.specifier} == {">=", "<"}


def test_wrong_words_never_come_to_it(monkeypatch, capsys):
    def never(*_, **__):
        raise AssertionError("jsonargparse was asked")

    monkeypatch.setattr(jsonargparse.ArgumentParser, "parse_args", never)
    monkeypatch.setattr(jsonargparse.ArgumentParser, "parse_object", never)
    for words in (["--strategy", "GDSA"], ["--strategy", "GDAS", "--strategy.epochs", "x"], ["--seeed", "3"], []):
        assert main(["search", "--space", "NASBench201", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 4


def test_what_is_printed_holds_what_was_given(capsys):
    words = ["--strategy.epochs", "3", "--strategy.guard.action", "stop", "--network.channels", "4", "--data", "digits"]
    with pytest.raises(SystemExit):
        main(["search", "--space", "NASBench201", "--strategy", "DARTS", *words, "--print_config"])
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["strategy"]["init_args"]["epochs"] == 3
    assert found["strategy"]["init_args"]["guard"]["action"] == "stop"
    assert found["strategy"]["init_args"]["lr"] == 0.025
    assert found["network"] == {"channels": 4}
    assert found["data"]["source"] == "digits"
