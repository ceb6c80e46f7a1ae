"""The candidate operations that search spaces share."""

from ramify.ops.blocks import DropPath, FactorizedReduce, Norm, PreActivation, dropout, standard_norm, with_eps
from ramify.ops.operations import (
    NONE,
    OPERATIONS,
    SKIP,
    Operation,
    Prelude,
    make_operation,
    operation,
)
from ramify.ops.pointwise import PointwiseConv2d, channels_last
from ramify.ops.synchronized import SynchronizedNorm, is_synchronized, synchronize, synchronized_norm

__all__ = [
    "NONE",
    "OPERATIONS",
    "SKIP",
    "DropPath",
    "FactorizedReduce",
    "Norm",
    "Operation",
    "PointwiseConv2d",
    "PreActivation",
    "Prelude",
    "SynchronizedNorm",
    "channels_last",
    "dropout",
    "is_synchronized",
    "make_operation",
    "operation",
    "standard_norm",
    "synchronize",
    "synchronized_norm",
    "with_eps",
]
