"""Final selection: scoring several candidates by their inherited weights and taking the best."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from ramify.architecture import Architecture
from ramify.errors import RunError
from ramify.spaces import Space
from ramify.strategies.trials import Trial, Trials, fault
from ramify.training import Metrics, Weights, single_path


class Selection:
    """Scores candidates one by one. Every score is a safe point.

    Args:
        space: What the candidates are members of.
        weights: Of the supernet.
        batches: Validation batches of 256 images that a candidate is scored on; 0 for all.
    """

    def __init__(self, space: Space, weights: Weights, batches: int = 0) -> None:
        self.space, self.weights, self.batches = space, weights, batches
        self.trials = Trials()

    @property
    def best(self) -> Trial | None:
        """The best candidate so far, None before any could be scored."""
        return self.trials.best if self.trials and not self.trials.best.failed else None

    @property
    def decided(self) -> bool:
        """Whether candidates differ in score."""
        return len({trial.score for trial in self.trials if not trial.failed}) > 1

    def run(self, candidates: Sequence[Architecture]) -> Iterator[Metrics]:
        """Score the remaining candidates.

        Raises:
            RunError: If not a single one could be scored.
        """
        metrics = {trial.architecture: trial.metrics for trial in self.trials}
        while len(self.trials) < len(candidates):
            number = len(self.trials)
            arch = candidates[number]
            if arch not in metrics:
                measurement = self.weights.measure(*single_path(self.space, arch), batches=self.batches)
                metrics[arch] = {"score": measurement.score, "loss": measurement.loss}
            self.trials.append(_trial(number, arch, metrics[arch]))
            yield Metrics("trial", number + 1, len(candidates), self._row())
        if self.trials and self.best is None:
            raise RunError(f"all {len(self.trials)} candidates failed; the last: {self.trials[-1].failed}")

    def _row(self) -> dict[str, Any]:
        trial, leader = self.trials[-1], self.best
        architecture = {"notation": self.space.format(trial.architecture), **trial.architecture.to_dict()}
        return {
            "trial": trial.number,
            **({} if trial.failed else {"score": trial.score}),
            **({} if leader is None else {"best": leader.score}),
            "metrics": {} if trial.failed else dict(trial.metrics),
            "architecture": architecture,
            **({"failed": trial.failed} if trial.failed else {}),
        }

    def state_dict(self) -> list[Any]:
        """Return all scores."""
        return [[trial.architecture.to_json(), dict(trial.metrics)] for trial in self.trials]

    def load_state_dict(self, state: Sequence[Any]) -> None:
        """Continue from `state`."""
        self.trials = Trials(
            _trial(number, Architecture.from_json(text), metrics) for number, (text, metrics) in enumerate(state)
        )


def _trial(number: int, arch: Architecture, metrics: Mapping[str, float]) -> Trial:
    return Trial(number, arch, metrics, failed=fault(metrics))


def most_probable(space: Space, logits: Mapping[str, Tensor], count: int) -> list[Architecture]:
    """Return the `count` members (all, in a smaller space) with the largest Σ `logits` of their candidates.

    Exact: decisions are independent, so the best members extend the best choices of the decisions before. With
    log-probabilities (E, O) these are the most probable members.
    """
    tables = {name: table.detach().double().cpu().tolist() for name, table in logits.items()}
    best_so_far: list[tuple[float, tuple[Any, ...]]] = [(0.0, ())]
    for decision in space.decisions:
        gains = [
            (sum(tables[name][edge][op] for name, edge, op in space.candidates(decision.name, value)), value)
            for value in decision.choices
        ]
        gains = heapq.nlargest(count, gains, key=lambda gain: gain[0])
        extended = ((total + gain, (*values, value)) for total, values in best_so_far for gain, value in gains)
        best_so_far = heapq.nlargest(count, extended, key=lambda member: member[0])
    return [space.architecture(values) for _, values in best_so_far]
