"""Separate cells for every stage: the cell level of H-DAS (Liu et al., AAAI 2021, arXiv:2101.04028).

Three normal cells and the two reduction cells between them, each as in DARTS. Where the published networks differ from
those of DARTS: `none` is the last operation, poolings keep their batch norm when the network is built, and it scales
and shifts. The result is derived from raw architecture parameters; `discretize` takes these as well as softmax
weights. No program was released for ImageNet; the layout here is that of DARTS.
"""

from __future__ import annotations

from collections.abc import Sequence

from ramify.spaces.cell_network import CellPlan
from ramify.spaces.cell_space import CellSpace
from ramify.spaces.forms import GENOTYPE3, ROLES

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "none",
)


class StageCells(CellSpace):
    """Three normal and two reduction cells: (180·49⁴)⁵ members by default.

    Args:
        nodes: Intermediate nodes of a cell; one number, or one for `normal` and `reduce`, or for each of the five.
        operations: Names in the order that mixing weights use; one tuple, or several as above.
        concat: States joined to a cell's output, all nodes by default; one tuple, or several as above.
        reduction: `searched`, or `frc` for the fixed reduction cell of GDAS-FRC in both places.
        repeat: Whether a node may read one state twice.

    Example:
        >>> from ramify import spaces
        >>> list(spaces.StageCells().choices)
        ['normal1', 'reduce1', 'normal2', 'reduce2', 'normal3']
    """

    source = "Liu et al., H-DAS, AAAI 2021, arXiv:2101.04028"
    depth = "layers"

    FORM = GENOTYPE3
    STYLE = "nested"
    OPERATIONS = OPERATIONS
    POOL_NORM = (True, True)
    POOL_AFFINE = True

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
        """Return the role and the stage number of a cell; `reduce1` ends the first stage."""
        return f"{ROLES[plan.reduction]}{plan.stage}"
