"""Scores of the values of decisions, and members from the indices of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ramify.architecture import Architecture
from ramify.spaces import Space


def value_scores(space: Space, scores: Mapping[str, Tensor] | None) -> list[list[float]]:
    """Return for every decision the sums of the scores (E, O) of the candidates that its values use; zeros of None."""
    if scores is None:
        return [[0.0] * len(decision.choices) for decision in space.decisions]
    tables = {name: table.detach().double().cpu().tolist() for name, table in scores.items()}
    return [
        [sum(tables[name][edge][op] for name, edge, op in space.candidates(d.name, value)) for value in d.choices]
        for d in space.decisions
    ]


def member_of(space: Space, picks: Sequence[int]) -> Architecture:
    """Return the member with the value of this index in every decision."""
    return space.architecture([d.choices[index] for d, index in zip(space.decisions, picks, strict=True)])
