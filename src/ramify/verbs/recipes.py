"""List the published settings; --recipe NAME takes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ramify import recipes
from ramify.commandline.options import add_json
from ramify.commandline.tables import print_table

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run `ramify recipes`."""
    add_json(command)
    options = command.parse()
    if options.json:
        listed = [
            {"name": recipe.name, "verb": recipe.verb, "title": recipe.title, "source": recipe.source}
            | {"options": recipe.options}
            for recipe in recipes.entries()
        ]
        print(json.dumps(listed, indent=2))
        return 0
    for verb in ("search", "shrink", "retrain", "tune"):
        rows = [(recipe.name, recipe.title, recipe.source) for recipe in recipes.entries(verb)]
        print_table(f"ramify {verb} --recipe NAME", ("name", "what it is", "source"), rows)
    return 0
