"""Operator scores, the mean angle of children that use an operator, and the rules by which operators are dropped.

Hu et al., ABS, ECCV 2020, arXiv:2004.13431, section 3.3 and algorithm 1. Drawing and drop rules are those of the
released code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.seeding import stream
from ramify.shrinking.candidates import Lists, without
from ramify.shrinking.drawing import Draw, every_child, is_small

Operator = tuple[int, int]
"""(layer, index of the operation)."""

TRIES = 100
"""Draws for every child that is wanted, before fewer have to do."""

POOLS = ("shared", "own")


@dataclass(frozen=True)
class Score:
    """The score of an operator.

    Args:
        angle: Mean angle in radians of the children that use it.
        error: Standard error of that mean; 0 where all children were looked at.
        samples: Number of children.
        enough: Whether these are as many as it takes to drop it.
    """

    angle: float
    error: float
    samples: int
    enough: bool = True


def operator_scores(
    lists: Lists,
    draw: Draw,
    angles: Callable[[Tensor], Tensor],
    *,
    seed: int,
    step: int = 0,
    samples: int = 1000,
    min_samples: int = 1,
    pools: str = "shared",
    legal: Callable[[Tensor], Tensor] | None = None,
) -> dict[Operator, Score]:
    """Score the operators of all layers that have more than one.

    Args:
        lists: What is left.
        draw: How children are drawn.
        angles: Children (N, L) → their angles (N,).
        seed: All draws follow from it.
        step: Number of the shrinking step; every step draws other children.
        samples: Children for every operator. 0: all there are; where there are no more than asked for, all as well.
        min_samples: With fewer an operator is not to be dropped.
        pools: `shared`: no child is drawn twice, and a child counts for every operator that it uses, so that later
            operators need fewer of their own, as in the released code; `own`: children are drawn for each operator
            alone, which is slower and has no bias towards the operators that are drawn for first.
        legal: Children (N, L) → bool (N,), those that may count; None for all.

    Returns:
        (layer, operator) → score, with no children an angle of 0.
    """
    operators = [(layer, op) for layer, left in enumerate(lists) if len(left) > 1 for op in left]
    if is_small(lists, samples):
        children = every_child(lists)
        children = children if legal is None else children[legal(children)]
        by_child = angles(children)
        pooled = {key: by_child[children[:, key[0]] == key[1]] for key in operators}
        return {key: _score(pool, exact=True, enough=len(pool) > 0) for key, pool in pooled.items()}
    seen: set[bytes] = set()
    pool: list[Tensor] = []
    counts = dict.fromkeys(operators, 0)
    scores: dict[Operator, Score] = {}
    for key in operators:
        generator = stream(seed, "children", step, *key)
        if pools == "own":
            seen, pool, counts = set(), [], dict.fromkeys(operators, 0)
        wanted = samples - counts[key]
        left = TRIES * wanted
        while wanted > 0 and left > 0:
            count = min(left, max(wanted, 64))
            left -= count
            drawn = draw(count, generator, key)
            if not len(drawn):  # there are no more
                break
            fresh = _fresh(drawn, seen, wanted, legal)
            wanted -= len(fresh)
            pool.append(fresh)
            if pools == "shared":
                for other in operators:
                    counts[other] += int((fresh[:, other[0]] == other[1]).sum())
        if pools == "own":
            own = angles(torch.cat(pool)) if pool else torch.zeros(0, dtype=torch.float64)
            scores[key] = _score(own, exact=False, enough=len(own) >= min_samples)
    if pools == "shared":
        children = torch.cat(pool) if pool else torch.zeros(0, len(lists), dtype=torch.long)
        by_child = angles(children)
        for layer, op in operators:
            first = by_child[children[:, layer] == op][:samples]
            scores[layer, op] = _score(first, exact=False, enough=len(first) >= min_samples)
    return scores


def _fresh(drawn: Tensor, seen: set[bytes], wanted: int, legal: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Return the first `wanted` children that were not drawn before and are legal, and remember them."""
    allowed = [True] * len(drawn) if legal is None else legal(drawn).tolist()
    kept: list[int] = []
    for row, (child, may) in enumerate(zip(drawn.to(torch.int16).numpy(), allowed, strict=True)):
        if len(kept) == wanted:
            break
        name = child.tobytes()
        if may and name not in seen:
            seen.add(name)
            kept.append(row)
    return drawn[kept]


def _score(angles: Tensor, *, exact: bool, enough: bool) -> Score:
    count = len(angles)
    if count == 0:
        return Score(0.0, 0.0, 0, False)
    error = 0.0 if exact or count == 1 else float(angles.std()) / count**0.5
    return Score(float(angles.mean()), error, count, enough)


def drop_lowest(
    lists: Lists,
    scores: Mapping[Operator, Score],
    count: int,
    may: Callable[[Lists], bool] = lambda lists: True,
) -> list[Operator]:
    """Return the operators to drop when the lowest of all layers go, in order, at most `count`.

    The last one of a layer always stays, and so does whatever has too few samples, and whatever `may` does not allow to
    be missing.
    """
    ranked = _ranked(scores)
    dropped: list[Operator] = []
    for place, (layer, op) in enumerate(ranked):
        if len(dropped) == count:
            break
        if any(other == layer for other, _ in ranked[place + 1 :]) and may(without(lists, [*dropped, (layer, op)])):
            dropped.append((layer, op))
    return dropped


def drop_from_each(
    lists: Lists,
    scores: Mapping[Operator, Score],
    may: Callable[[Lists], bool] = lambda lists: True,
) -> list[Operator]:
    """Return the operators to drop when the lowest of every layer with more than one goes.

    Where that one has too few samples, or `may` does not allow it to be missing, the next one goes.
    """
    ranked = _ranked(scores)
    dropped: list[Operator] = []
    for layer, left in enumerate(lists):
        for operator in (key for key in ranked if key[0] == layer) if len(left) > 1 else ():
            if may(without(lists, [*dropped, operator])):
                dropped.append(operator)
                break
    return dropped


def _ranked(scores: Mapping[Operator, Score]) -> list[Operator]:
    """Return the operators with enough samples, the lowest first, the first of equals before the others."""
    return sorted((key for key in scores if scores[key].enough), key=lambda key: (scores[key].angle, key))
