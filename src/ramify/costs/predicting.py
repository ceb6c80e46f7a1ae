"""Costs of members from files: tables of operators, and the latency of a device by its leaf calls."""

from __future__ import annotations

from typing import Any

from ramify import parallel, reading
from ramify.architecture import Architecture
from ramify.costs.latency_table import LatencyTable, Prediction
from ramify.costs.measuring import machine_of, measure_latency, observe, seen_on_meta
from ramify.costs.networks import Networks
from ramify.costs.record import FILE
from ramify.costs.table import OperatorTable
from ramify.errors import TableError, shown
from ramify.files import expanded


class PredictedLatency:
    """The latency of members, predicted from a table.

    Args:
        networks: Of the members.
        table: Of the device.
    """

    def __init__(self, networks: Networks, table: LatencyTable) -> None:
        self.networks, self.table = networks, table
        self._known: dict[Architecture, Prediction] = {}

    def __call__(self, arch: Architecture) -> float:
        """Return the milliseconds of a pass of a member's network."""
        return self.of(arch).ms

    def of(self, arch: Architecture) -> Prediction:
        """Return the prediction for a member, with its interval."""
        arch = self.networks.space.canonical(arch)
        if arch not in self._known:
            self._known[arch] = self.table.predict(seen_on_meta(self.networks, arch, self.table.batch))
        return self._known[arch]

    def compared(self, arch: Architecture) -> dict[str, Any]:
        """Return the prediction for a member beside what its network takes, measured now.

        Where the table is of another device than that of the networks, nothing is measured, and `differs` says so.
        Of several processes all return what the first one has measured.
        """
        ms, low, high, estimated = self.of(arch)
        found: dict[str, Any] = {"cost": ms, "low": low, "high": high, "estimated": estimated}
        table, device = self.table, self.networks.device
        if differs := table.differs(machine_of(device, table.machine["runtime"])):
            return found | {"differs": differs}

        def measure() -> list[float]:
            seen = observe(self.networks, [arch], batch=table.batch, runtime=table.machine["runtime"])
            return [seen.networks[0].ms, seen.noise]

        measured, noise = parallel.of_first(parallel.by_first(measure) or [0.0, 0.0])
        return found | {"measured": measured, "off": measured / ms - 1, "noise": noise}


_MEASURED = 40
"""Networks that are measured where there is no table."""


def measured_alike(networks: Networks) -> PredictedLatency:
    """Return the latency of members, predicted from a table of some that are measured now, of one input.

    Of several processes all take what the first one has measured.
    """
    table = parallel.by_first(lambda: measure_latency(networks, members=_MEASURED, rounds=1))
    text = parallel.text_of_first("" if table is None else table.to_json())
    return PredictedLatency(networks, LatencyTable.of_text(text, "the table of latencies"))


def of_file(name: str, networks: Networks) -> PredictedLatency | OperatorTable:
    """Return the costs that `file:PATH` names: of a table of operators, or of one of a device.

    Raises:
        TableError: If it cannot be read, says something else, or does not fit the space.
    """
    path = expanded(name.removeprefix(FILE))
    text = reading.text_of(path, error=TableError)
    if text.lstrip().startswith("{"):
        content: dict[str, Any] = reading.json_value(text, where=shown(path), error=TableError)
        if "calls" in content:
            return PredictedLatency(networks, LatencyTable.of_text(text, shown(path)))
    table = OperatorTable.of(name)
    table.check(networks.space)
    return table
