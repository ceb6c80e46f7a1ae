"""The candidate operations by name.

Every candidate is written as prelude → body → norm. The *prelude* is a stateless function of the source state
(ReLU, a pooling, the identity), so a supernet computes it once for all edges that leave a source. The *norm* is
kept apart, so a supernet can fold the mixing weight into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch.nn.functional as F
from torch import Tensor, nn

from ramify import imports
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops.blocks import FactorizedReduce, Norm, standard_norm
from ramify.ops.pointwise import PointwiseConv2d
from ramify.registry import Registry, named

NONE, SKIP = "none", "skip_connect"
"""The candidate that contributes nothing. It has no module: spaces list it, networks leave it out."""


@dataclass(frozen=True)
class Prelude:
    """A stateless function of a source state, such as ReLU; equal preludes of one source are computed once.

    Args:
        kind: `identity`, `relu`, `max_pool` or `avg_pool`.
        kernel: Side of a pooling's window; the padding keeps the size at stride 1, averages leave it out.
        stride: Of a pooling.
    """

    kind: str
    kernel: int = 1
    stride: int = 1

    @property
    def is_pooling(self) -> bool:
        """Whether it is a maximum or an average over windows."""
        return self.kind in ("max_pool", "avg_pool")

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
        if self.kind == "relu":
            return F.relu(x)
        if self.kind == "max_pool":
            return F.max_pool2d(x, self.kernel, stride=self.stride, padding=self.kernel // 2)
        if self.kind == "avg_pool":
            return F.avg_pool2d(x, self.kernel, stride=self.stride, padding=self.kernel // 2, count_include_pad=False)
        return x


class Operation(nn.Module):
    """A candidate operation on an edge: (B, C, H, W) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        prelude: What is done to the source first.
        body: The rest up to the last norm; None for nothing.
        norm: The last norm; None for nothing.

    Attributes:
        channels: C, where `make_operation` made it.
    """

    channels: int = 0

    def __init__(
        self,
        prelude: Prelude,
        body: nn.Module | None = None,
        norm: nn.BatchNorm2d | None = None,
    ) -> None:
        super().__init__()
        self.prelude = prelude
        self.body = nn.Identity() if body is None else body
        self.norm = nn.Identity() if norm is None else norm
        self.is_identity = prelude.kind == "identity" and body is None and norm is None

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.body(self.prelude(x)))

    @cached_property
    def is_stateless(self) -> bool:
        """Whether the output depends on the input alone, so that equal candidates of one source agree."""
        return not any(True for _ in self.parameters()) and not any(True for _ in self.buffers())


def _conv(c: int, kernel: int, stride: int = 1, *, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    padding = kernel // 2 * dilation
    make = PointwiseConv2d if kernel == 1 and stride > 1 else nn.Conv2d
    return make(c, c, kernel, stride, padding, dilation, groups, bias=False)


_DARTS = "Liu, Simonyan & Yang, DARTS, ICLR 2019, arXiv:1806.09055"
_NASNET = "Zoph et al., NASNet, CVPR 2018, arXiv:1707.07012"
_NAS_BENCH = "Dong & Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326"
_NASP = "Yao et al., NASP, AAAI 2020, arXiv:1905.13577"

Make = Callable[[int, int, Norm], nn.Module]
"""(channels C, stride, maker of norms) → a module (B, C, H, W) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""

OPERATIONS: Registry[Make] = Registry("operation", package="ramify.ops")
"""Every operation by name."""


