"""The keys of networks of two-input cells: DARTS and what descends from it, H-DAS, and CDARTS.

Every map goes through the built network and yields the path of each module with weights, and the path that the
original gives it. So they hold for any cells, widths and depths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from ramify.ops import FactorizedReduce, Operation, PreActivation
from ramify.spaces.cell_network import Cell, FixedReduction, Inputs
from ramify.supernet import FixedGraph
from ramify.weights.written import Nodes, Written

Pairs = Iterator[tuple[str, str]]
"""(path of a module here, its path in the original)."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How an original names the modules inside an operation.

    Args:
        steps: The list that its convolutions and norms stand in; the activation before them is number 0.
        halves: The two operations that a separable convolution consists of; empty where it is one list.
        reduce: The two convolutions and the norm of a factorized reduction.
        inputs: What maps the two inputs of a cell.
    """

    steps: str
    halves: tuple[str, ...] = ()
    reduce: tuple[str, str, str] = ("conv_1", "conv_2", "bn")
    inputs: tuple[str, str] = ("preprocess0", "preprocess1")


DARTS = Style(steps="op")
NAS_INFER = Style(steps="op", reduce=("convs.0", "convs.1", "bn"))
NASNET = Style(steps="op", halves=("op_a", "op_b"), reduce=("convs.0", "convs.1", "bn"))
H_DAS = Style(steps="net", halves=("net.0", "net.1"), reduce=("conv1", "conv2", "bn"), inputs=("preproc0", "preproc1"))


def darts(network: nn.Module, nodes: Written) -> Pairs:
    """DARTS, P-DARTS, PC-DARTS, and ABS' training of their cells."""
    yield from _stem(network, "stem.0", "stem.1")
    yield from _listed_cells(network, nodes, DARTS)
    yield from _auxiliary(network, "auxiliary_head.features", "auxiliary_head.classifier")
    yield "classifier", "classifier"


def nas_infer_model(network: nn.Module, nodes: Written) -> Pairs:
    """The older retraining program of AutoDL-Projects, of GDAS."""
    yield from _stem(network, "stem.conv", "stem.bn")
    yield from _listed_cells(network, nodes, NAS_INFER)
    yield from _auxiliary(network, "auxiliary_head.features", "auxiliary_head.classifier")
    yield "classifier", "classifier"


def nasnet(network: nn.Module, nodes: Written) -> Pairs:
    """The newer retraining program of AutoDL-Projects, where edges are named by their states."""
    yield from _stem(network, "stem.0", "stem.1")
    for index in range(len(_kinds(network))):
        ours = f"cells.{index}"
        cell = cast(Cell, _at(network, ours))
        yield from _inputs(cell.inputs, f"{ours}.inputs", ours, NASNET)
        for target, entering in enumerate(cell.graph.entering):
            for source, edge, op in entering:
                name = f"edges.{edge}.{op}"
                theirs = f"{ours}.edges.{target}<-{source}"
                yield from _operation(_at(cell.graph, name), f"{ours}.graph.{name}", theirs, NASNET)
    yield from _auxiliary(network, "auxiliary_head.features", "auxiliary_head.classifier")
    yield from (("last_norm", "lastact.0"), ("classifier", "classifier"))


def h_das_cells(network: nn.Module, nodes: Written) -> Pairs:
    """The stage-specific cells of H-DAS."""
    yield from _stem(network, "stem.0", "stem.1")
    for index, kinds in enumerate(_kinds(network)):
        yield from _cell(network, f"cells.{index}", f"cells.{index}", _of(nodes, kinds), H_DAS)
    yield from _auxiliary(network, "aux_head.net", "aux_head.linear")
    yield "classifier", "linear"


def h_das_stages(network: nn.Module, nodes: Written) -> Pairs:
    """The stages of H-DAS: `cells.I` counts all cells, those of the stages and the reductions between them."""
    yield from _stem(network, "stem.0", "stem.1")
    first = 0
    for index, kinds in enumerate(_kinds(network)):
        place: Any = _at(network, f"cells.{index}")
        if not place.graph.nodes:
            yield from _cell(network, f"cells.{index}", f"cells.{first}", _of(nodes, kinds), H_DAS)
            first += 1
            continue
        number = index // 2 + 1
        ours, theirs = f"cells.{index}", f"bigDAG{number}"
        yield from _inputs(place.inputs, f"{ours}.inputs", theirs, H_DAS)
        graph = nodes[f"DAG{number}"]
        for name, node, slot in _edges(place.graph, graph):
            yield from _operation(
                _at(place.graph, name), f"{ours}.graph.{name}", f"{theirs}.bigDAG.{node}.{slot}.0", H_DAS
            )
        for state in place.graph.nodes:
            at = first + int(state) - place.graph.inputs
            cell = f"{ours}.graph.nodes.{state}"
            yield from _cell(network, cell, f"cells.{at}", _of(nodes, kinds), H_DAS)
        first += len(graph)
    yield from _auxiliary(network, "aux_head.net", "aux_head.linear")
    yield "classifier", "linear"


