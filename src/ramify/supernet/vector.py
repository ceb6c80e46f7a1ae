"""The composition of weight vectors: which tensors of a supernet count, and how often.

The angle of Hu et al. (ABS, ECCV 2020, arXiv:2004.13431, section 3.1) compares such vectors. Every supernet says here
what belongs to them; the metric itself knows no space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from ramify.errors import ArchitectureError
from ramify.ops import Operation
from ramify.supernet.graph import MixedGraph, edge_names


@dataclass(frozen=True)
class Piece:
    """The part of the vector that one candidate contributes.

    Args:
        weights: Names of its weights in the supernet's state; norms and biases do not count.
        constants: Number of entries of 1/window that stand for a pooling.
        window: Entries of the pooling's window.
        is_skip: Whether it is a skip connection, whose weights, where it has any, count only if they are asked for.
    """

    weights: tuple[str, ...]
    constants: int = 0
    window: int = 1
    is_skip: bool = False


@dataclass(frozen=True)
class Ends:
    """The inputs and outputs of a graph, between which paths run.

    Args:
        edges: (source, target) of its edges.
        inputs: Number of input states.
        outputs: The states that are read from outside; the last of them is where the paths of the paper end.
    """

    edges: tuple[tuple[int, int], ...]
    inputs: int
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class WeightVector:
    """The composition of the weight vectors of a supernet's members.

    Args:
        fixed: Names of the tensors that all members have.
        places: For every choice the places in the network that it decides, in order: (edge, operation) → its piece.
        ends: For every choice that decides graphs where their paths begin and end. A choice without has a layer for
            every edge, each of which counts once.
    """

    fixed: tuple[str, ...]
    places: Mapping[str, tuple[Mapping[tuple[int, int], Piece], ...]]
    ends: Mapping[str, Ends]


def piece_of(operation: Operation, prefix: str, *, is_skip: bool = False) -> Piece:
    """Return the piece of an operation whose parameters are named `prefix` + their own name."""
    weights = tuple(f"{prefix}{name}" for name, parameter in operation.named_parameters() if parameter.dim() > 1)
    if not operation.prelude.is_pooling:
        return Piece(weights, is_skip=is_skip)
    window = operation.prelude.kernel**2
    return Piece(weights, operation.channels * window, window)


def vector_of_cells(
    network: nn.Module,
    cells: Iterable[tuple[str, str, MixedGraph, tuple[int, ...]]],
    is_fixed: Callable[[nn.Parameter], bool],
) -> WeightVector:
    """Return the weight vector of a network of cells.

    Args:
        network: The supernet.
        cells: Its mixed cells: (name of the graph, choice, graph, the states that are read from outside).
        is_fixed: Whether a parameter outside of them counts.
    """
    places: dict[str, list[Mapping[tuple[int, int], Piece]]] = {}
    ends: dict[str, Ends] = {}
    inside: set[int] = set()
    for name, kind, graph, outputs in cells:
        if graph.nodes:
            raise ArchitectureError("the angle is defined for cells and chains of operations, not for graphs of cells")
        pieces = {}
        for edge, edge_name in enumerate(edge_names(graph.ends)):
            for index, op in enumerate(graph.ops):
                candidates = graph.edges[edge_name]
                if op in candidates:  # type: ignore[operator]
                    operation: Operation = candidates[op]  # type: ignore[index]
                    prefix = f"{name}.edges.{edge_name}.{op}."
                    pieces[edge, index] = piece_of(operation, prefix, is_skip=op == "skip_connect")
        places.setdefault(kind, []).append(pieces)
        ends[kind] = Ends(tuple(graph.ends), graph.inputs, outputs)
        inside.update(map(id, graph.edges.parameters()))
    fixed = tuple(
        name for name, parameter in network.named_parameters() if is_fixed(parameter) and id(parameter) not in inside
    )
    return WeightVector(fixed, {kind: tuple(several) for kind, several in places.items()}, ends)
