"""Choice points for people: what is decided, in lines and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ramify.architecture import Decision, Value
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.places import Place


def told(decisions: Sequence[Decision], places: Sequence[Place], size: int, networks: int) -> str:
    """Return the decisions and the number of members, a line each."""
    rows = [(d.name, " ".join(map(short, d.choices)), _kind(d, places)) for d in decisions]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{name:{first}}  {values:{second}}  {kind}" for name, values, kind in rows]
    return "\n".join([*lines, f"members: {size:,}, of which {networks:,} are different networks"])


def _kind(decision: Decision, places: Sequence[Place]) -> str:
    """Return what is decided, at how many places, and below what."""
    if decision.place is None:
        return "number"
    own = [place for place in places if place.decision == decision.name]
    several = f" at {len(own)} places" if len(own) > 1 else ""
    values = {place.decision: place.values for place in places}
    below = [
        f"{name} = {' or '.join(short(value) for value in values[name] if value in reading)}"
        for name, reading in (own[0].above if len(own) == 1 else ())
    ]
    return decision.place.kind + several + (f" where {', '.join(below)}" if below else "")


def short(value: Value) -> str:
    """Return a value as it is listed."""
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


def picture_of_point(place: Place | None, value: Value) -> CellGraph:
    """Return the picture of what is decided: a chain of blocks, or what joins inputs and output."""
    if place is not None and place.kind == "Repeat":
        states = ("in", *(str(number + 1) for number in range(int(cast(int, value)))))
        edges = tuple((number, number + 1, f"block {number}") for number in range(len(states) - 1))
        return CellGraph(states, edges or ((0, 0, ""),), inputs=(0,), output=len(states) - 1)
    if place is not None and place.kind == "Inputs":
        rows = cast("tuple[int, ...]", value if isinstance(value, tuple) else (value,))
        edges = tuple((row, place.n, place.join if len(rows) > 1 else "") for row in rows)
        return CellGraph((*map(str, range(place.n)), "out"), edges, inputs=tuple(range(place.n)), output=place.n)
    return CellGraph(("in", "out"), ((0, 1, str(value)),), inputs=(0,), output=1)
