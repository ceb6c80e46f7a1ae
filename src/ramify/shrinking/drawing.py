"""Sampling children of a shrinking space, thousands at a time.

A child is a row of operators, one for each layer; -1 stands for a layer that carries nothing at all. Children need not
be members of the space: in cells of two reads the released code scores cells that are none (Hu et al., ABS, ECCV 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from ramify.errors import ConfigurationError
from ramify.ops import NONE
from ramify.shrinking.candidates import Candidates, Lists, size_of

Draw = Callable[[int, torch.Generator, tuple[int, int] | None], Tensor]
"""`draw(n, generator, forced)`: n children (n, L), all with the operator `forced[1]` in layer `forced[0]`."""

DRAWINGS = ("uniform", "depth-uniform", "two-inputs", "connected")
_TRIES = 1000


def drawing(kind: str, candidates: Candidates, lists: Lists) -> Draw:
    """Return a sampler of children of the remaining space.

    Args:
        kind: `uniform`: every operator of a layer alike. `depth-uniform`: first an operator other than the identity in
            every layer, then how many layers become the identity, then which. `two-inputs`: uniform, then repaired so
            that two operators other than `none` enter every node; the forced one is put in last, and not repaired.
            `connected`: uniform, drawn again while a node receives nothing but `none`.
        candidates: The layers.
        lists: What is left.
    """
    draws: dict[str, Callable[[], Callable[..., Tensor]]] = {
        "uniform": lambda: _uniform(lists),
        "depth-uniform": lambda: _depth_uniform(candidates, lists),
        "two-inputs": lambda: _two_inputs(candidates, lists),
        "connected": lambda: _connected(candidates, lists),
    }
    return _forced(draws[kind]())


def every_child(lists: Lists) -> Tensor:
    """Return all children (N, L) of the remaining space."""
    return torch.tensor(list(product(*(left or [-1] for left in lists))), dtype=torch.long)


def _forced(draw: Callable[[int, torch.Generator, int | None], Tensor]) -> Draw:
    def drawn(count: int, generator: torch.Generator, forced: tuple[int, int] | None) -> Tensor:
        children = draw(count, generator, None if forced is None else forced[0])
        if forced is not None:
            children[:, forced[0]] = forced[1]
        return children

    return drawn


class _Padded:
    """Lists of different lengths as a table, from which an entry of each is drawn."""

    def __init__(self, lists: Lists) -> None:
        width = max(1, *map(len, lists))
        self.table = torch.tensor([[*left, *[-1] * (width - len(left))] for left in lists], dtype=torch.long)
        self.lengths = torch.tensor([len(left) for left in lists])

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return (count, L), -1 for empty lists."""
        places = torch.rand(count, len(self.lengths), generator=generator, dtype=torch.float64)
        places = (places * self.lengths).long()
        return self.table.expand(count, -1, -1).gather(2, places[..., None])[..., 0]


def _uniform(lists: Lists) -> Callable[..., Tensor]:
    padded = _Padded(lists)
    return lambda count, generator, forced: padded.draw(count, generator)


def _depth_uniform(candidates: Candidates, lists: Lists) -> Callable[..., Tensor]:
    identity = torch.tensor([_index(layer.ops, *IDENTITIES) for layer in candidates.layers])
    capable = torch.tensor([at in left and len(left) > 1 for at, left in zip(identity.tolist(), lists, strict=True)])
    others = _Padded(
        [[op for op in left if op != at] or left for at, left in zip(identity.tolist(), lists, strict=True)]
    )

    def draw(count: int, generator: torch.Generator, forced: int | None) -> Tensor:
        children = others.draw(count, generator)
        free = capable.clone()
        if forced is not None:
            free[forced] = False
        wanted = torch.rand(count, 1, generator=generator, dtype=torch.float64) * (int(free.sum()) + 1)
        keys = torch.rand(count, len(free), generator=generator).masked_fill(~free, 2.0)
        ranks = keys.argsort(dim=1).argsort(dim=1)
        return torch.where(free & (ranks < wanted.long()), identity, children)

    return draw