def h_das_names(network: nn.Module, nodes: Written) -> dict[str, str]:
    """Return the further names that a file of H-DAS' stages has for its cells, as prefixes, with the first ones."""
    names, first = {}, 0
    for number in (1, 2, 3):
        count = len(nodes[f"DAG{number}"])
        names[f"bigDAG{number}.cells."] = "cells."
        for place in range(count):
            names[f"bigDAG{number}.bigDAG.{count + place}."] = f"cells.{first + place}."
        first += count + 1
    return names


def h_das_idle(network: nn.Module, nodes: Written) -> tuple[str, ...]:
    """Return the prefixes of what nothing reads in the stages: the original has such cells, and runs them."""
    idle, first = [], 0
    for number in (1, 2, 3):
        graph: FixedGraph = cast(Any, _at(network, f"cells.{2 * number - 2}")).graph
        dead = [place for place in range(graph.states - graph.inputs) if place + graph.inputs not in graph.live]
        idle += [f"cells.{first + place}." for place in dead]
        idle += [f"bigDAG{number}.bigDAG.{place}." for place in dead]
        first += len(nodes[f"DAG{number}"]) + 1
    return tuple(idle)


def cdarts(network: nn.Module, nodes: Written) -> Pairs:
    """The evaluation networks of CDARTS: `nas_layers.STAGE.CELL`, the reduction the last one of its stage."""
    extractor = "feature_extractor.0"
    yield from _stem(network, f"{extractor}.0", f"{extractor}.1", (extractor, "feature_extractor.1"))
    stage = place = 0
    for index, kinds in enumerate(_kinds(network)):
        yield from _cell(network, f"cells.{index}", f"nas_layers.{stage}.{place}", _of(nodes, kinds), H_DAS)
        stage, place = (stage + 1, 0) if kinds[1] == "reduce" else (stage, place + 1)
    yield from _auxiliary(network, "aux_head.features", "aux_head.classifier")
    yield "classifier", "fc"


# Layouts


