"""The topology space of NAS-Bench-201 (Dong & Yang, ICLR 2020, arXiv:2001.00326), "tss" in NATS-Bench.

A cell is a complete directed acyclic graph; every edge carries one operation, a node is the sum of what enters
it, and the last node is the output. Networks: stem, three stages of N cells with residual reduction blocks
between them, BN-ReLU, global average pool, linear.

Where released code differs from this file: its supernets give convolutions a bias whenever the norm after them
is not affine. The norm removes any constant, so the bias is left out here; parameter counts of supernets differ
by that, outputs do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import NONE, PreActivation, make_operation, standard_norm
from ramify.ops.operations import check_operation
from ramify.spaces.base import Candidate, Space, argmax_existing, check_scores
from ramify.spaces.bounds import MOST_LAYERS, MOST_NODES, check_most, check_partial
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.layout import NormedLayout, keyword
from ramify.spaces.notation import OP_INDICES, read
from ramify.supernet import (
    Built,
    Choice,
    FixedGraph,
    MixedGraph,
    Mixture,
    Skeleton,
    Supernet,
    WeightVector,
    tapped,
    vector_of_cells,
)
from ramify.supernet.network import RunCell
from ramify.wording import excerpt

INDEX = "nb201:"
"""Begins the number of a cell in the benchmark's own order."""
_NASLIB = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


