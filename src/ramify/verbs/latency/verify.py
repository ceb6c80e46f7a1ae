"""Compare what a table of latencies predicts of networks that are drawn anew with what they take here."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ramify.commandline.options import add_json, add_machine
from ramify.costs import LatencyTable, Networks
from ramify.costs.latency_table import COVERED
from ramify.costs.measuring import drawn, machine_of, noisy, observe, pace
from ramify.costs.predicting import PredictedLatency
from ramify.run import say
from ramify.verbs.latency.build import add_networks, networks_of

if TYPE_CHECKING:
    from ramify.commandline import Command


@dataclass(frozen=True)
class Verification:
    """How far predictions are from what is measured.

    Args:
        predicted: Milliseconds of each network, as the table says, at the pace of now.
        measured: Milliseconds of each network, as it was measured.
        covered: Share of the networks that their intervals cover.
        error: The median of |measured / predicted − 1|.
        bias: The median of measured / predicted − 1.
        estimated: The mean share of the milliseconds that the table had to estimate.
        differs: In what the machine is another than that of the table; empty if it is not.
        noise: By how much the same work varied meanwhile, as a share.
        pace: How many times as long the same calls take now as when the table was measured; 1 for another machine.
    """

    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    covered: float
    error: float
    bias: float
    estimated: float
    differs: str
    noise: float
    pace: float


def verify_latency(
    table: LatencyTable, networks: Networks, *, members: int = 50, rounds: int = 3, seed: int = 1
) -> Verification:
    """Measure networks of members that are drawn at random, and compare them with what a table predicts.

    A machine is not as fast in every minute. How much slower it is now than when the table was measured is told by the
    calls of these networks, timed one by one; predictions are for the same pace.

    Args:
        table: Of this machine, or of another.
        networks: Of the members, and the device.
        members: How many different ones.
        rounds: How often each of them is measured.
        seed: Decides which members are drawn; another one than that of the table.
    """
    archs = drawn(networks, members, "verify", seed)
    runtime = table.machine["runtime"]
    seen = observe(networks, archs, rounds=rounds, batch=table.batch, runtime=runtime)
    measured = tuple(one.ms for one in seen.networks)
    differs = table.differs(machine_of(networks.device, runtime))
    slower = 1.0 if differs else pace(table, seen.networks)
    predictions = [PredictedLatency(networks, table).of(arch) for arch in archs]
    pairs = [(ms / slower, one) for ms, one in zip(measured, predictions, strict=True)]
    off = [ms / one.ms - 1 for ms, one in pairs]
    covered = [one.low <= ms <= one.high for ms, one in pairs]
    return Verification(
        predicted=tuple(slower * one.ms for one in predictions),
        measured=measured,
        covered=statistics.mean(covered),
        error=statistics.median(map(abs, off)),
        bias=statistics.median(off),
        estimated=statistics.mean(one.estimated for one in predictions),
        differs=differs,
        noise=seen.noise,
        pace=slower,
    )


def run(command: Command) -> int:
    """Run `ramify latency verify`."""
    add_networks(command)
    command.add("table", str, "the table's file")
    command.add("--members", int, "how many different members are measured", default=50)
    add_machine(command, "seed", text="decides which members are drawn", default=1)
    add_json(command)
    options = command.parse()
    table = LatencyTable.read(options.table)
    found = verify_latency(
        table, networks_of(options), members=options.members, rounds=options.rounds, seed=options.seed
    )
    if found.differs:
        say(f"the table is of another device: {found.differs}")
    if warning := noisy(found.noise):
        say(warning)
    if options.json:
        print(json.dumps(asdict(found), indent=2))
        return 0
    low, high = min(found.measured), max(found.measured)
    print(f"{len(found.measured)} networks of {table.space.partition(',')[0]}, {low:,.4g} to {high:,.4g} ms")
    if not found.differs:
        print(f"the same calls take {found.pace:.2f} times as long as in the table; predictions are for that pace")
    print(f"median error {found.error:.1%}, of which {found.bias:+.1%} in one direction")
    print(f"the interval of {COVERED:.0%} (± {table.spread:.1%}) covers {found.covered:.0%}")
    if found.estimated:
        print(f"{found.estimated:.1%} of the time is of calls that the table does not have")
    return 0
