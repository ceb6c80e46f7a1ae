"""The compiled execution: separable convolutions run in kernels of our own, all candidates of a source in one call.

Other depthwise convolutions have gradients of our own where they are large or dilated. The rest runs as in the shared
execution, and so does everything on other devices than the CPU, in other types than float32 and float64, and where
norms use running statistics or those of several processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from ramify.errors import ConfigurationError
from ramify.execution.execution import EXECUTIONS, Form, definition_of
from ramify.execution.shared import SharedFixedGraph, SharedMixedGraph, SharedSource, shared
from ramify.kernels import Separable, build, depthwise, kernels, separable
from ramify.ops import Operation, is_synchronized
from ramify.parallel import say_once
from ramify.registry import named
from ramify.supernet import FixedGraph, MixedGraph, Mixture
from ramify.supernet.graph import Edge


@named(EXECUTIONS, "compiled")
def compiled(module: nn.Module) -> type[nn.Module] | None:
    """As `shared`, and separable convolutions in kernels that this machine compiles."""
    if not (found := kernels()):
        raise ConfigurationError(f"execution `compiled` has no kernels here: {found.reason}; `shared` runs everywhere")
    if isinstance(module, nn.Conv2d) and _is_depthwise(module):
        return CompiledDepthwise if module.kernel_size[0] >= 5 or module.dilation[0] > 1 else definition_of(module)
    return _FORMS.get(definition_of(module)) or shared(module)


def fastest(device: str, precision: str, *, enabled: bool = True) -> str:
    """Return the name of the fastest execution of this machine; kernels are built first, if they can be.

    Args:
        device: `cpu`, or a type of accelerator.
        precision: As `make_fabric` takes it; kernels have no mixed ones.
        enabled: Whether a line says why there are no kernels.
    """
    if device != "cpu" or precision not in ("32-true", "64-true"):
        return "shared"
    if found := build():
        return "compiled"
    say_once(f"execution `shared`, without kernels: {found.reason}", enabled=enabled)
    return "shared"


@dataclass(frozen=True, eq=False)
class _Parts:
    """The convolutions and norms of a separable convolution."""

    convolutions: tuple[nn.Conv2d, ...]
    norms: tuple[nn.BatchNorm2d, ...]

    @classmethod
    def of(cls, operation: Operation) -> _Parts | None:
        """Return the parts of an operation; None if it is something else than a separable convolution."""
        body: Any = operation.body
        if type(operation) is not Operation or operation.prelude.kind != "relu" or type(body) is not nn.Sequential:
            return None
        modules: list[Any] = list(body)
        if len(modules) not in (2, 6) or (len(modules) == 6 and type(modules[3]) is not nn.ReLU):
            return None
        convolutions = modules[:2] + modules[4:]
        norms = [*modules[2:3], operation.norm]
        strides = [convolutions[0].stride, *[(1, 1)] * 3]
        fits = all(_is_depthwise(conv) if at % 2 == 0 else _is_pointwise(conv) for at, conv in enumerate(convolutions))
        if not fits or any(conv.stride != stride for conv, stride in zip(convolutions, strides, strict=False)):
            return None
        if not all(isinstance(norm, nn.BatchNorm2d) and norm.momentum is not None for norm in norms):
            return None
        if any(conv.dilation != (1, 1) for conv in convolutions[1:]) or _is_watched(operation):
            return None
        return cls(tuple(convolutions), tuple(norms))

    def runs(self, x: Tensor) -> bool:
        """Return whether the kernels can take a state (B, C, H, W)."""
        if not _is_for_kernels(x) or x.numel() // x.shape[1] < 2 * self.stride**2:
            return False
        return not any(is_synchronized(norm, x) or _uses_running(norm) for norm in self.norms)

    @property
    def stride(self) -> int:
        """Of the first convolution."""
        return self.convolutions[0].stride[0]

    def candidate(self, target: int) -> Separable:
        """Return what the kernels have to know."""
        first = self.convolutions[0]
        middle = self.norms[0].eps if len(self.norms) > 1 else 0.0
        return Separable(
            first.kernel_size[0], first.dilation[0], target, len(self.norms) > 1, self.norms[-1].eps, middle
        )


def _is_for_kernels(x: Tensor) -> bool:
    """Return whether kernels can take a tensor, and nobody transforms or watches the functions of PyTorch that run."""
    plain = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    transformed = torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    watched = torch._C._len_torch_function_stack() > 0
    return plain and not (torch.is_autocast_enabled("cpu") or transformed or watched)


def _is_depthwise(conv: Any) -> bool:
    if definition_of(conv) is not nn.Conv2d or conv.bias is not None or conv.padding_mode != "zeros":
        return False
    side, dilation = conv.kernel_size[0], conv.dilation[0]
    square = conv.kernel_size == (side, side) and conv.dilation == (dilation, dilation) and side % 2 == 1
    across = conv.groups == conv.in_channels == conv.out_channels and conv.stride in ((1, 1), (2, 2))
    return square and across and conv.padding == (side // 2 * dilation,) * 2


def _is_pointwise(conv: nn.Module) -> bool:
    if type(conv) is not nn.Conv2d or conv.bias is not None or conv.groups != 1:
        return False
    return conv.kernel_size == (1, 1) and conv.padding == (0, 0) and conv.in_channels == conv.out_channels


def _is_watched(operation: Operation) -> bool:
    """Return whether somebody's hooks want to see the modules inside a separable convolution run."""
    body: Any = operation.body
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in (operation, body, operation.norm, *body)
    )


