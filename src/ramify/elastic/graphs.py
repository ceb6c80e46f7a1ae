"""Members of the second form: the exported graph, with the sizes in it replaced.

Code that writes sizes down, such as `reshape(B, N, 3, 12, 64)`, is beyond the attributes of modules. But the label pass
over the graph knows what is kept of every intermediate tensor, and so what each written size has to be.
"""

from __future__ import annotations

import copy
import functools
import operator
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from ramify.elastic.cutting import Cut, Slices, cut_network
from ramify.elastic.groups import Plan
from ramify.elastic.labels import LabelPass, plain_attention
from ramify.elastic.rules import RULES
from ramify.elastic.ties import changing, decides, narrowed
from ramify.elastic.trace import Entries, Trace, Value, settle

Line = tuple[int, Tensor]
"""A dimension that shrinks, and the unit of each index along it."""


Seen = tuple[Value | None, tuple[int, ...]]
"""What is known of a tensor that a node returned, and its shape."""


@dataclass(frozen=True, eq=False)
class _Exported:
    """A graph on the meta device, and labels and shapes of what its nodes return, a list for each."""

    graph: fx.GraphModule
    trace: Trace
    seen: Mapping[str, list[Seen]]


class Graphs:
    """The graphs of a network for evaluation and for training.

    Args:
        network: On the CPU.
        inputs: What it is called with.

    Raises:
        Exception: Whatever `torch.export` says of a network that it cannot export.
    """

    def __init__(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._modes = {mode: _exported(network, inputs, training=mode) for mode in (False, True)}

    def member(self, network: nn.Module, plan: Plan, slices: Slices, cut: Cut) -> nn.Module:
        """Return a copy of a network cut to size that runs the graph instead of its own code.

        Args:
            network: Whose tensors are cut.
            plan: Of it.
            slices: What is kept of each tensor.
            cut: What is kept.
        """
        member = cut_network(network, slices, cut)
        kind: Any = type(member)
        member.__class__ = _running(kind)
        member.__dict__["elastic_graphs"] = {
            mode: _resized(exported, _lines(exported, plan), slices.stay, cut) for mode, exported in self._modes.items()
        }
        return member


@functools.cache
def _running(kind: Any) -> Any:
    def forward(self: nn.Module, *inputs: Any) -> Any:
        """Run the graph of the mode with the tensors that are here now."""
        graph = self.__dict__["elastic_graphs"][self.training]
        own = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        read = [name for name, _ in (*graph.named_parameters(), *graph.named_buffers()) if name in own]
        return functional_call(graph, {name: own[name] for name in read}, inputs)

    return type(f"Exported{kind.__name__}", (kind,), {"forward": forward, "__module__": kind.__module__})


class _Recorder(fx.Interpreter):
    """Runs a graph and notes labels and shapes of what its nodes return."""

    def __init__(self, graph: fx.GraphModule, labeling: LabelPass) -> None:
        super().__init__(graph)
        self.seen: dict[str, list[Seen]] = {}
        self._labeling = labeling

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        parts = out if isinstance(out, list | tuple) else [out]
        if n.op == "call_function" and all(isinstance(part, Tensor) for part in parts):
            self.seen[n.name] = [(self._labeling.value(part), tuple(part.shape)) for part in parts]
        return out


def _exported(network: nn.Module, inputs: tuple[Any, ...], *, training: bool) -> _Exported:
    """Export a network for batches of any size and run its graph on labels."""
    twice = tuple(torch.cat([x, x]) if isinstance(x, Tensor) and x.dim() else x for x in inputs)
    batch = tuple({0: torch.export.Dim.AUTO} if isinstance(x, Tensor) and x.dim() else None for x in inputs)
    network = copy.deepcopy(network).train(training)
    with warnings.catch_warnings(), torch.no_grad(), plain_attention(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        program = torch.export.export(network, twice, dynamic_shapes=batch)
        graph: Any = program.module(check_guards=False)
        labeling = LabelPass(graph, RULES)
        recorder = _Recorder(graph, labeling)
        with labeling:
            recorder.run(*twice)
    tensors = (*graph.named_parameters(), *graph.named_buffers())
    settle(labeling.trace, {name: tensor.shape for name, tensor in tensors})
    return _Exported(graph.to("meta"), labeling.trace, recorder.seen)


def _lines(exported: _Exported, plan: Plan) -> dict[str, list[list[Line]]]:
    """Return which dimensions of what each node returns can shrink, for each of the tensors."""
    units = plan.units_of(exported.trace)

    def lines(value: Value | None) -> list[Line]:
        if isinstance(value, Entries):  # a parameter that was viewed otherwise
            return [
                (dim, plan.axes[value.name, axis][index])
                for dim in range(value.axes[0].dim() if value.axes else 0)
                for axis, index in value.along(dim)
                if (value.name, axis) in plan.axes
            ]
        return [] if value is None else _line(narrowed(units[value]))

    return {name: [lines(value) for value, _ in parts] for name, parts in exported.seen.items()}


def _line(units: Tensor) -> list[Line]:
    dim = next((dim for dim in changing(units) if decides(units, dim)), None)
    return [] if dim is None else [(dim, units.movedim(dim, 0).flatten(1)[:, 0])]


def _resized(exported: _Exported, lines: Mapping[str, list[list[Line]]], stay: Tensor, cut: Cut) -> fx.GraphModule:
    """Return the graph of a member."""
    graph = copy.deepcopy(exported.graph)
    for block in cut.out:
        _bypass(graph.graph, block)
    for node in graph.graph.nodes:
        if node.name in lines:
            _resize(node, lines, [shape for _, shape in exported.seen[node.name]], stay, dict(cut.sides))
    graph.recompile()
    return graph


def _resize(
    node: fx.Node,
    lines: Mapping[str, list[list[Line]]],
    shapes: Sequence[Sequence[int]],
    stay: Tensor,
    sides: Mapping[str, int],
) -> None:
    """Write into a node's arguments what its sizes become, for the shapes that it returned."""
    shape = shapes[0]
    name = node.target.overloadpacket.__name__ if isinstance(node.target, torch._ops.OpOverload) else ""
    left = [{dim: int(stay[units].sum()) for dim, units in part} for part in lines[node.name]]
    args: list[Any] = list(node.args)
    if name in ("view", "reshape", "_unsafe_view", "expand"):
        args[1] = [_written(node, size, left[0].get(dim), shape[dim]) for dim, size in enumerate(args[1])]
    elif name == "unflatten":
        first = args[1] % (len(shape) - len(args[2]) + 1)
        args[2] = [_written(node, size, left[0].get(dim), shape[dim]) for dim, size in enumerate(args[2], start=first)]
    elif name in ("split", "split_with_sizes") and any(left):
        dim = (args[2] if len(args) > 2 else 0) % len(shape)
        sizes = [part.get(dim, size) for part, size in zip(left, _sizes(args[1], len(left)), strict=True)]
        args[1] = sizes if isinstance(args[1], list | tuple) else sizes[0]
    elif name == "chunk" and any(left):  # into parts that were not equal, or are no longer
        dim = (args[2] if len(args) > 2 else 0) % len(shape)
        node.target = torch.ops.aten.split_with_sizes.default
        args = [args[0], [part.get(dim, size[dim]) for part, size in zip(left, shapes, strict=True)], dim]
    elif name == "layer_norm":
        start = len(shape) - len(args[1])
        args[1] = [left[0].get(start + dim, size) for dim, size in enumerate(args[1])]
    elif name == "slice":
        _slice(args, lines, stay)
    elif name == "group_norm" and args[1] != 1:
        args[1] = args[1] * left[0].get(1, shape[1]) // shape[1]
    elif name.startswith("conv"):
        _convolve(args, left[0].get(1, shape[1]), shape[1], sides)
    node.args = tuple(args)


def _written(node: fx.Node, size: Any, kept: int | None, full: int) -> Any:
    """Return what a size becomes of which `kept` of `full` are left; of one that the batch decides, as large a part."""
    if kept is None or kept == full or size == -1:
        return size
    if not isinstance(size, fx.Node):
        return kept
    with node.graph.inserting_before(node):
        times = node.graph.call_function(operator.mul, (size, kept))
        return node.graph.call_function(operator.floordiv, (times, full))


def _sizes(size: Any, count: int) -> list[int]:
    return list(size) if isinstance(size, list | tuple) else [size] * count


def _slice(args: list[Any], lines: Mapping[str, list[list[Line]]], stay: Tensor) -> None:
    """Move the ends of a slice along a dimension that shrinks to what is left before them."""
    dim = args[1] if len(args) > 1 else 0
    for along, units in lines.get(args[0].name, [[]])[0]:
        if along == dim and len(args) == 4:
            inner = [isinstance(end, int) and end < len(units) for end in args[2:]]
            ends = zip(args[2:], inner, strict=True)
            args[2:] = [int(stay[units[:end]].sum()) if moves else end for end, moves in ends]


def _convolve(args: list[Any], kept: int, full: int, sides: Mapping[str, int]) -> None:
    """Set the groups and the padding of a convolution whose weight was cut."""
    side = sides.get(str(args[1].target).rpartition(".")[0])
    if side is not None:
        steps = args[5] if len(args) > 5 else [1, 1]
        args[4] = [side // 2 * step for step in steps]
    if len(args) > 6 and args[6] > 1:
        args[6] = args[6] * kept // full


def _bypass(graph: fx.Graph, block: str) -> None:
    """Let what reads a block's output read its input, and drop the block."""
    inside = [n for n in graph.nodes if any(path == block for path, _ in n.meta.get("nn_module_stack", {}).values())]
    members = set(inside)
    ends = [n for n in inside if any(user not in members for user in n.users)]
    shape = tuple(ends[-1].meta["val"].shape)
    starts = [
        a
        for n in inside
        for a in n.all_input_nodes
        if a not in members and a.op != "get_attr" and isinstance(a.meta.get("val"), Tensor)
    ]
    start = next(a for a in starts if tuple(a.meta["val"].shape) == shape)
    ends[-1].replace_all_uses_with(start, lambda user: user not in members)
    for node in reversed(inside):
        if not node.users:
            graph.erase_node(node)
