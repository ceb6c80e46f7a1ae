"""Turn a network into the straight list of operations that lead to its output in evaluation mode."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from inspect import isfunction, isroutine
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ramify.errors import RamifyError
from ramify.exporting.spelling import LAYERS, is_spellable, layer_type


@dataclass(frozen=True)
class Observation:
    """The result of an operation when the network ran once."""

    value: Any  # the result: a tensor, a tuple of tensors, or a number computed from shapes
    mutates: bool  # it changed one of its inputs in place

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors of the result."""
        parts = self.value if isinstance(self.value, (tuple, list)) else [self.value]
        return [part for part in parts if isinstance(part, Tensor)]

    @property
    def storages(self) -> set[int]:
        """The memory that the result lives in: a view shares it with its base."""
        return {tensor.untyped_storage().data_ptr() for tensor in self.tensors}


@dataclass(frozen=True)
class Trace:
    """The operations of a network in evaluation mode, with an observation of each."""

    network: nn.Module
    graph: fx.Graph
    observed: dict[fx.Node, Observation]

    @cached_property
    def layers(self) -> set[str]:
        """The paths of the modules that are called."""
        return {str(node.target) for node in self.graph.nodes if node.op == "call_module"}

    @cached_property
    def tensors(self) -> set[str]:
        """The paths of parameters, buffers and constants that are used outside the layers they belong to."""
        paths = {str(node.target) for node in self.graph.nodes if node.op == "get_attr"}
        return {path for path in paths if path.rpartition(".")[0] not in self.layers}

    def tensor(self, path: str) -> Tensor:
        """Return the parameter, buffer or constant at `path`."""
        owner, _, name = path.rpartition(".")
        return getattr(self.network.get_submodule(owner), name)


def trace(network: nn.Module, images: Tensor) -> Trace:
    """Trace `network`, in evaluation mode and on the CPU, and run it once on `images` (B, C, H, W).

    Operations without influence on the output are left out. PyTorch may attach constants to `network`.

    Raises:
        RamifyError: If the operations depend on the values in the images, or are not PyTorch's own.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(network)
    except Exception as error:
        place = tracer.place or f"the network ({type(network).__name__})"
        raise RamifyError(f"{place} cannot be written as a list of operations: {reason(error)}") from error
    _bypass_identities(graph, network)
    observer = _Observer(network, graph)
    with torch.no_grad():
        observer.run(images)
    _drop_dead(graph, observer.observed)
    return Trace(network, graph, observer.observed)


def reason(error: BaseException) -> str:
    """Return in one line why another library failed."""
    while error.__cause__:
        error = error.__cause__
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


class _Tracer(fx.Tracer):
    """Stops at the layers `model.py` can construct and at the functions it can call, and opens all others."""

    proxy_buffer_attributes = True  # buffers keep their names, instead of becoming constants

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.opened: set[Callable] = set()

    @property
    def place(self) -> str:
        """Where tracing stopped."""
        return self.inside[-1] if self.inside else ""

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """Make the image the only input: whatever else `forward` takes has its default value."""
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Subclasses are opened, since they may compute something else."""
        return layer_type(m) in LAYERS

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Remember which module is being traced, for the error message."""
        self.inside.append(f"`{self.path_of_module(m)}` ({type(m).__name__})")
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()  # not when an exception passes through: then it names the place
        return result

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **options: Any) -> fx.Proxy:
        """Trace into functions of other libraries that are marked as opaque (`torch.fx.wrap`), and past assertions."""
        if target is torch._assert:  # of shapes, which are those of the one input that the network is exported for
            return args[0]
        if kind == "call_function" and not is_spellable(target):
            if not isfunction(target) or target in self.opened:
                name = target.__name__ if isroutine(target) else target
                raise RamifyError(f"`{name}` is not a function of PyTorch's public API")
            self.opened.add(target)
            result = target(*args, **kwargs)
            self.opened.remove(target)
            return result
        return super().create_proxy(kind, target, args, kwargs, *rest, **options)


class _Observer(fx.Interpreter):
    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        # Results are kept to the end, since freed memory would be handed out again and look shared.
        super().__init__(network, garbage_collect_values=False, graph=graph)
        self.observed: dict[fx.Node, Observation] = {}

    def run_node(self, n: fx.Node) -> Any:
        inputs = [tensor for node in n.all_input_nodes for tensor in self.observed[node].tensors]
        versions = [tensor._version for tensor in inputs]
        result = super().run_node(n)
        mutates = versions != [tensor._version for tensor in inputs]
        self.observed[n] = Observation(result, mutates)
        return result


def _bypass_identities(graph: fx.Graph, network: nn.Module) -> None:
    dropouts = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)

    def is_identity(node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(network.get_submodule(str(node.target))) is nn.Identity
        if node.target in dropouts:
            return node.kwargs.get("training") is False
        # sum(...) starts at 0; only another sum never minds whether it gets a new tensor
        sums = (user.target is operator.add for user in node.users)
        return node.target is operator.add and isinstance(node.args[0], int) and node.args[0] == 0 and all(sums)

    for node in list(graph.nodes):
        if is_identity(node) and node.all_input_nodes:
            node.replace_all_uses_with(node.all_input_nodes[0])


def _drop_dead(graph: fx.Graph, observed: dict[fx.Node, Observation]) -> None:
    """Erase what has no influence on the output, in-place changes of memory that is read later included."""
    read: set[int] = set()

    def matters(node: fx.Node) -> bool:
        changed = {storage for source in node.all_input_nodes for storage in observed[source].storages}
        return bool(node.users) or (observed[node].mutates and not changed.isdisjoint(read))

    for node in reversed(list(graph.nodes)):
        if node.op in ("placeholder", "output") or matters(node):
            read |= {storage for source in node.all_input_nodes for storage in observed[source].storages}
        else:
            graph.erase_node(node)
