"""The graph of a cell: with all candidates of its edges (`MixedGraph`) or with chosen ones (`FixedGraph`).

Both keep the module of operation `op` on edge `(source, target)` at `edges.<source>-<target>.<op>`, and what turns
the sum that enters a node into its state, where there is such a thing, at `nodes.<state>`. So a built member has the
parameter paths of the supernet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.ops import NONE, DropPath, Operation, dropout
from ramify.supernet.choice import Choice
from ramify.supernet.mixture import Mixed, Mixture, Term, weighted_sum

Candidate = Callable[[int, str], Operation]
"""Makes the module of operation `name` on edges that leave state `source`."""

Node = Callable[[int], nn.Module]
"""Makes the module that turns the sum entering a state into the state itself."""


_LETTERS = ("", *"bcdefgh")
"""What tells edges apart that have the same ends."""


def edge_names(edges: Iterable[tuple[int, int]]) -> list[str]:
    """Return a unique module name for each edge: `0-2`, and `0-2b`, `0-2c` for repetitions."""
    seen: Counter[tuple[int, int]] = Counter()
    names = []
    for source, target in edges:
        names.append(f"{source}-{target}{_LETTERS[seen[source, target]]}")
        seen[source, target] += 1
    return names


def needed_states(outputs: Iterable[int], reads: Iterable[tuple[int, int]]) -> set[int]:
    """Return the states that `outputs` depend on, including themselves; `reads` are pairs (source, target)."""
    needed = set(outputs)
    for source, target in sorted(reads, key=lambda read: -read[1]):
        if target in needed:
            needed.add(source)
    return needed


@dataclass(frozen=True)
class Edge:
    """An edge of a graph during execution.

    Args:
        index: Its number in the choice.
        name: Of its module.
        source, target: The states at its ends.
        stride: Of its candidates.
    """

    index: int
    name: str
    source: int
    target: int
    stride: int


def no_input(like: Tensor, stride: int) -> Tensor:
    """Return the value of a node without inputs: zeros of the size that its edges would give."""
    return torch.zeros_like(like[:, :, ::stride, ::stride])


class Source:
    """A state (B, C, H, W), to which operations are applied, each on its own."""

    def __init__(self, state: Tensor) -> None:
        self.state = state

    def __call__(self, operation: Operation) -> Tensor:
        """Return what an operation makes of the state."""
        return operation(self.state)

    def term(self, name: str, operation: Operation) -> Term:
        """Return a candidate's term of the weighted sum."""
        return self(operation)


class MixedGraph(Mixed):
    """All candidates of all edges; the value of a node is the weighted sum over its incoming edges.

    Attributes:
        source: How candidates are applied to a state; an execution may have another way.

    Args:
        choice: Edges, operations and which candidates exist.
        inputs: Number of input states; states are numbered from 0.
        candidate: Makes a candidate's module.
        stride: Of the edges that leave the input states.
        partial_channels: K; only the first C/K channels of a state enter the candidates, which are made for that
            many. The others go past them, weighed by the sum of the edge's mixing weights, and the channels of a
            node are shuffled in K groups (Xu et al., PC-DARTS, ICLR 2020).
        node: Makes what a node does with the sum that enters it; None for nothing.
    """

    source: type[Source] = Source

    def __init__(
        self,
        choice: Choice,
        inputs: int,
        candidate: Candidate,
        *,
        stride: int = 1,
        partial_channels: int = 1,
        node: Node | None = None,
    ) -> None:
        super().__init__()
        self.inputs, self.stride, self.partial_channels = inputs, stride, partial_channels
        self.states = max(target for _, target in choice.edges) + 1
        self.ops = choice.ops
        self.ends = choice.edges
        self.nodes = nn.ModuleDict({str(state): node(state) for state in range(inputs, self.states)} if node else {})
        self.edges = nn.ModuleDict()
        self.leaving: list[list[Edge]] = [[] for _ in range(self.states)]
        names = edge_names(choice.edges)
        for index, (name, (source, target)) in enumerate(zip(names, choice.edges, strict=True)):
            present = [op for op, on in zip(choice.ops, choice.mask[index].tolist(), strict=True) if on and op != NONE]
            self.edges[name] = nn.ModuleDict({op: candidate(source, op) for op in present})
            self.leaving[source].append(Edge(index, name, source, target, stride if source < inputs else 1))

    def forward(
        self, inputs: Sequence[Tensor], mixture: Mixture, outputs: Collection[int] | None = None
    ) -> list[Tensor]:
        """Map the input states, each (B, C, H, W), to the list of all states.

        Where `outputs` names the states that are used, those they do not follow from are left out: None in the list.
        """
        needed = self._needed(mixture, outputs)
        states: list[Any] = list(inputs)
        width = inputs[0].shape[1] // self.partial_channels
        sums: list[Tensor | None] = [None] * self.states
        passed: list[Tensor | None] = [None] * self.states  # what goes past the candidates of partial channels
        for number in range(self.states):
            if number not in needed:
                states += [None] * (number >= self.inputs)
                continue
            if number >= self.inputs:
                total = sums[number]
                total = no_input(inputs[0][:, :width], self.stride) if total is None else total
                total = total if self.partial_channels == 1 else self._joined(total, passed[number])
                states.append(self.nodes[str(number)](total) if self.nodes else total)
            state = states[number]
            leaving = [edge for edge in self.leaving[number] if edge.target in needed]
            if self.partial_channels > 1:
                self._pass(state[:, width:], leaving, mixture, passed)
                state = state[:, :width]
            self._spread(state, leaving, mixture, sums)
        return states

    def _spread(self, state: Tensor, leaving: Sequence[Edge], mixture: Mixture, sums: list[Tensor | None]) -> None:
        """Add what leaves one state to the sums of the states that it enters."""
        source = self.source(state)
        for edge in leaving:
            candidate = partial(self._term, source, edge, mixture)
            total = weighted_sum(mixture.terms(edge.index, candidate), (), sums[edge.target])
            if constants := mixture.constants(edge.index):
                total = weighted_sum((), constants, no_input(state, edge.stride) if total is None else total)
            sums[edge.target] = total

    def _term(self, source: Source, edge: Edge, mixture: Mixture, index: int) -> Term:
        """Return what a candidate of an edge adds to a weighted sum."""
        candidates: Any = self.edges[edge.name]
        op, probability = self.ops[index], mixture.dropout[index]
        if probability and self.training and edge.stride == 1:
            return dropout(source(candidates[op]), probability)
        return source.term(op, candidates[op])

    def _needed(self, mixture: Mixture, outputs: Collection[int] | None) -> Collection[int]:
        """Return the states to compute."""
        if outputs is None:
            return range(self.states)
        if self.partial_channels > 1:  # channels go past inactive candidates too
            return needed_states(outputs, self.ends)
        read = zip(self.ends, mixture.active, mixture.dropped, strict=True)
        return needed_states(outputs, (ends for ends, active, dropped in read if active or dropped))

    def _pass(self, rest: Tensor, leaving: Sequence[Edge], mixture: Mixture, passed: list[Tensor | None]) -> None:
        """Let the remaining channels of one source go past the candidates of its edges."""
        if leaving and leaving[0].stride == 2:
            rest = F.max_pool2d(rest, 2, stride=2, ceil_mode=True)  # odd sizes as the candidates round them
        for edge in leaving:
            passed[edge.target] = weighted_sum([(rest, mixture.totals[edge.index])], (), passed[edge.target])

    def _joined(self, mixed: Tensor, passed: Tensor | None) -> Tensor:
        """Join both parts of a node's channels, and shuffle them so that the next node mixes others."""
        assert passed is not None
        return F.channel_shuffle(torch.cat([mixed, passed], dim=1), self.partial_channels)


