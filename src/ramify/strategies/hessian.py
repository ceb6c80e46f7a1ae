"""The largest eigenvalue of a Hessian, from its products with vectors alone (Lanczos, 1950)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def largest_eigenvalue(
    gradients: Sequence[Tensor], parameters: Sequence[Tensor], generator: torch.Generator, *, iterations: int = 16
) -> float:
    """Return the largest eigenvalue of ∂gradients/∂parameters.

    Args:
        gradients: First derivatives of a scalar with respect to `parameters`, with their graph.
        parameters: N numbers in all.
        generator: Of the first vector.
        iterations: Hessian-vector products, at most N; the extreme eigenvalues converge first.
    """
    sizes = [p.numel() for p in parameters]

    def product(vector: Tensor) -> Tensor:
        pieces = [v.view_as(p).to(p) for v, p in zip(vector.split(sizes), parameters, strict=True)]
        live = [(g, v) for g, v in zip(gradients, pieces, strict=True) if g.requires_grad]
        if not live:
            return torch.zeros_like(vector)
        outputs, vectors = zip(*live, strict=True)
        products = torch.autograd.grad(outputs, parameters, vectors, retain_graph=True, allow_unused=True)
        columns = [torch.zeros_like(p) if f is None else f for p, f in zip(parameters, products, strict=True)]
        return torch.cat([column.detach().flatten().cpu().double() for column in columns])

    start = torch.randn(sum(sizes), generator=generator, dtype=torch.float64)
    return float(lanczos(product, start, iterations).max())


def lanczos(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> Tensor:
    """Return the Ritz values, ascending, of a symmetric matrix (N, N) on the Krylov space of `start` (N,).

    Every vector is made orthogonal to all before it, which plain Lanczos loses in finite precision.
    """
    basis = [start / start.norm()]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    for _ in range(min(iterations, len(start))):
        image = product(basis[-1])
        diagonal.append(image @ basis[-1])
        vectors = torch.stack(basis)
        rest = image - vectors.T @ (vectors @ image)
        rest = rest - vectors.T @ (vectors @ rest)
        length = rest.norm()
        if length <= 1e-10 * image.norm().clamp_min(1e-300):
            break  # the Krylov space is invariant: its Ritz values are eigenvalues
        beside.append(length)
        basis.append(rest / length)
    count = len(diagonal)
    tridiagonal = torch.diag(torch.stack(diagonal))
    if count > 1:
        off = torch.stack(beside[: count - 1])
        tridiagonal = tridiagonal + torch.diag(off, 1) + torch.diag(off, -1)
    return torch.linalg.eigvalsh(tridiagonal)
