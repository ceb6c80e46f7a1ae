"""Members of a space in forms that cost less than architectures, for strategies that look at many of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ramify.architecture import Architecture, Value
from ramify.spaces import Space

Values = tuple[Value, ...]
"""A member by the values of its decisions, in the order of the space; `Space.architecture` takes them."""


def values_of(space: Space, arch: Architecture) -> Values:
    """Return a member by the values of its decisions."""
    return tuple([arch.choices[decision.name] for decision in space.decisions])


class Encoding:
    """Members as rows of numbers: the index of every decision's choice, or the used candidates.

    Args:
        space: Whose members are encoded.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.sizes = np.array([len(decision.choices) for decision in space.decisions])
        used = [[space.candidates(d.name, value) for value in d.choices] for d in space.decisions]
        columns = {c: at for at, c in enumerate(dict.fromkeys(c for values in used for cs in values for c in cs))}
        self._rows = []
        for values in used:
            rows = np.zeros((len(values), len(columns)))
            for row, candidates in zip(rows, values, strict=True):
                np.add.at(row, [columns[candidate] for candidate in candidates], 1.0)
            self._rows.append(rows)
        self._near: dict[tuple[int, int], list[int]] = {}

    def indices(self, arch: Architecture) -> np.ndarray:
        """Return the index of every decision's choice, int64 (D,)."""
        return np.array([decision.index[arch[decision.name]] for decision in self.space.decisions])

    def architecture(self, indices: Sequence[int]) -> Architecture:
        """Return the member with these choices."""
        chosen = zip(self.space.decisions, indices, strict=True)
        return self.space.architecture(decision.choices[at] for decision, at in chosen)

    def features(self, indices: np.ndarray) -> np.ndarray:
        """Return the candidates of members (N, D), float (N, F): `space.mix` without what no member uses.

        Decisions that a member does not read have theirs, too.
        """
        return sum(rows[column] for rows, column in zip(self._rows, indices.T, strict=True))

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return uniformly drawn members (count, D)."""
        return rng.integers(0, self.sizes, (count, len(self.sizes)))

    def mutate(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return members (N, D), each with one decision mutated as by `space.mutate`."""
        mutated = indices.copy()
        free = np.flatnonzero(self.sizes > 1)
        rows = np.arange(len(indices))
        changed = rng.choice(free, len(indices))
        nears = map(self._neighbors, changed.tolist(), mutated[rows, changed].tolist())
        draws = rng.random(len(indices)).tolist()
        mutated[rows, changed] = [near[int(draw * len(near))] for near, draw in zip(nears, draws, strict=True)]
        return mutated

    def _neighbors(self, decision: int, choice: int) -> list[int]:
        if (decision, choice) not in self._near:
            varied = self.space.decisions[decision]
            near = [varied.index[value] for value in varied.neighbors(varied.choices[choice])]
            self._near[decision, choice] = near
        return self._near[decision, choice]
