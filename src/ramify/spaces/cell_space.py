"""Spaces of stacked two-input cells, two of which reduce the resolution: what DARTS and H-DAS share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, cast

from torch import nn

from ramify.architecture import Architecture
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import make_operation
from ramify.ops.blocks import Norm
from ramify.spaces.bounds import MOST_LAYERS, check_partial
from ramify.spaces.cell_network import (
    IMAGENET,
    Cell,
    CellNetwork,
    CellPlan,
    CellSupernet,
    FixedReduction,
    Inputs,
    MixedCell,
)
from ramify.spaces.forms import ROLES
from ramify.spaces.genotype import read_genotype
from ramify.spaces.layout import Kind, NormedLayout, keyword
from ramify.spaces.pairs import PairGraph, PairSpace, pair_graph
from ramify.supernet import FixedGraph, MixedGraph


class CellSpace(PairSpace):
    """A searched cell for each kind of position in the network.

    Args:
        nodes: Intermediate nodes of a cell; one number, or one for each kind of cell.
        operations: Names in the order that mixing weights use; one tuple, or one for each kind of cell.
        concat: States joined to a cell's output, all nodes by default; one tuple, or one for each kind.
        reduction: `searched`, or `frc` for the fixed reduction cell of GDAS-FRC.
        repeat: Whether a node may read one state twice.
    """

    @dataclass(frozen=True, kw_only=True)
    class Layout(NormedLayout):
        """How the networks are laid out: a stem, a row of cells of which two reduce the resolution, a classifier.

        Args:
            layout: The stem: one convolution for `cifar`, three of stride 2 for `imagenet`.
            channels: C of the first cells. None: 36 in built networks, or 48 for ImageNet; 16 in supernets.
            layers: Number of cells. None: 20 in built networks, or 14 for ImageNet; 8 in supernets.
            stem_multiplier: Width of the stem in units of C. None: 3, or 1 for ImageNet.
            pool_norm: Whether a batch norm follows poolings. None: as in the space's paper; DARTS has one in supernets
                only and without scale and shift, H-DAS always and like the others.
            affine: Whether the norms inside the cells scale and shift. None: in built networks, but not in supernets.
            track_running_stats: Whether the norms inside the cells keep running statistics. None: as for `affine`.
            checkpoint_cells: Whether training computes cells twice instead of keeping what lies inside them: the same
                numbers in less memory and more time.
            newer_twice: Whether reducing cells whose two inputs have different widths read the newer one twice. None:
                in supernets for ImageNet, as in those of ABS, where it matters to networks of less than six cells.
            final_norm: Whether a batch norm and a ReLU precede the pooling, as in AutoDL-Projects' newer networks.
            auxiliary: Whether training also returns the logits of an auxiliary head; of built networks.
            drop_path: Probability of dropping an operation's output in training; of built networks.
            partial_channels: K, where only C/K channels of a state enter the candidates (PC-DARTS); of supernets.
        """

        layout: Literal["cifar", "imagenet"] = "cifar"
        channels: int | None = None
        layers: int | None = keyword(most=MOST_LAYERS)
        stem_multiplier: int | None = None
        pool_norm: bool | None = keyword(apart=True)
        newer_twice: bool | None = keyword(apart=True)
        final_norm: bool = False
        auxiliary: bool = keyword(False, only="member")
        drop_path: float = keyword(0.0, only="member")
        partial_channels: int = keyword(1, only="supernet")

    INPUTS = ("input k−2", "input k−1")
    depth = "layers"

    OPERATIONS: ClassVar[tuple[str, ...]]
    """The default operations."""

    POOL_NORM: ClassVar[tuple[bool, bool]]
    """Whether a batch norm follows poolings, in built networks and in supernets."""

    POOL_AFFINE: ClassVar[bool]
    """Whether that one scales and shifts where the others do."""

    def __init__(
        self,
        nodes: int | dict[str, int],
        operations: Sequence[str] | dict[str, Sequence[str]],
        concat: Sequence[int] | dict[str, Sequence[int]] | None,
        reduction: str,
        repeat: bool,
    ) -> None:
        if reduction not in ("searched", "frc"):
            raise ConfigurationError(f"`reduction` must be 'searched' or 'frc', got {reduction!r}")
        self.nodes, self.operations, self.concat = nodes, operations, concat
        self.reduction, self.repeat = reduction, repeat
        count, ops, joined = (
            self._per_kind(name, value)
            for name, value in (("nodes", nodes), ("operations", operations), ("concat", concat))
        )
        graphs = {
            kind: pair_graph(
                f"the {kind} cell",
                count[kind],
                ops[kind],
                range(2, count[kind] + 2) if joined[kind] is None else joined[kind],
                repeat=repeat,
            )
            for kind in self.FORM.cells
        }
        self._graphs = {
            kind: g for kind, g in graphs.items() if reduction == "searched" or self.FORM.role(kind) == "normal"
        }

    def _per_kind(self, name: str, value: Any) -> dict[str, Any]:
        """Return `value` for each kind of cell; a mapping names all kinds, or `normal` and `reduce`."""
        kinds = self.FORM.cells
        if not isinstance(value, Mapping):
            return dict.fromkeys(kinds, value)
        if set(value) == set(kinds):
            return {kind: value[kind] for kind in kinds}
        if set(value) == set(ROLES):
            return {kind: value[self.FORM.role(kind)] for kind in kinds}
        keys = list(ROLES) if set(kinds) == set(ROLES) else f"{list(ROLES)} or {list(kinds)}"
        raise ConfigurationError(f"`{name}` as a mapping needs the keys {keys}, got {list(value)}")

    @classmethod
    def covering(cls, genotype: Any) -> Self:
        """Return the instance that contains a genotype, whatever its nodes, concat, operations and repeated inputs.

        Whatever agrees with the defaults stays at them.
        """
        cells = read_genotype(genotype, cls.FORM)
        searched = {kind: cell for kind, cell in cells.items() if cell.nodes is not None}
        fixed = cells.keys() - searched.keys()
        if fixed and fixed != {kind for kind in cells if cls.FORM.role(kind) == "reduce"}:
            raise ArchitectureError(f"the reduction cells must be fixed all or none, here only {sorted(fixed)} are")
        reads = [read for cell in searched.values() for node in cell.nodes or () for read in node]
        extra = [op for op in dict.fromkeys(op for op, _ in reads) if op not in cls.OPERATIONS]
        nodes = {kind: len(cell.nodes or ()) or 4 for kind, cell in cells.items()}
        concat = {kind: cell.concat for kind, cell in cells.items()}
        is_default = all(concat[kind] == tuple(range(2, count + 2)) for kind, count in nodes.items())
        return cls(
            nodes=next(iter(nodes.values())) if len(set(nodes.values())) == 1 else nodes,
            operations=(*cls.OPERATIONS, *extra),
            concat=None if is_default else {kind: list(states) for kind, states in concat.items()},
            reduction="frc" if fixed else "searched",
            repeat=any(a == b for cell in searched.values() for (_, a), (_, b) in cell.nodes or ()),
        )

    @property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """Groups of the kinds of cells with equal edges and candidates."""
        groups: list[list[str]] = []
        for name, choice in self.choices.items():
            for group in groups:
                if self.choices[group[0]].equals(choice):
                    group.append(name)
                    break
            else:
                groups.append([name])
        return tuple(map(tuple, groups))

    @property
    def drawing(self) -> str:
        """ABS samples children with two operations into every node."""
        return "two-inputs"

    @abstractmethod
    def kind_at(self, plan: CellPlan) -> str:
        """Return the kind of the cell at a position of the network."""

    def _key(self, kind: str) -> str:
        return kind

    def _advice(self) -> str:
        return f"{self.name}.covering(genotype) gives a space that contains it"

    def parse(self, notation: Any) -> Architecture:
        """Read a genotype: flat or nested JSON (text or object), or the text that papers print.

        Raises:
            ArchitectureError: Saying what is wrong at which node.
        """
        for kind, cell in read_genotype(notation, self.FORM).items():
            if (cell.nodes is None) != (kind not in self._graphs):
                wanted = "a fixed" if kind not in self._graphs else "a searched"
                raise ArchitectureError(f"{kind}: this space has {wanted} reduction cell; see {self.name}.covering")
        return super().parse(notation)

    # Networks

    def _defaults(self, layout: Layout, kind: Kind) -> Mapping[str, Any]:
        supernet, large = kind == "supernet", layout.layout == IMAGENET
        return {
            "channels": 16 if supernet else 48 if large else 36,
            "layers": 8 if supernet else 14 if large else 20,
            "stem_multiplier": 1 if large else 3,
            "pool_norm": self.POOL_NORM[supernet],
            "newer_twice": supernet and large,
        }

    def cell_maker(
        self,
        arch: Architecture,
        *,
        norm: Norm,
        pool_norm: bool,
        pool_affine: bool | None = None,
        drop_path: float = 0.0,
    ) -> Callable[[CellPlan], nn.Module]:
        """Return the factory of a member's built cells.

        Args:
            arch: The member.
            norm: Maker of the norms inside the cells.
            pool_norm: Whether one follows poolings.
            pool_affine: Whether that one scales and shifts; as in the space's paper when None.
            drop_path: Probability of dropping an operation's output in training.
        """
        chosen = self._chosen(self.checked(arch))

        def cell(plan: CellPlan) -> nn.Module:
            kind, inputs = self.kind_at(plan), Inputs(plan, norm)
            if kind not in self._graphs:
                return FixedReduction(inputs, plan.channels, norm, drop_path)
            graph = self._graphs[kind]
            built = FixedGraph(
                graph.edges,
                chosen[kind],
                inputs=2,
                states=graph.nodes + 2,
                candidate=self._candidate(plan, plan.channels, norm, pool_norm, pool_affine),
                stride=1 + plan.reduction,
                drop_path=drop_path,
            )
            return Cell(inputs, built, graph.concat)

        return cell

    def _candidate(
        self, plan: CellPlan, channels: int, norm: Norm, pool_norm: bool, pool_affine: bool | None = None
    ) -> Callable[[int, str], Any]:
        pool_affine = self.POOL_AFFINE if pool_affine is None else pool_affine

        def make(source: int, op: str) -> nn.Module:
            stride = 2 if plan.reduction and source < 2 else 1
            return make_operation(op, channels, stride, norm, pool_norm=pool_norm, pool_affine=pool_affine)

        return make

    def width(self, plan: CellPlan) -> int:
        """Return the number of output channels of the cell at a position."""
        graph: PairGraph | None = self._graphs.get(self.kind_at(plan))
        return (4 if graph is None else len(graph.concat)) * plan.channels

    def _build(self, arch: Architecture, layout: Layout, shape: Mapping[str, int]) -> CellNetwork:
        pool_norm = bool(layout.pool_norm)
        maker = self.cell_maker(arch, norm=layout.norm, pool_norm=pool_norm, drop_path=layout.drop_path)
        return CellNetwork(maker, self.width, **_skeleton(layout, shape), auxiliary=layout.auxiliary)

    def _supernet(self, layout: Layout, shape: Mapping[str, int]) -> CellSupernet:
        norm, parts, pool_norm = layout.norm, layout.partial_channels, bool(layout.pool_norm)
        check_partial(cast(int, layout.channels), parts)

        def cell(plan: CellPlan) -> nn.Module:
            kind, inputs = self.kind_at(plan), Inputs(plan, norm)
            if kind not in self._graphs:
                return FixedReduction(inputs, plan.channels, norm)
            graph = MixedGraph(
                self.choices[kind],
                2,
                self._candidate(plan, plan.channels // parts, norm, pool_norm),
                stride=1 + plan.reduction,
                partial_channels=parts,
            )
            return MixedCell(kind, inputs, graph, self._graphs[kind].concat)

        return CellSupernet(cell, self.width, **_skeleton(layout, shape))


def _skeleton(layout: CellSpace.Layout, shape: Mapping[str, int]) -> dict[str, Any]:
    return {
        "num_classes": shape["num_classes"],
        "in_channels": shape["in_channels"],
        "layout": layout.layout,
        "channels": layout.channels,
        "layers": layout.layers,
        "stem_multipliers": (layout.stem_multiplier, layout.stem_multiplier),
        "newer_twice": layout.newer_twice,
        "final_norm": layout.final_norm,
    }
