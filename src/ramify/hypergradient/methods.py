"""Ways to the gradient of the outer loss with respect to hyper-parameters.

By the implicit function theorem, at x(λ) = argmin of h it is

    p = ∂g/∂λ - (∂²h/∂λ∂x)ᵀ q,    H q = ∂g/∂x,    H = ∂²h/∂x².

What differs is how q is found: `ConjugateGradients`, the `Neumann` series, or the `Identity` in the place of H. The
`Unrolled` way follows the steps of the inner solver backwards instead.
"""

# No postponed annotations: the command line reads the types of the fields.

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import torch
from torch import Tensor

from ramify.errors import ConfigurationError, RunError
from ramify.hypergradient.conjugate_gradients import Solved, conjugate_gradients
from ramify.hypergradient.losses import Losses


@dataclass(frozen=True)
class Hypergradient:
    """A gradient of the outer loss with respect to hyper-parameters.

    Args:
        outer: g.
        gradient: p (D,), on the scale of the steps.
        q: The solution of the linear system (N,), from which the next one starts; None where there is none.
        products: How many Hessian-vector products it took.
        residual: Of the linear system, relative; 0 where there is none.
        steps: How many steps of the inner problem it took.
    """

    outer: float
    gradient: Tensor
    q: Tensor | None = None
    products: int = 0
    residual: float = 0.0
    steps: int = 0


class Method(ABC):
    """A way to the hyper-gradient; its constructor holds its settings."""

    source: ClassVar[str] = ""
    """The paper."""

    solves: ClassVar[bool] = False
    """Whether it takes the steps of the inner problem itself, so that no solver goes before."""

    @abstractmethod
    def gradient(self, losses: Losses, tolerance: float = 1e-12, start: Tensor | None = None) -> Hypergradient:
        """Return the hyper-gradient at the current weights and hyper-parameters.

        Args:
            losses: Their weights solve the inner problem, as well as they do.
            tolerance: Of the linear system, relative.
            start: The q (N,) to start from.
        """


class Implicit(Method):
    """The implicit function theorem with some solution of the linear system."""

    @abstractmethod
    def solve(self, product: Callable[[Tensor], Tensor], b: Tensor, tolerance: float, start: Tensor | None) -> Solved:
        """Return q of H q = b."""

    def gradient(self, losses: Losses, tolerance: float = 1e-12, start: Tensor | None = None) -> Hypergradient:
        """Return ∂g/∂λ - (∂²h/∂λ∂x)ᵀ q."""
        value, along, direct = losses.outer_gradients()
        curvature = losses.curvature()
        found = self.solve(curvature.times, along, tolerance, start)
        p = direct - curvature.across(found.q)
        return Hypergradient(value, p, found.q, found.products, found.residual)


@dataclass(frozen=True, kw_only=True)
class ConjugateGradients(Implicit):
    """Conjugate gradients to the tolerance of HOAG, or for networks a few iterations on a damped Hessian.

    Args:
        damping: Added to the diagonal of the Hessian.
        iterations: The most; 0 for as many as the tolerance takes, where the Hessian must be positive definite.
    """

    source = "Pedregosa, Hyperparameter Optimization with Approximate Gradient, ICML 2016, arXiv:1602.02355"

    damping: float = 0.0
    iterations: int = 0

    def __post_init__(self) -> None:
        _check(self, damping=(0, inf), iterations=(0, inf))

    def solve(self, product: Callable[[Tensor], Tensor], b: Tensor, tolerance: float, start: Tensor | None) -> Solved:
        """Return q of (H + damping·I) q = b."""
        limits: dict[str, Any] = {"damping": self.damping, "iterations": self.iterations}
        return conjugate_gradients(product, b, tolerance=tolerance, start=start, **limits)


