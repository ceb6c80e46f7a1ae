"""Write the stand-alone `model.py`: the layers by their paths, and a flat `forward` that reads like a recipe."""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from string import Template
from typing import Any

import torch
from torch import fx, nn

from ramify.exporting import spelling
from ramify.exporting.card import Card
from ramify.exporting.spelling import FUNCTIONS, OPERATORS, PREFIXES, WIDTH, fold, literal
from ramify.exporting.template import (
    CHECK,
    CONTAINED,
    COVERED,
    MAIN,
    MAIN_OF_PICTURES,
    MODEL,
    READER,
    REPORT,
    REPORT_OF_BOXES,
    REPORT_OF_PIXELS,
    REPORT_OF_SHAPE,
    REPORT_OF_VALUES,
)
from ramify.exporting.tracing import Trace

INDENT = 8  # of the lines in a method
NAMES = "xyzuvwpqrst"  # of the variables in `forward`; x1, x2, ... follow


def write_source(trace: Trace, card: Card, dtype: torch.dtype) -> str:
    """Return the text of `model.py` for a traced network whose parameters have type `dtype`."""
    output = trace.observed[trace.graph.output_node()].value
    operations = "\n".join(_forward(trace))
    several = isinstance(output, list | tuple)
    outputs = list(output) if several else [output]
    has_classes = not several and output.ndim == 2 and not card.target_names
    result = "maps" if several else "logits" if has_classes else "output"
    shapes = ", ".join(_shape(("B", *each.shape[1:])) for each in outputs)
    sizes = f"[tuple(each.shape) for each in {result}]" if several else f"tuple({result}.shape)"
    check = Template(CHECK).substitute(name=card.name, result=result, sizes=sizes)
    if card.of_images:
        report = Template(_report(card, outputs)).substitute(result=result, sizes=sizes)
        main = Template(MAIN_OF_PICTURES).substitute(result=result, report=report, check=check)
        usage = "    python model.py cat.jpg          # what a picture shows"
    else:
        main = Template(MAIN).substitute(check=check)
        usage = "    python model.py                  # build it, read its weights, run a blank input"
    return MODEL.substitute(
        name=card.name,
        usage=usage,
        beside=", and Pillow for pictures" if card.of_images else "",
        call=f"{f'{result} = network(images)':<32}",
        kind="list[Tensor]" if several else "Tensor",
        shapes=f"{_shape(('B', *card.input_size))} -> {shapes}",
        math="import math\n" if re.search(r"\bmath\.", operations) else "",
        suppress="from contextlib import suppress\n" if card.of_images else "",
        functional="import torch.nn.functional as F\n" if re.search(r"\bF\.", operations) else "",
        constants="\n".join(_constants(card, dtype)),
        layers="".join(f"\n{line}" for line in _constructor(trace, dtype)),
        operations=operations,
        reader=_reader(card) if card.of_images else "",
        main=main.rstrip("\n") + "\n",
    )


def _report(card: Card, outputs: Sequence[Any]) -> str:
    """Return the lines that say what a picture shows, by what the outputs are."""
    first, count = outputs[0], len(card.classes)
    if len(outputs) == 1 and card.target_names:
        return REPORT_OF_VALUES
    if len(outputs) == 1 and first.ndim == 2:
        return REPORT
    if len(outputs) == 1 and first.ndim == 4 and first.shape[1] == count > 0:
        return REPORT_OF_PIXELS
    if len(outputs) == 3 and card.whole and first.ndim == 3 and first.shape[1] == count:
        return REPORT_OF_BOXES
    return REPORT_OF_SHAPE


def _reader(card: Card) -> str:
    """Return the functions that read pictures as training images were read."""
    framed, resized = ("as a whole, black beside it", CONTAINED) if card.whole else ("cut to the center", COVERED)
    return Template(READER).substitute(size=_shape((1, *card.input_size)), framed=framed, resized=resized)