IDENTITIES = ("identity", "skip_connect")
"""What spaces call the operator that leaves a layer out."""


def _index(ops: Sequence[str], *names: str) -> int:
    """Return the index of the first of these names that there is, -2 for none."""
    return next((ops.index(name) for name in names if name in ops), -2)


def _nodes(candidates: Candidates) -> list[list[int]]:
    """Return for every node of every kind of cells the layers that enter it."""
    entering: dict[tuple[str, int], list[int]] = {}
    for at, layer in enumerate(candidates.layers):
        target = candidates.choice(at).edges[layer.edge][1]
        entering.setdefault((layer.choices[0], target), []).append(at)
    return list(entering.values())


def _two_inputs(candidates: Candidates, lists: Lists) -> Callable[..., Tensor]:
    """Repair as published, but `none` goes back only to layers that still have it, as long as there are such.

    Among the layers that enter a node, two are to carry something: those that do, first where there is no `none` left,
    then the others in random order, then those that do not but could.
    """
    none = torch.tensor([_index(layer.ops, NONE) for layer in candidates.layers])
    has_none = torch.tensor([at in left for at, left in zip(none.tolist(), lists, strict=True)])
    others = _Padded([[op for op in left if op != at] for at, left in zip(none.tolist(), lists, strict=True)])
    uniform, nodes = _Padded(lists), _nodes(candidates)

    def draw(count: int, generator: torch.Generator, forced: int | None) -> Tensor:
        children, replacements = uniform.draw(count, generator), others.draw(count, generator)
        carries = (children != none) & (children >= 0)
        rank = torch.where(carries, 2.0 + (~has_none).double(), (others.lengths > 0).double())
        rank += torch.rand(children.shape, generator=generator, dtype=torch.float64)
        read = torch.zeros_like(carries)
        for entering in nodes:
            best = rank[:, entering].topk(min(2, len(entering)), dim=1).indices
            read[:, entering] = read[:, entering].scatter(1, best, True)
        rest = torch.where(has_none, none, -1)
        return torch.where(read & (rank >= 1), torch.where(carries, children, replacements), rest)

    return draw


def _connected(candidates: Candidates, lists: Lists) -> Callable[..., Tensor]:
    none = torch.tensor([_index(layer.ops, NONE) for layer in candidates.layers])
    uniform, nodes = _Padded(lists), _nodes(candidates)

    def draw(count: int, generator: torch.Generator, forced: int | None) -> Tensor:
        children = uniform.draw(count, generator)
        for _ in range(_TRIES):
            carries = (children != none) & (children >= 0)
            cut = ~torch.stack([carries[:, entering].any(dim=1) for entering in nodes], dim=1).all(dim=1)
            if not bool(cut.any()):
                break
            children[cut] = uniform.draw(int(cut.sum()), generator)
        return children

    return draw


def check_drawing(kind: str, candidates: Candidates) -> None:
    """Raise `ConfigurationError` unless children of this space can be sampled this way."""
    if kind not in DRAWINGS:
        raise ConfigurationError(f"`drawing` must be one of {list(DRAWINGS)}, or 'auto', got {kind!r}")
    name = candidates.space.name
    ops = {op for layer in candidates.layers for op in layer.ops}
    if kind == "depth-uniform" and not ops.intersection(IDENTITIES):
        raise ConfigurationError(f"`drawing` 'depth-uniform' needs layers that can be left out, {name} has none")
    if kind in ("two-inputs", "connected") and not any(len(entering) > 1 for entering in _nodes(candidates)):
        raise ConfigurationError(f"`drawing` {kind!r} is for cells, {name} has none")


def is_small(lists: Lists, samples: int) -> bool:
    """Return whether all children can be scored: there are at most `samples`, or all are wanted (0)."""
    return samples == 0 or size_of(lists) <= samples