def layout(state: Mapping[str, Tensor], first: str, stem: Sequence[str]) -> dict[str, Any]:
    """Return the layout keywords that the shapes of a state dict say.

    Args:
        state: Of the original.
        first: The convolution of the newer input of the first cell; its output is C wide.
        stem: The last convolution of the stem, for CIFAR and for ImageNet.
    """
    channels = width(state, first)
    wide = next((width(state, name) for name in stem if name in state), 0)
    if not channels or not wide:
        return {}
    known: dict[str, Any] = {"channels": channels, "layout": "imagenet" if stem[1] in state else "cifar"}
    return known | ({"stem_multiplier": wide // channels} if wide % channels == 0 else {})


def width(state: Mapping[str, Tensor], name: str) -> int:
    """Return the first side of a tensor of a state dict; 0 where it has none."""
    return state[name].shape[0] if name in state and state[name].dim() else 0


def darts_layout(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the layout keywords of a network of DARTS or of its descendants."""
    stem = "stem.conv.weight" if "stem.conv.weight" in state else "stem.0.weight"
    known = layout(state, "cells.0.preprocess1.op.1.weight", (stem, "stem1.1.weight"))
    final = {"final_norm": True} if "lastact.0.weight" in state else {}
    return known | {"layers": count(state, "cells."), **final}


def h_das_layout(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the layout keywords of a network of H-DAS, of cells or of stages."""
    known = layout(state, "cells.0.preproc1.net.1.weight", ("stem.0.weight", "stem1.1.weight"))
    return known if any(name.startswith("bigDAG1.") for name in state) else known | {"layers": count(state, "cells.")}


def cdarts_layout(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the layout keywords of an evaluation network of CDARTS, whose poolings have no norms."""
    stem = ("feature_extractor.0.0.weight", "feature_extractor.1.1.weight")
    known = layout(state, "nas_layers.0.0.preproc1.net.1.weight", stem)
    layers = sum(count(state, f"nas_layers.{stage}.") for stage in range(3))
    return known | {"layers": layers, "pool_norm": False}


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbers follow a prefix in the names of a state dict."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})


# Parts


def _at(module: nn.Module, path: str) -> nn.Module:
    return module.get_submodule(path)


def _stem(network: Any, conv: str, norm: str, large: tuple[str, str] = ("stem0", "stem1")) -> Pairs:
    if network.second_stem is None:
        yield from (("stem.0", conv), ("stem.1", norm))
        return
    yield from ((f"stem.{index}", f"{large[0]}.{index}") for index in (0, 1, 3, 4))
    yield from (("second_stem.conv", f"{large[1]}.1"), ("second_stem.norm", f"{large[1]}.2"))


def _auxiliary(network: Any, features: str, classifier: str) -> Pairs:
    if network.auxiliary is not None:
        modules = {"first": 2, "first_norm": 3, "second": 5, "second_norm": 6}
        yield from ((f"auxiliary.{name}", f"{features}.{index}") for name, index in modules.items())
        yield "auxiliary.classifier", classifier


def _kinds(network: Any) -> list[tuple[str, str]]:
    """Return for every cell the keys that its nodes may have, the one with its stage first."""
    kinds, stage = [], 1
    for index in range(len(network.cells)):
        role = "reduce" if index in network.reductions else "normal"
        kinds.append((f"{role}{stage}", role))
        stage += role == "reduce"
    return kinds


def _of(nodes: Written, kinds: Sequence[str]) -> Nodes:
    return next((nodes[kind] for kind in kinds if kind in nodes), ())


def _listed_cells(network: nn.Module, nodes: Written, style: Style) -> Pairs:
    """Yield cells whose operations stand in one list, two for every node."""
    for index, kinds in enumerate(_kinds(network)):
        ours = f"cells.{index}"
        cell: Any = _at(network, ours)
        yield from _inputs(cell.inputs, f"{ours}.inputs", ours, style)
        if isinstance(cell, FixedReduction):
            for side in (0, 1):
                steps = (1, 2, 3, 5, 6)
                yield from ((f"{ours}.convolutions.{side}.{step}", f"{ours}.ops1.{side}.{step}") for step in steps)
                yield f"{ours}.pools.{side}.1", f"{ours}.ops2.{side}.1"
            continue
        for name, node, slot in _edges(cell.graph, _of(nodes, kinds)):
            yield from _operation(
                _at(cell.graph, name), f"{ours}.graph.{name}", f"{ours}._ops.{2 * node + slot}", style
            )


def _cell(network: nn.Module, ours: str, theirs: str, nodes: Nodes, style: Style) -> Pairs:
    """Yield a cell whose operations stand in lists for every node."""
    cell = cast(Cell, _at(network, ours))
    yield from _inputs(cell.inputs, f"{ours}.inputs", theirs, style)
    for name, node, slot in _edges(cell.graph, nodes):
        yield from _operation(_at(cell.graph, name), f"{ours}.graph.{name}", f"{theirs}.dag.{node}.{slot}.0", style)


def _edges(graph: FixedGraph, nodes: Nodes) -> Iterator[tuple[str, int, int]]:
    """Yield the path of every operation, the node that it enters, and which of the node's two reads it is."""
    for node, reads in enumerate(nodes):
        left = list(graph.entering[node + graph.inputs])
        for slot, (op, source) in enumerate(reads):
            found = next((edge for edge in left if (edge[2], edge[0]) == (op, source)), None)
            if found is not None:
                left.remove(found)
                yield f"edges.{found[1]}.{op}", node, slot


def _inputs(inputs: Inputs, ours: str, theirs: str, style: Style) -> Pairs:
    for side, name in zip((inputs.older, inputs.newer), ("older", "newer"), strict=True):
        at = f"{theirs}.{style.inputs[name == 'newer']}"
        yield from _pre_activation(side, f"{ours}.{name}", at, style)


def _pre_activation(block: PreActivation, ours: str, theirs: str, style: Style) -> Pairs:
    if isinstance(block.conv, FactorizedReduce):
        even, odd, norm = style.reduce
        yield from ((f"{ours}.conv.even", f"{theirs}.{even}"), (f"{ours}.conv.odd", f"{theirs}.{odd}"))
        yield f"{ours}.norm", f"{theirs}.{norm}"
    else:
        yield from ((f"{ours}.conv", f"{theirs}.{style.steps}.1"), (f"{ours}.norm", f"{theirs}.{style.steps}.2"))


def _operation(operation: nn.Module, ours: str, theirs: str, style: Style) -> Pairs:
    """Yield the modules of an operation on an edge: its steps are numbered behind the activation."""
    body, norm = cast(Operation, operation).body, cast(Operation, operation).norm
    if isinstance(body, FactorizedReduce):
        even, odd, last = style.reduce
        yield from ((f"{ours}.body.even", f"{theirs}.{even}"), (f"{ours}.body.odd", f"{theirs}.{odd}"))
        yield f"{ours}.norm", f"{theirs}.{last}"
        return
    if isinstance(body, nn.Identity):
        if not isinstance(norm, nn.Identity):  # of a pooling
            yield f"{ours}.norm", f"{theirs}.bn"
        return
    steps = (
        [f"{ours}.body.{index}" for index in range(len(body))] if isinstance(body, nn.Sequential) else [f"{ours}.body"]
    )
    steps.append(f"{ours}.norm")
    for number, step in enumerate(steps, start=1):
        if len(steps) == 7 and style.halves:  # two operations of an activation, two convolutions and a norm
            half, inside = divmod(number, 4)
            yield step, f"{theirs}.{style.halves[half]}.{style.steps}.{inside}"
        else:
            yield step, f"{theirs}.{style.steps}.{number}"
