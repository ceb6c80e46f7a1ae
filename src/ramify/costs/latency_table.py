"""The latency of a device, from a table of leaf calls in a file: `ramify latency build` writes it.

What a member takes is predicted from its calls (`calls.py`): the sum of what each of them takes, those of a family
scaled alike, something for every call and something for every network. The scales are fitted to networks that were
measured as a whole. What the fit left of networks that it had not seen makes the interval: it covers nine of ten
networks that are drawn as those were (conformal prediction: Vovk et al., 2005; Barber et al., 2021, arXiv:1905.02928).

A limit, an objective or a cost term names the file as `file:PATH`. It may come from another machine, which is said.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import TypedDict

from ramify import files, reading
from ramify.costs.calls import FAMILIES, LONGEST, Call
from ramify.errors import TableError, shown

VERSION = 1
"""Of the files."""

COVERED = 0.9
"""Share of networks that an interval covers."""

CALL, NETWORK = "call", "network"
"""Scales beside those of families: milliseconds for every call, and for every network."""

RUNTIMES = ("pytorch", "onnxruntime")

_MOST_CALLS, _MOST_MEMBERS, _LARGEST = 100_000, 10_000, 1e9


class Timing(NamedTuple):
    """How long a call takes.

    Args:
        ms: The median.
        work: As `Call.work`.
    """

    ms: float
    work: int


class Prediction(NamedTuple):
    """How long a pass of a network is predicted to take.

    Args:
        ms: Milliseconds.
        low, high: Ends of the interval.
        estimated: Share of the milliseconds of calls that the table does not have: estimated from similar ones.
    """

    ms: float
    low: float
    high: float
    estimated: float


class _Machine(TypedDict):
    system: str
    processor: str
    device: str
    runtime: str
    threads: int


class _Json(TypedDict):
    version: int
    machine: _Machine
    versions: dict[str, str]
    batch: int
    dtype: str
    space: str
    noise: float
    probe_ms: float
    scales: dict[str, float]
    residuals: list[float]
    calls: dict[str, tuple[float, int]]


@dataclass(frozen=True)
class LatencyTable:
    """What leaf calls take on a device.

    Args:
        machine: `system`, `processor`, `device`, `runtime` and `threads`.
        versions: Of packages.
        batch: Inputs in a pass.
        dtype: Of the networks.
        space: The networks that were measured, in words.
        noise: By how much the time of the same work varied while the table was measured, from its first to its ninth
            decile, as a share.
        probe_ms: How long that work took.
        scales: Family → factor, `call` and `network` → milliseconds.
        residuals: measured / predicted − 1 of networks that the fit had not seen.
        calls: Text of a call → how long it takes.
    """

    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    batch: int
    dtype: str
    space: str
    noise: float
    probe_ms: float
    scales: Mapping[str, float]
    residuals: Sequence[float]
    calls: Mapping[str, Timing] = field(repr=False)

    # Prediction

    @cached_property
    def spread(self) -> float:
        """The largest relative error of nine of ten networks; of all of them where fewer than nine were measured."""
        rank = math.ceil(COVERED * (len(self.residuals) + 1))
        return max(sorted(map(abs, self.residuals))[:rank], default=0.0)

    def predict(self, calls: Iterable[Call | None]) -> Prediction:
        """Return what a network takes whose pass makes these calls."""
        sums, unseen = self.sums(calls)
        ms = max(sum(self.scales.get(name, 0.0) * value for name, value in sums.items()), 1e-6)
        estimated = sum(self.scales.get(name, 0.0) * value for name, value in unseen.items()) / ms
        spread = self.spread
        return Prediction(ms, max(0.0, ms * (1 - spread)), ms * (1 + spread), min(1.0, max(0.0, estimated)))

    def sums(self, calls: Iterable[Call | None]) -> tuple[dict[str, float], dict[str, float]]:
        """Return what `scales` multiply: milliseconds by family, calls, networks; and the part of unseen calls."""
        sums, unseen = dict.fromkeys((*FAMILIES, CALL, NETWORK), 0.0), dict.fromkeys(FAMILIES, 0.0)
        sums[NETWORK] = 1.0
        for call in calls:
            if call is not None:
                known = self.calls.get(call.text)
                ms = self._estimate(call) if known is None else known.ms
                sums[call.family] += ms
                sums[CALL] += 1
                unseen[call.family] += ms if known is None else 0.0
        return sums, unseen

    @cached_property
    def _by_form(self) -> dict[str, list[tuple[int, float]]]:
        """Form, function or family of calls → (work, ms) of those that are known, by work."""
        found: dict[str, list[tuple[int, float]]] = {}
        for text, (ms, work) in self.calls.items():
            call = Call(text, work)
            for like in (call.form, f"function {call.function}", f"family {call.family}"):
                found.setdefault(like, []).append((work, ms))
        return {like: sorted(timings) for like, timings in found.items()}

    def _estimate(self, call: Call) -> float:
        """Return what an unseen call takes, from those most like it: between neighbors, or in proportion to work."""
        likes = (call.form, f"function {call.function}", f"family {call.family}")
        timings = next((self._by_form[like] for like in likes if like in self._by_form), [])
        if not timings:
            return 0.0
        at = bisect_left(timings, (call.work, 0.0))
        if at in (0, len(timings)):
            work, ms = timings[min(at, len(timings) - 1)]
            return ms * max(call.work, 1) / max(work, 1)
        (below, low), (above, high) = timings[at - 1], timings[at]
        return low + (high - low) * (call.work - below) / max(above - below, 1)

    # Where it is from

    def differs(self, machine: Mapping[str, Any]) -> str:
        """Return in words in what the device of the table is another than that of a machine; empty if it is not."""
        names = ("processor", "device", "runtime", "threads")
        return ", ".join(
            f"{name} {shown(self.machine[name])} instead of {shown(machine[name])}"
            for name in names
            if self.machine[name] != machine[name]
        )

    # Files

    @classmethod
    def read(cls, path: str | Path) -> LatencyTable:
        """Read a table.

        Raises:
            TableError: If the file cannot be read, or holds something else.
        """
        path = files.expanded(path)
        return cls.of_text(reading.text_of(path, error=TableError), shown(path))

    @classmethod
    def of_text(cls, text: str, where: str) -> LatencyTable:
        """Return the table of a file's text; `where` begins messages.

        Raises:
            TableError: If it is none.
        """
        content: _Json = reading.json_value(text, _Json, where=where, error=TableError)
        if content["version"] != VERSION:
            raise TableError(f"{where}: version {shown(content['version'])} of such tables; this Ramify has {VERSION}")
        _check(content, where)
        calls = {call: Timing(*timing) for call, timing in content["calls"].items()}
        values = {name: content[name] for name in cls.__dataclass_fields__ if name != "calls"}  # type: ignore[literal-required]
        return cls(**{**values, "residuals": tuple(content["residuals"])}, calls=calls)

    def to_json(self) -> str:
        """Return the text of a file."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "calls"}
        timings = {text: list(timing) for text, timing in sorted(self.calls.items())}
        return files.to_json({"version": VERSION, **values, "calls": timings}, indent=1) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the table to a file, which is replaced at once."""
        files.write(path, self.to_json())


def _check(content: _Json, where: str) -> None:
    for name, most in (("calls", _MOST_CALLS), ("residuals", _MOST_MEMBERS), ("scales", 100), ("versions", 100)):
        if len(content[name]) > most:  # type: ignore[literal-required]
            raise TableError(f"{where}: {len(content[name]):,} {name}, where {most:,} are allowed")  # type: ignore[literal-required]
    whole = {"batch": content["batch"], "threads": content["machine"]["threads"]}
    for name, number in whole.items():
        if not 1 <= number <= 2**20:
            raise TableError(f"{where}: {name} must be from 1 to {2**20:,}, got {shown(number)}")
    if content["machine"]["runtime"] not in RUNTIMES:
        raise TableError(
            f"{where}: runtime must be {' or '.join(RUNTIMES)}, got {shown(content['machine']['runtime'])}"
        )
    if unknown := next((name for name in content["scales"] if name not in (*FAMILIES, CALL, NETWORK)), None):
        raise TableError(f"{where}: there is no scale {shown(unknown)}; known: {', '.join((*FAMILIES, CALL, NETWORK))}")
    for call, (ms, work) in content["calls"].items():
        if len(call) > LONGEST or not 0 <= ms <= _LARGEST or not 0 <= work <= 2**60:
            raise TableError(f"{where}: call {shown(call)}: milliseconds and work must be 0 or more, and within bounds")
    numbers = [content["noise"], content["probe_ms"], *content["scales"].values(), *content["residuals"]]
    if not all(abs(number) <= _LARGEST for number in numbers):
        raise TableError(f"{where}: numbers must be from {-_LARGEST:g} to {_LARGEST:g}")
