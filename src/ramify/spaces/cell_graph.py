"""The graph of a cell for reports and pictures."""

from __future__ import annotations

from dataclasses import dataclass

from ramify.ops import NONE


@dataclass(frozen=True)
class CellGraph:
    """The graph of a cell, to be drawn.

    Args:
        states: Labels of the states, inputs first, output last.
        edges: (source state, target state, operation); the operation is empty where states are only joined.
        inputs: Indices of the input states.
        output: Index of the output state.
        rows: States of a chain at which the picture begins a new row; they end the row before, too. Empty for one row.
    """

    states: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]
    inputs: tuple[int, ...]
    output: int
    rows: tuple[int, ...] = ()

    @property
    def passes(self) -> bool:
        """Whether a path without `none` leads from an input to the output."""
        reached = set(self.inputs)
        for _ in self.states:
            reached |= {target for source, target, op in self.edges if source in reached and op != NONE}
        return self.output in reached
