"""How values, functions, layers and lines are spelled in the `model.py` that Ramify writes."""

from __future__ import annotations

import inspect
import io
import itertools
import json
import math
import operator
import re
import tokenize
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ramify.errors import RamifyError
from ramify.ops import PointwiseConv2d

WIDTH = 120  # characters per line of `model.py`, such that most layers with long paths fit

LAYERS: frozenset[type[nn.Module]] = frozenset(
    {
        *(nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear),
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm),
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish),
        *(nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softmax),
        *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        *(nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten, nn.ZeroPad2d, nn.PixelShuffle),
    }
)
"""Modules that `model.py` constructs; of all others, it performs the operations one by one."""


def layer_type(module: nn.Module) -> type[nn.Module]:
    """Return the module's class, or the equivalent class of PyTorch."""
    return nn.Conv2d if type(module) is PointwiseConv2d else type(module)


def _public_functions() -> Iterator[tuple[Callable, str]]:
    namespaces: tuple[tuple[str, ModuleType], ...] = (("math", math), ("torch", torch), ("F", F))
    for prefix, namespace in namespaces:
        for name, value in vars(namespace).items():
            if not name.startswith("_") and callable(value) and not inspect.isclass(value):
                yield value, f"{prefix}.{name}"


# Some functions have two names; `F.` comes last and wins.
FUNCTIONS: dict[Callable, str] = dict(_public_functions())

OPERATORS: dict[Callable, str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
    operator.and_: "&",
    operator.or_: "|",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
PREFIXES: dict[Callable, str] = {operator.neg: "-", operator.invert: "~"}
SYNTAX: tuple[Callable, ...] = (operator.getitem, getattr)


def is_spellable(function: Any) -> bool:
    """Return whether `model.py` can call this function, given that it may import PyTorch only."""
    return function in SYNTAX or any(function in table for table in (FUNCTIONS, OPERATORS, PREFIXES))


def value(item: Any, name: Callable[[fx.Node], str]) -> str:
    """Return the Python expression for an argument; `name` spells the results of other operations."""
    match item:
        case fx.Node():
            return name(item)
        case None | bool() | int():
            return repr(item)
        case float():
            return repr(item) if math.isfinite(item) else f'float("{item}")'
        case str():
            return json.dumps(item, ensure_ascii=False)
        case slice():
            ends = "" if item.stop is None else value(item.stop, name)
            step = "" if item.step is None else f":{value(item.step, name)}"
            return f"{'' if item.start is None else value(item.start, name)}:{ends}{step}"
        case tuple():
            items = [value(part, name) for part in item]
            return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
        case list():
            return f"[{', '.join(value(part, name) for part in item)}]"
        case torch.device():
            return f'torch.device("{item}")'
        case torch.dtype() | torch.layout() | torch.memory_format():
            return str(item)
        case _ if item is Ellipsis:
            return "..."
    raise RamifyError(f"`model.py` cannot hold a value of type `{type(item).__name__}`")


def literal(item: Any) -> str:
    """Return the Python expression for a value without references to other operations."""
    return value(item, name=lambda node: node.name)


def index(item: Any, name: Callable[[fx.Node], str]) -> str:
    """Return what stands between the brackets of `x[...]`."""
    parts = item if isinstance(item, tuple) and item else (item,)
    return ", ".join(value(part, name) for part in parts) + ("," if item == parts and len(parts) == 1 else "")


def defaults(function: Callable) -> dict[str, Any]:
    """Return the default values that `function` documents; empty for most functions written in C."""
    # F.max_pool2d(*args, **kwargs) chooses between two functions, of which the longer name has the signature.
    function = getattr(F, f"{FUNCTIONS.get(function, '')[2:]}_with_indices", function)
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def keywords(given: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments that differ from their defaults."""

    def redundant(key: str, item: Any) -> bool:
        return key in default and type(item) is type(default[key]) and item == default[key]

    return {key: item for key, item in given.items() if not redundant(key, item)}


def layer(module: nn.Module) -> str:
    """Return the constructor call for a member of `LAYERS`, without arguments that equal their defaults."""
    required, optional = [], {}
    kind = layer_type(module)
    sides = {"kernel_size", "stride", "padding", "dilation", "output_padding", "output_size"}
    for key, parameter in inspect.signature(kind).parameters.items():
        item = getattr(module, key, parameter.default)
        if key in ("args", "kwargs", "device", "dtype"):
            continue
        if key == "bias":  # a flag for the constructor, a tensor or None afterwards
            item = item is not None or module.weight is None
        if key in sides and isinstance(item, tuple) and len(set(item)) == 1:
            item = item[0]
        if parameter.default is parameter.empty:
            required.append(literal(item))
        elif not (key == "stride" and "Pool" in kind.__name__ and literal(item) == required[0]):
            optional[key] = item
    named = keywords(optional, defaults(kind))
    arguments = [*required, *(f"{key}={literal(item)}" for key, item in named.items())]
    return f"nn.{kind.__name__}({', '.join(arguments)})"


def fold(code: str, indent: int = 0, end: str = "") -> str:
    """Return `code` wrapped to `WIDTH` characters per line, as ruff and black would."""
    pad = " " * indent
    if len(pad + code + end) <= WIDTH or not (parts := _outermost(code)):
        return pad + code + end
    head, items, tail = parts
    together = f"{pad}    {', '.join(items)}"
    # The arguments of a call may share a line; the elements of a list or tuple each get their own.
    if re.search(r"[\w\])][(\[]$", head) and len(together) <= WIDTH:
        return f"{pad}{head}\n{together}\n{pad}{tail}{end}"
    lines = "\n".join(fold(item, indent + 4, end=",") for item in items)
    return f"{pad}{head}\n{lines}\n{pad}{tail}{end}"


def _outermost(code: str) -> tuple[str, list[str], str] | None:
    """Split at the last outermost pair of brackets: up to its opening, the items inside, from its closing on."""
    depth, start, cuts = 0, 0, []
    outermost: tuple[int, list[int], int] | None = None
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        column = token.start[1]
        if token.type == tokenize.OP and token.string in "([{":
            depth += 1
            if depth == 1:
                start, cuts = column, [column]
        elif token.type == tokenize.OP and token.string in ")]}":
            depth -= 1
            if depth == 0 and column > start + 1:
                outermost = start, [*cuts, column], column
        elif token.string == "," and depth == 1:
            cuts.append(column)
    if outermost is None:
        return None
    start, cuts, stop = outermost
    items = [code[left + 1 : right].strip() for left, right in itertools.pairwise(cuts)]
    return code[: start + 1], [item for item in items if item], code[stop:]
