"""Separable convolutions for all candidates that read one map: `torch.ops.ramify.separable`.

A candidate is [ReLU, depthwise, pointwise, batch norm] once or twice (Liu et al., DARTS, ICLR 2019, appendix A.1.1);
its last norm is weighed and added to the sum of a target. One call takes all candidates of a source, reads the source
once, and keeps the maps in front of norms alone. Letters: B images, C channels, N candidates, D of them doubles, T
targets, M ready maps, H' × W' the size behind the stride.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.kernels.building import kernels


@dataclass(frozen=True)
class Separable:
    """A candidate without its weights.

    Args:
        kernel: Side of its depthwise convolutions, odd.
        dilation: Of the first of them.
        target: Number of the sum that it is added to.
        twice: Whether it has a second half, of stride and dilation 1.
        eps: ε of its last norm.
        middle_eps: ε of the norm in its middle.
    """

    kernel: int
    dilation: int
    target: int
    twice: bool
    eps: float
    middle_eps: float = 0.0


class _Candidate(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("kernel", "dilation", "target", "second")),
        *((name, ctypes.c_double) for name in ("eps", "middle_eps")),
    )


_SIZES = ("images", "channels", "height", "width", "rows", "columns", "stride")
_COUNTS = ("candidates", "doubles", "targets", "maps", "chunks", "threads")


class _Problem(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int) for name in (*_SIZES, *_COUNTS))


def separable(
    x: Tensor,
    candidates: Sequence[Separable],
    weights: Sequence[Tensor],
    scale: Tensor,
    stride: int,
    *,
    shift: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    ready: Sequence[Tensor] = (),
    mix: Tensor | None = None,
    totals: Sequence[Tensor | None] = (),
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return for each target its total + Σ scale · norm(candidate(x)) + Σ mix · ready + shift.

    Norms use the statistics of this batch. Differentiable twice by all tensors.

    Args:
        x: (B, C, H, W), on the CPU, float32 or float64.
        candidates: N of them.
        weights: Of each candidate depthwise (C, 1, k, k) and pointwise (C, C, 1, 1), of doubles twice.
        scale: (N, C): weights times the scales of the last norms.
        stride: 1 or 2.
        shift: (T, C), added to the sums; None for 0.
        gamma, beta: (D, C), scales and shifts of the norms in the middle; None for 1 and 0.
        ready: M maps (B, C, H', W') that are there already, such as poolings of x.
        mix: (M, T), their weights.
        totals: For each target a map (B, C, H', W') to which the sum is added; None for 0.

    Returns:
        T maps (B, C, H', W'); mean and biased variance of each map in front of a norm, both (N + D, C): the last ones
        of all candidates, then the first ones of the doubles.
    """
    plan = [value for c in candidates for value in (c.kernel, c.dilation, c.target, int(c.twice))]
    eps = [value for c in candidates for value in (c.eps, c.middle_eps)]
    totals = totals or [None] * (1 + max(c.target for c in candidates))
    given = [total for total in totals if total is not None]
    continued = [int(total is not None) for total in totals]
    mix = scale.new_empty(0, len(totals)) if mix is None else mix
    sums, _, mean, variance = torch.ops.ramify.separable(
        x, list(weights), scale, shift, gamma, beta, list(ready), mix, given, continued, plan, eps, stride
    )
    return sums, mean, variance


def _candidates(plan: Sequence[int], eps: Sequence[float]) -> list[Separable]:
    rows = zip(plan[::4], plan[1::4], plan[2::4], plan[3::4], eps[::2], eps[1::2], strict=True)
    return [Separable(k, d, target, bool(twice), e, middle) for k, d, target, twice, e, middle in rows]


# The operator

