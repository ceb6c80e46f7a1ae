"""Let strategies search a table with equal budgets and many seeds, random search among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ramify.commandline.options import add_data, add_machine, add_network
from ramify.comparison import compare
from ramify.comparison.comparing import named
from ramify.strategies import STRATEGIES, AskTell

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run `ramify bench compare`."""
    command.take_classes()
    multi_trial = ", ".join(name for name, kind in STRATEGIES.items() if issubclass(kind, AskTell))
    command.add("--table", str, "a table, or the CSV file of NAS-Bench-201", required=True)
    command.add("--columns", list[str], "of accuracies, one comparison each, as valid_a,valid_b", required=True)
    text = f"names, as RandomSearch,BOHB, or in a configuration file a list with settings; default: {multi_trial}"
    command.add("--strategies", list[AskTell] | str | None, text)
    command.add("--seeds", int, "searches of each strategy on each column", default=20)
    command.add("--evaluations", int | None, "budget; 200 where no other is given")
    command.add("--epochs", int | None, "budget: epochs in all")
    command.add("--seconds", float | None, "budget: simulated seconds, where the table knows them")
    command.add("--objectives", list[str], "as error,macs: several are compared by hypervolume", default=["error"])
    command.add("--reference", list[float] | None, "worst values of several objectives that count, as [0.2,220.1e6]")
    add_data(command, "images that networks see, where the table's data set is unknown and their cost is an objective")
    add_network(command, "layout of the networks, where their cost is an objective, as --network.channels 16")
    add_machine(command, "out", text="a folder; the same command continues what it holds", required=True)
    command.add(
        "--processes", int | None, "how many search at a time, one thread each; 0: this one; default: one per processor"
    )
    add_machine(command, "progress")
    options = command.parse()
    strategies = options.strategies
    names = ("out", "seeds", "evaluations", "epochs", "seconds", "reference", "network", "processes", "progress")
    comparison = compare(
        options.table,
        options.columns,
        named(strategies) if isinstance(strategies, str) else strategies,
        objectives=options.objectives,
        data=options.data,
        **{name: options[name] for name in names},
    )
    print(comparison.text, end="")
    return 0
