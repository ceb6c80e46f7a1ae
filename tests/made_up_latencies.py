"""Tables of latencies that nobody has measured: what a call takes follows from its work."""

from __future__ import annotations

import torch

from ramify.costs import LatencyTable, Networks
from ramify.costs.latency_table import Timing
from ramify.costs.measuring import drawn, machine_of, seen_on_meta


def made_up(networks: Networks, members: int = 12, **changed) -> LatencyTable:
    """Return a table of the calls of some members; a call takes 0.01 ms and 1 ms for every million of its work."""
    calls = {call for arch in drawn(networks, members) for call in seen_on_meta(networks, arch, 1) if call is not None}
    values = {
        "machine": machine_of(torch.device("cpu"), "pytorch"),
        "versions": {"torch": torch.__version__},
        "batch": 1,
        "dtype": "float32",
        "space": networks.space.title,
        "noise": 0.02,
        "probe_ms": 1.0,
        "scales": dict.fromkeys(("dense", "depthwise", "norm", "pool", "other"), 1.0) | {"call": 0.001, "network": 0.1},
        "residuals": tuple(place / 1000 for place in range(-20, 20)),
        "calls": {call.text: Timing(0.01 + call.work / 1e6, call.work) for call in calls},
    }
    return LatencyTable(**values | changed)
