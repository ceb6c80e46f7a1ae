"""Search spaces: one file per family."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, get_type_hints

from typing_extensions import TypedDict

from ramify import imports, reading
from ramify.architecture import Architecture
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.registry import Registry
from ramify.spaces.any_network import AnyNetwork
from ramify.spaces.base import Space
from ramify.spaces.baselines import Baselines, is_baseline
from ramify.spaces.cdarts_chain import CDARTSChain
from ramify.spaces.cell_distribution import CellDistribution
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.darts import DARTSCells
from ramify.spaces.examples import example
from ramify.spaces.forms import GENOTYPE2, GENOTYPE3
from ramify.spaces.genotype import form_of, is_compact, is_genotype, is_unnamed
from ramify.spaces.literals import CutOffError
from ramify.spaces.mobile import FairMobileChain, MobileChain
from ramify.spaces.nasbench201 import INDEX, NASBench201, is_structure
from ramify.spaces.nats_size import LAYERS, WIDTHS, NATSBenchSize
from ramify.spaces.notation import OP_INDICES, UnknownNotationError, read
from ramify.spaces.prunable import PrunableResNet, is_pruned
from ramify.spaces.shuffle import ShuffleChain
from ramify.spaces.stage_cells import StageCells
from ramify.spaces.stage_graph import StageGraph
from ramify.wording import excerpt, listing

SPACES: Registry[type[Space]] = Registry("space", Space, package=__name__)
"""Every space by name."""

__all__ = [
    "SPACES",
    "AnyNetwork",
    "Baselines",
    "CDARTSChain",
    "CellDistribution",
    "CellGraph",
    "DARTSCells",
    "FairMobileChain",
    "MobileChain",
    "NASBench201",
    "NATSBenchSize",
    "PrunableResNet",
    "ShuffleChain",
    "Space",
    "StageCells",
    "StageGraph",
    "create",
    "example",
    "read_description",
    "recognize",
    "space_of",
]


MOST_CHARACTERS = 100_000
"""Of an argument of a space, as JSON."""

Masks = dict[str, list[list[bool | int]]]
"""Choice → which candidates exist, (E, O)."""


class Description(TypedDict):
    """The content of `space.json`."""

    space: str
    arguments: NotRequired[dict[str, Any]]
    restriction: NotRequired[Masks | None]


def create(description: Mapping[str, Any] | str | Path) -> Space:
    """Create a space from its plain form, or from a JSON file of it such as `ramify shrink` writes.

    Raises:
        ArchitectureError: If there is no such space, or it does not take these arguments, or the file is none.
    """
    if isinstance(description, str | Path):
        description = read_description(description)
    name, arguments = description.get("space"), dict(description.get("arguments", {}))
    if not isinstance(name, str) or name not in SPACES:
        raise ArchitectureError(imports.unknown("space", str(name)[:60], SPACES))
    hints = get_type_hints(SPACES[name].__init__)
    for argument, value in arguments.items():
        where = f"space {excerpt(name)}, argument {excerpt(argument)}"
        kind = hints.get(argument, Any)
        reading.checked(value, kind, where=where, error=ArchitectureError, limit=MOST_CHARACTERS)
    try:
        space = SPACES[name].of_file(**arguments)
    except (TypeError, ConfigurationError) as error:
        raise ArchitectureError(f"space {name} with arguments {excerpt(arguments, 100)}: {error}") from None
    restriction = description.get("restriction")
    if not restriction:
        return space
    masks: Masks = reading.checked(restriction, Masks, where=f"restriction of {name}", error=ArchitectureError)
    return space.restrict(masks)


def read_description(path: str | Path) -> dict[str, Any]:
    """Read the JSON file of a space, or the one in the run folder of `ramify shrink`.

    Raises:
        ArchitectureError: If there is none, or it describes no space.
    """
    path = Path(path) / "space.json" if Path(path).is_dir() else Path(path)
    return {**reading.json_file(path, Description, error=ArchitectureError, advice="that is no file of a space")}


def space_of(arch: Architecture) -> Space:
    """Return the unrestricted space of an architecture, having checked that it is a member."""
    space = create({"space": arch.space, "arguments": arch.arguments})
    space.checked(arch)
    return space


def recognize(notation: Any) -> Space:
    """Return the smallest instance of the space that a native notation belongs to.

    Raises:
        ArchitectureError: If it resembles no known notation.
    """
    notation = read(notation)
    if _is_nasbench101(notation):
        raise ArchitectureError("a matrix with operations is a cell of NAS-Bench-101, which is none of the spaces here")
    if is_pruned(notation):
        return PrunableResNet.covering(notation)
    if is_baseline(notation):
        return Baselines.covering(notation)
    if isinstance(notation, str):
        if notation.startswith("|"):
            return _recognize_cell(notation)
        if notation.casefold().startswith(INDEX):
            return NASBench201()
        if notation.isdecimal() and len(notation) <= 5:
            raise UnknownNotationError(f"{excerpt(notation)} is no notation; a cell of NAS-Bench-201 is {INDEX}NUMBER")
        if re.fullmatch(r"[0-9]+(\s*:\s*[0-9]+)+", notation):
            return NATSBenchSize()
        if not notation:
            raise ArchitectureError("it is empty, and should hold an architecture")
        raise UnknownNotationError(f"{excerpt(notation)} is no notation of a known space; of others --space says which")
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
        return _recognize_list(notation)
    raise ArchitectureError(f"{excerpt(notation)} is no genotype, and no other notation of a known space")


def _recognize_cell(notation: str) -> Space:
    """Return the space of a cell of NAS-Bench-201, or of a larger one, unless its end seems to be missing.

    Raises:
        CutOffError: If it has fewer nodes, or the last one does not say what is between it and the one before.
    """
    nodes = notation.split("+")
    last = max(len(nodes), 3) - 1
    if len(nodes) < 3 or not re.search(rf"~\s*{last}\s*\|", nodes[-1]):
        raise CutOffError(
            f"{excerpt(notation, 80)} is cut off, or its space must be given with --space: a cell of NAS-Bench-201 has "
            f"3 nodes joined by '+', and the last one ends with operation~{last}| (none~{last}| where there is no edge)"
        )
    return NASBench201(nodes=len(nodes) + 1)


def _recognize_list(notation: Sequence[Any]) -> Space:
    """Return the space of a list of codes, operations or nodes."""
    if not notation:
        raise ArchitectureError("it is an empty list, and should hold an architecture")
    if is_compact(notation):
        raise ArchitectureError(
            "pairs of (state, number) are the compact form of NASLib and BANANAS, which number operations differently; "
            "write a genotype with names"
        )
    if is_structure(notation):
        return NASBench201(nodes=len(notation) + 1)
    if len(notation) == 6 and all(isinstance(op, str) or type(op) is int for op in notation):
        return NASBench201()
    if stages := [stage for stage in notation if isinstance(stage, list | tuple)]:
        chain = CDARTSChain()
        codes = all(isinstance(code, int | str) for stage in stages for code in stage)
        if not codes or len(notation) != len(chain.stages) + 2:
            raise ArchitectureError(f"{excerpt(notation)} is no genotype, and no other notation of a known space")
        return chain
    if len(notation) == LAYERS and set(notation) <= set(WIDTHS):
        return NATSBenchSize()
    fitting = [s for s in (FairMobileChain(), MobileChain(), ShuffleChain()) if len(s.places) == len(notation)]
    if fitting:
        return fitting[0]
    raise ArchitectureError(
        f"a list of {len(notation)} codes belongs to no known chain of the default size; name the space, as --space "
        "MobileChain --space.blocks [4,4,4,4,4,1]"
    )


def _is_nasbench101(notation: Any) -> bool:
    """Return whether a value is an adjacency matrix with operations, in an object or in a pair."""
    if isinstance(notation, Mapping):
        keys = set(map(str, notation))
        return any(keys >= pair for pair in ({"module_adjacency", "module_operations"}, {"matrix", "ops"}))
    if not isinstance(notation, list | tuple) or len(notation) != 2:
        return False
    matrix, operations = notation
    return isinstance(matrix, list | tuple) and isinstance(operations, list | tuple) and "input" in operations
