"""The layout of a cell's drawing: layered, left to right (after Sugiyama, 1981).

Operation labels are vertices of the layout like the states. States stand in the even columns, labels in the
odd ones, and an edge that crosses a column holds a place in it, called a bend. Since the vertices of one column
never overlap, neither do labels, states and the edges that run past them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramify.spaces import CellGraph

Size = tuple[float, float]
Point = tuple[float, float]


@dataclass(eq=False)
class Vertex:
    """A state, a label or a bend with its column, size and center (inches); `before` and `after` are its edges."""

    column: int
    width: float
    height: float
    gap: float  # kept free above and below
    x: float = 0.0
    y: float = 0.0
    before: list[Vertex] = field(default_factory=list)
    after: list[Vertex] = field(default_factory=list)


@dataclass(frozen=True)
class Route:
    """An edge as drawn: its operation, its corner points from source to target, and its label (None: it has none)."""

    operation: str
    points: tuple[Point, ...]
    label: Vertex | None


@dataclass(frozen=True)
class Layout:
    """The layout of a cell: states, routes of the edges, and the total size in inches."""

    states: tuple[Vertex, ...]
    routes: tuple[Route, ...]
    width: float
    height: float


def arrange(cell: CellGraph, state_size: Callable[[str], Size], label_size: Callable[[str], Size]) -> Layout:
    """Return the layout of a cell, given functions for the sizes (inches) of states and labels."""
    ranks = _ranks(cell)
    columns: list[list[Vertex]] = [[] for _ in range(2 * max(ranks) + 1)]

    def place(column: int, size: Size, gap: float) -> Vertex:
        columns[column].append(vertex := Vertex(column, *size, gap))
        return vertex

    states = [place(2 * rank, state_size(name), 0.14) for name, rank in zip(cell.states, ranks, strict=True)]
    chains: list[list[Vertex]] = []
    labels: list[Vertex | None] = []
    for (source, target, name), label_column in zip(cell.edges, _label_columns(cell, ranks), strict=True):
        between = range(2 * ranks[source] + 1, 2 * ranks[target])
        bends = [
            place(column, label_size(name), 0.06) if column == label_column else place(column, (0, 0), 0.08)
            for column in between
        ]
        labels.append(bends[label_column - between.start] if label_column is not None else None)
        chains.append([states[source], *bends, states[target]])
    for chain in chains:
        for left, right in pairwise(chain):
            left.after.append(right)
            right.before.append(left)
    for state in states:  # room for the ports of many edges
        state.height = max(state.height, _PORT * (max(len(state.before), len(state.after)) + 1))

    _order(columns)
    _set_heights(columns)
    width, height = _set_columns(columns), _shift_to_zero(columns)
    routes = (
        Route(name, points, label)
        for (_, _, name), points, label in zip(cell.edges, _points(chains, columns), labels, strict=True)
    )
    return Layout(tuple(states), tuple(routes), width, height)


_PORT = 0.11  # inches between edges that meet the same side of a state


def _ranks(cell: CellGraph) -> list[int]:
    """Return for every state the length of the longest path that leads to it; the output stands last."""
    ranks = [int(state not in cell.inputs) for state in range(len(cell.states))]
    for _ in cell.states:
        for source, target, _name in cell.edges:
            ranks[target] = max(ranks[target], ranks[source] + 1)
    ranks[cell.output] = 1 + max((rank for state, rank in enumerate(ranks) if state != cell.output), default=-1)
    return ranks


def _label_columns(cell: CellGraph, ranks: Sequence[int]) -> list[int | None]:
    """Return for every edge the column of its label: long edges choose last, the emptiest on their way."""
    load: Counter[int] = Counter()
    chosen: list[int | None] = [None] * len(cell.edges)
    spans = {index: ranks[edge[1]] - ranks[edge[0]] for index, edge in enumerate(cell.edges) if edge[2]}
    for index in sorted(spans, key=lambda index: (spans[index], index)):
        source, target, _name = cell.edges[index]
        middle = ranks[source] + ranks[target]
        column = min(
            range(2 * ranks[source] + 1, 2 * ranks[target], 2),
            key=lambda column: (load[column], abs(column - middle), column),
        )
        load[column] += 1
        chosen[index] = column
    return chosen


def _order(columns: list[list[Vertex]]) -> None:
    """Order every column so that few edges cross: the best of the given order and some shuffled ones, improved."""
    rng = random.Random(0)
    best, fewest = [list(column) for column in columns], _crossings(columns)
    for attempt in range(12):
        for column in columns if attempt else ():
            rng.shuffle(column)
        for _ in range(4):
            for left, right in pairwise(columns):
                _sort_by(left, right, lambda vertex: vertex.before)
            _swap(columns)
            for right, left in pairwise(reversed(columns)):
                _sort_by(right, left, lambda vertex: vertex.after)
            _swap(columns)
            if (crossings := _crossings(columns)) < fewest:
                best, fewest = [list(column) for column in columns], crossings
        if not fewest:
            break
    columns[:] = best


def _sort_by(fixed: Sequence[Vertex], column: list[Vertex], neighbors: Callable[[Vertex], list[Vertex]]) -> None:
    """Sort a column by where the neighbors in a fixed column stand; who has none stays where it is."""
    place = {id(vertex): index for index, vertex in enumerate(fixed)}
    center = {
        id(vertex): fmean(place[id(near)] for near in neighbors(vertex)) if neighbors(vertex) else index
        for index, vertex in enumerate(column)
    }
    column.sort(key=lambda vertex: center[id(vertex)])


def _swap(columns: Sequence[list[Vertex]]) -> None:
    """Swap neighbors wherever that removes a crossing."""
    for at, column in enumerate(columns):
        around = columns[max(at - 1, 0) : at + 2]
        for upper in range(len(column) - 1):
            before = _crossings(around)
            column[upper], column[upper + 1] = column[upper + 1], column[upper]
            if _crossings(around) >= before:
                column[upper], column[upper + 1] = column[upper + 1], column[upper]


def _crossings(columns: Sequence[Sequence[Vertex]]) -> int:
    count = 0
    for left, right in pairwise(columns):
        place = {id(vertex): index for index, vertex in enumerate(right)}
        ends = [place[id(end)] for vertex in left for end in sorted(vertex.after, key=lambda end: place[id(end)])]
        count += sum(low < high for at, high in enumerate(ends) for low in ends[at + 1 :])
    return count


def _set_heights(columns: Sequence[Sequence[Vertex]]) -> None:
    """Draw every vertex towards its neighbors, as far as the others of its column let it."""
    for sweep in range(80):
        for column in columns if sweep % 2 else reversed(columns):
            wanted = []
            for vertex in column:
                # Bends pull harder, so that long edges run straight and the short ones give way.
                pulls = [(1.0 if near.width else 3.0, near.y) for near in vertex.before + vertex.after]
                weight = sum(pull for pull, _ in pulls)
                wanted.append(sum(pull * y for pull, y in pulls) / weight if pulls else vertex.y)
            _separate(column, wanted)


def _separate(column: Sequence[Vertex], wanted: Sequence[float]) -> None:
    """Set heights nearest to the wanted ones (least squares) that keep order and distance: isotonic regression."""
    offsets = [0.0]
    for upper, lower in pairwise(column):
        offsets.append(offsets[-1] + (upper.height + lower.height) / 2 + upper.gap + lower.gap)
    blocks: list[list[float]] = []  # vertices that touch, as their wanted heights less their offsets
    for y, offset in zip(wanted, offsets, strict=True):
        blocks.append([y - offset])
        while len(blocks) > 1 and fmean(blocks[-2]) >= fmean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    means = [fmean(block) for block in blocks for _ in block]
    for vertex, mean, offset in zip(column, means, offsets, strict=True):
        vertex.y = mean + offset


def _set_columns(columns: Sequence[Sequence[Vertex]]) -> float:
    """Set the abscissae and return the width: steep edges get a wider gap to climb in."""
    right = 0.0
    for at, column in enumerate(columns):
        climb = max((abs(near.y - vertex.y) for vertex in column for near in vertex.before), default=0.0)
        left = right + (min(0.28 + 0.2 * climb, 0.95) if at else 0.0)
        right = left + max((vertex.width for vertex in column), default=0.0)
        for vertex in column:
            vertex.x = (left + right) / 2
    return right


def _shift_to_zero(columns: Sequence[Sequence[Vertex]]) -> float:
    """Move everything to start at height 0 and return the height that it takes."""
    vertices = [vertex for column in columns for vertex in column]
    top = min(vertex.y - vertex.height / 2 for vertex in vertices)
    for vertex in vertices:
        vertex.y -= top
    return max(vertex.y + vertex.height / 2 for vertex in vertices)


def _points(chains: Sequence[Sequence[Vertex]], columns: Sequence[Sequence[Vertex]]) -> Iterator[tuple[Point, ...]]:
    """Yield the corners of every edge: port to port, and level across each column on its way."""

    def port(state: Vertex, beside: list[Vertex], end: Vertex) -> float:
        others = sorted(beside, key=lambda vertex: vertex.y)
        return state.y + _PORT * (others.index(end) - (len(others) - 1) / 2)

    widths = [max((vertex.width for vertex in column), default=0.0) for column in columns]
    for source, *bends, target in chains:
        start = (source.x + source.width / 2, port(source, source.after, bends[0]))
        stop = (target.x - target.width / 2, port(target, target.before, bends[-1]))
        level = ((bend.x + side * widths[bend.column] / 2, bend.y) for bend in bends for side in (-1, 1))
        yield tuple(dict.fromkeys((start, *level, stop)))  # a column of bends alone has no width: one corner


def slopes_of(points: Sequence[Point]) -> list[float]:
    """Return the slopes of a smooth line at the corners of a route: monotone between them, horizontal at the ends."""
    secants = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(points)]
    inner = [2 * a * b / (a + b) if a * b > 0 else 0.0 for a, b in pairwise(secants)]  # Fritsch and Butland
    return [0.0, *inner, 0.0]
