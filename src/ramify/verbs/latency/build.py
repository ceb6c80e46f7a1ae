"""Measure the leaf calls of networks on this machine, and write a table that predicts what others take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ramify import files
from ramify.commandline.options import add_machine, add_network, add_restriction, add_space, restricted
from ramify.costs import Inputs, LatencyTable, Networks, measure_latency
from ramify.costs.latency_table import RUNTIMES
from ramify.costs.measuring import noisy
from ramify.errors import RamifyError, TableError
from ramify.run import make_fabric, say

if TYPE_CHECKING:
    from ramify.commandline import Command
    from ramify.commandline.command import Options


def add_networks(command: Command) -> None:
    """Declare the options that say which networks are measured, and where."""
    command.take_classes()
    add_space(command, "whose members' networks are measured", required=True)
    add_restriction(command)
    add_network(command, "layout of the networks, as --network.channels 16")
    command.add("--input_size", list[int], "of one input: channels, height, width of an image", default=[3, 32, 32])
    command.add("--num_classes", int, "classes", default=10)
    command.add("--rounds", int, "how often each network is measured, all of them in turn", default=3)
    add_machine(command, "device", text="cpu, cuda, cuda:1 or mps", default="cpu")
    add_machine(command, "threads", default=1, kind=int)


def networks_of(options: Options) -> Networks:
    """Return the networks that the options of `add_networks` mean."""
    fabric = make_fabric(options.device, threads=options.threads)
    space = restricted(options)
    size: tuple[int, ...] = tuple(options.input_size)
    given: dict[str, Any] = {"num_classes": options.num_classes, "in_channels": size[0], "features": size[0]}
    shape = {name: given.get(name, value) for name, value in space.shape.items()}
    return Networks(space, Inputs(shape, size), options.network, device=fabric.device)


def run(command: Command) -> int:
    """Run `ramify latency build`."""
    add_networks(command)
    command.add("--members", int, "how many different members are measured, at least 20", default=100)
    command.add("--batch", int, "inputs in a pass", default=1)
    command.add("--runtime", str, f"what executes the networks: {' or '.join(RUNTIMES)}", default=RUNTIMES[0])
    add_machine(command, "seed", text="decides which members are drawn")
    add_machine(command, "out", text="the table's file", required=True)
    options = command.parse()
    if files.is_there(options.out):
        try:
            LatencyTable.read(options.out)
        except TableError:
            raise RamifyError(f"--out {options.out} exists and is no table of latencies; choose another") from None
    chosen = {name: options[name] for name in ("members", "rounds", "batch", "runtime", "seed")}
    table: LatencyTable = measure_latency(networks_of(options), **chosen)
    table.save(options.out)
    machine = table.machine
    print(
        f"{options.out}: {len(table.calls):,} calls of {table.space}; {machine['runtime']}, {machine['device']} "
        f"({machine['processor']}), {machine['threads']} threads, batch {table.batch}, {table.dtype}"
    )
    print(f"of networks that the fit had not seen, nine of ten were within {table.spread:.1%} of the prediction")
    if warning := noisy(table.noise):
        say(warning)
    return 0
