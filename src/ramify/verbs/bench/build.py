"""Train architectures on your own data, once, in processes of their own; the same command continues."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify import files
from ramify.building import TABLE, build_table
from ramify.commandline.ending import say_end
from ramify.commandline.options import (
    add_data,
    add_machine,
    add_network,
    add_recipe,
    add_restriction,
    add_space,
    add_task,
    restricted,
)
from ramify.commandline.plans import add_plan, say_plan
from ramify.evaluators import TrainFromScratch
from ramify.spaces import notation

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run `ramify bench build`."""
    command.take_classes()
    add_space(command, "whose architectures are trained", required=True)
    add_restriction(command, files=False)
    command.add(
        "--architectures",
        int | list[str] | str | None,
        "how many to draw, a list of notations, or a file with one in every line; default: all members",
        readers={"": _notations},
    )
    add_data(command, "what to train and measure on: a name, a folder, a file; default: digits")
    add_task(command)
    command.add("--seeds", list[int], "every architecture is trained once with each, as 0,1,2", default=[0])
    add_recipe(command, "retrain", default=TrainFromScratch().recipe())
    add_network(command, "layout of the networks, as --network.channels 16")
    command.add("--test", bool, "whether to measure the test split at the end", flag=True)
    add_machine(command, "out", text=f"a folder; the table is {TABLE} in it", required=True)
    add_machine(command, "seed", text="decides which architectures are drawn")
    command.add(
        "--processes", int | None, "how many train at a time; 0: this one; default: as many as there are processors for"
    )
    command.add("--retry", bool, "whether to train once more what failed", flag=True)
    add_machine(command, "device", text="cpu, cuda, cuda:1 or mps", default="cpu")
    add_machine(command, "precision", "execution")
    add_machine(command, "threads", text="threads of the CPU operations of each process", kind=int, default=1)
    add_machine(command, "progress")
    add_plan(command)
    options = command.parse()
    names = ("task", "out", "architectures", "seeds", "recipe", "network", "test", "seed", "processes", "retry")
    chosen = {name: options[name] for name in (*names, "device", "precision", "execution", "threads", "progress")}
    if options.plan:
        return say_plan(lambda: build_table(restricted(options), options.data, **chosen))
    table = build_table(restricted(options), options.data, **chosen)
    print(f"{Path(options.out) / TABLE}: {len(table):,} architectures, SHA-256 {table.digest}")
    following = f"ramify bench compare --table {{}}/{TABLE} --columns valid --out OUT"
    say_end(options.out, following, enabled=options.progress)
    return 0


_NOTATIONS = re.compile(r"[|{\[(,]|^\d+(?::\d+)+$|^nb201:", re.I)


def _notations(text: str) -> Any:
    """Return the notations in a text, one or a list of them, which are not always YAML; all else as it is."""
    if not _NOTATIONS.search(text) or files.is_file(text):
        return text
    return [item if isinstance(item, str) else json.dumps(item) for item in notation.read_list(str(text))]
