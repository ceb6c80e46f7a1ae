"""Convert a CSV file or an official NATS-Bench file into a table that opens at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ramify.benchmarks import Column, Table, import_csv, import_nats
from ramify.commandline.options import add_machine, add_space
from ramify.errors import RamifyError

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run `ramify bench import`."""
    command.take_classes()
    command.add("source", str, "CSV file (also .csv.gz), NATS-*.pickle.pbz2, or an unpacked folder NATS-*-simple")
    add_machine(command, "out", text="the table's file", required=True)
    add_space(command, "of a CSV file, if it is not evident from the notations")
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
