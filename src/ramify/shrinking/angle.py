"""The angle of a member: how far training has rotated its weight vector (Hu et al., ABS, ECCV 2020, arXiv:2004.13431).

The vector of section 3.1 is long, but an angle needs three numbers of it, w₀·wₜ, w₀·w₀ and wₜ·wₜ, and these are sums
over the member's pieces. They are taken once for every candidate, in float64; a member then costs a few additions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import NONE
from ramify.supernet import Choice, Ends, Piece, vector_of

State = Mapping[str, Tensor]
"""A `state_dict`."""

_KNOWN = {
    "vector": ("paper", "edges-once"),
    "outputs": ("last", "all"),
    "pooling": ("constant", "empty"),
    "skips": ("empty", "weights"),
}


@dataclass(frozen=True, kw_only=True)
class AngleForm:
    """Which weights a weight vector consists of; the defaults are those of the released code.

    Args:
        vector: `paper`: every path from an input of a cell to its output adds the weights of its edges, so that an edge
            counts once for every path through it; `edges-once`: an edge on any such path counts once.
        outputs: Where paths end: `last`, at the last node of a cell; `all`, at every node that the cell puts out.
        pooling: `constant`: a k×k pooling adds 1/k² for every channel and place of its window, equal before and after
            training, which makes the angle smaller; `empty`: it adds nothing.
        skips: `empty`: skip connections add nothing, even where they have weights, as those of stride 2; `weights`:
            they add these.
    """

    vector: str = "paper"
    outputs: str = "last"
    pooling: str = "constant"
    skips: str = "empty"

    def __post_init__(self) -> None:
        for name, values in _KNOWN.items():
            if getattr(self, name) not in values:
                raise ConfigurationError(f"`{name}` must be one of {list(values)}, got {getattr(self, name)!r}")


def angle_between(a: Tensor, b: Tensor) -> float:
    """Return the angle between two vectors in radians; 0 where one of them is zero."""
    a, b = a.detach().cpu().double().flatten(), b.detach().cpu().double().flatten()
    return float(_angles(torch.stack([a @ b, a @ a, b @ b])))


def _angles(sums: Tensor) -> Tensor:
    """Map (…, 3), w₀·wₜ, w₀·w₀ and wₜ·wₜ, to angles (…) in radians."""
    dot, before, after = sums.unbind(dim=-1)
    length = before.sqrt() * after.sqrt()
    return torch.where(length > 0, dot / length.clamp(min=torch.finfo(torch.float64).tiny), 1.0).clamp(-1, 1).acos()


def path_counts(ends: Ends, alive: Tensor, form: AngleForm) -> Tensor:
    """Return the number of paths through every edge.

    Args:
        ends: Edges, inputs and outputs of a graph.
        alive: (N, E), 1 for the edges that carry anything.
        form: What counts.

    Returns:
        (N, E): the number of paths through each edge from an input to an output, or 1 where only once is asked for.
    """
    states = max(target for _, target in ends.edges) + 1
    outputs = ends.outputs if form.outputs == "all" else ends.outputs[-1:]
    ones, zeros = alive.new_ones(len(alive)), alive.new_zeros(len(alive))
    into = [ones if state < ends.inputs else zeros for state in range(states)]
    out_of = [ones if state in outputs else zeros for state in range(states)]
    by_target = sorted(range(len(ends.edges)), key=lambda edge: ends.edges[edge][1])
    for edge in by_target:  # all paths into a source are known before the first edge that leaves it
        source, target = ends.edges[edge]
        into[target] = into[target] + into[source] * alive[:, edge]
    for edge in sorted(by_target, key=lambda edge: -ends.edges[edge][0]):
        source, target = ends.edges[edge]
        out_of[source] = out_of[source] + out_of[target] * alive[:, edge]
    counts = torch.stack([into[s] * alive[:, e] * out_of[t] for e, (s, t) in enumerate(ends.edges)], dim=1)
    return counts.clamp(max=1) if form.vector == "edges-once" else counts


class AngleTable:
    """Tables from which angles of members are sums over their candidates.

    Args:
        fixed: (3,), the products w₀·wₜ, w₀·w₀ and wₜ·wₜ of what all members have.
        pieces: Choice → (P, E, O, 3), those of every candidate at each of the P places in the network that the choice
            decides.
        ends: Choice → where its paths begin and end; a choice without counts every edge once.
        none: Choice → index of `none` among its operations, or None.
        form: What belongs to a vector.
    """

    def __init__(
        self,
        fixed: Tensor,
        pieces: Mapping[str, Tensor],
        ends: Mapping[str, Ends],
        none: Mapping[str, int | None],
        form: AngleForm | None = None,
    ) -> None:
        self.fixed, self.pieces, self.ends, self.none = fixed, dict(pieces), ends, none
        self.form = form or AngleForm()
        self._everywhere = {name: table.sum(dim=0) for name, table in self.pieces.items()}

    @classmethod
    def of(cls, sup: nn.Module, initial: State, trained: State, form: AngleForm | None = None) -> AngleTable:
        """Return the table of a supernet for its initial and its trained state.

        Raises:
            ArchitectureError: If its members have no weight vectors, or a state lacks a tensor.
        """
        form = form or AngleForm()
        vector = vector_of(sup)
        choices: Mapping[str, Choice] = sup.choices  # type: ignore[assignment]
        pieces = {}
        for name, places in vector.places.items():
            table = torch.zeros(len(places), *choices[name].shape, 3, dtype=torch.float64, device="cpu")
            for place, by_operator in enumerate(places):
                for (edge, op), piece in by_operator.items():
                    table[place, edge, op] = _products_of(piece, initial, trained, form)
            pieces[name] = table
        none = {name: choices[name].ops.index(NONE) if NONE in choices[name].ops else None for name in vector.places}
        return cls(_products(vector.fixed, initial, trained), pieces, vector.ends, none, form)

    def __call__(self, children: Mapping[str, Tensor]) -> Tensor:
        """Return the angles (N,) in radians of N children: choice → one-hot (N, E, O), or (N, P, E, O) by place."""
        sums = self.fixed
        for name, chosen in children.items():
            chosen = chosen.double()
            by_place = chosen.dim() == 4
            table = self.pieces[name] if by_place else self._everywhere[name]
            weights = chosen
            if name in self.ends:
                rows = chosen.flatten(0, 1) if by_place else chosen
                alive = rows.sum(dim=-1) - (0 if self.none[name] is None else rows[..., self.none[name]])
                counts = path_counts(self.ends[name], alive, self.form)
                weights = chosen * counts.reshape(chosen.shape[:-1])[..., None]
            sums = sums + weights.flatten(1) @ table.flatten(0, -2)
        return _angles(sums)


def _products(names: Iterable[str], initial: State, trained: State) -> Tensor:
    total = torch.zeros(3, dtype=torch.float64, device="cpu")
    for name in names:
        a, b = _tensor(initial, name, "initial"), _tensor(trained, name, "trained")
        if a.shape != b.shape:
            raise ArchitectureError(f"{name!r} has shape {tuple(a.shape)} before and {tuple(b.shape)} after training")
        a, b = a.flatten(), b.flatten()
        total += torch.stack([a @ b, a @ a, b @ b])
    return total


def _products_of(piece: Piece, initial: State, trained: State, form: AngleForm) -> Tensor:
    products = torch.zeros(3, dtype=torch.float64, device="cpu")
    if not piece.is_skip or form.skips == "weights":
        products = products + _products(piece.weights, initial, trained)
    if form.pooling == "constant":
        products = products + piece.constants / piece.window**2
    return products


def _tensor(state: State, name: str, which: str) -> Tensor:
    if name not in state:
        raise ArchitectureError(f"the {which} state has no {name!r}; both must be state_dicts of this supernet")
    return state[name].detach().cpu().double()


# One child


def angle(
    sup: nn.Module,
    child: Architecture | Mapping[str, Any],
    initial: State,
    trained: State,
    *,
    vector: str = "paper",
    outputs: str = "last",
    pooling: str = "constant",
    skips: str = "empty",
) -> float:
    """Return the angle between a child's weight vector before and after training, in radians.

    Args:
        sup: A supernet of cells or of a chain of operations.
        child: A member, or choice → one-hot (E, O), which need not be one: any edge may carry any of its candidates, or
            none at all. With (P, E, O) each of the P cells that the choice decides has a row of its own.
        initial: `state_dict` of the supernet before.
        trained: And after.
        vector, outputs, pooling, skips: What belongs to the vector; see `ramify.shrinking.AngleForm`.

    Raises:
        ArchitectureError: If the child is none of this supernet, or the angle is not defined for it.

    Example:
        >>> import ramify, torch
        >>> from ramify import spaces
        >>> space = spaces.NASBench201()
        >>> sup = space.supernet(channels=4, cells=1)
        >>> before = {name: value.clone() for name, value in sup.state_dict().items()}
        >>> after = {name: -value for name, value in before.items()}
        >>> arch = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")
        >>> round(ramify.angle(sup, arch, before, after), 6)
        3.141593
    """
    form = AngleForm(vector=vector, outputs=outputs, pooling=pooling, skips=skips)
    mix = one_hot(sup, child)
    return float(AngleTable.of(sup, initial, trained, form)({name: rows[None] for name, rows in mix.items()}))


def one_hot(sup: nn.Module, child: Architecture | Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a child of a supernet, validated, as choice → one-hot (E, O) or (P, E, O).

    Raises:
        ArchitectureError: If it is none.
    """
    choices: Mapping[str, Choice] = sup.choices  # type: ignore[assignment]
    if isinstance(child, Architecture):
        from ramify.spaces import space_of

        child = space_of(child).mix(child)
    if not isinstance(child, Mapping) or child.keys() != choices.keys():
        given = sorted(child) if isinstance(child, Mapping) else type(child).__name__
        raise ArchitectureError(f"a child is an architecture, or a mix with the keys {sorted(choices)}; got {given}")
    return {name: _checked(name, choice, child[name]) for name, choice in choices.items()}


