"""The label pass: one ordinary forward pass that carries labels of channels along.

Every channel that leaves a convolution or a linear layer gets a label. Labels lie in tensors of as many dimensions as
the activation, with size 1 along every dimension along which they do not change. What an operation does with them is
looked up in `ramify.elastic.rules`; this file has what rules need: ties, uses of parameters, what stays whole.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from ramify.elastic.ties import NONE, changing
from ramify.elastic.trace import Entries, Product, Trace, Value, enter, settle
from ramify.errors import ConfigurationError


@dataclass(eq=False)
class Visit:
    """One call of a module: where, with which only tensor, and whether that is added to inside."""

    path: str
    only: Tensor | None
    added: bool = False


@dataclass(eq=False)
class Call:
    """One operation: its name without overload and underscore, its arguments by name, what it returned."""

    name: str
    values: Mapping[str, Any]
    out: Any
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values.get(name)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments, those in lists included."""
        flat = [y for x in self.values.values() for y in (x if isinstance(x, list | tuple) else [x])]
        return [x for x in flat if isinstance(x, Tensor)]

    @property
    def shape(self) -> torch.Size:
        """Of the first tensor that was returned."""
        return (self.out if isinstance(self.out, Tensor) else self.out[0]).shape


class LabelPass(TorchDispatchMode):
    """Watch one forward pass of a network and fill a `Trace`.

    Args:
        network: In evaluation mode; its tensors are known by identity.
        rules: Name of an operation → what it does with labels; `None` stands for every other operation.
    """

    def __init__(self, network: nn.Module, rules: Mapping[str | None, Rule]) -> None:
        super().__init__()
        self.trace = Trace()
        self._rules = rules
        self._values = WeakTensorKeyDictionary()
        self._stack: list[Visit] = []
        self._sizes: dict[str, torch.Size] = {}
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            self._sizes[name] = tensor.shape
            self._values[tensor] = Entries(name, tuple(_index(tensor.shape, dim) for dim in range(tensor.dim())))

    # --- what rules ask and say ---

    @property
    def path(self) -> str:
        """Of the module that runs."""
        return self._stack[-1].path if self._stack else ""

    def value(self, x: Any) -> Value | None:
        """Return what is known about a tensor, labels by their roots; `None` for a constant."""
        value = self._values.get(x) if isinstance(x, Tensor) else None
        return self.trace.ties.roots(value) if isinstance(value, Tensor) else value

    def labels(self, x: Tensor) -> Tensor:
        """Return the labels of a tensor, narrowed; a parameter gets new ones, which it then has in this place."""
        value = self.value(x)
        if isinstance(value, Entries):
            return self.planted(value)
        return torch.zeros((1,) * x.dim(), dtype=torch.long) if value is None else value

    def planted(self, entries: Entries) -> Tensor:
        """Return new labels for the entries of a parameter that enters activations."""
        shape = torch.broadcast_shapes(*(index.shape for index in entries.axes))
        labels = self.fresh(math.prod(shape), entries.name.rpartition(".")[0]).view(shape)
        self.trace.uses.append((entries, labels))
        return labels

    def fresh(self, count: int, path: str | None = None) -> Tensor:
        """Return new labels (count,) that belong to a layer, by default to the one that runs."""
        labels = self.trace.ties.fresh(count)
        self.trace.made.append((int(labels[0]), self.path if path is None else path))
        return labels

    def keep(self, labels: Tensor, reason: str) -> None:
        """Keep labels whole."""
        self.trace.whole.append((labels, reason))

    def at(self, what: str) -> str:
        """Return a reason that says where it happens."""
        return f"{what} at {self.path or 'the network itself'}"

    def meet(self, a: Tensor, a_shape: Sequence[int], b: Tensor, b_shape: Sequence[int]) -> Tensor:
        """Tie labels of operands of these shapes entry by entry and return those of the result.

        Labels that meet a constant of more than one number stay whole: it would not shrink with them.
        """
        dims = max(a.dim(), b.dim())
        a, b = (x.view((1,) * (dims - x.dim()) + x.shape) for x in (a, b))
        a_shape, b_shape = ((1,) * (dims - len(shape)) + tuple(shape) for shape in (a_shape, b_shape))
        self.trace.ties.tie(a, b)
        for one, other, shape in ((a, b, b_shape), (b, a, a_shape)):
            if any(shape[dim] > 1 for dim in changing(one)):
                lonely = torch.where(other == NONE, one, NONE)
                if lonely.any():
                    self.keep(lonely, self.at("it meets a constant"))
        return torch.where(a == NONE, b, a)

    def use(self, x: Any, dim: int, labels: Tensor, *, read: bool = False) -> bool:
        """Say that a parameter has labels (n,) along a dimension, and return whether one of its axes lies there.

        Args:
            x: The parameter; anything else has no axis.
            dim: Where its entries lie.
            labels: Of the activation along it.
            read: Whether a layer contracts over them.
        """
        entries = self.value(x)
        axes = list(entries.along(dim)) if isinstance(entries, Entries) else []
        for axis, index in axes:
            self._enter(entries.name, axis, index, labels.expand(len(index)))  # type: ignore[union-attr]
            if read:
                self.trace.inputs.add((entries.name, axis))  # type: ignore[union-attr]
        return bool(axes)

    def _enter(self, name: str, axis: int, index: Tensor, labels: Tensor) -> None:
        enter(self.trace, name, self._sizes[name], axis, index, labels)

    def product(self, labels: Tensor, shape: Sequence[int], contracted: Tensor, repeats: int, weight: Any) -> None:
        """Record a call that multiplies and adds."""
        entries = self.value(weight)
        name = entries.name if isinstance(entries, Entries) else None
        self.trace.products.append(Product(self.path, labels, tuple(shape), contracted, repeats, name))

    def measured(self, labels: Tensor) -> None:
        """Record that the module which runs is a norm over labels (n,)."""
        self.trace.norms[self.path] = labels

    # --- the pass itself ---

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        values = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
        values |= dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        call = Call(name.rstrip("_") if name[-1:] == "_" else name, values, out, func, args, kwargs)
        known = [x for x in call.tensors if x in self._values]
        if not known:
            return out
        if call.name == "add":
            self._note_addition(args)
        before = self._values.get(args[0]) if isinstance(args[0], Tensor) else None
        rule = self._rules.get(call.name)
        if rule is None:
            rule = self._rules["pointwise" if torch.Tag.pointwise in func.tags else None]
        result = rule(self, call)
        if out is args[0] and out._is_view() and isinstance(result, Tensor) and not self._same(before, result):
            self.keep(result, self.at(f"{name} writes into a part of a tensor"))
            self.keep(self.labels(out), self.at(f"{name} writes into a part of a tensor"))
        self._store(out, result)
        return out

    def _same(self, before: Value | None, after: Tensor) -> bool:
        return isinstance(before, Tensor) and torch.equal(self.trace.ties.roots(before), self.trace.ties.roots(after))

    def _store(self, out: Any, result: Any) -> None:
        """Keep what a rule returned; a list for each of several tensors, else the first has it."""
        if isinstance(out, list | tuple):
            results = result if isinstance(result, list) else [result]
            for tensor, value in zip(out, results, strict=False):
                self._store(tensor, value)
            return
        if not isinstance(out, Tensor):
            return
        if isinstance(result, Tensor):
            result = self.trace.ties.roots(result)
            if len(changing(result)) > 1:
                self.trace.boxes.append(result)
            if not result.any():
                result = None
        if result is None:
            self._values.pop(out, None)
        else:
            self._values[out] = result

    def _note_addition(self, operands: Sequence[Any]) -> None:
        for visit in reversed(self._stack):
            if visit.only is not None and any(visit.only is x for x in operands):
                visit.added = True
                return

    def enter_module(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Note that a module starts."""
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        self._stack.append(Visit(path, tensors[0] if len(tensors) == 1 else None))

    def leave_module(self, out: Any) -> None:
        """Note that the module which started last has returned something."""
        visit = self._stack.pop()
        if isinstance(out, Tensor):
            self.trace.shapes.setdefault(visit.path, out.shape)
            if visit.added and visit.only is not None and visit.only.shape == out.shape:
                self.trace.removable[visit.path] = None


Rule = Callable[[LabelPass, Call], Any]
"""What one kind of operation does with labels: the value of what it returns, or a list of one for each tensor."""


def _index(shape: Sequence[int], dim: int) -> Tensor:
    view = [1] * len(shape)
    view[dim] = shape[dim]
    return torch.arange(shape[dim]).view(view)


def trace_labels(network: nn.Module, inputs: tuple[Any, ...], rules: Mapping[str | None, Rule]) -> Trace:
    """Run a network once on labels, in evaluation mode and without gradients.

    Modules that do not run then, such as auxiliary classifiers, run in training mode: what they read shrinks with the
    rest, what they put out stays whole.

    Args:
        network: On the CPU; it is put in evaluation mode.
        inputs: What it is called with.
        rules: Of `ramify.elastic.rules`.

    Raises:
        ConfigurationError: If the network cannot run on these inputs.
    """
    trace, entered = _passed(network.eval(), inputs, rules)
    idle = {name.rpartition(".")[0] for name, _ in network.named_parameters()} - entered
    if idle:
        twice = tuple(torch.cat([x, x]) if isinstance(x, Tensor) and x.dim() else x for x in inputs)
        try:
            with torch.random.fork_rng(devices=[]):
                further, _ = _passed(copy.deepcopy(network).train(), twice, rules)
        except ConfigurationError:  # a network that cannot learn from these inputs
            return trace
        _read_by(idle, trace, further)
    return trace


def _passed(network: nn.Module, inputs: tuple[Any, ...], rules: Mapping[str | None, Rule]) -> tuple[Trace, set[str]]:
    """Return what one pass has found, and the paths of the modules that ran."""
    labeling, entered = LabelPass(network, rules), set[str]()

    def enter(path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        entered.add(path)
        labeling.enter_module(path, args, kwargs)

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(plain_attention())
        for path, module in network.named_modules():
            stack.callback(
                module.register_forward_pre_hook(
                    lambda _, args, kwargs, path=path: enter(path, args, kwargs), with_kwargs=True
                ).remove
            )
            stack.callback(module.register_forward_hook(lambda _, args, out: labeling.leave_module(out)).remove)
        try:
            with labeling:
                out = network(*inputs)
        except Exception as error:
            size = next((tuple(x.shape[1:]) for x in inputs if isinstance(x, Tensor)), ())
            kind = type(network.get_submodule(labeling.path)).__name__
            where = f"{labeling.path or 'the network itself'} ({kind})"
            raise ConfigurationError(
                f"the network cannot run on an image of {size}: {where}: {first_line(error)}"
            ) from error
        trace = labeling.trace
        for x in _tensors(out):
            labeling.keep(labeling.labels(x), "output")
    settle(trace, {name: tensor.shape for name, tensor in (*network.named_parameters(), *network.named_buffers())})
    return trace, entered


def _read_by(idle: set[str], trace: Trace, further: Trace) -> None:
    """Add to a trace which of its labels the tensors of some modules have in another pass of the same network."""
    root, known = further.ties.root, torch.full_like(further.ties.root, NONE)
    for place, table in further.tables.items():
        if place in trace.tables:
            labels = root[table]
            known[labels] = torch.maximum(known[labels], trace.ties.root[trace.tables[place]])
    known[NONE] = NONE
    for (name, axis), table in further.tables.items():
        labels = known[root[table]]
        if name.rpartition(".")[0] in idle and labels.any():
            trace.tables[name, axis] = labels
            trace.inputs |= {(name, axis)} & further.inputs


@contextmanager
def layer_by_layer() -> Iterator[None]:
    """PyTorch's transformer layers as the layers that they consist of, not as one kernel for evaluation."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as ordinary products."""
    with layer_by_layer(), sdpa_kernel(SDPBackend.MATH):
        yield


def _tensors(out: Any) -> list[Tensor]:
    if isinstance(out, Tensor):
        return [out]
    values = out.values() if isinstance(out, Mapping) else out if isinstance(out, list | tuple) else ()
    return [x for value in values for x in _tensors(value)]


def first_line(error: BaseException) -> str:
    """Return what an error says first."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