class NASBench201(Space):
    """Cells with one operation on every edge of a complete graph: 5⁶ = 15,625 members by default.

    Args:
        nodes: States of a cell, the input included; 4 in the benchmark.
        operations: Names in the order that mixing weights use.

    Example:
        >>> from ramify import spaces
        >>> space = spaces.NASBench201()
        >>> arch = space.parse("|skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|avg_pool_3x3~2|")
        >>> space.size, arch["2<-0"]
        (15625, 'nor_conv_3x3')
    """

    @dataclass(frozen=True, kw_only=True)
    class Layout(NormedLayout):
        """How the networks are laid out: stem, three stages of cells, and a residual block before the later ones.

        Stem, residual blocks and the last norm are always affine with running statistics.

        Args:
            channels: C of the first stage; the later ones have 2C and 4C.
            cells: N, cells in each stage.
            final_norm: Whether a batch norm and a ReLU precede the classifier; CDARTS' networks have neither.
            affine: Whether the norms inside the cells scale and shift. None: in built networks, but not in supernets.
            track_running_stats: Whether the norms inside the cells keep running statistics. None: as for `affine`.
            checkpoint_cells: Whether training computes cells twice instead of keeping what lies inside them: the same
                numbers in less memory and more time.
            drop_path: Probability of dropping an operation's output in training; of built networks.
            partial_channels: K, where only C/K channels of a state enter the candidates (PC-DARTS); of supernets.
        """

        channels: int = 16
        cells: int = keyword(5, most=MOST_LAYERS)
        final_norm: bool = True
        drop_path: float = keyword(0.0, only="member")
        partial_channels: int = keyword(1, only="supernet")

    source = "Dong & Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326"
    depth = "cells"

    def __init__(self, nodes: int = 4, operations: Sequence[str] = OPERATIONS) -> None:
        if nodes < 2:
            raise ConfigurationError(f"`nodes` must be at least 2 (an input and an output), got {nodes}")
        check_most("nodes", nodes, MOST_NODES)
        if len(set(operations)) != len(operations) or not operations:
            raise ConfigurationError(f"`operations` must be different names, at least one, got {list(operations)}")
        self.nodes = nodes
        self.operations = tuple(check_operation(name) for name in operations)
        self._edges = tuple((source, target) for target in range(1, nodes) for source in range(target))

    def _all_choices(self) -> dict[str, Choice]:
        return {"cell": Choice(self._edges, self.operations)}

    def _all_decisions(self) -> list[Decision]:
        return [
            Decision(f"{target}<-{source}", self.operations, edge) for edge, (source, target) in enumerate(self._edges)
        ]

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the one candidate for the value `value` of the edge `decision`."""
        return [("cell", self.place(decision), self.operations.index(value))]

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Take the operation with the highest score on every edge, `none` included (NAS-Bench-201, appendix)."""
        check_scores(scores, self.choices)
        best = argmax_existing(scores["cell"], self.choices["cell"])
        return self.architecture([self.operations[index] for index in best])

    # Notation: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|

    def parse(self, notation: Any) -> Architecture:
        """Read an architecture string; missing edges are `none`, and the order within a node is free.

        Also read are `nb201:1234`, a number in the benchmark's own order; a list of operations, one for every edge in
        the order of the string; a list of (operation, source) for every node, as `Structure(…)` prints; and the six
        numbers of NASLib as `op_indices=[…]`.

        Raises:
            ArchitectureError: Saying which token of which node is wrong.
        """
        notation = read(notation)
        if isinstance(notation, str) and notation.casefold().startswith(INDEX):
            notation = self._numbered(notation[len(INDEX) :].strip())
        if isinstance(notation, Mapping) and set(notation) == {OP_INDICES}:
            notation = _from_naslib(notation[OP_INDICES])
        if isinstance(notation, list | tuple):
            notation = self._from_list(notation)
        if not isinstance(notation, str):
            raise ArchitectureError(f"a NAS-Bench-201 architecture is a string, got {type(notation).__name__}")
        nodes = notation.strip().split("+")
        if len(nodes) != self.nodes - 1:
            raise ArchitectureError(
                f"{excerpt(notation, 100)} has {len(nodes)} nodes, "
                f"{self.name} with nodes={self.nodes} needs {self.nodes - 1}"
            )
        chosen: dict[tuple[int, int], str] = {}
        for target, node in enumerate(map(str.strip, nodes), start=1):
            if node.startswith("|") != node.endswith("|"):
                raise ArchitectureError(f"node {target}: {excerpt(node)} must begin and end with '|'; is it cut off?")
            for token in filter(None, node.split("|")):
                op, separator, number = token.rpartition("~")
                if not separator or not re.fullmatch(r"[0-9]{1,9}", number):
                    raise ArchitectureError(f"node {target}: {excerpt(token)} is not of the form operation~source")
                source = int(number)
                if source >= target:
                    raise ArchitectureError(
                        f"node {target}: source {source} in {excerpt(token)} is out of range, it must be below {target}"
                    )
                if (source, target) in chosen:
                    raise ArchitectureError(f"node {target} reads source {source} twice")
                if check_operation(op) not in self.operations:
                    raise ArchitectureError(f"node {target}: {op!r} is not among {list(self.operations)}")
                chosen[source, target] = op
        if len(chosen) < len(self._edges) and NONE not in self.operations:
            raise ArchitectureError(f"{excerpt(notation, 100)} leaves edges out, but this space has no `none`")
        return self.architecture([chosen.get(edge, NONE) for edge in self._edges])

    def _numbered(self, index: str) -> str:
        """Return the string of the cell that the benchmark gives this number."""
        from ramify.orders import ORDERS

        order = ORDERS["nasbench201"]
        if self.nodes != 4 or set(self.operations) != set(OPERATIONS):
            raise ArchitectureError("the benchmark numbers its own cells only: 4 nodes and its 5 operations")
        if not re.fullmatch("[0-9]{1,9}", index) or int(index) >= order.size:
            raise ArchitectureError(f"NAS-Bench-201 numbers its cells from 0 to {order.size - 1}, got {excerpt(index)}")
        return order.notations()[int(index)]

    def _from_list(self, listed: Sequence[Any]) -> str:
        """Return the string of a list of operations, or of (operation, source) for every node."""
        if all(isinstance(op, str) for op in listed):
            if len(listed) != len(self._edges):
                raise ArchitectureError(f"a cell has {len(self._edges)} edges, got {len(listed)} operations")
            tokens: dict[int, list[str]] = {target: [] for target in range(1, self.nodes)}
            for op, (source, target) in zip(listed, self._edges, strict=True):
                tokens[target].append(f"|{op}~{source}")
            return "+".join("".join(row) + "|" for row in tokens.values())
        if is_structure(listed):
            return "+".join("".join(f"|{op}~{source}" for op, source in node) + "|" for node in listed)
        if all(type(op) is int for op in listed):
            raise ArchitectureError(
                "numbers of operations count differently in NASLib and in the benchmark: write op_indices=[...] for "
                "NASLib's, or the operations' names in the order of the string's edges"
            )
        raise ArchitectureError(f"a list for NAS-Bench-201 holds one operation for every edge, got {excerpt(listed)}")

    def format(self, arch: Architecture) -> str:
        """Write the benchmark's string with all edges in order."""
        chosen = self.checked(arch).choices
        return "+".join(["".join([f"|{chosen[name]}~{source}" for name, source in node]) + "|" for node in self._nodes])

    @cached_property
    def _nodes(self) -> list[list[tuple[str, int]]]:
        """For every node but the first, the names of the decisions on its inputs, with these."""
        return [[(f"{target}<-{source}", source) for source in range(target)] for target in range(1, self.nodes)]

    def expression(self, arch: Architecture, none: str = "zero") -> str:
        """Return the cell's output as an expression of its input `0`; a skip is its operand.

        Cells with equal expressions compute the same, as long as zeros stay zeros (norms may learn to shift them).
        The benchmark's 15,625 cells have 12,751 expressions with `none` as any other operation, and 6,466 as
        published: with `none`, and whatever is applied to it, as `#`. That keeps zeros in sums; without them
        (`absent`) 5,390 are left, and that of the 341 cells in which nothing leads from the input to the output is
        empty.

        Args:
            arch: A member.
            none: `operation`, `zero` or `absent`.
        """
        if none not in ("operation", "zero", "absent"):
            raise ConfigurationError(f"`none` must be 'operation', 'zero' or 'absent', got {none!r}")
        zero = "" if none == "absent" else "#"
        states = ["0"]
        for target in range(1, self.nodes):
            terms = []
            for source in range(target):
                op, operand = arch[f"{target}<-{source}"], states[source]
                if none != "operation" and (op == NONE or operand == zero):
                    terms.append(zero)
                else:
                    terms.append(operand if op == "skip_connect" else f"({operand})@{op}")
            states.append("+".join(sorted(filter(None, terms))))
        return states[-1]

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the picture of the cell."""
        labels = ["0 (input)", *map(str, range(1, self.nodes - 1)), f"{self.nodes - 1} (output)"]
        edges = tuple((source, target, str(arch[f"{target}<-{source}"])) for source, target in self._edges)
        return {"cell": CellGraph(tuple(labels), edges, inputs=(0,), output=self.nodes - 1)}

    # Networks

    def _build(self, arch: Architecture, layout: Layout, shape: Mapping[str, int]) -> _Network:
        chosen = [(edge, str(arch[f"{target}<-{source}"])) for edge, (source, target) in enumerate(self._edges)]
        norm = layout.norm

        def cell(c: int) -> nn.Module:
            return _Cell(
                FixedGraph(
                    self._edges,
                    chosen,
                    inputs=1,
                    states=self.nodes,
                    candidate=lambda _, op: make_operation(op, c, 1, norm),
                    drop_path=layout.drop_path,
                )
            )

        return _Network(cell, layout, shape)

    def _supernet(self, layout: Layout, shape: Mapping[str, int]) -> _Supernet:
        parts = layout.partial_channels
        check_partial(layout.channels, parts)
        norm = layout.norm

        def cell(c: int) -> nn.Module:
            return _MixedCell(
                MixedGraph(
                    self.choices["cell"],
                    1,
                    lambda _, op: make_operation(op, c // parts, 1, norm),
                    partial_channels=parts,
                )
            )

        return _Supernet(cell, layout, shape)


def is_structure(notation: Any) -> bool:
    """Return whether a value lists (operation, source) for every node, as AutoDL-Projects' structures do."""
    return (
        isinstance(notation, list | tuple)
        and bool(notation)
        and all(isinstance(node, list | tuple) and len(node) == target for target, node in enumerate(notation, start=1))
        and all(
            isinstance(read, list | tuple) and len(read) == 2 and isinstance(read[0], str) and type(read[1]) is int
            for node in notation
            for read in node
        )
    )


