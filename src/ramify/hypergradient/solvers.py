"""Solvers of the inner problem: L-BFGS, descent with an optimizer of PyTorch, or a loop of the user's."""

# No postponed annotations: the command line reads the types of the fields.

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ramify.errors import ConfigurationError, RunError
from ramify.hypergradient.conjugate_gradients import conjugate_gradients
from ramify.hypergradient.losses import GRADIENT, Losses, check_finite


class Reached(NamedTuple):
    """What a solver has come to.

    Args:
        steps: How many gradients of the inner loss it took.
        norm: ‖∇h‖ at the end.
    """

    steps: int
    norm: float


class InnerSolver(ABC):
    """A solver of the inner problem; its constructor holds its settings."""

    source: ClassVar[str] = ""
    """The paper."""

    @abstractmethod
    def solve(self, losses: Losses, tolerance: float) -> Reached:
        """Move the weights of `losses` from where they are until ‖∇h‖ is at most `tolerance`, or as far as it goes.

        Raises:
            RunError: If the inner problem diverges.
        """


class _Point(NamedTuple):
    """A point of a line: how far, h there, its gradient (N,), and its slope along the line."""

    t: float
    value: float
    gradient: Tensor
    slope: float


@dataclass(frozen=True, kw_only=True)
class LBFGS(InnerSolver):
    """L-BFGS with a line search that goes on where values are equal but for rounding.

    Near the minimum, values of the loss say nothing any more and slopes do: there the approximate Wolfe conditions hold
    (Hager & Zhang, SIAM J. Optim. 2005, Eq. 4.1), so gradients become as small as the precision lets them.

    Args:
        memory: Steps that the curvature is taken from.
        iterations: The most, after which what was reached is the solution.
    """

    source = "Liu & Nocedal, On the Limited Memory BFGS Method, Mathematical Programming 1989"

    memory: int = 20
    iterations: int = 2000

    def __post_init__(self) -> None:
        for name in ("memory", "iterations"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")

    def solve(self, losses: Losses, tolerance: float) -> Reached:
        """Move the weights to where ‖∇h‖ ≤ tolerance.

        Raises:
            RunError: If h is not finite, or falls without end.
        """
        before = losses.passes
        value, gradient = losses.inner_gradient()
        check_finite("inner", value, gradient)
        pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=self.memory)
        for _ in range(self.iterations):
            norm = float(gradient.norm())
            if norm <= tolerance:
                break
            direction = -_two_loops(gradient, pairs)
            slope = float(direction @ gradient)
            if not slope < 0:  # rounding has spoiled the memory
                pairs.clear()
                direction, slope = -gradient, -(norm**2)
            origin = losses.vector()
            first = 1.0 if pairs else min(1.0, 1.0 / norm)
            found = _along(losses, origin, direction, _Point(0.0, value, gradient, slope), first)
            if found is None:
                losses.set(origin)
                if not pairs:  # nothing is left but rounding
                    break
                pairs.clear()
                continue
            moved, turned = found.t * direction, found.gradient - gradient
            if float(moved @ turned) > 0:
                pairs.append((moved, turned))
            value, gradient = found.value, found.gradient
        return Reached((losses.passes - before) // GRADIENT, float(gradient.norm()))


def _two_loops(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the inverse Hessian that pairs of steps and changes of the gradient imply, times a gradient (N,)."""
    q, shares = gradient.clone(), []
    for s, y in reversed(pairs):
        rho = 1 / (s @ y)
        share = rho * (s @ q)
        q -= share * y
        shares.append((rho, share))
    if pairs:
        s, y = pairs[-1]
        q *= (s @ y) / (y @ y)
    for (s, y), (rho, share) in zip(pairs, reversed(shares), strict=True):
        q += s * (share - rho * (y @ q))
    return q


_LOWER, _SLOPE, _TRIES = 1e-4, 0.9, 40


def _along(losses: Losses, origin: Tensor, direction: Tensor, start: _Point, t: float) -> _Point | None:
    """Return a point along a direction that the Wolfe conditions hold at, the weights being there; None for none.

    Raises:
        RunError: If h falls along it without end.
    """
    slack = 4 * torch.finfo(origin.dtype).eps * max(1.0, abs(start.value))
    low, high = start, None
    for _ in range(_TRIES):
        losses.set(origin + t * direction)
        value, gradient = losses.inner_gradient()
        point = _Point(t, value, gradient, float(direction @ gradient))
        finite = isfinite(value) and isfinite(point.slope)
        falls = finite and value <= start.value + _LOWER * t * start.slope
        equal = finite and value <= start.value + slack
        if falls and abs(point.slope) <= -_SLOPE * start.slope:
            return point
        if equal and _SLOPE * start.slope <= point.slope <= (2 * _LOWER - 1) * start.slope:
            return point
        if (falls or equal) and point.slope < 0:
            low = point
        else:
            high = point
        if high is None:
            t *= 4
        else:
            width = high.t - low.t
            known = isfinite(high.slope) and high.slope > 0 > low.slope
            guess = low.t - low.slope * width / (high.slope - low.slope) if known else low.t + width / 2
            t = min(max(guess, low.t + 0.1 * width), high.t - 0.1 * width)
            if not low.t < t < high.t:
                return None
    if high is None:
        raise RunError("the inner loss falls without end, so it has no minimum: it needs a penalty on its weights")
    return None


@dataclass(frozen=True, kw_only=True)
class Descent(InnerSolver):
    """Steps along the gradient over all data, by an optimizer of PyTorch, for networks.

    Args:
        steps: At most so many.
        lr: Of the steps.
        optimizer: `sgd`, or `adam`; it starts anew every time.
        momentum: Of SGD.
    """

    source = ""

    steps: int = 100
    lr: float = 0.1
    optimizer: str = "sgd"
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigurationError(f"`steps` must be at least 1, got {self.steps}")
        if self.optimizer not in ("sgd", "adam"):
            raise ConfigurationError(f"`optimizer` must be 'sgd' or 'adam', got {self.optimizer!r:.40}")
        if not (0 < self.lr < inf and 0 <= self.momentum < 1):
            raise ConfigurationError(
                f"`lr` must be above 0 and `momentum` in [0, 1), got {self.lr} and {self.momentum}"
            )

    def solve(self, losses: Losses, tolerance: float) -> Reached:
        """Take the steps.

        Raises:
            RunError: If the loss is not finite any more.
        """
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(losses.weights, lr=self.lr)
            if self.optimizer == "adam"
            else torch.optim.SGD(losses.weights, lr=self.lr, momentum=self.momentum)
        )
        steps = 0
        while True:
            value, gradient = losses.inner_gradient()
            check_finite("inner", value, gradient)
            if steps == self.steps or float(gradient.norm()) <= tolerance:
                break
            for weight, part in zip(losses.weights, losses.shaped(gradient), strict=True):
                weight.grad = part
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
        return Reached(steps + 1, float(gradient.norm()))


def own_loop(loop: Callable[[float], "int | None"]) -> InnerSolver:
    """Return a solver that is a training loop of one's own.

    Args:
        loop: Takes the wanted ‖∇h‖, which it need not reach, and changes the weights in place. It may return how many
            gradients that took, so that costs are right.
    """
    return _OwnLoop(loop)


@dataclass(frozen=True)
class _OwnLoop(InnerSolver):
    """A user's loop."""

    loop: Callable[[float], "int | None"]

    def solve(self, losses: Losses, tolerance: float) -> Reached:
        """Call the loop.

        Raises:
            RunError: If the loss is not finite behind it.
        """
        taken = int(self.loop(tolerance) or 0)
        losses.passes += GRADIENT * taken
        value, gradient = losses.inner_gradient()
        check_finite("inner", value, gradient)
        return Reached(taken + 1, float(gradient.norm()))


def polished(losses: Losses, reached: Reached) -> Reached:
    """Take Newton steps from where a solver came to, until ‖∇h‖ is rounding alone.

    A step is halved until ‖∇h‖ falls.

    Raises:
        RunError: If the Hessian is singular or not positive definite.
    """
    steps, _ = reached
    _, gradient = losses.inner_gradient()
    norm = float(gradient.norm())
    for _ in range(100):
        before, length = losses.vector(), 1.0
        step = conjugate_gradients(losses.curvature().times, gradient, tolerance=1e-8).q
        while True:
            losses.set(before - length * step)
            value, ahead = losses.inner_gradient()
            steps += 1
            if float(ahead.norm()) <= (1 - 0.2 * length) * norm:
                break
            length /= 2
            if length < 1e-3:
                losses.set(before)
                return Reached(steps, norm)
        check_finite("inner", value, ahead)
        gradient, norm = ahead, float(ahead.norm())
    return Reached(steps, norm)
