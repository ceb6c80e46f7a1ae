"""The page of all published settings: every recipe is on it, and what has none says why."""

import re
from pathlib import Path

import pytest

from ramify import recipes

PAGE = Path(__file__).parents[2] / "docs" / "published_settings.md"
NAMES = {recipe.name for recipe in recipes.entries()}
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| setting ")
]


def test_every_recipe_is_on_the_page_and_nothing_else():
    listed = [name for row in ROWS for name in re.findall(r"`([^`]+)`", row[1])]
    listed += [name for row in ROWS for name in re.findall(r"as released: (.+)", row[2]) for name in name.split(", ")]
    listed = [name.strip("`") for name in listed]
    assert len(listed) == len(set(listed))
    assert set(listed) == NAMES


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_setting_has_a_recipe_or_a_reason(row):
    setting, recipe, more = row
    assert setting
    assert recipe != "–" or len(more) > 20


def test_its_options_are_those_of_recipes():
    """What follows a double minus, where it is an option of a recipe's own parts."""
    text = PAGE.read_text(encoding="utf-8")
    for word in re.findall(r"--recipe\.([a-z_]+)", text):
        assert word in recipes.load("h-das-retrain-stage-cifar10")["recipe"].__dataclass_fields__, word
