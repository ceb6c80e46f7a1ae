"""What a candidate operation promises to the networks that it is built into."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramify.errors import ConfigurationError
from ramify.ops import NONE, OPERATIONS, Norm, Operation, Prelude, standard_norm
from ramify.ops.operations import Make
from ramify.ops.operations import check_operation as known
from ramify.ops.weights import count_weights
from ramify.seeding import seeded, stream
from ramify.testing.bits import drawn_from, watched
from ramify.testing.contract import Contract, called
from ramify.wording import excerpt

CONTRACT: Contract[Candidate] = Contract("an operation")

C = 6
SIZES = ((8, 8), (7, 9), (3, 2))


@dataclass(frozen=True)
class Candidate:
    """An operation by its maker.

    Args:
        make: (channels, stride, norm) → a module.
        name: By which it is registered; empty where it is not.
    """

    make: Make
    name: str = ""

    def module(self, stride: int = 1, norm: Norm | None = None, channels: int = C) -> nn.Module:
        """Return a fresh module, in float64."""
        with seeded(1, "operation"):
            made = self.make(channels, stride, norm or standard_norm())
            return made.double()


def check_operation(operation: str | Make | type[nn.Module]) -> None:
    """Check that an operation keeps what networks and supernets build on.

    Args:
        operation: A registered name other than `none`; or what makes a module of (channels, stride, norm), such as a
            function, or a class whose constructor takes these.

    Raises:
        ContractError: If it breaks a promise.
        ArchitectureError: If there is none of this name.
        ConfigurationError: If it is `none`, which has no module, or nothing that can be called.
    """
    __tracebackhide__ = True
    if isinstance(operation, str):
        if operation == NONE:
            raise ConfigurationError(f"{NONE!r} contributes nothing and has no module: there is nothing to check")
        CONTRACT.check(Candidate(OPERATIONS[known(operation)], operation), operation)
        return
    if not callable(operation):
        raise ConfigurationError(
            f"an operation is a name, or makes a module of (channels, stride, norm), got {operation!r:.60}"
        )
    entry: Any = OPERATIONS.entry_of(operation)
    CONTRACT.check(Candidate(operation, entry.name if entry else ""), called(operation))


def _x(size: tuple[int, int] = (8, 8), channels: int = C, count: int = 3) -> Tensor:
    return torch.randn(count, channels, *size, dtype=torch.float64, generator=stream(0, "images"))


@CONTRACT.promise("makes a module of (channels, stride, norm)", mend="the signature: def make(channels, stride, norm)")
def _makes(candidate: Candidate) -> Iterator[str]:
    for stride in (1, 2):
        made = candidate.make(C, stride, standard_norm())
        if not isinstance(made, nn.Module):
            yield f"with stride {stride} it returns {excerpt(made)}"


@CONTRACT.promise("computes in the type of its inputs and weights", mend="no tensors of a fixed type in `forward`")
def _types(candidate: Candidate) -> Iterator[str]:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for stride in (1, 2):
            try:
                found = candidate.module(stride).to(dtype)(_x().to(dtype))
            except RuntimeError as error:
                yield f"in {dtype} it raised {excerpt(' '.join(str(error).split()), 120)}"
                return
            if found.dtype != dtype:
                yield f"in {dtype} it returns {found.dtype}"


@CONTRACT.promise(
    "keeps the channels, and divides height and width by the stride, rounded up",
    mend="paddings and strides: (B, C, H, W) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉)",
)
def _shapes(candidate: Candidate) -> Iterator[str]:
    for channels in (C, 2 * C):
        for stride in (1, 2):
            module = candidate.module(stride, channels=channels).eval()
            for size in SIZES:
                wanted = (3, channels, *(math.ceil(side / stride) for side in size))
                found = tuple(module(_x(size, channels)).shape)
                if found != wanted:
                    yield f"with stride {stride}, {(3, channels, *size)} becomes {found} instead of {wanted}"


@CONTRACT.promise("is the same under the same seed", mend="initialize by PyTorch's generator alone")
def _seeded(candidate: Candidate) -> Iterator[str]:
    for stride in (1, 2):
        one, other = (candidate.module(stride).state_dict() for _ in range(2))
        if one.keys() != other.keys() or any(not torch.equal(one[name], other[name]) for name in one):
            yield "two that are made under one seed have other weights"


@CONTRACT.promise(
    "is a function of its input, which it leaves as it is, and draws nothing in evaluation mode",
    mend="`forward`: out of place, as in `F.relu(x)`",
)
def _pure(candidate: Candidate) -> Iterator[str]:
    for stride in (1, 2):
        module = candidate.module(stride)
        for mode in (False, True):
            module.train(mode)
            x = _x()
            with watched(1) as before:
                first = module(x)
                if (moved := drawn_from(before)) and not mode:
                    yield f"it draws from the global generator of {moved[0]}"
            if not torch.equal(x, _x()):
                yield "it changes its input in place"
            if not mode and not torch.equal(module(_x()), first):
                yield "one input gives two outputs"


@CONTRACT.promise("gives gradients to its input and to all of its weights", mend="`forward`: detach nothing")
def _gradients(candidate: Candidate) -> Iterator[str]:
    for stride in (1, 2):
        module, x = candidate.module(stride), _x().requires_grad_()
        found = module(x)
        if not found.requires_grad:
            yield "its output has no gradient"
            return
        (found * torch.linspace(-1, 1, found.numel(), dtype=found.dtype).reshape(found.shape)).sum().backward()
        if x.grad is None or not bool(x.grad.any()):
            yield "its input gets no gradient"
        for name, parameter in module.named_parameters():
            if parameter.grad is None or not bool(parameter.grad.isfinite().all()):
                yield f"the weight {name!r} gets no gradient, or one that is not finite"


@CONTRACT.promise(
    "makes its norms by `norm(channels)`, so that they are affine and tracked as the network wants",
    mend="`norm(channels)` in the place of nn.BatchNorm2d(channels)",
)
def _norms(candidate: Candidate) -> Iterator[str]:
    for affine in (True, False):
        for tracked in (True, False):
            for stride in (1, 2):
                for name, module in candidate.module(stride, standard_norm(affine, tracked)).named_modules():
                    if isinstance(module, nn.modules.batchnorm._BatchNorm):
                        if module.affine is not affine:
                            yield f"with affine={affine} the norm {name!r} has affine={module.affine}"
                        if module.track_running_stats is not tracked:
                            has = module.track_running_stats
                            yield f"with track_running_stats={tracked} the norm {name!r} has track_running_stats={has}"


@CONTRACT.promise("does not care how its input lies in memory", mend="`forward`: no views by `.view`, but `.reshape`")
def _memory(candidate: Candidate) -> Iterator[str]:
    for stride in (1, 2):
        module = candidate.module(stride).eval()
        plain = module(_x())
        last = module.to(memory_format=torch.channels_last)(_x().contiguous(memory_format=torch.channels_last))
        if not torch.allclose(plain, last, rtol=1e-9, atol=1e-9):
            yield "in `torch.channels_last` its output is another one"


@CONTRACT.promise(
    "is, as an `Operation`, a stateless prelude, a body and a norm in this order", mend="Operation(prelude, body, norm)"
)
def _parts(candidate: Candidate) -> Iterator[str]:
    for stride in (1, 2):
        module: Any = candidate.module(stride).eval()
        if not isinstance(module, Operation):
            return
        if not isinstance(module.prelude, Prelude):
            yield f"the prelude is {excerpt(module.prelude)}, and no Prelude"
        elif not torch.equal(module(_x()), module.norm(module.body(module.prelude(_x())))):
            yield "its output is not norm(body(prelude(x)))"


@CONTRACT.promise("has the number of weights that its name says", mend="one operation a name")
def _weights(candidate: Candidate) -> Iterator[str]:
    if not candidate.name or OPERATIONS.get(candidate.name) is not candidate.make:
        return
    counted = sum(p.numel() for p in candidate.module(norm=standard_norm(affine=False), channels=16).parameters())
    if count_weights(candidate.name) != counted:
        yield f"`count_weights` says {count_weights(candidate.name)} and it has {counted}"
