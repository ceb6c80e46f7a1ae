"""What people do without gradients: grids, random points, and TPE, on the same box and counted in the same passes."""

# No postponed annotations: the command line reads the types of the fields.

import itertools
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor

from ramify.errors import ConfigurationError, nearest
from ramify.hypergradient.solvers import InnerSolver
from ramify.seeding import derive, rng

MOST = 32
"""The most hyper-parameters that rivals are asked for."""


@dataclass(frozen=True)
class Tried:
    """A point that a rival has tried.

    Args:
        position: (D,), on the scale of the steps.
        outer: The outer loss there.
    """

    position: tuple[float, ...]
    outer: float


Propose = Callable[[Sequence[float], Sequence[float], Sequence[Tried], int], tuple[float, ...]]
"""(lower ends, upper ends, what it tried so far, seed) → the next position."""


def grid(low: Sequence[float], high: Sequence[float], tried: Sequence[Tried], seed: int) -> tuple[float, ...]:
    """Return the next point of a grid that grows finer: 3, 5, 9, … points on every axis, ends included."""
    shares = next(itertools.islice(_shares(len(low), seed), len(tried), None))
    return tuple(a + share * (b - a) for a, b, share in zip(low, high, shares, strict=True))


def _shares(count: int, seed: int) -> Iterator[tuple[float, ...]]:
    """Yield the points of finer and finer grids on [0, 1]^D, each once, those of one grid in an order that is drawn."""
    known: set[tuple[float, ...]] = set()
    for level in itertools.count(1):
        ticks = [number / 2**level for number in range(2**level + 1)]
        if len(ticks) ** count > 100_000:  # no run comes to its end
            draw = rng(seed, "grid", level)
            while True:
                yield tuple(draw.choice(ticks) for _ in range(count))
        points = [point for point in itertools.product(ticks, repeat=count) if point not in known]
        rng(seed, "grid", level).shuffle(points)
        known.update(points)
        yield from points


def uniform(low: Sequence[float], high: Sequence[float], tried: Sequence[Tried], seed: int) -> tuple[float, ...]:
    """Return a random point of the box (Bergstra & Bengio, JMLR 2012)."""
    draw: random.Random = rng(seed, "random", len(tried))
    return tuple(draw.uniform(a, b) for a, b in zip(low, high, strict=True))


def tpe(low: Sequence[float], high: Sequence[float], tried: Sequence[Tried], seed: int) -> tuple[float, ...]:
    """Return what Optuna's TPE proposes (Bergstra et al., NIPS 2011), a function of what was tried."""
    import optuna
    from optuna.distributions import FloatDistribution

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    box = {f"{number:02}": FloatDistribution(*ends) for number, ends in enumerate(zip(low, high, strict=True))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna calls experimental is tested here
        sampler = optuna.samplers.TPESampler(seed=derive(seed, "tpe", len(tried)) % 2**32, multivariate=True)
        study = optuna.create_study(sampler=sampler)
        for each in tried:
            params = dict(zip(box, each.position, strict=True))
            study.add_trial(optuna.create_trial(params=params, distributions=dict(box), value=each.outer))
        asked = study.ask(dict(box))
    return tuple(asked.params[name] for name in box)


RIVALS: dict[str, Propose] = {"grid": grid, "random": uniform, "tpe": tpe}
"""By name."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """What a tuning is compared with.

    Args:
        rivals: Of `grid`, `random` and `tpe`.
        times: How many times the passes of the tuning each of them may use.
        tolerance: How well it solves the inner problem, relative as the tolerances of the tuning.
        solver: What solves it; as in the tuning when None.
        restart: Whether every point is tried with new weights, as networks must be, or begins with those of the last.
    """

    rivals: tuple[str, ...] = ()
    times: float = 1.0
    tolerance: float = 1e-3
    solver: InnerSolver | None = field(default=None)
    restart: bool = False

    def __post_init__(self) -> None:
        for name in self.rivals:
            if name not in RIVALS:
                raise ConfigurationError(f"unknown rival {name!r:.40}; {nearest(str(name), RIVALS)}")
        if len(set(self.rivals)) < len(self.rivals):
            raise ConfigurationError(f"`rivals` must differ, got {', '.join(self.rivals)}")
        for name in ("times", "tolerance"):
            if not 0 < getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number above 0, got {getattr(self, name)}")

    def check(self, count: int) -> None:
        """Raise `ConfigurationError` if there are too many hyper-parameters for what has no gradients."""
        if self.rivals and count > MOST:
            raise ConfigurationError(
                f"{', '.join(self.rivals)}: at most {MOST} hyper-parameters can be searched without gradients, and "
                f"there are {count}; leave out `rivals`"
            )


def proposed(rival: str, ends: tuple[Tensor, Tensor], tried: Sequence[Any], seed: int) -> Tensor:
    """Return the position (D,) that a rival tries next."""
    low, high = (each.tolist() for each in ends)
    before = [Tried(tuple(position), outer) for position, outer in tried]
    return torch.tensor(RIVALS[rival](low, high, before, seed), dtype=torch.float64)
