"""The graph of cells inside each stage: the stage level of H-DAS (Liu et al., AAAI 2021, arXiv:2101.04028).

The cells are given; searched is how the n cells of each of the three stages are wired. A stage is a graph like a cell
one level up: its states 0 and 1 are two projections of what enters it, node i is a cell that reads the sum of two
poolings or skips of earlier states with both of its inputs, and the latest states are joined to the stage's output. A
node sees the latest three states only (the window). Between stages stands the reduction cell.

Where the released program differs: it ties cells to four joined states, 6 or 4 cells to a stage, and one pair of cells
to the network; here all of these are free. It counts every cell several times in its state, and always runs the
auxiliary head; here neither. Cells that nothing reads are left out unless `prune_dead=False`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture, Value
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import NONE, SKIP, make_operation, standard_norm
from ramify.ops.blocks import Norm
from ramify.ops.weights import count_weights
from ramify.spaces.base import Regularizer
from ramify.spaces.bounds import MOST_CELLS, MOST_NODES, check_most, check_partial
from ramify.spaces.cell_network import IMAGENET, Cell, CellNetwork, CellPlan, CellSkeleton, Inputs, MixedCell
from ramify.spaces.cell_space import CellSpace
from ramify.spaces.darts import DARTSCells
from ramify.spaces.forms import GENOTYPE, GENOTYPE2
from ramify.spaces.genotype import Read, form_of, read_genotype
from ramify.spaces.layout import Kind, NormedLayout, keyword
from ramify.spaces.notation import read
from ramify.spaces.pairs import PairSpace, pair_graph
from ramify.spaces.stage_cells import StageCells
from ramify.supernet import FixedGraph, MixedGraph, Supernet, needed_states
from ramify.wording import listing

OPERATIONS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "none")
STAGES = ("stage1", "stage2", "stage3")
_KEYS = dict(zip(STAGES, GENOTYPE2.cells, strict=True))
"""A stage's key in the notation."""

