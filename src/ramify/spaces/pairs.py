"""Graphs whose nodes each have two inputs among earlier states: the cells of DARTS and H-DAS, the stages of H-DAS.

States 0 and 1 are the inputs, node n is state n+2. A node is decided as a whole, as a pair of reads (operation,
state), so that the decisions are independent and their product is the exact size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, combinations_with_replacement, product
from typing import Any, ClassVar, NamedTuple, cast

from torch import Tensor

from ramify.architecture import Architecture, Decision, Value
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import NONE
from ramify.ops.operations import check_operation
from ramify.spaces.base import Candidate, Space, check_scores
from ramify.spaces.bounds import MOST_NODES, check_most
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.forms import GenotypeForm
from ramify.spaces.genotype import CellGenotype, Read, read_genotype, write_genotype
from ramify.supernet import Choice


@dataclass(frozen=True)
class PairGraph:
    """All graphs of a given number of nodes.

    Args:
        nodes: Number of nodes.
        operations: Names in the order that mixing weights use.
        concat: States joined to the output.
        window: How many of the latest states a node may read; None: all.
        repeat: Whether a node may read one state twice.
    """

    nodes: int
    operations: tuple[str, ...]
    concat: tuple[int, ...]
    window: int | None = None
    repeat: bool = False

    @property
    def states(self) -> range:
        """The states of the nodes."""
        return range(2, self.nodes + 2)

    def sources(self, state: int) -> range:
        """Return the states that can be inputs of a node."""
        return range(0 if self.window is None else max(0, state - self.window), state)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """All edges by node and source; two edges from a state that can be a node's input twice."""
        slots = 1 + self.repeat
        return tuple((source, state) for state in self.states for source in self.sources(state) for _ in range(slots))

    def pairs(self, state: int) -> tuple[Value, ...]:
        """Return all pairs of inputs of a node, each in canonical order."""
        ops = [op for op in self.operations if op != NONE]
        pairs = [
            ((first, a), (second, b))
            for a, b in combinations(self.sources(state), 2)
            for first, second in product(ops, repeat=2)
        ]
        if self.repeat:
            twice = combinations_with_replacement(ops, 2)
            pairs += [((first, a), (second, a)) for first, second in twice for a in self.sources(state)]
        return tuple(pairs)

    def canonical(self, reads: Iterable[Read]) -> tuple[Read, ...]:
        """Return a node's inputs in canonical order: by state, then by operation."""
        return tuple(sorted(reads, key=lambda read: (read[1], self.operations.index(read[0]))))

    def used(self, state: int, value: Value) -> list[tuple[int, int]]:
        """Return the (edge, operation) pairs of a node's inputs; a repeated state uses its second edge."""
        (first, a), (second, b) = cast(tuple[Read, Read], value)
        return [
            (self.edges.index((a, state)), self.operations.index(first)),
            (self.edges.index((b, state)) + (a == b), self.operations.index(second)),
        ]


def pair_graph(
    name: str,
    nodes: int,
    operations: Sequence[str],
    concat: Sequence[int],
    *,
    window: int | None = None,
    repeat: bool = False,
    most: int = MOST_NODES,
) -> PairGraph:
    """Return the graphs with these settings, validated; `name` is for messages.

    Raises:
        ConfigurationError: If no graph can have them.
    """
    if type(nodes) is not int or nodes < 1:
        raise ConfigurationError(f"`nodes` must be at least 1, got {nodes} for {name}")
    check_most(f"nodes of {name}", nodes, most)
    ops = tuple(check_operation(op) for op in operations)
    if len(set(ops)) < len(ops) or not set(ops) - {NONE}:
        raise ConfigurationError(f"`operations` must be different names, one besides `none`, got {list(ops)}")
    states = tuple(concat)
    if not states or sorted(set(states)) != list(states) or not all(2 <= s < nodes + 2 for s in states):
        raise ConfigurationError(f"`concat` must be ascending states from 2 to {nodes + 1}, got {list(states)}")
    return PairGraph(nodes, ops, states, window, repeat)


class Node(NamedTuple):
    """What a decision about a node is about.

    Args:
        kind: Name of the choice.
        state: Of the node.
    """

    kind: str
    state: int


