"""Widths, depth and kernels of a network that exists, as decisions of a space and rows of choices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ramify.architecture import Value
from ramify.elastic import Active, Cut, Elastic, ElasticNetwork, Terms
from ramify.elastic.labels import trace_labels
from ramify.elastic.rules import RULES
from ramify.elastic.terms import Counting
from ramify.spaces.base import Candidate
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.places import Place
from ramify.supernet import Choice, Mix, Mixture, mixtures
from ramify.supernet.points import Board, like

WIDTH, DEPTH, KERNEL = "width", "depth", "kernel"

Around = tuple[tuple[str, frozenset[Value]], ...]
"""What a layer lies in that may be out: (decision, the values with which it is there)."""


@dataclass(frozen=True)
class Knob:
    """A number of a network that is decided: units of a group, blocks of a stage, or the side of a kernel.

    Args:
        name: Of its decision.
        kind: Its choice: `width`, `depth` or `kernel`.
        row: Of the choice.
        columns: What the columns of the row stand for; None for what the row does not have.
        total: The largest number.
        around: What each of its tensors lies in; empty if one of them is always there.
    """

    name: str
    kind: str
    row: int
    columns: tuple[int | None, ...]
    total: int
    around: tuple[Around, ...] = ()

    @property
    def values(self) -> tuple[int, ...]:
        """The numbers that it may be, ascending."""
        return tuple(column for column in self.columns if column is not None)

    @property
    def having(self) -> list[int]:
        """The columns that the network has a weight for: every share of a width, and the row's own depths and sides."""
        return [k for k, column in enumerate(self.columns) if column is not None or self.kind == WIDTH]

    def candidate(self, value: Value) -> Candidate:
        """Return the candidate that stands for a number."""
        return self.kind, self.row, self.columns.index(value)

    def is_read(self, values: Mapping[str, Value]) -> bool:
        """Return whether a member has what is decided, for the values of all decisions."""
        return not self.around or any(all(values[name] in there for name, there in each) for each in self.around)

    def may_be_read(self, left: Mapping[str, Collection[Value]]) -> bool:
        """Return whether a member may have what is decided, for the values that are left of all decisions."""
        return not self.around or any(
            all(not there.isdisjoint(left[name]) for name, there in each) for each in self.around
        )


def knobs_of(elastic: Elastic, places: Sequence[Place] = ()) -> list[Knob]:
    """Return what is decided in a network, in order: widths, depth, kernels.

    Args:
        elastic: What was found.
        places: Its choice points.
    """
    stages = [(stage.name or DEPTH, stage) for stage in elastic.stages]
    out: list[tuple[str, Around]] = [
        (block, ((name, frozenset(depth for depth in stage.depths if depth > number)),))
        for name, stage in stages
        for number, block in enumerate(stage.blocks)
        if block in stage.removable
    ]
    out += [(path, (*place.above, condition)) for place in places for path, condition in place.inside()]

    def around(paths: Iterable[str]) -> tuple[Around, ...]:
        found = {
            tuple(
                dict.fromkeys(
                    condition
                    for block, conditions in out
                    if path == block or path.startswith(f"{block}.")
                    for condition in conditions
                )
            )
            for path in paths
        }
        return () if () in found else tuple(sorted(found, key=str))

    tensors: dict[int, set[str]] = {number: set() for number in range(len(elastic.groups))}
    for (path, _), units in elastic.plan.axes.items():
        present = set(units.unique().tolist())
        for number, group in enumerate(elastic.groups):
            if not present.isdisjoint(range(group.start, group.start + group.units)):
                tensors[number].add(path)
    widths = [
        Knob(
            group.name,
            WIDTH,
            row,
            tuple(n if n not in group.shares[:k] else None for k, n in enumerate(group.shares)),
            group.units,
            around(tensors[row]),
        )
        for row, group in enumerate(elastic.groups)
    ]
    return [
        *widths,
        *_aligned(DEPTH, [(name, stage.depths, around([stage.name])) for name, stage in stages]),
        *_aligned(KERNEL, [(f"{k.name}.kernel_size", k.sides, around([k.name])) for k in elastic.convolutions]),
    ]


def _aligned(kind: str, rows: Sequence[tuple[str, tuple[int, ...], tuple[Around, ...]]]) -> list[Knob]:
    """Return knobs whose columns stand for the same numbers in all rows."""
    columns = sorted({number for _, numbers, _ in rows for number in numbers})
    return [
        Knob(name, kind, row, tuple(c if c in numbers else None for c in columns), numbers[-1], blocks)
        for row, (name, numbers, blocks) in enumerate(rows)
    ]


