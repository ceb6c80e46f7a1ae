"""Search spaces: one file per family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ramify.architecture import Architecture
from ramify.errors import ArchitectureError, ConfigurationError, nearest
from ramify.spaces.base import CellGraph, Space
from ramify.spaces.cell_distribution import CellDistribution
from ramify.spaces.darts import DARTSCells
from ramify.spaces.genotype import GENOTYPE2, GENOTYPE3, form_of
from ramify.spaces.nasbench201 import NASBench201
from ramify.spaces.nats_size import NATSBenchSize
from ramify.spaces.stage_cells import StageCells
from ramify.spaces.stage_graph import StageGraph

SPACES: dict[str, type[Space]] = {
    space.__name__: space
    for space in (CellDistribution, DARTSCells, NASBench201, NATSBenchSize, StageCells, StageGraph)
}
"""Every space by name."""

__all__ = [
    "SPACES",
    "CellDistribution",
    "CellGraph",
    "DARTSCells",
    "NASBench201",
    "NATSBenchSize",
    "Space",
    "StageCells",
    "StageGraph",
    "create",
    "recognise",
    "space_of",
]


def create(description: Mapping[str, Any]) -> Space:
    """Make a space from what `Space.to_dict` returned.

    Raises:
        ArchitectureError: If there is no such space, or it does not take these arguments.
    """
    name, arguments = description.get("space"), description.get("arguments", {})
    if not isinstance(name, str) or name not in SPACES:
        raise ArchitectureError(f"unknown space {name!r}; {nearest(str(name), SPACES)}")
    try:
        space = SPACES[name](**arguments)
    except (TypeError, ConfigurationError) as error:
        raise ArchitectureError(f"space {name} with arguments {dict(arguments)}: {error}") from None
    restriction = description.get("restriction")
    return space.restrict(restriction) if restriction else space


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
    text = notation.strip() if isinstance(notation, str) else ""
    if text.startswith("|"):
        return NASBench201(nodes=text.count("+") + 2)
    if re.fullmatch(r"\d+(\s*:\s*\d+)+", text):
        return NATSBenchSize()
    if isinstance(notation, Mapping) or text.startswith(("{", "Genotype")):
        form = form_of(notation)
        if form is GENOTYPE2:
            return StageGraph.covering(notation)
        return StageCells.covering(notation) if form is GENOTYPE3 else DARTSCells.covering(notation)
    raise ArchitectureError(f"{str(notation)[:60]!r} is no run folder, no file, and no notation of a known space")
