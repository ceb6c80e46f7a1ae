"""Batch norms with weights and statistics of their own for every width, as in slimmable networks.

Yu et al., Slimmable Neural Networks, ICLR 2019, arXiv:1812.08928. A supernet's norm keeps its own tensors for the full
width; those of the other shares lie beside them, ((K − 1)·C,) for K shares: of rank 1, as norms are. A channel takes
those of the share that its group has. In a mixture the outputs of the sets are weighted by the mixing weights, which is
one norm again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ramify.elastic.groups import Plan

KINDS = ("weight", "bias", "running_mean", "running_var")
BESIDE = "elastic_"
"""Begins the names of the tensors of the other shares."""


class WidthSets:
    """The norms of a network that have a set for every share.

    Args:
        network: Whose norms.
        plan: Of it.
    """

    def __init__(self, network: nn.Module, plan: Plan) -> None:
        owner = torch.full((plan.count,), -1)
        for number, group in enumerate(plan.groups):
            owner[group.span] = number
        self.plan = plan
        self.count = max((len(group.shares) for group in plan.groups), default=1)
        self.groups: dict[str, Tensor] = {}  # path → the group (C,) of each channel, −1 for none
        for path, module in network.named_modules():
            places = [(f"{path}.{kind}", 0) for kind in KINDS]
            units = next((plan.axes[place] for place in places if place in plan.axes), None)
            if isinstance(module, _BatchNorm) and units is not None:
                self.groups[path] = owner[units]

    def give(self, network: nn.Module) -> None:
        """Give the norms of a network the sets of the other shares, in place, all as the norm's own."""
        for path in self.groups:
            norm = network.get_submodule(path)
            for kind in KINDS:
                own = getattr(norm, kind, None)
                if own is not None:
                    others = own.detach().repeat(self.count - 1)
                    if isinstance(own, nn.Parameter):
                        norm.register_parameter(f"{BESIDE}{kind}", nn.Parameter(others))
                    else:
                        norm.register_buffer(f"{BESIDE}{kind}", others)

    # Members

    def rows(self, path: str, chosen: Sequence[int]) -> Tensor:
        """Return which set (C,) each channel of a norm takes, for the index of each group's share."""
        return torch.tensor([*chosen, self.count - 1])[self.groups[path]]

    def of(self, name: str, state: Mapping[str, Tensor], prefix: str, kept: Sequence[int]) -> Tensor:
        """Return a tensor of a state with the values of the sets that a member takes.

        Args:
            name: Of the tensor, without the prefix.
            state: Of a supernet, which may have no sets.
            prefix: Of names in the state.
            kept: Units of each group.
        """
        path, _, kind = name.rpartition(".")
        if path not in self.groups or f"{prefix}{path}.{BESIDE}{kind}" not in state:
            return state[f"{prefix}{name}"]
        rows, both = self.rows(path, self._shares(kept)), _stacked(state, f"{prefix}{path}", kind)
        return both[rows.to(both.device), torch.arange(len(rows), device=both.device)]

    def write(self, name: str, state: Mapping[str, Tensor], prefix: str, kept: Sequence[int], values: Tensor) -> None:
        """Write a tensor of all channels into the sets that a member takes, in place."""
        path, _, kind = name.rpartition(".")
        if path not in self.groups or f"{prefix}{path}.{BESIDE}{kind}" not in state:
            state[f"{prefix}{name}"].copy_(values)
            return
        both = _stacked(state, f"{prefix}{path}", kind)
        rows = self.rows(path, self._shares(kept)).to(both.device)
        both[rows, torch.arange(len(rows), device=both.device)] = values.to(both)
        _store(state, f"{prefix}{path}", kind, both)

    def _shares(self, kept: Sequence[int]) -> list[int]:
        return [group.shares.index(number) for group, number in zip(self.plan.groups, kept, strict=True)]

    # Passes

    def called(
        self, network: nn.Module, state: Mapping[str, Tensor], widths: Tensor, active: Sequence[Sequence[int]] | None
    ) -> dict[str, Tensor]:
        """Return the tensors that norms are called with, by name; statistics are new tensors, for `keep`.

        Args:
            network: Whose modes count.
            state: Its parameters and buffers.
            widths: Weights (groups, K) of the shares.
            active: For each group the indices of the shares that count; None for all.
        """
        found: dict[str, Tensor] = {}
        single = None if active is None or any(len(row) != 1 for row in active) else [row[0] for row in active]
        for path, groups in self.groups.items():
            norm: Any = network.get_submodule(path)
            sets = {kind: _stacked(state, path, kind) for kind in KINDS if getattr(norm, kind, None) is not None}
            if single is not None:
                rows = self.rows(path, single).to(widths.device)
                each = torch.arange(len(rows), device=widths.device)
                values = {kind: both[rows, each] for kind, both in sets.items()}
            else:
                whole = widths.new_zeros(1, self.count)
                whole[0, -1] = 1.0
                weights = torch.cat([widths, whole])[groups.to(widths.device)].T  # (K, C)
                values = _mixed(norm, sets, weights)
            found |= {f"{path}.{kind}": value for kind, value in values.items()}
        return found

    def keep(
        self,
        network: nn.Module,
        state: Mapping[str, Tensor],
        called: Mapping[str, Tensor],
        active: Sequence[Sequence[int]] | None,
    ) -> None:
        """Take over the statistics of a pass in training, in place.

        Args:
            network: Whose modes count.
            state: Its parameters and buffers.
            called: What `called` has returned, after the pass.
            active: As there.
        """
        counting = torch.zeros(len(self.plan.groups) + 1, self.count, dtype=torch.bool)
        counting[-1, -1] = True
        for row, indices in zip(counting, active or [range(self.count)] * len(self.plan.groups), strict=False):
            row[list(indices)] = True
        single = active is not None and all(len(row) == 1 for row in active)
        for path, groups in self.groups.items():
            norm: Any = network.get_submodule(path)
            for kind in ("running_mean", "running_var") if norm.training else ():
                if f"{path}.{kind}" not in called:
                    continue
                both, seen = _stacked(state, path, kind), called[f"{path}.{kind}"]
                if not single:
                    momentum = norm.momentum
                    share = 1 / float(norm.num_batches_tracked) if momentum is None else momentum
                    seen = (1 - share) * both + seen
                counts = counting[groups].T.to(both.device)  # (K, C)
                _store(state, path, kind, torch.where(counts, seen, both))


