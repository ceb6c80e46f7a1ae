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
from ramify.ops.synchronised import SynchronisedNorm, is_synchronised, synchronise, synchronised_norm

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
    "SynchronisedNorm",
    "channels_last",
    "dropout",
    "is_synchronised",
    "make_operation",
    "operation",
    "standard_norm",
    "synchronise",
    "synchronised_norm",
    "with_eps",
]