def _from_naslib(indices: Any) -> list[str]:
    """Return the operations on the edges in the string's order; NASLib lists edges by their source.

    Its edges are 0→1, 0→2, 0→3, 1→2, 1→3, 2→3, its operations those of `_NASLIB` (naslib 0.1, `conversions.py`).
    """
    if not isinstance(indices, list | tuple) or len(indices) != 6 or not all(type(i) is int for i in indices):
        raise ArchitectureError(f"op_indices must be six numbers, got {excerpt(indices)}")
    if not set(indices) <= set(range(5)):
        raise ArchitectureError(f"op_indices must be six numbers from 0 to 4, got {excerpt(indices)}")
    edges = dict(zip(combinations(range(4), 2), indices, strict=True))
    return [_NASLIB[edges[source, target]] for target in range(1, 4) for source in range(target)]


class _Cell(nn.Module):
    def __init__(self, graph: FixedGraph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        return self.graph([x])[-1]


class _MixedCell(nn.Module):
    kind = "cell"

    def __init__(self, graph: MixedGraph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        return self.graph([x], mixture)[-1]


class Reduction(nn.Module):
    """Pre-activation residual block of stride 2; the shortcut is a 2×2 average and a 1×1 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        norm = standard_norm()
        self.first = PreActivation(nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False), c_out, norm)
        self.second = PreActivation(nn.Conv2d(c_out, c_out, 3, padding=1, bias=False), c_out, norm)
        # ceil mode: odd sizes work, even ones (all of the benchmark's) are not changed by it
        self.pool = nn.AvgPool2d(2, stride=2, ceil_mode=True, count_include_pad=False)
        self.shortcut = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.shortcut(self.pool(x))


class _Skeleton(Skeleton):
    """Stem, N cells, reduction, N cells, reduction, N cells, BN-ReLU unless left out, global average, linear."""

    stages = 3
    ends = ("last_norm", "classifier")
    classifier: nn.Linear

    def __init__(
        self, make_cell: Callable[[int], nn.Module], layout: NASBench201.Layout, shape: Mapping[str, int]
    ) -> None:
        super().__init__()
        norm, channels = standard_norm(), layout.channels
        self.stem = nn.Sequential(nn.Conv2d(shape["in_channels"], channels, 3, padding=1, bias=False), norm(channels))
        blocks: list[nn.Module] = []
        for stage in range(self.stages):
            width = channels * 2**stage
            blocks += [make_cell(width) for _ in range(layout.cells)]
            if stage < self.stages - 1:
                blocks.append(Reduction(width, 2 * width))
        self.cells = nn.ModuleList(blocks)
        self.last_norm = norm(width) if layout.final_norm else None
        self.classifier = nn.Linear(width, shape["num_classes"])

    def run(self, x: Tensor, run_cell: RunCell, taps: Collection[str]) -> Any:
        self.check_taps(taps)
        features: dict[str, Tensor] = {}
        x = self.stem(x)
        for block in self.cells:
            if isinstance(block, Reduction):
                x = block(x)
                features[f"stage{len(features) + 1}"] = x
            else:
                x = run_cell(block, x)
        features[f"stage{self.stages}"] = x
        last = x if self.last_norm is None else F.relu(self.last_norm(x))
        return tapped(self.classifier(last.mean(dim=(2, 3))), features, taps)


class _Network(Built, _Skeleton):
    """The skeleton with built cells."""


class _Supernet(Supernet, _Skeleton):
    """The skeleton with mixed cells."""

    def weight_vector(self) -> WeightVector:
        """Count every parameter around the cells, norms and biases too, and the convolutions inside.

        So in the released code (Hu et al., ABS, ECCV 2020).
        """
        cells = [
            (f"cells.{index}.graph", cell.kind, cell.graph, (cell.graph.states - 1,))
            for index, cell in enumerate(self.cells)
            if isinstance(cell, _MixedCell)
        ]
        return vector_of_cells(self, cells, lambda parameter: True)
