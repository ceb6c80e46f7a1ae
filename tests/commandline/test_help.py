"""What `--help` shows: what must be given first, settings by group, types and defaults that people can read."""

import re

import pytest

from ramify.cli import main

VERBS = ["search", "shrink", "retrain", "adapt", "evaluate", "predict", "export", "report", "tune", "describe", "demo"]


def shown(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0
    return capsys.readouterr().out


def titles(text):
    return [line.removesuffix(":") for line in text.splitlines() if re.match(r"\S.*:$", line)]


def names(text, title):
    """Return the options of a group, in order."""
    section = text.partition(f"\n{title}:\n")[2]
    section = re.split(r"\n\S", section)[0]
    return re.findall(r"^  (?:-h, )?(?:--)?([\w.]+)", section, re.MULTILINE)


def test_what_must_be_given_comes_first_and_help_last(capsys):
    text = shown(capsys, "search", "--help")
    assert text.splitlines()[0] == "usage: ramify search --space SPACE --strategy STRATEGY --out OUT [options]"
    assert titles(text) == ["what must be given", "options", "run and machine", "from files", "help"]
    assert names(text, "what must be given") == ["space", "strategy", "out"]
    assert names(text, "run and machine")[0] == "seed"
    assert names(text, "from files") == ["config", "print_config", "import"]
    assert "strategy.help" in names(text, "help")


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_said_that_only_its_authors_read(verb, capsys):
    text = shown(capsys, verb, "--help")
    for mark in ("<class", "known subclasses", "class_path", "ramify.spaces.", "type:"):
        assert mark not in text
    assert text.splitlines()[0].startswith(f"usage: ramify {verb}")


def test_settings_of_settings_have_groups_of_their_own(capsys):
    text = shown(capsys, "retrain", "--help")
    found = titles(text)
    assert found.index("What else happens to training images") > found.index("run and machine")
    assert "recipe.distortion.resized" in names(text, "What else happens to training images")
    assert found[-2:] == ["from files", "help"]


def test_what_a_strategy_adds_comes_before_what_all_have(capsys):
    text = shown(capsys, "search", "--strategy.help", "GDAS")
    first, shared, *_ = titles(text)[:2]
    assert first.startswith("GDAS") and shared == "What GDAS shares with others"
    assert {"strategy.tau_start", "strategy.tau_end"} <= set(names(text, first))
    assert names(text, shared)[:2] == ["strategy.batch_size", "strategy.lr"]
    assert "usage:" not in text and "(float, default: 10.0)" in text
