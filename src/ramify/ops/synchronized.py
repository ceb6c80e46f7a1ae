"""Batch norms with statistics over the images of all processes.

PyTorch's `SyncBatchNorm` runs on GPUs alone and cannot be differentiated twice. Letters: B images of this process,
C channels, R processes. Each has as many images, unless `parallel.holding` says how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ramify import parallel


class SynchronizedNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` that, in training, normalizes with the statistics of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        if not is_synchronized(self, x):
            return super().forward(x)
        momentum = 0.0
        if self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        return synchronized_norm(x, self.running_mean, self.running_var, self.weight, self.bias, momentum, self.eps)


def synchronize(network: nn.Module) -> nn.Module:
    """Replace the batch norms inside a network, in place, by ones that keep their parameters and statistics."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _synchronized(child))
    return network


def _synchronized(norm: nn.BatchNorm2d) -> SynchronizedNorm:
    synchronized = SynchronizedNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
    )
    synchronized._parameters.update(norm._parameters)  # the very same, which an optimizer may know already
    synchronized._buffers.update(norm._buffers)
    return synchronized.train(norm.training)


def is_synchronized(norm: nn.Module, x: Tensor) -> bool:
    """Return whether `norm` has to normalize `x` with statistics over all processes."""
    together = isinstance(norm, SynchronizedNorm) and norm.training and parallel.world() > 1
    return together and x.device.type != "meta"


def synchronized_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Return `F.batch_norm` in training, with statistics over all processes; twice differentiable.

    Args:
        x: (B, C, H, W).
        running_mean: (C,), moved towards the mean of this batch; None for none.
        running_var: (C,), moved towards the unbiased variance; None for none.
        weight: (C,) scale; None for 1.
        bias: (C,) shift; None for 0.
        momentum: Share of this batch in the running statistics.
        eps: Added to the variance.
    """
    y, mean, var = _Normalize.apply(x, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            count = _values(x, parallel.held(len(x)))
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((var * (count / max(1, count - 1))).to(running_var), momentum)
    return y


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, as each of them uses the result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return parallel.total(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.apply(gradients[0])


class _Normalize(torch.autograd.Function):
    """(x, weight, bias, eps) → (y, mean, variance), with two exchanges of 2·C numbers for each step."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.held = parallel.held(len(x))
        mean, var = _statistics(x, ctx.held)
        ctx.eps, ctx.statistics = eps, (mean, var)
        ctx.has_weight, ctx.has_bias = weight is not None, bias is not None
        ctx.save_for_backward(x, weight)
        scale = (var + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        y = torch.addcmul(_along(shift), _wide(x), _along(scale)).to(x.dtype)
        statistics = mean.detach(), var.detach()
        ctx.mark_non_differentiable(*statistics)
        return y, *statistics

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        # Who wants a second derivative needs to know how the statistics follow from x.
        mean, var = _statistics(x, ctx.held) if torch.is_grad_enabled() else ctx.statistics
        inverse = (var + ctx.eps).rsqrt()
        wide, g = _wide(x), _wide(gradients[0])
        normalized = (wide - _along(mean)) * _along(inverse)
        sums = torch.stack([g.sum(dim=(0, 2, 3)), (g * normalized).sum(dim=(0, 2, 3))])
        for_x = None
        if ctx.needs_input_grad[0]:
            of_all = _Sum.apply(sums) / _values(x, ctx.held)
            scale = inverse if weight is None else inverse * weight
            for_x = ((g - _along(of_all[0]) - normalized * _along(of_all[1])) * _along(scale)).to(x.dtype)
        for_weight = sums[1].to(weight.dtype) if ctx.has_weight and ctx.needs_input_grad[1] else None
        for_bias = sums[0] if ctx.has_bias and ctx.needs_input_grad[2] else None
        return for_x, for_weight, for_bias, None


def _values(x: Tensor, held: Sequence[int]) -> int:
    """Return how many values a channel of `x` (B, C, H, W) has in all processes, each with the images it holds."""
    return sum(held) * x.shape[2] * x.shape[3]


def _statistics(x: Tensor, held: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance (C,) of the images of all processes, by way of those of each process."""
    var, mean = torch.var_mean(_wide(x), dim=(0, 2, 3), correction=0)
    mine = torch.stack([mean, var])
    rows = [mine if number == parallel.rank() else torch.zeros_like(mine) for number in range(parallel.world())]
    means, variances = _Sum.apply(torch.stack(rows)).unbind(dim=1)
    if len(set(held)) == 1:
        mean = means.mean(dim=0)
        return mean, variances.mean(dim=0) + (means - mean).square().mean(dim=0)
    shares = means.new_tensor([images / sum(held) for images in held])[:, None]
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean).square())).sum(dim=0)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _along(values: Tensor) -> Tensor:
    """Return (C,) as it is broadcast over (B, C, H, W)."""
    return values[:, None, None]
