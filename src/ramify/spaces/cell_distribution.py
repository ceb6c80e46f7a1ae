"""The number of cells in each stage: the distribution search of H-DAS (Liu et al., AAAI 2021, arXiv:2101.04028).

The stage graph with one choice more: for each stage, after which of its cells it ends. The output of a stage is the
sum over these lengths L, weighed, of the joined states L and L+1, which are the cells L-1 and L. A member keeps the
wiring of the cells behind its end, though its networks have none of them.

The released program holds the number of cells down by a penalty, 0.4 for each expected cell, that leads every stage to
its shortest length; it has no budget. Here a budget, in parameters or multiply-adds, can take its place
(`costs/budget.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.capabilities import BUDGET, Capability
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.spaces.base import Candidate, Regularizer, argmax_existing, check_scores
from ramify.spaces.bounds import MOST_CELLS, check_most
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.cell_network import Inputs, MixedCell
from ramify.spaces.genotype import CellGenotype
from ramify.spaces.pairs import PairGraph
from ramify.spaces.stage_graph import DARTS_V2, OPERATIONS, STAGES, StageGraph
from ramify.supernet import Choice, MixedGraph, Mixture, weighted_sum

LENGTHS = "lengths"


class Length(NamedTuple):
    """What a decision about a stage's length is about.

    Args:
        kind: Name of the stage.
    """

    kind: str


class CellDistribution(StageGraph):
    """The wiring of three stages and the number of cells in each: (9·27⁷·5)³ members by default.

    Args:
        cell: The cells, as for `StageGraph`.
        cells: Most cells of a stage.
        window: How many of the latest states a cell may read.
        lengths: The numbers of cells that a stage may have, ascending; by default the five up to `cells`.
        operations: Poolings and skips, in the order that mixing weights use.

    Example:
        >>> from ramify import spaces
        >>> spaces.CellDistribution().choices["lengths"].ops
        ('4', '5', '6', '7', '8')
    """

    def __init__(
        self,
        cell: Any = DARTS_V2,
        cells: int = 8,
        window: int = 3,
        lengths: Sequence[int] | None = None,
        operations: Sequence[str] = OPERATIONS,
    ) -> None:
        if type(cells) is not int or cells < 2:
            raise ConfigurationError(f"`cells` must be at least 2, got {cells!r}")
        check_most("cells", cells, MOST_CELLS)
        default = list(range(max(2, cells - 4), cells + 1))
        given = default if lengths is None else list(lengths)
        if not given or sorted(set(given)) != given or not 2 <= given[0] <= given[-1] == cells:
            raise ConfigurationError(f"`lengths` must be ascending numbers from 2 to {cells}, its last, got {given}")
        super().__init__(cell, cells, window, operations=operations)
        self._lengths = tuple(given)
        self.lengths = None if given == default else given

    @classmethod
    def covering(cls, dag: Any, cell: Any = None) -> Self:
        """Return an instance that contains the graphs `dag`: the default lengths if they suffice, else all from 2.

        `cell` is as for `StageGraph.covering`.
        """
        stages = StageGraph.covering(dag, cell)
        if stages.repeat:
            raise ArchitectureError("a cell reads one state twice; StageGraph.covering(dag) gives a space with that")
        most = max(graph.nodes for graph in stages._graphs.values())
        lengths = [graph.concat[-1] - 1 for graph in stages._graphs.values()]
        if most <= 8 and min(lengths) >= 4:
            return cls(stages.cell, window=stages.window, operations=stages.operations)
        return cls(stages.cell, most, stages.window, range(2, most + 1), stages.operations)

    @property
    def offers(self) -> frozenset[Capability]:
        """The detected capabilities, and a budget: the lengths of stages can be chosen to meet a target cost."""
        return super().offers | {BUDGET}

    def _all_choices(self) -> dict[str, Choice]:
        between = tuple((stage, stage + 1) for stage in range(len(STAGES)))
        return super()._all_choices() | {LENGTHS: Choice(between, tuple(map(str, self._lengths)))}

    def _all_decisions(self) -> list[Decision]:
        return super()._all_decisions() + [Decision(_length_of(s), self._lengths, Length(s)) for s in STAGES]

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the two candidates that a node's pair of reads uses, or the one that is a stage's length."""
        place = self.place(decision)
        if not isinstance(place, Length):
            return super().candidates(decision, value)
        return [(LENGTHS, STAGES.index(place.kind), self._lengths.index(cast(int, value)))]

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Derive the graphs as `StageGraph` does, and take the length with the highest score in each stage."""
        check_scores(scores, self.choices)
        best = argmax_existing(scores[LENGTHS], self.choices[LENGTHS])
        ends: dict[str, Value] = {_length_of(s): self._lengths[at] for s, at in zip(STAGES, best, strict=True)}
        return self.architecture(self._preferred(scores) | ends)

    def with_lengths(self, arch: Architecture, lengths: Sequence[int]) -> Architecture:
        """Return the member with other numbers of cells in its stages."""
        ends: dict[str, Value] = {_length_of(stage): length for stage, length in zip(STAGES, lengths, strict=True)}
        return self.architecture(dict(arch.choices) | ends)

    def lengths_of(self, arch: Architecture) -> tuple[int, ...]:
        """Return the number of cells of each stage of a member."""
        return tuple(cast(int, self.checked(arch)[_length_of(stage)]) for stage in STAGES)

    def stage_graph(self, arch: Architecture) -> tuple[StageGraph, Architecture]:
        """Return a `StageGraph` with the lengths of `arch`, and `arch` as a member of it."""
        space = StageGraph(self.cell, self.lengths_of(arch), self.window, operations=self.operations)
        return space, space.architecture({decision.name: arch[decision.name] for decision in space.decisions})

    # Notation: the joined states of a stage tell its length

    def _advice(self) -> str:
        return "CellDistribution.covering(dag) or StageGraph.covering(dag) gives a space that contains it"

    def _check(self, kind: str, cell: CellGenotype) -> None:
        graph, key, nodes = self._graphs[kind], self._key(kind), cell.nodes or ()
        length = cell.concat[-1] - 1
        if cell.concat != (length, length + 1) or length not in self._lengths:
            raise ArchitectureError(
                f"{key}_concat is {list(cell.concat)}, this space joins the states n and n+1 of a stage of n cells, "
                f"n among {list(self._lengths)}; {self._advice()}"
            )
        if not length <= len(nodes) <= graph.nodes:
            raise ArchitectureError(f"{key} has {len(nodes)} nodes, this space has {graph.nodes}; {self._advice()}")
        self._check_reads(kind, nodes)

    def _values(self, kind: str, cell: CellGenotype) -> dict[str, Value]:
        """Cells behind the end of a stage may be left out: they then read what comes first."""
        first = {d.name: d.choices[0] for d in self.decisions if d.place.kind == kind}
        return first | super()._values(kind, cell) | {_length_of(kind): cell.concat[-1] - 1}

    def _cell(self, arch: Architecture, kind: str, graph: PairGraph) -> CellGenotype:
        return CellGenotype(super()._cell(arch, kind, graph).nodes, self._joined(arch, kind))

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the pictures of the stages, up to their lengths, and of the lengths."""
        space, member = self.stage_graph(arch)
        reads = tuple((stage, stage + 1, str(length)) for stage, length in enumerate(self.lengths_of(arch)))
        lengths = CellGraph(("stem", "stage 1", "stage 2", "stage 3"), reads, inputs=(0,), output=3)
        return space.graphs(member) | {LENGTHS: lengths}

    def _wired(self, reads: Callable[[int], Value]) -> dict[str, Value]:
        longest = {d.name: d.choices[-1] for d in self.decisions if isinstance(d.place, Length)}
        return super()._wired(reads) | longest

    # What a network costs

    def probabilities(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Return the softmax (3, L) of the raw parameters of the lengths."""
        return self.choices[LENGTHS].softmax(scores[LENGTHS])

    def expected_cells(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Return the expected number of cells of all stages (scalar), for raw architecture parameters."""
        weights = self.probabilities(scores)
        return (weights * torch.tensor(self._lengths).to(weights)).sum()

    def depths(self, scores: Mapping[str, Tensor], *, none: bool = False) -> Tensor:
        """Return the depths of the stages, (3,), as the released distribution search computes them.

        A state is as deep as (1/edges)·Σ w·(1 + depth of the source), w the softmax over the node's edges of their
        largest parameter; where a stage may end with cell i (from 0), times 1 + i·(probability of that length). The
        depth of the stage is the mean over its cells.

        Args:
            scores: Raw architecture parameters (E, O) of every choice.
            none: Whether the column of `none` counts among the largest; not in the released program.
        """
        weights = self.probabilities(scores)
        depths = []
        for stage, weight in zip(STAGES, weights, strict=True):
            ends = dict(zip(self._lengths, weight, strict=True))
            depths.append(self._soft_depth(stage, scores[stage], ends, none))
        return torch.stack(depths)

    def _soft_depth(self, stage: str, alpha: Tensor, ends: Mapping[int, Tensor], none: bool) -> Tensor:
        choice = self.choices[stage]
        counted = choice.mask.clone()
        if not none and "none" in choice.ops:
            counted[:, choice.ops.index("none")] = False
        strength = alpha.masked_fill(~counted.to(alpha.device), float("-inf")).amax(dim=1)
        depths = {state: alpha.new_zeros(()) for state in (0, 1)}
        for state in self._graphs[stage].states:
            edges = choice.incoming(state)
            sources = torch.stack([depths[choice.edges[edge][0]] for edge in edges])
            depth = (strength[edges].softmax(dim=0) * (sources + 1)).mean()
            place = state - 2
            depths[state] = depth * (1 + place * ends[place + 1]) if place + 1 in ends else depth
        return torch.stack([depths[state] for state in self._graphs[stage].states]).mean()

    @property
    def regularizers(self) -> Mapping[str, Regularizer]:
        """`depth` and `cells`, with weights 1 and 0.4 in the released distribution search."""
        return {"depth": self.depth_loss, "cells": self.expected_cells}

    # Networks

    def _joined(self, arch: Architecture, stage: str) -> tuple[int, ...]:
        length = cast(int, arch[_length_of(stage)])
        return length, length + 1

    def _mixed_stage(self, stage: str, inputs: Inputs, graph: MixedGraph) -> nn.Module:
        return _MixedEnds(stage, inputs, graph, self._lengths)


class _MixedEnds(MixedCell):
    """A stage with all lengths: the weighted sum of the joined states at each."""

    further_kinds = (LENGTHS,)

    def __init__(self, stage: str, inputs: Inputs, graph: MixedGraph, lengths: Sequence[int]) -> None:
        super().__init__(stage, inputs, graph, (lengths[-1], lengths[-1] + 1))
        self.row, self.lengths = STAGES.index(stage), tuple(lengths)

    def forward(self, older: Tensor, newer: Tensor, mixture: Mixture, lengths: Mixture) -> Tensor:  # type: ignore[override]
        ends = [self.lengths[index] for index in lengths.active[self.row]]
        states = self.graph(self.inputs(older, newer), mixture, {state for end in ends for state in (end, end + 1)})

        def joined(half: int) -> Tensor | None:
            terms = lengths.terms(self.row, lambda index: states[self.lengths[index] + half])
            return weighted_sum(terms, lengths.constants(self.row))

        return torch.cat([cast(Tensor, joined(half)) for half in (0, 1)], dim=1)


def _length_of(stage: str) -> str:
    """Name of the decision."""
    return f"{stage}.{LENGTHS}"
