"""The proof of groups, before anything is trained: permuted, removed, and at full width."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramify.elastic.groups import Plan

EXACT, ROUNDED = 1e-9, 1e-5
"""Relative differences that are allowed: in float64, and in float32 where the user's code makes constants of it."""


@dataclass(frozen=True)
class Proof:
    """What was measured.

    Args:
        permuted: Relative difference after the units of all groups were shuffled.
        removed: Between the smallest member cut out and the same one masked.
        full: Whether the supernet at full width is the given network, bit for bit.
        dtype: Of the first two.
    """

    permuted: float
    removed: float
    full: bool
    dtype: torch.dtype

    @property
    def bar(self) -> float:
        """What the differences may be."""
        return EXACT if self.dtype == torch.double else ROUNDED

    def __str__(self) -> str:
        bits = "full width bit for bit" if self.full else "full width differs"
        kind = str(self.dtype).removeprefix("torch.")
        return f"permuted {self.permuted:.0e}, removed {self.removed:.0e} ({kind}), {bits}"


def unsettled(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a copy in evaluation mode in which no tie can hide behind a zero or a one.

    Tensors that hold one number over and over, such as fresh statistics and scales, get random ones from 0.5 to 1.5.
    """
    network = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            uniform = tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all())
            if tensor.is_floating_point() and uniform:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    network.train()  # so that modules drop what they have gathered for evaluation
    return network.eval()


def permute_units(network: nn.Module, plan: Plan, groups: Sequence[int], generator: torch.Generator) -> None:
    """Shuffle the units of some groups of a plan in all tensors of a network, in place."""
    shuffled = torch.arange(plan.count)
    for number in groups:
        span = plan.groups[number].span
        shuffled[span] = shuffled[span][torch.randperm(plan.groups[number].units, generator=generator)]
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad():
        for (name, axis), units in plan.axes.items():
            source = torch.empty_like(units)
            source[shuffled[units].argsort(stable=True)] = units.argsort(stable=True)
            tensors[name].copy_(tensors[name].index_select(axis, source))


def apart(a: Any, b: Any) -> float:
    """Return the largest relative difference of outputs: of a tensor, or of any of several."""
    if isinstance(a, Tensor):
        if a.shape != b.shape:
            return float("inf")
        distance = float((a - b).abs().max() / b.abs().max().clamp(min=1e-300))
        return distance if distance == distance else float("inf")
    pairs = [(a[key], b[key]) for key in a] if isinstance(a, dict) else list(zip(a, b, strict=True))
    return max((apart(x, y) for x, y in pairs if x is not None), default=0.0)


def failing(numbers: Sequence[int], check: Callable[[Sequence[int]], str]) -> dict[int, str]:
    """Return the groups for which a check fails, with what it says; groups that pass together are not asked alone.

    Args:
        numbers: The groups.
        check: Some of them → what is wrong with these, empty where nothing is.
    """
    wrong = check(numbers) if numbers else ""
    if not wrong:
        return {}
    if len(numbers) == 1:
        return {numbers[0]: wrong}
    half = len(numbers) // 2
    return failing(numbers[:half], check) | failing(numbers[half:], check)
