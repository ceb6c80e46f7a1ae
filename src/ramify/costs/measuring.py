"""Measuring the latency of a device: networks as a whole and call by call, in turn, and a fit of the one to the other.

Calls are timed where they are made, in passes of the networks themselves, so that caches hold what they hold there.
Everything is measured in turn and in several rounds. Beside every network the same piece of work is timed: whatever
else runs on the machine slows both alike, so times are divided by it; how much it varies says how quiet the machine is.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

import ramify
from ramify.architecture import Architecture
from ramify.costs.calls import FAMILIES, Call, Clock, calls_of
from ramify.costs.latency_table import CALL, NETWORK, RUNTIMES, LatencyTable, Timing
from ramify.costs.networks import Networks
from ramify.costs.profiling import images_for, timed_inputs, wait_for
from ramify.errors import ConfigurationError, MissingExtraError, nearest
from ramify.ops.shapes import ShapesOnly
from ramify.parallel import processor
from ramify.seeding import rng

NOISY = 0.1
"""Variation of the same work from which a machine is called noisy."""

FEWEST = 20
"""Networks of which an interval is made, at least."""

_PASSES, _WARMUP, _FOLDS = 5, 2, 5
_RIDGE = 0.01
"""How strongly scales are drawn to one that all families share: what is left of 3 % noise if they differ by 30 %."""

Step = Callable[[], object]


@dataclass(frozen=True)
class Observed:
    """A network that was measured.

    Args:
        ms: The median time of a pass.
        calls: How often a pass makes each call.
        spent: Text of a call → what it took, the mean of a pass, one for every pass.
    """

    ms: float
    calls: Counter[Call]
    spent: dict[str, list[float]]


@dataclass(frozen=True)
class Observations:
    """Networks that were measured, and how quiet the machine was.

    Args:
        networks: Those that were measured.
        noise: By how much the time of the same work varied, from its first to its ninth decile, as a share.
        probe_ms: The median of that time.
    """

    networks: Sequence[Observed]
    noise: float
    probe_ms: float


def noisy(noise: float) -> str:
    """Say that a machine is noisy on which the same work varied by this share; empty if it is not."""
    if noise <= NOISY:
        return ""
    return f"this machine is noisy: the same work varied by {noise:.0%} meanwhile; measure again when it is quiet"


def machine_of(device: torch.device, runtime: str) -> dict[str, Any]:
    """Return what says where something is measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "system": platform.system(),
        "processor": name,
        "device": device.type,
        "runtime": runtime,
        "threads": torch.get_num_threads(),
    }