def _constants(card: Card, dtype: torch.dtype) -> Iterator[str]:
    sides = "  # channels, height, width" if len(card.input_size) == 3 else ""
    yield f"INPUT_SIZE = {literal(card.input_size)}{sides}"
    origin = "of the training images" + (", scaled to 0..1, per channel" if card.mean else ": not recorded")
    yield f"MEAN = {literal(card.mean)}  # {origin}"
    yield f"STD = {literal(card.std)}"
    yield f"DTYPE = {dtype}"
    if card.of_images:
        scale = card.scale or {}
        yield f"BITS = {literal(scale.get('bits'))}  # of training images whose integers are deeper than bytes"
        yield f"WHITE = {literal(scale.get('white'))}  # that training images of floats reach to"
    if card.target_names:
        yield f"VALUES = {literal(card.target_names)}"
    line = f"CLASSES: tuple[str, ...] = {literal(card.classes)}"
    if len(line) <= WIDTH:
        yield line
    else:  # one class per line would bury the network
        yield "# fmt: off"
        yield "CLASSES: tuple[str, ...] = ("
        row = ""
        for item in map(literal, card.classes):
            if row and len(f"    {row} {item},") > WIDTH:
                yield f"    {row}"
                row = ""
            row = f"{row} {item},".lstrip()
        yield f"    {row}"
        yield ")"
        yield "# fmt: on"


def _constructor(trace: Trace, dtype: torch.dtype) -> Iterator[str]:
    """Yield the lines that register what `forward` uses, in the order of the network's own `state_dict()`."""
    entries = []
    waiting = set(trace.tensors)
    for path, module in trace.network.named_modules(remove_duplicate=False):
        own = [*module.named_parameters(path, recurse=False), *module.named_buffers(path, recurse=False)]
        names = [key for key, _ in own]
        entries += [(key, _tensor(trace, key, dtype)) for key in names if key in waiting]
        waiting -= set(names)
        if path in trace.layers:
            entries.append((path, spelling.layer(module)))
    # What is left are constants, which the network makes in its `forward`.
    entries += [(path, _tensor(trace, path, dtype)) for path in sorted(waiting)]
    paragraphs = itertools.groupby(entries, lambda entry: _group(trace.network, entry[0].rpartition(".")[0]))
    for number, (_, members) in enumerate(paragraphs):
        if number:
            yield ""
        for path, code in members:
            yield fold(f"self[{literal(path)}] = {code}", INDENT)


def _tensor(trace: Trace, path: str, dtype: torch.dtype) -> str:
    tensor = trace.tensor(path)
    kind = "" if tensor.dtype == dtype else f", dtype={tensor.dtype}"
    fixed = ", requires_grad=False" if isinstance(tensor, nn.Parameter) and not tensor.is_floating_point() else ""
    wrapper = "nn.Parameter" if isinstance(tensor, nn.Parameter) else "nn.Buffer"
    sizes = ", ".join(map(str, tensor.shape)) or "()"
    return f"{wrapper}(torch.empty({sizes}{kind}){fixed})"


