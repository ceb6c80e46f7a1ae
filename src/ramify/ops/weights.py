"""The number of weights of an operation, by its name."""

from __future__ import annotations

from functools import cache

from torch import nn

from ramify.ops.blocks import standard_norm
from ramify.ops.inverted_residual import INVERTED_RESIDUALS, inverted_residual
from ramify.ops.operations import NONE, OPERATIONS, make_operation
from ramify.ops.shuffle_block import KERNELS, shuffle_block
from ramify.seeding import seeded


@cache
def count_weights(name: str, channels: int = 16) -> int:
    """Return the number of weights, without those of norms, of an operation that keeps width and resolution.

    Those of squeeze-and-excitation are left out too. Candidates that are no operations, such as a number of cells, have
    none.
    """
    norm, operation = standard_norm(affine=False), nn.Module()
    with seeded(0, "weights"):  # the weights are counted only, and no draw of anybody else's moves
        if name in INVERTED_RESIDUALS:
            operation = inverted_residual(channels, channels, *INVERTED_RESIDUALS[name], 1, norm)
        elif name in KERNELS:
            operation = shuffle_block(name, channels, channels, 1, norm, changes=False)
        elif name in OPERATIONS and name != NONE:
            operation = make_operation(name, channels, norm=norm)
    return sum(p.numel() for p in operation.parameters())
