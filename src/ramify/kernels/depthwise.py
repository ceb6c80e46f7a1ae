"""Gradients of one depthwise convolution, of any network: `torch.ops.ramify.depthwise`.

Its forward pass is PyTorch's, which has a fast path for all of them; the gradients of large and dilated ones have none.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.kernels.building import kernels

_SIZES = ("images", "channels", "height", "width", "rows", "columns", "kernel", "stride", "dilation")
_CHUNKS = 32  # of images whose gradients of the weights are summed up on their own, whatever the threads


class _Problem(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int) for name in (*_SIZES, "chunks", "threads"))


def depthwise(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Return a depthwise convolution whose padding keeps the size at stride 1; differentiable twice.

    Args:
        x: (B, C, H, W), on the CPU, float32 or float64.
        weight: (C, 1, k, k), k odd.
        stride: Of both directions.
        dilation: Of both directions.

    Returns:
        (B, C, ⌈H/stride⌉, ⌈W/stride⌉).
    """
    return torch.ops.ramify.depthwise(x, weight, stride, dilation)


torch.library.define("ramify::depthwise", "(Tensor x, Tensor weight, int stride, int dilation) -> Tensor")
torch.library.define(
    "ramify::depthwise_backward",
    "(Tensor x, Tensor weight, Tensor gradient, int stride, int dilation, bool by_x, bool by_weight) -> "
    "(Tensor x, Tensor weight)",
)


def _forward(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2 * dilation, dilation, len(weight))


torch.library.impl("ramify::depthwise", "CPU", _forward)
torch.library.register_fake("ramify::depthwise", _forward)


@torch.library.register_fake("ramify::depthwise_backward")
def _fake_backward(
    x: Tensor, weight: Tensor, gradient: Tensor, stride: int, dilation: int, by_x: bool, by_weight: bool
) -> tuple[Tensor, Tensor]:
    nothing = x.new_empty(0)
    by_input = torch.empty_like(x, memory_format=torch.channels_last) if by_x else nothing
    return by_input, weight.new_empty(weight.shape) if by_weight else nothing


@torch.library.impl("ramify::depthwise_backward", "CPU")
def _backward(
    x: Tensor, weight: Tensor, gradient: Tensor, stride: int, dilation: int, by_x: bool, by_weight: bool
) -> tuple[Tensor, Tensor]:
    by_input, by_each = _fake_backward(x, weight, gradient, stride, dilation, by_x, by_weight)
    b, c, h, w = x.shape
    sizes = (b, c, h, w, -(-h // stride), -(-w // stride), weight.shape[-1], stride, dilation)
    problem = _Problem(*sizes, min(b, _CHUNKS), torch.get_num_threads())
    tensors = (
        _last(x),
        weight.contiguous(),
        _last(gradient),
        by_input if by_x else None,
        by_each if by_weight else None,
    )
    pointers = [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]
    if kernels().library(x.dtype, c).depthwise_backward(ctypes.byref(problem), *pointers):
        raise MemoryError("no memory for the buffers of ramify::depthwise_backward")
    return by_input, by_each


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.stride, ctx.dilation = inputs
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:2]
    if torch.is_grad_enabled():  # PyTorch's own can be differentiated once more
        padding, channels = weight.shape[-1] // 2 * ctx.dilation, len(weight)
        sizes = [[ctx.stride] * 2, [padding] * 2, [ctx.dilation] * 2]
        found = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, *sizes, False, [0, 0], channels, [*wanted, False]
        )
        return (*found[:2], None, None)
    by_x, by_weight = torch.ops.ramify.depthwise_backward(x, weight, gradient, ctx.stride, ctx.dilation, *wanted)
    return by_x if wanted[0] else None, by_weight if wanted[1] else None, None, None


torch.library.register_autograd("ramify::depthwise", _differentiate, setup_context=_save)
