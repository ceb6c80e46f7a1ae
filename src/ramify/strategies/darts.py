"""DARTS: Differentiable Architecture Search (Liu, Simonyan & Yang, ICLR 2019, arXiv:1806.09055).

The output of an edge is the softmax-weighted sum of all its candidates (Eq. 2). Architecture parameters descend on
the validation loss and weights on the training loss, in turn (Algorithm 1). The gradient of the architecture is taken
at the current weights, the first-order approximation (ξ = 0), or through one virtual weight step (`order=2`, Eq. 6 to
8; see `unrolled.py`). The result keeps, for every node, the two strongest edges (section 2.4).

Where released code differs: AutoDL-Projects takes the weight step first and ranks all (operation, edge) pairs of a
node together, so both inputs may be the same state. We follow the paper; `first="weights"` gives the other order. The
released second order approximates the Hessian product by a difference; `hessian="exact"`, the default, does not. It
is computed in full precision, also where all else is in 16 bits. Released programs keep the smaller last batch of an
epoch (`drop_last=False`). For every step of the architecture DARTS' program draws a full batch anew, and
AutoDL-Projects draws as many validation images as the step before had, with replacement; here their batches follow one
another. The scripts for NAS-Bench-201 take the norm that gradients are clipped by over the architecture, too
(`legacy_clip`). The recipes have the values of the programs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.differentiable import Active, Alphas, Batch, BilevelSession, Differentiable, Moment
from ramify.strategies.unrolled import HESSIANS, VirtualStep, unrolled_gradient


@dataclass(frozen=True, kw_only=True)
class DARTS(Differentiable):
    """DARTS with the paper's settings for CIFAR-10.

    Args:
        order: 1, the first-order approximation of the architecture gradient, or 2, through one weight step.
        hessian: How the second order forms its product: `exact`, or `difference` as in the paper.

    Example:
        >>> from ramify import strategies
        >>> strategies.DARTS(epochs=2).arch_lr
        0.0003
    """

    source = "Liu, Simonyan & Yang, DARTS, ICLR 2019, arXiv:1806.09055"

    order: int = 1
    hessian: str = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2):
            raise ConfigurationError(f"`order` must be 1 or 2, got {self.order}")
        if self.order == 2 and self.gradient == "stale":
            raise ConfigurationError("`gradient='stale'` is of the first order; with `order=2` it must be 'live'")
        if self.order == 2 and not (self.decay_norms and self.label_smoothing == 0):
            raise ConfigurationError(
                "`order=2` looks through a step with weight decay on everything and without label smoothing"
            )
        if self.hessian not in HESSIANS:
            raise ConfigurationError(f"`hessian` must be one of {list(HESSIANS)}, got {self.hessian!r}")

    def mixing(self, space: Space, alphas: Alphas, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Softmax over the candidates of every edge, `none` included; all of them are computed (Eq. 2)."""
        return {name: choice.softmax(alphas[name]) for name, choice in space.choices.items()}, None

    def differentiate(self, session: BilevelSession, valid: Batch, train: Batch) -> None:
        """Take the gradient at the current weights, or after the weight step that would follow (Eq. 7)."""
        if self.order == 1:
            super().differentiate(session, valid, train)
            return
        weights = list(session.weights.supernet.module.parameters())
        momenta = session.weights.optimizer.optimizer.state
        buffers = [momenta[w].get("momentum_buffer") if w in momenta else None for w in weights]
        alphas = list(session.alphas.values())
        gradients = unrolled_gradient(
            session.losses_at(train, count=False),
            session.losses_at(valid, count=True),
            weights,
            alphas,
            [torch.zeros_like(w) if m is None else m for w, m in zip(weights, buffers, strict=True)],
            VirtualStep(session.weights.lr_at(session.step), self.momentum, self.weight_decay),
            hessian=self.hessian,
        )
        for alpha, gradient in zip(alphas, gradients, strict=True):
            alpha.grad = gradient
