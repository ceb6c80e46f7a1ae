"""HOAG: Hyperparameter Optimization with Approximate Gradient (Pedregosa, ICML 2016, arXiv:1602.02355).

Algorithm 1, for k = 1, 2, …:
    (i)   solve the inner problem until ‖∇h(x_k, λ_k)‖ ≤ ε_k, from x_{k-1}
    (ii)  solve the linear system H q = ∇_x g until ‖H q - ∇_x g‖ ≤ ε_k, from q_{k-1}
    (iii) p_k = ∇_λ g - (∂²h/∂λ∂x)ᵀ q_k
    (iv)  λ_{k+1} = project(λ_k - p_k / L)

It converges if the ε_k are summable and h has an invertible Hessian at the solutions, so not for networks. Tolerances
are relative here: to the gradient at the start of the first inner problem, and to the right-hand side.

Where released code differs. Its test of the step uses the length of the step that comes next, a rejected point is kept,
and accepted steps are taken twice, the second time behind the projection: from λ = 0 it leaves its box and ends at
1e10. Here the test is on the step that was made, a rejection returns to the last accepted point, with its weights, and
every step is projected. A power schedule of the released code begins with ε_0 twice; here it does not.
"""

# No postponed annotations: the command line reads the types of the fields.

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from torch import Tensor

from ramify.errors import ConfigurationError, nearest
from ramify.hypergradient.hyperparameter import boxes, place, positions
from ramify.hypergradient.losses import Losses, check_finite
from ramify.hypergradient.methods import ConjugateGradients, Method
from ramify.hypergradient.solvers import LBFGS, InnerSolver, Reached, polished

SCHEDULES: Mapping[str, Callable[[int], float]] = {
    "exponential": lambda k: 0.9 ** (k - 1),
    "quadratic": lambda k: k**-2.0,
    "cubic": lambda k: k**-3.0,
}
"""ε_k / ε_0, all of them summable."""

FLOOR = 1e-12
"""The smallest tolerance."""

CLOSE, EXACT = 1e-4, 1e-15
"""How well inner problems are solved before Newton steps do the rest, and linear systems, where all is exact."""

LONGEST = 2.0
"""The longest step of the secant rule, root mean square."""

STEPS = ("adaptive", "secant", "fixed")


@dataclass(frozen=True)
class Iteration:
    """An iteration of HOAG.

    Args:
        number: k, from 1.
        position: λ_k (D,) on the scale of the steps.
        outer: g.
        gradient: p_k (D,).
        tolerance: ε_k.
        smoothness: L behind the test of the step that led here.
        accepted: Whether that step was.
        reached: What the inner solver came to.
        products: Hessian-vector products of the linear system.
        residual: Of the linear system, relative.
        passes: What was computed so far.
    """

    number: int
    position: Tensor
    outer: float
    gradient: Tensor
    tolerance: float
    smoothness: float
    accepted: bool
    reached: Reached
    products: int
    residual: float
    passes: int