torch.library.define(
    "ramify::separable",
    "(Tensor x, Tensor[] weights, Tensor scale, Tensor? shift, Tensor? gamma, Tensor? beta, Tensor[] ready, "
    "Tensor mix, Tensor[] totals, int[] continued, int[] plan, float[] eps, int stride) -> "
    "(Tensor[] sums, Tensor saved, Tensor mean, Tensor variance)",
)
torch.library.define(
    "ramify::separable_backward",
    "(Tensor x, Tensor[] weights, Tensor scale, Tensor? gamma, Tensor? beta, Tensor[] ready, Tensor mix, "
    "Tensor saved, Tensor mean, Tensor variance, Tensor[] gradients, int[] plan, float[] eps, int stride, bool by_x, "
    "bool by_weights) -> (Tensor x, Tensor[] weights, Tensor scale, Tensor shift, Tensor gamma, Tensor beta, "
    "Tensor[] ready, Tensor mix)",
)


def _sums_like(x: Tensor, stride: int, targets: int) -> list[Tensor]:
    b, c, h, w = x.shape
    size = (b, c, -(-h // stride), -(-w // stride))
    return [x.new_empty(size).contiguous(memory_format=torch.channels_last) for _ in range(targets)]


@torch.library.register_fake("ramify::separable")
def _fake(
    x: Tensor, weights: Any, scale: Tensor, shift: Any, gamma: Any, beta: Any, ready: Any, mix: Any, totals: Any,
    continued: Sequence[int], plan: Sequence[int], eps: Any, stride: int,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:  # fmt: skip
    sums = _sums_like(x, stride, len(continued))
    maps = len(plan) // 4 + sum(plan[3::4])
    saved = x.new_empty((maps, *(sums[0].shape[at] for at in (0, 2, 3, 1))))
    return sums, saved, x.new_empty((maps, x.shape[1])), x.new_empty((maps, x.shape[1]))


@torch.library.register_fake("ramify::separable_backward")
def _fake_backward(
    x: Tensor, weights: Sequence[Tensor], scale: Tensor, gamma: Any, beta: Any, ready: Sequence[Tensor], mix: Tensor,
    saved: Tensor, mean: Tensor, variance: Tensor, gradients: Sequence[Tensor], plan: Sequence[int], eps: Any,
    stride: int, by_x: bool, by_weights: bool,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Tensor, Tensor, list[Tensor], Tensor]:  # fmt: skip
    doubles = x.new_empty((sum(plan[3::4]), x.shape[1]))
    by_input = torch.empty_like(x, memory_format=torch.channels_last) if by_x else x.new_empty(0)
    by_each = [torch.empty_like(weight) for weight in weights] if by_weights else []
    shift = x.new_empty((len(gradients), x.shape[1]))
    by_ready = [torch.empty_like(each, memory_format=torch.channels_last) for each in ready]
    by_scale, by_mix = x.new_empty(scale.shape), x.new_empty(mix.shape)
    return by_input, by_each, by_scale, shift, doubles, torch.empty_like(doubles), by_ready, by_mix


@torch.library.impl("ramify::separable", "CPU")
def _forward(
    x: Tensor, weights: Sequence[Tensor], scale: Tensor, shift: Tensor | None, gamma: Tensor | None,
    beta: Tensor | None, ready: Sequence[Tensor], mix: Tensor, totals: Sequence[Tensor], continued: Sequence[int],
    plan: Sequence[int], eps: Sequence[float], stride: int,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:  # fmt: skip
    call = _Call(x, weights, ready, plan, eps, stride, len(continued))
    sums = _sums_like(x, stride, len(continued))
    maps, (images, channels, rows, columns) = len(plan) // 4 + sum(plan[3::4]), sums[0].shape
    saved = x.new_empty((maps, images, rows, columns, channels))
    mean, variance = (x.new_empty((maps, channels)) for _ in range(2))
    rest = (call.last(total) for total in totals)
    held = [next(rest) if goes_on else None for goes_on in continued]
    vectors = map(_contiguous, (scale, shift, gamma, beta))
    call("separable_forward", *vectors, call.ready, _contiguous(mix), held, sums, saved, mean, variance)
    if not x.is_contiguous(memory_format=torch.channels_last):
        sums = [each.contiguous() for each in sums]
    return sums, saved, mean, variance


@torch.library.impl("ramify::separable_backward", "CPU")
def _backward(
    x: Tensor, weights: Sequence[Tensor], scale: Tensor, gamma: Tensor | None, beta: Tensor | None,
    ready: Sequence[Tensor], mix: Tensor, saved: Tensor, mean: Tensor, variance: Tensor, gradients: Sequence[Tensor],
    plan: Sequence[int], eps: Sequence[float], stride: int, by_x: bool, by_weights: bool,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Tensor, Tensor, list[Tensor], Tensor]:  # fmt: skip
    call = _Call(x, weights, ready, plan, eps, stride, len(gradients))
    outputs = _fake_backward(
        x, call.weights, scale, gamma, beta, ready, mix, saved, mean, variance, gradients, plan, eps, stride, by_x,
        by_weights,
    )  # fmt: skip
    by_input, by_each, by_scale, by_shift, by_gamma, by_beta, by_ready, by_mix = outputs
    call(
        "separable_backward", *map(_contiguous, (scale, gamma, beta)), call.ready, _contiguous(mix), saved, mean,
        variance, [call.last(gradient) for gradient in gradients], by_input if by_x else None,
        call.halves(by_each) if by_weights else None, by_scale, by_shift.zero_(), by_gamma, by_beta, by_ready, by_mix,
    )  # fmt: skip
    return outputs


def _chunks(images: int, channels: int) -> int:
    """Return in how many parts the images are worked on side by side: whatever the threads, so that sums are the same.

    Each has gradients of all weights of its own, so there are fewer where these are large.
    """
    return min(images, max(8, 512 // channels))


@lru_cache(maxsize=1024)
def _in_c(plan: tuple[int, ...], eps: tuple[float, ...]) -> tuple[Any, list[bool]]:
    """Return candidates as kernels read them, and which of them are doubles; a network asks for few, at every step."""
    candidates = _candidates(plan, eps)
    doubles = [candidate.twice for candidate in candidates]
    seconds = accumulate(doubles, initial=0)
    rows: list[Any] = [
        (c.kernel, c.dilation, c.target, second if c.twice else -1, c.eps, c.middle_eps)
        for c, second in zip(candidates, seconds, strict=False)
    ]
    return (_Candidate * len(rows))(*rows), doubles


class _Call:
    """One call of a kernel: what all its passes are told, and tensors that live as long as it does."""

    def __init__(
        self,
        x: Tensor,
        weights: Sequence[Tensor],
        ready: Sequence[Tensor],
        plan: Sequence[int],
        eps: Sequence[float],
        stride: int,
        targets: int,
    ) -> None:
        self.candidates, self.doubles = _in_c(tuple(plan), tuple(eps))
        b, c, h, w = x.shape
        self.problem = _Problem(
            *(b, c, h, w, -(-h // stride), -(-w // stride), stride),
            *(len(self.doubles), sum(self.doubles), targets, len(ready), _chunks(b, c), torch.get_num_threads()),
        )
        self.x, self.weights = self.last(x), [weight.contiguous() for weight in weights]
        self.ready = [self.last(each) for each in ready]
        self.library: Any = kernels().library(x.dtype, c)

    def last(self, tensor: Tensor) -> Tensor:
        """Return a map in channels_last."""
        return tensor.contiguous(memory_format=torch.channels_last)

    def halves(self, weights: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the weights with four places for every candidate, empty where it has no second half."""
        places: list[Tensor | None] = [None] * (4 * len(self.doubles))
        rest = iter(weights)
        for number, twice in enumerate(self.doubles):
            for place in range(4 if twice else 2):
                places[4 * number + place] = next(rest)
        return places

    def __call__(self, name: str, *arguments: Tensor | Sequence[Tensor | None] | None) -> None:
        """Call a function: a tensor becomes a pointer, a list of tensors a list of pointers, None a null pointer."""
        pointers = [_pointer(argument) for argument in (self.x, self.halves(self.weights), *arguments)]
        if getattr(self.library, name)(ctypes.byref(self.problem), self.candidates, *pointers):
            raise MemoryError(f"no memory for the buffers of ramify::{name}")


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _pointer(argument: Tensor | Sequence[Tensor | None] | None) -> Any:
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return (ctypes.c_void_p * len(argument))(*(None if tensor is None else tensor.data_ptr() for tensor in argument))


# Its gradient


class _Separable(torch.autograd.Function):
    """The operator with its gradient, all tensors in a row: by pytrees of lists it would take twice the time."""

    @staticmethod
    def forward(
        ctx: Any, plan: Sequence[int], eps: Sequence[float], stride: int, continued: Sequence[int],
        counts: tuple[int, int], x: Tensor, scale: Tensor, shift: Tensor | None, gamma: Tensor | None,
        beta: Tensor | None, mix: Tensor, *rest: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        weights, ready, totals = rest[: counts[0]], rest[counts[0] : sum(counts)], rest[sum(counts) :]
        with torch._C._AutoDispatchBelowAutograd():
            sums, saved, mean, variance = torch.ops.ramify.separable(
                x, weights, scale, shift, gamma, beta, ready, mix, totals, continued, plan, eps, stride
            )
        ctx.plan, ctx.eps, ctx.stride, ctx.continued, ctx.has_shift = plan, eps, stride, continued, shift is not None
        ctx.nodes = [weight.grad_fn for weight in weights if weight.grad_fn is not None]
        ctx.counts = counts
        ctx.save_for_backward(x, scale, gamma, beta, mix, saved, mean, variance, *weights, *ready)
        ctx.mark_non_differentiable(saved, mean, variance)
        ctx.set_materialize_grads(False)
        return (*sums, saved, mean, variance)

    @staticmethod
    def backward(ctx: Any, *by_outputs: Tensor | None) -> tuple[Any, ...]:
        x, scale, gamma, beta, mix, saved, mean, variance, *rest = ctx.saved_tensors
        weights, ready = rest[: ctx.counts[0]], rest[ctx.counts[0] :]
        by_sums = by_outputs[:-3]
        given = next((gradient for gradient in by_sums if gradient is not None), None)
        if given is None:
            return (None,) * (11 + len(rest) + sum(ctx.continued))
        gradients = [torch.zeros_like(given) if gradient is None else gradient for gradient in by_sums]
        if torch.is_grad_enabled():
            by_x, by_weights, *others = _again(ctx, x, weights, scale, gamma, beta, ready, mix, gradients)
        else:
            wanted = any(map(_is_asked_for, ctx.nodes))
            by_x, by_weights, *others = torch.ops.ramify.separable_backward(
                x, weights, scale, gamma, beta, ready, mix, saved, mean, variance, gradients,
                ctx.plan, ctx.eps, ctx.stride, ctx.needs_input_grad[5], wanted,
            )  # fmt: skip
            by_weights = by_weights if wanted else [None] * len(weights)
        by_scale, by_shift, by_gamma, by_beta, by_ready, by_mix = others
        return (
            *([None] * 5),
            by_x if ctx.needs_input_grad[5] else None,
            by_scale,
            by_shift if ctx.has_shift else None,
            None if gamma is None else by_gamma,
            None if beta is None else by_beta,
            by_mix,
            *by_weights,
            *by_ready,
            *(gradient for gradient, goes_on in zip(by_sums, ctx.continued, strict=True) if goes_on),
        )


def _is_asked_for(node: Any) -> bool:
    """Return whether the backward pass that runs goes through a node: `grad(loss, alphas)` wants no weights' gradients.

    `ctx.needs_input_grad` says what could be asked for; PyTorch's own operators skip what is not, by what is read here.
    """
    return bool(torch._C._will_engine_execute_node(node))


@torch.library.impl("ramify::separable", "Autograd")
def _differentiable(
    x: Tensor, weights: Sequence[Tensor], scale: Tensor, shift: Tensor | None, gamma: Tensor | None,
    beta: Tensor | None, ready: Sequence[Tensor], mix: Tensor, totals: Sequence[Tensor], continued: Sequence[int],
    plan: Sequence[int], eps: Sequence[float], stride: int,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:  # fmt: skip
    # Views have nodes, which say in a backward pass whether it asks for gradients of weights.
    views = [weight.view_as(weight) for weight in weights]
    *sums, saved, mean, variance = _Separable.apply(
        plan,
        eps,
        stride,
        continued,
        (len(views), len(ready)),
        x,
        scale,
        shift,
        gamma,
        beta,
        mix,
        *views,
        *ready,
        *totals,
    )
    return sums, saved, mean, variance


def _again(
    ctx: Any, x: Any, weights: list[Any], scale: Any, gamma: Any, beta: Any, ready: list[Any], mix: Any,
    gradients: Sequence[Tensor],
) -> tuple[Any, ...]:  # fmt: skip
    """Return the gradients by the plain form, which can be differentiated once more."""
    tensors = (x, scale, gamma, beta, mix, *weights, *ready)
    # Views: a ready map may depend on x, or be x, and only what depends on x directly counts as its gradient here.
    views: list[Any] = [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]
    x, scale, gamma, beta, mix, *rest = views
    weights, ready = rest[: len(weights)], rest[len(weights) :]
    sums = plain(
        x, _candidates(ctx.plan, ctx.eps), weights, scale, ctx.stride, gamma=gamma, beta=beta, ready=ready, mix=mix
    )
    places = [place for place, view in enumerate(views) if view is not None and view.requires_grad]
    found = torch.autograd.grad(
        sums, [views[place] for place in places], gradients, create_graph=True, allow_unused=True
    )
    by: list[Tensor | None] = [None] * len(views)
    for place, gradient in zip(places, found, strict=True):
        by[place] = gradient
    by_x, by_scale, by_gamma, by_beta, by_mix, *by_rest = by
    by_shift = torch.stack([gradient.sum((0, 2, 3)) for gradient in gradients])
    by_weights, by_ready = by_rest[: len(weights)], by_rest[len(weights) :]
    return by_x, by_weights, by_scale, by_shift, by_gamma, by_beta, by_ready, by_mix


def plain(
    x: Tensor,
    candidates: Sequence[Separable],
    weights: Sequence[Tensor],
    scale: Tensor,
    stride: int,
    *,
    shift: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    ready: Sequence[Tensor] = (),
    mix: Tensor | None = None,
) -> list[Tensor]:
    """Return what `separable` adds to its totals, by PyTorch's own operators; its definition."""
    rest, active, second = iter(weights), F.relu(x), 0
    sums: list[Any] = [0] * (1 + max(candidate.target for candidate in candidates))
    for number, candidate in enumerate(candidates):
        h = _half(active, next(rest), next(rest), stride, candidate.dilation)
        if candidate.twice:
            own = [None if part is None else part[second] for part in (gamma, beta)]
            h = F.batch_norm(h, None, None, own[0], own[1], training=True, eps=candidate.middle_eps)
            h = _half(F.relu(h), next(rest), next(rest), 1, 1)
            second += 1
        y = F.batch_norm(h, None, None, scale[number].contiguous(), None, training=True, eps=candidate.eps)
        sums[candidate.target] = sums[candidate.target] + y
    for target in range(len(sums)):
        for number, each in enumerate(ready):
            assert mix is not None
            sums[target] = sums[target] + mix[number, target] * each
        if shift is not None:
            sums[target] = sums[target] + shift[target, :, None, None]
    return sums


def _half(x: Tensor, depthwise: Tensor, pointwise: Tensor, stride: int, dilation: int) -> Tensor:
    padding = depthwise.shape[-1] // 2 * dilation
    return F.conv2d(F.conv2d(x, depthwise, None, stride, padding, dilation, len(depthwise)), pointwise)