class FixedGraph(nn.Module):
    """Chosen operations only: the graph of a built member, traceable by torch.fx.

    Attributes:
        source: How operations are applied to a state, as in `MixedGraph`.

    Args:
        edges: Edges of the space's choice, in order; they name the modules.
        chosen: `(edge index, operation name)` of what is there.
        inputs: Number of input states.
        states: Number of all states.
        candidate: Makes a candidate's module.
        stride: Of the edges that leave the input states.
        drop_path: Probability with which operations other than the plain skip are dropped in training.
        node: Makes what a node does with the sum that enters it; None for nothing.
        live: States to compute; None for all. The others have no modules, and None in the list of states.
    """

    source: type[Source] = Source

    def __init__(
        self,
        edges: Sequence[tuple[int, int]],
        chosen: Iterable[tuple[int, str]],
        inputs: int,
        states: int,
        candidate: Candidate,
        *,
        stride: int = 1,
        drop_path: float = 0.0,
        node: Node | None = None,
        live: Collection[int] | None = None,
    ) -> None:
        super().__init__()
        self.inputs, self.states, self.stride = inputs, states, stride
        self.live = frozenset(range(states) if live is None else live)
        built = [state for state in range(inputs, states) if state in self.live]
        self.nodes = nn.ModuleDict({str(state): node(state) for state in built} if node else {})
        self.edges = nn.ModuleDict()
        self.drop_path = DropPath(drop_path)
        names = edge_names(edges)
        # entering[target]: (source, module name, operation)
        self.entering: list[list[tuple[int, str, str]]] = [[] for _ in range(states)]
        for edge, op in sorted(chosen):
            source, target = edges[edge]
            if op == NONE or target not in self.live:
                continue
            self.edges[names[edge]] = nn.ModuleDict({op: candidate(source, op)})
            self.entering[target].append((source, names[edge], op))

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Map the input states, each (B, C, H, W), to the list of all states."""
        sources: list[Any] = [self.source(state) for state in inputs]
        for number in range(self.inputs, self.states):
            if number not in self.live:
                sources.append(None)
                continue
            total = None
            for source, name, op in self.entering[number]:
                candidates: Any = self.edges[name]
                operation: Operation = candidates[op]
                y = sources[source](operation)
                if not operation.is_identity:
                    y = self.drop_path(y)
                total = y if total is None else total + y
            total = no_input(inputs[0], self.stride) if total is None else total
            sources.append(self.source(self.nodes[str(number)](total) if self.nodes else total))
        return [source and source.state for source in sources]
