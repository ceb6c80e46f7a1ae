"""A tuning at work, as a session: HOAG first, then its rivals on the same box, then what all of them have found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ramify.hypergradient.hoag import CLOSE, HOAG, Iteration, Tuner
from ramify.hypergradient.hyperparameter import boxes, place
from ramify.hypergradient.problems import Problem
from ramify.hypergradient.rivals import Against, proposed
from ramify.hypergradient.solvers import LBFGS, polished
from ramify.training import Metrics, Work

OURS = "hoag"
"""What the tuning itself is called among its rivals."""

MOST_SHOWN = 64
"""The most hyper-parameters whose values are in the history."""


class TuningSession:
    """A tuning and its rivals. Every iteration, every point that a rival has tried, is a safe point.

    Args:
        problem: What is tuned.
        hoag: How.
        against: With what it is compared.
        work: Task, seed and device.
    """

    def __init__(self, problem: Problem, hoag: HOAG, against: Against, work: Work) -> None:
        self.problem, self.settings, self.against, self.work = problem, hoag, against, work
        self.losses = problem.losses(work)
        self.tuned = self.losses.hyperparameters
        self.count = sum(each.numel() for each in self.tuned)
        against.check(self.count)
        self.tuner = Tuner(hoag, self.losses)
        self.cost = 0
        self.spent = dict.fromkeys(against.rivals, 0)
        self.tried: dict[str, list[tuple[list[float], float]]] = {name: [] for name in against.rivals}
        self.costs: dict[str, list[int]] = {name: [] for name in against.rivals}
        self.exact: dict[str, float] = {}

    def run(self) -> Iterator[Metrics]:
        """Tune, let the rivals try, and measure what was found."""
        while self.tuner.number < self.settings.iterations:
            row = self.tuner.iterate()
            self.cost = row.passes
            yield Metrics("tune", row.number, self.settings.iterations, self._row(row))
        for rival in self.against.rivals:
            yield from self._rival(rival)
        if self.problem.convex:
            yield from self._measure()
        self.tuner.finish()

    def _row(self, row: Iteration) -> dict[str, Any]:
        """Return the row of an iteration, measured where it was: at λ_k and x_k."""
        after = self.tuner.position
        place(self.tuned, row.position)
        shown = {
            "iteration": row.number,
            "validation_loss": row.outer,
            **self._values(),
            "gradient_norm": float(row.gradient.norm()),
            "tolerance": row.tolerance,
            "smoothness": row.smoothness,
            "accepted": row.accepted,
            "inner_iterations": row.reached.steps,
            "products": row.products,
            "residual": row.residual,
            "cost": row.passes,
            **self.problem.measured(self.losses, self.work),
        }
        place(self.tuned, after)
        return shown

    def _values(self) -> dict[str, Any]:
        """Return the values of the hyper-parameters; of many, how they are spread."""
        if self.count <= MOST_SHOWN:
            return {"values": {each.name: each.numbers for each in self.tuned}}
        spread = torch.cat([each.detach().reshape(-1).cpu() for each in self.tuned])
        return {
            "lowest_value": float(spread.min()),
            "mean_value": float(spread.mean()),
            "highest_value": float(spread.max()),
        }

    def _rival(self, rival: str) -> Iterator[Metrics]:
        """Let a rival try points until it has used its share of passes; the last may go beyond it."""
        against, losses = self.against, self.losses
        budget = max(1, round(against.times * self.cost))
        while self.spent[rival] < budget:
            position = proposed(rival, boxes(self.tuned), self.tried[rival], self.work.seed)
            place(self.tuned, position)
            if against.restart or not self.tried[rival]:
                losses.set(self.tuner.first)
            before = losses.passes
            solver = against.solver or self.settings.solver
            solver.solve(losses, against.tolerance * (self.tuner.scale or 1.0))
            outer = losses.outer_value()
            self.spent[rival] += losses.passes - before
            self.tried[rival].append((position.tolist(), outer))
            self.costs[rival].append(self.spent[rival])
            row = {
                "evaluation": len(self.tried[rival]),
                "validation_loss": outer,
                "best": min(value for _, value in self.tried[rival]),
                **self._values(),
                "cost": self.spent[rival],
            }
            yield Metrics(rival, min(self.spent[rival], budget), budget, row)

    def _measure(self) -> Iterator[Metrics]:
        """Solve the inner problem as well as can be where each has found the least loss."""
        ways = [OURS, *self.against.rivals]
        for number, way in enumerate(ways, start=1):
            if way in self.exact:
                continue
            self.tuner.finish()  # so that it does not matter what was measured before
            place(self.tuned, self._best(way))
            polished(self.losses, LBFGS().solve(self.losses, CLOSE * (self.tuner.scale or 1.0)))
            self.exact[way] = self.losses.outer_value()
            yield Metrics("measure", number, len(ways), {"way": way, "validation_loss": self.exact[way]})

    def _best(self, way: str) -> Tensor:
        if way == OURS:
            return self.tuner.best["position"]
        return torch.tensor(min(self.tried[way], key=lambda each: each[1])[0], dtype=torch.float64)

    # What comes of it

    def values(self) -> dict[str, Any]:
        """Return the tuned values by name."""
        place(self.tuned, self.tuner.best["position"])
        return {each.name: each.numbers for each in self.tuned}

    def summary(self) -> dict[str, Any]:
        """Return how far everybody came, and at what cost in passes."""
        best = self.tuner.best
        place(self.tuned, best["position"])
        reached: dict[str, Any] = {OURS: {"validation_loss": best["outer"], "cost": self.cost}}
        for rival, tried in self.tried.items():
            losses = [outer for _, outer in tried]
            equal = [outer for outer, cost in zip(losses, self.costs[rival], strict=True) if cost <= self.cost]
            reached[rival] = {
                "validation_loss": min(losses),
                "cost": self.spent[rival],
                "evaluations": len(losses),
                "at_equal_cost": min(equal) if equal else None,
            }
        for way, value in self.exact.items():
            reached[way]["exact"] = value
        return {
            "validation_loss": self.exact.get(OURS, best["outer"]),
            "iteration": best["number"],
            "rejections": self.tuner.rejections,
            "cost": self.cost,
            **self.problem.measured(self.losses, self.work),
            "reached": reached,
        }

    _KEPT = ("cost", "spent", "tried", "costs", "exact")

    def state_dict(self) -> dict[str, Any]:
        """Return all that a continuation needs."""
        return {"tuner": self.tuner.state_dict(), **{name: getattr(self, name) for name in self._KEPT}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self.tuner.load_state_dict(state["tuner"])
        for name in self._KEPT:
            setattr(self, name, state[name])