@dataclass(frozen=True, kw_only=True)
class Neumann(Implicit):
    """The Neumann series of the inverse Hessian: lr · Σ (I - lr·H)^j, j = 0 … terms (Algorithm 3 there).

    Args:
        terms: Products, one for each term behind the first.
        lr: Below 2 divided by the largest eigenvalue of the Hessian, or the series diverges.
    """

    source = (
        "Lorraine, Vicol & Duvenaud, Millions of Hyperparameters by Implicit Differentiation, AISTATS 2020, "
        "arXiv:1911.02590"
    )

    terms: int = 20
    lr: float = 0.1

    def __post_init__(self) -> None:
        _check(self, terms=(0, inf), lr=(0, inf))

    def solve(self, product: Callable[[Tensor], Tensor], b: Tensor, tolerance: float, start: Tensor | None) -> Solved:
        """Return the partial sum; it starts anew every time.

        Raises:
            RunError: If the series diverges.
        """
        term, total = b, b.clone()
        for _ in range(self.terms):
            term = term - self.lr * product(term)
            total = total + term
        length = b.norm()
        if not bool(term.norm() <= 1e3 * length):
            raise RunError(
                f"the Neumann series diverges: `lr` {self.lr:g} is above 2 / the largest eigenvalue; lower it"
            )
        left = float(term.norm() / length) if float(length) else 0.0  # H q - b is minus the next term, or nearly
        return Solved(self.lr * total, self.terms, left)


@dataclass(frozen=True, kw_only=True)
class Identity(Implicit):
    """The identity, times a factor, in the place of the inverse Hessian: one step is looked through (T1 - T2).

    Args:
        lr: The factor.
    """

    source = (
        "Luketina et al., Scalable Gradient-Based Tuning of Continuous Regularization Hyperparameters, ICML 2016, "
        "arXiv:1511.06727"
    )

    lr: float = 0.1

    def __post_init__(self) -> None:
        _check(self, lr=(0, inf))

    def solve(self, product: Callable[[Tensor], Tensor], b: Tensor, tolerance: float, start: Tensor | None) -> Solved:
        """Return lr·b."""
        return Solved(self.lr * b, 0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Unrolled(Method):
    """The derivative of the weights that some steps of SGD lead to, in reverse mode (Maclaurin et al., section 2).

    The steps are x ← x - lr·m, m ← momentum·m + ∇h(x, λ), from the current weights, which move to where they lead.
    The points on the way are kept, and the second derivatives are computed there on the way back. With one step from
    fixed weights, this is the second order of DARTS (Liu et al., Eq. 7).

    Args:
        steps: T.
        lr: Of the steps.
        momentum: Of the steps; it starts at 0.
        last: How many of the last steps are differentiated (truncated: Shaban et al., 2019); 0 for all.
        restart: Whether the steps always begin at the weights that there were at first, instead of going on.
    """

    source = (
        "Maclaurin, Duvenaud & Adams, Gradient-based Hyperparameter Optimization through Reversible Learning, "
        "ICML 2015, arXiv:1502.03492"
    )
    solves = True

    steps: int = 100
    lr: float = 0.1
    momentum: float = 0.0
    last: int = 0
    restart: bool = False

    def __post_init__(self) -> None:
        _check(self, steps=(1, inf), lr=(0, inf), momentum=(0, 1), last=(0, self.steps))

    def gradient(self, losses: Losses, tolerance: float = 1e-12, start: Tensor | None = None) -> Hypergradient:
        """Take the steps, and return the derivative of g behind them.

        Raises:
            RunError: If they diverge.
        """
        x, m, way = losses.vector(), torch.zeros_like(losses.vector()), []
        first = self.steps - (self.last or self.steps)
        for step in range(self.steps):
            if step >= first:
                way.append(x)
            _, along = losses.inner_gradient(_leaves(losses, x))
            m = self.momentum * m + along
            x = x - self.lr * m
        value, x_bar, p = losses.outer_gradients(_leaves(losses, x))
        m_bar = torch.zeros_like(x_bar)
        for x_then in reversed(way):
            m_bar = m_bar - self.lr * x_bar
            curvature = losses.curvature(_leaves(losses, x_then))
            p = p + curvature.across(m_bar)
            if x_then is not way[0]:
                x_bar, m_bar = x_bar + curvature.times(m_bar), self.momentum * m_bar
        losses.set(x)
        return Hypergradient(value, p, products=2 * len(way) - 1, steps=self.steps)


def _leaves(losses: Losses, vector: Tensor) -> list[Tensor]:
    return [part.clone().requires_grad_() for part in losses.shaped(vector)]


def _check(settings: Any, **ranges: tuple[float, float]) -> None:
    """Raise `ConfigurationError` for a setting that is not in its range, ends included."""
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if not (low <= value <= high and value < inf):
            to = f"in [{low:g}, {high:g}]" if high < inf else f"a number from {low:g}"
            raise ConfigurationError(f"`{name}` must be {to}, got {value}")