def knob_choices(knobs: Sequence[Knob], widths: Sequence[float]) -> dict[str, Choice]:
    """Return the choices, a row for every knob; columns are shares of widths, depths and sides."""
    choices: dict[str, Choice] = {}
    for kind in (WIDTH, DEPTH, KERNEL):
        rows = [knob for knob in knobs if knob.kind == kind]
        if rows:
            columns = [max(row.columns[k] or 0 for row in rows) for k in range(len(rows[0].columns))]
            ops = tuple(f"{share:g}" for share in widths) if kind == WIDTH else tuple(map(str, columns))
            mask = [[column is not None for column in row.columns] for row in rows]
            edges = tuple((number, number + 1) for number in range(len(rows)))
            choices[kind] = Choice(edges, ops, role=kind).restricted(mask, kind)
    return choices


def points_as_knobs(places: Sequence[Place]) -> list[Knob]:
    """Return the decisions of choice points as far as it matters when they are read."""
    above: dict[str, list[Around]] = {}
    for place in places:
        above.setdefault(place.decision, []).append(place.above)
    return [Knob(name, "", 0, (), 0, () if () in around else tuple(around)) for name, around in above.items()]


def count_members(knobs: Sequence[Knob], values: Mapping[str, Collection[Value]]) -> int:
    """Return the exact number of different members: of assignments that differ in what is read.

    Args:
        knobs: What is decided.
        values: Decision → the values that it may take, also of those that say what is read.
    """
    deciding = dict.fromkeys(name for knob in knobs for each in knob.around for name, _ in each)
    stages = [knob for knob in knobs if knob.name in deciding]
    others = [knob for knob in knobs if knob.name not in deciding]
    total = 0
    for chosen in product(*(values[name] for name in deciding)):
        at = dict(zip(deciding, chosen, strict=True))
        if all(stage.is_read(at) or at[stage.name] == next(iter(values[stage.name])) for stage in stages):
            total += prod(len(values[knob.name]) for knob in others if knob.is_read(at))
    return total


def cut_of_values(elastic: Elastic, knobs: Sequence[Knob], values: Mapping[str, Value]) -> Cut:
    """Return what a member keeps, for the values of its decisions."""
    chosen: dict[str, dict[str, int]] = {WIDTH: {}, DEPTH: {}, KERNEL: {}}
    named = {
        WIDTH: [group.name for group in elastic.groups],
        DEPTH: [stage.name for stage in elastic.stages],
        KERNEL: [kernel.name for kernel in elastic.convolutions],
    }
    for knob in knobs:
        chosen[knob.kind][named[knob.kind][knob.row]] = int(values[knob.name])  # type: ignore[arg-type]
    return elastic.cut(chosen[WIDTH], chosen[DEPTH], chosen[KERNEL])


def terms_at(elastic: Elastic, network: nn.Module, size: Sequence[int]) -> tuple[Terms, Terms]:
    """Return what members cost in parameters and multiply-adds for inputs of a size.

    Args:
        elastic: What was found.
        network: For the shape of the task.
        size: Of one input.

    Raises:
        ConfigurationError: If the network cannot run on such inputs.
    """
    network = network.cpu().eval()
    trace = trace_labels(network, (torch.zeros(1, *size),), RULES)
    counting = Counting(network, elastic.plan, elastic.stages, elastic.convolutions)
    units = elastic.plan.units_of(trace)
    macs, attention_macs = (counting.macs(trace, units, parameters=among) for among in (True, False))
    return counting.params(), macs + attention_macs


