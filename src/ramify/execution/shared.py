"""The shared execution: what several candidates have in common is computed once.

ReLU and poolings run once for all edges that leave a state, and operations without parameters are computed once and
only weighed per edge. The mixing weight is folded into the scale of the last batch norm, so that weight × norm is one
pass and the normalized map is not kept for the backward pass. The shortcut that the candidates of a layer share is
added once, with the sum of their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.execution.execution import EXECUTIONS, Form, definition_of
from ramify.ops import Operation, Prelude, dropout, is_synchronized, synchronized_norm
from ramify.registry import named
from ramify.supernet import FixedGraph, MixedGraph, MixedLayer, MixedWidths, Mixture, WidthMask
from ramify.supernet.graph import Source
from ramify.supernet.mixture import Term, accumulate, weighted_sum


@named(EXECUTIONS, "shared")
def shared(module: nn.Module) -> type[nn.Module] | None:
    """What edges and candidates have in common computed once; the default."""
    return definition_of(module) if isinstance(module, MixedWidths) else _FORMS.get(definition_of(module))


class SharedSource(Source):
    """A state with the preludes that were computed from it so far."""

    def __init__(self, state: Tensor) -> None:
        super().__init__(state)
        self._preludes: dict[Prelude, Tensor] = {}
        self._stateless: dict[str, Tensor] = {}

    def __call__(self, operation: Operation) -> Tensor:
        return operation.norm(self._before_norm(operation))

    def term(self, name: str, operation: Operation) -> Term:
        """Return what a candidate adds: without parameters, a map shared by all edges; else one to be weighed."""
        if not operation.is_stateless:
            return Unnormed(operation, self._before_norm(operation))
        if name not in self._stateless:
            self._stateless[name] = self(operation)
        return self._stateless[name]

    def _before_norm(self, operation: Operation) -> Tensor:
        return operation.body(self._after(operation.prelude))

    def _after(self, prelude: Prelude) -> Tensor:
        if prelude.kind == "identity":
            return self.state
        if prelude not in self._preludes:
            self._preludes[prelude] = prelude(self.state)
        return self._preludes[prelude]


@dataclass(frozen=True, eq=False)
class Unnormed:
    """The output of a candidate before its last norm, into which the candidate's weight is folded."""

    operation: Operation
    h: Tensor

    def __call__(self, total: Tensor | None, weight: Tensor) -> Tensor:
        """Return `total` + weight · norm(h)."""
        return accumulate(total, weighted(self.operation, self.h, weight))


class SharedMixedGraph(Form, MixedGraph):
    """Grouped by source state: whatever depends on the source alone runs once for all its edges."""

    source = SharedSource


class SharedFixedGraph(Form, FixedGraph):
    """Preludes run once for all operations that read a state."""

    source = SharedSource


class SharedMixedLayer(Form, MixedLayer):
    """The shortcut is added once, with the sum of the weights of the candidates that have it."""

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        self.check(mixture)
        total = weighted_sum(self._terms(x, mixture), mixture.constants(self.index))
        assert total is not None
        return total

    def _terms(self, x: Tensor, mixture: Mixture) -> Iterator[tuple[Term, Tensor]]:
        straight: Tensor | None = None  # weight of the input itself
        for index in mixture.active[self.index]:
            weight, operation = mixture.weights[self.index][index], self.operation(index)
            if probability := self.dropped(index, mixture):
                yield dropout(self.whole(index, x), probability), weight
                continue
            if operation is not None:
                yield Unnormed(operation, operation.body(operation.prelude(x))), weight
            if operation is None or self.residual:
                straight = weight if straight is None else straight + weight
        if straight is not None:
            yield x, straight


class SharedWidthMask(Form, WidthMask):
    """Channel c passes with the total weight of the candidates wider than c: one running sum."""

    def forward(self, weights: Mapping[int, Tensor]) -> Tensor:
        sums = torch.stack(list(weights.values())).flip(0).cumsum(0).flip(0)
        steps = [b - a for a, b in pairwise([0, *(self.widths[index] for index in weights)])]
        return torch.cat([s.expand(step) for s, step in zip(sums, steps, strict=True)]).reshape(1, -1, 1, 1)


_FORMS: Mapping[type[nn.Module], type[nn.Module]] = {
    MixedGraph: SharedMixedGraph,
    FixedGraph: SharedFixedGraph,
    MixedLayer: SharedMixedLayer,
    WidthMask: SharedWidthMask,
}


def weighted(operation: Operation, h: Tensor, weight: Tensor) -> Tensor:
    """Return `weight · norm(h)` for `h` (B, C, H, W), the weight folded into the norm's scale and shift.

    One pass over memory, and the normalized map is not kept for the backward pass. Without a norm it is a
    plain product.
    """
    norm = operation.norm
    if not isinstance(norm, nn.BatchNorm2d):
        return h * weight
    if norm.weight is None:
        # Contiguous: the CPU's channels_last backward pass reads a stride-0 scale beyond its end (PyTorch 2.15).
        scale, shift = weight.expand(norm.num_features).contiguous(), None
    else:
        scale, shift = norm.weight * weight, norm.bias * weight
    if norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    if is_synchronized(norm, h):
        momentum = 0.1 if norm.momentum is None else norm.momentum
        return synchronized_norm(h, norm.running_mean, norm.running_var, scale, shift, momentum, norm.eps)
    return F.batch_norm(
        h,
        norm.running_mean,
        norm.running_var,
        scale,
        shift,
        training=norm.training or norm.running_mean is None,
        momentum=0.1 if norm.momentum is None else norm.momentum,
        eps=norm.eps,
    )
