"""Spaces of cells with two inputs in a row, of which two reduce the resolution: what DARTS and H-DAS share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import nn

from ramify.architecture import Architecture
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import make_operation, standard_norm
from ramify.ops.blocks import Norm
from ramify.spaces.base import check_partial
from ramify.spaces.cell_network import (
    Cell,
    CellNetwork,
    CellPlan,
    CellSupernet,
    FixedReduction,
    Inputs,
    MixedCell,
)
from ramify.spaces.genotype import read_genotype
from ramify.spaces.pairs import PairGraph, PairSpace, pair_graph
from ramify.supernet import FixedGraph, MixedGraph

ROLES = ("normal", "reduce")


class CellSpace(PairSpace):
    """A searched cell for each kind of place in the network.

    Args:
        nodes: Intermediate nodes of a cell; one number, or one for each kind of cell.
        operations: Names in the order that mixing weights use; one tuple, or one for each kind of cell.
        concat: States joined to a cell's output, all nodes by default; one tuple, or one for each kind.
        reduction: `searched`, or `frc` for the fixed reduction cell of GDAS-FRC.
        repeat: Whether a node may read one state twice.
    """

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
        self._graphs = {kind: g for kind, g in graphs.items() if reduction == "searched" or _role(kind) == "normal"}

    def _per_kind(self, name: str, value: Any) -> dict[str, Any]:
        """Return `value` for each kind of cell; a mapping names all kinds, or `normal` and `reduce`."""
        kinds = self.FORM.cells
        if not isinstance(value, Mapping):
            return dict.fromkeys(kinds, value)
        if set(value) == set(kinds):
            return {kind: value[kind] for kind in kinds}
        if set(value) == set(ROLES):
            return {kind: value[_role(kind)] for kind in kinds}
        known = list(ROLES) if set(kinds) == set(ROLES) else f"{list(ROLES)} or {list(kinds)}"
        raise ConfigurationError(f"`{name}` as a mapping needs the keys {known}, got {list(value)}")

    @classmethod
    def covering(cls, genotype: Any) -> Self:
        """Return the instance that contains a genotype, whatever its nodes, concat, operations and repeated reads.

        Whatever agrees with the defaults stays at them.
        """
        cells = read_genotype(genotype, cls.FORM)
        searched = {kind: cell for kind, cell in cells.items() if cell.nodes is not None}
        fixed = cells.keys() - searched.keys()
        if fixed and fixed != {kind for kind in cells if _role(kind) == "reduce"}:
            raise ArchitectureError(f"the reduction cells must be fixed all or none, here only {sorted(fixed)} are")
        reads = [read for cell in searched.values() for node in cell.nodes or () for read in node]
        extra = [op for op in dict.fromkeys(op for op, _ in reads) if op not in cls.OPERATIONS]
        nodes = {kind: len(cell.nodes or ()) or 4 for kind, cell in cells.items()}
        concat = {kind: cell.concat for kind, cell in cells.items()}
        everything = all(concat[kind] == tuple(range(2, count + 2)) for kind, count in nodes.items())
        return cls(
            nodes=next(iter(nodes.values())) if len(set(nodes.values())) == 1 else nodes,
            operations=(*cls.OPERATIONS, *extra),
            concat=None if everything else {kind: list(states) for kind, states in concat.items()},
            reduction="frc" if fixed else "searched",
            repeat=any(a == b for cell in searched.values() for (_, a), (_, b) in cell.nodes or ()),
        )

    @property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """The kinds of cells in groups: those of equal edges and candidates."""
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
        """Two operations enter every node."""
        return "two-inputs"

    @abstractmethod
    def kind_at(self, plan: CellPlan) -> str:
        """Return the kind of the cell at a place of the network."""

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

    def cell_maker(
        self,
        arch: Architecture,
        *,
        drop_path: float = 0.0,
        pool_norm: bool | None = None,
        pool_affine: bool | None = None,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> Callable[[CellPlan], nn.Module]:
        """Return what makes the built cells of a member; the arguments are those of `build`.

        `pool_affine` says whether the norms that follow poolings scale and shift; as in the space's paper when None.
        """
        chosen = self._chosen(self.checked(arch))
        norm = standard_norm(affine, track_running_stats)
        pools = (self.POOL_NORM[0] if pool_norm is None else pool_norm, pool_affine)

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
                candidate=self._candidate(plan, plan.channels, norm, *pools),
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
        """Return the number of channels that the cell at a place puts out."""
        graph: PairGraph | None = self._graphs.get(self.kind_at(plan))
        return (4 if graph is None else len(graph.concat)) * plan.channels

    def build(
        self,
        arch: Architecture,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        layout: str = "cifar",
        channels: int | None = None,
        layers: int | None = None,
        stem_multiplier: int | None = None,
        auxiliary: bool = False,
        drop_path: float = 0.0,
        pool_norm: bool | None = None,
        affine: bool = True,
        track_running_stats: bool = True,
        newer_twice: bool = False,
    ) -> nn.Module:
        """Return the network of a member: images (B, in_channels, H, W) → logits (B, num_classes).

        Args:
            arch: A member.
            num_classes: Width of the classifier.
            in_channels: Of the images.
            layout: `cifar` or `imagenet`.
            channels: C of the first cells; 36, or 48 for ImageNet.
            layers: Number of cells; 20, or 14 for ImageNet.
            stem_multiplier: Width of the stem in units of C; 3, or 1 for ImageNet.
            auxiliary: Whether training also returns the logits of an auxiliary head.
            drop_path: Probability of dropping an operation's output in training.
            pool_norm: Whether a batch norm follows poolings; as in the space's paper when None: DARTS has one in
                supernets only and without scale and shift, H-DAS always and like the others.
            affine: Whether the norms inside the cells scale and shift.
            track_running_stats: Whether the norms inside the cells keep running statistics.
            newer_twice: Whether reducing cells whose two inputs have different widths read the newer one twice.
        """
        return CellNetwork(
            self.cell_maker(
                arch, drop_path=drop_path, pool_norm=pool_norm, affine=affine, track_running_stats=track_running_stats
            ),
            self.width,
            num_classes,
            in_channels,
            layout=layout,
            channels=(48 if layout == "imagenet" else 36) if channels is None else channels,
            layers=(14 if layout == "imagenet" else 20) if layers is None else layers,
            stem_multipliers=_stem(layout, stem_multiplier),
            auxiliary=auxiliary,
            newer_twice=newer_twice,
        )

    def supernet(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        layout: str = "cifar",
        channels: int = 16,
        layers: int = 8,
        stem_multiplier: int | None = None,
        pool_norm: bool | None = None,
        affine: bool = False,
        track_running_stats: bool = False,
        partial_channels: int = 1,
        newer_twice: bool | None = None,
    ) -> nn.Module:
        """Return the network of all members: `sup(x, mix)` with one (E, O) tensor for each kind of cell.

        Of `partial_channels` K, only C/K channels of a state enter the candidates (PC-DARTS). With `newer_twice`,
        reducing cells whose two inputs have different widths read the newer one twice; by default in the ImageNet
        layout, as in the supernets of ABS, where it makes a difference to those of less than six cells.
        """
        newer_twice = layout == "imagenet" if newer_twice is None else newer_twice
        after_poolings = self.POOL_NORM[1] if pool_norm is None else pool_norm
        keywords = {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "layout": layout,
            "channels": channels,
            "layers": layers,
            "stem_multiplier": stem_multiplier,
            "pool_norm": after_poolings,
            "affine": affine,
            "track_running_stats": track_running_stats,
            "partial_channels": partial_channels,
            "newer_twice": newer_twice,
        }
        check_partial(channels, partial_channels)
        norm = standard_norm(affine, track_running_stats)

        def cell(plan: CellPlan) -> nn.Module:
            kind, inputs = self.kind_at(plan), Inputs(plan, norm)
            if kind not in self._graphs:
                return FixedReduction(inputs, plan.channels, norm)
            graph = MixedGraph(
                self.choices[kind],
                2,
                self._candidate(plan, plan.channels // partial_channels, norm, after_poolings),
                stride=1 + plan.reduction,
                partial_channels=partial_channels,
            )
            return MixedCell(kind, inputs, graph, self._graphs[kind].concat)

        supernet = CellSupernet(
            cell,
            self.width,
            num_classes,
            in_channels,
            layout=layout,
            channels=channels,
            layers=layers,
            stem_multipliers=_stem(layout, stem_multiplier),
            newer_twice=newer_twice,
        )
        supernet.choices, supernet.layout = self.choices, keywords
        return supernet


def _role(kind: str) -> str:
    """`normal` or `reduce`: what a kind is called without the number of its stage."""
    return kind.rstrip("123")


def _stem(layout: str, multiplier: int | None) -> tuple[int, int]:
    width = multiplier or (3 if layout == "cifar" else 1)
    return width, width