def _stacked(state: Mapping[str, Tensor], path: str, kind: str) -> Tensor:
    """Return the sets (K, C) of a norm; its own, of the full width, is the last one."""
    own = state[f"{path}.{kind}"]
    return torch.cat([state[f"{path}.{BESIDE}{kind}"], own]).view(-1, *own.shape)


def _store(state: Mapping[str, Tensor], path: str, kind: str, both: Tensor) -> None:
    with torch.no_grad():
        state[f"{path}.{BESIDE}{kind}"].copy_(both[:-1].flatten())
        state[f"{path}.{kind}"].copy_(both[-1])


def _mixed(norm: Any, sets: Mapping[str, Tensor], weights: Tensor) -> dict[str, Tensor]:
    """Return the tensors of one norm that puts out the weighted sum of what those with each of the sets put out.

    In training all of them normalize alike; statistics begin with zeros, so that what the pass adds is left.
    """
    if norm.training or "running_var" not in sets:
        values = {kind: (weights * both).sum(dim=0) for kind, both in sets.items() if not kind.startswith("running")}
        return values | {kind: torch.zeros_like(both[0]) for kind, both in sets.items() if kind.startswith("running")}
    scales = torch.rsqrt(sets["running_var"] + norm.eps) * sets.get("weight", 1.0)
    shifts = sets.get("bias", 0.0) - sets["running_mean"] * scales
    scale, shift = (weights * scales).sum(dim=0), (weights * shifts).sum(dim=0)
    if "weight" not in sets:
        return {"running_mean": -shift / scale, "running_var": scale**-2 - norm.eps}
    return {
        "running_mean": torch.zeros_like(scale),
        "running_var": torch.full_like(scale, 1 - norm.eps),
        "weight": scale,
        "bias": shift,
    }