@dataclass(frozen=True, kw_only=True)
class HOAG:
    """HOAG with a step that adapts.

    Args:
        iterations: k goes from 1 to here.
        method: How the hyper-gradient is found.
        solver: What solves the inner problem; `own_loop` makes one of a training loop.
        schedule: ε_k: `exponential`, ε_0·0.9^(k-1); `quadratic`, ε_0/k²; or `cubic`, ε_0/k³.
        epsilon: ε_0.
        exact: Whether all is solved as well as the precision allows, the inner problem by Newton steps in the end; then
            ε_k is for the test of the step alone.
        step: `adaptive`, L falls by 5 % where g falls as it should, and doubles where g rises by 20 %, which rejects
            the step and halves all later tolerances; `secant`, ours, L is the curvature that the last two gradients
            show, no step is longer than 2 (root mean square), and one is rejected where g rises by more than ten times
            the tolerance; or `fixed`.
        smoothness: L at first; 0 for ‖p_1‖/√D, with which the first step has a length of 1 (root mean square).

    Raises:
        ConfigurationError: If a setting is out of its range.

    Example:
        >>> import torch
        >>> from ramify.hypergradient import HOAG, HyperParameter, Losses
        >>> x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        >>> a, b = torch.tensor([1.0, 2.0]).double(), torch.tensor([1.0, 2.0]).double()
        >>> penalty = HyperParameter(0.0)
        >>> losses = Losses(
        ...     [x],
        ...     [penalty],
        ...     inner=lambda w: ((a * w[0] - b).square().sum() + penalty.exp() * w[0].square().sum()) / 2,
        ...     outer=lambda w: (w[0].sum() - 1).square() / 2,
        ... )
        >>> rows = list(HOAG(step="fixed", smoothness=0.25, iterations=15).descend(losses))
        >>> round(rows[0].gradient.item(), 3), round(penalty.item(), 3)
        (-0.123, 0.693)
    """

    iterations: int = 20
    method: Method = field(default_factory=ConjugateGradients)
    solver: InnerSolver = field(default_factory=LBFGS)
    schedule: str = "exponential"
    epsilon: float = 1e-3
    exact: bool = False
    step: str = "adaptive"
    smoothness: float = 0.0

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ConfigurationError(f"`iterations` must be at least 1, got {self.iterations}")
        for name, known in (("schedule", SCHEDULES), ("step", STEPS)):
            value = getattr(self, name)
            if value not in known:
                raise ConfigurationError(f"unknown {name} {value!r:.40}; {nearest(str(value), known)}")
        if not 0 < self.epsilon < inf:
            raise ConfigurationError(f"`epsilon` must be a number above 0, got {self.epsilon}")
        if not 0 <= self.smoothness < inf or (self.step == "fixed" and not self.smoothness):
            raise ConfigurationError(
                f"`smoothness` must be a number from 0, and above 0 where the step is fixed, got {self.smoothness}"
            )
        if not (isinstance(self.method, Method) and isinstance(self.solver, InnerSolver)):
            raise ConfigurationError(
                f"`method` and `solver` must be some of the library's classes, or one's own, got {self.method!r:.60} "
                f"and {self.solver!r:.60}; `own_loop` makes a solver of a function"
            )

    def tolerance(self, k: int, rejections: int) -> float:
        """Return ε_k behind so many rejections."""
        return max(FLOOR, self.epsilon * SCHEDULES[self.schedule](k) * 0.5**rejections)

    def descend(self, losses: Losses) -> Iterator[Iteration]:
        """Tune the hyper-parameters of `losses`, and yield every iteration.

        In the end, hyper-parameters and weights are those of the accepted iteration with the smallest outer loss.

        Raises:
            RunError: If a Hessian is singular, or the inner problem diverges.
        """
        tuner = Tuner(self, losses)
        while tuner.number < self.iterations:
            yield tuner.iterate()
        tuner.finish()


