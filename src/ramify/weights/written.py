"""The order in which a notation lists the inputs of every node.

Architectures are canonical: they hold the two reads of a node by state. The originals number their modules as their
genotypes list the reads, so key maps need the genotype as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ramify.architecture import Architecture
from ramify.errors import ArchitectureError
from ramify.spaces import Space
from ramify.spaces.forms import GENOTYPE, GENOTYPE3
from ramify.spaces.genotype import Read, form_of, is_genotype, is_unnamed, read_genotype
from ramify.spaces.notation import read
from ramify.spaces.pairs import PairSpace
from ramify.spaces.stage_graph import StageGraph

Nodes = tuple[tuple[Read, Read], ...]
"""For every node, the operation and the state of its first read, and those of the second."""

Written = Mapping[str, Nodes]
"""Key of a cell or of a stage's graph (`normal`, `reduce1`, `DAG2`) → its nodes."""


def written(notation: Any) -> dict[str, Nodes]:
    """Return the nodes of a genotype as it lists them; empty for a notation of another kind.

    Raises:
        ArchitectureError: If it is a genotype, and a wrong one.
    """
    notation = read(notation)
    if isinstance(notation, Mapping) and "DAG" in notation:
        own = written(notation["genotype"]) if notation.get("genotype") is not None else {}
        return own | written(notation["DAG"])
    if not (is_genotype(notation) or is_unnamed(notation)):
        return {}
    form = form_of(notation)
    if form is GENOTYPE and isinstance(notation, Mapping):
        try:  # stages that agree may differ in the order of their reads
            return _nodes(read_genotype(notation, GENOTYPE3))
        except ArchitectureError:
            pass
    return _nodes(read_genotype(notation, form))


def canonical(space: Space, arch: Architecture) -> dict[str, Nodes]:
    """Return the nodes of a member in canonical order; empty where the members have no such nodes."""
    if not isinstance(space, PairSpace):
        return {}
    own = written(space.cell) if isinstance(space, StageGraph) else {}
    return own | _nodes(space.genotype(arch))


def is_settled(nodes: Written) -> bool:
    """Return whether no node reads two states by one operation with weights, so that any order says the same."""
    return all(first[0] != second[0] or "conv" not in first[0] for cell in nodes.values() for first, second in cell)


def _nodes(cells: Mapping[str, Any]) -> dict[str, Nodes]:
    return {key: cast(Nodes, cell.nodes) for key, cell in cells.items() if cell.nodes is not None}
