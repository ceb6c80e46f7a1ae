"""Conjugate gradients on products alone (Hestenes & Stiefel, 1952)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.errors import RunError

SINGULAR = (
    "the Hessian of the inner loss is singular or not positive definite at the solution, so there is no gradient: give "
    "`damping`, penalize all weights, or raise the lower end of the box"
)


@dataclass(frozen=True)
class Solved:
    """What a linear solver has come to.

    Args:
        q: The solution (N,).
        products: How many products it took.
        residual: ‖H q - b‖ / ‖b‖.
    """

    q: Tensor
    products: int
    residual: float


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    tolerance: float,
    start: Tensor | None = None,
    damping: float = 0.0,
    iterations: int = 0,
) -> Solved:
    """Solve (H + damping·I) q = b.

    Args:
        product: v (N,) → H·v (N,).
        b: (N,).
        tolerance: Of ‖H q - b‖ / ‖b‖.
        start: Where q starts (N,); zeros when None.
        damping: Added to the diagonal.
        iterations: The most; then what was reached is good enough, as it is where a direction has no positive
            curvature. 0 for as many as it takes.

    Raises:
        RunError: If `iterations` is 0 and the matrix is singular or not positive definite.
    """

    def damped(v: Tensor) -> Tensor:
        return product(v) + damping * v if damping else product(v)

    q = torch.zeros_like(b) if start is None else start.clone()
    done = int(start is not None)
    r = b - damped(q) if done else b.clone()
    p, rr = r.clone(), r @ r
    target = (tolerance * b.norm()) ** 2
    most, largest = iterations or 10 * len(b) + 100, 0.0
    while rr > target and done < most:
        image = damped(p)
        done += 1
        curvature, length = float(p @ image), float(p @ p)
        largest = max(largest, abs(curvature) / length)
        if not curvature > 10 * torch.finfo(b.dtype).eps * largest * length:
            if not iterations:
                raise RunError(SINGULAR)
            break
        alpha = rr / curvature
        q, r = q + alpha * p, r - alpha * image
        before, rr = rr, r @ r
        p = r + (rr / before) * p
    if not bool(rr <= target) and not iterations:
        raise RunError(SINGULAR)
    return Solved(q, done, float((rr / (b @ b).clamp_min(torch.finfo(b.dtype).tiny)).sqrt()))
