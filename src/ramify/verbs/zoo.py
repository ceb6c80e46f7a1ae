"""List the published architectures; zoo:NAME stands for one wherever an architecture is expected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ramify import zoo
from ramify.commandline.options import add_json
from ramify.commandline.tables import print_table

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run `ramify zoo`."""
    add_json(command)
    options = command.parse()
    if options.json:
        print(json.dumps([entry.to_dict() for entry in zoo.entries()], indent=2))
        return 0
    families: dict[str, list[Sequence[str]]] = {}
    for entry in zoo.entries():
        network, figure, published = next(iter(entry.networks.values()), None), entry.headline, ""
        if figure is not None:
            remark = ", ".join(filter(None, (figure.note.split(",")[0], "recalled" if figure.recalled else "")))
            published = f"{figure.data} {figure.metric} {figure.number} %{f' ({remark})' if remark else ''}"
        cost = ("", "") if network is None else (f"{network.params / 1e6:.2f}", f"{network.macs / 1e6:.1f}")
        row = (entry.name, *cost, published, entry.about)
        families.setdefault(entry.family, []).append(row)
    for family, rows in families.items():
        print_table(family, ("name", "M params", "M mult-adds", "published", "what it is"), rows)
    return 0
