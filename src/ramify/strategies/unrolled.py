"""The architecture gradient through one virtual weight step (DARTS, section 2.3, Eq. 6 to 8).

With w' = w - ξ·(μ·m + ∇_w L_train(w, α) + λ·w), the step that SGD with momentum buffer m and weight decay λ would
take, the gradient of L_val(w'(α), α) with respect to α is

    ∇_α L_val(w', α) - ξ · ∂²L_train(w, α)/∂α∂w · v,    v = ∇_w' L_val(w', α).

The product is exact, by differentiating ∇_w L_train once more (`exact`), or the paper's central difference with
R = 0.01 / ‖v‖ over all weights together (`difference`). A loss may come in parts, whose graphs are then built one
after the other, and several processes average every gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify import parallel

LossAt = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""LossAt of (weights, architecture parameters)."""

HESSIANS = ("exact", "difference")


@dataclass(frozen=True)
class VirtualStep:
    """The weight step that is looked through.

    Args:
        xi: ξ, the learning rate of the weights.
        momentum: μ of SGD.
        weight_decay: λ of SGD.
        nesterov: Whether the momentum is Nesterov's: then the step is along g + μ·(μ·m + g) with g = ∇_w L + λ·w.
    """

    xi: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __call__(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], buffers: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return w' for weights w, their gradients and their momentum buffers."""
        along = [
            self.momentum * m + g + self.weight_decay * w for w, g, m in zip(weights, gradients, buffers, strict=True)
        ]
        if self.nesterov:
            along = [
                g + self.weight_decay * w + self.momentum * a for w, g, a in zip(weights, gradients, along, strict=True)
            ]
        return [w - self.xi * a for w, a in zip(weights, along, strict=True)]


def unrolled_gradient(
    train: Sequence[LossAt],
    validation: Sequence[LossAt],
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    buffers: Sequence[Tensor],
    step: VirtualStep,
    *,
    hessian: str = "exact",
    radius: float = 0.01,
) -> list[Tensor]:
    """Return the second-order gradient of the validation loss with respect to `alphas`; nothing is changed.

    Args:
        train: The parts whose sum is L_train.
        validation: The parts whose sum is L_val.
        weights: w; they require gradients.
        alphas: α; they require gradients.
        buffers: m, zeros before the first step.
        step: The virtual step.
        hessian: `exact` or `difference`.
        radius: R·‖v‖ of the difference. The paper's 0.01 crosses kinks of ReLU and max pooling, so on a network
            the two forms agree for much smaller values only (1e-8 relative at 1e-4 in float64).
    """
    exact = hessian == "exact"
    once = exact and len(train) == 1  # then one graph serves both derivatives
    found = [_gradients(loss(weights, alphas), weights, create_graph=once) for loss in train]
    moved = step(weights, parallel.averaged(_sum([[g.detach() for g in part] for part in found])), buffers)
    moved = [w.detach().requires_grad_() for w in moved]
    both = parallel.averaged(_sum([_gradients(loss(moved, alphas), [*alphas, *moved]) for loss in validation]))
    direct, v = both[: len(alphas)], both[len(alphas) :]
    if exact:
        again = found if once else (_gradients(loss(weights, alphas), weights, create_graph=True) for loss in train)
        product = _sum([_mixed_product(part, alphas, v) for part in again])
    else:
        product = _central_difference(train, weights, alphas, v, radius)
    return [d - step.xi * p for d, p in zip(direct, parallel.averaged(product), strict=True)]


def _mixed_product(gradients: Sequence[Tensor], alphas: Sequence[Tensor], v: Sequence[Tensor]) -> list[Tensor]:
    """∂/∂α of ⟨∇_w L, v⟩, from gradients that carry their graph."""
    live = [(g, u) for g, u in zip(gradients, v, strict=True) if g.requires_grad]
    if not live:
        return [torch.zeros_like(a) for a in alphas]
    outputs, vectors = zip(*live, strict=True)
    found = torch.autograd.grad(outputs, alphas, grad_outputs=vectors, allow_unused=True)
    return _or_zeros(found, alphas)


def _central_difference(
    train: Sequence[LossAt], weights: Sequence[Tensor], alphas: Sequence[Tensor], v: Sequence[Tensor], radius: float
) -> list[Tensor]:
    """[∇_α L_train(w + R·v, α) - ∇_α L_train(w - R·v, α)] / 2R (Eq. 8)."""
    norm = torch.stack([g.double().square().sum() for g in v]).sum().sqrt()
    r = radius / norm.clamp_min(1e-12)

    def shifted(sign: float) -> list[Tensor]:
        moved = [(w + sign * r.to(w.dtype) * g).detach() for w, g in zip(weights, v, strict=True)]
        return _sum([_gradients(loss(moved, alphas), alphas) for loss in train])

    return [((up - down) / (2 * r.to(up))) for up, down in zip(shifted(1.0), shifted(-1.0), strict=True)]


def _gradients(loss: Tensor, inputs: Sequence[Tensor], *, create_graph: bool = False) -> list[Tensor]:
    """Gradients with zeros for inputs that the loss does not depend on."""
    found = torch.autograd.grad(loss, inputs, create_graph=create_graph, allow_unused=True)
    return _or_zeros(found, inputs)


def _or_zeros(found: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(x) if g is None else g for x, g in zip(like, found, strict=True)]


def _sum(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True)]
