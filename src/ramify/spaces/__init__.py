"""Search spaces: one file per family."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ramify.architecture import Architecture
from ramify.errors import ArchitectureError, ConfigurationError, nearest
from ramify.spaces.base import CellGraph, Space
from ramify.spaces.cdarts_chain import CDARTSChain
from ramify.spaces.cell_distribution import CellDistribution
from ramify.spaces.darts import DARTSCells
from ramify.spaces.genotype import form_of, is_compact, is_genotype, is_unnamed
from ramify.spaces.mobile import FairMobileChain, MobileChain
from ramify.spaces.nasbench201 import INDEX, NASBench201, is_structure
from ramify.spaces.nats_size import NATSBenchSize
from ramify.spaces.notation import (
    GENOTYPE2,
    GENOTYPE3,
    OP_INDICES,
    UnknownNotationError,
    read,
)
from ramify.spaces.shuffle import ShuffleChain
from ramify.spaces.stage_cells import StageCells
from ramify.spaces.stage_graph import StageGraph
from ramify.wording import excerpt, listing

SPACES: dict[str, type[Space]] = {
    space.__name__: space
    for space in (
        CDARTSChain,
        CellDistribution,
        DARTSCells,
        FairMobileChain,
        MobileChain,
        NASBench201,
        NATSBenchSize,
        ShuffleChain,
        StageCells,
        StageGraph,
    )
}
"""Every space by name."""

__all__ = [
    "SPACES",
    "CDARTSChain",
    "CellDistribution",
    "CellGraph",
    "DARTSCells",
    "FairMobileChain",
    "MobileChain",
    "NASBench201",
    "NATSBenchSize",
    "ShuffleChain",
    "Space",
    "StageCells",
    "StageGraph",
    "create",
    "read_description",
    "recognise",
    "space_of",
]


def create(description: Mapping[str, Any] | str | Path) -> Space:
    """Make a space from what `Space.to_dict` returned, or from a JSON file of it such as `ramify shrink` leaves.

    Raises:
        ArchitectureError: If there is no such space, or it does not take these arguments, or the file is none.
    """
    if isinstance(description, str | Path):
        description = read_description(description)
    name, arguments = description.get("space"), description.get("arguments", {})
    if not isinstance(name, str) or name not in SPACES:
        raise ArchitectureError(f"unknown space {name!r}; {nearest(str(name), SPACES)}")
    try:
        space = SPACES[name](**arguments)
    except (TypeError, ConfigurationError) as error:
        raise ArchitectureError(f"space {name} with arguments {dict(arguments)}: {error}") from None
    restriction = description.get("restriction")
    return space.restrict(restriction) if restriction else space


def read_description(path: str | Path) -> dict[str, Any]:
    """Read the JSON file of a space, or the one in the run folder of `ramify shrink`.

    Raises:
        ArchitectureError: If there is none, or it describes no space.
    """
    path = Path(path) / "space.json" if Path(path).is_dir() else Path(path)
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise ArchitectureError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ArchitectureError(f"{path} is not valid JSON ({error}); is it truncated?") from None
    if not isinstance(found, dict) or not isinstance(found.get("arguments", {}), dict) or "space" not in found:
        raise ArchitectureError(f"{path} describes no space: it must hold `space` (a name) and `arguments` (an object)")
    return found


def space_of(arch: Architecture) -> Space:
    """Return the unrestricted space that an architecture belongs to, having checked that it does."""
    space = create({"space": arch.space, "arguments": arch.arguments})
    space.checked(arch)
    return space


def recognise(notation: Any) -> Space:
    """Return the space that a native notation evidently belongs to, in its smallest instance.

    Raises:
        ArchitectureError: If it resembles no known notation.
    """
    notation = read(notation)
    if _is_nasbench101(notation):
        raise ArchitectureError("a matrix with operations is a cell of NAS-Bench-101, which is none of the spaces here")
    if isinstance(notation, str):
        if notation.startswith("|"):
            return NASBench201(nodes=min(notation.count("+"), _MOST_NODES) + 2)
        if notation.startswith(INDEX):
            return NASBench201()
        if re.fullmatch(r"[0-9]+(\s*:\s*[0-9]+)+", notation):
            return NATSBenchSize()
        raise UnknownNotationError(f"{excerpt(notation)} is no notation of a known space")
    if isinstance(notation, Mapping) and set(notation) == {OP_INDICES}:
        return NASBench201()
    if is_genotype(notation) or is_unnamed(notation):
        form = form_of(notation)
        if form is GENOTYPE2:
            return StageGraph.covering(notation)
        return StageCells.covering(notation) if form is GENOTYPE3 else DARTSCells.covering(notation)
    if isinstance(notation, Mapping):
        keys = f"the keys {listing(notation)}" if notation else "no keys"
        raise ArchitectureError(f"an object with {keys} is no genotype, and no other notation of a known space")
    if isinstance(notation, list | tuple):
        return _recognise_list(notation)
    raise ArchitectureError(f"{excerpt(notation)} is no genotype, and no other notation of a known space")


_MOST_NODES = 20


def _recognise_list(notation: Sequence[Any]) -> Space:
    """Return the space of a list of codes, operations or nodes."""
    if is_compact(notation):
        raise ArchitectureError(
            "pairs of (state, number) are the compact form of NASLib and BANANAS, which number operations differently; "
            "write a genotype with names"
        )
    if is_structure(notation):
        return NASBench201(nodes=len(notation) + 1)
    if len(notation) == 6 and all(isinstance(op, str) or type(op) is int for op in notation):
        return NASBench201()
    if any(isinstance(stage, list | tuple) for stage in notation):
        return CDARTSChain()
    fitting = [s for s in (FairMobileChain(), MobileChain(), ShuffleChain()) if len(s.places) == len(notation)]
    if fitting:
        return fitting[0]
    raise ArchitectureError(f"a list of {len(notation)} codes belongs to no known chain; name the space")


def _is_nasbench101(notation: Any) -> bool:
    """Return whether a value is an adjacency matrix with operations, in an object or in a pair."""
    if isinstance(notation, Mapping):
        keys = set(map(str, notation))
        return any(keys >= pair for pair in ({"module_adjacency", "module_operations"}, {"matrix", "ops"}))
    if not isinstance(notation, list | tuple) or len(notation) != 2:
        return False
    matrix, operations = notation
    return isinstance(matrix, list | tuple) and isinstance(operations, list | tuple) and "input" in operations
