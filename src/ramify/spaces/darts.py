"""The cell space of DARTS (Liu, Simonyan & Yang, ICLR 2019, arXiv:1806.09055) and its relatives.

A normal and a reduction cell, each with two inputs and a number of nodes; a node is the sum of two operations on
two earlier states. The same family holds the 12 operations of NASP, the cells of NASNet, PNASNet, ENAS and
AmoebaNet (see `DARTSCells.covering`), and GDAS' search with a fixed reduction cell.
"""

from __future__ import annotations

from collections.abc import Sequence

from ramify.spaces.cell_network import CellPlan
from ramify.spaces.cell_space import CellSpace
from ramify.spaces.forms import GENOTYPE, ROLES

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


class DARTSCells(CellSpace):
    """A normal and a reduction cell: (49·147·294·490)² members by default.

    Args:
        nodes: Intermediate nodes of a cell; one number, or one for each kind of cell.
        operations: Names in the order that mixing weights use; one tuple, or one for each kind of cell.
        concat: States joined to a cell's output, all nodes by default; one tuple, or one for each kind.
        reduction: `searched`, or `frc` for the fixed reduction cell of GDAS-FRC.
        repeat: Whether a node may read one state twice, as in NASNet and AmoebaNet.

    Example:
        >>> from ramify import spaces
        >>> spaces.DARTSCells(nodes=1).size == (7 * 7) ** 2
        True
    """

    source = "Liu, Simonyan & Yang, DARTS, ICLR 2019, arXiv:1806.09055"
    depth = "layers"

    FORM = GENOTYPE
    STYLE = "flat"
    OPERATIONS = OPERATIONS
    POOL_NORM = (False, True)
    POOL_AFFINE = False

    def __init__(
        self,
        nodes: int | dict[str, int] = 4,
        operations: Sequence[str] | dict[str, Sequence[str]] = OPERATIONS,
        concat: Sequence[int] | dict[str, Sequence[int]] | None = None,
        reduction: str = "searched",
        repeat: bool = False,
    ) -> None:
        super().__init__(nodes, operations, concat, reduction, repeat)

    def kind_at(self, plan: CellPlan) -> str:
        """Return `normal` or `reduce`."""
        return ROLES[plan.reduction]
