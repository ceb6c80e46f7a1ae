"""The mixing weights of one forward pass, prepared once for all cells that share them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ramify.errors import ArchitectureError, nearest
from ramify.ops import NONE
from ramify.supernet.choice import Choice, Mix

Term = Tensor | Callable[[Tensor | None, Tensor], Tensor]
"""What a candidate puts out, or what adds that, times a weight, to a running sum: (sum so far, weight) → sum."""


class Mixed(nn.Module):
    """A part of a supernet that weighs candidates. Its forward pass is the definition: every candidate on its own.

    An execution (`ramify.execution`) may run it in another way, as an instance of a subclass without state of its own.
    """


@dataclass(frozen=True, eq=False)
class Mixture:
    """The mixing weights of one choice during one forward pass.

    Args:
        weights: Scalars on the network's device, `weights[edge][operation]`.
        active: For every edge the indices of the candidates to compute.
        dropped: For every edge the indices of existing candidates that are weighed but not computed. Their
            weights enter as constants where `constants` was asked for; empty otherwise.
        dropout: Probability for every operation index.
        totals: Scalars, the sum of each edge's weights.
        counted: For every edge the candidates to compute whose weight is not 0; empty unless somebody asked.
    """

    weights: tuple[tuple[Tensor, ...], ...]
    active: tuple[tuple[int, ...], ...]
    dropped: tuple[tuple[int, ...], ...]
    dropout: tuple[float, ...]
    totals: tuple[Tensor, ...]
    counted: tuple[tuple[int, ...], ...] = ()

    def terms(self, edge: int, candidate: Callable[[int], Term]) -> Iterator[tuple[Term, Tensor]]:
        """Yield the term of each active candidate of an edge, `candidate(index)`, with its weight."""
        return ((candidate(index), self.weights[edge][index]) for index in self.active[edge])

    def without(self, candidates: Iterable[tuple[int, int]]) -> Mixture:
        """Return the mixture without computing candidates, (edge, index) each, that somebody else adds."""
        done = set(candidates)
        active = tuple(tuple(o for o in row if (edge, o) not in done) for edge, row in enumerate(self.active))
        return replace(self, active=active)

    def constants(self, edge: int) -> tuple[Tensor, ...]:
        """Return the weights of an edge that count as constants."""
        return tuple(self.weights[edge][index] for index in self.dropped[edge])


def mixtures(
    choices: Mapping[str, Choice],
    mix: Mix,
    like: Tensor,
    *,
    active: Mapping[str, Tensor] | None = None,
    dropout: Mapping[str, float] | None = None,
    constants: bool = False,
    counted: bool = False,
) -> dict[str, Mixture]:
    """Return the mixtures of all choices from validated arguments of a forward pass, on the device of `like`.

    `active` stays on the host, so the path is known without a device synchronization. What is `counted` is looked up in
    `mix`, which is on the host as well where architecture parameters are.

    Raises:
        ArchitectureError: If a name or a shape does not fit the choices.
    """
    if mix.keys() != choices.keys():
        raise ArchitectureError(f"mix must have the keys {sorted(choices)}, got {sorted(mix)}")
    operations = {op: None for choice in choices.values() for op in choice.ops}
    for operation in dropout or {}:
        if operation not in operations:
            raise ArchitectureError(f"dropout: unknown operation {operation!r}; {nearest(operation, operations)}")
    for name in active or {}:
        if name not in choices:
            raise ArchitectureError(f"active: unknown choice {name!r}; {nearest(name, choices)}")
    return {
        name: _mixture(
            name,
            choice,
            mix[name],
            like,
            None if active is None else active.get(name),
            dropout or {},
            constants,
            counted,
        )
        for name, choice in choices.items()
    }


def _mixture(
    name: str,
    choice: Choice,
    mix: Tensor,
    like: Tensor,
    active: Tensor | None,
    dropout: Mapping[str, float],
    constants: bool,
    counted: bool,
) -> Mixture:
    if mix.shape != choice.shape:
        raise ArchitectureError(f"mix[{name!r}] must have shape (E, O) = {choice.shape}, got {tuple(mix.shape)}")
    if active is not None and active.shape != choice.shape:
        raise ArchitectureError(f"active[{name!r}] must have shape (E, O) = {choice.shape}, got {tuple(active.shape)}")
    on_device = mix.to(device=like.device, dtype=like.dtype, non_blocking=True)
    # One unbind instead of E·O selects: their backward passes would each fill an (E, O) tensor.
    scalars = on_device.flatten().unbind()
    count = len(choice.ops)
    computed = choice.mask if active is None else choice.mask & active
    runs = [op != NONE for op in choice.ops]
    rows = tuple(tuple(o for o, on in enumerate(row) if on and runs[o]) for row in computed.tolist())
    values = (mix.detach() != 0).tolist() if counted else []
    return Mixture(
        weights=tuple(scalars[row * count : (row + 1) * count] for row in range(len(choice.edges))),
        active=rows,
        dropped=tuple(
            tuple(o for o, on in enumerate(row) if on and constants) for row in (choice.mask & ~computed).tolist()
        ),
        dropout=tuple(float(dropout.get(op, 0.0)) for op in choice.ops),
        totals=on_device.sum(dim=1).unbind(),
        counted=tuple(tuple(o for o in row if value[o]) for row, value in zip(rows, values, strict=False)),
    )


def weighted_sum(
    terms: Iterable[tuple[Term, Tensor]], constants: Iterable[Tensor] = (), total: Tensor | None = None
) -> Tensor | None:
    """Return `total` + Σ weight · map + Σ constants: the one place where candidates are weighed.

    Args:
        terms: Pairs of a map (B, C, H, W) and its weight (scalar), made one by one while they are added.
        constants: Weights that count without a map.
        total: The sum so far, a fresh tensor; None for nothing.
    """
    for term, weight in terms:
        total = accumulate_scaled(total, term, weight) if isinstance(term, Tensor) else term(total, weight)
    for weight in constants:
        total = weight if total is None else total + weight
    return total


def accumulate(total: Tensor | None, term: Tensor) -> Tensor:
    """Add `term` to a running sum in place; no backward pass may need either tensor."""
    return term if total is None else total.add_(term)


def accumulate_scaled(total: Tensor | None, x: Tensor, weight: Tensor) -> Tensor:
    """Add `weight · x` to a running sum in one pass."""
    return x * weight if total is None else torch.addcmul(total, x, weight)