def operation(name: str, *, paper: str = "", line: str = "") -> Callable[[Make], Make]:
    """Return a decorator that registers a function `(channels, stride, norm)` as a candidate operation.

    The function returns an `Operation`, which supernets execute together with others of its kind, or any module that
    maps (B, C, H, W) to (B, C, ⌈H/stride⌉, ⌈W/stride⌉); `norm(C)` makes its batch norms, as the network wants them. An
    example is in docs/own_classes.md.

    Args:
        name: What spaces and notations call it.
        paper: Where it was published.
        line: What it is; by default the first line of the function's docstring.

    Raises:
        ConfigurationError: If the library has another operation of this name, or the name is none.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise ConfigurationError(f"operation {name!r:.40}: a name is letters, digits and `_`, a letter first")
    return named(OPERATIONS, name, paper=paper, line=line)


@named(OPERATIONS, NONE, paper=_DARTS)
def _none(c: int, stride: int, norm: Norm) -> Operation:
    """Nothing."""
    raise ArchitectureError("`none` contributes nothing and has no module; leave the edge out instead")


@named(OPERATIONS, SKIP, paper=_DARTS)
def _skip_connect(c: int, stride: int, norm: Norm) -> Operation:
    """The identity; with stride 2, ReLU, two shifted 1×1 convolutions and a norm."""
    if stride == 1:
        return Operation(Prelude("identity"))
    return Operation(Prelude("relu"), FactorizedReduce(c, c), norm(c))


def _pool(kind: str, kernel: int) -> Callable[[int, int, Norm], Operation]:
    return lambda c, stride, norm: Operation(Prelude(kind, kernel, stride))


def _convolution(kernel: int) -> Callable[[int, int, Norm], Operation]:
    return lambda c, stride, norm: Operation(Prelude("relu"), _conv(c, kernel, stride), norm(c))


def _separable(kernel: int) -> Callable[[int, int, Norm], Operation]:
    def make(c: int, stride: int, norm: Norm) -> Operation:
        body = nn.Sequential(
            _conv(c, kernel, stride, groups=c),
            _conv(c, 1),
            norm(c),
            nn.ReLU(),
            _conv(c, kernel, groups=c),
            _conv(c, 1),
        )
        return Operation(Prelude("relu"), body, norm(c))

    return make


def _dilated(kernel: int) -> Callable[[int, int, Norm], Operation]:
    def make(c: int, stride: int, norm: Norm) -> Operation:
        body = nn.Sequential(_conv(c, kernel, stride, dilation=2, groups=c), _conv(c, 1))
        return Operation(Prelude("relu"), body, norm(c))

    return make


def _stacked(kernel: int) -> Callable[[int, int, Norm], Operation]:
    """1×k with stride (1, s), then k×1 with stride (s, 1)."""

    def make(c: int, stride: int, norm: Norm) -> Operation:
        pad = kernel // 2
        body = nn.Sequential(
            nn.Conv2d(c, c, (1, kernel), (1, stride), (0, pad), bias=False),
            nn.Conv2d(c, c, (kernel, 1), (stride, 1), (pad, 0), bias=False),
        )
        return Operation(Prelude("relu"), body, norm(c))

    return make


for _name, _make, _paper, _line in (
    ("max_pool_3x3", _pool("max_pool", 3), _DARTS, "Maximum of 3×3."),
    ("max_pool_5x5", _pool("max_pool", 5), _NASNET, "Maximum of 5×5."),
    ("max_pool_7x7", _pool("max_pool", 7), _NASNET, "Maximum of 7×7."),
    ("avg_pool_3x3", _pool("avg_pool", 3), _DARTS, "Average of 3×3, padding left out."),
    ("sep_conv_3x3", _separable(3), _DARTS, "ReLU, depthwise 3×3, 1×1, norm, twice."),
    ("sep_conv_5x5", _separable(5), _DARTS, "ReLU, depthwise 5×5, 1×1, norm, twice."),
    ("sep_conv_7x7", _separable(7), _NASNET, "ReLU, depthwise 7×7, 1×1, norm, twice."),
    ("dil_conv_3x3", _dilated(3), _DARTS, "ReLU, depthwise 3×3 with dilation 2, 1×1, norm."),
    ("dil_conv_5x5", _dilated(5), _DARTS, "ReLU, depthwise 5×5 with dilation 2, 1×1, norm."),
    ("conv_3x1_1x3", _stacked(3), _NASNET, "ReLU, 1×3, 3×1, norm."),
    ("conv_7x1_1x7", _stacked(7), _NASNET, "ReLU, 1×7, 7×1, norm."),
    ("nor_conv_1x1", _convolution(1), _NAS_BENCH, "ReLU, 1×1 convolution, norm."),
    ("nor_conv_3x3", _convolution(3), _NAS_BENCH, "ReLU, 3×3 convolution, norm."),
    ("nor_conv_7x7", _convolution(7), _NAS_BENCH, "ReLU, 7×7 convolution, norm."),
    ("conv 1x1", _convolution(1), _NASP, "`nor_conv_1x1` in NASP's spelling."),
    ("conv 3x3", _convolution(3), _NASP, "`nor_conv_3x3` in NASP's spelling."),
):
    OPERATIONS.add(_name, _make, paper=_paper, line=_line)


def check_operation(name: object) -> str:
    """Return `name` if it is a known operation.

    Raises:
        ArchitectureError: If it is not; the message suggests the nearest one.
    """
    if not isinstance(name, str) or name not in OPERATIONS:
        raise ArchitectureError(imports.unknown("operation", str(name)[:60], OPERATIONS))
    return name


def make_operation(
    name: str,
    channels: int,
    stride: int = 1,
    norm: Norm | None = None,
    *,
    pool_norm: bool = False,
    pool_affine: bool = False,
) -> Operation:
    """Return a new instance of a candidate operation.

    Args:
        name: A key of `OPERATIONS` other than `none`.
        channels: C, in and out.
        stride: 1 or 2.
        norm: Maker of batch norms, affine with running statistics by default.
        pool_norm: Whether a batch norm follows poolings, as in DARTS' search network.
        pool_affine: Whether that one scales and shifts where the others do, as in H-DAS; in DARTS it never does.

    Raises:
        ArchitectureError: If there is no such operation.
    """
    norm = norm or standard_norm()
    candidate = OPERATIONS[check_operation(name)](channels, stride, norm)
    operation = candidate if isinstance(candidate, Operation) else Operation(Prelude("identity"), candidate)
    operation.channels = channels
    if pool_norm and operation.prelude.is_pooling:
        standard = norm(channels)
        affine = pool_affine and standard.affine
        operation.norm = nn.BatchNorm2d(channels, affine=affine, track_running_stats=standard.track_running_stats)
    return operation