def _uses_running(norm: nn.BatchNorm2d) -> bool:
    return not norm.training and norm.running_mean is not None


def _applied(
    x: Tensor,
    all_parts: Sequence[_Parts],
    targets: Sequence[int],
    weights: Sequence[Tensor] | None = None,
    ready: Sequence[Tensor] = (),
    mix: Tensor | None = None,
    totals: Sequence[Tensor | None] = (),
) -> list[Tensor]:
    """Return for each target its total + Σ weight · candidate(x) + Σ mix · ready; bring running statistics up to date.

    Args:
        x: (B, C, H, W).
        all_parts: N candidates.
        targets: For each of them the number of the sum that it is added to.
        weights: N scalars; None for 1.
        ready: M maps that are there already.
        mix: (M, T), their weights.
        totals: For each target what the sum begins with.
    """
    channels = x.shape[1]
    last, middle = [parts.norms[-1] for parts in all_parts], [p.norms[0] for p in all_parts if len(p.norms) > 1]
    scale = x.new_ones(len(last), 1) if weights is None else torch.stack(list(weights))[:, None]
    shift, (scales, shifts) = None, _affine(last)
    if scales is not None and shifts is not None:
        belongs = F.one_hot(torch.tensor(targets)).to(x)  # (N, T)
        shift, scale = belongs.T @ (shifts * scale), scales * scale
    gamma, beta = _affine(middle)
    sums, means, variances = separable(
        x,
        [parts.candidate(target) for parts, target in zip(all_parts, targets, strict=True)],
        [conv.weight for parts in all_parts for conv in parts.convolutions],
        scale.expand(-1, channels),
        all_parts[0].stride,
        shift=shift,
        gamma=gamma,
        beta=beta,
        ready=ready,
        mix=mix,
        totals=totals,
    )
    _follow([*last, *middle], means, variances, sums[0].numel() // channels)
    return sums


def _affine(norms: Sequence[nn.BatchNorm2d]) -> tuple[Tensor | None, Tensor | None]:
    """Return the scales and the shifts of norms, each (norms, C); None where no norm has them."""
    if all(norm.weight is None for norm in norms):
        return None, None
    like: Any = next(norm.weight for norm in norms if norm.weight is not None)
    one, zero = torch.ones_like(like), torch.zeros_like(like)
    scales: list[Tensor] = [one if norm.weight is None else norm.weight for norm in norms]
    return torch.stack(scales), torch.stack([zero if norm.bias is None else norm.bias for norm in norms])


@torch.no_grad()
def _follow(norms: Sequence[nn.BatchNorm2d], means: Tensor, variances: Tensor, count: int) -> None:
    """Move the running statistics of norms towards those of a batch with `count` values a channel.

    Args:
        norms: N norms, of which some have none.
        means: (N, C).
        variances: (N, C), biased.
        count: From how many values.
    """
    own: dict[float, list[int]] = {}  # by momentum
    for number, norm in enumerate(norms):
        if norm.training and norm.running_mean is not None:
            own.setdefault(cast(float, norm.momentum), []).append(number)
    for momentum, numbers in own.items():
        chosen: list[Any] = [norms[number] for number in numbers]
        unbiased = variances * (count / (count - 1))
        torch._foreach_lerp_([norm.running_mean for norm in chosen], [means[number] for number in numbers], momentum)
        torch._foreach_lerp_([norm.running_var for norm in chosen], [unbiased[number] for number in numbers], momentum)
        torch._foreach_add_([norm.num_batches_tracked for norm in chosen], 1)


class CompiledSource(SharedSource):
    """A state whose separable convolutions run in the kernels."""

    def __call__(self, operation: Operation) -> Tensor:
        parts = _Parts.of(operation)
        if parts is None or not parts.runs(self.state):
            return super().__call__(operation)
        (out,) = _applied(self.state, [parts], [0])
        return out


class CompiledMixedGraph(SharedMixedGraph):
    """All separable convolutions of a source in one call, which adds its poolings too; the rest is added to that."""

    source = CompiledSource

    def _spread(self, state: Tensor, leaving: Sequence[Edge], mixture: Mixture, sums: list[Tensor | None]) -> None:
        parts: dict[tuple[int, int], _Parts] = {}  # by edge and index
        stateless: dict[str, list[tuple[int, int]]] = {}  # by operation
        targets = {edge.index: edge.target for edge in leaving}
        for edge in leaving:
            candidates: Any = self.edges[edge.name]
            for index in mixture.active[edge.index]:
                operation: Operation = candidates[self.ops[index]]
                if mixture.dropout[index] and self.training:
                    continue
                if operation.is_stateless:
                    stateless.setdefault(self.ops[index], []).append((edge.index, index))
                elif (found := _Parts.of(operation)) and found.stride == edge.stride and found.runs(state):
                    parts[edge.index, index] = found
        if parts:
            reached = list(dict.fromkeys(targets[edge] for edge, _ in parts))
            added = [at for places in stateless.values() for at in places if targets[at[0]] in reached]
            totals = _applied(
                state,
                list(parts.values()),
                [reached.index(targets[edge]) for edge, _ in parts],
                [mixture.weights[edge][index] for edge, index in parts],
                *self._ready(state, added, leaving, mixture, reached),
                [sums[target] for target in reached],
            )
            for target, total in zip(reached, totals, strict=True):
                sums[target] = total
            mixture = mixture.without((*parts, *added))
        super()._spread(state, leaving, mixture, sums)

    def _ready(
        self,
        state: Tensor,
        added: Sequence[tuple[int, int]],
        leaving: Sequence[Edge],
        mixture: Mixture,
        reached: Sequence[int],
    ) -> tuple[list[Tensor], Tensor | None]:
        """Return what candidates without parameters make of a state, and their weights (maps, targets)."""
        if not added:
            return [], None
        source, edges = self.source(state), {edge.index: edge for edge in leaving}
        maps: dict[int, Tensor] = {}
        weights: dict[tuple[int, int], Tensor] = {}
        for edge, index in added:
            if index not in maps:
                candidates: Any = self.edges[edges[edge].name]
                maps[index] = source(candidates[self.ops[index]])
            weight, place = mixture.weights[edge][index], (index, reached.index(edges[edge].target))
            weights[place] = weights[place] + weight if place in weights else weight
        zero = state.new_zeros(())
        rows = [weights.get((index, target), zero) for index in maps for target in range(len(reached))]
        return list(maps.values()), torch.stack(rows).reshape(len(maps), len(reached))


class CompiledFixedGraph(SharedFixedGraph):
    """Separable convolutions run in the kernels."""

    source = CompiledSource


class CompiledDepthwise(Form, nn.Conv2d):
    """A depthwise convolution whose gradients are computed in the kernels."""

    def forward(self, x: Tensor) -> Tensor:
        if not _is_for_kernels(x):
            return super().forward(x)
        return depthwise(x, self.weight, self.stride[0], self.dilation[0])


_FORMS: Mapping[type[nn.Module], type[nn.Module]] = {
    MixedGraph: CompiledMixedGraph,
    FixedGraph: CompiledFixedGraph,
}