def _group(network: nn.Module, scope: str) -> str:
    """Return the building block that the module `scope` belongs to: `cells.3` for `cells.3.edges.0-2`."""
    parts = scope.split(".")
    for depth in range(1, len(parts)):
        block = ".".join(parts[:depth])
        if not isinstance(network.get_submodule(block), (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
            return block
    return scope


def _forward(trace: Trace) -> Iterator[str]:
    """Yield the lines of `forward`, in paragraphs under the name and the output shape of their block."""
    statements = _Writer(trace).statements()
    paragraphs = itertools.groupby(statements, lambda entry: _group(trace.network, _scope(entry[0])))
    for number, (group, members) in enumerate(paragraphs):
        nodes, lines = zip(*members, strict=True)
        if number:
            yield ""
        if group:
            yield f"{' ' * INDENT}# {group}: {_shape(trace.observed[nodes[-1]].tensors[0].shape[1:])}"
        yield from (fold(line, INDENT) for line in lines)


def _scope(node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target).rpartition(".")[0]
    return next((path for path, _ in reversed(node.meta.get("nn_module_stack", {}).values())), "")


def _shape(sizes: Sequence[object]) -> str:
    return f"({', '.join(map(str, sizes))})"


class _Writer:
    """Spells operations. Every tensor gets a variable; sizes and the like are written where they are used."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.names: dict[fx.Node, str] = {}  # of the variables in use

    def statements(self) -> Iterator[tuple[fx.Node, str]]:
        """Yield the operations that have a line of their own, each with its line."""
        nodes = [node for node in self.trace.graph.nodes if self._has_line(node)]
        last = {read: number for number, node in enumerate(nodes) for read in self._reads(node)}
        self.names = dict.fromkeys(self.trace.graph.find_nodes(op="placeholder"), NAMES[0])
        for number, node in enumerate(nodes):
            code = self._code(node)
            # A name is free again when its tensor is read for the last time: this line may already reuse it.
            ended = {self.names.pop(read) for read in self._reads(node) if last[read] == number}
            names = self._free_names(sorted(ended, key=lambda name: (len(name), NAMES.find(name[0]), name)))
            assigned = []
            for target in self._targets(node):
                if target in last:
                    self.names[target] = next(names)
                assigned.append(self.names.get(target, "_"))
            yield node, code if set(assigned) == {"_"} else f"{', '.join(assigned)} = {code}"

    def _free_names(self, preferred: Sequence[str]) -> Iterator[str]:
        pool = itertools.chain(preferred, NAMES, (f"{NAMES[0]}{number}" for number in itertools.count(1)))
        return (name for name in pool if name not in self.names.values())

    def _has_line(self, node: fx.Node) -> bool:
        if node.op in ("placeholder", "get_attr"):
            return False
        unpacked = node.target is operator.getitem and node in self._targets(node.all_input_nodes[0])
        return not unpacked and bool(self.trace.observed[node].tensors)

    def _targets(self, node: fx.Node) -> list[fx.Node]:
        """Return what the line of `node` assigns: itself, or the elements of its tuple."""
        count = len(self.trace.observed[node].tensors)
        elements = {
            user.args[1] % count: user
            for user in node.users
            if count > 1 and user.target is operator.getitem and isinstance(user.args[1], int)
        }
        if elements and len(elements) == len(node.users):
            return [elements.get(place, node) for place in range(count)]  # `node` itself is never read
        return [node]

    def _reads(self, node: fx.Node) -> set[fx.Node]:
        """Return the nodes whose variables occur in the line of `node`."""
        reads: set[fx.Node] = set()
        for source in node.all_input_nodes:
            inline = source.op == "get_attr" or not self.trace.observed[source].tensors
            reads |= self._reads(source) if inline else {source}
        return reads

    def _code(self, node: fx.Node) -> str:
        """Return the expression that computes `node`."""
        args = node.args
        target: Any = node.target
        if node.op == "output":
            return f"return {self._argument(args[0])}"
        if node.op == "get_attr":
            return f"self[{literal(target)}]"
        if node.op == "call_module":
            return f"self[{literal(target)}]({self._arguments(args, node.kwargs)})"
        if node.op == "call_method":
            return f"{self._operand(args[0])}.{target}({self._arguments(args[1:], node.kwargs)})"
        if target in OPERATORS:
            left, right = self._operand(args[0]), self._operand(args[1])
            tight = target is operator.pow and re.fullmatch(r"[\w.]+", left + right)  # as ruff formats x**2
            return f"{left}{OPERATORS[target]}{right}" if tight else f"{left} {OPERATORS[target]} {right}"
        if target in PREFIXES:
            return f"{PREFIXES[target]}{self._operand(args[0])}"
        if target is getattr:
            return f"{self._operand(args[0])}.{args[1]}"
        if target is operator.getitem:
            owner, place = self._operand(args[0]), spelling.index(args[1], self._argument)
            if owner.endswith(".size()") and isinstance(args[1], int):  # x.size()[0] is x.size(0)
                return f"{owner[:-1]}{place})"
            return f"{owner}[{place}]"
        named = spelling.keywords(node.kwargs, spelling.defaults(target))
        return f"{FUNCTIONS[target]}({self._arguments(args, named)})"

    def _arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        named = (f"{key}={self._argument(item)}" for key, item in kwargs.items())
        return ", ".join([*map(self._argument, args), *named])

    def _argument(self, item: Any) -> str:
        return spelling.value(item, lambda node: self.names.get(node) or self._code(node))

    def _operand(self, item: Any) -> str:
        """Return an argument such that an operator, a dot or a bracket may follow."""
        code = self._argument(item)
        inline = isinstance(item, fx.Node) and item not in self.names
        compound = inline and (item.target in OPERATORS or item.target in PREFIXES)
        return f"({code})" if compound or code.startswith("-") else code