DARTS_V2: dict[str, Any] = {
    "normal": [
        *(["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ["sep_conv_3x3", 0], ["sep_conv_3x3", 1]),
        *(["skip_connect", 0], ["sep_conv_3x3", 1], ["skip_connect", 0], ["dil_conv_3x3", 2]),
    ],
    "normal_concat": [2, 3, 4, 5],
    "reduce": [
        *(["max_pool_3x3", 0], ["max_pool_3x3", 1], ["max_pool_3x3", 1], ["skip_connect", 2]),
        *(["max_pool_3x3", 0], ["skip_connect", 2], ["max_pool_3x3", 1], ["skip_connect", 2]),
    ],
    "reduce_concat": [2, 3, 4, 5],
}
"""The cells of the default space."""


class StageGraph(PairSpace):
    """The wiring of the cells of three stages: (9·27⁵)³ members by default.

    Args:
        cell: The cells: a genotype of a normal and a reduction cell or of stage-specific ones, in any notation, or an
            architecture of `DARTSCells` or `StageCells`. DARTS_V2 by default.
        cells: Cells of a stage; one number, or one for each stage.
        window: How many of the latest states a cell may read.
        concat: States joined to a stage's output, the two latest by default; one list, or one for each stage by name.
        operations: Poolings and skips, in the order that mixing weights use.
        repeat: Whether a cell may read one state twice.

    Example:
        >>> from ramify import spaces
        >>> spaces.StageGraph(cells=4).size == (9 * 27**3) ** 3
        True
    """

    @dataclass(frozen=True, kw_only=True)
    class Layout(NormedLayout):
        """How the networks are laid out: a stem, three stages with a reduction cell between them, a classifier.

        Args:
            layout: The stem: one convolution for `cifar`, three of stride 2 for `imagenet`.
            channels: C of the cells of the first stage. None: 36 in built networks, or 39 for ImageNet; 16 in
                supernets.
            stem_multiplier: Width of the stem in units of C.
            affine: Whether the norms of projections and poolings scale and shift; those of the cells do always. None:
                in built networks, but not in supernets.
            track_running_stats: Whether all of these keep running statistics. None: as for `affine`.
            checkpoint_cells: Whether training computes cells twice instead of keeping what lies inside them: the same
                numbers in less memory and more time.
            auxiliary: Whether training also returns the logits of an auxiliary head on the input of the third stage; of
                built networks.
            drop_path: Probability of dropping an operation's output in training; of built networks.
            prune_dead: Whether cells that nothing reads are left out; the released program builds and runs them. Of
                built networks.
            partial_channels: K, where only 1/K of a state's channels enter the candidates (PC-DARTS); of supernets.
        """

        layout: Literal["cifar", "imagenet"] = "cifar"
        channels: int | None = None
        stem_multiplier: int = 4
        auxiliary: bool = keyword(False, only="member")
        drop_path: float = keyword(0.0, only="member")
        prune_dead: bool = keyword(True, only="member")
        partial_channels: int = keyword(1, only="supernet")

    source = "Liu et al., H-DAS, AAAI 2021, arXiv:2101.04028"
    additive = False

    FORM = GENOTYPE2
    STYLE = "nested"
    INPUTS = ("input 0", "input 1")
    NODE = "cell {}"

    def __init__(
        self,
        cell: Any = DARTS_V2,
        cells: int | Sequence[int] = 6,
        window: int = 3,
        concat: Sequence[int] | dict[str, Sequence[int]] | None = None,
        operations: Sequence[str] = OPERATIONS,
        repeat: bool = False,
    ) -> None:
        self._cell_space, self._cell_arch = fixed_cells(cell)
        self.cell = self._cell_space.format(self._cell_arch)
        counts = [cells] * len(STAGES) if isinstance(cells, int) else list(cells)
        if len(counts) != len(STAGES) or any(type(count) is not int or count < 1 for count in counts):
            raise ConfigurationError(f"`cells` must be a number from 1, or one for each of 3 stages, got {cells!r}")
        check_most("cells", max(counts), MOST_CELLS)
        if type(window) is not int or window < 2:
            raise ConfigurationError(f"`window` must be at least 2, got {window!r}")
        check_most("window", window, MOST_NODES)
        if weighty := [op for op in operations if count_weights(op)]:
            raise ConfigurationError(f"`operations` of a stage graph are poolings and skips, {weighty} have weights")
        if isinstance(concat, Mapping) and set(concat) != set(STAGES):
            raise ConfigurationError(f"`concat` as a mapping needs the keys {list(STAGES)}, got {list(concat)}")
        default = {stage: list(GENOTYPE2.default_concat(n)) for stage, n in zip(STAGES, counts, strict=True)}
        if concat is None:
            joined = default
        else:
            joined = {stage: list(concat[stage] if isinstance(concat, Mapping) else concat) for stage in STAGES}
        self._graphs = {
            stage: pair_graph(
                f"the cells of {stage}", count, operations, joined[stage], window=window, repeat=repeat, most=MOST_CELLS
            )
            for stage, count in zip(STAGES, counts, strict=True)
        }
        # one way to write each space down
        self.cells = counts[0] if len(set(counts)) == 1 else counts
        self.concat = None if joined == default else joined
        self.window, self.operations, self.repeat = window, tuple(operations), repeat

    @classmethod
    def covering(cls, dag: Any, cell: Any = None) -> Self:
        """Return the instance that contains the graphs `dag`, whatever their lengths, concatenated states and sources.

        `cell` is as for the constructor; by default the cells that the notation itself holds, else DARTS_V2.
        """
        own, dag = _split(dag)
        graphs = read_genotype(dag, GENOTYPE2)
        nodes = [graph.nodes or () for graph in graphs.values()]
        reads = [(state, *node) for graph in nodes for state, node in enumerate(graph, start=2)]
        used = dict.fromkeys(op for _, *node in reads for op, _ in node)
        if weighty := [op for op in used if count_weights(op)]:
            raise ArchitectureError(f"a stage graph holds poolings and skips only, got {weighty}")
        return cls(
            cell=next(kind for kind in (cell, own, DARTS_V2) if kind is not None),
            cells=[len(graph) for graph in nodes],
            window=max(3, *(state - source for state, *node in reads for _, source in node)),
            concat={stage: graph.concat for stage, graph in zip(STAGES, graphs.values(), strict=True)},
            operations=(*OPERATIONS, *(op for op in used if op not in OPERATIONS)),
            repeat=any(a == b for _, (_, a), (_, b) in reads),
        )

    def _key(self, kind: str) -> str:
        return _KEYS[kind]

    def _advice(self) -> str:
        return f"{self.name}.covering(dag) gives a space that contains it"

    def parse(self, notation: Any) -> Architecture:
        """Read the graphs of three stages: flat or nested JSON (text or object), or `Genotype2(...)` text.

        An object with the keys `genotype` and `DAG` holds the cells as well; they must be those of the space.

        Raises:
            ArchitectureError: Saying what is wrong at which node.
        """
        own, dag = _split(notation)
        if own is not None:
            space, arch = fixed_cells(own)
            if space.format(arch) != self.cell:
                raise ArchitectureError(f"genotype: these are not the cells of this space; {self._advice()}")
        return super().parse(dag)

    def format(self, arch: Architecture, style: str | None = None) -> Any:
        """Write the graphs as `flat` or `nested` (the default) JSON values, or as `text`.

        JSON holds the cells as well where they are not those of the default space, so that it says all.
        """
        written = super().format(arch, style)
        if isinstance(written, str) or self.cell == DARTS_V2:
            return written
        return {"genotype": self.cell, "DAG": written}

    def _check_reads(self, kind: str, nodes: Sequence[tuple[Read, Read]]) -> None:
        for state, reads in enumerate(nodes, start=2):
            for op, _ in reads:
                if count_weights(op):
                    names = list(self._graphs[kind].operations)
                    raise ArchitectureError(
                        f"{self._key(kind)}, state {state}: {op!r} has weights; a stage graph takes {names}"
                    )
        super()._check_reads(kind, nodes)

    # Baselines

    def chain(self, operation: str = SKIP) -> Architecture:
        """Return the member in which every cell reads the two latest states: a plain stack of cells."""
        return self.architecture(self._wired(lambda state: ((operation, state - 2), (operation, state - 1))))

    def all_skip(self, arch: Architecture) -> Architecture:
        """Return the member with the sources of `arch` and skip connections for its operations."""
        self.checked(arch)
        values = {
            name: tuple((SKIP, read[1]) for read in value) if isinstance(value, tuple) else value
            for name, value in arch.choices.items()
        }
        return self.architecture(values)

    def shared(self, arch: Architecture, stage: int = 1) -> Architecture:
        """Return the member with the graph of one stage (1, 2 or 3) of `arch` in all three.

        Raises:
            ArchitectureError: If the stages do not have the same number of cells.
        """
        self.checked(arch)
        if isinstance(self.cells, list) or stage not in (1, 2, 3):
            raise ArchitectureError(f"stages of {self.cells} cells cannot share the graph of stage {stage}")
        names = {decision.place: decision.name for decision in self.decisions}
        kind = STAGES[stage - 1]
        return self.architecture({name: arch[names[place._replace(kind=kind)]] for place, name in names.items()})

    def _wired(self, reads: Callable[[int], Value]) -> dict[str, Value]:
        return {f"{stage}.{state}": reads(state) for stage, graph in self._graphs.items() for state in graph.states}

    # Depth

    def depths(self, scores: Mapping[str, Tensor], *, none: bool = True) -> Tensor:
        """Return the depths of the stages, (3,): mean depth of the cells, each summed over operations.

        A state is as deep as the mean over its edges of α·(1 + depth of the source), for every operation by itself;
        inputs have depth 0 (the depth loss of the released stage search).

        Args:
            scores: Raw architecture parameters α (E, O) of every choice.
            none: Whether the column of `none` counts, as in the released program.
        """
        return torch.stack([self._depth(stage, scores[stage], none) for stage in STAGES])

    def _depth(self, stage: str, alpha: Tensor, none: bool) -> Tensor:
        choice = self.choices[stage]
        counted = choice.mask.clone()
        if not none and NONE in choice.ops:
            counted[:, choice.ops.index(NONE)] = False
        alpha = alpha * counted.to(alpha)
        depths = {state: alpha.new_zeros(len(choice.ops)) for state in (0, 1)}
        for state in self._graphs[stage].states:
            terms = [alpha[edge] * (depths[choice.edges[edge][0]] + 1) for edge in choice.incoming(state)]
            depths[state] = torch.stack(terms).mean(dim=0)
        return torch.stack([depths[state] for state in self._graphs[stage].states]).sum(dim=1).mean()

    def depth_loss(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Return minus the sum of the stages' depths, for raw architecture parameters: L_depth of the paper."""
        return -self.depths(scores).sum()

    @property
    def regularizers(self) -> Mapping[str, Regularizer]:
        """`depth`, with weight 1 in the released stage search."""
        return {"depth": self.depth_loss}

    # Networks

    def _defaults(self, layout: Layout, kind: Kind) -> Mapping[str, Any]:
        return {"channels": 16 if kind == "supernet" else 39 if layout.layout == IMAGENET else 36}

    def _build(self, arch: Architecture, layout: Layout, shape: Mapping[str, int]) -> CellNetwork:
        chosen = self._chosen(arch)
        norm = layout.norm

        def stage(plan: CellPlan, inputs: Inputs, width: int, node: Callable[[int], nn.Module]) -> nn.Module:
            kind = f"stage{plan.stage}"
            graph, concat = self._graphs[kind], self._joined(arch, kind)
            live = needed_states(concat, (graph.edges[edge] for edge, _ in chosen[kind]))
            built = FixedGraph(
                graph.edges,
                chosen[kind],
                inputs=2,
                states=graph.nodes + 2,
                candidate=_candidate(width, norm),
                drop_path=layout.drop_path,
                node=node,
                live=live if layout.prune_dead else None,
            )
            return Cell(inputs, built, concat)

        places = self._places(norm, layout, stage)
        return CellNetwork(places, self._width, **_skeleton(layout, shape), auxiliary=layout.auxiliary)

    def _supernet(self, layout: Layout, shape: Mapping[str, int]) -> _StageSupernet:
        norm, parts = layout.norm, layout.partial_channels

        def stage(plan: CellPlan, inputs: Inputs, width: int, node: Callable[[int], nn.Module]) -> nn.Module:
            check_partial(width, parts, f"the width of stage {plan.stage}")
            kind = f"stage{plan.stage}"
            candidate = _candidate(width // parts, norm)
            graph = MixedGraph(self.choices[kind], 2, candidate, partial_channels=parts, node=node)
            return self._mixed_stage(kind, inputs, graph)

        return _StageSupernet(self._places(norm, layout, stage), self._width, **_skeleton(layout, shape))

    def parts(self, arch: Architecture) -> list[Hashable]:
        """Return the used cells and poolings, by their stage."""
        parts: list[Hashable] = []
        for stage in STAGES:
            cells, poolings = self.read_parts(arch, stage, self._joined(arch, stage))
            parts += [(stage, "cell")] * cells + [(stage, "pooling")] * poolings
        return parts

    def read_parts(self, arch: Architecture, stage: str, joined: tuple[int, ...]) -> tuple[int, int]:
        """Return the numbers of used cells and of poolings in a stage with these concatenated states."""
        graph = self._graphs[stage]
        reads = [(state, *read) for state in graph.states for read in cast(tuple[Read, Read], arch[f"{stage}.{state}"])]
        live = needed_states(joined, ((source, state) for state, _, source in reads))
        return len(live - {0, 1}), sum(state in live and op != SKIP for state, op, _ in reads)

    def _joined(self, arch: Architecture, stage: str) -> tuple[int, ...]:
        """Return the states that are joined to the output of a stage of a member."""
        return self._graphs[stage].concat

    def _mixed_stage(self, stage: str, inputs: Inputs, graph: MixedGraph) -> nn.Module:
        return MixedCell(stage, inputs, graph, self._graphs[stage].concat)

    def _places(
        self,
        norm: Norm,
        layout: Layout,
        stage: Callable[[CellPlan, Inputs, int, Callable[[int], nn.Module]], nn.Module],
    ) -> Callable[[CellPlan], nn.Module]:
        """Return what makes the module at a place of the network: a stage's graph of cells, or a reduction cell."""
        cell = self._cell_space.cell_maker(
            self._cell_arch,
            norm=standard_norm(track_running_stats=bool(layout.track_running_stats)),
            pool_norm=True,
            pool_affine=True,
            drop_path=layout.drop_path,
        )

        def place(plan: CellPlan) -> nn.Module:
            plan = replace(plan, c_older=plan.c_newer, older_is_larger=False)
            if plan.reduction:
                return cell(plan)
            width = self._cell_space.width(plan)
            inputs = Inputs(replace(plan, channels=width), norm)
            return stage(plan, inputs, width, lambda _: cell(replace(plan, c_older=width, c_newer=width)))

        return place

    def _width(self, plan: CellPlan) -> int:
        width = self._cell_space.width(plan)
        return width if plan.reduction else len(self._graphs[f"stage{plan.stage}"].concat) * width


class _StageSupernet(Supernet, CellSkeleton):
    """The skeleton with mixed graphs of cells. Weight vectors are defined for operations, not for cells."""


def fixed_cells(cell: Any) -> tuple[CellSpace, Architecture]:
    """Return given cells, a notation or an architecture, as a member of the smallest space that contains them.

    Raises:
        ArchitectureError: If they are no cells with two inputs.
    """
    if isinstance(cell, Mapping) and "format" in cell:
        cell = Architecture.from_json(cell)
    if isinstance(cell, Architecture):
        own_kind = {kind.__name__: kind for kind in (DARTSCells, StageCells)}.get(cell.space)
        if own_kind is None:
            raise ArchitectureError(f"`cell` must be of DARTSCells or StageCells, got one of {cell.space}")
        own: CellSpace = own_kind(**cell.arguments)
        cell = own.format(own.checked(cell))
    if not isinstance(cell, Mapping | str):
        raise ArchitectureError(f"`cell` must be a genotype or an architecture, got {type(cell).__name__}")
    form = form_of(cell)
    if form is GENOTYPE2:
        raise ArchitectureError("`cell` must be a genotype of cells, got the graphs of stages")
    space: CellSpace = DARTSCells.covering(cell) if form is GENOTYPE else StageCells.covering(cell)
    return space, space.parse(cell)


def _split(notation: Any) -> tuple[Any, Any]:
    """Return the cells, None where there are none, and the graphs that a notation holds."""
    notation = read(notation)
    if isinstance(notation, Mapping) and "DAG" in notation:
        if unknown := sorted(set(map(str, notation)) - {"genotype", "DAG", "name"}):
            raise ArchitectureError(
                f"genotype has unknown keys [{listing(unknown)}]; known: ['DAG', 'genotype', 'name']"
            )
        return notation.get("genotype"), notation["DAG"]
    return None, notation


def _candidate(channels: int, norm: Norm) -> Callable[[int, str], Any]:
    return lambda _, op: make_operation(op, channels, 1, norm, pool_norm=True, pool_affine=True)


def _skeleton(layout: StageGraph.Layout, shape: Mapping[str, int]) -> dict[str, Any]:
    """Five places, of which the second and the fourth reduce: ⌊5/3⌋ and ⌊10/3⌋."""
    first = 1 if layout.layout == IMAGENET else layout.stem_multiplier
    return {
        "num_classes": shape["num_classes"],
        "in_channels": shape["in_channels"],
        "layout": layout.layout,
        "channels": layout.channels,
        "layers": 5,
        "stem_multipliers": (first, layout.stem_multiplier),
        "chained": False,
    }