class PairSpace(Space):
    """Spaces whose decisions are the nodes of such graphs."""

    FORM: ClassVar[GenotypeForm]
    """Of the native notation."""

    STYLE: ClassVar[str]
    """In which `format` writes it."""

    INPUTS: ClassVar[tuple[str, str]]
    """What pictures call the states 0 and 1."""

    NODE: ClassVar[str] = "{}"
    """What they call a node, by its number."""

    _graphs: dict[str, PairGraph]
    """Name of a choice → its graphs."""

    @abstractmethod
    def _key(self, kind: str) -> str:
        """Return the key that a choice has in the notation."""

    @abstractmethod
    def _advice(self) -> str:
        """Return which space holds what this one does not."""

    def _all_choices(self) -> dict[str, Choice]:
        return {
            kind: Choice(graph.edges, graph.operations, role=self.FORM.role(self._key(kind)))
            for kind, graph in self._graphs.items()
        }

    def _all_decisions(self) -> list[Decision]:
        return [
            Decision(f"{kind}.{state}", graph.pairs(state), Node(kind, state))
            for kind, graph in self._graphs.items()
            for state in graph.states
        ]

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the two candidates of a node's pair of inputs."""
        kind, state = self.place(decision)
        return [(kind, edge, op) for edge, op in self._graphs[kind].used(state, value)]

    def _chosen(self, arch: Architecture) -> dict[str, list[tuple[int, str]]]:
        """Return (edge, operation) of everything that the graphs of a member hold."""
        return {
            kind: [
                (edge, graph.operations[op])
                for state in graph.states
                for edge, op in graph.used(state, arch[f"{kind}.{state}"])
            ]
            for kind, graph in self._graphs.items()
        }

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Keep for every node the two edges whose best operation besides `none` scores highest (DARTS, section 2.4).

        Softmax weights give the rule of DARTS, whose denominator has `none` in it; raw parameters that of H-DAS.
        """
        check_scores(scores, self.choices)
        return self.architecture(self._preferred(scores))

    def _preferred(self, scores: Mapping[str, Tensor]) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for decision in self.decisions:
            if isinstance(node := decision.place, Node):
                strength = self._strength(scores[node.kind].detach().cpu(), *node)
                values[decision.name] = max(decision.choices, key=strength)  # the first of equals
        return values

    def _strength(self, scores: Tensor, kind: str, state: int) -> Callable[[Value], list[float]]:
        """Return what ranks the pairs of a node: the score of the stronger read, then that of the weaker one.

        The slots of a state that may be read twice are interchangeable, so the better assignment counts.
        """
        choice = self.choices[kind]
        table = scores.double().masked_fill(~choice.mask, float("-inf")).tolist()
        position = {op: index for index, op in enumerate(choice.ops)}
        edges: dict[int, list[int]] = {}
        for edge in choice.incoming(state):
            edges.setdefault(choice.edges[edge][0], []).append(edge)

        def strength(value: Value) -> list[float]:
            (first, a), (second, b) = cast(tuple[Read, Read], value)
            return max(
                sorted((table[one][position[first]], table[other][position[second]]), reverse=True)
                for one, other in product(edges[a], edges[b])
                if one != other
            )

        return strength

    # Notation

    def parse(self, notation: Any) -> Architecture:
        """Read a genotype: flat or nested JSON (text or object), or the text that papers print.

        Raises:
            ArchitectureError: Saying what is wrong at which node.
        """
        cells = read_genotype(notation, self.FORM)
        values: dict[str, Value] = {}
        for kind in self._graphs:
            cell = cells[self._key(kind)]
            self._check(kind, cell)
            values |= self._values(kind, cell)
        return self.architecture(values)

    def _values(self, kind: str, cell: CellGenotype) -> dict[str, Value]:
        """Return the decisions that a checked cell stands for."""
        canonical = self._graphs[kind].canonical
        return {f"{kind}.{state}": canonical(reads) for state, reads in enumerate(cell.nodes or (), start=2)}

    def _check(self, kind: str, cell: CellGenotype) -> None:
        """Raise `ArchitectureError` unless a graph of this kind can be `cell`."""
        graph, key, advice = self._graphs[kind], self._key(kind), self._advice()
        nodes = cell.nodes or ()
        if len(nodes) != graph.nodes:
            raise ArchitectureError(f"{key} has {len(nodes)} nodes, this space has {graph.nodes}; {advice}")
        if cell.concat != graph.concat:
            raise ArchitectureError(
                f"{key}_concat is {list(cell.concat)}, this space joins {list(graph.concat)}; {advice}"
            )
        self._check_reads(kind, nodes)

    def _check_reads(self, kind: str, nodes: Sequence[tuple[Read, Read]]) -> None:
        graph, key, advice = self._graphs[kind], self._key(kind), self._advice()
        for state, ((first, a), (second, b)) in enumerate(nodes, start=2):
            for op in (first, second):
                if op not in graph.operations:
                    names = list(graph.operations)
                    raise ArchitectureError(f"{key}, state {state}: {op!r} is not among {names}; {advice}")
            for source in (a, b):
                if source not in graph.sources(state):
                    seen = graph.sources(state)
                    raise ArchitectureError(
                        f"{key}, state {state} reads state {source}, but sees the {graph.window} latest states only, "
                        f"{seen[0]} to {seen[-1]}; {advice}"
                    )
            if a == b and not graph.repeat:
                raise ArchitectureError(f"{key}, state {state} reads state {a} twice; {advice}")

    def genotype(self, arch: Architecture) -> dict[str, CellGenotype]:
        """Return the cells of a member by their keys in the notation."""
        self.checked(arch)
        cells = {self._key(kind): self._cell(arch, kind, graph) for kind, graph in self._graphs.items()}
        return {key: cells.get(key, CellGenotype(None, (2, 3, 4, 5))) for key in self.FORM.cells}

    def _cell(self, arch: Architecture, kind: str, graph: PairGraph) -> CellGenotype:
        nodes = tuple(arch[f"{kind}.{state}"] for state in graph.states)
        return CellGenotype(nodes, graph.concat)  # type: ignore[arg-type]

    def format(self, arch: Architecture, style: str | None = None) -> Any:
        """Write a genotype as `flat` or `nested` JSON values, as `text`, or as CDARTS' JSON object of `stages`.

        The default is the space's own style.
        """
        return write_genotype(self.genotype(arch), style=style or self.STYLE, form=self.FORM)

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the pictures of the graphs, all nodes and the joined states."""
        return {kind: self._picture(arch, kind, graph) for kind, graph in self._graphs.items()}

    def _picture(self, arch: Architecture, kind: str, graph: PairGraph) -> CellGraph:
        output = graph.nodes + 2
        reads = tuple(
            (source, state, op)
            for state in graph.states
            for op, source in cast(tuple[Read, Read], arch[f"{kind}.{state}"])
        )
        joins = tuple((state, output, "") for state in graph.concat)
        labels = (*self.INPUTS, *map(self.NODE.format, range(graph.nodes)), "output")
        return CellGraph(labels, reads + joins, inputs=(0, 1), output=output)
