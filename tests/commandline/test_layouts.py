"""What `--help` says of layouts, for every space and for a user's own."""

from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from ramify import imports
from ramify.cli import main
from ramify.commandline.layouts import listing_of
from ramify.spaces import SPACES, NASBench201

MINE = Path(__file__).parents[1] / "mine.py"


@pytest.fixture
def shown(capsys):
    """Return a function that runs the command line and returns what it prints."""

    def shown(*words):
        try:
            code = main(list(map(str, words)))
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return shown


@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_keyword_is_described(name):
    layout = SPACES[name].Layout
    lines = listing_of(layout).splitlines()
    heads = [line.strip().partition(":")[0] for line in lines if not line.startswith("   ")]
    assert heads == [item.name for item in fields(layout)]
    assert all(line.startswith("      ") for line in lines[1::] if line.strip().partition(":")[0] not in heads)
    for head in heads:
        place = next(at for at, line in enumerate(lines) if line.startswith(f"  {head}:"))
        assert lines[place + 1].startswith("      "), f"{name}.{head} has no description"


def test_keywords_of_ones_own_are_with_the_inherited():
    @dataclass(frozen=True, kw_only=True)
    class Layout(NASBench201.Layout):
        """As there.

        Args:
            wide: Factor of `channels`.
        """

        wide: int = 1

    said = listing_of(Layout)
    assert "  wide: whole number, 1 by default\n      Factor of `channels`." in said
    assert "  channels: whole number" in said


def test_help_of_a_space_that_is_given(shown):
    said = shown("search", "--space", "NASBench201", "--help")
    assert "usage: ramify search" in said and "layout of NASBench201, as --network.KEYWORD VALUE:" in said
    assert "layout of" not in shown("search", "--help").partition("--network.help SPACE")[2]
    assert shown("search", "--network.help", "NASBench201").splitlines()[0] in said
    assert shown("retrain", "--network.help", "ShuffleChain").startswith("layout of ShuffleChain")


def test_help_of_a_users_space(shown):
    assert "layout of Mine" in shown("search", "--import", MINE, "--space", "Mine", "--help")
    imports.forget()


def test_help_of_no_space(shown):
    assert shown("search", "--network.help") == (
        "ramify: --network.help needs the name of a space, as --network.help NASBench201\n"
    )
    assert "--network.help: unknown space 'Foo'; known: " in shown("search", "--network.help", "Foo")