class ElasticSupernet(nn.Module):
    """A network with elastic widths, depth and kernels, as a pure function of the input and the mixing weights.

    Args:
        network: Of all members.
        knobs: What is decided in it.
        board: Where its choice points read their weights.
    """

    choices: Mapping[str, Choice]
    layout: Any
    shape: Mapping[str, int]

    def __init__(self, network: ElasticNetwork, knobs: Sequence[Knob], board: Board) -> None:
        super().__init__()
        self.network, self.board = network, board
        self._knobs = {kind: [knob for knob in knobs if knob.kind == kind] for kind in (WIDTH, DEPTH, KERNEL)}

    @property
    def classifier(self) -> nn.Module | None:
        """The user's own `classifier`, if there is one."""
        return getattr(self.network.network, "classifier", None)

    def forward(self, x: Any, mix: Mix, *, active: Mapping[str, Tensor] | None = None) -> Any:
        """Map inputs (B, …) to what the user's network returns.

        Args:
            x: Inputs.
            mix: Choice → mixing weights (E, O), on any device.
            active: Choice → bool (E, O) on the host, the candidates to compute; None for all existing.

        Raises:
            ArchitectureError: If a name or a shape does not fit `choices`.
        """
        mixed = mixtures(self.choices, mix, like(x, self), active=active)
        rows = {kind: self._rows(kind, mixed[kind]) for kind in self._knobs if kind in mixed}
        computed = None if active is None else Active(*(self._active(kind, mixed) for kind in self._knobs))
        weights = {f"{kind}s": rows.get(kind) for kind in self._knobs}
        with self.board.showing(mixed):
            return self.network(x, **weights, active=computed)

    def _rows(self, kind: str, mixture: Mixture) -> Tensor:
        """Return weights (E, O') by the candidates that each row has, the first ones; what is not read is whole."""
        rows = []
        parts = zip(self._knobs[kind], mixture.weights, mixture.active, mixture.totals, strict=True)
        for knob, weights, active, total in parts:
            counted = [w if k in active else torch.zeros_like(w) for k, w in enumerate(weights)]
            having = knob.having
            row = torch.stack(
                [*(counted[k] for k in having), *([torch.zeros_like(total)] * (len(counted) - len(having)))]
            )
            whole = torch.zeros(len(row), dtype=total.dtype, device=total.device)
            whole[len(having) - 1] = 1.0
            rows.append(torch.where(total == 0, whole, row))
        return torch.stack(rows)

    def _active(self, kind: str, mixed: Mapping[str, Mixture]) -> list[list[int]]:
        """Return for every row the indices of its active candidates, of `Group.shares` or among those that it has."""
        found = []
        for knob, ops in zip(self._knobs[kind], mixed[kind].active if kind in mixed else (), strict=True):
            found.append([knob.having.index(op) for op in ops] or [len(knob.having) - 1])
        return found


def picture_of(knobs: Sequence[Knob], values: Mapping[str, Value]) -> CellGraph:
    """Return the chain of what is decided, in order, with what is kept of all; what is out is left out."""
    shown = [knob for knob in knobs if knob.is_read(values)]
    states = ("in", *(f"{knob.name} {values[knob.name]}/{knob.total}" for knob in shown))
    edges = tuple((number, number + 1, knob.kind) for number, knob in enumerate(shown))
    return CellGraph(states, edges, inputs=(0,), output=len(states) - 1, rows=_rows(states))


_ROW = 130
"""Letters of a row of a picture, with what an edge takes beside each state."""
_EDGE = 14


def _rows(states: Sequence[str]) -> tuple[int, ...]:
    """Return the states at which a chain goes on in a new row of its picture, so that each row fits a page."""
    rows: list[int] = []
    length = before = 0
    for number, name in enumerate(states):
        own = len(name) + _EDGE
        if length + own > _ROW and length > before:
            rows.append(number - 1)
            length = before
        length, before = length + own, own
    return tuple(rows)


def _listed(kept: Sequence[int]) -> str:
    """Return how many units may be kept, the first and the last of many."""
    if len(kept) <= 8:
        return " ".join(map(str, kept))
    return f"{' '.join(map(str, kept[:3]))} … {kept[-1]} ({len(kept)} numbers)"


def table_of(elastic: Elastic, size: int, networks: int) -> str:
    """Return what can be searched, what stays whole and why, the proof, and the range of costs, for people."""
    full = [group.units for group in elastic.groups], [s.depths[-1] for s in elastic.stages]
    sides = [kernel.sides[-1] for kernel in elastic.convolutions]
    costs = (elastic.params, elastic.macs + elastic.attention_macs)
    whole = [terms.exact(*full, sides) for terms in costs]
    rows: list[tuple[str, ...]] = [("group", "units", "kept", "in", "at half: params", "macs")]
    for number, group in enumerate(elastic.groups):
        half = [min(group.kept, key=lambda n: abs(2 * n - group.units)) if k == number else other.units
                for k, other in enumerate(elastic.groups)]  # fmt: skip
        shares = [
            f"{terms.exact(half, *full[1:], sides) / one - 1:+.1%}" for terms, one in zip(costs, whole, strict=True)
        ]
        rows.append((group.name, f"{group.units}", _listed(group.kept), f"{group.tensors} tensors", *shares))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    depths = ", ".join(f"{s.name or 'network'} {s.depths[0]}-{s.depths[-1]} blocks" for s in elastic.stages)
    kernels = ", ".join(f"{k.name} {' '.join(map(str, k.sides))}" for k in elastic.convolutions)
    left = "; ".join(f"{name} ({reason})" for name, reason in elastic.whole.items())
    further = [("depth", depths), ("kernels", kernels), ("whole", left), ("second form", elastic.written)]
    lines += [f"{name:12}{text}" for name, text in further if text]
    ranges = ", ".join(
        f"{low:,} to {high:,} {name}"
        for name, (low, high) in zip(("params", "macs"), (t.range() for t in costs), strict=True)
    )
    proof = elastic.proof
    lines.append(f"{'proof':12}{proof}")
    return "\n".join([*lines, f"{'members':12}{size:,}, of which {networks:,} are different networks; {ranges}"])