def _checked(name: str, choice: Choice, rows: Any) -> Tensor:
    rows = torch.as_tensor(rows, device="cpu").double()
    if rows.shape[-2:] != choice.shape or rows.dim() not in (2, 3):
        raise ArchitectureError(
            f"child, {name!r}: must have shape (E, O) = {choice.shape}, or one such for every cell, "
            f"got {tuple(rows.shape)}"
        )
    if not bool(((rows == 0) | (rows == 1)).all()) or bool((rows.sum(dim=-1) > 1).any()):
        raise ArchitectureError(f"child, {name!r}: every edge must carry one operation with weight 1, or nothing")
    if bool((rows.bool() & ~choice.mask).any()):
        raise ArchitectureError(f"child, {name!r}: it uses a candidate that the supernet does not have")
    return rows


# The vector itself


def child_vector(
    sup: nn.Module, child: Architecture | Mapping[str, Any], state: State, form: AngleForm | None = None
) -> Tensor:
    """Return the weight vector of a child in float64, concatenated path by path.

    `angle` says the same of it without ever making it; it has up to millions of entries.
    """
    form = form or AngleForm()
    vector = vector_of(sup)
    choices: Mapping[str, Choice] = sup.choices  # type: ignore[assignment]
    parts = [_tensor(state, name, "given") for name in vector.fixed]
    for name, rows in one_hot(sup, child).items():
        ops = choices[name].ops
        for place, pieces in enumerate(vector.places[name]):
            chosen = rows if rows.dim() == 2 else rows[place]
            operations = {edge: int(row.argmax()) for edge, row in enumerate(chosen) if row.any()}
            if name in vector.ends:
                alive = {edge for edge, op in operations.items() if ops[op] != NONE}
                edges: Iterable[int] = (edge for path in _paths(vector.ends[name], alive, form) for edge in path)
                edges = dict.fromkeys(edges) if form.vector == "edges-once" else edges
            else:
                edges = operations
            for edge in edges:
                if piece := pieces.get((edge, operations[edge])):
                    parts += _tensors_of(piece, state, form)
    return torch.cat([part.flatten() for part in parts])


def _tensors_of(piece: Piece, state: State, form: AngleForm) -> Iterator[Tensor]:
    if not piece.is_skip or form.skips == "weights":
        yield from (_tensor(state, name, "given") for name in piece.weights)
    if form.pooling == "constant":
        yield torch.full((piece.constants,), 1 / piece.window, dtype=torch.float64, device="cpu")


def _paths(ends: Ends, alive: Iterable[int], form: AngleForm) -> Iterator[Sequence[int]]:
    """Yield every path over edges that are alive, from an input to an output."""
    leaving: dict[int, list[int]] = {}
    for edge in alive:
        leaving.setdefault(ends.edges[edge][0], []).append(edge)
    outputs = ends.outputs if form.outputs == "all" else ends.outputs[-1:]
    waiting: list[tuple[int, tuple[int, ...]]] = [(state, ()) for state in range(ends.inputs)]
    while waiting:
        state, path = waiting.pop()
        if path and state in outputs:
            yield path
        waiting += [(ends.edges[edge][1], (*path, edge)) for edge in leaving.get(state, ())]
