"""The leaf calls of a network: the outermost calls of PyTorch's functions that its code makes in a pass.

They are seen from outside, whichever way a network spells them: `conv2d` of a module, `add` of a `+`, attention as one
call. On the meta device nothing is computed, so the calls of any member are known without running it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DENSE, DEPTHWISE, NORM, POOL, OTHER = FAMILIES = ("dense", "depthwise", "norm", "pool", "other")
"""What calls have in common: products, those of single channels, norms, pooling, and all else."""

LONGEST = 1000
"""Characters of a call, at most."""

_TYPES = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16", torch.float16: "f16"}
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_PRODUCTS = ("conv", "linear", "matmul", "__matmul__", "bmm", "baddbmm", "addmm", "einsum", "scaled_dot_product")


class Call(NamedTuple):
    """A leaf call.

    Args:
        text: The function and its arguments, tensors by type and shape: `conv2d f32[1,3,8,8] f32[16,3,3,3] …`.
        work: Multiply-adds of a product, else elements that go in and come out.
    """

    text: str
    work: int

    @property
    def function(self) -> str:
        """The name of the function."""
        return self.text.partition(" ")[0]

    @property
    def form(self) -> str:
        """The call without the sizes of its tensors."""
        return _SHAPE.sub(lambda found: f"{found[1]}[{found[2].count(',')}]", self.text)

    @property
    def family(self) -> str:
        """One of `FAMILIES`."""
        if self.function.startswith(_PRODUCTS):
            shapes = _SHAPE.findall(self.text)
            weight = shapes[1][1].split(",") if len(shapes) > 1 else []
            return DEPTHWISE if self.function.startswith("conv") and weight[1:2] == ["1"] else DENSE
        return next((family for family in (NORM, POOL) if family in self.function), OTHER)


class Calls(TorchFunctionMode):
    """Notes the leaf calls that return tensors, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Call | None] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        returned = list(_tensors(out))
        self.seen.append(_call(func, args, kwargs or {}, returned) if returned else None)
        return out


class Clock(TorchFunctionMode):
    """Notes how long every leaf call takes, while it is entered; in the order in which `Calls` sees them.

    Args:
        wait: Waits for the device.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self.milliseconds: list[float] = []
        self._wait = wait

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._wait()
        start = time.perf_counter()
        out = func(*args, **kwargs)
        self._wait()
        self.milliseconds.append(1000 * (time.perf_counter() - start))
        return out


def calls_of(network: nn.Module, inputs: Any) -> list[Call | None]:
    """Return the calls of a pass, None for those that return no tensor.

    Args:
        network: In evaluation mode, on any device.
        inputs: What it is called with, on the same device.
    """
    with torch.inference_mode(), Calls() as calls:
        network(inputs)
    return calls.seen


def _call(func: Any, args: Any, kwargs: dict[str, Any], returned: list[Tensor]) -> Call:
    name = getattr(func, "__name__", type(func).__name__).removeprefix("_")
    words = [name, *map(_worded, args), *(f"{key}={_worded(value)}" for key, value in kwargs.items())]
    text = "".join(character if character.isprintable() else "?" for character in " ".join(words))
    return Call(text[:LONGEST], _work(name, [*_tensors((args, tuple(kwargs.values())))], returned))


def _worded(value: Any) -> str:
    if isinstance(value, Tensor):
        name = _TYPES.get(value.dtype) or str(value.dtype).removeprefix("torch.")
        return f"{name}[{','.join(map(str, value.shape))}]"
    if isinstance(value, list | tuple):
        return f"({','.join(map(_worded, value))})"
    if isinstance(value, torch.device):
        return "device"
    if isinstance(value, int | float | str | slice | type(None) | torch.dtype | torch.memory_format):
        return str(value)
    return type(value).__name__


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _work(name: str, given: list[Tensor], returned: list[Tensor]) -> int:
    out = returned[0].numel()
    if name.startswith(_PRODUCTS) and len(given) > 1:
        first, second = given[:2]
        if name.startswith("scaled_dot_product"):
            return 2 * first.numel() * second.shape[-2]
        if name.startswith("conv"):
            return out * second.numel() // max(1, second.shape[0])
        return out * first.shape[-1] if first.dim() else out
    return sum(x.numel() for x in given) + sum(x.numel() for x in returned)
