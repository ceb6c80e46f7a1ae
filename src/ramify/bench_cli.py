"""The sub-verbs of `ramify bench`; only the parser of the one that was called is built."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ramify.errors import RamifyError, nearest
from ramify.wording import sentence

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

SUBVERBS = {
    "build": "train architectures on your own data, once, in processes of their own; the same command continues",
    "compare": "let strategies search a table with equal budgets and many seeds, random search among them",
    "import": "convert a CSV file or an official NATS-Bench file into a table that opens at once",
}


class Command(Protocol):
    """What the command line hands over: the words behind `bench`, and the parser that will understand them."""

    words: list[str]
    parser: ArgumentParser

    def add(self, name: str, kind: Any, text: str, **options: Any) -> None: ...
    def add_data(self, text: str) -> None: ...
    def add_network(self, text: str) -> None: ...
    def parse(self) -> Namespace: ...


def run(command: Command) -> int:
    """Run the sub-verb that was called."""
    name = command.words[0] if command.words else "help"
    if name in ("-h", "--help", "help"):
        width = max(map(len, SUBVERBS))
        listing = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in SUBVERBS.items())
        print(f"usage: ramify bench SUBVERB [options]\n\n{command.parser.description}\n\n{listing}\n")
        print("`ramify bench SUBVERB --help` lists the options of a sub-verb.")
        return 0
    if name not in SUBVERBS:
        raise RamifyError(f"unknown sub-verb {name!r} of bench; {nearest(name, SUBVERBS)}")
    command.words = command.words[1:]
    command.parser.prog = f"ramify bench {name}"
    command.parser.description = f"{sentence(SUBVERBS[name])}."
    return _RUN[name](command)


def _import(command: Command) -> int:
    from ramify.benchmarks import Column, Table, import_csv, import_nats
    from ramify.spaces import SPACES, Space

    command.add("source", str, "CSV file (also .csv.gz), NATS-*.pickle.pbz2, or an unpacked folder NATS-*-simple")
    command.add("--out", str, "the table's file", required=True)
    command.add("--space", Space | None, f"of a CSV file, if it is not evident from the notations: {', '.join(SPACES)}")
    command.add(
        "--columns",
        list[Column] | None,
        "of a CSV file: what to take over and what it is, as "
        '[{"name": "valid", "metric": "accuracy", "data": "cifar10", "split": "valid", "schedule": 12, "seeds": [0]}]',
    )
    command.add("--sha256", str, "of a NATS-Bench file: its checksum, because it holds pickles", default="")
    command.add("--every_epoch", bool, "of a NATS-Bench file: whether to take over every epoch", default=False)
    options = command.parse()
    source, out = Path(options.source), Path(options.out)
    if out.exists() and not (out.is_file() and Table.is_table(out)):
        raise RamifyError(f"--out {out} exists and is no table; choose another")
    if source.is_dir() or source.name.startswith("NATS-"):
        if options.columns or options.space:
            raise RamifyError(
                "--space and --columns describe CSV files; NATS-Bench files say themselves what they hold"
            )
        table = import_nats(source, sha256=options.sha256, every_epoch=options.every_epoch)
    else:
        if options.sha256 or options.every_epoch:
            raise RamifyError("--sha256 and --every_epoch are for NATS-Bench files")
        table = import_csv(source, space=options.space, columns=options.columns or ())
    table.save(out)
    print(f"{out}: {len(table):,} architectures of {table.space!r}, SHA-256 {table.digest}")
    width = max(map(len, table.columns))
    for column in table.columns.values():
        unit = f" in {column.unit}" if column.unit != column.metric else ""
        print(f"  {column.name:<{width}}  {column.metric}{unit}, {column.says()}")
    return 0


def _build(command: Command) -> int:
    from ramify.building import TABLE, build_table
    from ramify.evaluators import TrainFromScratch
    from ramify.spaces import SPACES, Space
    from ramify.training import Recipe

    command.add("--space", Space, f"whose architectures are trained: {', '.join(SPACES)}", required=True)
    command.add("--restriction", dict | None, "choice → table of the candidates that exist (edges × operations)")
    command.add(
        "--architectures",
        int | list[str] | str | None,
        "how many to draw, a list of notations, or a file with one in every line; default: all members",
    )
    command.words = _with_architectures(command.words)
    command.add_data("what to train and measure on: a name, a folder, a file; default: digits")
    command.add("--seeds", list[int], "every architecture is trained once with each, as [0,1,2]", default=[0])
    command.add("--recipe", Recipe, "how, as --recipe.epochs 12", default=TrainFromScratch().recipe())
    command.add_network("layout of the networks, as --network.channels 16")
    command.add("--test", bool, "whether to measure the test split at the end", nargs="?", const=True, default=False)
    command.add("--out", str, f"a folder; the table is {TABLE} in it", required=True)
    command.add("--seed", int, "decides which architectures are drawn", default=0)
    command.add(
        "--processes", int | None, "how many train at a time; 0: this one; default: as many as there are processors for"
    )
    command.add("--retry", bool, "whether to train once more what failed", nargs="?", const=True, default=False)
    command.add("--device", str, "cpu, cuda, cuda:1 or mps", default="cpu")
    command.add("--precision", str, "32-true, 64-true, bf16-mixed or 16-mixed", default="32-true")
    command.add("--threads", int, "threads of the CPU operations of each process", default=1)
    command.add("--progress", bool, "whether to show progress", default=True)
    options = command.parse()
    space = options.space.restrict(options.restriction) if options.restriction else options.space
    names = ("out", "architectures", "seeds", "recipe", "network", "test", "seed", "processes", "retry")
    chosen = {name: options[name] for name in (*names, "device", "precision", "threads", "progress")}
    table = build_table(space, options.data or "digits", **chosen)
    print(f"{Path(options.out) / TABLE}: {len(table):,} architectures, SHA-256 {table.digest}")
    return 0


_NOTATIONS = re.compile(r"[|{\[(,]|^\d+(?::\d+)+$|^nb201:", re.I)


def _with_architectures(words: Sequence[str]) -> list[str]:
    """Read the notations of `--architectures`, one or a list of them, which are not always YAML."""
    from ramify import words as given
    from ramify.spaces import notation

    found: list[str] = []
    done = 0
    for start, end, name, value in given.options_of(words):
        if name == "--architectures" and _NOTATIONS.search(value) and not Path(value).is_file():
            listed = [item if isinstance(item, str) else json.dumps(item) for item in notation.read_list(value)]
            found += [*words[done:start], f"{name}={json.dumps(listed)}"]
            done = end
    return [*found, *words[done:]]


def _compare(command: Command) -> int:
    from ramify.comparison import compare
    from ramify.comparison.comparing import named
    from ramify.strategies import STRATEGIES, AskTell

    known = ", ".join(name for name, kind in STRATEGIES.items() if issubclass(kind, AskTell))
    command.add("--table", str, "a table, or the CSV file of NAS-Bench-201", required=True)
    command.add("--columns", list[str] | str, "of accuracies, one comparison each, as valid_a,valid_b", required=True)
    text = f"names, as RandomSearch,BOHB, or in a configuration file a list with settings; default: {known}"
    command.add("--strategies", list[AskTell] | str | None, text)
    command.add("--seeds", int, "searches of each strategy on each column", default=20)
    command.add("--evaluations", int | None, "budget; 200 where no other is given")
    command.add("--epochs", int | None, "budget: epochs in all")
    command.add("--seconds", float | None, "budget: simulated seconds, where the table knows them")
    command.add("--objectives", list[str] | str, "as error,macs: several are compared by hypervolume", default="error")
    command.add("--reference", list[float] | None, "worst values of several objectives that count, as [0.2,220.1e6]")
    command.add_data("images that networks see, where the table's data set is unknown and their cost is an objective")
    command.add_network("layout of the networks, where their cost is an objective, as --network.channels 16")
    command.add("--out", str, "a folder; the same command continues what it holds", required=True)
    command.add(
        "--processes", int | None, "how many search at a time, one thread each; 0: this one; default: one per processor"
    )
    command.add("--progress", bool, "whether to show progress", default=True)
    options = command.parse()
    strategies = options.strategies
    names = ("out", "seeds", "evaluations", "epochs", "seconds", "reference", "network", "processes", "progress")
    found = compare(
        options.table,
        _listed(options.columns),
        named(strategies) if isinstance(strategies, str) else strategies,
        objectives=_listed(options.objectives),
        data=options.data,
        **{name: options[name] for name in names},
    )
    print(found.text, end="")
    return 0


def _listed(names: str | list[str]) -> list[str]:
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else names


_RUN: dict[str, Callable[[Command], int]] = {"build": _build, "compare": _compare, "import": _import}
