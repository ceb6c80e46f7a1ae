"""Costs of members of a network with elastic widths, depth and kernels: polynomials, exact also in expectation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ramify.architecture import Architecture
from ramify.costs.networks import Networks
from ramify.elastic import Terms
from ramify.spaces.any_network import AnyNetwork
from ramify.spaces.knobs import DEPTH, KERNEL, WIDTH, Knob

NAMES = ("params", "macs")
"""The costs that are polynomials."""


def polynomials(networks: Networks) -> dict[str, Terms] | None:
    """Return the polynomials of `NAMES`; None where members of the space have none."""
    space = networks.space
    found = space.terms(networks.inputs.size, networks.inputs.shape) if isinstance(space, AnyNetwork) else None
    return None if found is None else dict(zip(NAMES, found, strict=True))


class PolynomialCost:
    """A cost of members, and its expectation.

    Args:
        space: Whose members.
        terms: The polynomial.
    """

    def __init__(self, space: AnyNetwork, terms: Terms) -> None:
        self.space, self.terms = space, terms
        self._knobs = {kind: [knob for knob in space.knobs if knob.kind == kind] for kind in (WIDTH, DEPTH, KERNEL)}

    def of(self, arch: Architecture) -> int:
        """Return the exact cost of a member."""
        return self.terms.exact(*([int(arch[knob.name]) for knob in knobs] for knobs in self._knobs.values()))  # type: ignore[arg-type]

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Return the expected cost (scalar, float64) for probabilities (E, O) of the candidates of every choice."""
        like = next(iter(probabilities.values()))
        rows = [_rows(probabilities.get(kind), knobs, like) for kind, knobs in self._knobs.items()]
        return self.terms.expected(*rows)

    @property
    def least(self) -> float:
        """The least cost of a member."""
        return float(self.terms.range()[0])

    @property
    def most(self) -> float:
        """The largest cost of a member."""
        return float(self.terms.range()[1])


def _rows(table: Tensor | None, knobs: Sequence[Knob], like: Tensor) -> Tensor:
    """Return probabilities (E, O) by the numbers that each row has; of what is not read the last one is sure."""
    if table is None:
        return like.new_zeros((0, 1), dtype=torch.float64)
    rows = []
    for knob, weights in zip(knobs, table.double(), strict=True):
        having = knob.having
        row = torch.nn.functional.pad(weights[having], (0, len(knob.columns) - len(having)))
        whole = torch.zeros_like(row)
        whole[len(having) - 1] = 1.0
        rows.append(torch.where(row.sum() == 0, whole, row))
    return torch.stack(rows)
