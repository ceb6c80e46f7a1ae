"""The cell space of DARTS (Liu, Simonyan & Yang, ICLR 2019, arXiv:1806.09055) and its relatives.

A normal and a reduction cell, each with two inputs and a number of nodes; a node is the sum of two operations on
two earlier states. The same family holds the 12 operations of NASP, the cells of NASNet, PNASNet, ENAS and
AmoebaNet (see `DARTSCells.covering`), and GDAS' search with a fixed reduction cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, combinations_with_replacement, product
from typing import Any, cast

from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import NONE, make_operation, standard_norm
from ramify.ops.operations import check_operation
from ramify.spaces.base import Candidate, CellGraph, Space, check_partial, check_scores
from ramify.spaces.cell_network import (
    Cell,
    CellNetwork,
    CellPlan,
    CellSupernet,
    FixedReduction,
    Inputs,
    MixedCell,
)
from ramify.spaces.genotype import CellGenotype, Read, read_genotype, write_genotype
from ramify.supernet import Choice, FixedGraph, MixedGraph

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
KINDS = ("normal", "reduce")
PerKind = dict[str, Any]


class DARTSCells(Space):
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

    def __init__(
        self,
        nodes: int | dict[str, int] = 4,
        operations: Sequence[str] | dict[str, Sequence[str]] = OPERATIONS,
        concat: Sequence[int] | dict[str, Sequence[int]] | None = None,
        reduction: str = "searched",
        repeat: bool = False,
    ) -> None:
        if reduction not in ("searched", "frc"):
            raise ConfigurationError(f"`reduction` must be 'searched' or 'frc', got {reduction!r}")
        self.nodes, self.operations, self.concat = nodes, operations, concat
        self.reduction, self.repeat = reduction, repeat
        self._nodes = _per_kind("nodes", nodes)
        self._operations = {
            kind: tuple(check_operation(op) for op in ops) for kind, ops in _per_kind("operations", operations).items()
        }
        joined = _per_kind("concat", concat)
        self._concat: dict[str, tuple[int, ...]] = {}
        for kind, count in self._nodes.items():
            if count < 1:
                raise ConfigurationError(f"`nodes` must be at least 1, got {count} for the {kind} cell")
            ops = self._operations[kind]
            if len(set(ops)) < len(ops) or not set(ops) - {NONE}:
                raise ConfigurationError(f"`operations` must be different names, one besides `none`, got {list(ops)}")
            states = tuple(joined[kind] if joined[kind] is not None else range(2, count + 2))
            if not states or sorted(set(states)) != list(states) or not all(2 <= s < count + 2 for s in states):
                raise ConfigurationError(f"`concat` must be ascending states from 2 to {count + 1}, got {list(states)}")
            self._concat[kind] = states
        self._kinds = KINDS if reduction == "searched" else ("normal",)
        self._edges = {kind: self._edges_of(self._nodes[kind]) for kind in self._kinds}

    def _edges_of(self, nodes: int) -> tuple[tuple[int, int], ...]:
        slots = 2 if self.repeat else 1
        targets = range(2, nodes + 2)
        return tuple((source, target) for target in targets for source in range(target) for _ in range(slots))

    @classmethod
    def covering(cls, genotype: Any) -> DARTSCells:
        """Return the instance that contains a genotype, whatever its nodes, concat, operations and repeated reads.

        Whatever agrees with the defaults stays at them, so DARTS genotypes give `DARTSCells()`.
        """
        cells = read_genotype(genotype)
        searched = {kind: cell for kind, cell in cells.items() if cell.nodes is not None}
        reads = [read for cell in searched.values() for node in cell.nodes or () for read in node]
        extra = [op for op in dict.fromkeys(op for op, _ in reads) if op not in OPERATIONS]
        nodes = {kind: len(cell.nodes or ()) or 4 for kind, cell in cells.items()}
        concat = {kind: cell.concat for kind, cell in cells.items()}
        everything = all(concat[kind] == tuple(range(2, nodes[kind] + 2)) for kind in KINDS)
        return cls(
            nodes=nodes["normal"] if len(set(nodes.values())) == 1 else nodes,
            operations=(*OPERATIONS, *extra),
            concat=None if everything else {kind: list(states) for kind, states in concat.items()},
            reduction="searched" if len(searched) == 2 else "frc",
            repeat=any(a == b for cell in searched.values() for (_, a), (_, b) in cell.nodes or ()),
        )

    def _all_choices(self) -> dict[str, Choice]:
        return {kind: Choice(self._edges[kind], self._operations[kind]) for kind in self._kinds}

    def _all_decisions(self) -> list[Decision]:
        return [
            Decision(f"{kind}.{state}", self._pairs(kind, state))
            for kind in self._kinds
            for state in range(2, self._nodes[kind] + 2)
        ]

    def _pairs(self, kind: str, state: int) -> tuple[Value, ...]:
        """All ways for a node to read two states, each written in canonical order."""
        ops = [op for op in self._operations[kind] if op != NONE]
        pairs = [
            ((first, a), (second, b))
            for a, b in combinations(range(state), 2)
            for first, second in product(ops, repeat=2)
        ]
        if self.repeat:
            twice = combinations_with_replacement(ops, 2)
            pairs += [((first, a), (second, a)) for first, second in twice for a in range(state)]
        return tuple(pairs)

    def _canonical(self, kind: str, reads: Iterable[Read]) -> tuple[Read, ...]:
        ops = self._operations[kind]
        return tuple(sorted(reads, key=lambda read: (read[1], ops.index(read[0]))))

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the two candidates that a node's pair of reads uses; a repeated state takes its second edge."""
        kind, state = self._node(decision)
        (first, a), (second, b) = cast(tuple[Read, Read], value)
        ops = self._operations[kind]
        return [
            (kind, self._edge(state, a, 0), ops.index(first)),
            (kind, self._edge(state, b, int(a == b)), ops.index(second)),
        ]

    @staticmethod
    def _node(decision: str) -> tuple[str, int]:
        kind, _, state = decision.partition(".")
        return kind, int(state)

    def _edge(self, target: int, source: Any, slot: int) -> int:
        """Index of an edge: nodes in order, sources in order, slots in order."""
        slots = 2 if self.repeat else 1
        before = (target * (target - 1) - 2) // 2
        return slots * (before + int(source)) + slot

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Keep for every node the two edges whose best operation besides `none` scores highest (DARTS, section 2.4).

        Give softmax weights for the rule as published: `none` then takes part in the denominator.
        """
        check_scores(scores, self.choices)
        values: dict[str, Value] = {}
        for decision in self.decisions:
            kind, state = self._node(decision.name)
            strength = self._strength(scores[kind].detach().cpu(), kind, state)
            values[decision.name] = max(decision.choices, key=strength)  # the first of equals
        return self.architecture(values)

    def _strength(self, scores: Tensor, kind: str, state: int) -> Callable[[Value], list[float]]:
        """Return what ranks the pairs of a node: the score of the stronger read, then that of the weaker one.

        The slots of a state that may be read twice are interchangeable, so the better assignment counts.
        """
        choice = self.choices[kind]
        table = scores.double().masked_fill(~choice.mask, float("-inf")).tolist()
        position = {op: index for index, op in enumerate(choice.ops)}
        edges = [[e for e in choice.incoming(state) if choice.edges[e][0] == source] for source in range(state)]

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
        """Read a genotype: flat or nested JSON (text or object), or `Genotype(...)` text.

        Raises:
            ArchitectureError: Saying what is wrong at which node.
        """
        cells = read_genotype(notation)
        values: dict[str, Value] = {}
        for kind, cell in cells.items():
            if (cell.nodes is None) != (kind not in self._kinds):
                wanted = "a fixed" if kind not in self._kinds else "a searched"
                raise ArchitectureError(f"{kind}: this space has {wanted} reduction cell; see DARTSCells.covering")
            if cell.nodes is None:
                continue
            self._check_cell(kind, cell)
            for state, reads in enumerate(cell.nodes, start=2):
                values[f"{kind}.{state}"] = self._canonical(kind, reads)
        return self.architecture(values)

    def _check_cell(self, kind: str, cell: CellGenotype) -> None:
        assert cell.nodes is not None
        advice = "DARTSCells.covering(genotype) gives a space that contains it"
        if len(cell.nodes) != self._nodes[kind]:
            raise ArchitectureError(f"{kind} has {len(cell.nodes)} nodes, this space has {self._nodes[kind]}; {advice}")
        if cell.concat != self._concat[kind]:
            raise ArchitectureError(
                f"{kind}_concat is {list(cell.concat)}, this space joins {list(self._concat[kind])}; {advice}"
            )
        for state, ((first, a), (second, b)) in enumerate(cell.nodes, start=2):
            for op in (first, second):
                if op not in self._operations[kind]:
                    known = list(self._operations[kind])
                    raise ArchitectureError(f"{kind}, state {state}: {op!r} is not among {known}; {advice}")
            if a == b and not self.repeat:
                raise ArchitectureError(f"{kind}, state {state} reads state {a} twice; {advice}")

    def genotype(self, arch: Architecture) -> dict[str, CellGenotype]:
        """Return the cells of a member."""
        self.checked(arch)
        cells = {}
        for kind in KINDS:
            nodes = None
            if kind in self._kinds:
                nodes = tuple(arch[f"{kind}.{state}"] for state in range(2, self._nodes[kind] + 2))
            cells[kind] = CellGenotype(nodes, self._concat[kind])  # type: ignore[arg-type]
        return cells

    def format(self, arch: Architecture, style: str = "flat") -> Any:
        """Write a genotype as `flat` (the default) or `nested` JSON values, or as `text`."""
        return write_genotype(self.genotype(arch), style=style)

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the pictures of the searched cells."""
        pictures = {}
        for kind in self._kinds:
            output = self._nodes[kind] + 2
            labels = ("input k−2", "input k−1", *map(str, range(self._nodes[kind])), "output")
            reads = tuple(
                (source, state, op)
                for state in range(2, output)
                for op, source in cast(tuple[Read, Read], arch[f"{kind}.{state}"])
            )
            joins = tuple((state, output, "") for state in self._concat[kind])
            pictures[kind] = CellGraph(labels, reads + joins, inputs=(0, 1), output=output)
        return pictures

    # Networks

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
        pool_norm: bool = False,
        affine: bool = True,
        track_running_stats: bool = True,
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
            pool_norm: Whether a batch norm without scale and shift follows poolings.
            affine: Whether the norms inside the cells scale and shift.
            track_running_stats: Whether the norms inside the cells keep running statistics.
        """
        genotype = self.genotype(arch)
        norm = standard_norm(affine, track_running_stats)
        chosen: dict[str, list[tuple[int, str]]] = {kind: [] for kind in self._kinds}
        for decision in arch:
            for kind, edge, op in self.candidates(decision, arch[decision]):
                chosen[kind].append((edge, self._operations[kind][op]))

        def cell(plan: CellPlan) -> nn.Module:
            kind = KINDS[plan.reduction]
            stride = 1 + plan.reduction
            inputs = Inputs(plan, norm)
            if genotype[kind].nodes is None:
                return FixedReduction(inputs, plan.channels, norm, drop_path)
            graph = FixedGraph(
                self._edges[kind],
                chosen[kind],
                inputs=2,
                states=self._nodes[kind] + 2,
                candidate=lambda source, op: make_operation(
                    op, plan.channels, stride if source < 2 else 1, norm, pool_norm=pool_norm
                ),
                stride=stride,
                drop_path=drop_path,
            )
            return Cell(inputs, graph, self._concat[kind])

        return CellNetwork(
            cell,
            self._width,
            num_classes,
            in_channels,
            layout=layout,
            channels=(48 if layout == "imagenet" else 36) if channels is None else channels,
            layers=(14 if layout == "imagenet" else 20) if layers is None else layers,
            stem_multiplier=stem_multiplier,
            auxiliary=auxiliary,
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
        pool_norm: bool = True,
        affine: bool = False,
        track_running_stats: bool = False,
        partial_channels: int = 1,
    ) -> nn.Module:
        """Return the network of all members: `sup(x, mix)` with one (E, O) tensor for each kind of cell.

        Of `partial_channels` K, only C/K channels of a state enter the candidates (PC-DARTS).
        """
        keywords = {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "layout": layout,
            "channels": channels,
            "layers": layers,
            "stem_multiplier": stem_multiplier,
            "pool_norm": pool_norm,
            "affine": affine,
            "track_running_stats": track_running_stats,
            "partial_channels": partial_channels,
        }
        check_partial(channels, partial_channels)
        norm = standard_norm(affine, track_running_stats)

        def cell(plan: CellPlan) -> nn.Module:
            kind = KINDS[plan.reduction]
            stride = 1 + plan.reduction
            inputs = Inputs(plan, norm)
            if kind not in self._kinds:
                return FixedReduction(inputs, plan.channels, norm)
            graph = MixedGraph(
                self.choices[kind],
                2,
                lambda source, op: make_operation(
                    op, plan.channels // partial_channels, stride if source < 2 else 1, norm, pool_norm=pool_norm
                ),
                stride=stride,
                partial_channels=partial_channels,
            )
            return MixedCell(kind, inputs, graph, self._concat[kind])

        supernet = CellSupernet(
            cell,
            self._width,
            num_classes,
            in_channels,
            layout=layout,
            channels=channels,
            layers=layers,
            stem_multiplier=stem_multiplier,
        )
        supernet.choices, supernet.layout = self.choices, keywords
        return supernet

    def _width(self, plan: CellPlan) -> int:
        kind = KINDS[plan.reduction]
        joined = len(self._concat[kind]) if kind in self._kinds else 4
        return joined * plan.channels


def _per_kind(name: str, value: Any) -> PerKind:
    """Return `value` for each kind of cell; a mapping must name both kinds."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(KINDS, value)
    if set(value) != set(KINDS):
        raise ConfigurationError(f"`{name}` as a mapping needs the keys {list(KINDS)}, got {list(value)}")
    return dict(value)