class Tuner:
    """HOAG at work: its state between two iterations is `state_dict`.

    Args:
        settings: Of HOAG.
        losses: What is tuned.
    """

    def __init__(self, settings: HOAG, losses: Losses) -> None:
        self.settings, self.losses = settings, losses
        self.low, self.high = boxes(losses.hyperparameters)
        self.number = self.rejections = 0
        self.scale = self.smoothness = 0.0
        self.position = positions(losses.hyperparameters)
        self.first = losses.vector()
        self.q: Tensor | None = None
        self.accepted: dict[str, Any] = {}
        self.best: dict[str, Any] = {}

    def iterate(self) -> Iteration:
        """Take the next iteration of Algorithm 1, and place the hyper-parameters for the one behind it."""
        settings, losses = self.settings, self.losses
        place(losses.hyperparameters, self.position)
        self.number += 1
        epsilon = settings.tolerance(self.number, self.rejections)
        reached = self._solved(CLOSE if settings.exact else epsilon)
        found = settings.method.gradient(losses, EXACT if settings.exact else epsilon, self.q)
        check_finite("outer", found.outer, found.gradient)
        if found.steps:
            reached = Reached(found.steps, reached.norm)
        self.q = found.q
        here = {"position": self.position, "outer": found.outer, "gradient": found.gradient, "epsilon": epsilon}
        accepted = self._test(here)
        row = Iteration(
            self.number,
            self.position,
            found.outer,
            found.gradient,
            epsilon,
            self.smoothness,
            accepted,
            reached,
            found.products,
            found.residual,
            losses.passes,
        )
        if accepted:
            self.accepted = {**here, "weights": losses.vector(), "q": self.q}
            if not self.best or found.outer < self.best["outer"]:
                self.best = {**self.accepted, "number": self.number}
        else:  # back to the last accepted point, with all that belongs to it
            losses.set(self.accepted["weights"])
            self.q = self.accepted["q"]
        self.position = (self.accepted["position"] - self.accepted["gradient"] / self.smoothness).clamp(
            self.low, self.high
        )
        place(losses.hyperparameters, self.position)
        return row

    def _solved(self, tolerance: float) -> Reached:
        """Solve the inner problem; the tolerance is relative to the gradient that there was at first."""
        if self.settings.method.solves:
            if getattr(self.settings.method, "restart", False):
                self.losses.set(self.first)
            return Reached(0, 0.0)
        if not self.scale:
            value, gradient = self.losses.inner_gradient()
            check_finite("inner", value, gradient)
            self.scale = float(gradient.norm()) or 1.0
        reached = self.settings.solver.solve(self.losses, tolerance * self.scale)
        return polished(self.losses, reached) if self.settings.exact else reached

    def _test(self, here: Mapping[str, Any]) -> bool:
        """Adapt L by the step that led here, and return whether that is accepted."""
        settings, last = self.settings, self.accepted
        if not last:
            length = float(here["gradient"].norm())
            flat = length <= 1e-3
            self.smoothness = settings.smoothness or (1.0 if flat else length / len(self.position) ** 0.5)
            return True
        if settings.step == "fixed":
            return True
        if settings.step == "secant":
            return self._secant(here, last)
        distance = float((here["position"] - last["position"]).norm())
        bound = last["outer"] + here["epsilon"] / 4 + 1.25 * last["epsilon"] * distance
        if here["outer"] <= bound - self.smoothness * distance**2:
            self.smoothness *= 0.95
        elif here["outer"] >= 1.2 * last["outer"]:
            self.smoothness *= 2
            self.rejections += 1
            return False
        return True

    def _secant(self, here: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
        """Take L from the change of the gradient along the step; return whether g rose no more than its errors do."""
        step, turned = here["position"] - last["position"], here["gradient"] - last["gradient"]
        accepted = here["outer"] <= last["outer"] + 10 * last["epsilon"] * abs(last["outer"])
        square = float(step.square().sum())
        curvature = float(step @ turned) / square if square else self.smoothness
        least, most = (0.1 * self.smoothness, 10 * self.smoothness)
        self.smoothness = (
            min(max(curvature, least), most) if accepted else min(max(curvature, 2 * self.smoothness), most)
        )
        gradient = here["gradient"] if accepted else last["gradient"]
        self.smoothness = max(self.smoothness, float(gradient.square().mean().sqrt()) / LONGEST)
        self.rejections += not accepted
        return accepted

    def finish(self) -> None:
        """Return hyper-parameters and weights to the accepted iteration with the smallest outer loss."""
        place(self.losses.hyperparameters, self.best["position"])
        self.losses.set(self.best["weights"])

    _KEPT = ("number", "rejections", "scale", "smoothness", "position", "first", "q", "accepted", "best")

    def state_dict(self) -> dict[str, Any]:
        """Return all that a continuation needs; tensors are not copied."""
        kept = {name: getattr(self, name) for name in self._KEPT}
        return {**kept, "weights": self.losses.vector(), "passes": self.losses.passes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        for name in self._KEPT:
            setattr(self, name, state[name])
        self.position = self.position.cpu()
        for point in (self.accepted, self.best):
            point.update({name: point[name].cpu() for name in ("position", "gradient") if name in point})
        self.losses.set(state["weights"])
        self.losses.passes = state["passes"]
        place(self.losses.hyperparameters, self.position)
