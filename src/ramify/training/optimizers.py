"""Optimizers of built networks' weights, and the moving average of weights."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

OPTIMIZERS = ("sgd", "rmsprop", "muon")


class _ByParameter(torch.optim.Optimizer, ABC):
    """An optimizer whose step is a step of each parameter that has a gradient."""

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

    @abstractmethod
    def _descend(self, parameter: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None: ...


class RMSPropTF(_ByParameter):
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


class Muon(_ByParameter):
    """Momentum that is orthogonalized for matrices, and Adam for all else (Jordan et al., Muon, 2024).

    A matrix W (rows, columns), to which the filters of a convolution are flattened, goes along the nearest
    semi-orthogonal matrix to its momentum: m ← μm + g, W ← (1 - ηλ)W - η·√max(1, rows/columns)·orth(g + μm). As
    `torch.optim.Muon` for two dimensions, but in the precision of the weights.

    Args:
        matrices: Weights (C_out, …) that are orthogonalized.
        others: All other parameters; they have no weight decay.
        lr: η, of the matrices.
        rest_lr: That of Adam, with β = (0.9, 0.95). A schedule that sets `lr` of the groups scales both alike.
        momentum: μ.
        weight_decay: λ, decoupled.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        others: Sequence[nn.Parameter],
        *,
        lr: float,
        rest_lr: float,
        momentum: float,
        weight_decay: float = 0.0,
    ) -> None:
        groups = [
            {"params": list(matrices), "turned": True, "rate": 1.0},
            {"params": list(others), "turned": False, "rate": rest_lr / lr},
        ]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def _descend(self, parameter: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        if group["turned"]:
            self._turn(parameter, gradient, group)
        else:
            self._adapt(parameter, gradient, group["lr"] * group["rate"])

    def _turn(self, weight: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        state, lr, momentum = self.state[weight], group["lr"], group["momentum"]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(momentum).add_(gradient)
        along = gradient.add(state["momentum"], alpha=momentum).flatten(1)
        rows, columns = along.shape
        weight.mul_(1 - lr * group["weight_decay"])
        weight.add_(orthogonalized(along).view_as(weight), alpha=-lr * max(1.0, rows / columns) ** 0.5)

    def _adapt(self, parameter: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"], state["squares"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        decays = (0.9, 0.95)
        for name, value, decay in zip(("mean", "squares"), (gradient, gradient.square()), decays, strict=True):
            state[name].lerp_(value, 1 - decay)
        mean, squares = (1 - decay ** state["step"] for decay in decays)
        parameter.addcdiv_(state["mean"], (state["squares"] / squares).sqrt_().add_(1e-8), value=-lr / mean)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return nearly the closest semi-orthogonal matrix, of the same shape: singular values between 0.7 and 1.2.

    Five Newton–Schulz iterations of a quintic polynomial (Jordan et al., Muon, 2024).
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


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