def measure_latency(
    networks: Networks, *, members: int = 100, rounds: int = 3, batch: int = 1, runtime: str = "pytorch", seed: int = 0
) -> LatencyTable:
    """Measure networks of members that are drawn at random, and return the table of their calls.

    Args:
        networks: Of the members, and the device.
        members: How many different ones, at least 20.
        rounds: How often each of them is measured.
        batch: Inputs in a pass.
        runtime: What executes the networks, `pytorch` or `onnxruntime`.
        seed: Decides which members are drawn.

    Raises:
        ConfigurationError: If an argument cannot work.
        MissingExtraError: If the runtime is not installed.
    """
    if members < FEWEST:
        raise ConfigurationError(f"`members` must be at least {FEWEST}, of which an interval is made, got {members}")
    found = observe(networks, drawn(networks, members, seed), rounds=rounds, batch=batch, runtime=runtime)
    versions = {"ramify": ramify.__version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    if runtime != "pytorch":
        versions[runtime] = str(_installed(runtime).__version__)
    parameter = next(networks.shapes(networks.space.sample(rng(seed))).parameters())
    table = LatencyTable(
        machine=machine_of(networks.device, runtime),
        versions=versions,
        batch=batch,
        dtype=str(parameter.dtype).removeprefix("torch."),
        space=f"{networks.space.title}, {len(found.networks)} members, inputs {tuple(networks.inputs.size)}",
        noise=found.noise,
        probe_ms=found.probe_ms,
        scales={},
        residuals=(),
        calls={},
    )
    return fitted(table, found.networks)


def drawn(networks: Networks, count: int, *key: int | str) -> list[Architecture]:
    """Return different members, as many as there are if these are fewer."""
    found: dict[Architecture, None] = {}
    for number in range(20 * count):
        found.setdefault(networks.space.canonical(networks.space.sample(rng(0, "latency", *key, number))))
        if len(found) == count:
            break
    return list(found)


def fitted(table: LatencyTable, observed: Sequence[Observed]) -> LatencyTable:
    """Return a table with the calls, scales and residuals of networks that were measured."""
    folds = _FOLDS if len(observed) >= FEWEST else len(observed)
    residuals = [0.0] * len(observed)
    for fold in range(folds) if len(observed) > 1 else ():
        without = _fit(table, [one for number, one in enumerate(observed) if number % folds != fold])
        for number in range(fold, len(observed), folds):
            one = observed[number]
            residuals[number] = one.ms / without.predict(one.calls.elements()).ms - 1
    return replace(_fit(table, observed), residuals=tuple(residuals))


def _fit(table: LatencyTable, observed: Sequence[Observed]) -> LatencyTable:
    spent: dict[str, list[float]] = {}
    works = {call.text: call.work for one in observed for call in one.calls}
    for one in observed:
        for text, times in one.spent.items():
            spent.setdefault(text, []).extend(times)
    calls = {text: Timing(statistics.median(times), works[text]) for text, times in spent.items()}
    table = replace(table, calls=calls)
    names = (*FAMILIES, CALL, NETWORK)
    sums = np.array([[table.sums(one.calls.elements())[0][name] for name in names] for one in observed])
    taken = np.array([one.ms for one in observed])
    shared = float(np.median(taken / sums[:, : len(FAMILIES)].sum(axis=1)))
    prior = np.array([shared] * len(FAMILIES) + [0.0, 0.0])
    shares = sums / taken[:, None]
    weights = np.diag(np.sqrt(_RIDGE * len(taken)) * shares.mean(axis=0))
    rows, wanted = np.vstack([shares, weights]), np.concatenate([np.ones(len(taken)), weights @ prior])
    scales = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    scales = np.where(shares.any(axis=0), scales, prior)
    return replace(table, scales=dict(zip(names, map(float, scales), strict=True)))


def pace(table: LatencyTable, observed: Sequence[Observed]) -> float:
    """Return how many times as long calls take as when a table was measured: the median of networks.

    Of each network it is the sum of the calls that the table knows, by their sum in the table; 1 where it knows none.
    """
    ratios = []
    for one in observed:
        now, then = 0.0, 0.0
        for call, count in one.calls.items():
            if (known := table.calls.get(call.text)) is not None:
                now, then = now + count * statistics.median(one.spent[call.text]), then + count * known.ms
        ratios += [now / then] if then else []
    return statistics.median(ratios) if ratios else 1.0


# Measuring


def observe(
    networks: Networks,
    members: Sequence[Architecture],
    *,
    rounds: int = 3,
    batch: int = 1,
    runtime: str = "pytorch",
) -> Observations:
    """Measure the networks of members, in turn and in several rounds.

    Args:
        networks: Of the members, and the device.
        members: Whose networks.
        rounds: How often each of them is measured.
        batch: Inputs in a pass.
        runtime: What executes them as a whole; calls are PyTorch's.
    """
    _check(networks, rounds, batch, runtime)
    probe, probes = _probe(networks.device), list[float]()
    visits: list[tuple[int, list[float], list[list[float]]]] = []
    calls: dict[int, list[Call | None]] = {}
    executed: dict[int, Step] = {}  # what is exported once
    for turn in range(rounds):
        order = list(range(len(members)))
        rng(0, "latency", "order", turn).shuffle(order)
        for number in order:
            network = networks.network(members[number])
            inputs = timed_inputs(network, networks.inputs.size, batch)
            if number not in calls:
                calls_of(network, inputs)  # in which networks may make what they keep
                calls[number] = calls_of(network, inputs)
            whole = executed.get(number) or _whole(network, inputs, runtime)
            if runtime != "pytorch":
                executed[number] = whole
            probes.append(probe())
            visits.append((number, *_passes(network, inputs, whole)))
    usual = statistics.median(probes)
    slowed = [statistics.median(probes[max(0, at - 2) : at + 3]) / usual for at in range(len(probes))]
    whole_ms: dict[int, list[float]] = {number: [] for number in range(len(members))}
    spent: dict[int, dict[str, list[float]]] = {number: {} for number in range(len(members))}
    for (number, times, passes), factor in zip(visits, slowed, strict=True):
        whole_ms[number] += [time / factor for time in times]
        for each in passes:
            for text, ms in _means(calls[number], each):
                spent[number].setdefault(text, []).append(ms / factor)
    found = [
        Observed(statistics.median(whole_ms[number]), Counter(filter(None, calls[number])), spent[number])
        for number in range(len(members))
    ]
    deciles = statistics.quantiles(probes, n=10) if len(probes) > 1 else probes * 9
    return Observations(found, deciles[-1] / deciles[0] - 1, usual)


def _check(networks: Networks, rounds: int, batch: int, runtime: str) -> None:
    if rounds < 1 or batch < 1:
        raise ConfigurationError(f"`rounds` and `batch` must be at least 1, got {rounds} and {batch}")
    if runtime not in RUNTIMES:
        raise ConfigurationError(f"unknown runtime {runtime!r:.60}; {nearest(str(runtime), RUNTIMES)}")
    if runtime != "pytorch":
        if networks.device.type != "cpu":
            raise ConfigurationError(f"networks are measured in {runtime} on the CPU, got device {networks.device}")
        _installed(runtime)


def _passes(network: nn.Module, inputs: Any, whole: Step) -> tuple[list[float], list[list[float]]]:
    """Return the milliseconds of passes as a whole, and of the calls of others, taken in turn."""
    device = next(network.parameters()).device
    times, by_call = [], []
    with torch.inference_mode():
        for _ in range(_WARMUP + _PASSES):
            wait_for(device)
            start = time.perf_counter()
            whole()
            wait_for(device)
            times.append(1000 * (time.perf_counter() - start))
            with Clock(lambda: wait_for(device)) as clock:
                network(inputs)
            by_call.append(clock.milliseconds)
    return times[_WARMUP:], by_call[_WARMUP:]


def _means(calls: Sequence[Call | None], milliseconds: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Yield the mean time of each different call of a pass."""
    found: dict[str, list[float]] = {}
    for call, ms in zip(calls, milliseconds, strict=True):
        if call is not None:
            found.setdefault(call.text, []).append(ms)
    for text, times in found.items():
        yield text, sum(times) / len(times)


def _probe(device: torch.device) -> Callable[[], float]:
    """Return what times a piece of work that is always the same."""
    side = 1024 if device.type == "cuda" else 256
    factor = torch.ones(side, side, device=device)

    def timed() -> float:
        times = []
        for _ in range(_PASSES):
            wait_for(device)
            start = time.perf_counter()
            torch.mm(factor, factor)
            wait_for(device)
            times.append(1000 * (time.perf_counter() - start))
        return statistics.median(times)

    timed()
    return timed


# Runtimes


def _whole(network: nn.Module, inputs: Any, runtime: str) -> Step:
    """Return what runs a pass of a network."""
    if runtime == "pytorch":
        return lambda: network(inputs)
    onnxruntime = _installed(runtime)
    with torch.no_grad():
        program: Any = torch.onnx.export(network, (inputs,), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    fed = {session.get_inputs()[0].name: inputs.numpy()}
    return lambda: session.run(None, fed)


def _installed(runtime: str) -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 -- what `torch.onnx` needs
    except ImportError as error:
        raise MissingExtraError(str(error.name), "onnx", f"measuring with {runtime}") from None
    return onnxruntime


def seen_on_meta(networks: Networks, arch: Architecture, batch: int) -> list[Call | None]:
    """Return the calls of a member's network, which is not run."""
    network = networks.shapes(arch)
    inputs = images_for(network, networks.inputs.size, batch)
    with ShapesOnly():
        return calls_of(network, inputs)
