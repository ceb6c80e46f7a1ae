"""Optimizers of built networks' weights, and the moving average of weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

OPTIMIZERS = ("sgd", "rmsprop")


class RMSPropTF(torch.optim.Optimizer):
    """RMSProp as in TensorFlow, which published settings of mobile networks refer to.

    Unlike PyTorch's, ε is added under the root, the mean of squares starts at 1, and the learning rate is in the
    momentum: v ← αv + (1 - α)g², m ← μm + η·g/√(v + ε), w ← w - m.

    Args:
        params: Parameters, or groups of them.
        lr: η.
        alpha: α.
        eps: ε.
        momentum: μ.
        weight_decay: Times the weight, is added to the gradient.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float,
        alpha: float = 0.9,
        eps: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step; `closure` recomputes the loss, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._descend(parameter, parameter.grad, group)
        return loss

    def _descend(self, parameter: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["squares"], state["momentum"] = torch.ones_like(parameter), torch.zeros_like(parameter)
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state["squares"].lerp_(gradient.square(), 1 - group["alpha"])
        scale = state["squares"].add(group["eps"]).sqrt_()
        state["momentum"].mul_(group["momentum"]).addcdiv_(gradient, scale, value=group["lr"])
        parameter.sub_(state["momentum"])


class MovingAverage:
    """A copy of a network with averaged weights and statistics: w̄ ← dw̄ + (1 - d)w after every step.

    Args:
        network: What is followed; the average starts where it is.
        decay: d.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = copy.deepcopy(network).requires_grad_(False), decay

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Update the average from the network."""
        for mean, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - self.decay)
            else:  # counters
                mean.copy_(value)
